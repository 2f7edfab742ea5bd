"""What can go wrong with a chain, in words that say what to do next.

ChainError        the chain did not do what was asked
  Unreachable     the node did not answer: try again later
  Reverted        a contract refused; `reason` is its own word
  OutOfGas        the account cannot pay for the transaction
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from eth_abi import abi
from eth_abi.exceptions import DecodingError
from requests.exceptions import RequestException
from web3.exceptions import (
    BadFunctionCallOutput,
    ContractLogicError,
    Web3Exception,
    Web3RPCError,
)

_ERROR_STRING = "0x08c379a0"
_NO_FUNDS = ("insufficient funds", "insufficientfunds", "upfront cost exceeds")


class ChainError(RuntimeError):
    """The chain did not do what was asked."""


class Unreachable(ChainError):
    """The node did not answer."""


class Reverted(ChainError):
    """A contract refused; `reason` is its own word, empty if it gave none."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: the contract refused" + (f": {reason}" if reason else ""))
        self.reason = reason


class OutOfGas(ChainError):
    """The account cannot pay for the transaction."""


def place(rpc_url: str) -> str:
    """Return a node's scheme and host, without the path and password that may hold a secret."""
    parts = urlsplit(rpc_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@contextmanager
def translated(what: str, rpc_url: str, payer: str = "the account") -> Iterator[None]:
    """Turn what web3 and requests raise while doing `what` into ChainError."""
    try:
        yield
    except ContractLogicError as error:
        raise Reverted(what, reason_of(error)) from None
    except BadFunctionCallOutput:
        raise ChainError(
            f"{what}: no such contract at {place(rpc_url)}; is the deployment file of this chain?"
        ) from None
    except Web3RPCError as error:
        text = message_of(error)
        if any(word in text.lower() for word in _NO_FUNDS):
            raise OutOfGas(f"{what}: {payer} cannot pay; send it some ({text})") from None
        raise ChainError(f"{what}: the node refused: {text}") from None
    except RequestException as error:
        raise Unreachable(
            f"{place(rpc_url)} does not answer ({type(error).__name__}): is the node running, "
            "is its URL right (--rpc, or the deployment file's)? A local one: parwana devchain"
        ) from None
    except Web3Exception as error:
        raise ChainError(f"{what}: {error}") from None


def message_of(error: Web3RPCError) -> str:
    """Return the node's own words."""
    body = (error.rpc_response or {}).get("error")
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])[:300]
    return str(error)[:300]


def reason_of(error: ContractLogicError) -> str:
    """Return the reason that a contract gave for reverting, empty if none."""
    data = error.data if isinstance(error.data, str) else ""
    if data.startswith(_ERROR_STRING):
        try:
            return str(abi.decode(["string"], bytes.fromhex(data[len(_ERROR_STRING) :]))[0])
        except (DecodingError, ValueError):
            return ""
    text = str(error.message or "").removeprefix("execution reverted").lstrip(": ")
    return "" if text.startswith(("no data", "0x")) else text
