"""What it means when a broker refuses, hangs up or cannot be reached, and what to do about it.

Each function returns the end of a sentence that begins with the broker's name. None shows a
password. Source: MQTT 5.0, section 2.4 and table 3-1 (reason codes), 3.2.2.3 (properties).
"""

import errno
import socket
import ssl
from typing import Any

_LOGIN = {
    0x01: "speaks no MQTT 5, which relays, signers and pairing need; take a broker that does",
    0x84: "speaks no MQTT 5, which relays, signers and pairing need; take a broker that does",
    0x85: "refuses the client id {client}; let it take any that begins with parwana-",
    0x86: "refuses {user}: wrong user or password; check both in the broker's URL",
    0x87: "does not authorise {user}: check user and password in the broker's URL, and that this "
    "user may connect",
    0x88: "is unavailable; look at its log",
    0x89: "is busy; it is tried again",
    0x8A: "has banned {user} or this computer; lift the ban there",
    0x8C: "wants another way to log in than user and password; allow these",
    0x95: "takes no packet as large as ours; raise its limit (mosquitto: max_packet_size)",
    0x97: "gives {user} no more: a quota is exceeded; raise it there",
    0x9C: "sends us to another server; write that one into the broker's URL",
    0x9D: "has moved to another server; write that one into the broker's URL",
    0x9F: "takes no more connections for now (rate exceeded); it is tried again",
}
_FAREWELL = {
    0x8B: "shuts down",
    0x8D: "missed our keep-alive; is the network to it slow?",
    0x8E: "gave our session to another client with the client id {client}: is an id used twice, "
    "or made from the user (mosquitto: use_username_as_clientid)? Each client needs its own",
    0x93: "was sent more at once than it takes; raise its limit "
    "(mosquitto: max_inflight_messages)",
    0x96: "was sent messages too fast for its limit; raise it",
    0x98: "closed the connection by hand of its administrator",
    0xA0: "ends each connection after a while (its maximum connect time)",
}
_LACKING = {
    "MaximumQoS": "takes no QoS 1, which every message here has; allow it (mosquitto: max_qos)",
    "RetainAvailable": "retains nothing, but permits and signed time must be retained; allow it "
    "(mosquitto: retain_available)",
}
_NOT_SHARED = "has no shared subscriptions, which relays need; take a broker that has"
_CERTIFICATE = {
    9: "it is not valid yet: check this computer's clock",
    10: "it has expired: renew it, or check this computer's clock",
    18: "it is signed by itself, by no CA that is known here",
    19: "its CA is not known here",
    20: "its CA is not known here",
    21: "its CA is not known here",
    23: "it was revoked",
    62: "it is made out to another name than {host}: write the name that it has, or have one made",
    64: "it is made out to another address than {host}: write the name that it has",
}
_UNKNOWN_CA = (18, 19, 20, 21)
_CA_ADVICE = "; give the CA's certificate (pair: --broker-ca; else SSL_CERT_FILE)"


def login(code: int, words: str, user: str, client: str) -> str:
    """Say why a CONNACK refused `user` with the client id `client`; `words` name the code."""
    return _told(_LOGIN, code, f"refuses {user}: {words}; look at its log", user, client)


def farewell(code: int, words: str, user: str, client: str) -> str:
    """Say why the broker's DISCONNECT ended a connection."""
    return _told(
        {**_LOGIN, **_FAREWELL}, code, f"closed the connection: {words}; look at its log", user,
        client,
    )  # fmt: skip


def _told(table: dict[int, str], code: int, otherwise: str, user: str, client: str) -> str:
    text = table.get(code)
    return otherwise if text is None else text.format(user=user, client=client)


def lacking(properties: Any, *, shared: bool) -> str:
    """Return what a CONNACK says that the broker cannot do though we need it, "" if nothing."""
    for name, text in _LACKING.items():
        if getattr(properties, name, 1) == 0:
            return text
    if shared and getattr(properties, "SharedSubscriptionAvailable", 1) == 0:
        return _NOT_SHARED
    return ""


def publish(code: int, words: str, user: str, topic: str) -> str:
    """Say why a PUBACK denied a message."""
    if code == 0x87:
        return f"lets {user} not publish to {topic}; give this user the right to write it"
    return f"did not take what {user} published to {topic}: {words}; look at its limits and log"


def subscribe(code: int, words: str, user: str, topic: str) -> str:
    """Say why a SUBACK denied a subscription."""
    if code == 0x87:
        return f"lets {user} not subscribe to {topic}; give this user the right to read it"
    if code == 0x9E:
        return _NOT_SHARED
    return f"denies {user} the subscription to {topic}: {words}; look at its limits and log"


def unreachable(error: BaseException | None, host: str, *, tls: bool) -> str:
    """Say why no connection came about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        why = _CERTIFICATE.get(code, f"{error.verify_message}; mend it").format(host=host)
        advice = _CA_ADVICE if code in _UNKNOWN_CA else ""
        return f"has a certificate that does not verify: {why}{advice}"
    if isinstance(error, socket.gaierror):
        return "has a name that does not resolve; check how it is written, and the name server"
    if isinstance(error, ConnectionRefusedError):
        return "takes no connection at this port; is it running?"
    words = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
    if isinstance(error, ssl.SSLError) or (tls and isinstance(error, ConnectionError)):
        words = getattr(error, "reason", words)
        return (
            f"does not speak TLS at this port ({words}); mqtts:// wants its TLS port, mqtt:// its "
            "plain one"
        )
    if isinstance(error, TimeoutError):
        return "does not answer: is it running, and does a firewall let us through?"
    return f"cannot be reached ({words}): is it running, and does the network lead to it?"
