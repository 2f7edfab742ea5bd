"""Take a signed update: fetch the slot's archive that it names, switch to it, go back if it fails.

The archive goes into the slot that does not run, a piece a turn, and is read back whole before the
switch. boot.py runs it on trial; app.py says what it must show until it stays. The record is
replaced before each step that a power cut must not undo, so the next start goes on from there.
"""

import os
import struct
import sys
from hashlib import sha256

import records
import slot
import version
import wire
from permits import Refused

_SAVED = ">BHII28s"
_SAVED_SIZE = 39
_FETCHING = 1
_TRYING = 2
_OVER = 3
_ASK_MS = 10000
_ASK_MOST_MS = 600000
_AGAIN_MS = 60000
_AGAIN_MOST_MS = 3600000
_SYNC = 8  # pieces: a block of flash
_VERSION = 0xFFFFFF
_TICKS_MASK = 0x3FFFFFFF  # ticks wrap at 2**30 on 32-bit boards, at a multiple of it elsewhere


class Update:
    """At most one update under way.

    saved      the record of the last start, None when there is none, b"" when it was corrupt
    persist    called with the record (bytes) before anything rests on it; raises if it cannot
    root       the folder of slots: a.fw and b.fw are in it, and `slot`
    recorder   `record(code, a, b, c)` appends an event durably
    restart    restarts the board
    """

    def __init__(self, saved, persist, root, recorder, restart, ticks, log):
        self._persist = persist
        self._root = root
        self._recorder = recorder
        self._restart = restart
        self._ticks = ticks
        self._log = log
        self._state = _OVER
        self._offer = wire.Update(0, 0, 0, b"")
        self._lost = saved is not None
        if saved and len(saved) == _SAVED_SIZE:
            self._lost = False
            self._state, *offer = struct.unpack(_SAVED, saved)
            self._offer = wire.Update(*offer)
        self._again_ms = _AGAIN_MS
        self.trial = False  # whether this version is to show that it works, or be left
        self._begin()

    def _begin(self, wait_ms=0):
        """Look at the flash anew at the next step, in `wait_ms`."""
        self._file = None
        self._hash = None  # while the file is read back
        self._next = 0  # the piece to ask for, or to read back
        self._asked_ms = self._ticks.ticks_ms()
        self._wait_ms = wait_ms

    def start(self):
        """Tell what became of a trial, or go on with it. Call it before the slot is confirmed."""
        if self._lost:
            self._recorder.record(wire.EVENT_STATE_LOST, wire.STATE_UPDATE, 0, 0)
            self._save(_OVER)
        if self._state != _TRYING:
            return
        words = slot.words(self._root + "slot")[1:]
        if self._runs():
            self.trial = words == ["tried"]
            if not self.trial:
                self.proved()
        elif words == ["stay"]:
            self._end(wire.UPDATE_FELL_BACK)
        elif words != ["try"]:  # which boot.py could not make "tried"
            self._switch()

    def check(self, offer):
        """Raise Refused unless an offer (wire.Update) is news for this meter, and no step back."""
        processor = getattr(sys.implementation, "_mpy", 0) >> 10 & 15
        if offer.serial <= self._offer.serial or offer.target >> 24 != processor:
            raise Refused(wire.REFUSED_SERIAL, offer.serial, repeat=True)
        if offer.target & _VERSION <= version.number():
            raise Refused(wire.REFUSED_VERSION, offer.serial)

    def take(self, offer):
        """Begin with an offer that the signers signed; what was under way is dropped."""
        self._drop()
        before, self._offer = self._offer, offer
        try:
            self._save(_FETCHING)
        except OSError:
            self._offer = before
            raise
        self._again_ms = _AGAIN_MS

    def piece(self, serial, number, data):
        """Write a piece (512 bytes) that a relay sent, if it is the one asked for."""
        asked = self._file and self._wait_ms and not self._hash
        if not asked or serial != self._offer.serial or number != self._next:
            return
        try:
            self._file.write(data)
            self._next += 1
            self._wait_ms = 0
            if self._next % _SYNC == 0:
                self._file.flush()
        except OSError as error:
            self._unwritten(error)

    def step(self):
        """Ask for a piece, or read one back; return the message to publish, None without."""
        if self._state != _FETCHING or self._runs():
            return None
        now = self._ticks.ticks_ms()
        if (now - self._asked_ms) & _TICKS_MASK < self._wait_ms:  # it may have been days ago
            return None
        try:
            return self._step(now)
        except OSError as error:
            self._unwritten(error)
            return None

    def _unwritten(self, error):
        self._log.error("the update cannot be kept: %s", error)
        self._fail(wire.UPDATE_UNWRITTEN)

    def _step(self, now):
        if self._hash:
            self._read_back()
            return None
        if not self._file:
            self._open()
        if self._next == self._offer.pieces:
            self._file.close()
            self._file = open(self._new, "rb")  # noqa: SIM115
            self._hash = sha256()
            self._next = 0
            return None
        self._asked_ms = now
        self._wait_ms = min(max(2 * self._wait_ms, _ASK_MS), _ASK_MOST_MS)
        return wire.pack_get(self._offer.serial, self._next)

    @property
    def _slot(self):
        """The path of the slot's file that does not run."""
        running = slot.running(self._root + "slot")
        return self._root + ("a.fw" if running == "b" else "b.fw")

    @property
    def _new(self):
        return self._slot + ".new"

    def _runs(self):
        return version.number() >= self._offer.target & _VERSION

    def _open(self):
        """Go on behind what is there; what was in the slot goes first, there is room for one."""
        if _size(self._slot) is not None:
            records.clear(self._slot)
        size = _size(self._new) or 0
        if size % wire.PIECE_SIZE or size > self._offer.pieces * wire.PIECE_SIZE:
            records.clear(self._new)
            size = 0
        self._file = open(self._new, "ab")  # noqa: SIM115
        self._next = size // wire.PIECE_SIZE

    def _read_back(self):
        self._hash.update(self._file.read(wire.PIECE_SIZE))
        self._next += 1
        if self._next < self._offer.pieces:
            return
        if self._hash.digest()[:28] != self._offer.hash_prefix:
            self._log.error("what was fetched is not what was signed")
            self._fail(wire.UPDATE_SPOILT)
            return
        self._file.close()
        self._begin()
        self._save(_TRYING)
        self._switch()

    def _switch(self):
        """Have boot.py try the slot, whose file is whole; the rename may have been done before."""
        size = self._offer.pieces * wire.PIECE_SIZE
        if _size(self._new) == size:
            os.rename(self._new, self._slot)
        if _size(self._slot) != size:
            self._save(_FETCHING)
        elif slot.attempt(self._root + "slot"):
            self._log.info("restart into version %06x", self._offer.target & _VERSION)
            self._restart()

    def proved(self):
        """Tell that the version on trial works and stays, if there was one."""
        if self._state != _OVER and self._runs():
            self._end(wire.UPDATE_RUNS)

    def _end(self, how):
        self._tell(how)
        self._save(_OVER)
        self.trial = False

    def _tell(self, how):
        offer = self._offer
        self._recorder.record(wire.EVENT_UPDATE_ENDED, how, offer.serial, offer.target)

    def _fail(self, how):
        """Drop what was fetched; begin anew later, ever more rarely."""
        self._drop(self._again_ms)
        self._again_ms = min(2 * self._again_ms, _AGAIN_MOST_MS)
        self._tell(how)

    def _drop(self, wait_ms=0):
        if self._file:
            try:
                self._file.close()
            except OSError as error:  # what could not be written is dropped anyway
                self._log.error("%s", error)
        self._begin(wait_ms)
        try:
            records.clear(self._new)
        except OSError:
            pass  # there is none

    def _save(self, state):
        self._persist(struct.pack(_SAVED, state, *self._offer))
        self._state = state


def trying(saved):
    """Return whether a record says that a version is on trial."""
    return bool(saved) and saved[0] == _TRYING


def _size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        return None
