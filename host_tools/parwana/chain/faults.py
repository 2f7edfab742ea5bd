"""Tell a node's errors apart: by HTTP status, code and words, here and nowhere else.

Clients and providers agree neither on codes nor on words, and some send an error in the body of an
HTTP 4xx or 5xx. docs/nodes.md lists what is told as what, and a test holds it to this.
"""

import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from eth_abi import abi
from eth_abi.exceptions import DecodingError

from parwana.chain.errors import (
    ChainError,
    InvalidAnswer,
    NodeError,
    NotYet,
    OutOfGas,
    Passing,
    RangeTooLarge,
    RateLimited,
    Reverted,
    UnknownBlock,
    Unreachable,
    place,
)

_EXECUTES = ("eth_call", "eth_estimateGas")
_NO_FUNDS = re.compile(
    r"insufficient ?(funds|balance)|upfront cost exceeds|enough funds"
    r"|gas required exceeds allowance"
)
_RATE = re.compile(
    r"rate.?limit|too many requests|(request|call)s? rate|requests? per (second|minute|day)"
    r"|request (count|limit)|compute units|throughput|throttl|quota|credits|slow down|retry in"
    r"|(maximum|max|many) (number of )?(requests|calls)|per (second|minute)|over rate|capacity"
    r"|(usage|rps|daily) limit|resources? exhausted|^limit exceeded"
)
_NO_BLOCK = re.compile(
    r"(unknown|invalid|unsupported|missing|no such) block|(block|header)\b.{0,80}? not "
    r"(be )?(found|available|known|supported)|cannot be found|without 0x|missing 0x"
    r"|unknown variant|beyond (the )?(current )?head|could not find block|pre-merge"
    r"|block is out of range|block.?out.?of.?range|unsupported tag|tag .{0,40}not supported"
)
_RANGE = re.compile(
    r"range|results?\b|too (many|large|big|wide)|response size|exceed|limited to|maximum|at most"
    r"|time.?d? ?out|deadline"
)
_THIS_RANGE = re.compile(
    r"range\D{0,20}?\[?(0x[0-9a-f]{1,16}|\d{1,18})[ ,-]+(0x[0-9a-f]{1,16}|\d{1,18})\]?\s*$"
)
_MOST = re.compile(
    r"(limit(ed)?|max(imum)?|at most|up to|greater than|exceeds?|only)\D{0,30}?"
    r"(?P<blocks>\d[\d,]{0,9})\b"
)
_AFTER = re.compile(r"(?:retry|again|wait)\D{0,20}?(\d{1,6}(?:\.\d+)?) ?(ms|s\b|sec)")
_NOT_YET = re.compile(
    r"index(ing|er)\b|in progress|syncing|not synced|still (sync|start|load)|initiali[sz]ing"
    r"|missing trie node|not yet|behind"
)
_GATEWAY = re.compile(
    r"time.?d? ?out|deadline|gateway|upstream|unavailable|overload|busy|try again|backend"
    r"|connection (refused|reset|closed)"
)
_REVERT = re.compile(r"revert|vm execution error|invalid opcode|always failing transaction")
# What eth_sendRawTransaction is refused with; matched in this order.
_TAKEN = re.compile(
    r"already.?(known|exists|imported|in |pending)|known transaction|duplicate|same hash"
)
_HELD = re.compile(r"replac|same nonce")
_CHEAP = re.compile(
    r"underpriced|(fee|price|tip)\b.{0,20}?(too low|below)|fee_?too_?low|gas_price_too_low"
    r"|fee.{0,20}less than|below (the )?(block |base|min)|minimum (gas ?price|tip|fee)"
)
_NONCE = re.compile(r"nonce")
_NEVER = re.compile(
    r"intrinsic gas|gas limit|gas too low|exceeds the configured cap|invalid (sender|signature)"
    r"|chain.?id|eip-?155|replay.?protect|init ?code|oversized|code size|rlp|decod|deserial"
    r"|not an eoa|has (deployed )?code|transaction type|tip above|higher than max"
)
_PERHAPS = re.compile(r"internal|pool.{0,10}full|rejected.{0,20}later")


class Verdict(Enum):
    """What an answer to eth_sendRawTransaction says of the transaction.

    Only REFUSED says that it is nowhere. After all others its own hash must be asked for.
    """

    TAKEN = "taken"
    UNSURE = "may be taken"
    HELD = "another transaction of this nonce is waiting"
    CHEAP = "its fee is too low"
    REFUSED = "not taken"
    STRANGE = "not taken, it seems"


def verdict(error: ChainError | None) -> Verdict:
    """Judge what a transaction was answered with; None: its hash."""
    if error is None:
        return Verdict.TAKEN
    if isinstance(error, OutOfGas):
        return Verdict.REFUSED
    if isinstance(error, Passing) or not isinstance(error, NodeError):
        return Verdict.UNSURE
    low = error.words.lower()
    for words, found in (
        (_TAKEN, Verdict.TAKEN),
        (_HELD, Verdict.HELD),
        (_CHEAP, Verdict.CHEAP),
        (_NONCE, Verdict.UNSURE),
        (_NEVER, Verdict.REFUSED),
        (_PERHAPS, Verdict.UNSURE),
        (_GATEWAY, Verdict.UNSURE),
    ):
        if words.search(low):
            return found
    if error.code == -32601 or not error.words:
        return Verdict.REFUSED if error.code == -32601 else Verdict.UNSURE
    return Verdict.UNSURE if error.code == -32603 else Verdict.STRANGE


def result_of(method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Return the result in a node's answer. Raises the ChainError that it is instead."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    error: Any = None
    if isinstance(answer, dict):
        error = answer.get("error")
        if error is None and "result" in answer and status < 400:
            return answer["result"]
        error = error or answer.get("message")
    raise _fault(method, url, status, headers, error)


def _fault(
    method: str, url: str, status: int, headers: Mapping[str, str], error: Any
) -> ChainError:
    body = error if isinstance(error, dict) else {"message": error}
    code, data = body.get("code"), body.get("data")
    words = _readable(str(body.get("message") or ""), url)
    low = f"{words} {data if isinstance(data, str) else ''}".lower()
    at, said = place(url), words or (f"HTTP {status}" if status != 200 else "no JSON-RPC")
    if error is None:
        return _without_words(method, at, status, headers)
    if method in _EXECUTES and (code == 3 or _REVERT.search(low)):
        return Reverted(method, _reason(words, data))
    if _NO_FUNDS.search(low):
        return OutOfGas(words)
    if status == 429 or code == 429 or _RATE.search(low):
        return _rate_limited(at, said, headers)
    if method == "eth_sendRawTransaction":
        return NodeError(f"{method}: the node refused: {said}", words, code)
    logs = method == "eth_getLogs"
    too_far = logs and "range" in low and "head" not in low
    if (_NO_BLOCK.search(low) and not too_far) or code == -39001:
        return UnknownBlock(f"{at} does not know this block ({said})")
    if _NOT_YET.search(low):
        return NotYet(f"{at} is not so far ({said}); wait until it is in step with its chain")
    if logs and (status == 413 or _RANGE.search(low)):
        return RangeTooLarge(f"{at} does not read so much at once ({said})", _blocks(low))
    if code == -32005:
        return _rate_limited(at, said, headers)
    if _GATEWAY.search(low) or (status >= 500 and not words):
        return _silent(at, said)
    return NodeError(f"{method}: the node refused: {said}", words, code)


def _without_words(method: str, at: str, status: int, headers: Mapping[str, str]) -> ChainError:
    """Judge an answer without an error in it by its HTTP status."""
    said = f"HTTP {status}"
    if status == 429:
        return _rate_limited(at, said, headers)
    if status == 413 and method == "eth_getLogs":
        return RangeTooLarge(f"{at} does not read so much at once ({said})")
    if status in (401, 403):
        return NodeError(f"{at} lets nobody in by this URL ({said}); is its key right?", said)
    if status >= 500 or status == 408:
        return _silent(at, said)
    return InvalidAnswer(
        f"{at} answers, but not as an Ethereum node does ({said}, no JSON-RPC): is its URL right "
        "(--rpc, or the deployment file's)?"
    )


def silent(url: str, why: str) -> ChainError:
    """Return the error for a node that did not answer."""
    return _silent(place(url), why)


def _silent(at: str, why: str) -> ChainError:
    return Unreachable(
        f"{at} does not answer ({why}): is the node running, is its URL right (--rpc, or the "
        "deployment file's)? A local one: parwana devchain"
    )


def _rate_limited(at: str, said: str, headers: Mapping[str, str]) -> ChainError:
    error = RateLimited(
        f"{at} wants fewer requests ({said}): wait, or use a node that allows more"
    )
    error.after_s = _after_s(headers.get("Retry-After", ""), said)
    return error


def _after_s(header: str, words: str) -> float:
    """Return how long a node asks to wait, by header (seconds, a date) or words; 0: it does not.

    Source: RFC 9110, 10.2.3.
    """
    if header.strip().isdecimal():
        return float(header.strip())
    with suppress(ValueError, TypeError):
        until = parsedate_to_datetime(header)
        return max(0.0, until.timestamp() - time.time())
    found = _AFTER.search(words.lower())
    return float(found[1]) * (0.001 if found[2] == "ms" else 1) if found else 0.0


def _blocks(low: str) -> int | None:
    """Return how many blocks a refusal says that it would read, None where it does not.

    "Results" and "logs" are no blocks.
    """
    if found := _THIS_RANGE.search(low):
        first, last = (int(text, 0) for text in found.groups())
        return last - first + 1 if last >= first else None
    if re.search(r"\bresult|\blogs|size", low) or not (found := _MOST.search(low)):
        return None
    return int(found["blocks"].replace(",", "")) or None


def _readable(text: str, url: str) -> str:
    """Return a node's words in one line, without the parts of its URL that may be a secret."""
    for part in re.split(r"[/@:?&=]+", url):
        if len(part) >= 12:
            text = text.replace(part, "…")
    return " ".join(text.split())[:300]


def _reason(words: str, data: Any) -> str:
    """Return the reason that a contract gave for reverting, empty if none."""
    text = data if isinstance(data, str) else ""
    if isinstance(data, dict):  # Ganache, Hardhat
        text = str(data.get("data") or data.get("result") or "")
    at = text.find("08c379a0")
    if at >= 0:
        try:
            return str(abi.decode(["string"], bytes.fromhex(text[at + 8 :]))[0])
        except (DecodingError, ValueError):
            pass
    found = re.search(r"revert(?:ed)?(?: with reason string)?[:,]? *'?(.*?)'?$", words, re.I)
    reason = found[1] if found else ""
    return "" if reason.startswith(("no data", "0x", "without")) else reason
