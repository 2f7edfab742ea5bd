"""Follow the chain: which meters are enrolled, which permits were published. It only reads."""

from collections.abc import Callable
from typing import Any

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.store.reader import Store, Writer

CURSOR = "relay"
_BLOCKS = 2000


class Follower:
    """Copy the registry's meters and the published permits into the store.

    The cursor stays at the newest final block, so what a reorganisation changes is read again. A
    permit is delivered before it is final: its signers waited for the payment's finality, and the
    meter judges it alone.
    """

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        connect: Callable[[], Chain],
        deliver: Callable[[bytes, bytes], None],
    ) -> None:
        self._deployment = deployment
        self._store = store
        self._connect = connect
        self._deliver = deliver
        self._delivered: set[tuple[bytes, int]] = set()
        self._chain: Chain | None = None
        self._ledgers: Ledgers | None = None

    def step(self) -> int:
        """Read what is new; return the next block to read. Raises ChainError, StoreError."""
        if self._chain is None or self._ledgers is None:
            self._chain = self._connect()
            self._ledgers = self._chain.ledgers(self._deployment)
        final, head = self._chain.finalized_block(), self._chain.head()
        at = self._store.cursor(CURSOR)
        at = self._deployment.from_block if at is None else at
        while at <= head:
            stop = min(at + _BLOCKS - 1, head)
            self._read(self._chain, self._ledgers, at, stop, final)
            at = stop + 1
        return min(at, final + 1)

    def _read(self, chain: Chain, ledgers: Ledgers, first: int, last: int, final: int) -> None:
        events = ledgers.registry.events
        changes = [
            *chain.logs(events.Enrolled, first, last),
            *chain.logs(events.Replaced, first, last),
            *chain.logs(events.Retired, first, last),
        ]
        changes.sort(key=lambda log: (log["blockNumber"], log["logIndex"]))
        places = {
            # At a block, so that a node which lacks the log cannot say what it knows of before.
            log["args"]["new"]: chain.call(
                ledgers.registry.functions.meter(log["args"]["new"]), chain.head()
            )
            for log in changes
            if log["event"] == "Replaced"
        }
        published = chain.logs(ledgers.payment.events.PermitPublished, first, last)
        with self._store.transaction() as tx:
            for log in changes:
                _apply(tx, log, places)
            tx.forget_permits(max(first - 1, min(final, last)))
            for log in published:
                bundle = bytes(log["args"]["frame"]) + bytes(log["args"]["signatures"])
                tx.add_permit(*_permit(log), bundle, log["blockNumber"])
            tx.set_cursor(CURSOR, min(last, final) + 1)
        for log in published:
            self._offer(*_permit(log))

    def _offer(self, meter: bytes, serial: int) -> None:
        """Deliver a permit once in this process's life, unless a newer one is there."""
        newest = self._store.newest_permit(meter)
        if newest is None or newest.serial != serial or (meter, serial) in self._delivered:
            return
        self._deliver(meter, newest.bundle)
        self._delivered.add((meter, serial))


def _permit(log: Any) -> tuple[bytes, int]:
    return bytes.fromhex(log["args"]["meter"][2:]), log["args"]["serial"]


def _apply(tx: Writer, log: Any, places: dict[str, Any]) -> None:
    values = log["args"]
    if log["event"] == "Retired":
        tx.retire(bytes.fromhex(values["meter"][2:]))
        return
    if log["event"] == "Replaced":
        place = places[values["new"]]
        tx.retire(bytes.fromhex(values["old"][2:]))
        tx.enrol(bytes.fromhex(values["new"][2:]), place.number, place.kind, place.feeder)
        return
    meter = bytes.fromhex(values["meter"][2:])
    tx.enrol(meter, values["number"], values["kind"], values["feeder"])
