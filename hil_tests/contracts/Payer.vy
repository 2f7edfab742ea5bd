# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Payer
@license MIT
@notice A payer that is a contract: it refuses money, or calls back while it is being paid.
"""

ledger: immutable(address)
refusing: bool
data: Bytes[1024]
calls: public(uint256)
call_succeeded: public(bool)


@deploy
def __init__(_ledger: address):
    ledger = _ledger


@external
def behave(_refusing: bool, _data: Bytes[1024]):
    self.refusing = _refusing
    self.data = _data


@payable
@external
def run(_data: Bytes[1024]):
    raw_call(ledger, _data, value=msg.value)


@payable
@external
def __default__():
    assert not self.refusing, "refusing"
    if len(self.data) != 0:
        self.calls += 1
        self.call_succeeded = raw_call(ledger, self.data, revert_on_failure=False)
