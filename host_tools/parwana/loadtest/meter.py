"""One simulated meter: a key, a journal in memory, and the firmware's uplink."""

import os
import random
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

from coincurve import PrivateKey

import wire
from parwana.loadtest.figures import Figures
from parwana.loadtest.link import Link
from parwana.store import signatures

BACKOFF_CAP_S = 60  # docs/configuration.md
LOOK_MS = 500  # how late, at most, a meter that waits for something sees that a time is over
IDLE_MS = 5000  # and one that has nothing to say
_TICKS = 0x3FFFFFFF
_PERMITS = SimpleNamespace(serial=0, trust_serial=0)
_SUPPLY = SimpleNamespace(control_state=wire.CONTROL_CONNECTED)


def address_of(key: PrivateKey) -> bytes:
    """Return the address (20 bytes) that a key signs as."""
    return signatures.address(key.public_key.format(compressed=False)[1:])


class Life:
    """The time that meters live in: the clock's, in milliseconds since `start_s`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self.start_s = now, 0

    @property
    def ms(self) -> int:
        """Return how long they have lived."""
        return int((self._now() - self.start_s) * 1000)

    def ran(self) -> int:
        """Stand for clock.Clock's."""
        return int(self._now())

    def ticks_ms(self) -> int:
        """Stand for time.ticks_ms, which wraps."""
        return self.ms & _TICKS

    def ticks_diff(self, later: int, earlier: int) -> int:
        """Stand for time.ticks_diff."""
        return ((later - earlier + 0x20000000) & _TICKS) - 0x20000000


class World(Protocol):
    """What a meter stands in; parwana.loadtest.crowd.Crowd."""

    uplink: Any
    umqtt: Any
    poller: Any
    life: Life
    figures: Figures

    def watch(self, meter: "Meter", fd: int | None) -> None:
        """Have the meter look when something comes on `fd`; None: no more."""


class _Journal:
    oldest = 1

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    @property
    def next(self) -> int:
        return len(self.frames) + 1

    def read(self, sequence: int) -> bytes:
        return self.frames[sequence - 1]


class _Quiet:
    """Stand for the console's log and for an update that nobody offers."""

    def info(self, *_: object) -> None: ...

    warn = error = piece = info

    def step(self) -> None: ...


class Meter:
    """Record, send, and count it; `repeats`: each message of frames goes out twice.

    It is its own recorder and identity, as uplink.Uplink knows them.
    """

    boots = 1

    def __init__(self, world: World, secret: bytes, settings: Any, repeats: bool) -> None:
        self._world, self._repeats = world, repeats
        self._key = PrivateKey(secret)
        self.events = 0
        self.acknowledged = 0
        self.due_ms = 0  # when it goes on
        self.polls = True  # whether it may go on before: it only looks whether something came
        self._energy_wh = random.randrange(10**6)
        self._power_dw = random.randrange(500, 20_000)
        self._journal = _Journal()
        self._unanswered: dict[int, int] = {}  # last sequence: when it was sent first
        self._readings: deque[tuple[int, int]] = deque()  # not acknowledged: sequence, time
        self._sent_up_to = 0
        self.link = Link(world.poller, self)
        config = SimpleNamespace(**vars(settings), meter=address_of(self._key))
        quiet = _Quiet()
        self._uplink = world.uplink.Uplink(
            config, self.link, world.umqtt, self._journal, self, self, _PERMITS, _SUPPLY,
            self._bundle, os.urandom, world.life, quiet, quiet, world.life,
        )  # fmt: skip
        self._task = self._uplink.run()
        self._step_ms = world.uplink._STEP_MS

    @property
    def connected(self) -> bool:
        return bool(self._uplink.connected)

    @property
    def waiting(self) -> int:
        """How many frames no relay has asked past."""
        return len(self._journal.frames) - self.acknowledged

    def run(self) -> int:
        """Let it go on; return for how many milliseconds of its life it then waits."""
        was = self.connected
        pause_ms = int(self._task.send(None))
        if was and not self.connected:
            self._world.figures.lost_sessions += 1
        self.polls = pause_ms == self._step_ms
        return self._look_ms() if self.polls else pause_ms

    def _look_ms(self) -> int:
        """Return when it is to look again, if nothing comes: no firmware need be that lazy."""
        uplink, turn_s = self._uplink, self._uplink._turn_s
        if not uplink.connected or uplink._asked_ms is not None:
            return LOOK_MS
        if uplink.pointer >= self._journal.next:
            return IDLE_MS
        wait_ms = 0 if turn_s is None else int(turn_s * 1000) - self._now_ms()
        return min(IDLE_MS, max(self._step_ms, wait_ms))

    def _now_ms(self) -> int:
        life = self._world.life
        return life.start_s * 1000 + life.ms

    def boot(self) -> None:
        """Record that it started."""
        self.events += 1
        frame = wire.pack_event(
            wire.EVENT_BOOT, 1, self._world.life.ran(), self._energy_wh, 1, 0, 1, wire.TRUST_SIGNED
        )
        self._keep(frame)

    def measure(self, time_s: int, interval_s: int, closing: bool) -> None:
        """Record the reading of an interval that ended at `time_s`."""
        self._power_dw = min(50_000, max(0, self._power_dw + random.randrange(-500, 501)))
        self._energy_wh += self._power_dw * interval_s // 36_000
        flags = wire.FLAG_OUTPUT_CLOSED | wire.FLAG_CLOSING * closing
        frame = wire.pack_reading(
            flags | wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT,
            self._journal.next,
            time_s,
            self._energy_wh,
            self._power_dw,
            self._power_dw,
            self._power_dw * 10 // 23,
            2300,
            2280,
            500,
            97,
            wire.TRUST_SIGNED,
        )
        self._readings.append((self._journal.next, time_s))
        self._world.figures.readings += 1
        self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        self._journal.frames.append(frame)
        self._world.figures.signed += 1

    def sign(self, digest: bytes) -> bytes:
        """Stand for identity.Identity's."""
        return signatures.sign(self._key, digest)

    def asked(self, sequence: int) -> None:
        """Take what a relay wants: all before it is durable there."""
        figures, now_ms = self._world.figures, self._world.life.ms
        for last in [last for last in self._unanswered if last < sequence]:
            figures.ack_ms.add(now_ms - self._unanswered.pop(last))
        while self._readings and self._readings[0][0] < sequence:
            figures.age_ms.add(self._now_ms() - 1000 * self._readings.popleft()[1])
        if sequence > self.acknowledged + 1:
            figures.acknowledged += sequence - 1 - self.acknowledged
            self.acknowledged = sequence - 1

    def knows_damaged(self, _sequence: int) -> bool:
        """Stand for recorder.Recorder's: its journal is memory, which does not spoil."""
        return False

    def _bundle(self, _data: bytes) -> bool:
        self._world.figures.bundles += 1
        return True

    def began(self) -> None:
        """Count a session."""
        self._world.figures.sessions += 1

    def published(self, payload: bytes) -> bool:
        """Count a message; return whether it is to go out once more."""
        figures, ms = self._world.figures, self._world.life.ms
        if payload[0] != wire.MESSAGE_FRAMES:
            figures.hellos += 1
            figures.hello_at[ms // 1000] += 1
            return False
        size = wire.FRAME_SIZE + wire.SIGNATURE_SIZE
        first = int.from_bytes(payload[5:9], "big")
        last = first + len(payload) // size - 1
        figures.sent += 1
        figures.again += first <= self._sent_up_to
        figures.sent_at[ms // 1000] += 1
        self._sent_up_to = max(self._sent_up_to, last)
        self._unanswered.setdefault(last, ms)
        return self._repeats

    def watch(self, fd: int | None) -> None:
        """Have it look when something comes on `fd`; None: no more."""
        self._world.watch(self, fd)
