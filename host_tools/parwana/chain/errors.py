"""What can go wrong with a chain, in words that say what to do next.

ChainError        the chain did not do what was asked
  Passing         it may do it in a moment: every read is asked again, for a while
    Unreachable   the node did not answer
    RateLimited   it wants fewer requests
    NotYet        it has not come so far: it indexes, or lies behind the chain that others saw
    InvalidAnswer what answers is no node: a page, an empty body, something else's JSON
  RangeTooLarge   it does not read so many blocks, or logs, at once
  UnknownBlock    it does not know the block, or not the tag that names it
  NodeError       it refused, in its own words
  Reverted        a contract refused; `reason` is its own word
  OutOfGas        the account cannot pay for the transaction
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from web3.exceptions import BadFunctionCallOutput, Web3Exception


class ChainError(RuntimeError):
    """The chain did not do what was asked."""


class Passing(ChainError):
    """The node may do it in a moment; a read is asked again for `patience_s`.

    `after_s`: how long the node itself asks to wait.
    """

    patience_s = 2.0
    after_s = 0.0


class Unreachable(Passing):
    """The node did not answer."""


class RateLimited(Passing):
    """The node wants fewer requests."""

    patience_s = 20.0


class NotYet(Passing):
    """The node has not come so far."""

    patience_s = 8.0


class InvalidAnswer(Passing):
    """What answers is no node."""


class RangeTooLarge(ChainError):
    """The node does not read so many blocks, or logs, at once.

    `blocks`: how many it would read, by its own words, or None.
    """

    def __init__(self, text: str, blocks: int | None = None) -> None:
        super().__init__(text)
        self.blocks = blocks


class UnknownBlock(ChainError):
    """The node does not know the block, or not the tag that names it."""


class NodeError(ChainError):
    """The node refused; `words` are its own, `code` its number."""

    def __init__(self, text: str, words: str = "", code: int | None = None) -> None:
        super().__init__(text)
        self.words = words
        self.code = code


class Reverted(ChainError):
    """A contract refused; `reason` is its own word, empty if it gave none."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: the contract refused" + (f": {reason}" if reason else ""))
        self.reason = reason


class OutOfGas(ChainError):
    """The account cannot pay for the transaction."""


def place(rpc_url: str) -> str:
    """Return a node's scheme and host, without the path and password that may hold a secret."""
    try:
        parts = urlsplit(rpc_url)
    except ValueError:
        return "the node's URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@contextmanager
def translated(what: str, rpc_url: str, payer: str = "the account") -> Iterator[None]:
    """Name `what` was done in what is raised, turn web3's own errors into ChainError."""
    try:
        yield
    except Reverted as error:
        raise Reverted(what, error.reason) from None
    except OutOfGas as error:
        raise OutOfGas(f"{what}: {payer} cannot pay; send it some ({error})") from None
    except BadFunctionCallOutput:
        raise ChainError(
            f"{what}: no such contract at {place(rpc_url)}; is the deployment file of this chain?"
        ) from None
    except Web3Exception as error:
        raise ChainError(f"{what}: {error}") from None
