"""Amounts as people read them: in the unit of the coin or token, with its name."""

from typing import Any, NamedTuple

from eth_utils import to_checksum_address

from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, ChainError, Ledgers

NATIVE = "0x" + "00" * 20
COIN_DECIMALS = 18
# What an ERC-20 needs here. Source: EIP-20.
ERC20: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": name,
        "stateMutability": mutability,
        "inputs": [{"name": f"a{i}", "type": kind} for i, kind in enumerate(inputs)],
        "outputs": [{"name": "", "type": output}],
    }
    for name, mutability, inputs, output in (
        ("approve", "nonpayable", ("address", "uint256"), "bool"),
        ("allowance", "view", ("address", "address"), "uint256"),
        ("symbol", "view", (), "string"),
        ("decimals", "view", (), "uint8"),
    )
]


class Currency(NamedTuple):
    """A currency's name, and how many decimals its unit has of the smallest one."""

    name: str
    decimals: int

    def text(self, amount: int) -> str:
        """Return an amount of the smallest unit, as `0.0042 ETH`."""
        whole, part = divmod(amount, 10**self.decimals)
        text = f"{part:0{self.decimals}d}".rstrip("0") if self.decimals else ""
        return f"{whole}{'.' + text if text else ''} {self.name}"


def currency_of(chain: Chain, ledgers: Ledgers, deployment: Deployment) -> Currency:
    """Return what a deployment bills in. Raises ChainError."""
    address = str(chain.call(ledgers.payment.functions.token()))
    if address == NATIVE:
        return Currency(deployment.coin, COIN_DECIMALS)
    token = chain.w3.eth.contract(address=to_checksum_address(address), abi=ERC20)
    try:
        symbol, decimals = token.functions.symbol, token.functions.decimals
        letters = (c for c in str(chain.call(symbol())) if c.isprintable() and c not in "[]")
        return Currency("".join(letters)[:16] or "units", int(chain.call(decimals())))
    except ChainError:
        return Currency("units", 0)
