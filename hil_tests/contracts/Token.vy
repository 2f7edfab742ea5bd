# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Token
@license MIT
@notice An ERC-20 that can be told to take a fee, to refuse, or to call somebody during a transfer.
"""

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
fee: uint256
refusing: bool
hook: address
hook_data: Bytes[1024]
hook_succeeded: public(bool)


@external
def mint(_to: address, _amount: uint256):
    self.balanceOf[_to] += _amount


@external
def behave(_fee: uint256, _refusing: bool, _hook: address, _hook_data: Bytes[1024]):
    self.fee = _fee
    self.refusing = _refusing
    self.hook = _hook
    self.hook_data = _hook_data


@external
def approve(_spender: address, _amount: uint256) -> bool:
    self.allowance[msg.sender][_spender] = _amount
    return True


@external
def transfer(_to: address, _amount: uint256) -> bool:
    return self._move(msg.sender, _to, _amount)


@external
def transferFrom(_from: address, _to: address, _amount: uint256) -> bool:
    self.allowance[_from][msg.sender] -= _amount
    return self._move(_from, _to, _amount)


@internal
def _move(_from: address, _to: address, _amount: uint256) -> bool:
    if self.refusing:
        return False
    self.balanceOf[_from] -= _amount
    self.balanceOf[_to] += _amount - self.fee
    if self.hook != empty(address):
        self.hook_succeeded = raw_call(self.hook, self.hook_data, revert_on_failure=False)
    return True
