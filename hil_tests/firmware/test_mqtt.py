"""Test mqtt: with the real umqtt.simple, over a socket of ours that the test plays broker on."""

import sys

from mqtt import BrokerError, Session

from hil_tests.firmware.check import MICROPYTHON, raises

if not MICROPYTHON:
    # umqtt.simple is written for MicroPython, which calls these modules so.
    import binascii
    import socket
    import struct

    sys.modules.update(usocket=socket, ustruct=struct, ubinascii=binascii)

_HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path.append(_HERE + "/../../build/runtime/umqtt-1.3.4")
import simple as umqtt  # noqa: E402

CONNACK = b"\x20\x02\x00\x00"


class Sock:
    """A non-blocking socket that takes `room` bytes at a time and holds what the broker sends."""

    def __init__(self):
        self.sent = b""
        self.coming = b""
        self.room = 1000000
        self.over = False
        self.closed = False

    def write(self, data):
        size = min(len(data), self.room)
        self.sent += bytes(data[:size])
        return size or None

    def readinto(self, buffer):
        if not self.coming:
            return 0 if self.over else None
        size = min(len(buffer), len(self.coming))
        buffer[:size] = self.coming[:size]
        self.coming = self.coming[size:]
        return size

    def close(self):
        self.closed = True


def opened():
    sock = Sock()
    session = Session(umqtt, sock)
    session.connect(b"me", b"user", b"secret", 60, b"status", b"\x00")
    assert session.pump()
    return session, sock


def accepted():
    session, sock = opened()
    sock.coming = CONNACK
    assert session.heard()
    assert session.receive() is None
    assert session.accepted
    sock.sent = b""
    return session, sock


def publish(topic, payload, pid=7, qos=1):
    body = len(topic).to_bytes(2, "big") + topic
    body += (pid.to_bytes(2, "big") if qos else b"") + payload
    return bytes([0x30 | qos << 1]) + length(len(body)) + body


def length(size):
    """Return a remaining length. Source: MQTT 3.1.1, section 2.2.3."""
    if size < 128:
        return bytes([size])
    return bytes([size & 127 | 128]) + length(size >> 7)


def test_connect_says_will_user_and_keepalive():
    session, sock = opened()
    assert sock.sent == (
        b"\x10\x27\x00\x04MQTT\x04\xee\x00\x3c"
        b"\x00\x02me\x00\x06status\x00\x01\x00\x00\x04user\x00\x06secret"
    )
    assert not session.accepted


def test_refusal_is_told():
    session, sock = opened()
    sock.coming = b"\x20\x02\x00\x05"
    session.heard()
    with raises(BrokerError, "not authorised"):
        session.receive()


def test_publish_and_subscribe_do_not_wait():
    session, sock = accepted()
    session.subscribe(b"down")
    session.publish(b"up", b"hello", True)
    assert session.pump()
    assert sock.sent == (b"\x82\x09\x00\x01\x00\x04down\x01" + b"\x33\x0b\x00\x02up\x00\x02hello")
    sock.coming = b"\x90\x03\x00\x01\x01\x40\x02\x00\x02"
    session.heard()
    assert session.receive() is None
    assert session.accepted == 2


def test_refused_subscription_is_told():
    session, sock = accepted()
    session.subscribe(b"down")
    sock.coming = b"\x90\x03\x00\x01\x80"
    session.heard()
    with raises(BrokerError, "subscription"):
        session.receive()


def test_messages_arrive_in_pieces_and_are_acknowledged():
    session, sock = accepted()
    packets = publish(b"down", b"x" * 300) + publish(b"time", b"y", 8)
    for i in range(len(packets)):
        assert session.receive() is None or i > 308
        sock.coming = packets[i : i + 1]
        session.heard()
    # The first was complete before the last byte came: only the second is left.
    assert session.receive() == (b"time", b"y")
    assert session.receive() is None
    session.pump()
    assert sock.sent == b"\x40\x02\x00\x07\x40\x02\x00\x08"


def test_two_messages_at_once_come_one_by_one():
    session, sock = accepted()
    sock.coming = b"\xd0\x00" + publish(b"a", b"1") + publish(b"b", b"2", qos=0)
    session.heard()
    assert session.receive() == (b"a", b"1")
    assert session.receive() == (b"b", b"2")
    assert session.receive() is None


def test_a_message_too_long_is_drained_counted_and_acknowledged():
    for topic, size, qos in (
        (b"time", 1019, 1),
        (b"time", 1021, 0),
        (b"time", 8000, 1),
        (b"time", 8000, 0),
        (b"", 2000, 1),
        (b"t" * 1500, 0, 1),
        (b"t" * 1500, 9, 0),
        (b"t" * 3000, 3000, 1),
    ):
        session, sock = accepted()
        sock.coming = publish(b"a", b"1", 6) + publish(topic, b"z" * size, 7, qos)
        sock.coming += publish(b"b", b"2", 8) + b"\xd0\x00"
        got = []
        while session.heard():
            message = session.receive()
            while message:
                got.append(message)
                message = session.receive()
            assert len(session._stream._in) <= 1300
        assert got == [(b"a", b"1"), (b"b", b"2")], (len(topic), size, qos)
        assert session.dropped == 1
        session.pump()
        pids = (6, 7, 8) if qos else (6, 8)
        assert sock.sent == b"".join(b"\x40\x02\x00" + bytes([pid]) for pid in pids)


def test_a_message_too_long_may_come_in_any_pieces():
    packet = publish(b"t" * 40, b"z" * 1000, 7) + publish(b"b", b"2", 8)
    for piece in (1, 2, 3, 255, 256):
        session, sock = accepted()
        got = []
        for at in range(0, len(packet), piece):
            sock.coming = packet[at : at + piece]
            session.heard()
            message = session.receive()
            if message:
                got.append(message)
        assert got == [(b"b", b"2")], piece
        session.pump()
        assert sock.sent == b"\x40\x02\x00\x07\x40\x02\x00\x08"


def test_only_whole_packets_and_kilobytes_of_long_ones_show_life():
    session, sock = accepted()
    count = session.count

    def hear(data):
        sock.coming = data
        while session.heard():
            session.receive()
        return session.count - count

    assert hear(b"\xd0\x00" + publish(b"a", b"1")) == 2
    assert hear(b"\x30\x90\x07") == 2  # 912 bytes, that are none
    for _ in range(200):
        assert hear(b"\xd0\x00") == 2
    session, sock = accepted()
    count = session.count
    assert hear(b"\x30\xff\xff\xff\x7f\x00\x01a") == 0
    for _ in range(500):
        assert hear(b"\xd0\x00") == 0
    assert hear(bytes(4096)) == 4


class Flood(Sock):
    """Sends the longest message that there is, and counts the reads."""

    size = 268435455
    reads = 0

    def readinto(self, buffer):
        self.reads += 1
        if self.coming:
            return super().readinto(buffer)
        size = min(len(buffer), self.size)
        self.size -= size
        return size or None


def test_the_longest_message_is_drained_in_steps():
    session, sock = accepted()
    session._stream._sock = flood = Flood()
    flood.coming = b"\x32\xff\xff\xff\x7f\x00\x04time"
    session.heard()
    session.receive()
    for _ in range(20):
        flood.reads = 0
        assert session.heard()
        assert session.receive() is None
        assert flood.reads <= 16
        assert len(session._stream._in) <= 256
    assert session.dropped == 0
    # Not all of 256 MB in a test: down to its last kilobyte.
    flood.size = session._stream._left = 1000
    while session.heard():
        session.receive()
    assert session.dropped == 1


def test_full_socket_is_no_error():
    session, sock = accepted()
    sock.room = 0
    session.publish(b"up", b"hello")
    assert not session.pump()
    sock.room = 3
    for _ in range(4):
        session.pump()
    assert session.pump()
    assert sock.sent == b"\x32\x0b\x00\x02up\x00\x01hello"


def test_broker_that_takes_nothing_ends_the_session():
    session, sock = accepted()
    sock.room = 0
    with raises(BrokerError, "takes nothing"):
        for _ in range(100):
            session.publish(b"up", b"z" * 200)


def test_wrong_certificate_ends_the_session():
    session, sock = opened()

    def refuse(_):
        raise ValueError("\nThe certificate is not correctly signed by the trusted CA\n")

    sock.write = refuse
    session.publish(b"up", b"hello")
    with raises(BrokerError, "The certificate is not"):
        session.pump()


def test_hang_up_is_told():
    session, sock = accepted()
    sock.over = True
    with raises(BrokerError, "closed"):
        session.heard()


def test_packet_identifiers_wrap():
    session, sock = accepted()
    session._client.pid = 0xFFFF
    session.publish(b"up", b"")
    session.pump()
    assert sock.sent == b"\x32\x06\x00\x02up\x00\x01"


def feed(data):
    session, sock = accepted()
    sock.coming = data
    while session.heard():
        session.receive()


def test_hostile_packets_end_the_session():
    for data in (
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\x90\x4e" + b"z" * 600,  # 10 kB, less than its topic
        b"\x32\x89\x08\x04\x07" + b"z" * 1031,  # nothing after the topic
        b"\x34\x90\x4e\x00\x01a" + b"z" * 600,  # 10 kB at QoS 2
        b"\x90\x90\x4e" + b"z" * 600,  # 10 kB, and no message
        b"\x30\x04\xff\xff\x00\x00",  # a topic longer than its packet
        b"\x30\x00",
        b"\x32\x03\x00\x01a",  # no packet identifier
        b"\x34\x07\x00\x01a\x00\x01xx",  # QoS 2
        b"\xd0\x01\x00",
        b"\x20\x00",
        b"\x00\x00",
        b"\xf0\x02ab",
        b"\x90\x00",
        b"\xff\xff",
    ):
        if data == b"\xff\xff":
            feed(data)  # not yet a packet
            continue
        with raises(BrokerError):
            feed(data)


def test_no_garbage_crashes_it():
    state = 12345
    for _ in range(300):
        data = bytearray()
        for _ in range(24):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            data.append(state >> 16 & 0xFF)
        try:
            feed(bytes(data))
        except BrokerError:
            pass
