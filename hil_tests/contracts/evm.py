"""Call contracts on a py-evm state: no blocks, no network, a clock that the test sets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from eth.chains.base import Chain as PyEvmChain
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_abi import decode, encode
from eth_typing import Address
from eth_utils import keccak, to_canonical_address, to_checksum_address
from rlp import encode as rlp_encode  # type: ignore[import-untyped]

from parwana.chain.contracts import Artifact

CHAIN_ID = 31337
GAS_LIMIT = 30_000_000
ZERO = to_checksum_address(bytes(20))


class Reverted(Exception):
    """A call reverted; the text is the contract's reason."""


@dataclass(frozen=True)
class Result:
    """What a transaction did: `value` it returned, `events` as (name, fields) of any contract."""

    value: Any
    gas: int
    events: list[tuple[str, SimpleNamespace]]

    def event(self, name: str) -> SimpleNamespace:
        """Return the only event `name`."""
        (found,) = [fields for event, fields in self.events if event == name]
        return found


class Evm:
    """One state under one clock. Transactions cost gas of nobody: the price is 0."""

    calls = transactions = 0  # reads are calls, too

    def __init__(self, time_s: int) -> None:
        base: Any = PyEvmChain.configure(
            "TestChain", chain_id=CHAIN_ID, vm_configuration=((0, PragueVM),)
        )
        self._chain = base.from_genesis(
            AtomicDB(), {"difficulty": 0, "gas_limit": GAS_LIMIT, "timestamp": 0}, {}
        )
        self._header = self._chain.get_canonical_head().copy(block_number=1, base_fee_per_gas=0)
        self._events: dict[bytes, tuple[str, list[dict[str, Any]]]] = {}
        self.listeners: list[Callable[[list[tuple[str, SimpleNamespace]]], None]] = []
        self.at(time_s)

    def at(self, time_s: int) -> None:
        """Set the clock, forward or back."""
        self.time_s = time_s
        if hasattr(self, "_vm"):
            self._state.persist()
            root = self._state.state_root
        else:
            root = self._header.state_root
        self._header = self._header.copy(timestamp=time_s, state_root=root)
        self._vm = self._chain.get_vm(self._header)

    def save(self) -> tuple[int, bytes]:
        """Return what `restore` takes back to here."""
        self.at(self.time_s)
        return self.time_s, self._header.state_root

    def restore(self, saved: tuple[int, bytes]) -> None:
        """Forget all that happened since `save`."""
        self.time_s, root = saved
        self._header = self._header.copy(timestamp=self.time_s, state_root=root)
        self._vm = self._chain.get_vm(self._header)

    @property
    def _state(self) -> Any:
        return self._vm.state

    def balance(self, address: str) -> int:
        """Return the native coin of an address."""
        return int(self._state.get_balance(to_canonical_address(address)))

    def fund(self, address: str, amount: int) -> None:
        """Give native coin to an address."""
        self._state.set_balance(to_canonical_address(address), amount)

    def deploy(self, artifact: Artifact, *args: Any, sender: str) -> "Contract":
        """Deploy a contract. Raises Reverted."""
        self._learn(artifact.abi)
        entries = [entry for entry in artifact.abi if entry["type"] == "constructor"]
        types = _types(entries[0]["inputs"]) if entries else []
        made = keccak(rlp_encode([to_canonical_address(sender), self._nonce(sender)]))[12:]
        code = bytes.fromhex(artifact.bytecode[2:]) + encode(types, args)
        gas = self.transact(sender, b"", 0, code).gas
        return Contract(self, to_checksum_address(made), artifact, gas)

    def _nonce(self, address: str) -> int:
        return int(self._state.get_nonce(to_canonical_address(address)))

    def _learn(self, abi: list[dict[str, Any]]) -> None:
        """Remember the events of a contract, to decode logs."""
        for entry in abi:
            if entry["type"] == "event":
                signature = f"{entry['name']}({','.join(_types(entry['inputs']))})"
                self._events[keccak(text=signature)] = entry["name"], entry["inputs"]

    def transact(
        self, sender: str, to: bytes, value: int, data: bytes, keep: bool = True
    ) -> Result:
        """Execute; `value` is the raw output. Raises Reverted, and then keeps nothing.

        Listeners hear the events of what is kept.
        """
        self.calls += 1
        self.transactions += keep
        origin = to_canonical_address(sender)
        unsigned = PragueVM.get_transaction_builder().create_unsigned_transaction(
            nonce=self._state.get_nonce(origin),
            gas_price=0,
            gas=GAS_LIMIT,
            to=Address(to),
            value=value,
            data=data,
        )
        transaction = SpoofTransaction(unsigned, from_=origin)
        # every transaction starts with cold slots
        self._state.lock_changes()
        before = self._state.snapshot()
        computation = self._state.apply_transaction(transaction)
        (self._state.commit if keep else self._state.revert)(before)
        output = bytes(computation.output)
        if computation.is_error:
            if isinstance(computation.error, Revert):
                text = decode(["string"], output[4:])[0] if output else ""
                raise Reverted(text)
            raise Reverted(f"{type(computation.error).__name__}: {computation.error}")
        gas = self._vm.finalize_gas_used(transaction, computation)
        events = [self._decode(*log) for log in computation.get_log_entries()]
        for listener in self.listeners if keep else ():
            listener(events)
        return Result(output, gas, events)

    def _decode(self, _: bytes, topics: Any, data: bytes) -> tuple[str, SimpleNamespace]:
        words = [topic.to_bytes(32, "big") for topic in topics]
        name, inputs = self._events[words[0]]
        plain = [item for item in inputs if not item["indexed"]]
        indexed = [item for item in inputs if item["indexed"]]
        fields = dict(
            zip((item["name"] for item in plain), _values(plain, data), strict=True),
            **{
                item["name"]: _values([item], word)[0]
                for item, word in zip(indexed, words[1:], strict=True)
            },
        )
        return name, SimpleNamespace(**fields)


class Contract:
    """A deployed contract: `contract.name(*args, sender=…, value=…)`; a view returns its value."""

    def __init__(self, evm: Evm, address: str, artifact: Artifact, deploy_gas: int) -> None:
        self.evm = evm
        self.address = address
        self.artifact = artifact
        self.deploy_gas = deploy_gas

    @cached_property
    def _functions(self) -> dict[str, dict[str, Any]]:
        return {e["name"]: e for e in self.artifact.abi if e["type"] == "function"}

    def data(self, name: str, *args: Any) -> bytes:
        """Return the call data of a function."""
        types = _types(self._functions[name]["inputs"])
        return keccak(text=f"{name}({','.join(types)})")[:4] + encode(types, args)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._functions:
            raise AttributeError(f"{self.artifact.name} has no function {name}")
        entry = self._functions[name]
        view = entry["stateMutability"] in ("view", "pure")

        def call(*args: Any, sender: str = ZERO, value: int = 0) -> Any:
            evm = self.evm
            to = to_canonical_address(self.address)
            result = evm.transact(sender, to, value, self.data(name, *args), keep=not view)
            values = _values(entry["outputs"], result.value)
            returned = values[0] if len(values) == 1 else tuple(values)
            return returned if view else Result(returned, result.gas, result.events)

        return call


def _type(item: dict[str, Any]) -> str:
    if item["type"].startswith("tuple"):
        return f"({','.join(_types(item['components']))}){item['type'][5:]}"
    return str(item["type"])


def _types(items: list[dict[str, Any]]) -> list[str]:
    return [_type(item) for item in items]


def _values(items: list[dict[str, Any]], data: bytes) -> list[Any]:
    return [_named(i, v) for i, v in zip(items, decode(_types(items), data), strict=True)]


def _named(item: dict[str, Any], value: Any) -> Any:
    """Give a decoded value the names of its struct, and addresses their checksum."""
    if item["type"].endswith("[]"):
        inner = {**item, "type": item["type"][:-2]}
        return [_named(inner, one) for one in value]
    if item["type"] == "tuple":
        names = [component["name"] for component in item["components"]]
        parts = [_named(c, v) for c, v in zip(item["components"], value, strict=True)]
        return SimpleNamespace(**dict(zip(names, parts, strict=True)))
    return to_checksum_address(value) if item["type"] == "address" else value
