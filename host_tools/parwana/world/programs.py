"""Start programs, wait for what they say, end them by their own process id."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from parwana.world import runtime

# For each client that hears less fast than others publish. Unless told, mosquitto keeps 1000
# messages, and a fleet's are more; told no limit, 2.0 hangs up on whoever it denies a message.
MOSQUITTO_QUEUES = "max_queued_messages 1000000\nmax_queued_bytes 33554432\n"
OPEN_TO_ALL = f"allow_anonymous true\n{MOSQUITTO_QUEUES}"
_STOP_S = 10


class ProgramError(Exception):
    """A program ended or did not say what was waited for; the message shows its last lines."""


class Program:
    """A process in the background whose output goes to a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            )

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def wait_for(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Wait until the log matches. Raises ProgramError."""
        deadline = time.monotonic() + timeout_s
        while True:
            text = self.log.read_text(errors="replace")
            found = re.search(pattern, text)
            if found:
                return found
            if not self.running:
                raise ProgramError(f"{self.name} ended: {self.last_words()}")
            if time.monotonic() > deadline:
                raise ProgramError(
                    f"{self.name} did not say {pattern!r} in {timeout_s:g} s: {self.last_words()}"
                )
            time.sleep(0.05)

    def last_words(self) -> str:
        """Return the end of the log and where it is."""
        lines = self.log.read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:]) + f" (log: {self.log})"

    def stop(self, by: int = signal.SIGTERM) -> int:
        """Ask the process to end, then end it; return its exit code."""
        if self.running:
            self._process.send_signal(by)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait(_STOP_S)

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def run(
    name: str,
    command: Sequence[str | Path],
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    good: tuple[int, ...] = (0,),
) -> str:
    """Run a program to its end and return what it printed.

    Raises ProgramError when it takes too long or its exit code is none of `good`.
    """
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{name} did not end within {timeout_s:g} s") from None
    if done.returncode not in good:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ProgramError(f"{name} failed ({done.returncode}): {' / '.join(said[-5:])}")
    return done.stdout


def free_port() -> int:
    """Return a TCP port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto(
    folder: Path, port: int, host: str = "127.0.0.1", settings: str = OPEN_TO_ALL
) -> Program:
    """Start a broker, one that anybody may use unless `settings` say else; wait until it listens.

    Its configuration and log are in `folder`. Raises ProgramError, RuntimeMissing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} {host}\nmax_packet_size 1000000\n{settings}")
    command = (runtime.mosquitto(), "-c", config, "-v")
    broker = Program("mosquitto", command, folder / "mosquitto.log")
    try:
        broker.wait_for("running", 20)
    except ProgramError:
        broker.stop()
        raise
    return broker


def parwana(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of one of our own commands."""
    return [sys.executable, "-m", "parwana.cli", *arguments]
