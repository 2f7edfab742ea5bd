"""Take a permit that is pasted into the serial console as a line of text, and answer it.

Whatever else is typed there is passed over. The line holds a bundle, so it is as little believed
as one from the network; it needs no network, though.
"""

import asyncio

from wire import FrameError, parse_text

_PERIOD_MS = 20  # an ESP32 keeps 260 bytes of what is typed: 22 ms at 115200 baud
_BYTES_MOST = 300
_LINE_MOST = 1264  # a kind 5 with eight signatures


class Handover:
    """`read()` returns the next byte typed, None if there is none, at once.

    `take(bundle, answer)` is control's `bundle`. `say` prints a line.
    """

    def __init__(self, read, take, say=print):
        self._read = read
        self._take = take
        self._say = say
        self._line = bytearray()

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
            if byte == 10 or byte == 13:
                line = bytes(self._line)
                self._line = bytearray()
                self._parse(line)
            elif len(self._line) <= _LINE_MOST:
                self._line.append(byte)

    def _parse(self, line):
        def answer(error):
            self._say("permit: %s" % (error or "accepted"))

        try:
            bundle = parse_text(line)
            if bundle is not None and not self._take(bundle, answer):
                answer("too many wait already; paste the line again in a minute")
        except FrameError as error:
            answer(error)
