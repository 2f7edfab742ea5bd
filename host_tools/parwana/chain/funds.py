"""What deploying takes, and whether an account has it."""

from parwana.chain import contracts
from parwana.chain.currency import COIN_DECIMALS, Currency
from parwana.chain.node import Chain


class FundsError(ValueError):
    """The account cannot pay; the text says how much it lacks."""


def require_coin(chain: Chain, names: tuple[str, ...], coin: str) -> None:
    """Refuse an account that cannot pay for deploying the contracts `names`. Raises FundsError.

    A node demands of each transaction's sender a quarter more gas than it is estimated to take,
    at twice the base fee of now, in advance.
    """
    assert chain.key is not None
    gas = sum(creation_gas(contracts.load(name)) for name in names) * 5 // 4
    need = gas * chain.price()
    have, money = chain.balance(chain.key.address), Currency(coin, COIN_DECIMALS)
    if have < need:
        digit = 10 ** max(0, len(str(need)) - 3)  # three digits tell enough
        most, lacks = (money.text(-(-wei // digit) * digit) for wei in (need, need - have))
        raise FundsError(
            f"{chain.key.address} has {money.text(have)}; deploying takes up to {most} at the fee "
            f"of now ({gas / 1e6:.1f} M gas): send it {lacks}, then run the same command again"
        )


def creation_gas(artifact: contracts.Artifact) -> int:
    """Estimate what deploying a contract takes: its bytes, and a tenth for its constructor.

    Source: Ethereum yellow paper, appendix G; EIP-3860.
    """
    code = bytes.fromhex(artifact.bytecode.removeprefix("0x"))
    stored = len(artifact.runtime.removeprefix("0x")) // 2
    sent = 16 * len(code) - 12 * code.count(0) + 2 * -(-len(code) // 32)
    return (53_000 + sent + 200 * stored) * 11 // 10
