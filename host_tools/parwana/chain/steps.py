"""Create contracts one after another; a run that broke off goes on where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eth_utils import keccak
from web3.types import TxReceipt

from parwana.chain import contracts
from parwana.chain.contracts import Artifact
from parwana.chain.errors import ChainError
from parwana.chain.node import Chain


class Steps:
    """Create contracts that are not there; `path` (None: nothing) remembers those that are.

    `from_block`: the head before the first of them, `head` at the latest. Methods raise
    ChainError.
    """

    def __init__(
        self, chain: Chain, head: int, path: Path | None, say: Callable[[str], None]
    ) -> None:
        self.from_block = head
        self._chain = chain
        self._path = path
        self._say = say
        self._made: dict[str, str] = {}
        try:
            kept = json.loads(path.read_text()) if path else {}
            if kept.get("chain_id") == chain.chain_id:
                self.from_block, self._made = min(head, kept["from_block"]), dict(kept["made"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            raise ChainError(f"{path} cannot be read; remove it to deploy anew") from None
        self._save()

    @property
    def done(self) -> int:
        """Return how many contracts are there already."""
        return len(self._made)

    def create(self, name: str, *arguments: Any) -> str:
        """Return the address of a contract, which has these arguments and our code."""
        artifact = contracts.load(name)
        factory = self._chain.w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        constructor = factory.constructor(*arguments)
        digest = keccak(hexstr=str(constructor.data_in_transaction)).hex()
        address = self._made.get(digest)
        if address is not None and self._is_there(artifact, address):
            self._say(f"{name} is there already")
            return address
        self._say(f"deploying {name}")

        def done(receipt: TxReceipt) -> None:
            self._made[digest] = str(receipt["contractAddress"])
            self._save()

        address = str(self._chain.send(constructor, done=done)["contractAddress"])
        if not self._is_there(artifact, address):
            raise ChainError(
                f"{name}: other code than ours is at {address}; do not use this chain"
            )
        return address

    def _is_there(self, artifact: Artifact, address: str) -> bool:
        # Vyper appends immutable values to the code it was compiled to.
        return self._chain.code(address).hex().startswith(artifact.runtime.removeprefix("0x"))

    def _save(self) -> None:
        if self._path is None:
            return
        kept = {
            "chain_id": self._chain.chain_id,
            "from_block": self.from_block,
            "made": self._made,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(self._path.name + ".new")
        aside.write_text(json.dumps(kept, indent=2) + "\n")
        aside.replace(self._path)
