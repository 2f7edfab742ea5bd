"""The JSON-RPC methods of the development chain, and the text form of their values."""

from typing import Any

from eth_utils import to_checksum_address

from parwana.devchain.blocks import effective_price
from parwana.devchain.evm import GAS_LIMIT, TIP_WEI, Evm

MAX_LOGS = 10_000
PARSE, INVALID, UNKNOWN, PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
SERVER, REVERTED = -32000, 3


class RpcError(ValueError):
    """A JSON-RPC error: its code, its message, and the data of a revert."""

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


def encode(value: Any) -> Any:
    """Turn bytes and integers into JSON-RPC's hexadecimal text."""
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return [encode(item) for item in value]


def to_bytes(value: Any, size: int | None = None) -> bytes:
    """Read hexadecimal text of `size` bytes (None: any). Raises RpcError."""
    try:
        data = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError):
        raise RpcError(PARAMS, f"{value!r:.80} is no 0x… data") from None
    if size is not None and len(data) != size:
        raise RpcError(PARAMS, f"{value!r:.80} has {len(data)} bytes, {size} are needed")
    return data


def to_int(value: Any) -> int:
    """Read a hexadecimal quantity. Raises RpcError."""
    try:
        number = int(value, 16) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        raise RpcError(PARAMS, f"{value!r:.80} is no 0x… number") from None
    if not 0 <= number < 2**256:
        raise RpcError(PARAMS, f"{value!r:.80} is out of range")
    return number


def to_list(value: Any) -> list[Any]:
    """Return a list parameter, empty for null. Raises RpcError."""
    if not isinstance(value, list | None):
        raise RpcError(PARAMS, f"{value!r:.80} is no list")
    return value or []


def _alternatives(topic: Any) -> set[bytes] | None:
    if not topic:
        return None
    return {to_bytes(one, 32) for one in (topic if isinstance(topic, list) else [topic])}


class Methods:
    """Answer JSON-RPC: each public method is one, named as in the specification."""

    def __init__(self, evm: Evm) -> None:
        self._evm = evm

    def _number(self, tag: Any) -> int:
        top = self._evm.head.block_number
        if tag in ("latest", "pending", None):
            return top
        if tag in ("finalized", "safe"):
            return self._evm.finalized
        return 0 if tag == "earliest" else to_int(tag)

    def _header(self, tag: Any) -> Any:
        if tag == "pending":
            return self._evm.pending()
        number = self._number(tag)
        if number >= len(self._evm.blocks.headers):
            raise RpcError(SERVER, f"header not found: block {number}")
        return self._evm.blocks.headers[number]

    def _message(self, fields: Any) -> dict[str, Any]:
        if not isinstance(fields, dict):
            raise RpcError(PARAMS, "the first parameter must be a transaction object")
        return {
            "sender": to_bytes(fields.get("from") or "0x" + "00" * 20, 20),
            "to": to_bytes(fields.get("to") or "0x"),
            "value": to_int(fields.get("value", 0)),
            "data": to_bytes(fields.get("input") or fields.get("data") or "0x"),
            "gas": min(GAS_LIMIT, to_int(fields.get("gas", GAS_LIMIT))),
        }

    def web3_clientVersion(self) -> str:
        return "parwana-devchain/1"

    def net_version(self) -> str:
        return str(self._evm.chain_id)

    def net_listening(self) -> bool:
        return True

    def eth_syncing(self) -> bool:
        return False

    def eth_accounts(self) -> list[str]:
        return []

    def eth_chainId(self) -> int:
        return self._evm.chain_id

    def eth_blockNumber(self) -> int:
        return self._evm.head.block_number

    def eth_gasPrice(self) -> int:
        return (self._evm.pending().base_fee_per_gas or 0) + TIP_WEI

    def eth_maxPriorityFeePerGas(self) -> int:
        return TIP_WEI

    def eth_feeHistory(self, count: Any, newest: Any = "latest", percentiles: Any = None) -> Any:
        last = self._number(newest)
        first = max(0, last + 1 - min(1024, to_int(count)))
        headers = self._evm.blocks.headers[first : last + 1]
        return {
            "oldestBlock": first,
            "baseFeePerGas": [h.base_fee_per_gas for h in headers]
            + [self._evm.pending().base_fee_per_gas],
            "gasUsedRatio": [h.gas_used / h.gas_limit for h in headers],
            "reward": [[TIP_WEI for _ in to_list(percentiles)] for _ in headers],
        }

    def eth_getBalance(self, address: Any, tag: Any = "latest") -> int:
        return int(self._evm.state(self._header(tag)).get_balance(to_bytes(address, 20)))

    def eth_getTransactionCount(self, address: Any, tag: Any = "latest") -> int:
        header = self._header("latest" if tag == "pending" else tag)
        return int(self._evm.state(header).get_nonce(to_bytes(address, 20)))

    def eth_getCode(self, address: Any, tag: Any = "latest") -> bytes:
        return bytes(self._evm.state(self._header(tag)).get_code(to_bytes(address, 20)))

    def eth_getStorageAt(self, address: Any, slot: Any, tag: Any = "latest") -> bytes:
        state = self._evm.state(self._header(tag))
        return int(state.get_storage(to_bytes(address, 20), to_int(slot))).to_bytes(32, "big")

    def eth_call(self, message: Any, tag: Any = "latest", *_overrides: Any) -> bytes:
        return self._evm.call(self._header(tag), **self._message(message))

    def eth_estimateGas(self, message: Any, _tag: Any = "latest") -> int:
        return self._evm.estimate(**self._message(message))

    def eth_sendRawTransaction(self, raw: Any) -> bytes:
        return self._evm.send(to_bytes(raw))

    def evm_mine(self) -> str:
        self._evm.mine()
        return "0x0"

    def eth_getTransactionReceipt(self, key: Any) -> Any:
        found = self._evm.blocks.transaction(to_bytes(key, 32))
        return found and found[2]

    def eth_getTransactionByHash(self, key: Any) -> Any:
        found = self._evm.blocks.transaction(to_bytes(key, 32))
        return found and self._transaction(found[1], found[2])

    def eth_getBlockByNumber(self, tag: Any, full: Any = False) -> Any:
        number = self._number(tag)
        return self._block(number, full) if number < len(self._evm.blocks.headers) else None

    def eth_getBlockByHash(self, key: Any, full: Any = False) -> Any:
        number = self._evm.blocks.number_of(to_bytes(key, 32))
        return None if number is None else self._block(number, full)

    def eth_getLogs(self, query: Any) -> list[Any]:
        if not isinstance(query, dict):
            raise RpcError(PARAMS, "the first parameter must be a filter object")
        if query.get("blockHash"):
            number = self._evm.blocks.number_of(to_bytes(query["blockHash"], 32))
            if number is None:
                raise RpcError(SERVER, "unknown block")
            first = last = number
        else:
            first, last = self._number(query.get("fromBlock")), self._number(query.get("toBlock"))
        addresses = query.get("address") or []
        addresses = addresses if isinstance(addresses, list) else [addresses]
        wanted = {to_checksum_address(to_bytes(address, 20)) for address in addresses}
        topics = [_alternatives(topic) for topic in to_list(query.get("topics"))]
        found = [
            log
            for log in self._evm.blocks.logs(first, last)
            if (not wanted or log["address"] in wanted)
            and len(log["topics"]) >= len(topics)
            and all(t is None or have in t for t, have in zip(topics, log["topics"], strict=False))
        ]
        if len(found) > MAX_LOGS:
            raise RpcError(-32005, f"query returned more than {MAX_LOGS} results")
        return found

    def _transaction(self, transaction: Any, receipt: dict[str, Any]) -> dict[str, Any]:
        kind = receipt["type"]
        header = self._evm.blocks.headers[receipt["blockNumber"]]
        fields = {
            "hash": transaction.hash, "type": kind, "nonce": transaction.nonce,
            "blockHash": receipt["blockHash"], "blockNumber": receipt["blockNumber"],
            "transactionIndex": receipt["transactionIndex"],
            "from": receipt["from"], "to": receipt["to"], "r": transaction.r, "s": transaction.s,
            "value": transaction.value, "gas": transaction.gas, "input": transaction.data,
            "gasPrice": effective_price(transaction, header),
            "v": transaction.y_parity if kind else transaction.v, "chainId": self._evm.chain_id,
        }  # fmt: skip
        if kind >= 2:
            fields["maxFeePerGas"] = transaction.max_fee_per_gas
            fields["maxPriorityFeePerGas"] = transaction.max_priority_fee_per_gas
        return fields

    def _block(self, number: int, full: Any) -> dict[str, Any]:
        header = self._evm.blocks.headers[number]
        hashes = [t.hash for t in self._evm.block_transactions(number)]
        found = [self.eth_getTransactionByHash("0x" + key.hex()) for key in hashes if full]
        return {
            "number": number, "hash": header.hash, "parentHash": header.parent_hash,
            "nonce": header.nonce, "sha3Uncles": header.uncles_hash, "uncles": [],
            "logsBloom": header.bloom.to_bytes(256, "big"),
            "transactionsRoot": header.transaction_root, "stateRoot": header.state_root,
            "receiptsRoot": header.receipt_root,
            "miner": to_checksum_address(header.coinbase), "difficulty": 0, "totalDifficulty": 0,
            "mixHash": header.mix_hash, "extraData": header.extra_data, "size": 1000,
            "gasLimit": header.gas_limit, "gasUsed": header.gas_used,
            "timestamp": header.timestamp,
            "baseFeePerGas": header.base_fee_per_gas, "transactions": found if full else hashes,
        }  # fmt: skip
