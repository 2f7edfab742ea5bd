"""An update that is offered, and a meter that may fetch it."""

import sys
from hashlib import sha256

import records
from update import Update

import wire
from hil_tests.firmware.world import Quiet, Ticks

PROCESSOR = getattr(sys.implementation, "_mpy", 0) >> 10 & 15
NEW = 0x000200
PIECES = 10
ARCHIVE = b"".join([bytes([i]) * 512 for i in range(PIECES)])


def offer(serial=7, target=NEW, archive=ARCHIVE, processor=PROCESSOR):
    prefix = sha256(archive).digest()[:28]
    frame = wire.pack_update(len(archive) // 512, serial, processor << 24 | target, prefix)
    return wire.parse(frame)


class Cut(Exception):
    """The power goes."""


class Meter:
    """An Update in a folder; `cut` names what the power fails at."""

    def __init__(self, folder):
        self.root = folder + "/"
        self.ticks = Ticks()
        self.log = Quiet()
        self.events = []
        self.restarts = 0
        self.cut = None
        self.broken = False
        self.write("slot", b"a")
        self.write("a.fw", b"old")
        self.write("b.fw", b"older")
        self.start()

    def start(self):
        """Start, or restart, from what is on flash."""
        try:
            saved = records.load(self.root + "update.rec")
        except records.RecordError:
            saved = b""
        self.update = Update(
            saved, self.persist, self.root, self, self.restart, self.ticks, self.log
        )
        self.update.start()
        return self

    def persist(self, record):
        if self.broken:
            raise OSError(28)
        records.save(self.root + "update.rec", record)
        if self.cut == record[0]:
            raise Cut

    def record(self, code, a, b, c):
        self.events.append((code, a, b, c))

    def restart(self):
        self.restarts += 1

    def write(self, name, data):
        with open(self.root + name, "wb") as file:
            file.write(data)

    def read(self, name):
        try:
            with open(self.root + name, "rb") as file:
                return file.read()
        except OSError:
            return None

    def live(self, steps, answer=None):
        """Make steps of 50 ms; `answer(number)` gives the piece that was asked for, or None.

        Returns the numbers of the pieces asked for.
        """
        asked = []
        for _ in range(steps):
            self.ticks.now_ms += 50
            message = self.update.step()
            if message:
                kind, (serial, number) = wire.parse_message(message)
                assert kind == wire.MESSAGE_GET
                asked.append(number)
                data = answer(number) if answer else None
                if data:
                    self.update.piece(serial, number, data)
        return asked

    def fetch(self):
        return self.live(3 * PIECES, piece)

    def switched(self):
        words = self.read("slot"), self.read("b.fw") == ARCHIVE, self.read("b.fw.new")
        return words == (b"b try", True, None)


def piece(number):
    return ARCHIVE[number * 512 : number * 512 + 512]
