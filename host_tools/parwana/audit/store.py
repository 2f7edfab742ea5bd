"""Audit the store by itself: every row against the protocol and the meter's own signature."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import wire
from parwana.audit.findings import Report
from parwana.chain.deployment import Deployment
from parwana.chain.periods import closed_period
from parwana.store.reader import SignedFrame, Store
from parwana.store.signatures import SignatureError, signer

BRIDGED_WH = 20  # between two readings: no sensor counts that by itself


@dataclass
class Evidence:
    """What one meter signed, as far as the chain is checked against it."""

    closings: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # time_s, energy_wh
    accepted: list[bytes] = field(default_factory=list)  # events
    cuts: list[bytes] = field(default_factory=list)
    bridged: list[tuple[int, int]] = field(default_factory=list)  # sequence, energy_wh since

    def after(self, period: int) -> "Evidence":
        """Return what an audit that goes on needs, once a period's closing is on the chain."""
        return Evidence({p: found for p, found in self.closings.items() if p > period})

    def joined(self, new: "Evidence") -> "Evidence":
        """Return this and what came since."""
        closings = {period: list(found) for period, found in self.closings.items()}
        for period, found in new.closings.items():
            closings.setdefault(period, []).extend(found)
        return Evidence(
            closings,
            self.accepted + new.accepted,
            self.cuts + new.cuts,
            self.bridged + new.bridged,
        )

    def first_closing(self, period: int) -> int | None:
        """Return the register of the first valid closing of a period, None if there is none."""
        found = self.closings.get(period)
        return min(found)[1] if found else None


@dataclass
class Seen:
    """How far one meter's frames were audited: `frames` of them, up to the sequence `last`.

    `whole`: nothing lacks up to there, so that it can go on. What else is the state of _Meter.
    """

    last: int = 0
    frames: int = 0
    whole: bool = True
    valid: bool = False  # the last one was
    energy_wh: int = 0
    reading_s: int = -1
    event_s: int = -1
    opened: list[int] = field(default_factory=list)


@dataclass
class Looked:
    """What an audit of one meter's frames gave."""

    meter: bytes
    seen: Seen
    evidence: Evidence
    report: Report
    again: bool = False  # looked at from the start, as what was audited has changed


def look(
    store: Store, deployment: Deployment, meter: bytes, seen: Seen, *, pruned: bool = False
) -> Looked:
    """Audit a meter's frames, from where an earlier audit ended if that can be gone on from.

    `pruned`: readings were removed since, so that there may be fewer.
    """
    frames = store.count_frames(meter, seen.last) if seen.last else 0
    same = frames == seen.frames or (pruned and frames < seen.frames)
    again = not (seen.whole and same)
    seen = replace(seen, frames=frames)
    return _Meter(meter, store, deployment, Seen() if again else seen).audit(again)


def audit_signatures(
    store: Store,
    deployment: Deployment,
    signers: dict[int, set[bytes]],
    meters: list[bytes],
    report: Report,
    counted: dict[bytes, int],
) -> None:
    """Check what permit signers left for each other; `counted` are, by scope, how many were
    checked before, and are then: a scope of as many is not checked again.

    `signers` are by index the addresses (20 bytes) of all who ever were one.
    """
    scopes = {b"time": (deployment.time_domain, "")}
    for m in meters:
        scopes[b"permit" + m] = deployment.permit_domain(m.hex()), _hex(m)
    now = store.count_signatures()
    for scope, (domain, meter) in scopes.items():
        if now.get(scope, 0) == counted.get(scope, 0):
            continue
        counted[scope] = now.get(scope, 0)
        for row in store.signed(scope):
            report.count("signer_signatures")
            digest = wire.digest(domain, row.frame)
            try:
                good = signer(digest, row.signature) in signers.get(row.signer_index, ())
            except SignatureError:
                good = False
            if digest != row.digest or not good:
                where = f"signer {row.signer_index}, made at {row.made_s}"
                report.add(
                    "stored_signature", meter, where, "that signer's", "nobody's or other's"
                )


def signed_reading(
    store: Store, deployment: Deployment, meter: bytes, energy_wh: int, until_s: int
) -> bool:
    """Say whether the meter signed a reading of `energy_wh`, of time_s ≤ `until_s`."""
    for row in store.frames(meter):
        try:
            fields = wire.parse(row.frame)
            if (
                isinstance(fields, wire.Reading)
                and fields.energy_wh == energy_wh
                and fields.time_s <= until_s
                and signer(wire.digest(deployment.reading_domain, row.frame), row.signature)
                == meter
            ):
                return True
        except (wire.FrameError, SignatureError):
            continue
    return False


class _Meter:
    """One pass over one meter's frames, in the order of their sequences."""

    def __init__(self, meter: bytes, store: Store, deployment: Deployment, seen: Seen) -> None:
        self._meter = meter
        self._store = store
        self._domain = deployment.reading_domain
        self._periods = deployment.periods
        self._report = Report()
        self._evidence = Evidence()
        self._from = seen
        self._frames = seen.frames
        self._energy_wh = seen.energy_wh
        self._times: dict[type, int] = {}
        if seen.reading_s >= 0:
            self._times[wire.Reading] = seen.reading_s
        if seen.event_s >= 0:
            self._times[wire.Event] = seen.event_s
        self._seen: set[int] = {seen.last} if seen.valid else set()
        self._unproved: set[int] = set()
        self._lost: set[tuple[int, int]] = set()
        self._pruned = [(row.from_s, row.to_s) for row in store.pruned()]
        # sequence and time of the frame before
        self._before = seen.last, max(seen.reading_s, seen.event_s)
        # registers of readings with the contactor open, since a move
        self._opened: list[int] = list(seen.opened)

    def audit(self, again: bool) -> Looked:
        """Check all frames of the meter that were not."""
        held = self._store.runs(self._meter)  # first: what comes meanwhile is not deleted
        for row in self._store.frames(self._meter, self._from.last + 1):
            self._row(row)
        whole, last = self._completeness(held)
        seen = Seen(
            last,
            self._frames,
            whole,
            last in self._seen,
            self._energy_wh,
            self._times.get(wire.Reading, -1),
            self._times.get(wire.Event, -1),
            self._opened,
        )
        return Looked(self._meter, seen, self._evidence, self._report, again)

    def _row(self, row: SignedFrame) -> None:
        where = f"sequence {row.sequence}"
        self._report.count("frames")
        self._frames += 1
        self._unproved.add(row.sequence)
        try:
            fields = wire.parse(row.frame)
            if not isinstance(fields, wire.Reading | wire.Event):
                raise wire.FrameError(f"kind {row.frame[1]} is no meter's")
        except wire.FrameError as error:
            self._report.add("malformed", self._meter, where, "a reading or event", error)
            return
        if not self._signed(row, where):
            return
        closing = isinstance(fields, wire.Reading) and bool(fields.flags & wire.FLAG_CLOSING)
        told = (row.sequence, row.time_s, row.closing)
        true = (fields.sequence, fields.time_s, closing)
        self._report.check("altered_row", self._meter, where, true, told)
        if fields.sequence in self._seen:
            self._report.add(
                "contradiction", self._meter, where, "one frame", "another, signed too"
            )
            return
        if fields.sequence - 1 not in self._seen:
            self._opened.clear()
            self._excuse(fields)
        self._before = fields.sequence, fields.time_s
        self._seen.add(fields.sequence)
        self._order(fields)
        self._note(row, fields)

    def _excuse(self, fields: wire.Reading | wire.Event) -> None:
        """Take what lacks between two frames for pruned, if a pruned day is between them."""
        sequence, time_s = self._before
        if any(from_s < fields.time_s and time_s < to_s for from_s, to_s in self._pruned):
            self._lost.add((sequence + 1, fields.sequence - 1))

    def _signed(self, row: SignedFrame, where: str) -> bool:
        try:
            made_by = signer(wire.digest(self._domain, row.frame), row.signature)
        except SignatureError as error:
            self._report.add("signature", self._meter, where, "the meter's", error)
            return False
        return self._report.check(
            "signature", self._meter, where, _hex(self._meter), _hex(made_by)
        )

    def _order(self, fields: wire.Reading | wire.Event) -> None:
        where = f"sequence {fields.sequence}"
        if fields.energy_wh < self._energy_wh:
            least = f"{self._energy_wh} Wh or more"
            self._report.add(
                "energy_decreased", self._meter, where, least, f"{fields.energy_wh} Wh"
            )
        self._energy_wh = max(self._energy_wh, fields.energy_wh)
        if isinstance(fields, wire.Event) and fields.code == wire.EVENT_CLOCK_SET:
            if fields.b < fields.a:  # the first firmware let network time do it, too
                self._times.clear()
            return
        # A reading is stamped with the end of its interval, an event with its own instant: each
        # kind has its own order.
        kind = type(fields)
        before_s = self._times.get(kind, -1)
        if fields.time_s < before_s + isinstance(fields, wire.Reading):  # no end comes twice
            later = f"{before_s} or later"
            self._report.add("time_order", self._meter, where, later, fields.time_s)
        self._times[kind] = max(before_s, fields.time_s)

    def _note(self, row: SignedFrame, fields: wire.Reading | wire.Event) -> None:
        if isinstance(fields, wire.Reading):
            self._report.count("readings")
            self._open(fields)
            closing = fields.flags & wire.FLAG_CLOSING
            period = closed_period(row.frame, self._periods) if closing else None
            if period is not None:
                found = self._evidence.closings.setdefault(period, [])
                found.append((fields.time_s, fields.energy_wh))
            return
        if fields.code in (wire.EVENT_DISCONNECTED, wire.EVENT_RECONNECTED):
            self._opened.clear()
        if fields.code == wire.EVENT_JOURNAL_OVERWRITE:
            self._lost.add((fields.a, fields.b))
        elif fields.code == wire.EVENT_STATE_LOST and fields.a == wire.STATE_JOURNAL:
            self._lost.add((fields.b, fields.c))
        elif fields.code == wire.EVENT_PERMIT_ACCEPTED:
            self._evidence.accepted.append(bytes(row.frame))
        elif fields.code == wire.EVENT_DISCONNECTED:
            self._evidence.cuts.append(bytes(row.frame))

    def _open(self, reading: wire.Reading) -> None:
        """Note energy that passed while the contactor was open from one reading to the next.

        The first reading after a cut is no measure: a sensor may tell the rest after it.
        """
        if reading.flags & wire.FLAG_OUTPUT_CLOSED:
            self._opened.clear()
            return
        self._opened = [*self._opened[-2:], reading.energy_wh]
        if len(self._opened) == 3 and not reading.flags & wire.FLAG_REGISTER_EVENT:
            passed_wh = reading.energy_wh - self._opened[1]
            if passed_wh > BRIDGED_WH:
                self._evidence.bridged.append((reading.sequence, passed_wh))

    def _completeness(self, held: list[tuple[int, int]]) -> tuple[bool, int]:
        """Name what is missing below the last sequence that is or was held; return whether
        nothing is, and that sequence.
        """
        before, whole = self._from.last, True
        present = sorted(s for s in self._seen | self._unproved if s > before)
        last = max([before, *present[-1:], *(stop for _, stop in held)])
        for first, stop in _gaps(present, before + 1, last):
            for a, b in _uncovered(first, stop, sorted(self._lost)):
                whole = False
                where = f"sequence {a}" if a == b else f"sequences {a} to {b}"
                was_held = any(x <= b and a <= y for x, y in held)
                found = "deleted from the store" if was_held else "never received"
                kind = "deleted" if was_held else "gap"
                self._report.add(kind, self._meter, where, "held", found)
        return whole, last


def _gaps(present: list[int], expected: int, last: int) -> Iterator[tuple[int, int]]:
    """Give (first, last) of each range of expected … last that `present`, which rises, lacks."""
    for sequence in [*present, last + 1]:
        if sequence > expected:
            yield expected, sequence - 1
        expected = max(expected, sequence + 1)


def _uncovered(first: int, last: int, lost: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Give the parts of first … last that no range of `lost`, sorted, covers."""
    for start, stop in lost:
        if start > first and start <= last:
            yield first, start - 1
        if stop >= first:
            first = max(first, stop + 1)
    if first <= last:
        yield first, last


def _hex(meter: Any) -> str:
    return "0x" + bytes(meter).hex()
