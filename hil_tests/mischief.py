"""What somebody may do at a broker to another client of it: flood its topics, take its id."""

import socket
import threading
from contextlib import suppress

import paho.mqtt.client as paho


class Flood:
    """Publishes one message on a topic as fast as a broker takes it, while it is a context."""

    def __init__(self, port: int, topic: str, payload: bytes, qos: int) -> None:
        body = len(topic).to_bytes(2, "big") + topic.encode()
        body += (b"\0\1" if qos else b"") + payload
        self._packet = bytes([0x30 | qos << 1]) + _length(len(body)) + body
        self._sock = socket.create_connection(("127.0.0.1", port), 5)
        self._sock.sendall(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1f")
        assert self._sock.recv(4) == b"\x20\2\0\0"
        self.sent = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._drain)]

    def __enter__(self) -> "Flood":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads[0].join(10)
        self._sock.close()
        self._threads[1].join(10)

    def _send(self) -> None:
        with suppress(OSError):
            while not self._over.is_set():
                self._sock.sendall(self._packet)
                self.sent += 1

    def _drain(self) -> None:
        """Take the acknowledgements."""
        with suppress(OSError):
            while not self._over.is_set() or self._threads[0].is_alive():
                with suppress(TimeoutError):
                    self._sock.recv(4096)


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size & 127 | 128]) + _length(size >> 7)


class Rival:
    """Another client with an id that somebody has, which comes back a second after each kick."""

    def __init__(self, port: int, client_id: str) -> None:
        self.kicked = 0
        client = self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv311
        )
        client.reconnect_delay_set(1, 1)
        client.on_disconnect = self._on_disconnect
        client.connect_async("127.0.0.1", port)

    def _on_disconnect(self, *_: object) -> None:
        self.kicked += 1

    def __enter__(self) -> "Rival":
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
