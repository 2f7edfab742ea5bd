"""Merkle trees: a node shown as a leaf, a leaf as a node, another shape of the tree.

Of the same family: `test_merkle.py` (test_every_leaf_and_nothing_else, test_a_node_is_no_leaf,
test_the_deepest_tree); proofs off the chain are in `chain/test_merkle.py`, `audit/test_prove.py`.
"""

from hashlib import sha256

import pytest

from hil_tests.contracts.test_merkle import levels, proof
from hil_tests.contracts.world import World


@pytest.mark.parametrize("leaves", [2, 3, 5])
def test_no_node_passes_as_a_frame(world: World, leaves: int) -> None:
    """Every node of every level as a digest, at every place of every smaller tree."""
    digests = [sha256(bytes([i])).digest() for i in range(leaves)]
    tree = levels(digests)
    (root,) = tree[-1]
    siblings = [node for level in tree for node in level]
    tried = 0
    for height, level in enumerate(tree):
        for place, node in enumerate(level):
            # the true path from this node up, had it been a leaf of the tree above it
            path = proof(tree[height:], place)
            for width in range(1, leaves + 1):
                for index in range(width):
                    tried += 1
                    assert not world.energy.verify_leaf(root, width, index, node, path)
            assert not world.energy.verify_leaf(root, 2, 0, node, [siblings[0]])
    assert tried > 6


def test_siblings_cannot_change_places(world: World) -> None:
    digests = [sha256(bytes([i])).digest() for i in range(4)]
    tree = levels(digests)
    (root,) = tree[-1]
    for index in range(4):
        path = proof(tree, index)
        assert world.energy.verify_leaf(root, 4, index, digests[index], path)
        for other in range(4):
            fits = world.energy.verify_leaf(root, 4, other, digests[index], path)
            assert fits == (other == index)


def test_no_leaf_is_counted_twice_at_the_odd_end(world: World) -> None:
    """Where other trees repeat the last leaf to make pairs, two lists have one root: not here."""
    digests = [sha256(bytes([i])).digest() for i in range(3)]
    (root,) = levels(digests)[-1]
    (padded,) = levels([*digests, digests[2]])[-1]
    assert root != padded
    leaf = sha256(b"\0" + digests[2]).digest()
    path = proof(levels(digests), 2)
    assert world.energy.verify_leaf(root, 3, 2, digests[2], path)
    for index in (2, 3):
        assert not world.energy.verify_leaf(root, 4, index, digests[2], [leaf, *path])


def test_a_root_of_one_leaf_is_not_its_digest(world: World) -> None:
    digest = sha256(b"frame").digest()
    assert world.energy.verify_leaf(sha256(b"\0" + digest).digest(), 1, 0, digest, [])
    assert not world.energy.verify_leaf(digest, 1, 0, digest, [])
    assert not world.energy.verify_leaf(sha256(digest).digest(), 1, 0, digest, [])
    assert not world.energy.verify_leaf(sha256(b"\1" + digest).digest(), 1, 0, digest, [])
