"""Bill houses whose last closing is not billed, many at once."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from eth_utils import to_checksum_address
from eth_utils.abi import event_abi_to_log_topic
from web3.contract.contract import ContractFunction

from parwana.chain.dated import READERS
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.relay.gathering import KIND_HOUSE
from parwana.relay.shared import Leases, Part
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
        self._alone: list[bytes] = []  # of batches that were refused

    def due(self, rows: dict[bytes, Any], last: dict[bytes, int], told: Told) -> Part:
        """Return what bills houses of `rows`, by address; `last` is what each closed last."""
        houses = [meter for meter, row in rows.items() if row.kind == KIND_HOUSE]
        # A meter that was replaced is billed by its successor: only the chain knows how far.
        doubtful = [m for m in houses if m not in self._billed or not rows[m].in_service]
        self._ask([meter for meter in doubtful if self._lacks(meter, last)], last)
        due = [meter for meter in houses if self._lacks(meter, last)]
        self._alone = []
        done = 0

        def calls() -> Iterator[tuple[list[bytes], ContractFunction]]:
            wanted = self._leases.batches(
                _BILL, due, HOUSES_MAX, lambda house: house, lambda house: self._lacks(house, last)
            )
            for batch in wanted:
                houses = [to_checksum_address(house) for house in batch]
                yield batch, self._payment.functions.settle_many(houses)

        def take(batch: list[bytes], receipt: Any) -> int:
            nonlocal done
            if isinstance(receipt, Reverted):
                self._alone += batch
                return 0
            self._end(batch, last)
            told("bills", done := done + len(batch), len(due))
            return self._count(receipt)

        return Part(calls(), take)

    def alone(self, last: dict[bytes, int]) -> Part:
        """Return what bills each house of refused batches: one must not keep others from bills."""
        functions = self._payment.functions
        calls = ((house, functions.settle(to_checksum_address(house))) for house in self._alone)

        def take(house: bytes, receipt: Any) -> int:
            self._end([house], last)
            if isinstance(receipt, Reverted):
                log.warning("bill of %s: %s", to_checksum_address(house), receipt)
                return 0
            return self._count(receipt)

        return Part(calls, take)

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
