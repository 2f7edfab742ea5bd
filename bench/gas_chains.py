"""The chain that gas is measured on besides py-evm: anvil, with the face of the tests' Evm."""

from typing import IO, Any

from eth_utils import to_canonical_address

from hil_tests.anvil import Anvil
from hil_tests.contracts.evm import Evm, Result, Reverted
from parwana.chain.errors import ChainError

# EIP-7825: the most gas that a transaction can have on osaka
_GAS = hex(2**24)
_RICH = hex(10**30)


class AnvilEvm(Evm):
    """Each transaction is a block of its own, a second after the one before or when `at` says."""

    def __init__(self, time_s: int, log: IO[str]) -> None:
        self._anvil = Anvil(log)
        self._events = {}
        self.time_s = time_s
        self._ask("anvil_autoImpersonateAccount", True)

    def _ask(self, method: str, *params: Any) -> Any:
        return self._anvil.ask(method, *params)

    def stop(self) -> None:
        """End anvil."""
        self._anvil.stop()

    def at(self, time_s: int) -> None:
        """Set the clock, forward."""
        self.time_s = time_s

    def balance(self, address: str) -> int:
        """Return the native coin of an address."""
        return int(self._ask("eth_getBalance", address, "latest"), 16)

    def fund(self, address: str, amount: int) -> None:
        """Give native coin to an address."""
        self._ask("anvil_setBalance", address, hex(amount))

    def _nonce(self, address: str) -> int:
        return int(self._ask("eth_getTransactionCount", address, "latest"), 16)

    def transact(
        self, sender: str, to: bytes, value: int, data: bytes, keep: bool = True
    ) -> Result:
        """Execute; `value` is the raw output. Raises Reverted."""
        call = {"from": sender, "gas": _GAS, "gasPrice": "0x0", "value": hex(value)}
        call |= {"data": "0x" + data.hex()} | ({"to": "0x" + to.hex()} if to else {})
        latest = self._ask("eth_getBlockByNumber", "latest", False)
        self.time_s = max(self.time_s, int(latest["timestamp"], 16) + 1)
        try:
            if not keep:
                output = self._ask("eth_call", call, "latest")
                return Result(bytes.fromhex(output[2:]), 0, [])
            self._ask("evm_setNextBlockTimestamp", self.time_s)
            self._ask("anvil_setNextBlockBaseFeePerGas", "0x0")
            output = self._ask("eth_call", call, "pending")
            sent = self._ask("eth_sendTransaction", call)
        except ChainError as error:
            raise Reverted(str(error)) from error
        receipt = None
        while receipt is None:
            receipt = self._ask("eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1", f"transaction failed: {receipt}"
        logs = [
            self._decode(
                to_canonical_address(entry["address"]),
                [int(topic, 16) for topic in entry["topics"]],
                bytes.fromhex(entry["data"][2:]),
            )
            for entry in receipt["logs"]
        ]
        return Result(bytes.fromhex(output[2:]), int(receipt["gasUsed"], 16), logs)
