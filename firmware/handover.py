"""Take a permit that is pasted into the serial console as a line of text, and answer it.

Whatever else is typed there is passed over, and what chat programs and terminals put around and
into the line, breaks among it. It holds a bundle, so it is as little believed as one from the
network; it needs no network, though.
"""

import asyncio

from wire import FrameError, parse_text

_PERIOD_MS = 20  # an ESP32 keeps 260 bytes of what is typed: 22 ms at 115200 baud
_BYTES_MOST = 300
_LINE_MOST = 1264  # a kind 5 with eight signatures
_START = b"PARWANA:"
_COLON = _START[-1]
_LETTERS = b"0123456789ABCDEFabcdefPRWNprwn:"
_QUIET = 50  # rounds without a letter, a second: no more of the line comes


class Handover:
    """`read()` returns the next byte typed, None if there is none, at once.

    `take(bundle, answer)` is control's `bundle`. `say` prints a line.
    """

    def __init__(self, read, take, say=print):
        self._read = read
        self._take = take
        self._say = say
        self._line = bytearray()
        self._quiet = 0

    async def run(self):
        """Listen for ever."""
        while True:
            self.tick()
            await asyncio.sleep_ms(_PERIOD_MS)

    def tick(self):
        """Take what was typed since the last call, at most 300 bytes."""
        for _ in range(_BYTES_MOST):
            byte = self._read()
            if byte is None:
                break
            self._quiet = 0
            if byte == 10 or byte == 13:
                self._parse()
            elif byte in _LETTERS and len(self._line) <= _LINE_MOST:
                self._line.append(byte)
                if byte == _COLON and self._line[-len(_START) :].upper() == _START:
                    self._line = bytearray(_START)
        self._quiet += 1
        if self._quiet == _QUIET:
            error = self._parse()
            if error:
                self._answer(error)
                self._line = bytearray()

    def _parse(self):
        """Take the bundle if it is whole; return what is wrong if it is not, yet."""
        try:
            bundle = parse_text(bytes(self._line))
        except FrameError as error:
            return error
        self._line = bytearray()
        if bundle is not None and not self._take(bundle, self._answer):
            self._answer("too many wait already; paste the line again in a minute")
        return None

    def _answer(self, error):
        self._say("permit: %s" % (error or "accepted"))
