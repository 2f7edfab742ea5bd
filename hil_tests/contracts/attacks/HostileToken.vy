# pragma version 0.4.3
# pragma evm-version cancun
"""
@title HostileToken
@license MIT
@notice A token with a blacklist that can be told to lie, to tax what goes out, or to burn.
"""

balanceOf: public(HashMap[address, uint256])
blacklisted: HashMap[address, bool]
# transfers return this word, and move nothing where `idle`
answer: uint256
idle: bool
tax: uint256


@deploy
def __init__():
    self.answer = 1


@external
def mint(_to: address, _amount: uint256):
    self.balanceOf[_to] += _amount


@external
def burn(_of: address, _amount: uint256):
    self.balanceOf[_of] -= _amount


@external
def blacklist(_account: address, _listed: bool):
    self.blacklisted[_account] = _listed


@external
def behave(_answer: uint256, _idle: bool, _tax: uint256):
    self.answer = _answer
    self.idle = _idle
    self.tax = _tax


@external
def transfer(_to: address, _amount: uint256) -> uint256:
    return self._move(msg.sender, _to, _amount, self.tax)


@external
def transferFrom(_from: address, _to: address, _amount: uint256) -> uint256:
    return self._move(_from, _to, _amount, 0)


@internal
def _move(_from: address, _to: address, _amount: uint256, _tax: uint256) -> uint256:
    assert not self.blacklisted[_from] and not self.blacklisted[_to], "blacklisted"
    if not self.idle:
        self.balanceOf[_from] -= _amount
        self.balanceOf[_to] += _amount - _tax
    return self.answer
