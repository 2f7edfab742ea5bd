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
    return self._pay_out(msg.sender)


@nonreentrant
@external
def withdraw_for(_account: address) -> uint256:
    """
    @notice Pay out what is credited to an account, to that account: its owner needs no coin.
    @param _account 20-byte address.
    @return the amount.
    """
    return self._pay_out(_account)


@internal
def _pay_out(_account: address) -> uint256:
    amount: uint256 = self.credits[_account]
    assert amount != 0, "no credit"
    self.credits[_account] = 0
    log Withdrawn(account=_account, amount=amount)
    if token == empty(address):
        raw_call(_account, b"", value=amount)
    else:
        assert extcall IERC20(token).transfer(
            _account, amount, default_return_value=True
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
        before: uint256 = self._held()
        assert extcall IERC20(token).transferFrom(
            _payer, self, _amount, default_return_value=True
        ), "token refused"
        self._check_received(before, _amount)


@view
@internal
def _held() -> uint256:
    assert token != empty(address), "no token"
    return staticcall IERC20(token).balanceOf(self)


@view
@internal
def _check_received(_before: uint256, _amount: uint256):
    assert self._held() - _before == _amount, "token takes a fee"


@internal
def _credit(_account: address, _amount: uint256):
    self.credits[_account] += _amount
