# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Permitted
@license MIT
@notice An ERC-20 with EIP-2612.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256


DOMAIN_SEPARATOR: public(immutable(bytes32))
DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
PERMIT_TYPE: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)

name: public(constant(String[16])) = "Test Rupee"
version: public(constant(String[1])) = "1"
symbol: public(constant(String[4])) = "TINR"
decimals: public(constant(uint8)) = 2
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
nonces: public(HashMap[address, uint256])


@deploy
def __init__():
    DOMAIN_SEPARATOR = keccak256(
        abi_encode(DOMAIN_TYPE, keccak256(name), keccak256(version), chain.id, self)
    )


@external
def mint(_to: address, _amount: uint256):
    self.balanceOf[_to] += _amount
    log Transfer(sender=empty(address), receiver=_to, value=_amount)


@external
def approve(_spender: address, _amount: uint256) -> bool:
    self.allowance[msg.sender][_spender] = _amount
    return True


@external
def transfer(_to: address, _amount: uint256) -> bool:
    self._move(msg.sender, _to, _amount)
    return True


@external
def transferFrom(_from: address, _to: address, _amount: uint256) -> bool:
    if self.allowance[_from][msg.sender] != max_value(uint256):
        self.allowance[_from][msg.sender] -= _amount
    self._move(_from, _to, _amount)
    return True


@external
def permit(
    _owner: address,
    _spender: address,
    _value: uint256,
    _deadline: uint256,
    _v: uint8,
    _r: bytes32,
    _s: bytes32,
):
    assert block.timestamp <= _deadline, "permit expired"
    digest: bytes32 = keccak256(
        abi_encode(PERMIT_TYPE, _owner, _spender, _value, self.nonces[_owner], _deadline)
    )
    self._check(_owner, digest, _v, _r, _s)
    self.nonces[_owner] += 1
    self.allowance[_owner][_spender] = _value


@internal
def _check(_signer: address, _struct: bytes32, _v: uint8, _r: bytes32, _s: bytes32):
    digest: bytes32 = keccak256(concat(b"\x19\x01", DOMAIN_SEPARATOR, _struct))
    signer: address = ecrecover(digest, _v, _r, _s)
    assert signer != empty(address) and signer == _signer, "invalid signature"


@internal
def _move(_from: address, _to: address, _amount: uint256):
    self.balanceOf[_from] -= _amount
    self.balanceOf[_to] += _amount
    log Transfer(sender=_from, receiver=_to, value=_amount)
