"""Trees and paths against vectors by RFC 9162, and against what a forger would try."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import wire
from parwana.chain import merkle

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/roots.json").read_text())


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


@pytest.mark.parametrize("tree", VECTORS["trees"], ids=lambda tree: str(len(tree["digests"])))
def test_trees_are_those_of_rfc_9162(tree: dict[str, Any]) -> None:
    digests, root = unhex(tree["digests"]), bytes.fromhex(tree["root"])
    size = len(digests)
    assert merkle.root(iter(digests)) == (root, size)
    for index, siblings in enumerate(map(unhex, tree["paths"])):
        assert merkle.path(digests, index) == siblings
        assert merkle.leads(digests[index], index, size, siblings, root)


def test_a_day_holds_what_ended_in_it_in_the_order_of_the_protocol() -> None:
    of = VECTORS["day"]
    domain, offset_s = wire.reading_domain(of["utility_id"]), of["utc_offset_s"]
    found = []
    for entry in of["frames"]:
        frame = bytes.fromhex(entry["frame"])
        fields = wire.parse(frame)
        assert isinstance(fields, wire.Reading)
        inside = merkle.day_of(fields.time_s, offset_s) == of["day"]
        from_s, to_s = merkle.bounds_s(of["day"], offset_s)
        assert inside == (from_s <= fields.time_s < to_s)
        if inside:
            meter = bytes.fromhex(entry["meter"])
            found.append((meter, fields.sequence, wire.digest(domain, frame)))
    digests = [digest for _, _, digest in sorted(found)]
    assert [digest.hex() for digest in digests] == of["leaves"]
    assert merkle.root(digests)[0].hex() == of["root"]


def test_no_leaves_have_no_root() -> None:
    assert merkle.root([]) == (b"", 0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 11])
def test_nothing_else_leads_to_a_root(size: int) -> None:
    digests = [sha256(bytes([i])).digest() for i in range(size)]
    root, _ = merkle.root(digests)
    for index in range(size):
        siblings, digest = merkle.path(digests, index), digests[index]
        forged: list[tuple[bytes, int, int, list[bytes], bytes]] = [
            (sha256(b"other").digest(), index, size, siblings, root),
            (digest, index, size, siblings, sha256(root).digest()),
            (digest, index, size, [*siblings, root], root),
            (digest, index, index, siblings, root),
            (digest, -1, size, siblings, root),
            (digest, index, 0, siblings, root),
        ]
        forged += [(digest, i, size, siblings, root) for i in range(size + 1) if i != index]
        if siblings:
            forged.append((digest, index, size, siblings[:-1], root))
            forged.append((digest, index, size, [bytes(32), *siblings[1:]], root))
        assert not any(merkle.leads(*values) for values in forged)


def test_a_node_is_no_leaf_and_a_leaf_no_node() -> None:
    """The second preimage: an inner node, or both its children, shown as what a meter signed."""
    digests = [sha256(bytes([i])).digest() for i in range(4)]
    root, _ = merkle.root(digests)
    leaves = [merkle.leaf(digest) for digest in digests]
    left, right = (sha256(b"\1" + a + b).digest() for a, b in (leaves[:2], leaves[2:]))
    assert sha256(b"\1" + left + right).digest() == root
    assert not merkle.leads(left, 0, 2, [right], root)
    assert not merkle.leads(leaves[0] + leaves[1], 0, 2, [right], root)
    assert not merkle.leads(leaves[0], 0, 4, [leaves[1], right], root)
