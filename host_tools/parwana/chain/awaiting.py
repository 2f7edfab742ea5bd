"""Wait for the receipt of what one key sent, and see to it that there is one.

A fee that is too low rises, what a node forgot is sent again, a gap before it is filled. Only a
receipt, or a stranger's transaction at the nonce, ends the wait before its time.
"""

import logging
import time
from collections.abc import Callable

from web3.types import TxReceipt

from parwana.chain import outbox
from parwana.chain.desk import Desk, Work, digest_of
from parwana.chain.errors import ChainError
from parwana.chain.faults import Verdict
from parwana.chain.keys import Key
from parwana.chain.limits import Limits
from parwana.chain.opening import Call, Opening
from parwana.chain.reader import Reader
from parwana.chain.taker import SomebodyElse, taker

RESEND_S = 45.0  # without a receipt: a higher fee
AGAIN_S = 3.0  # after an odd answer: the same once more
STRANGE_S = 10.0  # how long an unknown word is doubted, before it is taken for a refusal
_FILL_GAS = 60_000  # what a transaction with nothing in it takes, and what rollups add
log = logging.getLogger("parwana.chain")

Done = Callable[[TxReceipt], None]


class _Refused(Exception):
    """The node does not take it, and nobody has it."""

    def __init__(self, error: ChainError) -> None:
        super().__init__(str(error))
        self.error = error


class Waiting:
    """Wait with one key on one chain, in any thread. Every method raises ChainError."""

    def __init__(self, reader: Reader, key: Key, chain_id: int, limits: Limits) -> None:
        self._reader = reader
        self._rpc = reader.rpc
        self._key = key
        self._desk = Desk(reader, key, chain_id, limits)
        self._opening = Opening(self._desk, reader, key, chain_id)

    @property
    def _patience_s(self) -> float:
        return self._desk.rules.raise_after_s or RESEND_S

    def _count(self, block: int | str) -> int:
        return self._reader.count(self._key.address, block)

    def _help_before(self, nonce: int, *, fill: bool) -> None:
        """Send again what waits before a nonce; `fill` a gap that nobody filled by now."""
        with self._desk.box.lock():
            seen = self._opening.survey()
            before = [one for one in seen.held if seen.mined <= one.nonce < nonce]
            self._desk.push(before, self._patience_s)
            gap = seen.pending
            if not fill or gap >= nonce or gap in {one.nonce for one in before if not one.refused}:
                return
            log.warning("no transaction has nonce %d, and %d waits for it", gap, nonce)
            nothing = Call("nothing, so that others are mined", self._key.address, 0, "0x")
            work = self._opening.sign(nothing, gap, _FILL_GAS, seen)
            self._desk.broadcast(work)
            work.claim.release()

    def _put_aside(self, work: Work) -> None:
        """Note that no node has it: its nonce is free."""
        work.signed.refused = True
        self._desk.box.keep(work.signed)
        self._desk.settle(work.signed)

    def _wait(self, work: Work, deadline_s: float, done: Done | None = None) -> TxReceipt:
        """Wait for a receipt of ours, raise the fee; what cannot be read is no verdict."""
        signed, start_s, pause_s, said = work.signed, time.monotonic(), 0.02, ""
        again_s = start_s + AGAIN_S
        while True:
            try:
                receipt = self._reader.receipt(signed.hashes)
                if receipt is not None:
                    if done is not None and receipt["status"] == 1:
                        done(receipt)
                    signed.told = int(receipt["blockNumber"])
                    self._reader.remember(signed.told, signed.hashes)
                    self._desk.box.keep(signed, durable=False)
                    self._desk.settle(signed, receipt)
                    return receipt
                if pause_s > 0.1 or work.answer is not None:
                    self._look(work, time.monotonic() - start_s)
                said = ""
                if work.word is Verdict.CHEAP or (
                    outbox.now_s() - signed.raised_s > self._patience_s
                ):
                    self._desk.make_dearer(work)
                    waited_s = time.monotonic() - start_s
                    self._help_before(signed.nonce, fill=waited_s > self._patience_s)
                elif work.answer is not None and time.monotonic() > again_s:
                    again_s = time.monotonic() + max(AGAIN_S, getattr(work.answer, "after_s", 0))
                    self._desk.broadcast(work)
            except _Refused as refused:
                self._put_aside(work)
                raise refused.error from None
            except ChainError as error:
                said = str(error)
            if time.monotonic() > deadline_s:
                raise self._late(work, time.monotonic() - start_s, said)
            time.sleep(pause_s)
            pause_s = min(2.0, pause_s * 1.5)

    def _look(self, work: Work, waited_s: float) -> None:
        """See what became of a transaction without receipt. Raises _Refused, SomebodyElse."""
        signed = work.signed
        if not work.doubt and work.answer is not None:
            if work.word is Verdict.REFUSED:
                raise _Refused(work.answer)
            if (
                work.word is Verdict.STRANGE
                and waited_s > STRANGE_S
                and self._count("pending") <= signed.nonce
                and self._rpc.ask("eth_getTransactionByHash", signed.hashes[0]) is None
            ):
                raise _Refused(work.answer)
        if self._count("latest") <= signed.nonce:
            return
        found = taker(self._rpc, self._key.address, signed.nonce, signed.block)
        if found is None or found["hash"] in signed.hashes:
            return  # ours, not indexed yet, or the node cannot tell
        if "input" in found and digest_of(found) == signed.call:
            signed.known.append(found["hash"])  # the same call, its fee raised on another computer
            self._desk.box.keep(signed)
        elif self._reader.receipt(signed.hashes) is None:
            with self._desk.box.lock():
                self._desk.box.drop(signed.nonce)
            self._desk.settle(signed)
            raise SomebodyElse(self._key.address, signed.nonce, found["hash"])

    def _late(self, work: Work, waited_s: float, said: str) -> ChainError:
        signed, words = work.signed, said or (str(work.answer) if work.answer else "")
        try:
            ahead = signed.nonce - self._count("latest")
        except ChainError:
            ahead = 0
        return ChainError(
            f"{signed.what}: waited {waited_s:.0f} s for the receipt of transaction "
            f"{signed.hashes[0]}; it may still be mined. The same line again finds it, and does "
            "not send it twice"
            + (f". It waits behind {ahead} other transactions of its key" if ahead > 0 else "")
            + (f". The node's last word: {words}" if words else "")
        )
