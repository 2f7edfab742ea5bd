# pragma version 0.4.3
# pragma evm-version cancun
"""
@title SilentToken
@license MIT
@notice A token whose transfers return nothing, as some old ones do.
"""

balanceOf: public(HashMap[address, uint256])


@external
def mint(_to: address, _amount: uint256):
    self.balanceOf[_to] += _amount


@external
def transfer(_to: address, _amount: uint256):
    self.balanceOf[msg.sender] -= _amount
    self.balanceOf[_to] += _amount


@external
def transferFrom(_from: address, _to: address, _amount: uint256):
    self.balanceOf[_from] -= _amount
    self.balanceOf[_to] += _amount
