"""All that reads bytes from outside the meter: what it is fed, and what it may say of them.

`parsers()` is the table, for both interpreters: a name, seeds that are well-formed, a function
that has one input read and checks what came of it, and the errors that are its answer to bad ones.
Any other error is a fault. What was found so is kept in vectors/found.json. What reads the meter's
own flash is in flashparsers.py.
"""

import crc16
import dns
import log
import modbus_rtu
import sntp
from handover import Handover
from permits import Permits, Refused
from pzem004t import Pzem004T, SensorError

import wire
from hil_tests.firmware import signers, test_mqtt
from hil_tests.firmware.test_dns import ANSWER, QUERY
from hil_tests.firmware.test_pzem004t import REGISTERS, Bus, reply

T0 = signers.T0
METER = bytes(range(20))
SIGNATURE = bytes(range(64))
# What a mutation puts in: the words and numbers at which formats turn.
TOKENS = (
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"PARWANA:", b"null",
    b"true", b"-1", b"1e999", b"[]", b"{}", b'""', b"99999999999999999999", b"0x", b"\n", b" ",
    b"\\ud800", b"\xc0\xaf", b"[" * 2000,
)  # fmt: skip


class Parser:
    """One that reads; `share` of the inputs is the less the longer one takes."""

    def __init__(self, name, seeds, run, allowed=(), share=1.0):
        self.name = name
        self.seeds = seeds
        self.run = run
        self.allowed = allowed
        self.share = share

    def try_(self, data):
        """Have it read `data`; return the text of its error, "" for none. Raises faults."""
        try:
            self.run(data)
        except self.allowed as error:
            return str(error) or "nothing"
        return ""


def frames():
    """Return a frame of each kind."""
    return [
        wire.pack_reading(0x61, 7, T0, 12_345, 4321, 23_456, 1934, 2305, 2281, 500, 97, 1),
        wire.pack_event(wire.EVENT_PERMIT_REFUSED, 8, T0, 12_345, 5, 6, 7, 2),
        signers.permit(9, power_limit_dw=50_000, no_cut_from_h=22, no_cut_to_h=6),
        wire.pack_time(10, T0),
        wire.pack_signer(1, 11, T0, bytes(28)),
        wire.pack_ledger(12, T0, 31337, METER),
        wire.pack_update(10, 13, 0x200, bytes(28)),
    ]


def bundles():
    """Return a bundle of each kind that signers sign, the signatures right or not."""
    made = [signers.bundle(signers.permit(9)), signers.bundle(wire.pack_time(10, T0))]
    for frame in frames()[2:]:
        key = bytes(64) if frame[1] == wire.KIND_SIGNER else b""
        made.append(wire.pack_bundle(frame, [(0, SIGNATURE), (2, SIGNATURE)], key))
    return made


def messages():
    """Return a payload of each sort."""
    reading = frames()[0]
    return [
        wire.pack_frames([(reading, SIGNATURE), (frames()[1], SIGNATURE)]),
        wire.pack_hello(1, 9, T0, 0, 3, 0x10203, 1),
        wire.pack_want(9),
        wire.pack_get(13, 2),
        wire.pack_piece(13, 2, bytes(range(256)) * 2),
        wire.pack_bundle_message(bundles()[0]),
    ]


_PACK = {
    wire.KIND_READING: wire.pack_reading,
    wire.KIND_EVENT: wire.pack_event,
    wire.KIND_PERMIT: wire.pack_permit,
    wire.KIND_TIME: wire.pack_time,
    wire.KIND_SIGNER: wire.pack_signer,
    wire.KIND_LEDGER: wire.pack_ledger,
    wire.KIND_UPDATE: wire.pack_update,
}


def _frame(data):
    fields = wire.parse(data)
    assert _PACK[data[1]](*fields) == data


def _bundle(data):
    bundle = wire.parse_bundle(data)
    parts = [bundle.frame, bundle.public_key]
    for index, signature in bundle.signatures:
        parts += [bytes([index]), signature]
    assert b"".join(parts) == data


def _text(data):
    bundle = wire.parse_text(data)
    assert bundle is None or wire.pack_text(bundle).encode() == data.upper()


def _message(data):
    kind, value = wire.parse_message(data)
    if kind == wire.MESSAGE_FRAMES:
        assert wire.pack_frames(value) == data
    elif kind == wire.MESSAGE_HELLO:
        assert wire.pack_hello(*value) == data


def _down(data):
    kind, value = wire.parse_down(data)
    if kind == wire.MESSAGE_WANT:
        assert wire.pack_want(value) == data
    elif kind == wire.MESSAGE_PIECE:
        assert wire.pack_piece(*value) == data


def _topic(data):
    name = "".join(chr(byte & 0x7F) for byte in data)
    assert wire.topic(*wire.parse_topic(name)) == name


def _dns(data):
    address = dns.parse_answer(data, QUERY)
    assert address is None or dns.is_address(address)


_NONCE = bytes(range(1, 9))


def _sntp(data):
    time_s = sntp.parse_answer(data, sntp.pack_query(_NONCE))
    assert time_s is None or 0 <= time_s + (1 << 31) < 1 << 33


def _mqtt(data):
    """Read what a broker sends, in pieces of as many bytes as its first says."""
    session, sock = test_mqtt.opened()
    size = 1 + data[0] if data else 1
    for at in range(1, len(data), size):
        sock.coming = data[at : at + size]
        while sock.coming:
            session.heard()
            message = session.receive()
            while message:
                assert len(message[0]) + len(message[1]) <= 1024
                message = session.receive()
    assert len(session._stream._in) <= 2048


def _modbus(data):
    modbus_rtu.check_read(data, len(data), 1, modbus_rtu.READ_INPUT_REGISTERS, 10)
    assert data[:3] == b"\x01\x04\x14"
    assert crc16.crc16(data[:-2]) == data[-2] | data[-1] << 8


def _sensor(data):
    bus = Bus()
    now = [0]
    sensor = Pzem004T(bus, 1, 1, lambda: now[0])
    sensor.request()
    bus.input = data
    snapshot = None
    while snapshot is None:
        if not bus.input:
            now[0] = 1000
        snapshot = sensor.receive()
    assert snapshot.voltage_dv <= 5_000
    assert snapshot.power_dw <= 460_000
    assert snapshot.power_factor_pct <= 100


def _log(data):
    lines = []
    console = log.Console(write=lines.append, ticks_ms=lambda: 0)
    console.line(2, "uplink", "".join(chr(byte) for byte in data))
    assert all(" " <= letter <= "~" for letter in lines[0])


def _handover(data):
    typed = iter(data)
    handover = Handover(lambda: next(typed, None), lambda *_: True, len)
    for _ in range(len(data) // 300 + 60):
        handover.tick()
    assert len(handover._line) <= 1265


def trusting(persist=len, saved=None):
    """Return Permits of signers 0 to 3, two of which it takes."""
    return Permits(
        2,
        signers.PUBLIC_KEYS[:4],
        signers.CHAIN_ID,
        signers.LEDGER,
        signers.METER,
        signers.OFFSET_S,
        persist,
        saved,
    )


def _accept(data):
    held = trusting()
    held.accept(data, T0, 0)
    held.grant(T0, 0)


def parsers():
    """Return what reads the network, the sensor's line and the console."""
    good = reply(REGISTERS)
    answer = bytes([0x24, 1]) + bytes(22) + _NONCE + bytes(8) + b"\xee" + bytes(7)
    broker = (
        b"\x30" + test_mqtt.CONNACK + b"\x90\x03\x00\x01\x01\x40\x02\x00\x01"
        + test_mqtt.publish(b"down", messages()[2]) + b"\xd0\x00"
    )  # fmt: skip
    long = b"\0" + test_mqtt.publish(b"time", bytes(2000))
    texts = [wire.pack_text(bundle).encode() for bundle in bundles()]
    return [
        Parser("frame", frames(), _frame, wire.FrameError),
        Parser("bundle", bundles(), _bundle, wire.FrameError),
        Parser("text", texts, _text, wire.FrameError),
        Parser("message", messages(), _message, wire.FrameError),
        Parser("message down", messages(), _down, wire.FrameError),
        Parser("topic", [wire.topic("kalpa-1", METER, "up").encode()], _topic, wire.FrameError),
        Parser("dns", [ANSWER], _dns, dns.NameServerError),
        Parser("sntp", [answer], _sntp),
        Parser("mqtt", [broker, long], _mqtt, OSError, 0.1),
        Parser("modbus", [good, b"\x01\x84\x02\xc2\xc1"], _modbus, modbus_rtu.ModbusError),
        Parser("sensor", [good, good[9:] + good], _sensor, SensorError, 0.2),
        Parser("log", [b"one line", b"a\nb\x1b[2J"], _log),
        Parser("console", [text + b"\r" for text in texts], _handover, (), 0.2),
        Parser("permits accepted", bundles(), _accept, Refused, 0.01),
    ]


def mutate(dice, data, others):
    """Return `data` with one to four faults."""
    data = bytearray(data)
    for _ in range(1 + dice.roll(4)):
        size = len(data)
        at = dice.roll(size + 1)
        kind = dice.roll(9)
        if kind == 0 and at < size:
            data[at] ^= 1 << dice.roll(8)
        elif kind == 1 and at < size:
            data[at] = dice.roll(256)
        elif kind == 2 and at < size:
            data[at] = (0, 1, 0x7F, 0x80, 0xFF)[dice.roll(5)]
        elif kind == 3:
            data = data[:at] + bytes(dice.roll(256) for _ in range(1 + dice.roll(8))) + data[at:]
        elif kind == 4:
            data = data[:at] + data[at + 1 + dice.roll(16) :]
        elif kind == 5:
            data = data[:at]
        elif kind == 6:
            data = data[:at] + data[dice.roll(size + 1) :]
        elif kind == 7:
            token = TOKENS[dice.roll(len(TOKENS))]
            data = data[:at] + token + data[at + dice.roll(2) * len(token) :]
        else:
            other = others[dice.roll(len(others))]
            data = data[:at] + other[dice.roll(len(other) + 1) :]
    return bytes(data[:4096])
