"""Write the golden vectors: python hil_tests/vectors/make.py [folder]

Independent of the code under test: struct, hashlib, coincurve and eth-keys only. The keys are
test keys, made public here; whoever uses one gives its meter away.
"""

import json
import struct
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_keys.datatypes import PrivateKey as EthereumKey

UTILITY = "demo-utility"
CHAIN_ID = 31337
LEDGER = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
T0 = 1_800_000_000

READING = "flags sequence time_s energy_wh power_dw power_max_dw current_ma voltage_dv " + (
    "voltage_min_dv frequency_dhz power_factor_pct clock_trust"
)
EVENT = "code sequence time_s energy_wh a b c clock_trust"
PERMIT = "flags serial issued_at_s valid_until_s period power_limit_dw energy_limit_wh " + (
    "no_cut_from_h no_cut_to_h no_cut_weekdays grace_days"
)
KINDS = {
    1: (READING, "> 2B H 2I Q 3I 3H 2B"),
    2: (EVENT, "> 2B H 2I Q 3I 7x B"),
    3: (PERMIT, "> 2B H 5I Q 4B 4x"),
    4: ("serial issued_at_s", "> 2B 2x 2I 28x"),
    5: ("index serial issued_at_s key_prefix", "> 2B H 2I 28s"),
    6: ("serial issued_at_s chain_id ledger", "> 2B 2x 2I Q 20s"),
    7: ("pieces serial target hash_prefix", "> 2B H 2I 28s"),
}


def key(name: str) -> bytes:
    return sha256(b"parwana test key " + name.encode()).digest()


def public(secret: bytes) -> bytes:
    return PrivateKey(secret).public_key.format(compressed=False)[1:]


def address(secret: bytes) -> bytes:
    return EthereumKey(secret).public_key.to_canonical_address()


def sign(secret: bytes, digest: bytes) -> bytes:
    """Return r ‖ (yParity << 255 | s)."""
    signature = PrivateKey(secret).sign_recoverable(digest, hasher=None)
    compact = bytearray(signature[:64])
    compact[32] |= signature[64] << 7
    return bytes(compact)


METER = key("meter")
SIGNERS = [key(f"signer {i}") for i in range(8)]
NEW_SIGNER = key("new signer")
METER_ADDRESS = address(METER)

CHAIN = CHAIN_ID.to_bytes(32, "big")
DOMAINS = {
    "reading": sha256(b"parwana/reading/1" + UTILITY.encode()).digest(),
    "permit": sha256(b"parwana/permit/1" + CHAIN + LEDGER + METER_ADDRESS).digest(),
    "permit_of_ledger": sha256(b"parwana/permit/1" + CHAIN + LEDGER + bytes(20)).digest(),
    "time": sha256(b"parwana/time/1" + CHAIN + LEDGER).digest(),
    "update": sha256(b"parwana/update/1" + CHAIN + LEDGER).digest(),
}
DOMAIN_OF_KIND = {
    1: "reading", 2: "reading", 3: "permit", 4: "time", 5: "permit", 6: "permit", 7: "update",
}  # fmt: skip
PREFIX = sha256(public(NEW_SIGNER)).digest()[:28]
ARCHIVE = bytes(range(256)) * 6  # three pieces
OTHER_LEDGER = bytes.fromhex("e7f1725e7734ce288f8367e1bb143e90bb3f0512")

# name: (kind, values)
FRAMES: "dict[str, tuple[int, list[Any]]]" = {
    "reading": (
        1,
        [0x61, 7, T0 + 900, 12_345, 4_321, 23_456, 1_934, 2_305, 2_281, 500, 97, 1],
    ),
    "closing": (1, [0x71, 8, T0 + 1800, 12_399, 2_160, 2_200, 950, 2_310, 2_300, 499, 98, 2]),
    "reading_least": (1, [0] * 12),
    "reading_most": (
        1,
        [0xFBF, *[2**32 - 1] * 2, 2**64 - 1, *[2**32 - 1] * 3, *[2**16 - 1] * 3, 100, 2],
    ),
    "reading_silent": (1, [0x64, 9, T0 + 2700, 12_399, 0, 0, 0, 0, 0, 0, 0, 1]),
    "event_boot": (2, [1, 10, T0 + 2701, 12_399, 1, 65536 + 2 * 256 + 3, 4, 0]),
    "event_register_reset": (2, [4, 11, T0 + 2800, 12_400, 1, 12_400, 3, 1]),
    "event_most": (2, [2**16 - 1, *[2**32 - 1] * 2, 2**64 - 1, *[2**32 - 1] * 3, 2]),
    "permit": (3, [0, T0, T0, T0 + 40 * 86400, 673, 50_000, 0, 22, 6, 0x60, 3]),
    "permit_prepaid": (3, [1, T0 + 1, T0 + 1, T0 + 86400, 674, 0, 5_000_000_000, 0, 0, 0, 0]),
    "permit_most": (
        3,
        [7, *[2**32 - 1] * 5, 2**64 - 1, 23, 23, 0x7F, 255],
    ),
    "permit_commissioning": (3, [4, 1, T0, T0 + 7 * 86400, 0, 0, 0, 0, 0, 0, 0]),
    "time": (4, [T0 + 5, T0 + 5]),
    "time_most": (4, [2**32 - 1, 2**32 - 1]),
    "signer": (5, [2, T0 + 6, T0 + 6, PREFIX]),
    "signer_most": (5, [7, 2**32 - 1, 2**32 - 1, b"\xff" * 28]),
    "ledger": (6, [T0 + 7, T0 + 7, CHAIN_ID, OTHER_LEDGER]),
    "ledger_most": (6, [2**32 - 1, 2**32 - 1, 2**64 - 1, b"\xff" * 20]),
    "update": (7, [3, T0 + 8, 10 << 24 | 0x010203, sha256(ARCHIVE).digest()[:28]]),
    "update_most": (7, [2**16 - 1, 2**32 - 1, 2**32 - 1, b"\xff" * 28]),
}


def pack(kind: int, values: "list[Any]") -> bytes:
    return struct.pack(KINDS[kind][1], 1, kind, *values)


PACKED = {name: pack(kind, values) for name, (kind, values) in FRAMES.items()}


def changed(name: str, offset: int, value: int) -> bytes:
    frame = bytearray(PACKED[name])
    frame[offset] = value
    return bytes(frame)


def refused_frames() -> "dict[str, bytes]":
    refused = {
        "empty": b"",
        "one byte short": PACKED["reading"][:-1],
        "one byte long": PACKED["reading"] + b"\0",
        "format 0": changed("reading", 0, 0),
        "format 2": changed("reading", 0, 2),
        "kind 0": changed("reading", 1, 0),
        "kind 8": changed("reading", 1, 8),
        "control_state 3": changed("reading", 3, 0xE1),
        "power factor 101": changed("reading", 38, 101),
        "clock trust 3 of a reading": changed("reading", 39, 3),
        "clock trust 3 of an event": changed("event_boot", 39, 3),
        "no_cut_from_h 24": changed("permit", 32, 24),
        "no_cut_to_h 24": changed("permit", 33, 24),
        "weekdays 0x80": changed("permit", 34, 0x80),
        "signer index 8": changed("signer", 3, 8),
        "signer index 256": changed("signer", 2, 1),
    }
    for bit in range(12, 16):
        refused[f"reading flag {bit}"] = changed("reading", 2, 1 << (bit - 8))
    for bit in range(3, 16):
        flags = (1 << bit).to_bytes(2, "big")
        refused[f"permit flag {bit}"] = PACKED["permit"][:2] + flags + PACKED["permit"][4:]
    reserved = {
        "event_boot": range(32, 39),
        "permit": range(36, 40),
        "time": (2, 3, *range(12, 40)),
        "ledger": (2, 3),
    }
    for name, offsets in reserved.items():
        for offset in offsets:
            refused[f"{name} with byte {offset}"] = changed(name, offset, 1 << offset % 8)
    return refused


def frames() -> "dict[str, Any]":
    """Return every kind of frame with its fields, and frames to refuse."""
    return {
        "frames": [
            {
                "name": name,
                "kind": kind,
                "fields": {
                    field: value.hex() if isinstance(value, bytes) else value
                    for field, value in zip(KINDS[kind][0].split(), values, strict=True)
                },
                "frame": PACKED[name].hex(),
            }
            for name, (kind, values) in FRAMES.items()
        ],
        "refused": [{"why": why, "frame": f.hex()} for why, f in refused_frames().items()],
    }


def digest_of(name: str) -> bytes:
    return sha256(DOMAINS[DOMAIN_OF_KIND[FRAMES[name][0]]] + PACKED[name]).digest()


def signed() -> "dict[str, Any]":
    """Return domains, and a digest and signature of every frame."""
    out = []
    for name, (kind, _) in FRAMES.items():
        secret = METER if kind <= 2 else SIGNERS[0]
        digest = digest_of(name)
        out.append(
            {
                "name": name,
                "domain": DOMAIN_OF_KIND[kind],
                "frame": PACKED[name].hex(),
                "digest": digest.hex(),
                "by": address(secret).hex(),
                "signature": sign(secret, digest).hex(),
            }
        )
    return {
        "utility_id": UTILITY,
        "chain_id": CHAIN_ID,
        "ledger": LEDGER.hex(),
        "meter": {
            "key": METER.hex(),
            "public_key": public(METER).hex(),
            "address": METER_ADDRESS.hex(),
        },
        "signers": [
            {"key": s.hex(), "public_key": public(s).hex(), "address": address(s).hex()}
            for s in SIGNERS
        ],
        "domains": {name: domain.hex() for name, domain in DOMAINS.items()},
        "signed": out,
    }


def signatures(name: str, indices: "list[int]") -> "list[tuple[int, bytes]]":
    return [(i, sign(SIGNERS[i], digest_of(name))) for i in indices]


def bundle(name: str, public_key: bytes, signed_by: "list[tuple[int, bytes]]") -> bytes:
    return PACKED[name] + public_key + b"".join(bytes([i]) + s for i, s in signed_by)


def bundles() -> "dict[str, Any]":
    """Return bundles of every kind that has them, and bundles to refuse."""
    new_key = public(NEW_SIGNER)
    two = signatures("permit", [0, 2])
    cases = {
        "one signer": ("permit", b"", [0]),
        "two of three": ("permit", b"", [0, 2]),
        "all of eight": ("permit", b"", list(range(8))),
        "time": ("time", b"", [1, 2]),
        "signer": ("signer", new_key, [0, 1]),
        "ledger": ("ledger", b"", [1, 2]),
        "update": ("update", b"", [0, 2]),
        # Well-formed; that the indices do not rise is for who knows the signers to refuse.
        "one signer twice": ("permit", b"", [1, 1]),
        "falling": ("permit", b"", [2, 1]),
    }
    whole = bundle("permit", b"", two)
    refused = {
        "empty": b"",
        "frame alone": PACKED["permit"],
        "short": whole[:-1],
        "long": whole + b"\0",
        "cut in the frame": whole[:39],
        "nine signatures": bundle("permit", b"", [(i, two[0][1]) for i in range(9)]),
        "reading": PACKED["reading"] + whole[40:],
        "event": PACKED["event_boot"] + whole[40:],
        "kind 8": changed("permit", 1, 8) + whole[40:],
        "malformed permit": changed("permit", 39, 1) + whole[40:],
        "signer without key": bundle("signer", b"", signatures("signer", [0, 1])),
        "permit with key": bundle("permit", new_key, two),
        "key alone": bundle("signer", new_key, []),
    }
    out = []
    for why, (name, public_key, indices) in cases.items():
        made = signatures(name, indices)
        out.append(
            {
                "name": why,
                "frame": PACKED[name].hex(),
                "public_key": public_key.hex(),
                "signatures": [[i, s.hex()] for i, s in made],
                "rising": sorted(set(indices)) == indices,
                "bundle": bundle(name, public_key, made).hex(),
            }
        )
    return {"bundles": out, "refused": [{"why": w, "bundle": b.hex()} for w, b in refused.items()]}


def messages() -> "dict[str, Any]":
    """Return one message of every type, messages to refuse, and topics."""

    def entry(name: str) -> bytes:
        return PACKED[name] + sign(METER, digest_of(name))

    rising = [entry("reading"), entry("closing"), entry("reading_silent"), entry("event_boot")]
    sixteen = b"".join(
        pack(2, [24, i, T0 + i, 0, 1, 0, 0, 0]) + bytes([i]) * 64 for i in range(1, 17)
    )
    hello_fields = [5, 4097, T0, 0, 12, 0x010203, 2]
    hello = struct.pack("> 2B 5I", 2, 1, *hello_fields[:5]) + bytes([1, 2, 3, 2])
    want = struct.pack("> B I", 3, 4097)
    get = struct.pack("> B I H", 5, T0 + 8, 2)
    piece = struct.pack("> B I H", 6, T0 + 8, 2) + ARCHIVE[1024:]
    permit = bundle("permit", b"", signatures("permit", [0, 2]))
    refused = {
        "empty": b"",
        "type 0": b"\0" + hello[1:],
        "type 7": b"\7",
        "no frames": b"\1",
        "frames, short": b"\1" + rising[0][:-1],
        "frames, long": b"\1" + rising[0] + b"\0",
        "seventeen frames": b"\1"
        + sixteen
        + pack(2, [24, 17, T0 + 17, 0, 1, 0, 0, 0])
        + bytes(64),
        "frames that skip": b"\1" + rising[0] + rising[2],
        "frames that repeat": b"\1" + rising[0] + rising[0],
        "frames that fall": b"\1" + rising[1] + rising[0],
        "a permit among frames": b"\1" + PACKED["permit"] + bytes(64),
        "a malformed frame": b"\1" + changed("reading", 38, 101) + rising[0][40:],
        "hello, short": hello[:-1],
        "hello, long": hello + b"\0",
        "hello of protocol 2": hello[:1] + b"\2" + hello[2:],
        "hello, control_state 3": hello[:-1] + b"\3",
        "hello, oldest after next": struct.pack("> 2B 5I", 2, 1, 9, 8, 0, 0, 0) + bytes(4),
        "want, short": want[:-1],
        "want, long": want + b"\0",
        "get, short": get[:-1],
        "get, long": get + b"\0",
        "piece, short": piece[:-1],
        "piece, long": piece + b"\0",
    }
    meter = METER_ADDRESS.hex()
    return {
        "frames": [
            {
                "message": (b"\1" + b"".join(rising[:n])).hex(),
                "signed": [e.hex() for e in rising[:n]],
            }
            for n in (1, 4)
        ],
        "frames_max": {"message": (b"\1" + sixteen).hex(), "count": 16},
        "hello": {"message": hello.hex(), "fields": hello_fields},
        "want": {"message": want.hex(), "sequence": 4097},
        "get": {"message": get.hex(), "fields": [T0 + 8, 2]},
        "piece": {"message": piece.hex(), "fields": [T0 + 8, 2], "data": ARCHIVE[1024:].hex()},
        "bundle": {"message": (b"\4" + permit).hex(), "bundle": permit.hex()},
        "refused": [{"why": why, "message": m.hex()} for why, m in refused.items()],
        "topics": {
            leaf: f"parwana/1/{UTILITY}/{meter}/{leaf}"
            for leaf in ("up", "down", "permit", "status")
        },
        "time_topic": f"parwana/1/{UTILITY}/time",
        "utility_id": UTILITY,
        "meter": meter,
    }


def leaf(digest: bytes) -> bytes:
    return sha256(b"\0" + digest).digest()


def tree_hash(digests: "list[bytes]") -> bytes:
    """MTH of RFC 9162, section 2.1.1."""
    if len(digests) == 1:
        return leaf(digests[0])
    k = split(len(digests))
    return sha256(b"\1" + tree_hash(digests[:k]) + tree_hash(digests[k:])).digest()


def split(n: int) -> int:
    """Return the largest power of two below n."""
    return int(2 ** ((n - 1).bit_length() - 1))


def path(digests: "list[bytes]", index: int) -> "list[bytes]":
    """PATH of RFC 9162, section 2.1.3.1."""
    if len(digests) == 1:
        return []
    k = split(len(digests))
    if index < k:
        return [*path(digests[:k], index), tree_hash(digests[k:])]
    return [*path(digests[k:], index - k), tree_hash(digests[:k])]


def roots() -> "dict[str, Any]":
    """Return trees of several sizes, and a day's frames with the root over them."""
    trees = []
    for size in (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17):
        digests = [sha256(bytes([i])).digest() for i in range(size)]
        trees.append(
            {
                "digests": [digest.hex() for digest in digests],
                "root": tree_hash(digests).hex(),
                "paths": [[node.hex() for node in path(digests, i)] for i in range(size)],
            }
        )
    offset_s, day = 19_800, 20_833
    start_s = day * 86_400 - offset_s
    frames = []
    # (meter, sequence, seconds after the day's start); two of one sequence are two leaves
    for meter, sequence, after_s in (
        *((0xFF, 1, 900), (0xFF, 2, 86_400), (0xFF, 3, 86_401), (0x0A, 257, 1), (0x0A, 255, 900)),
        *((0x0A, 255, 901), (0x0A, 256, 0), (0x80, 9, 86_400)),
    ):
        time_s = start_s + after_s
        frame = pack(1, [0x61, sequence, time_s, 1000, *[0] * 7, 1])
        digest = sha256(DOMAINS["reading"] + frame).digest()
        frames.append((bytes([meter]) * 20, sequence, digest, time_s, frame))
    of_day = sorted(f[:3] for f in frames if 0 < f[3] - start_s <= 86_400)
    return {
        "trees": trees,
        "day": {
            "utility_id": UTILITY,
            "utc_offset_s": offset_s,
            "day": day,
            "frames": [{"meter": f[0].hex(), "frame": f[4].hex()} for f in frames],
            "leaves": [digest.hex() for _, _, digest in of_day],
            "root": tree_hash([digest for _, _, digest in of_day]).hex(),
        },
    }


FILES = {
    "frames.json": frames,
    "signed.json": signed,
    "bundles.json": bundles,
    "messages.json": messages,
    "roots.json": roots,
}


def main(folder: Path) -> None:
    for name, content in FILES.items():
        text = json.dumps(content(), indent=1, sort_keys=True) + "\n"
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
