"""Power by a command (a smart plug, a switching USB hub), or by a relay of the LCUS-1 kind."""

import shlex
import subprocess

import serial

from hil_tests.bench.protocols import BenchError, Power

_COMMAND_S = 30


class CommandPower(Power):
    """Runs one command to give power, another to cut it; each must end with exit code 0."""

    def __init__(self, on: list[str], off: list[str]) -> None:
        self._on, self._off = on, off

    def on(self) -> None:
        self._run(self._on)

    def off(self) -> None:
        self._run(self._off)

    def _run(self, command: list[str]) -> None:
        text = shlex.join(command)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMMAND_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"power: {text} did not run ({error}); check [power]") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-300:]
            raise BenchError(f"power: {text} failed ({done.returncode}): {said}")


class RelayPower(Power):
    """A USB relay board of the LCUS-1 kind: four bytes a command, the last is their sum.

    `normally_closed`: the board hangs on the relay's NC contact, so a pulled relay cuts it.
    Source: LCUS-1 data sheet; 9600 8N1, start 0xA0, relay number, 1 = pull, checksum.
    """

    def __init__(self, port: str, relay: int = 1, normally_closed: bool = True) -> None:
        self._relay = relay
        self._normally_closed = normally_closed
        try:
            self._port = serial.serial_for_url(port, 9600, timeout=1, write_timeout=1)
        except (OSError, ValueError) as error:
            raise BenchError(f"power: {port} does not open ({error}); check [power]") from None

    def on(self) -> None:
        self._pull(not self._normally_closed)

    def off(self) -> None:
        self._pull(self._normally_closed)

    def _pull(self, pulled: bool) -> None:
        head = bytes((0xA0, self._relay, int(pulled)))
        try:
            self._port.write(head + bytes((sum(head) & 0xFF,)))
            self._port.flush()
        except (OSError, serial.SerialException) as error:
            raise BenchError(f"power: the relay board does not answer ({error})") from None

    def close(self) -> None:
        """Let go of the port; the relay stays as it is."""
        self._port.close()
