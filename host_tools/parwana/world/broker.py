"""Reach the MQTT broker: one way to write its address, one way to make a client."""

import ssl
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerError(Exception):
    """The broker cannot be used; the message says what to write or to check."""


def parse_url(url: str) -> tuple[str, str, int, str | None, str | None]:
    """Return (scheme, host, port, user, password) of mqtt[s]://[user[:password]@]host[:port].

    Raises BrokerError, which never shows the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BrokerError("the broker's port is no number from 1 to 65535") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise BrokerError("write the broker as mqtt://host:1883, or mqtts://host:8883 for TLS")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], user, password


def client(url: str, *, manual_ack: bool = False) -> Client:
    """Make an MQTT 5 client for `url`; the caller connects it. Raises BrokerError."""
    scheme, _, _, user, password = parse_url(url)
    made = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, manual_ack=manual_ack)
    if user is not None:
        made.username_pw_set(user, password)
    if scheme == "mqtts":
        made.tls_set_context(ssl.create_default_context())
    made.reconnect_delay_set(min_delay=1, max_delay=30)
    return made
