"""Roll signed updates out: to 1 % of the meters, then 10 %, then all; stop when they fall back.

What a stage waits for, and what stops it, is told by events that meters signed. Every relay comes
to the same result from the same store, so that several may do this side by side.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

import wire
from parwana.store.reader import Store

STAGES = (1, 10, 100)  # percent
TOLD_AGAIN_S = 600
_ENOUGH = 0.9  # of a stage must run it before the next begins
_FALLEN_MOST = 0.01  # of those that tried it
_CODES = (wire.EVENT_UPDATE_ACCEPTED, wire.EVENT_UPDATE_ENDED)
_VERSION = 0xFFFFFF
_EARLIER_S = 86400  # that a meter's stamps may be behind


@dataclass(frozen=True)
class Offer:
    """An update, as the store has it."""

    serial: int
    pieces: int
    processor: int
    version: int
    bundle: bytes | None
    percent: int
    since_s: int
    wait_s: int
    stopped: str

    @classmethod
    def of(cls, row: sa.Row) -> "Offer":
        """Make it of a row of Store.updates()."""
        fields: Any = wire.parse(bytes(row.frame))
        bundle = None if row.bundle is None else bytes(row.bundle)
        return cls(
            serial=row.serial,
            pieces=fields.pieces,
            processor=fields.target >> 24,
            version=fields.target & _VERSION,
            bundle=bundle,
            percent=row.percent,
            since_s=row.since_s,
            wait_s=row.wait_s,
            stopped=row.stopped,
        )

    @property
    def open(self) -> bool:
        """Whether meters are offered it."""
        return self.bundle is not None and self.percent > 0 and not self.stopped


@dataclass
class Progress:
    """What meters signed of an update; `staged` are those that are offered it."""

    staged: set[bytes]
    accepted: set[bytes] = field(default_factory=set)
    runs: set[bytes] = field(default_factory=set)
    fell_back: set[bytes] = field(default_factory=set)
    troubled: set[bytes] = field(default_factory=set)  # it was spoilt, or could not be written


def staged(serial: int, percent: int, meters: Iterable[bytes]) -> set[bytes]:
    """Return the meters (20 bytes) of a stage, one at least: each stage holds the one before."""
    order = sorted(meters, key=lambda meter: sha256(serial.to_bytes(4, "big") + meter).digest())
    return set(order[: -(-len(order) * percent // 100)])


def progress(store: Store, offer: Offer) -> Progress:
    """Return how far an update is. Raises StoreError."""
    rows = [row for row in store.meters() if row.in_service]
    found = Progress(staged(offer.serial, offer.percent, (row.meter for row in rows)))
    ends = {
        wire.UPDATE_RUNS: found.runs,
        wire.UPDATE_FELL_BACK: found.fell_back,
        wire.UPDATE_SPOILT: found.troubled,
        wire.UPDATE_UNWRITTEN: found.troubled,
    }
    for event in store.events(_CODES, 0 if not offer.serial else offer.serial - _EARLIER_S):
        fields: Any = wire.parse(event.frame)
        if fields.code == wire.EVENT_UPDATE_ACCEPTED and fields.a == offer.serial:
            found.accepted.add(event.meter)
        elif fields.code == wire.EVENT_UPDATE_ENDED and fields.b == offer.serial:
            ends.get(fields.a, found.troubled).add(event.meter)
    found.troubled -= found.runs | found.fell_back
    return found


def decided(offer: Offer, found: Progress, now_s: int) -> dict[str, Any]:
    """Return what is to change of an offer's row: the next stage, a stop, or nothing."""
    tried = len(found.runs) + len(found.fell_back)
    if found.fell_back and len(found.fell_back) >= _FALLEN_MOST * tried:
        return {"stopped": f"{len(found.fell_back)} of {tried} meters that tried it fell back"}
    wider = [percent for percent in STAGES if percent > offer.percent]
    done = len(found.runs & found.staged) >= _ENOUGH * len(found.staged)
    if wider and done and now_s - offer.since_s >= offer.wait_s:
        return {"percent": wider[0], "since_s": now_s}
    return {}


class Rollout:
    """Decide from time to time; say whom to offer what; give pieces.

    `tell(meter, bundle)` publishes an offer for one meter that listens now.
    """

    def __init__(
        self, store: Store, now: Callable[[], float], tell: Callable[[bytes, bytes], None]
    ) -> None:
        self._store = store
        self._now = now
        self._tell = tell
        self._offers: list[tuple[Offer, set[bytes]]] = []
        self._told_s: dict[int, tuple[int, float]] = {}  # by serial: at what stage, when
        self._images: dict[int, bytes] = {}

    def step(self) -> None:
        """Look at all updates, begin stages and stop what is to stop. Raises StoreError."""
        offers: list[tuple[Offer, set[bytes]]] = []
        for row in self._store.updates():
            offer = Offer.of(row)
            if not offer.open:
                continue
            found = progress(self._store, offer)
            if changes := decided(offer, found, int(self._now())):
                with self._store.transaction() as writer:
                    writer.set_update(offer.serial, **changes)
                continue  # it is seen as it is at the next step
            offers.append((offer, found.staged - found.runs - found.fell_back))
        kept = {offer.serial for offer, _ in offers}
        self._images = {serial: i for serial, i in self._images.items() if serial in kept}
        self._offers = offers
        self._tell_all()

    def _tell_all(self) -> None:
        now_s = self._now()
        for offer, lacking in self._offers:
            stage, told_s = self._told_s.get(offer.serial, (0, 0.0))
            if stage == offer.percent and now_s - told_s < TOLD_AGAIN_S:
                continue
            self._told_s[offer.serial] = offer.percent, now_s
            for row in self._store.meters():
                if row.meter in lacking and row.version < offer.version:
                    assert offer.bundle is not None
                    self._tell(row.meter, offer.bundle)

    def heard(self, meter: bytes, version: int) -> list[bytes]:
        """Return the offers for a meter that said hello with this version."""
        return [
            offer.bundle
            for offer, lacking in self._offers
            if offer.bundle and meter in lacking and version < offer.version
        ]

    def piece(self, serial: int, number: int) -> bytes | None:
        """Return a piece (512 bytes) of what is offered, None without. Raises StoreError."""
        if serial not in self._images:
            if serial not in {offer.serial for offer, _ in self._offers}:
                return None
            self._images[serial] = self._store.update_image(serial) or b""
        start = number * wire.PIECE_SIZE
        return self._images[serial][start : start + wire.PIECE_SIZE] or None
