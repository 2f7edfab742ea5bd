"""What is known of chains by their id. Source: chains.toml, explained in docs/nodes.md."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from parwana.chain.deployment import FINALIZED

FILE = Path(__file__).with_name("chains.toml")


@dataclass(frozen=True)
class Preset:
    """A chain's rules; the defaults are those of a chain that nobody described.

    `block_s` 0: blocks come when they come. `raise_after_s` 0: the sender's own.
    """

    name: str = ""
    coin: str = "ETH"
    block_s: float = 0.0
    finality: str | int = FINALIZED
    least_tip_wei: int = 0
    raise_after_s: float = 0.0
    l1_fee: bool = False


UNKNOWN = Preset()


@cache
def known() -> dict[int, Preset]:
    """Return the chains of the file."""
    found = tomllib.loads(FILE.read_text())
    return {int(chain_id): Preset(**values) for chain_id, values in found.items()}


def preset(chain_id: int) -> Preset:
    """Return what is known of a chain."""
    return known().get(chain_id, UNKNOWN)
