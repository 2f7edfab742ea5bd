"""Put the signed time on the broker, retained, so that every meter finds it at each connect."""

import threading
from contextlib import suppress

import wire
from parwana.chain.deployment import Deployment
from parwana.world import broker
from parwana.world.broker import BrokerError

PUBLISH_S = 10.0


class Publisher:
    """Keep one connection to the broker; publish retained on the time topic."""

    def __init__(self, deployment: Deployment) -> None:
        self._topic = wire.time_topic(deployment.utility_id)
        _, host, port, _, _ = broker.parse_url(deployment.broker)
        self._place = f"{host}:{port}"
        self._connected = threading.Event()
        self._client = broker.client(deployment.broker)
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._client.connect_async(host, port, keepalive=30)
        self._started = False

    def publish(self, payload: bytes) -> None:
        """Publish and wait for the broker's word. Raises BrokerError."""
        if not self._started:
            self._client.loop_start()
            self._started = True
        # Not queued while disconnected: by then the time would be an old one.
        if self._connected.wait(PUBLISH_S):
            message = self._client.publish(self._topic, payload, qos=1, retain=True)
            with suppress(RuntimeError, ValueError):
                message.wait_for_publish(PUBLISH_S)
                if message.is_published():
                    return
        raise BrokerError(
            f"waited {PUBLISH_S:g} s for the broker {self._place} to take the signed time; "
            "is it running?"
        )

    def close(self) -> None:
        """Leave the broker."""
        if self._started:
            self._client.disconnect()
            self._client.loop_stop()
