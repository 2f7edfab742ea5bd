"""A board that does as scripted: the raw REPL of MicroPython on a pty, and whatever breaks in it.

Source: MicroPython documentation, reference/repl. It refuses raw paste, as small ports do.
"""

import os
import select
import threading
import time
import tty
from collections.abc import Callable
from typing import Self

Answer = bytes | float | None
"""Bytes to print, seconds to be silent for, or None: nothing more comes of this run."""


class ScriptedBoard:
    """Runs no code: for each run, `script` is given the code and returns what is printed.

    The last bytes are followed by an end of the run without an error, unless None is.
    """

    def __init__(self, script: Callable[[str], list[Answer]]) -> None:
        self._near, far = os.openpty()
        tty.setraw(far)
        self._far = far
        self.port = os.ttyname(far)
        self._script = script
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)
        os.close(self._near)
        os.close(self._far)

    def _say(self, data: bytes) -> None:
        os.write(self._near, data)

    def _serve(self) -> None:
        code = bytearray()
        while not self._ended.is_set():
            if not select.select([self._near], [], [], 0.05)[0]:
                continue
            for byte in os.read(self._near, 4096):
                if byte == 1 and code == b"\x05A":
                    self._say(b"R\x00")
                    code.clear()
                elif byte == 1:
                    self._say(b"raw REPL; CTRL-B to exit\r\n>")
                    code.clear()
                elif byte in (3, 13) and not code:
                    pass
                elif byte != 4:
                    code.append(byte)
                elif not code:
                    self._say(b"OK\r\nMPY: soft reboot\r\nraw REPL; CTRL-B to exit\r\n>")
                else:
                    self._say(b"OK")
                    self._run(code.decode())
                    code.clear()

    def _run(self, code: str) -> None:
        for answer in self._script(code):
            if answer is None:
                return
            if isinstance(answer, float):
                time.sleep(answer)
            else:
                self._say(answer)
        self._say(b"\x04\x04>")
