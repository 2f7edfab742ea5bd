# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Merkle
@license MIT
@notice Log daily roots, open one leaf of one.
@dev leaf = sha256(0x00 | digest), node = sha256(0x01 | left | right): no node passes as a leaf.
"""

event DailyRoot:
    feeder: indexed(uint48)
    day: indexed(uint256)
    committer: indexed(address)
    root: bytes32
    leaves: uint256


struct Day:
    day: uint256        # days of local time since 1970
    root: bytes32
    leaves: uint256     # how many the tree has


MAX_DEPTH: constant(uint256) = 32
MAX_DAYS: constant(uint256) = 32


@external
def commit(_feeder: uint48, _days: DynArray[Day, MAX_DAYS]):
    """
    @notice Log Merkle roots over the signed frames of days. Whose roots they are, is logged;
            believe whom you know: a leaf still carries the meter's own signature.
    @param _feeder 6-byte number of the feeder, 0 = the whole utility.
    @param _days 1 to 32 days of 96 bytes each, see Day.
    """
    assert len(_days) != 0, "no days"
    for of: Day in _days:
        assert of.leaves != 0 and of.leaves <= 2**MAX_DEPTH, "leaves not 1 to 2**32"
        log DailyRoot(
            feeder=_feeder, day=of.day, committer=msg.sender, root=of.root, leaves=of.leaves
        )


@pure
@external
def verify_leaf(
    _root: bytes32,
    _leaves: uint256,
    _index: uint256,
    _digest: bytes32,
    _proof: DynArray[bytes32, MAX_DEPTH],
) -> bool:
    """
    @notice Tell whether a frame's digest is a leaf of a daily root.
    @param _root 32-byte root.
    @param _leaves 32 bytes: how many leaves the tree has.
    @param _index 32 bytes: the leaf's place, from 0.
    @param _digest 32-byte digest of the frame.
    @param _proof up to 32 sibling nodes, from the leaf up; none for a level where it has none.
    """
    if _index >= _leaves or _leaves > 2**MAX_DEPTH:
        return False
    node: bytes32 = sha256(concat(b"\x00", _digest))
    index: uint256 = _index
    width: uint256 = _leaves
    used: uint256 = 0
    for _: uint256 in range(MAX_DEPTH):
        if width == 1:
            break
        # the odd one of a level moves up unchanged
        if index ^ 1 < width:
            if used == len(_proof):
                return False
            if index & 1 == 1:
                node = sha256(concat(b"\x01", _proof[used], node))
            else:
                node = sha256(concat(b"\x01", node, _proof[used]))
            used += 1
        index //= 2
        width = (width + 1) // 2
    return used == len(_proof) and node == _root
