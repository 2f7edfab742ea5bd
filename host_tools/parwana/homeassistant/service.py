"""Look at store and chain again and again, and tell the bridge."""

import threading
import time
from collections.abc import Callable, Sequence

from eth_utils import to_checksum_address

from parwana.chain.currency import Currency, currency_of
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError
from parwana.chain.node import Chain, Ledgers
from parwana.homeassistant.bridge import Bridge, log
from parwana.homeassistant.state import State, look, meter_of
from parwana.store.reader import Store, StoreError
from parwana.world.logs import Trouble

DUE_EVERY_S = 60


class Dues:
    """What each meter owes, by the PaymentLedger; None where it cannot be told now."""

    def __init__(self, deployment: Deployment, connect: Callable[[], Chain]) -> None:
        self.currency = Currency(deployment.coin, 18)
        self._deployment, self._connect = deployment, connect
        self._reached: tuple[Chain, Ledgers] | None = None
        self._trouble = Trouble(log, "chain")
        self._due: dict[bytes, str | None] = {}
        self._again_s = 0.0

    def of(self, houses: Sequence[bytes]) -> dict[bytes, str | None]:
        """Return amounts as decimals; asks the chain at most every DUE_EVERY_S."""
        if time.monotonic() < self._again_s:
            return self._due
        try:
            if self._reached is None:
                chain = self._connect()
                ledgers = chain.ledgers(self._deployment)
                self.currency = currency_of(chain, ledgers, self._deployment)
                self._reached = chain, ledgers
            chain, ledgers = self._reached
            account = ledgers.payment.functions.account
            self._due = {
                house: self.currency.text(
                    chain.call(account(to_checksum_address("0x" + house.hex()))).due
                ).partition(" ")[0]
                for house in houses
            }
            self._trouble.over()
        except ChainError as error:
            self._reached, self._due = None, {}
            self._trouble.failed(str(error))
        self._again_s = time.monotonic() + DUE_EVERY_S
        return self._due


def run(
    bridge: Bridge,
    store: Store,
    dues: Dues,
    numbers: list[int],
    *,
    now: Callable[[], float],
    stale_s: int,
    every_s: float,
    stop: threading.Event,
) -> None:
    """Tell until `stop`."""
    trouble = Trouble(log, "store")
    bridge.start()
    try:
        while True:
            if bridge.ready:
                try:
                    _tell(bridge, store, dues, numbers, int(now()), stale_s)
                    trouble.over()
                except StoreError as error:
                    trouble.failed(str(error))
            if stop.wait(every_s if bridge.ready else min(every_s, 0.2)):
                return
    finally:
        bridge.stop()


def _tell(
    bridge: Bridge, store: Store, dues: Dues, numbers: list[int], now_s: int, stale_s: int
) -> None:
    """Look once. Raises StoreError."""
    permits, rows = store.accepted_permits(), store.meters()
    shown, gone = [], []
    states: dict[bytes, State] = {}
    for row in rows:
        if row.number is None:
            continue
        if not row.in_service or (numbers and row.number not in numbers):
            gone.append(row.meter)
            continue
        shown.append(meter_of(row))
        state = look(store, row, permits.get(row.meter), now_s, stale_s)
        if state is not None:
            states[row.meter] = state
    owed = dues.of([meter.address for meter in shown if meter.kind == "house"])
    bridge.tell(shown, states, owed, dues.currency.name, gone)
