# pragma version 0.4.3
# pragma evm-version cancun
"""
@title HostileRegistry
@license MIT
@notice A registry whose deployer says anything of any meter at any time, or nothing at all.
"""

from interfaces import IMeterRegistry

implements: IMeterRegistry

dead: bool
meters: HashMap[address, IMeterRegistry.Meter]
serving: HashMap[uint48, address]
utility_: address


@external
def say(_meter: address, _entry: IMeterRegistry.Meter):
    self.utility_ = msg.sender
    self.meters[_meter] = _entry
    self.serving[_entry.number] = _meter


@external
def die(_dead: bool):
    self.dead = _dead


@view
@external
def utility() -> address:
    return self.utility_


@view
@external
def meter(_meter: address) -> IMeterRegistry.Meter:
    assert not self.dead, "dead"
    return self.meters[_meter]


@view
@external
def place(_meter: address) -> IMeterRegistry.Place:
    assert not self.dead, "dead"
    entry: IMeterRegistry.Meter = self.meters[_meter]
    return IMeterRegistry.Place(
        number=entry.number,
        kind=entry.kind,
        retired_at_s=entry.retired_at_s,
        sanctioned_load_dw=entry.sanctioned_load_dw,
        replaces=entry.previous != empty(address),
    )


@view
@external
def meter_of(_number: uint48) -> address:
    assert not self.dead, "dead"
    return self.serving[_number]


@view
@external
def served_since(_number: uint48) -> uint32:
    return self.meters[self.serving[_number]].enrolled_at_s


@view
@external
def revision(_feeder: uint48) -> uint32:
    assert not self.dead, "dead"
    return 0


@view
@external
def children_at(_feeder: uint48, _time_s: uint256) -> uint256:
    return 0


@view
@external
def feeder_between(_feeder: uint48, _from_s: uint256, _to_s: uint256) -> (bool, bool, uint256):
    return True, True, 0
