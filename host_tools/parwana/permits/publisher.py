"""Put the signed time on the broker, retained, so that every meter finds it at each connect."""

import wire
from parwana.chain.deployment import Deployment
from parwana.world.broker import Session

PUBLISH_S = 10.0


class Publisher:
    """Keep one connection to the broker; publish retained on the time topic."""

    def __init__(self, deployment: Deployment) -> None:
        self._topic = wire.time_topic(deployment.utility_id)
        self._session = Session(deployment.broker)
        self._started = False

    def publish(self, payload: bytes) -> None:
        """Publish and wait until the broker took it. Raises BrokerError."""
        if not self._started:
            self._session.start()
            self._started = True
        # Not queued while disconnected: by then the time would be an old one.
        self._session.wait(PUBLISH_S)
        self._session.put(self._topic, payload, PUBLISH_S, retain=True)

    def close(self) -> None:
        """Leave the broker."""
        self._session.stop()
