"""Land on the chain what the store proves: closings of many meters a transaction, bills, balances.

Everything here is open to anyone and repeatable: several relays may land at once, the contracts
skip what is there already.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from eth_utils import to_checksum_address
from web3.logs import DISCARD

import wire
from parwana.chain import Chain, Ledgers, Reverted
from parwana.contracts import unpack_closing, unpack_skipped
from parwana.deployment import DAY_S, Deployment, Period
from parwana.store import SignedFrame, Store

CLOSINGS_MAX = 128  # a transaction
HOUSES_MAX = 64  # a transaction
GATHER_S = 3600  # how long a period's closings are gathered before the first transaction
KIND_HOUSE = 1
_AHEAD = 2  # a reason to skip that time cures; of the others none
log = logging.getLogger("parwana.landing")


@dataclass
class Landed:
    """How much one step landed."""

    closings: int = 0
    bills: int = 0
    balances: int = 0


def closed_period(frame: bytes, periods: Period) -> int | None:
    """Return the period that a frame closes, None if it is no closing. Source: section 7."""
    fields = wire.parse(frame)
    if not isinstance(fields, wire.Reading) or not fields.flags & wire.FLAG_CLOSING:
        return None
    current = periods.of(fields.time_s)
    in_window = fields.time_s < periods.start(current) + DAY_S
    if fields.clock_trust == wire.TRUST_NONE or not (in_window or fields.flags & wire.FLAG_BOOT):
        return None
    return current - 1


class Landing:
    """Land step by step; `now` is the world's time, `connect` gives a chain with a paying key."""

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        connect: Callable[[], Chain],
        now: Callable[[], float],
        gather_s: int = GATHER_S,
    ) -> None:
        self._deployment = deployment
        self._periods = deployment.periods
        self._store = store
        self._connect = connect
        self._now = now
        self._gather_s = gather_s
        self._connected: tuple[Chain, Ledgers] | None = None
        self._deadline_s = 0
        self._last: dict[bytes, int] = {}  # the last period that each meter closed
        self._billed: dict[bytes, int] = {}  # the last period that is billed, by house
        self._refused: set[bytes] = set()  # digests that the contract will never take
        self._balanced: dict[tuple[int, int], int] = {}  # (feeder, period): missing as reconciled
        self._next: dict[int, int] = {}  # the next period of each feeder to reconcile

    def step(self) -> Landed:
        """Land all that can be landed now. Raises ChainError, StoreError."""
        chain, ledgers = self._contracts()
        current = self._periods.of(int(self._now()))
        rows = {row.meter: row for row in self._store.meters() if row.number is not None}
        rows = {m: row for m, row in rows.items() if self._is_enrolled(chain, ledgers, m)}
        landed = Landed()
        while True:
            found = self._closings(chain, ledgers, rows, current)
            if not found:
                break
            landed.closings += self._close(chain, ledgers, rows, found)
        landed.bills = self._settle(chain, ledgers, rows)
        landed.balances = self._reconcile(chain, ledgers, rows, current)
        return landed

    def _contracts(self) -> tuple[Chain, Ledgers]:
        if self._connected is None:
            chain = self._connect()
            ledgers = chain.ledgers(self._deployment)
            self._deadline_s = chain.call(ledgers.energy.functions.closing_deadline_s())
            first = self._deployment.from_block
            for event in chain.logs(ledgers.energy.events.Reconciled, first):
                values = event["args"]
                self._balanced[values["feeder"], values["period"]] = values["missing"]
            self._connected = chain, ledgers
        return self._connected

    def _is_enrolled(self, chain: Chain, ledgers: Ledgers, meter: bytes) -> bool:
        """Say whether the chain has the meter: a reorganisation may have taken it away."""
        if meter not in self._last:
            try:
                self._last[meter] = self._read_last(chain, ledgers, meter)
            except Reverted:
                return False
        return True

    def _closings(
        self, chain: Chain, ledgers: Ledgers, rows: dict[bytes, Any], current: int
    ) -> list[SignedFrame]:
        """Return the next closing of each meter that lacks one and whose turn it is."""
        due = {m: self._last[m] + 1 for m in rows if self._last[m] + 1 < current}
        found = self._choose(due, rows, current)
        # Another relay may have landed them: what it closed is not sent again.
        for meter in found:
            self._last[meter] = self._read_last(chain, ledgers, meter)
        found = {m: f for m, f in found.items() if self._last[m] < self._period(f)}
        newest = {m for m in due if rows[m].in_service}
        gathered = newest <= set(found)
        return [f for f in found.values() if gathered or self._waited(self._period(f))]

    def _choose(
        self, due: dict[bytes, int], rows: dict[bytes, Any], current: int
    ) -> dict[bytes, SignedFrame]:
        chosen: dict[bytes, SignedFrame] = {}
        for period in range(min(due.values(), default=current), current):
            if all(due[m] > period or m in chosen for m in due):
                continue
            from_s, to_s = self._periods.start(period + 1), self._periods.start(period + 2)
            for frame in self._store.closings(from_s, to_s):
                meter = frame.meter
                if meter not in due or due[meter] > period or meter in chosen:
                    continue
                if frame.digest in self._refused or self._period(frame) != period:
                    continue
                if period > due[meter] and self._may_come(rows[meter], due[meter], frame):
                    continue
                chosen[meter] = frame
        return chosen

    def _may_come(self, row: Any, period: int, later: SignedFrame) -> bool:
        """Say whether the closing of an earlier period may still arrive in time."""
        if self._now() >= self._periods.start(period + 1) + self._deadline_s:
            return False
        return self._store.lowest_missing(row.meter, row.oldest) < later.sequence

    def _period(self, frame: SignedFrame) -> int:
        period = closed_period(frame.frame, self._periods)
        return -1 if period is None else period

    def _waited(self, period: int) -> bool:
        return self._now() >= self._periods.start(period + 1) + self._gather_s

    def _read_last(self, chain: Chain, ledgers: Ledgers, meter: bytes) -> int:
        return int(chain.call(ledgers.energy.functions.closing(to_checksum_address(meter)))[0])

    def _close(
        self, chain: Chain, ledgers: Ledgers, rows: dict[bytes, Any], found: list[SignedFrame]
    ) -> int:
        taken = 0
        found.sort(key=lambda frame: (rows[frame.meter].feeder, rows[frame.meter].number))
        for batch in _batches(found):
            data = b"".join(frame.frame + frame.signature for frame in batch)
            receipt = chain.send(ledgers.energy.functions.close(data))
            events = ledgers.energy.events.Closed().process_receipt(receipt, errors=DISCARD)
            values = events[0]["args"]
            taken += len(values["closings"])
            for closing in map(unpack_closing, values["closings"]):
                self._last[closing.meter] = closing.period
            for place, reason in map(unpack_skipped, values["skipped"]):
                frame = batch[place]
                log.warning("closing of %s skipped, reason %d", frame.meter.hex(), reason)
                if reason != _AHEAD:
                    self._refused.add(frame.digest)
            if len(values["skipped"]) == len(batch):
                break
        return taken

    def _settle(self, chain: Chain, ledgers: Ledgers, rows: dict[bytes, Any]) -> int:
        """Bill the houses whose last closing is not billed."""
        unbilled = []
        for meter, row in rows.items():
            last = self._last[meter]
            if row.kind != KIND_HOUSE or self._billed.get(meter, -1) >= last:
                continue
            address = to_checksum_address(meter)
            closed_s = chain.call(ledgers.energy.functions.closing(address))[2]
            if closed_s and chain.call(ledgers.payment.functions.account(address))[2] < last:
                unbilled.append(meter)
            else:
                self._billed[meter] = last
        bills = 0
        for start in range(0, len(unbilled), HOUSES_MAX):
            batch = [to_checksum_address(meter) for meter in unbilled[start : start + HOUSES_MAX]]
            receipt = chain.send(ledgers.payment.functions.settle_many(batch))
            billed = ledgers.payment.events.Billed().process_receipt(receipt, errors=DISCARD)
            bills += len(billed)
        self._billed.update({meter: self._last[meter] for meter in unbilled})
        return bills

    def _reconcile(
        self, chain: Chain, ledgers: Ledgers, rows: dict[bytes, Any], current: int
    ) -> int:
        done = 0
        for row in rows.values():
            if row.kind == KIND_HOUSE or not row.in_service:
                continue
            if row.number not in self._next:
                place = chain.call(
                    ledgers.registry.functions.meter(to_checksum_address(row.meter))
                )
                self._next[row.number] = self._periods.of(place[3])
            periods = range(self._next[row.number], current)
            again = [
                p for (f, p), missing in self._balanced.items() if f == row.number and missing
            ]
            for period in [*again, *periods]:
                if self._reconcile_one(chain, ledgers, row.number, period):
                    done += 1
                elif (row.number, period) not in self._balanced:
                    break
                if period == self._next[row.number]:
                    self._next[row.number] += 1
        return done

    def _reconcile_one(self, chain: Chain, ledgers: Ledgers, feeder: int, period: int) -> bool:
        sums = chain.call(ledgers.energy.functions.sums(feeder, period))
        missing = sums[3] - sums[2] + (not sums[5])
        before = self._balanced.get((feeder, period))
        if before is not None and missing >= before:
            return False
        late = self._now() >= self._periods.start(period + 1) + self._deadline_s
        if missing and not late:
            return False
        try:
            chain.send(ledgers.energy.functions.reconcile(feeder, period))
        except Reverted as error:
            # Another relay was first, or the chain's clock is behind ours: look again later.
            log.info("feeder %d, period %d: %s", feeder, period, error)
            return False
        self._balanced[feeder, period] = missing
        return True


def _batches(found: list[SignedFrame]) -> Iterable[list[SignedFrame]]:
    for start in range(0, len(found), CLOSINGS_MAX):
        yield found[start : start + CLOSINGS_MAX]
