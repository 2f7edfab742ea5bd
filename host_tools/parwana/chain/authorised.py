"""A payment that its payer signs and anybody sends: no coin is needed to pay in a token.

Of a token with EIP-3009 one signature does; of one with EIP-2612 a second one, for the ledger,
says what for. Both bind chain, ledger, meter, period and amount (contracts/authorisations.vy).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eth_abi import encode
from eth_account import Account
from eth_utils import keccak, to_checksum_address
from web3.contract.contract import ContractFunction

from parwana.chain.currency import NATIVE
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError, Reverted
from parwana.chain.keys import Key
from parwana.chain.node import Chain, Ledgers

EIP3009, EIP2612 = "EIP-3009", "EIP-2612"
LEDGER = {"name": "Parwana PaymentLedger", "version": "1"}
_SIZE_MAX = 4096  # bytes of a file; a signed payment has less than 1,000
_DOMAIN = [("name", "string"), ("version", "string"), ("chainId", "uint256")]
_DOMAIN += [("verifyingContract", "address")]
_TYPES = {
    "EIP712Domain": _DOMAIN,
    "ReceiveWithAuthorization": [
        ("from", "address"),
        ("to", "address"),
        ("value", "uint256"),
        ("validAfter", "uint256"),
        ("validBefore", "uint256"),
        ("nonce", "bytes32"),
    ],
    "Permit": [
        ("owner", "address"),
        ("spender", "address"),
        ("value", "uint256"),
        ("nonce", "uint256"),
        ("deadline", "uint256"),
    ],
    "Pay": [
        ("meter", "address"),
        ("amount", "uint256"),
        ("period", "uint256"),
        ("payer", "address"),
        ("nonce", "uint256"),
        ("deadline", "uint256"),
    ],
}
_TOKEN: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": name,
        "stateMutability": "view",
        "inputs": [{"name": f"a{i}", "type": kind} for i, kind in enumerate(inputs)],
        "outputs": [{"name": "", "type": output}],
    }
    for name, inputs, output in (
        ("name", (), "string"),
        ("version", (), "string"),
        ("DOMAIN_SEPARATOR", (), "bytes32"),
        ("authorizationState", ("address", "bytes32"), "bool"),
        ("nonces", ("address",), "uint256"),
        ("balanceOf", ("address",), "uint256"),
    )
]


class AuthoriseError(ValueError):
    """A payment cannot be authorised, or its file not be used; the text says what to do."""


@dataclass(frozen=True)
class Authorisation:
    """A signed payment. `signature` is r ‖ s ‖ v of the token's message, `pay` r ‖ vs or empty."""

    standard: str
    chain_id: int
    ledger: str
    meter: str
    period: int
    amount: int
    payer: str
    until_s: int
    signature: bytes
    pay: bytes = b""

    def write(self, path: Path) -> None:
        """Write it as JSON: no secret, but whoever has it can make the payment."""
        made = {k: "0x" + v.hex() if isinstance(v, bytes) else v for k, v in asdict(self).items()}
        path.write_text(json.dumps(made, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path, deployment: Deployment) -> "Authorisation":
        """Read a file that was signed for a deployment. Raises AuthoriseError."""
        try:
            with path.open("rb") as file:
                text = file.read(_SIZE_MAX + 1)
            if len(text) > _SIZE_MAX:
                raise ValueError("it is too long")
            made = cls._parse(json.loads(text))
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
            raise AuthoriseError(
                f"{path} is no signed payment ({e}); make it by parwana pay --authorise FILE"
            ) from e
        if (made.chain_id, made.ledger) != (deployment.chain_id, deployment.payment_ledger):
            raise AuthoriseError(
                f"{path} is a payment for chain {made.chain_id}, ledger {made.ledger}; "
                "use the deployment file of that utility"
            )
        return made

    @classmethod
    def _parse(cls, found: dict[str, Any]) -> "Authorisation":
        for name in ("signature", "pay"):
            found[name] = bytes.fromhex(found[name].removeprefix("0x"))
        for name in ("ledger", "meter", "payer"):
            found[name] = to_checksum_address(found[name])
        for name in ("chain_id", "period", "amount", "until_s"):
            if type(found[name]) is not int or not 0 <= found[name] < 2**256:
                raise ValueError(f"{name} is no number that a payment can have")
        made = cls(**found)
        lengths = {EIP3009: (65, 0), EIP2612: (65, 64)}
        if lengths.get(made.standard) != (len(made.signature), len(made.pay)):
            raise ValueError("unknown standard, or a signature of another length")
        return made

    def function(self, ledgers: Ledgers) -> ContractFunction:
        """Return the call that makes this payment."""
        r, s, v = self.signature[:32], self.signature[32:64], self.signature[64]
        functions = ledgers.payment.functions
        signed = (self.meter, self.amount, self.payer, self.until_s, v, r, s)
        if self.standard == EIP3009:
            return functions.pay_with_authorization(*signed)
        words = int.from_bytes(self.pay[:32]), int.from_bytes(self.pay[32:])
        return functions.pay_with_permit(*signed, *words)


def authorise(
    chain: Chain, ledgers: Ledgers, key: Key, meter: str, period: int, amount: int, until_s: int
) -> Authorisation:
    """Sign a payment by what the ledger's token has. Raises AuthoriseError, ChainError."""
    ledger = ledgers.payment.address
    address = str(chain.call(ledgers.payment.functions.token()))
    if address == NATIVE:
        raise AuthoriseError("this utility is paid in the chain's coin: pay without --authorise")
    token = chain.w3.eth.contract(address=to_checksum_address(address), abi=_TOKEN).functions
    held = chain.call(token.balanceOf(key.address))
    if held < amount:
        raise AuthoriseError(f"{key.address} has {held} of the token's units, {amount} are due")
    chain_id = chain.w3.eth.chain_id
    domain = _token_domain(chain, token, chain_id, address)
    made = (chain_id, ledger, meter, period, amount, key.address, until_s)
    if _has(chain, token.authorizationState(key.address, bytes(32))):
        message = {
            "from": key.address,
            "to": ledger,
            "value": amount,
            "validAfter": 0,
            "validBefore": until_s,
            "nonce": nonce(chain_id, ledger, meter, period, amount, until_s),
        }
        signed = _sign(key, domain, "ReceiveWithAuthorization", message)
        return Authorisation(EIP3009, *made, signed)
    permit = {
        "owner": key.address,
        "spender": ledger,
        "value": amount,
        "nonce": chain.call(token.nonces(key.address)),
        "deadline": until_s,
    }
    pay = {
        "meter": meter,
        "amount": amount,
        "period": period,
        "payer": key.address,
        "nonce": chain.call(ledgers.payment.functions.nonces(key.address)),
        "deadline": until_s,
    }
    ours = {**LEDGER, "chainId": chain_id, "verifyingContract": ledger}
    paid = _sign(key, ours, "Pay", pay)
    vs = int.from_bytes(paid[32:64]) | (paid[64] - 27) << 255
    signed = _sign(key, domain, "Permit", permit)
    return Authorisation(EIP2612, *made, signed, paid[:32] + vs.to_bytes(32))


def nonce(chain_id: int, ledger: str, meter: str, period: int, amount: int, until_s: int) -> bytes:
    """Return the EIP-3009 nonce that says what a payment is for."""
    types = ["uint256", "address", "address", "uint256", "uint256", "uint256"]
    return keccak(encode(types, [chain_id, ledger, meter, period, amount, until_s]))


def _has(chain: Chain, function: ContractFunction) -> bool:
    try:
        chain.call(function)
    except Reverted:
        return False
    return True


def _token_domain(chain: Chain, token: Any, chain_id: int, address: str) -> dict[str, Any]:
    """Return the token's EIP-712 domain; it must be what the token says itself."""
    try:
        told = chain.call(token.DOMAIN_SEPARATOR())
        version = chain.call(token.version()) if _has(chain, token.version()) else "1"
        name = chain.call(token.name())
    except ChainError as error:
        raise AuthoriseError(
            f"the token {address} takes no signed payments (EIP-3009 or EIP-2612): "
            "pay without --authorise"
        ) from error
    kind = keccak(text="EIP712Domain(" + ",".join(f"{k} {n}" for n, k in _DOMAIN) + ")")
    types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    fields = [kind, keccak(text=name), keccak(text=version), chain_id, address]
    if keccak(encode(types, fields)) != bytes(told):
        raise AuthoriseError(
            f"the token {address} signs under another domain than its name and version say: "
            "pay without --authorise"
        )
    return {"name": name, "version": version, "chainId": chain_id, "verifyingContract": address}


def _sign(key: Key, domain: dict[str, Any], kind: str, message: dict[str, Any]) -> bytes:
    """Return r ‖ s ‖ v over typed data (EIP-712)."""
    names = ("EIP712Domain", kind)
    types = {name: [{"name": n, "type": t} for n, t in _TYPES[name]] for name in names}
    full = {"types": types, "primaryType": kind, "domain": domain, "message": message}
    return bytes(Account.sign_typed_data(key.secret, full_message=full).signature)
