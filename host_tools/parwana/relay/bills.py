"""Bill houses whose last closing is not billed, many at once."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from eth_utils import to_checksum_address
from eth_utils.abi import event_abi_to_log_topic

from parwana.chain.dated import READERS
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.relay.gathering import KIND_HOUSE
from parwana.relay.shared import Leases
from parwana.world.progress import Told

HOUSES_MAX = 64  # a transaction
_BILL = b"bill"
log = logging.getLogger("parwana.landing")


class Bills:
    """Know up to which period each house is billed, from the log; bill what is due."""

    def __init__(self, chain: Chain, ledgers: Ledgers, leases: Leases) -> None:
        self._chain = chain
        self._closing = ledgers.energy.functions.closing
        self._payment = ledgers.payment
        self._leases = leases
        self._name = event_abi_to_log_topic(ledgers.payment.events.Billed().abi)
        self._billed: dict[bytes, int] = {}  # the last period, by house

    def land(self, rows: dict[bytes, Any], last: dict[bytes, int], told: Told) -> int:
        """Bill houses of `rows`, by address; `last` is what each closed last. Count the bills."""
        houses = [meter for meter, row in rows.items() if row.kind == KIND_HOUSE]
        # A meter that was replaced is billed by its successor: only the chain knows how far.
        doubtful = [m for m in houses if m not in self._billed or not rows[m].in_service]
        self._ask([meter for meter in doubtful if self._lacks(meter, last)], last)
        due = [meter for meter in houses if self._lacks(meter, last)]
        bills, alone, done = 0, [], 0

        def calls() -> Iterator[tuple[list[bytes], Any]]:
            wanted = self._leases.batches(
                _BILL, due, HOUSES_MAX, lambda house: house, lambda house: self._lacks(house, last)
            )
            for batch in wanted:
                houses = [to_checksum_address(house) for house in batch]
                yield batch, self._payment.functions.settle_many(houses)

        for batch, receipt in self._chain.send_all(calls()):
            if isinstance(receipt, Reverted):
                alone += batch  # one house must not keep the others from their bills
                continue
            bills += self._count(receipt)
            self._end(batch, last)
            told("bills", done := done + len(batch), len(due))
        single = ((h, self._payment.functions.settle(to_checksum_address(h))) for h in alone)
        for house, receipt in self._chain.send_all(single):
            if isinstance(receipt, Reverted):
                log.warning("bill of %s: %s", to_checksum_address(house), receipt)
            else:
                bills += self._count(receipt)
            self._end([house], last)
            told("bills", done := done + 1, len(due))
        return bills

    def _lacks(self, house: bytes, last: dict[bytes, int]) -> bool:
        return self._billed.get(house, -1) < last[house]

    def billed(self, house: bytes, period: int) -> None:
        """Note that a house is billed up to a period."""
        self._billed[house] = max(period, self._billed.get(house, -1))

    def _ask(self, houses: list[bytes], last: dict[bytes, int]) -> None:
        """Read how far houses are billed of which that is not known."""

        def read(house: bytes) -> int:
            address = to_checksum_address(house)
            if not self._chain.call(self._closing(address)).time_s:
                return last[house]  # no closing yet
            return int(self._chain.call(self._payment.functions.account(address)).period)

        with ThreadPoolExecutor(READERS) as pool:
            for house, period in zip(houses, pool.map(read, houses), strict=True):
                self.billed(house, period)

    def _count(self, receipt: Any) -> int:
        logs = [log for log in receipt["logs"] if log["address"] == self._payment.address]
        return sum(bytes(log["topics"][0]) == self._name for log in logs)

    def _end(self, houses: list[bytes], last: dict[bytes, int]) -> None:
        """Ask for these no more: what there was to bill is billed."""
        for house in houses:
            self.billed(house, last[house])
        self._leases.give_back(_BILL, houses)
