"""A chain of one node: py-evm executes, this module puts one block on another."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from eth.abc import BlockHeaderAPI, ComputationAPI, SignedTransactionAPI
from eth.chains.base import Chain
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import Revert
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address
from eth_utils import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from parwana.devchain.blocks import Blocks
from parwana.devchain.statefile import FileDB

GAS_LIMIT = 30_000_000
TIP_WEI = 10**9
_HEAD = b"parwana/head"
_ERROR_STRING = bytes.fromhex("08c379a0")


class EvmError(ValueError):
    """The node refuses what it was asked; the text is what a client shows."""


class Reverted(EvmError):
    """A call or an estimate reverted; `data` is what the contract returned."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class Now(Protocol):
    """What an Evm needs of a clock."""

    def now(self) -> float:
        """Return Unix time in seconds."""


class Evm:
    """Mine, call and look up; one caller at a time (the devchain holds a lock).

    A block's timestamp is max(parent + 1, clock.now()). Blocks hold at most one transaction.
    `finalized` lies `finality_depth` blocks behind the head: a stated stand-in, as py-evm has no
    consensus.
    """

    def __init__(
        self,
        clock: Now,
        chain_id: int,
        funded: Iterable[bytes],
        *,
        state: Path | None = None,
        genesis_time_s: int | None = None,
        finality_depth: int = 2,
    ) -> None:
        self.chain_id = chain_id
        self.finality_depth = finality_depth
        self._clock = clock
        self._store = FileDB(state) if state else MemoryDB()
        self._chain: Any = None
        kind: Any = Chain.configure(
            "DevNode", chain_id=chain_id, vm_configuration=((0, PragueVM),)
        )
        base = AtomicDB(self._store)
        if _HEAD in self._store:
            self._chain = kind(base)
        else:
            time_s = int(clock.now()) if genesis_time_s is None else genesis_time_s
            account = {"balance": 10**24, "nonce": 0, "code": b"", "storage": {}}
            self._chain = kind.from_genesis(
                base,
                {
                    "difficulty": 0,
                    "gas_limit": GAS_LIMIT,
                    "timestamp": time_s,
                    "nonce": bytes(8),
                    "extra_data": os.urandom(32),  # no two chains begin with the same block
                },
                dict.fromkeys(funded, account),
            )
            self._store[_HEAD] = self._chain.get_canonical_head().hash
            self._commit()
        self.blocks = Blocks()
        self._load()

    def _load(self) -> None:
        chaindb = self._chain.chaindb
        header = chaindb.get_block_header_by_hash(self._store[_HEAD])
        line = [header]
        while header.block_number:
            header = chaindb.get_block_header_by_hash(header.parent_hash)
            line.append(header)
        builder = PragueVM.get_receipt_builder()
        for header in reversed(line):
            block = PragueVM.get_block_class().from_header(header, chaindb)
            self.blocks.add(block, chaindb.get_receipts(header, builder))

    def _commit(self) -> None:
        if isinstance(self._store, FileDB):
            self._store.commit()

    def close(self) -> None:
        """Close the state file."""
        if isinstance(self._store, FileDB):
            self._store.close()

    @property
    def head(self) -> BlockHeaderAPI:
        """Return the newest block's header."""
        return self.blocks.headers[-1]

    @property
    def finalized(self) -> int:
        """Return the number of the newest block that counts as final."""
        return max(0, self.head.block_number - self.finality_depth)

    def pending(self) -> BlockHeaderAPI:
        """Make the header that a block mined now would have."""
        time_s = max(self.head.timestamp + 1, int(self._clock.now()))
        return PragueVM.create_header_from_parent(
            self.head, timestamp=time_s, gas_limit=self.head.gas_limit
        )

    def mine(self, *transactions: SignedTransactionAPI) -> None:
        """Mine one block of these transactions (none: an empty one). Raises EvmError."""
        header = self.pending()
        vm = self._chain.get_vm(header)
        try:
            filled, receipts, _ = vm.apply_all_transactions(transactions, header)
        except ValidationError as error:
            raise EvmError(str(error)) from None
        block = vm.set_block_transactions_and_withdrawals(
            vm.get_block(), filled, transactions, receipts
        )
        block = vm.mine_block(block).block
        self._chain.chaindb.persist_block(block)
        self._store[_HEAD] = block.hash
        self._commit()
        self.blocks.add(block, receipts)

    def rewind(self, number: int) -> None:
        """Forget every block above `number`, as a reorganisation does."""
        top = self.head.block_number
        if not 0 <= number <= top:
            raise EvmError(f"cannot rewind to block {number}; the head is {top}")
        self.blocks.drop(number)
        self._store[_HEAD] = self.head.hash
        self._commit()

    def send(self, raw: bytes) -> bytes:
        """Mine a signed transaction, return its hash. Raises EvmError (geth's words)."""
        try:
            transaction = PragueVM.get_transaction_builder().decode(raw)
            sender = transaction.sender
            transaction.validate()
        except (RLPException, ValidationError, ValueError, TypeError, IndexError) as error:
            raise EvmError(f"invalid transaction: {error}") from None
        if transaction.chain_id not in (None, self.chain_id):
            raise EvmError(f"invalid chain id: this node is {self.chain_id}")
        state = self.state(self.head)
        nonce, price = state.get_nonce(sender), transaction.max_fee_per_gas
        if transaction.nonce != nonce:
            how = "low" if transaction.nonce < nonce else "high"
            raise EvmError(f"nonce too {how}: next nonce {nonce}, tx nonce {transaction.nonce}")
        need = transaction.gas * price + transaction.value
        if state.get_balance(sender) < need:
            have = state.get_balance(sender)
            raise EvmError(f"insufficient funds for gas * price + value: have {have} want {need}")
        if price < (self.pending().base_fee_per_gas or 0):
            raise EvmError("max fee per gas less than block base fee")
        self.mine(transaction)
        return transaction.hash

    def state(self, header: BlockHeaderAPI) -> Any:
        """Return the state after the block of `header`."""
        return self._chain.get_vm(header).state

    def execute(
        self, header: BlockHeaderAPI, sender: bytes, to: bytes, value: int, data: bytes, gas: int
    ) -> ComputationAPI:
        """Run a message on `header`'s state with a base fee of 0, then forget it."""
        free = header.copy(base_fee_per_gas=0)
        state = self.state(free)
        if state.get_balance(Address(sender)) < value:
            raise EvmError("insufficient funds for transfer")
        unsigned = PragueVM.get_transaction_builder().create_unsigned_transaction(
            nonce=state.get_nonce(sender),
            gas_price=0,
            gas=gas,
            to=Address(to),
            value=value,
            data=data,
        )
        try:
            return state.apply_transaction(SpoofTransaction(unsigned, from_=sender))
        except ValidationError as error:
            raise EvmError(str(error)) from None

    def call(self, header: BlockHeaderAPI, **message: Any) -> bytes:
        """Return what a message call returns. Raises Reverted, EvmError."""
        computation = self.execute(header, **message)
        _raise_for(computation)
        return computation.output

    def estimate(self, **message: Any) -> int:
        """Return gas enough for the message in the next block. Raises Reverted, EvmError.

        A call passes on at most 63/64 of its gas (EIP-150), so what was used grows by 64/63 for
        each depth; data has a floor price of 10 gas a token (EIP-7623).
        """
        most = int(message["gas"])
        computation = self.execute(self.pending(), **message)
        _raise_for(computation)
        used = most - computation.get_gas_remaining()
        depth = _depth(computation)
        zeros = message["data"].count(0)
        floor = 21_000 + 10 * (4 * len(message["data"]) - 3 * zeros)
        return min(most, max(used * 64**depth // 63**depth + 2300 * bool(depth), floor))

    def block_transactions(self, number: int) -> list[SignedTransactionAPI]:
        """Return the transactions of one block."""
        header = self.blocks.headers[number]
        block = PragueVM.get_block_class().from_header(header, self._chain.chaindb)
        return list(block.transactions)


def _depth(computation: ComputationAPI) -> int:
    return max((1 + _depth(child) for child in computation.children), default=0)


def _raise_for(computation: ComputationAPI) -> None:
    if not computation.is_error:
        return
    if isinstance(computation.error, Revert):
        output = bytes(computation.output)
        reason = ""
        if output[:4] == _ERROR_STRING and len(output) >= 68:
            size = int.from_bytes(output[36:68], "big")
            reason = ": " + output[68 : 68 + size].decode(errors="replace")
        raise Reverted("execution reverted" + reason, output)
    raise EvmError(f"{type(computation.error).__name__}: {computation.error}")
