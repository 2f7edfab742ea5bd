"""Talk to an EVM chain over any JSON-RPC URL: call, send, read logs, know what is final."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractConstructor, ContractEvent, ContractFunction
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import BlockIdentifier, EventData, RPCEndpoint, TxReceipt

from parwana.chain import contracts, fees
from parwana.chain.deployment import Deployment
from parwana.chain.errors import (
    ChainError,
    OutOfGas,
    Reverted,
    UnknownBlock,
    Unreachable,
    translated,
)
from parwana.chain.keys import DEV_CHAIN_IDS, Key
from parwana.chain.limits import UNLIMITED, Limits
from parwana.chain.presets import preset
from parwana.chain.provider import Provider
from parwana.chain.ranges import Ranges
from parwana.chain.reader import Reader, there
from parwana.chain.rpc import Rpc
from parwana.chain.sender import Call, Done, Sender

T = TypeVar("T")

__all__ = ["Chain", "ChainError", "Ledgers", "OutOfGas", "Reverted", "Unreachable"]


@dataclass(frozen=True)
class Ledgers:
    """The contracts of one deployment."""

    registry: Contract
    energy: Contract
    payment: Contract


class Chain:
    """One connection to one chain, with at most one key that pays. Any thread may use it.

    `rpc`: a URL, or several of the same chain. `chain_id` None takes whatever chain answers.
    `finality` as in Reader; None: what is known of the chain. Every method raises ChainError.
    """

    def __init__(
        self,
        rpc: str | Sequence[str],
        key: Key | None = None,
        *,
        chain_id: int | None = None,
        finality: str | int | None = None,
        limits: Limits = UNLIMITED,
        timeout_s: float = 15.0,
    ) -> None:
        self.key = key
        self._rpc = Rpc(rpc, timeout_s)
        self.chain_id = self._rpc.of_chain(chain_id)
        self.known = preset(self.chain_id)
        if key is not None and key.development and self.chain_id not in DEV_CHAIN_IDS:
            raise ChainError(
                f"development keys are public and chain {self.chain_id} is no devchain; "
                "make a key of your own: parwana key new FILE"
            )
        self.w3 = Web3(Provider(self._rpc, self.chain_id))
        self.w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        final = self.known.finality if finality is None else finality
        self._reader = Reader(self._rpc, self.w3, final)
        self._sender = Sender(self._reader, key, self.chain_id, limits) if key else None
        self._lengths = Ranges()
        self._marks: dict[int, bytes] = {}  # hashes of blocks that hold what we sent

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        key: Key | None = None,
        rpc: str | Sequence[str] | None = None,
        limits: Limits = UNLIMITED,
    ) -> "Chain":
        """Connect to the chain of a deployment; `rpc` replaces its URLs."""
        return cls(
            rpc or deployment.rpc,
            key,
            chain_id=deployment.chain_id,
            finality=deployment.final_blocks,
            limits=limits,
        )

    @property
    def urls(self) -> list[str]:
        """Return the nodes' URLs, in the order in which they are asked."""
        return [node.url for node in self._rpc.nodes]

    @property
    def finality(self) -> str | int:
        """Return "finalized", the chain's own word, or how many blocks make one final."""
        return self._reader.finality

    @property
    def rpc_url(self) -> str:
        """Return the URL that was asked last."""
        return self._rpc.url

    def contract(self, name: str, address: str) -> Contract:
        """Return a handle on the contract `name` at `address`; structs come as named tuples."""
        abi = contracts.load(name).abi
        return self.w3.eth.contract(
            address=Web3.to_checksum_address(address), abi=abi, decode_tuples=True
        )

    def ledgers(self, deployment: Deployment) -> Ledgers:
        """Return handles on the deployment's contracts."""
        return Ledgers(
            self.contract("MeterRegistry", deployment.registry),
            self.contract("EnergyLedger", deployment.energy_ledger),
            self.contract("PaymentLedger", deployment.payment_ledger),
        )

    def call(self, function: ContractFunction, block: BlockIdentifier = "latest") -> Any:
        """Return what a view function returns, of a state not before our last receipt."""

        def attempt() -> Any:
            at = self._reader.newest() if block == "latest" else block
            return function.call(block_identifier=at)  # type: ignore[arg-type]

        with translated(function.fn_name, self.rpc_url):
            return there(attempt)

    def head(self) -> int:
        """Return the newest block's number, no older one than of our last receipt."""
        return self._reader.head()

    def finalized_block(self) -> int:
        """Return the newest final block's number: by the deployment's finality, never a weaker."""
        return self._reader.finalized_block()

    def block_time_s(self, block: int | str = "latest") -> int:
        """Return a block's timestamp."""
        return self._rpc.block(block).time_s

    def block_hash(self, number: int) -> bytes:
        """Return a block's hash, b"" if the node knows no such block (any more)."""
        try:
            return self._rpc.block(number).hash
        except UnknownBlock:
            return b""

    def transactions(self, number: int) -> list[dict[str, Any]]:
        """Return a block's transactions as the node tells them."""
        found = self._rpc.ask("eth_getBlockByNumber", hex(number), True)
        if not isinstance(found, dict) or not isinstance(found.get("transactions"), list):
            raise self._rpc.nonsense(found)
        return list(found["transactions"])

    def balance(self, address: str) -> int:
        """Return an account's balance in wei."""
        return self._rpc.number("eth_getBalance", Web3.to_checksum_address(address), "latest")

    def price(self) -> int:
        """Return the most, in wei, that a unit of gas may cost a transaction sent now."""
        return fees.price(fees.market(self._rpc, self.known))

    def code(self, address: str) -> bytes:
        """Return the code of the contract at `address`, empty if there is none."""

        def attempt() -> bytes:
            at = self._reader.newest()
            tag = hex(at) if isinstance(at, int) else at
            return self._rpc.data("eth_getCode", Web3.to_checksum_address(address), tag)

        return bytes(there(attempt))

    def receipt(self, transaction: str) -> TxReceipt | None:
        """Return a transaction's receipt by its hash (0x…), None if none is mined."""
        with translated("eth_getTransactionReceipt", self.rpc_url):
            return self._reader.receipt([transaction.lower()])

    def scan(
        self, event: Any, first: int, last: int, **filters: Any
    ) -> Iterator[tuple[int, list[EventData]]]:
        """Give (next block, logs) for blocks first … last, range by range: resume at next block.

        `event` is a contract's event, as `ledgers.payment.events.PermitPublished`; `filters` name
        indexed arguments. A range that the node finds too large is cut to what it says it would
        read, else halved, and grows again. A node that has not seen `last` raises (logs.py).
        """

        def read(at: int, stop: int) -> list[EventData]:
            named = filters or None
            found = event().get_logs(from_block=at, to_block=stop, argument_filters=named)
            return list(found)

        yield from self._ranges(first, last, read)

    def every(
        self, of: Iterable[Contract], first: int, last: int
    ) -> Iterator[tuple[int, list[EventData]]]:
        """Give (next block, logs) as `scan`, of all events of some contracts, in their order."""
        events: dict[tuple[str, bytes], Any] = {}
        for contract in of:
            for abi in contract.abi:
                if abi["type"] == "event":
                    topic = event_abi_to_log_topic(abi)
                    events[str(contract.address), topic] = contract.events[abi["name"]]()
        addresses = sorted({address for address, _ in events})

        def read(at: int, stop: int) -> list[EventData]:
            query: Any = {"address": addresses, "fromBlock": at, "toBlock": stop}
            found = [
                events[log["address"], bytes(log["topics"][0])].process_log(log)
                for log in self.w3.eth.get_logs(query)
                if log["topics"] and (log["address"], bytes(log["topics"][0])) in events
            ]
            return sorted(found, key=lambda log: (log["blockNumber"], log["logIndex"]))

        yield from self._ranges(first, last, read)

    def topics(self, event: ContractEvent, first: int, last: int) -> Iterator[list[bytes]]:
        """Give the topics alone of an event's logs, which is quick: its name, what is indexed."""
        name = "0x" + event_abi_to_log_topic(event.abi).hex()
        about = {"address": event.address, "topics": [name]}

        def read(at: int, stop: int) -> list[Any]:
            query = {**about, "fromBlock": hex(at), "toBlock": hex(stop)}
            return list(
                self.w3.provider.make_request(RPCEndpoint("eth_getLogs"), [query])["result"]
            )

        for _, found in self._ranges(first, last, read):
            for log in found:
                yield [bytes.fromhex(topic[2:]) for topic in log["topics"]]

    def _ranges(
        self, first: int, last: int, read: Callable[[int, int], list[Any]]
    ) -> Iterator[tuple[int, list[Any]]]:
        def told(at: int, stop: int) -> list[Any]:
            with translated("eth_getLogs", self.rpc_url):
                return read(at, stop)

        yield from self._lengths.over(first, last, told)

    def logs(
        self, event: Any, first: int, last: int | None = None, **filters: Any
    ) -> list[EventData]:
        """Return all logs of an event in blocks first … last (None: the head)."""
        stop = self.head() if last is None else last
        return [log for _, found in self.scan(event, first, stop, **filters) for log in found]

    def send(
        self,
        function: ContractFunction | ContractConstructor,
        *,
        value: int = 0,
        timeout_s: float = 180.0,
        done: Done | None = None,
    ) -> TxReceipt:
        """Send a transaction and return its receipt once it is in a block and succeeded.

        Gas is estimated first, so what would revert is refused before it costs anything. After
        45 s without a receipt its fee is raised. A call that an ended run sent, and whose outcome
        nobody learnt, is not sent again: its receipt is returned. `done` gets the receipt before
        that counts as learnt. Raises Reverted, OutOfGas.
        """
        sender = self._paying()
        what = getattr(function, "fn_name", "deploy")
        with translated(what, self.rpc_url, self.key.address if self.key else ""):
            receipt = sender.send(_call(what, function, value), timeout_s, done)
        self._marks[receipt["blockNumber"]] = bytes(receipt["blockHash"])
        return receipt

    def send_all(
        self, functions: Iterable[tuple[T, ContractFunction]], *, timeout_s: float = 180.0
    ) -> Iterator[tuple[T, TxReceipt | Reverted]]:
        """Send calls of which none needs another's effect, many on their way at a time.

        `functions` come with a name each, and are taken when there is room. Give each name with
        the receipt, or with why the contract refused the call, as they come. Otherwise as `send`;
        `timeout_s` is the most between two receipts.
        """
        sender, names = self._paying(), {}

        def calls() -> Iterator[Call]:
            for name, function in functions:
                call = _call(function.fn_name, function, 0)
                names[id(call)] = name, call
                yield call

        done = sender.send_all(calls(), timeout_s)
        while True:
            with translated("sending", self.rpc_url, self.key.address if self.key else ""):
                found = next(done, None)
            if found is None:
                return
            call, receipt = found
            if not isinstance(receipt, Reverted):
                self._marks[receipt["blockNumber"]] = bytes(receipt["blockHash"])
            yield names.pop(id(call))[0], receipt

    def finish(self, functions: Iterable[ContractFunction]) -> int:
        """Wait for what ended runs sent and nobody heard the end of; return how many it was.

        `functions` are those that were called, whatever with.
        """
        starts = [
            (str(of.address), "0x" + function_abi_to_4byte_selector(of.abi).hex())
            for of in functions
        ]
        with translated("waiting", self.rpc_url):
            return self._paying().finish(starts, 180.0)

    def holds(self) -> bool:
        """Say whether no reorganisation took away what this connection sent.

        Asked again, it says so of what was sent since; what is final is not looked at. A block
        that the node does not know is no proof: it may lie behind.
        """
        marks, self._marks = dict(self._marks), {}
        if not marks:
            return True
        final = self.finalized_block()
        for number, known in marks.items():
            found = self.block_hash(number)
            if found not in (b"", known):
                return False
            if number > final or not found:
                self._marks.setdefault(number, known)
        return True

    def resume(self, function: ContractFunction, words: int) -> TxReceipt | None:
        """Finish such a call that an ended run sent; None if there is none that succeeded.

        It is the same function with the same first `words` arguments of 32 bytes.
        """
        call = _call(function.fn_name, function, 0)
        with translated(function.fn_name, self.rpc_url):
            return self._paying().resume(call.to, call.data[: 10 + 64 * words], 180.0)

    def _paying(self) -> Sender:
        if self._sender is None:
            raise ChainError("this needs a key: add --key FILE (or --key dev:0 on a devchain)")
        return self._sender


def _call(what: str, function: ContractFunction | ContractConstructor, value: int) -> Call:
    if isinstance(function, ContractConstructor):
        data: Any = function.data_in_transaction
        return Call(what, "", value, str(data))
    data = function._encode_transaction_data()
    return Call(what, str(function.address), value, str(data))
