"""Land closings: which reading closes which period, whose turn it is, many at once."""

import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from eth_utils import to_checksum_address
from web3.logs import DISCARD

import wire
from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.dated import READERS
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.chain.periods import Period, closed_period
from parwana.relay.gathering import Gathering
from parwana.relay.shared import Leases
from parwana.store.reader import SignedFrame, Store
from parwana.world.progress import Told

CLOSINGS_MAX = 128  # a transaction
_CLOSE, _FINISH = b"close", b"finish"
_AHEAD = 2  # a reason to skip that time cures; of the others none
log = logging.getLogger("parwana.landing")


class Closer:
    """Find and land the next closing of each meter; `last` is what each one closed last, as read
    at first and as the log told since.

    Periods are landed in order. A later one waits for an earlier one while that may still arrive,
    until `deadline_s` after its end. A feeder's closings are landed together (`gathering`).
    """

    def __init__(
        self,
        chain: Chain,
        ledgers: Ledgers,
        store: Store,
        periods: Period,
        now: Callable[[], float],
        gathering: Gathering,
        leases: Leases,
    ) -> None:
        self.last: dict[bytes, int] = {}
        self.deadline_s = int(chain.call(ledgers.energy.functions.closing_deadline_s()))
        self._chain = chain
        self._energy = ledgers.energy
        self._store = store
        self._periods = periods
        self._now = now
        self._gathering = gathering
        self._leases = leases
        self._refused: set[tuple[bytes, bytes]] = set()  # meter and frame: done with

    def learn(self, meters: Collection[bytes]) -> None:
        """Read what meters closed last of which that is not known, and that the chain has."""
        new = [meter for meter in meters if meter not in self.last]
        if not new:
            return
        with ThreadPoolExecutor(READERS) as pool:
            for meter, period in zip(new, pool.map(self._enrolled, new), strict=True):
                if period is not None:
                    self.last[meter] = period

    def _enrolled(self, meter: bytes) -> int | None:
        try:
            return self._read(meter)
        except Reverted:  # a reorganisation may have taken it away
            return None

    def take(self, entry: Any) -> None:
        """Take one log."""
        values = entry["args"]
        if entry["event"] == "Closed":
            for result in unpack_results(values["results"]):
                if isinstance(result, Closing):
                    self._closed(result.meter, result.period)
        elif entry["event"] == "Finished":
            self._closed(bytes.fromhex(values["meter"][2:]), values["period"])

    def _closed(self, meter: bytes, period: int) -> None:
        if meter in self.last:
            self.last[meter] = max(period, self.last[meter])

    def land(self, rows: dict[bytes, Any], current: int, told: Told) -> int:
        """Land what can be landed of `rows`, by address, before period `current`; count it."""
        landed = 0
        while found := self._turn(rows, current):
            sent = self._send(rows, found, told)
            landed += sent
            if not sent:
                break  # others hold them, or the chain's clock is behind ours: look again later
        self._gathering.tell(rows)
        return landed

    def finish(self, meter: bytes, retired_s: int) -> bool:
        """Land the last reading of a retired meter, if it says more than its last closing."""
        reading = self._store.last_reading(meter, retired_s)
        if not retired_s or reading is None or (meter, reading.frame) in self._refused:
            return False
        fields = wire.parse(reading.frame)
        assert isinstance(fields, wire.Reading)
        closing = self._chain.call(self._energy.functions.closing(to_checksum_address(meter)))
        if fields.clock_trust == wire.TRUST_NONE or fields.energy_wh <= closing.energy_wh:
            self._refused.add((meter, reading.frame))
            return False
        period = self._periods.of(retired_s)
        waited = self._now() >= self._periods.start(period) + self.deadline_s
        if closing.period + 1 < period and not waited:
            return False
        if not self._leases.take(_FINISH, [meter]):
            return False
        done = True
        try:
            self._chain.send(self._energy.functions.finish(reading.frame + reading.signature))
        except Reverted as error:
            log.warning("last reading of %s: %s", meter.hex(), error)
            done = False
        self._refused.add((meter, reading.frame))
        self.last[meter] = self._read(meter)  # refused, too: another relay may have been first
        self._leases.give_back(_FINISH, [meter])
        return done

    def _turn(self, rows: dict[bytes, Any], current: int) -> list[SignedFrame]:
        """Return the next closing of each meter that lacks one and whose turn it is."""
        due = {m: self.last[m] + 1 for m in rows if self.last[m] + 1 < current}
        found = self._choose(due, rows, current)
        periods = {meter: self._period(frame) for meter, frame in found.items()}
        return [found[meter] for meter in self._gathering.ready(rows, due, periods)]

    def _choose(
        self, due: dict[bytes, int], rows: dict[bytes, Any], current: int
    ) -> dict[bytes, SignedFrame]:
        chosen: dict[bytes, SignedFrame] = {}
        for period in range(min(due.values(), default=current), current):
            waiting = [m for m in due if due[m] <= period and m not in chosen]
            from_s, to_s = self._periods.start(period + 1), self._periods.start(period + 2)
            for frame in self._store.closings(waiting, from_s, to_s):
                if frame.meter in chosen or (frame.meter, frame.frame) in self._refused:
                    continue
                if self._period(frame) != period:
                    continue
                first = due[frame.meter]
                if period == first or not self._may_come(rows[frame.meter], first, frame):
                    chosen[frame.meter] = frame
        return chosen

    def _may_come(self, row: Any, period: int, later: SignedFrame) -> bool:
        """Say whether the closing of an earlier period may still arrive in time."""
        if self._now() >= self._periods.start(period + 1) + self.deadline_s:
            return False
        return self._store.lowest_missing(row.meter, row.oldest) < later.sequence

    def _period(self, frame: SignedFrame) -> int:
        period = closed_period(frame.frame, self._periods)
        return -1 if period is None else period

    def _read(self, meter: bytes) -> int:
        address = to_checksum_address(meter)
        return int(self._chain.call(self._energy.functions.closing(address)).period)

    def _send(self, rows: dict[bytes, Any], found: list[SignedFrame], told: Told) -> int:
        found.sort(key=lambda frame: (rows[frame.meter].feeder, rows[frame.meter].number))

        def calls() -> Iterator[tuple[list[SignedFrame], Any]]:
            wanted = self._leases.batches(
                _CLOSE, found, CLOSINGS_MAX, lambda frame: frame.meter, self._lacks
            )
            for batch in wanted:
                data = b"".join(frame.frame + frame.signature for frame in batch)
                yield batch, self._energy.functions.close(data)

        taken, done, failed = 0, 0, None
        for batch, receipt in self._chain.send_all(calls()):
            if isinstance(receipt, Reverted):
                failed = receipt
                continue
            values = self._energy.events.Closed().process_receipt(receipt, DISCARD)[0]["args"]
            taken += self._note(batch, unpack_results(values["results"]))
            self._leases.give_back(_CLOSE, [frame.meter for frame in batch])
            told("closings", done := done + len(batch), len(found))
        if failed is not None:
            raise failed
        return taken

    def _lacks(self, frame: SignedFrame) -> bool:
        return self.last[frame.meter] < self._period(frame)

    def _note(self, batch: list[SignedFrame], results: list[Any]) -> int:
        """Note what became of closings; count those that were taken."""
        for frame, result in zip(batch, results, strict=True):
            if isinstance(result, Closing):
                self._closed(result.meter, result.period)
                continue
            period = self._periods.text(self._period(frame))
            text = "closing of %s, period %s, skipped, reason %d"
            log.warning(text, frame.meter.hex(), period, result)
            if result != _AHEAD:
                self._refused.add((frame.meter, frame.frame))
                # Another relay may have landed it first, and not live to bill it.
                self.last[frame.meter] = self._read(frame.meter)
        return sum(isinstance(result, Closing) for result in results)
