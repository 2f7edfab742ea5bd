# pragma version 0.4.3
# pragma evm-version cancun
"""
@title AuthorisedToken
@license MIT
@notice An ERC-20 with EIP-2612, and with what of EIP-3009 a payment needs.
"""

import permitted

initializes: permitted
exports: (
    permitted.DOMAIN_SEPARATOR,
    permitted.name,
    permitted.version,
    permitted.symbol,
    permitted.decimals,
    permitted.balanceOf,
    permitted.allowance,
    permitted.nonces,
    permitted.mint,
    permitted.approve,
    permitted.transfer,
    permitted.transferFrom,
    permitted.permit,
)


RECEIVE_TYPE: constant(bytes32) = keccak256(
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)

authorizationState: public(HashMap[address, HashMap[bytes32, bool]])


@deploy
def __init__():
    permitted.__init__()


@external
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
):
    assert msg.sender == _to, "caller not the payee"
    assert block.timestamp > _valid_after, "authorization not yet valid"
    assert block.timestamp < _valid_before, "authorization expired"
    assert not self.authorizationState[_from][_nonce], "authorization used"
    digest: bytes32 = keccak256(
        abi_encode(RECEIVE_TYPE, _from, _to, _value, _valid_after, _valid_before, _nonce)
    )
    permitted._check(_from, digest, _v, _r, _s)
    self.authorizationState[_from][_nonce] = True
    permitted._move(_from, _to, _value)
