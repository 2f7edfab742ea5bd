# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Money
@license MIT
@notice One currency, the native coin or an ERC-20 that moves exact amounts: what comes in, to
        whom it is credited, and taking it out.
"""

from ethereum.ercs import IERC20


event Withdrawn:
    account: indexed(address)
    amount: uint256


token: public(immutable(address))

credits: public(HashMap[address, uint256])


@deploy
def __init__(_token: address):
    """
    @notice Start with a currency.
    @param _token 20-byte address of the ERC-20, zero = the native coin.
    """
    assert _token == empty(address) or _token.is_contract, "token is no contract"
    token = _token


@nonreentrant
@external
def withdraw() -> uint256:
    """
    @notice Take what is credited to you, as the utility or as a payer with a refund.
    @return the amount.
    """
    amount: uint256 = self.credits[msg.sender]
    assert amount != 0, "no credit"
    self.credits[msg.sender] = 0
    log Withdrawn(account=msg.sender, amount=amount)
    if token == empty(address):
        raw_call(msg.sender, b"", value=amount)
    else:
        assert extcall IERC20(token).transfer(
            msg.sender, amount, default_return_value=True
        ), "token refused"
    return amount


@internal
@payable
def _collect(_payer: address, _amount: uint256):
    """
    @notice Take exactly an amount: from the caller as value, or approved before in the token.
    """
    if token == empty(address):
        assert msg.value == _amount, "value not the amount"
    else:
        assert msg.value == 0, "pay in the token"
        before: uint256 = staticcall IERC20(token).balanceOf(self)
        assert extcall IERC20(token).transferFrom(
            _payer, self, _amount, default_return_value=True
        ), "token refused"
        received: uint256 = staticcall IERC20(token).balanceOf(self) - before
        assert received == _amount, "token takes a fee"


@internal
def _credit(_account: address, _amount: uint256):
    self.credits[_account] += _amount
