"""EnergyLedger: commit, verify_leaf, against a tree built here from protocol.md section 7."""

from hashlib import sha256

import pytest

from hil_tests.contracts.evm import Reverted
from hil_tests.contracts.world import OTHER, World


def levels(digests: list[bytes]) -> list[list[bytes]]:
    """Return all levels of the tree, leaves first; the odd one of a level moves up unchanged."""
    made = [[sha256(b"\0" + digest).digest() for digest in digests]]
    while len(made[-1]) > 1:
        below = made[-1]
        above = [
            sha256(b"\1" + below[i] + below[i + 1]).digest() for i in range(0, len(below) - 1, 2)
        ]
        made.append(above + below[len(above) * 2 :])
    return made


def proof(tree: list[list[bytes]], index: int) -> list[bytes]:
    """Return the siblings of a leaf, from below."""
    out = []
    for level in tree[:-1]:
        if index ^ 1 < len(level):
            out.append(level[index ^ 1])
        index //= 2
    return out


def test_commit(world: World) -> None:
    root = sha256(b"root").digest()
    event = world.energy.commit(7, [(20_000, root, 96)], sender=OTHER).event("DailyRoot")
    assert (event.feeder, event.day, event.committer) == (7, 20_000, OTHER)
    assert (event.root, event.leaves) == (root, 96)
    world.energy.commit(0, [(20_000, root, 2**32)], sender=OTHER)
    for leaves in (0, 2**32 + 1):
        with pytest.raises(Reverted, match=r"leaves not 1 to 2\*\*32"):
            world.energy.commit(7, [(20_000, root, 1), (1, root, leaves)], sender=OTHER)
    with pytest.raises(Reverted, match="no days"):
        world.energy.commit(7, [], sender=OTHER)


@pytest.mark.parametrize("leaves", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 31, 33])
def test_every_leaf_and_nothing_else(world: World, leaves: int) -> None:
    digests = [sha256(bytes([i])).digest() for i in range(leaves)]
    tree = levels(digests)
    (root,) = tree[-1]
    for index in range(leaves):
        path = proof(tree, index)
        assert world.energy.verify_leaf(root, leaves, index, digests[index], path)
        if index % 4 == 0:
            other = (index + 1) % (leaves + 1)
            wrong = sha256(b"other").digest()
            assert not world.energy.verify_leaf(root, leaves, other, digests[index], path)
            assert not world.energy.verify_leaf(root, leaves, index, wrong, path)
            assert not world.energy.verify_leaf(wrong, leaves, index, digests[index], path)
            assert not world.energy.verify_leaf(root, leaves, index, digests[index], [*path, root])
            if path:
                assert not world.energy.verify_leaf(root, leaves, index, digests[index], path[:-1])
                changed = [bytes(32), *path[1:]]
                assert not world.energy.verify_leaf(root, leaves, index, digests[index], changed)


def test_the_deepest_tree(world: World) -> None:
    digest = sha256(b"digest").digest()
    siblings = [sha256(bytes([i])).digest() for i in range(32)]
    node = sha256(b"\0" + digest).digest()
    for sibling in siblings:
        node = sha256(b"\1" + sibling + node).digest()
    last = 2**32 - 1
    assert world.energy.verify_leaf(node, 2**32, last, digest, siblings)
    assert not world.energy.verify_leaf(node, 2**32 + 1, last, digest, siblings)
    # one leaf less: the last one stands alone on the lowest level
    assert not world.energy.verify_leaf(node, 2**32 - 1, last - 1, digest, siblings)


def test_a_node_is_no_leaf(world: World) -> None:
    """A leaf's hash starts with 0 and a node's with 1: an inner node cannot pass as a leaf."""
    digests = [sha256(bytes([i])).digest() for i in range(4)]
    tree = levels(digests)
    assert not world.energy.verify_leaf(tree[-1][0], 2, 0, tree[1][0], [tree[1][1]])
    assert not world.energy.verify_leaf(bytes(32), 0, 0, bytes(32), [])
