"""Daily roots: which day a frame is of, the tree over a day's frames, and paths in it.

The tree is that of RFC 9162, section 2.1, over 32-byte digests. Source: docs/protocol.md, 7.1.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from parwana.chain.periods import DAY_S

UTILITY = 0  # the feeder of a root over all meters of a utility
DAYS_MAX = 32  # a transaction
LATENESS_S = 2 * DAY_S  # what the store held for so long, of a day that is over, has a root


def day_of(time_s: int, utc_offset_s: int) -> int:
    """Return the local day of a frame, in days since 1970: that of the second before its time.

    So the reading that ends at midnight is of the day that it measured.
    """
    return (time_s - 1 + utc_offset_s) // DAY_S


def bounds_s(day: int, utc_offset_s: int) -> tuple[int, int]:
    """Return (from_s, to_s): the frames of a day are those of from_s ≤ time_s < to_s."""
    from_s = day * DAY_S - utc_offset_s + 1
    return from_s, from_s + DAY_S


def leaf(digest: bytes) -> bytes:
    """Return the leaf of a frame's digest (32 bytes)."""
    return sha256(b"\x00" + digest).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root(digests: Iterable[bytes]) -> tuple[bytes, int]:
    """Return the root over digests in their order, and how many there are; it holds no more than
    one node a level. Without digests the root is b"".
    """
    pending: list[tuple[int, bytes]] = []  # (leaves under it, node), the largest first
    leaves = 0
    for digest in digests:
        leaves += 1
        size, node = 1, leaf(digest)
        while pending and pending[-1][0] == size:
            size, node = 2 * size, _node(pending.pop()[1], node)
        pending.append((size, node))
    node = pending.pop()[1] if pending else b""
    while pending:
        node = _node(pending.pop()[1], node)
    return node, leaves


def path(digests: Sequence[bytes], index: int) -> list[bytes]:
    """Return the siblings of leaf `index`, from the leaf up; none where a level has none."""
    level, found = [leaf(digest) for digest in digests], []
    while len(level) > 1:
        if index ^ 1 < len(level):
            found.append(level[index ^ 1])
        above = [_node(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level, index = above + level[2 * len(above) :], index // 2
    return found


def leads(digest: bytes, index: int, leaves: int, siblings: Sequence[bytes], to: bytes) -> bool:
    """Say whether `digest` is leaf `index` of `leaves` under the root `to`, by its siblings."""
    if not 0 <= index < leaves:
        return False
    node, left = leaf(digest), list(siblings)
    while leaves > 1:
        if index ^ 1 < leaves:
            if not left:
                return False
            sibling = left.pop(0)
            node = _node(sibling, node) if index & 1 else _node(node, sibling)
        index, leaves = index // 2, (leaves + 1) // 2
    return not left and node == to
