"""What relays do on a ledger, shared: who holds a lease in the store sends, and sends once."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from web3.contract import Contract
from web3.contract.contract import ContractFunction

from parwana.chain.node import Chain
from parwana.relay.waits import LEASE_S
from parwana.store.reader import Store

T = TypeVar("T")


@dataclass
class Part:
    """Calls that may be on their way beside others: each of a batch, with what sends it.

    `take` gets a batch with its receipt, or with why it was refused, and counts what it landed.
    """

    calls: Iterable[tuple[Any, ContractFunction]] = ()
    take: Callable[[Any, Any], int] = lambda _batch, _receipt: 0
    landed: int = 0


def send(chain: Chain, *parts: Part) -> None:
    """Send all calls of all parts, many at a time, in order. Raises ChainError, StoreError."""
    calls = (((part, batch), call) for part in parts for batch, call in part.calls)
    for (part, batch), receipt in chain.send_all(calls):
        part.landed += part.take(batch, receipt)


class Heard:
    """Hand on what an EnergyLedger, and a PaymentLedger if any, logged since the last look.

    `takers` get the EnergyLedger's logs, `billed` a house and the period up to which it is billed.
    """

    def __init__(self, chain: Chain, energy: Contract, payment: Contract | None) -> None:
        self.takers: list[Callable[[Any], None]] = []
        self.billed: Callable[[bytes, int], None] = lambda _house, _period: None
        self._chain = chain
        self._energy, self._payment = energy, payment
        self._head = chain.head()

    def follow(self) -> None:
        """Look again. Raises ChainError."""
        first, top = self._head + 1, self._chain.head()
        if first > top:
            return
        for _, found in self._chain.every([self._energy], first, top):
            for entry in found:
                for take in self.takers:
                    take(entry)
        if self._payment is not None:
            for topics in self._chain.topics(self._payment.events.Billed(), first, top):
                self.billed(topics[1][12:], int.from_bytes(topics[3]))
        self._head = top


class Leases:
    """This relay's share of the work on one ledger. It is named by its key: begun anew, it goes on
    with what it held. Raises StoreError, ChainError.
    """

    def __init__(self, chain: Chain, ledger: Contract, store: Store, heard: Heard) -> None:
        self._store = store
        self._heard = heard
        self._of = bytes.fromhex(ledger.address[2:])
        self._me = chain.key.address if chain.key else ""

    def batches(
        self,
        kind: bytes,
        items: Iterable[T],
        most: int,
        work: Callable[[T], bytes],
        wanted: Callable[[T], bool],
    ) -> Iterator[list[T]]:
        """Give `items` that this relay holds now, `most` at a time.

        `work` (24 bytes at most) names what is leased. `wanted` is asked once what others did by
        then was heard of.
        """
        waiting = deque(items)
        while waiting:
            batch: list[T] = []
            while waiting and len(batch) < most:
                some = [waiting.popleft() for _ in range(min(len(waiting), most - len(batch)))]
                mine = self.take(kind, [work(item) for item in some])
                self._heard.follow()
                held = [item for item in some if work(item) in mine]
                batch += [item for item in held if wanted(item)]
                self.give_back(kind, [work(item) for item in held if not wanted(item)])
            if batch:
                yield batch

    def take(self, kind: bytes, works: Collection[bytes]) -> set[bytes]:
        """Return what is this relay's of `works`, for LEASE_S."""
        start = self._of + kind
        with self._store.transaction() as tx:
            held = tx.lease([start + work for work in works], self._me, LEASE_S)
        return {work[len(start) :] for work in held}

    def give_back(self, kind: bytes, works: Collection[bytes]) -> None:
        """Let others have it: it is done, and can be heard of."""
        if works:
            with self._store.transaction() as tx:
                tx.give_back([self._of + kind + work for work in works], self._me)
