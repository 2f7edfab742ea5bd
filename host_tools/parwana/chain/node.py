"""Talk to an EVM chain over any JSON-RPC URL: call, send, read logs, know what is final."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.exceptions import BlockNotFound, Web3RPCError
from web3.types import BlockIdentifier, EventData, RPCEndpoint, TxReceipt

from parwana.chain import contracts
from parwana.chain.deployment import Deployment
from parwana.chain.errors import ChainError, OutOfGas, Reverted, Unreachable, place, translated
from parwana.chain.keys import DEV_CHAIN_ID, Key
from parwana.chain.sender import Sender

__all__ = ["Chain", "ChainError", "Ledgers", "OutOfGas", "Reverted", "Unreachable"]

CONFIRMATIONS = 12
RANGE_BLOCKS = 2000


@dataclass(frozen=True)
class Ledgers:
    """The contracts of one deployment."""

    registry: Contract
    energy: Contract
    payment: Contract


class Chain:
    """One connection to one chain, with at most one key that pays. Any thread may use it.

    `chain_id` None takes whatever chain answers. Every method raises ChainError.
    """

    def __init__(
        self,
        rpc_url: str,
        key: Key | None = None,
        *,
        chain_id: int | None = None,
        timeout_s: float = 15.0,
    ) -> None:
        self.rpc_url = rpc_url
        self.key = key
        provider = Web3.HTTPProvider(
            rpc_url,
            request_kwargs={"timeout": timeout_s},
            # web3 asks for it with every call.
            cache_allowed_requests=True,
            cacheable_requests={RPCEndpoint("eth_chainId")},
        )
        self.w3 = Web3(provider)
        # A contract must not make this program fetch URLs (EIP-3668).
        self.w3.provider.global_ccip_read_enabled = False
        with translated("eth_chainId", rpc_url):
            self.chain_id = self.w3.eth.chain_id
        if chain_id is not None and chain_id != self.chain_id:
            raise ChainError(
                f"{place(rpc_url)} is chain {self.chain_id}, not {chain_id}; give another --rpc"
            )
        if key is not None and key.development and self.chain_id != DEV_CHAIN_ID:
            raise ChainError(
                f"development keys are public and chain {self.chain_id} is no devchain; "
                "make a key of your own: parwana key new FILE"
            )
        self._sender = Sender(self.w3, key, self.chain_id) if key else None

    @classmethod
    def of(cls, deployment: Deployment, key: Key | None = None, rpc: str | None = None) -> "Chain":
        """Connect to the chain of a deployment; `rpc` replaces its URL."""
        return cls(rpc or deployment.rpc, key, chain_id=deployment.chain_id)

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
        """Return what a view function returns."""
        with translated(function.fn_name, self.rpc_url):
            return function.call(block_identifier=block)

    def head(self) -> int:
        """Return the newest block's number."""
        with translated("eth_blockNumber", self.rpc_url):
            return self.w3.eth.block_number

    def finalized_block(self) -> int:
        """Return the newest final block's number: the node's word, else 12 behind the head."""
        with translated("eth_getBlockByNumber", self.rpc_url):
            try:
                return int(self.w3.eth.get_block("finalized")["number"])
            except (BlockNotFound, Web3RPCError):
                return max(0, self.w3.eth.block_number - CONFIRMATIONS)

    def block_time_s(self, block: BlockIdentifier = "latest") -> int:
        """Return a block's timestamp."""
        with translated("eth_getBlockByNumber", self.rpc_url):
            return int(self.w3.eth.get_block(block)["timestamp"])

    def balance(self, address: str) -> int:
        """Return an account's balance in wei."""
        with translated("eth_getBalance", self.rpc_url):
            return self.w3.eth.get_balance(Web3.to_checksum_address(address))

    def code(self, address: str) -> bytes:
        """Return the code of the contract at `address`, empty if there is none."""
        with translated("eth_getCode", self.rpc_url):
            return bytes(self.w3.eth.get_code(Web3.to_checksum_address(address)))

    def scan(
        self, event: Any, first: int, last: int, **filters: Any
    ) -> Iterator[tuple[int, list[EventData]]]:
        """Give (next block, logs) for blocks first … last, range by range: resume at next block.

        `event` is a contract's event, as `ledgers.payment.events.PermitPublished`; `filters` name
        indexed arguments. A range that the node finds too large is halved.
        """
        step, at = RANGE_BLOCKS, first
        while at <= last:
            stop = min(at + step - 1, last)
            with translated("eth_getLogs", self.rpc_url):
                try:
                    found = event().get_logs(
                        from_block=at, to_block=stop, argument_filters=filters or None
                    )
                except Web3RPCError:
                    if step == 1:
                        raise
                    step = max(1, step // 2)
                    continue
            yield stop + 1, list(found)
            at = stop + 1

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
    ) -> TxReceipt:
        """Send a transaction and return its receipt once it is in a block and succeeded.

        Gas is estimated first, so what would revert is refused before it costs anything. After
        45 s without a receipt it is sent again with a higher fee. Raises Reverted, OutOfGas.
        """
        if self._sender is None:
            raise ChainError("this needs a key: add --key FILE (or --key dev:0 on a devchain)")
        what = getattr(function, "fn_name", "deploy")
        with translated(what, self.rpc_url, self.key.address if self.key else ""):
            return self._sender.send(function, value, timeout_s)
