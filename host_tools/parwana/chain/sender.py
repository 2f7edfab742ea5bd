"""Send transactions of one key, each call once.

A call is signed, written down (outbox.py) and broadcast. From then on only a receipt decides: of
one of the transactions that were signed for it, all of one nonce, so that at most one is mined.
Whatever a node answers to the broadcast, the call gets no second nonce before the chain shows a
stranger's transaction at the first. docs/nodes.md tells it situation by situation.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from web3.types import TxReceipt

from parwana.chain import outbox
from parwana.chain.desk import Desk, Work, digest_of
from parwana.chain.errors import ChainError, NotYet, Reverted
from parwana.chain.faults import Verdict
from parwana.chain.keys import Key
from parwana.chain.limits import Limits
from parwana.chain.outbox import Signed
from parwana.chain.reader import Reader
from parwana.chain.rpc import patiently
from parwana.chain.taker import SomebodyElse, taker

RESEND_S = 45.0  # without a receipt: a higher fee
AGAIN_S = 3.0  # after an odd answer: the same once more
STRANGE_S = 10.0  # how long an unknown word is doubted, before it is taken for a refusal
SAME_S = 3600.0  # so long a call that nobody heard the end of is the one that is asked for again
_ATTEMPTS = 5
log = logging.getLogger("parwana.chain")

Done = Callable[[TxReceipt], None]


@dataclass(frozen=True)
class Call:
    """What is to be done: `to` empty makes a contract; `data` is 0x-hexadecimal text."""

    what: str
    to: str
    value: int
    data: str

    @property
    def digest(self) -> str:
        """Return what tells it from another."""
        return outbox.digest(self.to, self.value, self.data)

    def message(self, sender: str) -> dict[str, str]:
        """Return it as eth_call takes it."""
        message = {"from": sender, "value": hex(self.value), "data": self.data}
        return {**message, "to": self.to} if self.to else message


class _Refused(Exception):
    """The node does not take it, and nobody has it."""

    def __init__(self, error: ChainError) -> None:
        super().__init__(str(error))
        self.error = error


class Sender:
    """Send with one key on one chain, from any thread. Every method raises ChainError."""

    def __init__(self, reader: Reader, key: Key, chain_id: int, limits: Limits) -> None:
        self._reader = reader
        self._rpc = reader.rpc
        self._key = key
        self._chain_id = chain_id
        self._desk = Desk(reader, key, chain_id, limits)

    def send(self, call: Call, timeout_s: float, done: Done | None = None) -> TxReceipt:
        """Return the receipt of a call that succeeded; its own, if an ended run sent it.

        `done` gets it before the call counts as heard of: what it writes down is not done again.
        """
        deadline_s = time.monotonic() + timeout_s
        for _ in range(_ATTEMPTS):
            with self._desk.box.lock():
                work = self._begin(call)
            try:
                receipt = self._wait(work, deadline_s, done)
            except SomebodyElse as error:
                log.warning("%s: %s; it is sent anew", call.what, error)
                continue
            finally:
                work.claim.release()
            if receipt["status"] != 1:
                raise Reverted(call.what, self._reason(call, receipt, work.signed.fields["gas"]))
            return receipt
        raise ChainError(
            f"another program sends with {self._key.address}, too, and is faster each time; give "
            "each its own key"
        )

    def resume(self, to: str, start: str, timeout_s: float) -> TxReceipt | None:
        """Finish what an ended run sent to `to` with data that begins with `start`.

        None if there is no such call, or nothing came of it.
        """
        work = None
        with self._desk.box.lock():
            for known in reversed(self._desk.box.all()):
                fields = known.fields
                if fields["to"].lower() != to.lower() or not fields["data"].startswith(start):
                    continue
                if found := self._desk.box.take(known.nonce):
                    work = Work(*found, doubt=True)
                    if not (work.signed.told or work.signed.refused):
                        break
                    work.claim.release()
                    work = None
        if work is None:
            return None
        try:
            if self._reader.receipt(work.signed.hashes) is None:
                self._desk.broadcast(work)
            receipt = self._wait(work, time.monotonic() + timeout_s)
        except SomebodyElse:
            return None
        finally:
            work.claim.release()
        return receipt if receipt["status"] == 1 else None

    @property
    def _patience_s(self) -> float:
        return self._desk.rules.raise_after_s or RESEND_S

    def _count(self, block: int | str) -> int:
        return self._reader.count(self._key.address, block)

    def _begin(self, call: Call) -> Work:
        """Find the call on its way, or sign it and write it down; broadcast it."""
        held = self._desk.box.all()
        for signed in held:
            if signed.told:
                self._reader.remember(signed.told, signed.hashes)
        head = self._reader.head()
        for signed in held:
            if signed.told > head:  # reorganised away: the wait for this block is over
                signed.told = max(1, head)
                self._desk.box.keep(signed, durable=False)
        mined = self._count(head)
        pending = max(mined, self._count("pending"))
        self._desk.tidy(held)
        self._desk.learn(held, mined, pending, head)
        work = self._same(call, held, mined, pending)
        if work is None:
            work = self._sign_next(call, held, head, pending)
        try:
            before = [one for one in held if mined <= one.nonce < work.signed.nonce]
            self._desk.push(before, self._patience_s)
            self._desk.broadcast(work)
        except BaseException:
            work.claim.release()
            raise
        return work

    def _same(self, call: Call, held: list[Signed], mined: int, pending: int) -> Work | None:
        """Return the same call, if it is on its way or if nobody heard of its end."""
        for known in held:
            if known.call != call.digest:
                continue
            found = self._desk.box.take(known.nonce)
            if found is None:
                continue  # another thread waits for it, and means another call
            signed, claim = found
            if signed.refused:
                same = signed.nonce < pending  # else signed again, with this nonce
            elif self._reader.receipt(signed.hashes) is None:
                same = not signed.told or mined <= signed.nonce
            else:
                same = not signed.told and outbox.now_s() - signed.made_s < SAME_S
            if same:
                log.info("%s: was sent before, with nonce %d", call.what, signed.nonce)
                return Work(signed, claim, doubt=True)
            claim.release()
        return None

    def _sign_next(self, call: Call, held: list[Signed], head: int, pending: int) -> Work:
        gas = patiently(lambda: self._estimate(call)) * 5 // 4
        taken = {signed.nonce for signed in held if not signed.refused}
        nonce = next(n for n in range(pending, pending + len(taken) + 1) if n not in taken)
        fields = {"to": call.to, "value": call.value, "data": call.data, "gas": gas}
        fields.update(self._desk.offer(), chainId=self._chain_id, nonce=nonce)
        now_s = outbox.now_s()
        signed = Signed(nonce, call.what, call.digest, fields, head, now_s, now_s)
        signed.raws.append(self._desk.sign(fields))
        for before in held:
            if before.nonce == nonce and before.call == call.digest:
                signed.known += before.hashes
        claim = self._desk.box.claim(nonce)
        if claim is None:
            raise NotYet(f"nonce {nonce} is in use in this moment; try again")
        self._desk.box.keep(signed)
        return Work(signed, claim, doubt=False)

    def _estimate(self, call: Call) -> int:
        message = call.message(self._key.address)
        try:
            return self._rpc.number("eth_estimateGas", message)
        except Reverted:
            # By a node that lacks our last transaction, perhaps: then it does not at that block.
            if self._reader.written is None and not self._rpc.several:
                raise
            self._rpc.ask("eth_call", message, hex(self._reader.head()))
            raise NotYet("the node that estimates gas lies behind") from None

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
                    with self._desk.box.lock():
                        held, mined = self._desk.box.all(), self._count("latest")
                        before = [one for one in held if mined <= one.nonce < signed.nonce]
                        self._desk.push(before, self._patience_s)
                elif work.answer is not None and time.monotonic() > again_s:
                    again_s = time.monotonic() + max(AGAIN_S, getattr(work.answer, "after_s", 0))
                    self._desk.broadcast(work)
            except _Refused as refused:
                signed.refused = True
                self._desk.box.keep(signed)
                self._desk.settle(signed)
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

    def _reason(self, call: Call, receipt: TxReceipt, gas: int) -> str:
        if receipt["gasUsed"] >= gas:
            return "it ran out of gas"
        try:
            message = call.message(self._key.address)
            self._rpc.ask("eth_call", message, hex(receipt["blockNumber"]))
        except Reverted as error:
            return error.reason
        except ChainError:
            pass
        return "the chain's state changed before it was mined"
