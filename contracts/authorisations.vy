# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Authorisations
@license MIT
@notice Payments that a payer signs and anybody sends: of a token with EIP-3009, or with EIP-2612.
@dev Both bind the chain, the ledger, the meter, the bill's period and the amount. Where a token
     binds less, the nonce or a second signature does.
"""

import money
import signature

uses: money


interface IERC3009:
    def receiveWithAuthorization(
        _from: address,
        _to: address,
        _value: uint256,
        _valid_after: uint256,
        _valid_before: uint256,
        _nonce: bytes32,
        _v: uint8,
        _r: bytes32,
        _s: bytes32,
    ): nonpayable


_DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_NAME: constant(bytes32) = keccak256("Parwana PaymentLedger")
_VERSION: constant(bytes32) = keccak256("1")
_PAY_TYPE: constant(bytes32) = keccak256(
    "Pay(address meter,uint256 amount,uint256 period,address payer,uint256 nonce,uint256 deadline)"
)

# of EIP-2612 payments, by payer
nonces: public(HashMap[address, uint256])


@internal
def _receive(
    _meter: address,
    _period: uint256,
    _payer: address,
    _amount: uint256,
    _valid_before: uint256,
    _v: uint8,
    _r: bytes32,
    _s: bytes32,
):
    """
    @notice Take exactly an amount by EIP-3009. Its nonce says for which bill of which meter; the
            last instant is in it, too, so that a payment that was refunded can be made again.
    """
    nonce: bytes32 = keccak256(
        abi_encode(chain.id, self, _meter, _period, _amount, _valid_before)
    )
    before: uint256 = money._held()
    extcall IERC3009(money.token).receiveWithAuthorization(
        _payer, self, _amount, 0, _valid_before, nonce, _v, _r, _s
    )
    money._check_received(before, _amount)


@internal
def _take(
    _meter: address,
    _period: uint256,
    _payer: address,
    _amount: uint256,
    _deadline: uint256,
    _v: uint8,
    _r: bytes32,
    _s: bytes32,
    _pay_r: uint256,
    _pay_vs: uint256,
):
    """
    @notice Take exactly an amount by EIP-2612, for what the payer signed besides.
    """
    assert block.timestamp <= _deadline, "authorisation expired"
    nonce: uint256 = self.nonces[_payer]
    self.nonces[_payer] = nonce + 1
    pay: bytes32 = keccak256(
        abi_encode(_PAY_TYPE, _meter, _amount, _period, _payer, nonce, _deadline)
    )
    domain: bytes32 = keccak256(abi_encode(_DOMAIN_TYPE, _NAME, _VERSION, chain.id, self))
    digest: bytes32 = keccak256(concat(b"\x19\x01", domain, pay))
    signer: address = signature._recover(digest, _pay_r, _pay_vs)
    assert signer != empty(address) and signer == _payer, "signature not the payer's"
    # whoever saw it on its way may have used the permit already: what counts is the allowance
    done: bool = raw_call(
        money.token,
        abi_encode(
            _payer,
            self,
            _amount,
            _deadline,
            _v,
            _r,
            _s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )
    money._collect(_payer, _amount)
