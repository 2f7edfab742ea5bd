"""Keep the house supplied as its permits say: contactor, button, LED, permits, and their records.

One loop, ten times a second: take a bundle a signature further, look for one handed over by hand,
step the supply. Whatever moves the contactor is saved and recorded as an event before it is done;
if any of it fails, the contactor stays where it is. What a new permit connects does not wait: once
the permit is saved, a restart at any write after it connects the house, too
(docs/decisions/0009-what-is-written-before-the-contactor-moves.md).
"""

import asyncio
import os

import records
import wire
from permits import Refused

_PERIOD_MS = 100
_GRANT_MS = 1000
_FILE_MS = 500
_FILE_REST = 20  # times what a look for a file took
_FILE_STUCK_MS = 600000  # one that cannot be removed must not keep the network's from being heard
_CLOCK_FIRST_MS = 10000  # twice as long each time, so that no run loses much more than half ...
_CLOCK_MS = 300000  # ... nor more than this
_CLOCK_LEAP_S = 300
_REFUSAL_PAUSE_MS = 1000  # so that a flood of forgeries leaves the processor to the meter
_REFUSED_EVENT_MS = 60000  # between events 13, doubled while refusals go on ...
_REFUSED_EVENT_MOST_MS = 3600000  # ... up to this, so that a flood does not fill the journal
_BUNDLES_MOST = 4
_BUNDLE_SIZE_MOST = 40 + 64 + 8 * 65
_TICKS_MASK = 0x3FFFFFFF  # ticks wrap at 2**30 on 32-bit boards, at a multiple of it elsewhere

# What the LED shows, a bit for each of 20 periods
_LED_CONNECTED = 0xFFFFF
_LED_WARNING = 0xFFF5F  # winks: the permit ends within 7 days
_LED_READY = 0x33333  # press the button
_LED_OVERLOAD = 0x00005
_LED_DISCONNECTED = 0x003FF
_LED_BYPASSED = 0x00015
_LED_PERIODS = 20


def restore(path):
    """Return the record at `path`: bytes, None when there is none, b"" when it is corrupt."""
    try:
        return records.load(path)
    except records.RecordError:
        return b""


def keeper(path, made_room=None):
    """Return a function that saves a record (bytes) at `path`; see records.save."""
    return lambda payload: records.save(path, payload, made_room)


class Control:
    """Run the supply of one house.

    contactor    `closed` (True, False, or None where nobody can tell) and `set(closed)`
    button, led  `value()` returns 1 while pressed; `value(1)` lights
    clock, permits, supply   see their modules; restored by the caller
    measured     `power_dw` (None while a sensor is silent or it is old), `samples` that counts
                 its changes, the `period_ms` between them, and `energy_wh`
    events       `record(code, a, b, c)` appends an event durably; `made_room`: see records.save
    update       `take(offer)` begins with a signed wire.Update
    folder       keeps clock.rec and control.rec (permits saves its own)
    permit_path  where a bundle handed over by hand appears
    """

    def __init__(
        self, contactor, button, led, clock, permits, supply, measured, events, folder, ticks_ms,
        log, update, permit_path="/permit.new",
    ):  # fmt: skip
        self._contactor = contactor
        self._button = button
        self._led = led
        self._clock = clock
        self._permits = permits
        self._supply = supply
        self._measured = measured
        self._events = events
        self._keep_clock_record = keeper(folder + "/clock.rec", events.made_room)
        self._keep_supply_record = keeper(folder + "/control.rec", events.made_room)
        self._ticks_ms = ticks_ms
        self._log = log
        self._update = update
        self._permit_path = permit_path
        self._bundles = []
        self._untold = []  # events to record
        self._checking = None
        self._answer = None
        self._from_file = False
        self._file_size = None
        self._file_ms = _FILE_MS
        self._grant = None
        self._level = 2  # samples that the button was down; at start it has to come up first
        self._phase = 0
        self._refused_wait_ms = _REFUSED_EVENT_MS
        self._healed = False
        now = ticks_ms()
        self._grant_at = self._file_at = self._clock_at = now
        self._refused_at = None
        self._told_at = None
        self._clock_s = 0
        self._clock_ms = _CLOCK_FIRST_MS
        self.refusals = 0  # since boot
        self.ticked_ms = now

    @property
    def follows(self):
        """Whether the contactor is where the state has it, as far as anybody can tell."""
        connected = self._supply.control_state == wire.CONTROL_CONNECTED
        return self._contactor.closed in (None, connected)

    def bundle(self, data, answer=None):
        """Take a bundle (bytes) from outside, unless four wait; returns whether it was taken.

        Returns at once, raises nothing. With `answer` it was handed over by a person and goes
        before what a network brings; `answer` is called with the Refused, or None if accepted.
        """
        if len(self._bundles) >= _BUNDLES_MOST + (answer is not None):
            return False
        before = len([None for _, other in self._bundles if other or not answer])
        data = bytes(data) if len(data) <= _BUNDLE_SIZE_MOST else b""
        self._bundles.insert(before, (data, answer))
        return True

    async def run(self):
        """Control for ever."""
        self.start()
        while True:
            self.tick()
            await asyncio.sleep_ms(_PERIOD_MS)

    def start(self):
        """Record what was lost, make its records whole, give the clock the permits' floor."""
        self._checking = None
        self._from_file = False
        if self._healed:
            return
        for part, record in (
            (self._clock, wire.STATE_CLOCK),
            (self._permits, wire.STATE_PERMITS),
            (self._supply, wire.STATE_CONTROL),
        ):
            if part.lost:
                self._log.error("record %d is lost", record)
                self._events.record(wire.EVENT_STATE_LOST, record, 0, 0)
        if self._permits.lost:
            self._permits.keep()
        if self._supply.lost:
            self._supply.dirty = True
        self._clock.lived(self._permits.signed_s)
        self._save_clock(self._ticks_ms())
        self._healed = True

    def tick(self):
        """Do one round; call it every 100 ms. At most one signature is verified in it."""
        now = self._ticks_ms()
        self.ticked_ms = now
        self._look_for_file(now)
        self._check(now)
        self._step(now)
        self._shine()

    def _look_for_file(self, now):
        if self._from_file or _since(self._file_at, now) < self._file_ms:
            return
        self._file_at = now
        try:
            size = os.stat(self._permit_path)[6]
        except OSError:
            size = None
        # A look reads folders: on a slow flash it must not take the time of everything else.
        self._file_ms = max(_FILE_MS, _FILE_REST * _since(now, self._ticks_ms()))
        if size is None:
            self._file_size = None
            return
        whole = size == self._file_size  # nobody is writing to it any more
        self._file_size = size
        if whole and self._checking is None:
            self._from_file = True
            self._bundles.insert(0, (self._read_file(size), None))

    def _read_file(self, size):
        """Return what was handed over; nothing, which is refused, where it cannot be read."""
        if size <= _BUNDLE_SIZE_MOST:
            try:
                with open(self._permit_path, "rb") as file:
                    return file.read()
            except OSError as error:  # a folder of that name, or a damaged file
                self._log.error("%s cannot be read: %s", self._permit_path, error)
        return b""

    def _check(self, now):
        """Take the oldest bundle one signature further."""
        checking = self._checking
        self._checking = None
        if checking is None:
            if not self._bundles or self._pausing(now):
                return
            data, self._answer = self._bundles.pop(0)
            checking = self._permits.accepting(
                data, self._clock.not_before(), self._measured.energy_wh
            )
        try:
            frame = next(checking)
        except Refused as error:
            refused = error
            self._refused(error, now)
        else:
            if frame is None:
                self._checking = checking
                return
            refused = None
            self._accepted(frame)
        if self._answer:
            self._answer(refused)
        if self._from_file:
            self._from_file = False
            self._file_size = None
            try:
                records.clear(self._permit_path)
            except OSError as error:
                self._log.error("%s cannot be removed: %s", self._permit_path, error)
                self._file_ms = _FILE_STUCK_MS

    def _pausing(self, now):
        return self._refused_at is not None and _since(self._refused_at, now) < _REFUSAL_PAUSE_MS

    def _refused(self, refused, now):
        if refused.repeat:
            self._log.info("%s; serial %d", refused, refused.serial)
            return
        self.refusals += 1
        self._refused_at = now
        self._log.warn("%s; serial %d", refused, refused.serial)
        if self._told_at is not None:
            quiet_ms = _since(self._told_at, now)
            if quiet_ms < self._refused_wait_ms:
                return
            calm = quiet_ms > 2 * self._refused_wait_ms
            wait_ms = _REFUSED_EVENT_MS if calm else 2 * self._refused_wait_ms
            self._refused_wait_ms = min(wait_ms, _REFUSED_EVENT_MOST_MS)
        self._told_at = now
        self._events.record(
            wire.EVENT_PERMIT_REFUSED, refused.reason, refused.serial, self.refusals
        )

    def _accepted(self, frame):
        """Tell of a bundle that took effect, and let the clock have its time of issue."""
        if isinstance(frame, wire.Time):
            event = self._clock.signed(frame.issued_at_s)
            if event:
                self._untold.append(event)
                self._save_clock(self._ticks_ms())  # else a restart brings back what was wrong
                self._log.info("clock set by signed time %d", frame.issued_at_s)
            return
        if isinstance(frame, wire.Update):
            self._update.take(frame)
            event = (wire.EVENT_UPDATE_ACCEPTED, frame.serial, frame.target, frame.pieces)
        else:
            self._clock.lived(frame.issued_at_s)
        if isinstance(frame, wire.Permit):
            self._grant = None
            event = (
                wire.EVENT_PERMIT_ACCEPTED, frame.serial, frame.valid_until_s, frame.power_limit_dw
            )  # fmt: skip
        elif isinstance(frame, wire.Signer):
            event = (wire.EVENT_SIGNER_CHANGED, frame.index, frame.serial, 0)
        elif isinstance(frame, wire.Ledger):
            event = (wire.EVENT_LEDGER_CHANGED, frame.serial, frame.chain_id & 0xFFFFFFFF, 0)
        self._untold.append(event)
        self._log.info("accepted: event %d, %d, %d, %d", *event)

    def _step(self, now):
        not_before_s = self._clock.not_before()
        if self._grant is None or _since(self._grant_at, now) >= _GRANT_MS:
            self._grant_at = now
            self._grant = self._permits.grant(not_before_s, self._measured.energy_wh)
        supply = self._supply
        measured = self._measured
        events = supply.step(
            now, self._grant, not_before_s, measured.power_dw, self._contactor.closed,
            self._pressed(), measured.samples, measured.period_ms,
        )  # fmt: skip
        for event in events:
            self._untold.append(event)
            self._log.info("supply: event %d, %d, %d, %d", *event)
        if supply.move is None:
            self._catch_up(now)
        elif supply.repeats:
            self._operate()
        else:
            self._keep_clock(now)
            if supply.move:
                self._keep_supply()
            while self._untold:  # of an opening first: what fell off is not moved again
                self._tell()
            self._keep_supply()
            self._operate()

    def _operate(self):
        self._contactor.set(self._supply.move)
        self._supply.operated(self._ticks_ms())

    def _catch_up(self, now):
        """Write one of the things that nothing waits for: polls go on between them.

        Events before the record: a move that a restart repeats is told again.
        """
        if self._untold:
            self._tell()
        elif self._supply.dirty:
            self._keep_supply()
        else:
            self._keep_clock(now)

    def _keep_supply(self):
        if self._supply.dirty:
            self._keep_supply_record(self._supply.save())
            self._supply.dirty = False

    def _tell(self):
        """Record an event; one that cannot be recorded is tried again."""
        self._events.record(*self._untold[0])
        self._untold.pop(0)

    def _pressed(self):
        """Return True once for each press that lasts two samples."""
        self._level = min(self._level + 1, 3) if self._button.value() else 0
        return self._level == 2

    def _keep_clock(self, now):
        """Save the clock so often that no restart takes more than five minutes from it.

        Nor more than half of what it ran since the start: who cuts the power often gains little.
        """
        leapt = self._clock.not_before() - self._clock_s >= _CLOCK_LEAP_S
        if leapt or _since(self._clock_at, now) >= self._clock_ms:
            self._clock_ms = min(2 * self._clock_ms, _CLOCK_MS)
            self._save_clock(now)

    def _save_clock(self, now):
        self._keep_clock_record(self._clock.save())
        self._clock_at = now
        self._clock_s = self._clock.not_before()

    def _shine(self):
        supply = self._supply
        if supply.control_state == wire.CONTROL_CONNECTED:
            pattern = _LED_WARNING if supply.warning else _LED_CONNECTED
        elif supply.bypassed:
            pattern = _LED_BYPASSED
        elif supply.control_state == wire.CONTROL_READY:
            pattern = _LED_READY
        elif supply.reason in (wire.REASON_OVERLOAD, wire.REASON_OVERLOAD_LOCKED):
            pattern = _LED_OVERLOAD
        else:
            pattern = _LED_DISCONNECTED
        self._phase = (self._phase + 1) % _LED_PERIODS
        self._led.value(pattern >> self._phase & 1)


def _since(then, now):
    return (now - then) & _TICKS_MASK
