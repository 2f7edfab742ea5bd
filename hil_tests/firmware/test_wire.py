"""The codec agrees with the golden vectors, and refuses what they say it must."""

import json
from binascii import hexlify, unhexlify

import wire
from hil_tests.firmware.check import VECTORS, raises

PACK = {
    1: wire.pack_reading,
    2: wire.pack_event,
    3: wire.pack_permit,
    4: wire.pack_time,
    5: wire.pack_signer,
    6: wire.pack_ledger,
    7: wire.pack_update,
}
TYPES = {
    1: wire.Reading,
    2: wire.Event,
    3: wire.Permit,
    4: wire.Time,
    5: wire.Signer,
    6: wire.Ledger,
    7: wire.Update,
}


def vectors(name):
    with open(VECTORS + name) as file:
        return json.load(file)


def hexed(data):
    return hexlify(data).decode()


def fields_of(case):
    fields = dict(case["fields"])
    for name in ("key_prefix", "ledger", "hash_prefix"):
        if name in fields:
            fields[name] = unhexlify(fields[name])
    return fields


def test_frames():
    for case in vectors("frames.json")["frames"]:
        fields = fields_of(case)
        frame = unhexlify(case["frame"])
        assert PACK[case["kind"]](**fields) == frame, case["name"]
        parsed = wire.parse(frame)
        assert isinstance(parsed, TYPES[case["kind"]]), case["name"]
        for name, value in fields.items():
            assert getattr(parsed, name) == value, (case["name"], name)
        assert len(parsed) == len(fields)
        assert PACK[case["kind"]](*parsed) == frame
        assert wire.parse(bytearray(frame)) == parsed


def test_refused_frames():
    cases = vectors("frames.json")["refused"]
    assert len(cases) > 70
    for case in cases:
        with raises(wire.FrameError):
            wire.parse(unhexlify(case["frame"]))
            print("not refused:", case["why"])


def test_packing_refuses_one_more_than_the_most():
    for case in vectors("frames.json")["frames"]:
        if not case["name"].endswith("_most"):
            continue
        fields = fields_of(case)
        for name, value in fields.items():
            if isinstance(value, int):
                # Flags have room above the most only where a reserved bit is set.
                wrong = (-1, value + 1, 1.5, None, b"\0")
            else:
                wrong = (value + b"\0", value[1:], b"", 1, None)
            for bad in wrong:
                changed = dict(fields)
                changed[name] = bad
                with raises(wire.FrameError):
                    PACK[case["kind"]](**changed)
                    print("not refused:", case["name"], name, bad)


def test_every_control_state():
    for state in range(4):
        flags = state << wire.CONTROL_SHIFT
        if state < 3:
            frame = wire.pack_reading(flags, *[0] * 11)
            assert wire.parse(frame).flags & wire.CONTROL_MASK == flags
        else:
            with raises(wire.FrameError, "control_state"):
                wire.pack_reading(flags, *[0] * 11)


def test_domains_and_digests():
    v = vectors("signed.json")
    ledger, meter = unhexlify(v["ledger"]), unhexlify(v["meter"]["address"])
    domains = {
        "reading": wire.reading_domain(v["utility_id"]),
        "permit": wire.permit_domain(v["chain_id"], ledger, meter),
        "permit_of_ledger": wire.permit_domain(v["chain_id"], ledger, bytes(20)),
        "time": wire.time_domain(v["chain_id"], ledger),
        "update": wire.update_domain(v["chain_id"], ledger),
    }
    for name, domain in domains.items():
        assert hexed(domain) == v["domains"][name], name
    for case in v["signed"]:
        digest = wire.digest(domains[case["domain"]], unhexlify(case["frame"]))
        assert hexed(digest) == case["digest"], case["name"]


def test_domains_refuse():
    for utility_id in ("", "a" * 33, "Demo", "a b", "a/b", "a_b", "é"):
        with raises(wire.FrameError, "utility id"):
            wire.reading_domain(utility_id)
    for chain_id in (-1, 1 << 256):
        with raises(wire.FrameError, "chain id"):
            wire.time_domain(chain_id, bytes(20))
    for address in (b"", bytes(19), bytes(21)):
        with raises(wire.FrameError, "address"):
            wire.permit_domain(1, address, bytes(20))
        with raises(wire.FrameError, "address"):
            wire.permit_domain(1, bytes(20), address)
    for domain, frame in ((bytes(31), bytes(40)), (bytes(32), bytes(41))):
        with raises(wire.FrameError, "digest"):
            wire.digest(domain, frame)


def test_key_prefix():
    case = [c for c in vectors("frames.json")["frames"] if c["name"] == "signer"][0]
    bundle = [c for c in vectors("bundles.json")["bundles"] if c["name"] == "signer"][0]
    assert hexed(wire.key_prefix(unhexlify(bundle["public_key"]))) == case["fields"]["key_prefix"]
    with raises(wire.FrameError, "public key"):
        wire.key_prefix(bytes(33))


def test_bundles():
    for case in vectors("bundles.json")["bundles"]:
        frame, public_key = unhexlify(case["frame"]), unhexlify(case["public_key"])
        signatures = [(index, unhexlify(s)) for index, s in case["signatures"]]
        data = unhexlify(case["bundle"])
        assert wire.parse_bundle(data) == wire.Bundle(frame, public_key, signatures), case["name"]
        if case["rising"]:
            assert wire.pack_bundle(frame, signatures, public_key) == data
        else:
            with raises(wire.FrameError, "must rise"):
                wire.pack_bundle(frame, signatures, public_key)


def test_refused_bundles():
    for case in vectors("bundles.json")["refused"]:
        with raises(wire.FrameError):
            wire.parse_bundle(unhexlify(case["bundle"]))
            print("not refused:", case["why"])
        with raises(wire.FrameError):
            wire.pack_bundle_message(unhexlify(case["bundle"]))


def test_packing_a_bundle_refuses():
    permit = wire.pack_permit(0, 1, 2, 3, 4)
    signer = wire.pack_signer(0, 1, 2, bytes(28))
    one = [(0, bytes(64))]
    for arguments in (
        (permit, []),
        (permit, [(0, bytes(63))]),
        (permit, [(8, bytes(64))]),
        (permit, [(-1, bytes(64))]),
        (permit, one, bytes(64)),
        (signer, one),
        (signer, one, bytes(65)),
        # 65 bytes more look like one signature more: the key must not become one.
        (permit, one, bytes(65)),
        (wire.pack_event(1, 1, 1, 1), one),
    ):
        with raises(wire.FrameError):
            wire.pack_bundle(*arguments)
            print("not refused:", arguments)


def test_messages():
    v = vectors("messages.json")
    for case in v["frames"]:
        signed = [(unhexlify(s[:80]), unhexlify(s[80:])) for s in case["signed"]]
        message = unhexlify(case["message"])
        assert wire.parse_message(message) == (wire.MESSAGE_FRAMES, signed)
        assert wire.pack_frames(signed) == message
    most = unhexlify(v["frames_max"]["message"])
    message_type, signed = wire.parse_message(most)
    assert len(signed) == v["frames_max"]["count"] == wire.FRAMES_MAX
    assert wire.pack_frames(signed) == most
    hello = wire.Hello(*v["hello"]["fields"])
    assert wire.pack_hello(*hello) == unhexlify(v["hello"]["message"])
    assert wire.parse_message(unhexlify(v["hello"]["message"])) == (wire.MESSAGE_HELLO, hello)
    want = unhexlify(v["want"]["message"])
    assert wire.pack_want(v["want"]["sequence"]) == want
    assert wire.parse_message(want) == (wire.MESSAGE_WANT, v["want"]["sequence"])
    get = unhexlify(v["get"]["message"])
    assert wire.pack_get(*v["get"]["fields"]) == get
    assert wire.parse_message(get) == (wire.MESSAGE_GET, tuple(v["get"]["fields"]))
    fields = tuple(v["piece"]["fields"] + [unhexlify(v["piece"]["data"])])
    piece = unhexlify(v["piece"]["message"])
    assert wire.pack_piece(*fields) == piece
    assert wire.parse_message(piece) == (wire.MESSAGE_PIECE, fields)
    bundle = unhexlify(v["bundle"]["bundle"])
    assert hexed(wire.pack_bundle_message(bundle)) == v["bundle"]["message"]
    assert wire.parse_message(b"\4" + bundle) == (wire.MESSAGE_BUNDLE, bundle)


def test_refused_messages():
    for case in vectors("messages.json")["refused"]:
        with raises(wire.FrameError):
            wire.parse_message(unhexlify(case["message"]))
            print("not refused:", case["why"])


def test_a_meter_takes_only_what_is_for_it():
    v = vectors("messages.json")
    for name in ("want", "piece", "bundle"):
        message = unhexlify(v[name]["message"])
        assert wire.parse_down(message) == wire.parse_message(message)
    for message in (v["hello"], v["get"], v["frames_max"], {"message": ""}):
        with raises(wire.FrameError):
            wire.parse_down(unhexlify(message["message"]))


def test_packing_messages_refuses():
    frame, signature = wire.pack_event(1, 1, 1, 1), bytes(64)
    for signed in (
        [],
        [(frame, signature)] * 17,
        [(frame[1:], signature)],
        [(frame, signature[1:])],
    ):
        with raises(wire.FrameError):
            wire.pack_frames(signed)
    good = [1, 2, 3, 4, 5, 6, 0]
    for i, wrong in enumerate((-1, 1 << 32, -1, 1 << 32, 1 << 32, 1 << 24, 3)):
        fields = list(good)
        fields[i] = wrong
        with raises(wire.FrameError, "hello"):
            wire.pack_hello(*fields)
    for sequence in (-1, 1 << 32):
        with raises(wire.FrameError, "want"):
            wire.pack_want(sequence)
        with raises(wire.FrameError, "piece"):
            wire.pack_get(sequence, 0)
    for number, data in ((-1, bytes(512)), (1 << 16, bytes(512)), (0, bytes(511))):
        with raises(wire.FrameError, "piece"):
            wire.pack_piece(1, number, data)


def test_topics():
    v = vectors("messages.json")
    utility_id, meter = v["utility_id"], unhexlify(v["meter"])
    for leaf, name in v["topics"].items():
        assert wire.topic(utility_id, meter, leaf) == name
        assert wire.parse_topic(name) == (utility_id, meter, leaf)
    assert wire.time_topic(utility_id) == v["time_topic"]
    good = v["topics"]["up"]
    for bad in (
        "",
        v["time_topic"],
        good + "/up",
        good.replace("parwana", "parvana"),
        good.replace("/1/", "/2/"),
        good.replace(utility_id, "UP"),
        good.replace(v["meter"], v["meter"].upper()),
        good.replace(v["meter"], v["meter"][1:]),
        good.replace(v["meter"], "g" + v["meter"][1:]),
    ):
        with raises(wire.FrameError):
            wire.parse_topic(bad)
            print("not refused:", bad)
