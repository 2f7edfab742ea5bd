"""A file that proves, without any store, that a meter signed a frame before a block was mined.

JSON with the keys of `Proof`, bytes in hex. Whoever made it need not be believed: `offline` checks
what arithmetic can, `on_chain` the rest against any node. Source: docs/protocol.md, 7.1.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eth_utils import to_checksum_address
from web3 import Web3
from web3.logs import DISCARD

import wire
from parwana.chain import merkle
from parwana.chain.node import Chain, Reverted
from parwana.store.signatures import SignatureError, signer

FORMAT = "parwana-proof/1"
SIZE_MOST = 64 * 1024
_HEX = {
    "meter": 20,
    "energy_ledger": 20,
    "committer": 20,
    "frame": 40,
    "signature": 64,
    "root": 32,
    "transaction": 32,
}
_WHOLE = {"chain_id": 2**64, "utc_offset_s": 2**17, "day": 2**32, "index": 2**32, "leaves": 2**33}


class ProofError(ValueError):
    """A proof does not hold, or cannot be made; the text says what is wrong."""


@dataclass(frozen=True)
class Proof:
    """A signed frame, its path to a daily root, and where that root is logged."""

    utility_id: str
    chain_id: int
    energy_ledger: str
    utc_offset_s: int
    meter: str
    frame: str
    signature: str
    day: int
    index: int
    leaves: int
    path: list[str]
    root: str
    committer: str
    transaction: str
    format: str = FORMAT

    def __post_init__(self) -> None:
        for name, size in _HEX.items():
            _check(_hex(getattr(self, name), size), name, f"0x and {2 * size} hex digits")
        for name, most in _WHOLE.items():
            value = getattr(self, name)
            _check(type(value) is int and -most < value < most, name, "a whole number")
        good = isinstance(self.path, list) and len(self.path) <= 32
        _check(good and all(_hex(node, 32) for node in self.path), "path", "up to 32 nodes in hex")
        named = isinstance(self.utility_id, str)
        named = named and re.fullmatch(r"[a-z0-9-]{1,32}", self.utility_id) is not None
        _check(named, "utility_id", "1 to 32 of a-z 0-9 -")

    @classmethod
    def load(cls, path: Path) -> "Proof":
        """Read a file. Raises ProofError, OSError."""
        with path.open("rb") as file:
            data = file.read(SIZE_MOST + 1)
        try:
            values = json.loads(data) if len(data) <= SIZE_MOST else None
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ProofError(f"{path} is no proof (format {FORMAT}); make one: parwana prove")
        names = {item.name for item in fields(cls)}
        if set(values) != names:
            wrong = ", ".join(sorted(set(values) ^ names))
            raise ProofError(f"{path}: keys that are missing or unknown: {wrong}")
        return cls(**values)

    def save(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @property
    def fields(self) -> wire.Reading | wire.Event:
        """Return what the meter signed. Raises ProofError."""
        try:
            parsed = wire.parse(_bytes(self.frame))
        except wire.FrameError as error:
            raise ProofError(f"frame: {error}") from None
        if not isinstance(parsed, wire.Reading | wire.Event):
            raise ProofError(f"frame: kind {_bytes(self.frame)[1]} is no meter's")
        return parsed

    def offline(self) -> list[str]:
        """Return what is proven without a chain. Raises ProofError."""
        frame = self.fields
        digest = wire.digest(wire.reading_domain(self.utility_id), _bytes(self.frame))
        try:
            made_by = "0x" + signer(digest, _bytes(self.signature)).hex()
        except SignatureError as error:
            raise ProofError(str(error)) from None
        if made_by != self.meter.lower():
            raise ProofError(f"signature: made by {made_by}, not by meter {self.meter}")
        day = merkle.day_of(frame.time_s, self.utc_offset_s)
        if day != self.day:
            raise ProofError(f"day: the frame is of day {day}, the root of day {self.day}")
        siblings = [_bytes(node) for node in self.path]
        if not merkle.leads(digest, self.index, self.leaves, siblings, _bytes(self.root)):
            raise ProofError(f"path: it does not lead from the frame to root {self.root}")
        what = type(frame).__name__.lower()
        signed = f"meter {self.meter} of utility {self.utility_id} signed this {what}"
        return [
            f"{signed}, sequence {frame.sequence}, for {_utc(frame.time_s)}: "
            f"register {frame.energy_wh} Wh",
            f"it is leaf {self.index} of the {self.leaves} under root {self.root}",
        ]

    def on_chain(self, chain: Chain) -> list[str]:
        """Return what a node adds to `offline`. Raises ProofError, ChainError."""
        if chain.chain_id != self.chain_id:
            raise ProofError(
                f"chain_id: the node's chain is {chain.chain_id}, not {self.chain_id}"
            )
        ledger = chain.contract("EnergyLedger", self.energy_ledger)
        if not chain.code(str(ledger.address)):
            raise ProofError(f"energy_ledger: there is no contract at {self.energy_ledger}")
        functions = ledger.functions
        try:
            domain = bytes(chain.call(functions.domain()))
        except Reverted:
            told = f"energy_ledger: what is at {self.energy_ledger} is no EnergyLedger"
            raise ProofError(told) from None
        if domain != wire.reading_domain(self.utility_id):
            raise ProofError(f"utility_id: the ledger is not of utility {self.utility_id}")
        if chain.call(functions.utc_offset_s()) != self.utc_offset_s:
            raise ProofError("utc_offset_s: not the ledger's")
        registry = chain.contract("MeterRegistry", str(chain.call(functions.registry())))
        meter = to_checksum_address(self.meter)
        place = chain.call(registry.functions.meter(meter))
        if not place.kind:
            raise ProofError(f"meter: {meter} was never enrolled at the ledger's registry")
        block, behind = self._logged(chain, ledger)
        retired_s, doubted = place.retired_at_s, chain.call(functions.equivocated(meter))
        return [
            f"the EnergyLedger {ledger.address} of chain {chain.chain_id} is of this utility, and "
            f"has the meter as point {place.number}"
            + (f", out of service since {_utc(retired_s)}" if retired_s else "")
            + ("; it was shown two frames of one sequence by it" if doubted else ""),
            f"it logged the root in block {block} at {_utc(chain.block_time_s(block))}, "
            f"{behind} blocks behind the head: the frame existed by then",
        ]

    def _logged(self, chain: Chain, ledger: Any) -> tuple[int, int]:
        """Return the block of the log and how many came after it. Raises ProofError."""
        receipt = chain.receipt(self.transaction)
        if receipt is None:
            raise ProofError(f"transaction: the chain has no {self.transaction}")
        committer = to_checksum_address(self.committer)
        wanted = (merkle.UTILITY, self.day, committer, _bytes(self.root), self.leaves)
        for entry in ledger.events.DailyRoot().process_receipt(receipt, DISCARD):
            values: Any = entry["args"]
            told = values.feeder, values.day, values.committer, values.root, values.leaves
            if entry["address"] == ledger.address and told == wanted:
                return entry["blockNumber"], chain.head() - entry["blockNumber"]
        raise ProofError(f"transaction: {self.transaction} did not log this root for this day")


def _check(good: bool, name: str, want: str) -> None:
    if not good:
        raise ProofError(f"{name}: must be {want}")


def _hex(value: Any, size: int) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(f"0x[0-9a-fA-F]{{{2 * size}}}", value))


def _bytes(value: str) -> bytes:
    return bytes(Web3.to_bytes(hexstr=value))  # type: ignore[arg-type]


def _utc(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
