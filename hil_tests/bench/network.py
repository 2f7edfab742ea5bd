"""A real broker, a relay's carrier and its store, for the time of one test."""

import time
from contextlib import ExitStack
from pathlib import Path

import wire
from hil_tests.bench.protocols import BenchError
from hil_tests.services import Broker
from parwana.relay.carrier import Carrier
from parwana.store.reader import Store
from parwana.world.broker import BrokerError, Session
from parwana.world.clock import WorldClock

_CONNECT_S = 15


class Network:
    """What the meter finds at `host` once it was started. Use it as a context."""

    broker: Broker
    store: Store

    def __init__(
        self, folder: Path, host: str, port: int, utility_id: str, clock: WorldClock
    ) -> None:
        self._folder, self._host, self._port = folder, host, port
        self._utility_id = utility_id
        self._clock = clock
        self._stack = ExitStack()

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, meter: bytes) -> None:
        """Start a broker, an empty store and a relay whose registry has the meter."""
        path = self._folder / "store.sqlite"
        path.unlink(missing_ok=True)
        self.store = Store(f"sqlite:///{path}")
        self._stack.callback(self.store.close)
        with self.store.transaction() as tx:
            tx.enrol(meter, 1, 1, 0)
        self.broker = Broker(self._folder, self._host, self._port)
        self._stack.callback(self.broker.stop)
        carrier = Carrier(self._utility_id, self.broker.url, self.store, self._clock.now)
        carrier.start()
        self._stack.callback(carrier.stop)
        self._session = self._stack.enter_context(Session(self.broker.url))
        self._session.wait(_CONNECT_S)

    def send(self, meter: bytes, bundle: bytes) -> float:
        """Send a bundle to the meter; return when it left (time.monotonic)."""
        topic = wire.topic(self._utility_id, meter, "down")
        payload = bytes([wire.MESSAGE_BUNDLE]) + bundle
        left_s = time.monotonic()
        try:
            self._session.put(topic, payload, _CONNECT_S)
        except BrokerError as error:
            raise BenchError(f"network: {error}") from None
        return left_s
