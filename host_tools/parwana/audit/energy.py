"""Replay MeterRegistry and EnergyLedger from their logs, against what the meters signed."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from eth_utils import to_checksum_address

from parwana.audit.findings import Report
from parwana.audit.store import Evidence
from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.periods import Period

HOUSE = 1
THEFT, OVERBILLING, INCOMPARABLE = 1, 2, 3


@dataclass
class Place:
    """What the registry says of a meter, and its last closing."""

    number: int
    kind: int
    feeder: int
    initial_wh: int
    load_dw: int
    previous: str
    period: int
    energy_wh: int
    closed: bool = False
    retired_s: int = 0


@dataclass
class Sums:
    """A feeder's sums of one period."""

    supplied_wh: int = 0
    sold_wh: int = 0
    closed: int = 0
    spanning: int = 0
    own: bool = False


@dataclass
class Terms:
    """What the ledgers were deployed with."""

    periods: Period
    deadline_s: int
    tolerance_bp: int
    escrow_window_s: int
    payment_window_s: int
    threshold: int


@dataclass
class EnergyAudit:
    """Take the logs in their order; `places` by the meter's address as the logs write it.

    `signed` says whether a meter signed a reading of a register (Wh) up to a time.
    """

    KEPT: ClassVar = ("places", "serving", "since_s", "_sums", "_changes", "_tolerances")

    terms: Terms
    evidence: dict[bytes, Evidence]
    report: Report
    signed: Callable[[bytes, int, int], bool]
    places: dict[str, Place] = field(default_factory=dict)
    serving: dict[int, str] = field(default_factory=dict)
    since_s: dict[int, int] = field(default_factory=dict)
    _sums: dict[tuple[int, int], Sums] = field(default_factory=lambda: defaultdict(Sums))
    _changes: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    _tolerances: dict[int, list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def of(self, meter: str) -> Evidence:
        """Return what a meter signed."""
        return self.evidence.get(bytes.fromhex(meter[2:]), Evidence())

    def take(self, name: str, values: Any, time_s: int) -> None:
        """Take one log; others than the registry's and the EnergyLedger's are ignored."""
        handler = getattr(self, f"_on_{name.lower()}", None)
        if handler:
            handler(values, time_s)

    def _on_enrolled(self, values: Any, time_s: int) -> None:
        self._enrol(values.meter, values, values.feeder, values.kind, time_s, "")
        self.places[values.meter].load_dw = values.sanctioned_load_dw
        self.since_s[values.number] = time_s
        self._changes[values.feeder].append((time_s, 1))

    def _on_replaced(self, values: Any, time_s: int) -> None:
        old = self.places[values.old]
        old.retired_s = time_s
        self._enrol(values.new, values, old.feeder, old.kind, time_s, values.old)
        self.places[values.new].load_dw = old.load_dw

    def _enrol(
        self, meter: str, values: Any, feeder: int, kind: int, time_s: int, previous: str
    ) -> None:
        before = self.terms.periods.of(time_s) - 1
        initial_wh = values.initial_wh
        place = (values.number, kind, feeder, initial_wh, 0, previous, before, initial_wh)
        self.places[meter] = Place(*place)
        self.serving[values.number] = meter

    def _on_retired(self, values: Any, time_s: int) -> None:
        self.places[values.meter].retired_s = time_s
        self._changes[values.feeder].append((time_s, -1))

    def _on_loadraised(self, values: Any, _time_s: int) -> None:
        self.places[values.meter].load_dw = values.sanctioned_load_dw

    def _on_closed(self, values: Any, _time_s: int) -> None:
        for result in unpack_results(values.results):
            if isinstance(result, Closing):
                self._close(to_checksum_address(result.meter), result.period, result.energy_wh)

    def _close(self, meter: str, period: int, energy_wh: int) -> None:
        self.report.count("closings")
        where = f"period {period}"
        expected = self.of(meter).first_closing(period)
        told = "none in the store" if expected is None else f"{expected} Wh"
        self.report.check("closing", meter, where, told, f"{energy_wh} Wh")
        place = self.places[meter]
        if period <= place.period or energy_wh < place.energy_wh:
            before = f"above period {place.period}, {place.energy_wh} Wh"
            self.report.add("closing", meter, where, before, f"{energy_wh} Wh")
        delta_wh, spanning = energy_wh - place.energy_wh, period != place.period + 1
        place.period, place.energy_wh, place.closed = period, energy_wh, True
        self._sum(place, period, delta_wh, spanning, closing=True)

    def _sum(
        self, place: Place, period: int, delta_wh: int, spanning: bool, *, closing: bool
    ) -> None:
        above = self._sums[place.feeder, period]
        above.sold_wh += delta_wh
        above.closed += closing
        above.spanning += spanning
        if place.kind != HOUSE:
            own = self._sums[place.number, period]
            own.supplied_wh += delta_wh
            own.spanning += spanning
            own.own = own.own or closing

    def _on_finished(self, values: Any, _time_s: int) -> None:
        self.report.count("closings")
        place = self.places[values.meter]
        meter = bytes.fromhex(values.meter[2:])
        if not self.signed(meter, values.energy_wh, place.retired_s):
            where = f"last reading, period {values.period}"
            self.report.add("closing", values.meter, where, "a reading", f"{values.energy_wh} Wh")
        delta_wh = values.energy_wh - place.energy_wh
        spanning = place.period + 1 < values.period
        place.period, place.energy_wh, place.closed = values.period, values.energy_wh, True
        self._sum(place, values.period, delta_wh, spanning, closing=False)

    def _on_toleranceset(self, values: Any, _time_s: int) -> None:
        self._tolerances[values.feeder].append((values.from_period, values.tolerance_bp))

    def _tolerance_bp(self, feeder: int, period: int) -> int:
        for from_period, tolerance_bp in reversed(self._tolerances[feeder]):
            if from_period <= period:
                return tolerance_bp
        return self.terms.tolerance_bp

    def _on_reconciled(self, values: Any, _time_s: int) -> None:
        self.report.count("balances")
        periods, changes = self.terms.periods, self._changes[values.feeder]
        start_s, end_s = periods.start(values.period), periods.start(values.period + 1)
        sums = self._sums[values.feeder, values.period]
        before = sum(n for time_s, n in changes if time_s < start_s)
        expected = sum(n for time_s, n in changes if time_s < end_s)
        young = self.since_s.get(values.feeder, end_s) >= start_s
        missing = expected - sums.closed + (not sums.own)
        allowed_wh = sums.supplied_wh * self._tolerance_bp(values.feeder, values.period) // 10_000
        alarm = 0
        if not sums.own or sums.spanning or young or before != expected:
            alarm = INCOMPARABLE
        elif sums.supplied_wh > sums.sold_wh + allowed_wh:
            alarm = THEFT
        elif sums.sold_wh > sums.supplied_wh + allowed_wh:
            alarm = OVERBILLING
        names = ("supplied_wh", "sold_wh", "missing", "spanning", "alarm")
        true = (sums.supplied_wh, sums.sold_wh, missing, sums.spanning, alarm)
        told = tuple(values[name] for name in names)
        where = f"feeder {values.feeder}, period {values.period}"
        self.report.check(
            "balance",
            self.serving.get(values.feeder, ""),
            where,
            dict(zip(names, true, strict=True)),
            dict(zip(names, told, strict=True)),
        )

    def _on_equivocation(self, values: Any, _time_s: int) -> None:
        where = f"sequence {values.sequence}"
        self.report.add(
            "equivocation", values.meter, where, "one frame", "two, shown on the chain"
        )

    def finish(self, now_s: int) -> None:
        """Name what should be on the chain by `now_s` and is not, and who was never enrolled."""
        known = {bytes.fromhex(meter[2:]) for meter in self.places}
        for stranger in sorted(set(self.evidence) - known):
            self.report.add(
                "unknown_meter", stranger, "store", "an enrolled meter", "frames of it"
            )
        for meter, place in self.places.items():
            waiting = Counter(self.of(meter).closings.keys())
            for period in sorted(waiting):
                due_s = self.terms.periods.start(period + 1) + self.terms.deadline_s
                energy_wh = self.of(meter).first_closing(period) or 0
                over = period <= place.period or now_s < due_s or energy_wh < place.energy_wh
                if over or (place.retired_s and place.retired_s < due_s):
                    continue
                self.report.add("not_landed", meter, f"period {period}", "closed", "not closed")
