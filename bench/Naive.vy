# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Naive
@license MIT
@notice What meters send, kept the obvious way: one struct for each signed reading.
"""

struct Reading:
    time_s: uint256
    energy_wh: uint256
    voltage_dv: uint256
    current_ma: uint256
    power_dw: uint256


event Stored:
    meter: indexed(address)
    index: uint256
    energy_wh: uint256


count: public(HashMap[address, uint256])
readings: public(HashMap[address, HashMap[uint256, Reading]])


@external
def store(_reading: Reading, _v: uint8, _r: bytes32, _s: bytes32):
    meter: address = ecrecover(keccak256(abi_encode(_reading)), _v, _r, _s)
    assert meter != empty(address), "signature"
    index: uint256 = self.count[meter]
    self.readings[meter][index] = _reading
    self.count[meter] = index + 1
    log Stored(meter=meter, index=index, energy_wh=_reading.energy_wh)
