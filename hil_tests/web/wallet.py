"""A wallet in the browser (EIP-1193, EIP-6963) whose key is here: it really signs and sends."""

from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from playwright.sync_api import BrowserContext

from parwana.chain.errors import ChainError
from parwana.chain.keys import Key
from parwana.chain.node import Chain
from parwana.chain.rpc import Rpc

_INJECTED = """
(() => {
  const provider = { request: async ({ method, params }) => {
    const answer = await window.testWallet(method, params ?? []);
    if (answer.error) throw Object.assign(new Error(answer.error), { code: answer.code });
    return answer.result;
  } };
  const info = Object.freeze({ uuid: "b8e4d0a2-5b5c-4c6f-9d43-0f6c3f1f7a11", name: "Test wallet",
    icon: "data:image/svg+xml,<svg/>", rdns: "example.wallet" });
  const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider",
    { detail: Object.freeze({ info, provider }) }));
  addEventListener("eip6963:requestProvider", announce);
  announce();
})();
"""
REJECTED = 4001  # of EIP-1193


class Wallet:
    """Answer a page with one key; `refuses` says no to whatever needs a signature."""

    def __init__(self, context: BrowserContext, url: str, key: Key) -> None:
        self.key, self.refuses = key, False
        self.asked: list[str] = []
        self._rpc, self._chain = Rpc(url, 10), Chain(url)
        context.expose_function("testWallet", self._answer)
        context.add_init_script(_INJECTED)

    def _answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        self.asked.append(method)
        try:
            return {"result": self._do(method, params)}
        except (ChainError, PermissionError) as error:
            return {"error": str(error), "code": REJECTED}

    def _do(self, method: str, params: list[Any]) -> Any:
        if method == "eth_requestAccounts":
            return [self.key.address.lower()]
        if self.refuses and method in ("personal_sign", "eth_sendTransaction"):
            raise PermissionError("User rejected the request.")
        if method == "personal_sign":
            text = encode_defunct(hexstr=params[0])
            return "0x" + bytes(Account.sign_message(text, self.key.secret).signature).hex()
        if method == "eth_sendTransaction":
            return self._send(params[0])
        return self._rpc.ask(method, *params)

    def _send(self, wanted: dict[str, str]) -> Any:
        assert wanted["from"].lower() == self.key.address.lower()
        fields = {
            "to": self._chain.w3.to_checksum_address(wanted["to"]),
            "data": wanted["data"],
            "value": int(wanted.get("value", "0x0"), 16),
            "nonce": self._rpc.number("eth_getTransactionCount", self.key.address, "latest"),
            "gas": 500_000,
            "gasPrice": 2 * self._rpc.number("eth_gasPrice"),
            "chainId": self._chain.chain_id,
        }
        signed = Account.sign_transaction(fields, self.key.secret)
        return self._rpc.ask("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
