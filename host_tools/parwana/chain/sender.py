"""Send transactions of one key: gas, fees, nonces, time-outs, higher fees when nothing happens."""

import threading
import time
from typing import Any

from eth_account import Account
from web3 import Web3
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.exceptions import (
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.types import TxReceipt

from parwana.chain.errors import ChainError, Reverted, message_of, reason_of
from parwana.chain.keys import Key

RESEND_S = 45.0
_ATTEMPTS = 5


class Sender:
    """Send with one key on one chain. Threads take nonces one after another, then wait apart."""

    def __init__(self, w3: Web3, key: Key, chain_id: int) -> None:
        self._w3 = w3
        self._key = key
        self._chain_id = chain_id
        self._address = Web3.to_checksum_address(key.address)
        self._lock = threading.Lock()
        self._next_nonce = 0

    def send(
        self, function: ContractFunction | ContractConstructor, value: int, timeout_s: float
    ) -> TxReceipt:
        """Return the receipt of a transaction that succeeded. Raises ChainError, web3's errors."""
        what = getattr(function, "fn_name", "deploy")
        fields: dict[str, Any] = {"from": self._address, "chainId": self._chain_id, "value": value}
        fields.update(self._fees())
        fields = dict(function.build_transaction(fields))  # type: ignore[arg-type]
        fields["gas"] = fields["gas"] * 5 // 4
        receipt = self._wait(what, fields, self._submit(fields), timeout_s)
        if receipt["status"] != 1:
            raise Reverted(what, self._reason(fields, receipt))
        return receipt

    def _fees(self) -> dict[str, Any]:
        base = self._w3.eth.get_block("latest").get("baseFeePerGas")
        if base is None:
            return {"gasPrice": self._w3.eth.gas_price}
        tip = self._w3.eth.max_priority_fee
        return {"maxPriorityFeePerGas": tip, "maxFeePerGas": 2 * base + tip}

    def _submit(self, fields: dict[str, Any]) -> list[bytes]:
        """Sign with the next nonce; another process with this key may be faster: then again."""
        for _ in range(_ATTEMPTS):
            with self._lock:
                pending = self._w3.eth.get_transaction_count(self._address, "pending")
                fields["nonce"] = max(pending, self._next_nonce)
                try:
                    key = self._transmit(fields)
                except Web3RPCError as error:
                    self._next_nonce = 0
                    if not any(word in message_of(error) for word in ("nonce too", "underpriced")):
                        raise
                    continue
                self._next_nonce = fields["nonce"] + 1
                return [key]
        raise ChainError(f"{self._address} is used by another process too; give each its own key")

    def _transmit(self, fields: dict[str, Any]) -> bytes:
        signed = Account.sign_transaction(fields, self._key.secret)
        try:
            return bytes(self._w3.eth.send_raw_transaction(signed.raw_transaction))
        except Web3RPCError as error:
            if "already known" not in message_of(error):
                raise
            return bytes(signed.hash)

    def _wait(
        self, what: str, fields: dict[str, Any], sent: list[bytes], timeout_s: float
    ) -> TxReceipt:
        start, pause_s, resend_s = time.monotonic(), 0.02, RESEND_S
        while time.monotonic() - start < timeout_s:
            for key in sent:
                try:
                    return self._w3.eth.get_transaction_receipt(key)  # type: ignore[arg-type]
                except TransactionNotFound:
                    continue
            if time.monotonic() - start > resend_s:
                resend_s += RESEND_S
                sent += self._again(fields)
            time.sleep(pause_s)
            pause_s = min(2.0, pause_s * 1.5)
        with self._lock:
            self._next_nonce = 0
        raise ChainError(
            f"{what}: waited {timeout_s:.0f} s for the receipt of transaction 0x{sent[-1].hex()}; "
            "it may still be mined, look it up before you send again"
        )

    def _again(self, fields: dict[str, Any]) -> list[bytes]:
        # Nodes take a replacement from 10 % more on.
        for name in ("gasPrice", "maxFeePerGas", "maxPriorityFeePerGas"):
            if name in fields:
                fields[name] = fields[name] * 5 // 4 + 1
        try:
            return [self._transmit(fields)]
        except Web3RPCError:
            return []  # "nonce too low": one of those sent before is in a block by now

    def _reason(self, fields: dict[str, Any], receipt: TxReceipt) -> str:
        if receipt["gasUsed"] >= fields["gas"]:
            return "it ran out of gas"
        call = {name: fields[name] for name in ("from", "to", "value", "data") if name in fields}
        try:
            self._w3.eth.call(call, receipt["blockNumber"])  # type: ignore[arg-type]
        except ContractLogicError as error:
            return reason_of(error)
        except Web3Exception:
            pass
        return "the chain's state changed before it was mined"
