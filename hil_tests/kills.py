"""Programs, each a process of its own, that SIGKILL ends right before a line of theirs.

What a killed process leaves is what disk, node and broker have by then. So it is enough to end it
once between any two things that it does to them: `places` are the lines before which it did one.
A first run, which nobody ends, lists them; a place is a line, the nth time that it comes to it.

Processes are forked by one that has everything imported and no thread (multiprocessing's
forkserver): a fork of the test's own would inherit its threads' locks.
"""

import faulthandler
import importlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

Place = tuple[str, int, int]  # module, line, which time
TIMEOUT_S = 120
_context = multiprocessing.get_context("forkserver")
# What is not here each process imports by itself, which takes the longest of all that it does.
_context.set_forkserver_preload(
    [
        *(__name__, "hil_tests.relay.killable", "parwana.cli", "parwana.pay"),
        *("parwana.chain.deploy", "parwana.meter.handover", "parwana.relay.command"),
    ]
)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, -9 if it was killed; what it said; where it came by."""

    code: int
    said: str
    places: list[Place]


@dataclass(frozen=True)
class Killable:
    """A function that returns an exit code, and the modules between whose lines it is ended.

    What it does to the world is a change below `folder`, or whatever Python sends by a socket.
    """

    function: Callable[..., int]
    arguments: Sequence[Any]
    modules: Sequence[str]
    folder: Path

    def start(self, env: Mapping[str, str], beside: Path, at: Place | None = None) -> "Running":
        """Start it; `beside` is a folder for what it says. It is ended at a place, if any."""
        beside.mkdir(parents=True, exist_ok=True)
        (beside / "places").unlink(missing_ok=True)
        (beside / "log").touch()
        process = _context.Process(target=_live, args=(self, dict(env), beside, at), daemon=True)
        # multiprocessing would run this process's main program in it, which is pytest.
        main = vars(sys.modules["__main__"])
        with mock.patch.dict(main, {"__spec__": None}):
            main.pop("__file__", None)
            process.start()
        return Running(process, beside)

    def run(self, env: Mapping[str, str], beside: Path, at: Place | None = None) -> Ended:
        """Run it to its end, or to a place."""
        return self.start(env, beside, at).wait()


@dataclass(frozen=True)
class Running:
    """A process that was started."""

    process: Any
    beside: Path

    def wait(self) -> Ended:
        """Wait for its end."""
        try:
            self.process.join(TIMEOUT_S)
            assert self.process.exitcode is not None, f"it does not end; see {self.beside}/log"
        finally:
            self.process.kill()
            self.process.join()
        said, came = (self.beside / "log").read_text(errors="replace"), self.beside / "places"
        places = [tuple(place) for place in json.loads(came.read_text())] if came.exists() else []
        return Ended(self.process.exitcode, said, places)


class _World:
    """What a process has done to the world."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent = 0
        for name in ("send", "sendall"):
            setattr(socket.socket, name, self._counted(getattr(socket.socket, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def send(*arguments: Any) -> Any:
            self._sent += 1
            return real(*arguments)

        return send

    def now(self) -> object:
        """Return a value that is another after anything was done."""
        found: list[object] = [self._sent]
        for folder, _, names in os.walk(self._folder):
            for name in names:
                try:
                    state = os.stat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue
                found.append((name, state.st_ino, state.st_size, state.st_mtime_ns))
        return found


def _live(program: Killable, env: dict[str, str], beside: Path, at: Place | None) -> None:
    """Be the process."""
    os.environ.update(env)
    with (beside / "log").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.dump_traceback_later(TIMEOUT_S - 10)  # one that does not end says where it is
    times: Counter[tuple[str, int]] = Counter()
    places: list[Place] = []
    files = {str(importlib.import_module(name).__file__): name for name in program.modules}
    world = _World(program.folder)
    before: object = None

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal before
        if event == "line":
            where = files[frame.f_code.co_filename], frame.f_lineno
            times[where] += 1
            place = (*where, times[where])
            if place == at:
                os.kill(os.getpid(), signal.SIGKILL)
            if at is None and (now := world.now()) != before:
                before = now
                places.append(place)
        return line

    def called(frame: FrameType, _event: str, _: Any) -> Any:
        return line if frame.f_code.co_filename in files else None

    threading.settrace(called)
    sys.settrace(called)
    code = program.function(*program.arguments)
    sys.settrace(None)
    (beside / "places").write_text(json.dumps(places))
    sys.exit(code)
