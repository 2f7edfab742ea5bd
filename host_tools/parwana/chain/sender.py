"""Send transactions of one key, each call once.

A call is signed, written down (outbox.py) and broadcast. From then on only a receipt decides: of
one of the transactions that were signed for it, all of one nonce, so that at most one is mined.
Whatever a node answers to the broadcast, the call gets no second nonce before the chain shows a
stranger's transaction at the first. docs/nodes.md tells it situation by situation.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_utils import to_checksum_address
from web3.types import TxReceipt

from parwana.chain import fees, outbox
from parwana.chain.errors import ChainError, NotYet, Reverted
from parwana.chain.faults import Verdict, verdict
from parwana.chain.keys import Key
from parwana.chain.outbox import Claim, Outbox, Signed
from parwana.chain.reader import Reader
from parwana.chain.rpc import patiently
from parwana.chain.taker import SomebodyElse, taker

RESEND_S = 45.0  # without a receipt: a higher fee
AGAIN_S = 3.0  # after an odd answer: the same once more
STRANGE_S = 10.0  # how long an unknown word is doubted, before it is taken for a refusal
SAME_S = 3600.0  # so long a call that nobody heard the end of is the one that is asked for again
_FORGET_S = 90 * 86400.0
_TIDY = 16
_ATTEMPTS = 5
log = logging.getLogger("parwana.chain")


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


@dataclass
class _Work:
    """A transaction that this thread waits for. `doubt`: a node may have it, whatever it said."""

    signed: Signed
    claim: Claim
    doubt: bool
    answer: ChainError | None = None

    @property
    def word(self) -> Verdict:
        return verdict(self.answer)


class _Refused(Exception):
    """The node does not take it, and nobody has it."""

    def __init__(self, error: ChainError) -> None:
        super().__init__(str(error))
        self.error = error


class Sender:
    """Send with one key on one chain, from any thread. Every method raises ChainError."""

    def __init__(self, reader: Reader, key: Key, chain_id: int) -> None:
        self._reader = reader
        self._rpc = reader.rpc
        self._key = key
        self._chain_id = chain_id
        self._made: Outbox | None = None
        self._tidied_s = 0.0

    def send(self, call: Call, timeout_s: float) -> TxReceipt:
        """Return the receipt of a call that succeeded; its own, if an ended run sent it."""
        deadline_s = time.monotonic() + timeout_s
        for _ in range(_ATTEMPTS):
            with self._box.lock():
                work = self._begin(call)
            try:
                receipt = self._wait(work, deadline_s)
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
        with self._box.lock():
            for known in reversed(self._box.all()):
                fields = known.fields
                if fields["to"].lower() != to.lower() or not fields["data"].startswith(start):
                    continue
                if found := self._box.take(known.nonce):
                    work = _Work(*found, doubt=True)
                    if not (work.signed.told or work.signed.refused):
                        break
                    work.claim.release()
                    work = None
        if work is None:
            return None
        try:
            if self._reader.receipt(work.signed.hashes) is None:
                self._broadcast(work)
            receipt = self._wait(work, time.monotonic() + timeout_s)
        except SomebodyElse:
            return None
        finally:
            work.claim.release()
        return receipt if receipt["status"] == 1 else None

    @property
    def _box(self) -> Outbox:
        if self._made is None:
            genesis = self._rpc.block(0).hash
            self._made = outbox.of(self._chain_id, genesis, self._key.address)
        return self._made

    def _count(self, block: int | str) -> int:
        return self._reader.count(self._key.address, block)

    def _begin(self, call: Call) -> _Work:
        """Find the call on its way, or sign it and write it down; broadcast it."""
        held = self._box.all()
        for signed in held:
            if signed.told:
                self._reader.remember(signed.told, signed.hashes)
        head = self._reader.head()
        for signed in held:
            if signed.told > head:  # reorganised away: the wait for this block is over
                signed.told = max(1, head)
                self._box.keep(signed, durable=False)
        mined = self._count(head)
        pending = max(mined, self._count("pending"))
        self._tidy(held)
        self._learn(held, mined, pending, head)
        work = self._same(call, held, mined, pending)
        if work is None:
            work = self._sign_next(call, held, head, pending)
        try:
            self._push([one for one in held if mined <= one.nonce < work.signed.nonce])
            self._broadcast(work)
        except BaseException:
            work.claim.release()
            raise
        return work

    def _same(self, call: Call, held: list[Signed], mined: int, pending: int) -> _Work | None:
        """Return the same call, if it is on its way or if nobody heard of its end."""
        for known in held:
            if known.call != call.digest:
                continue
            found = self._box.take(known.nonce)
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
                return _Work(signed, claim, doubt=True)
            claim.release()
        return None

    def _sign_next(self, call: Call, held: list[Signed], head: int, pending: int) -> _Work:
        gas = patiently(lambda: self._estimate(call)) * 5 // 4
        taken = {signed.nonce for signed in held if not signed.refused}
        nonce = next(n for n in range(pending, pending + len(taken) + 1) if n not in taken)
        fields = {"to": call.to, "value": call.value, "data": call.data, "gas": gas}
        fields.update(fees.market(self._rpc), chainId=self._chain_id, nonce=nonce)
        now_s = outbox.now_s()
        signed = Signed(nonce, call.what, call.digest, fields, head, now_s, now_s)
        signed.raws.append(self._sign(fields))
        for before in held:
            if before.nonce == nonce and before.call == call.digest:
                signed.known += before.hashes
        claim = self._box.claim(nonce)
        if claim is None:
            raise NotYet(f"nonce {nonce} is in use in this moment; try again")
        self._box.keep(signed)
        return _Work(signed, claim, doubt=False)

    def _estimate(self, call: Call) -> int:
        message = call.message(self._key.address)
        try:
            return self._rpc.number("eth_estimateGas", message)
        except Reverted:
            # By a node that lacks our last transaction, perhaps: then it does not at that block.
            if self._reader.written is None:
                raise
            self._rpc.ask("eth_call", message, hex(self._reader.head()))
            raise NotYet("the node that estimates gas lies behind") from None

    def _sign(self, fields: dict[str, Any]) -> str:
        signed = Account.sign_transaction(fields, self._key.secret)
        return "0x" + bytes(signed.raw_transaction).hex()

    def _broadcast(self, work: _Work) -> None:
        """Hand the newest transaction to the node; note what it answers, which decides nothing."""
        if not work.signed.raws:
            return
        try:
            answer = self._rpc.once("eth_sendRawTransaction", work.signed.raws[-1])
            if answer != work.signed.hashes[0]:
                raise self._rpc.nonsense(answer)
            work.answer = None
        except ChainError as error:
            work.answer = error
        work.doubt = work.doubt or work.word not in (Verdict.REFUSED, Verdict.STRANGE)

    def _raise(self, work: _Work) -> None:
        """Sign the call with a higher fee, write it down, broadcast it."""
        signed = work.signed
        fields = fees.raised(signed.fields, fees.market(self._rpc))
        signed.raised_s = outbox.now_s()
        if fields is not None:
            signed.fields = fields
            signed.raws.append(self._sign(fields))
            self._box.keep(signed)
        self._broadcast(work)

    def _wait(self, work: _Work, deadline_s: float) -> TxReceipt:
        """Wait for a receipt of ours, raise the fee; what cannot be read is no verdict."""
        signed, start_s, pause_s, said = work.signed, time.monotonic(), 0.02, ""
        again_s = start_s + AGAIN_S
        while True:
            try:
                receipt = self._reader.receipt(signed.hashes)
                if receipt is not None:
                    signed.told = int(receipt["blockNumber"])
                    self._reader.remember(signed.told, signed.hashes)
                    self._box.keep(signed, durable=False)
                    return receipt
                if pause_s > 0.1 or work.answer is not None:
                    self._look(work, time.monotonic() - start_s)
                said = ""
                if work.word is Verdict.CHEAP or self._due(signed):
                    self._raise(work)
                    with self._box.lock():
                        held, mined = self._box.all(), self._count("latest")
                        self._push([one for one in held if mined <= one.nonce < signed.nonce])
                elif work.answer is not None and time.monotonic() > again_s:
                    again_s = time.monotonic() + AGAIN_S
                    self._broadcast(work)
            except _Refused as refused:
                signed.refused = True
                self._box.keep(signed)
                raise refused.error from None
            except ChainError as error:
                said = str(error)
            if time.monotonic() > deadline_s:
                raise self._late(work, time.monotonic() - start_s, said)
            time.sleep(pause_s)
            pause_s = min(2.0, pause_s * 1.5)

    def _due(self, signed: Signed) -> bool:
        return outbox.now_s() - signed.raised_s > RESEND_S

    def _look(self, work: _Work, waited_s: float) -> None:
        """See what became of a transaction without receipt. Raises _Refused, SomebodyElse."""
        signed = work.signed
        if not work.doubt and work.answer is not None:
            if work.word is Verdict.REFUSED:
                raise _Refused(work.answer)
            if (
                waited_s > STRANGE_S
                and self._count("pending") <= signed.nonce
                and self._rpc.ask("eth_getTransactionByHash", signed.hashes[0]) is None
            ):
                raise _Refused(work.answer)
        if self._count("latest") <= signed.nonce:
            return
        found = taker(self._rpc, self._key.address, signed.nonce, signed.block)
        if found is None or found["hash"] in signed.hashes:
            return  # ours, not indexed yet, or the node cannot tell
        if "input" in found and _digest(found) == signed.call:
            signed.known.append(found["hash"])  # the same call, its fee raised on another computer
            self._box.keep(signed)
        elif self._reader.receipt(signed.hashes) is None:
            with self._box.lock():
                self._box.drop(signed.nonce)
            raise SomebodyElse(self._key.address, signed.nonce, found["hash"])

    def _late(self, work: _Work, waited_s: float, said: str) -> ChainError:
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

    def _push(self, waiting: list[Signed]) -> None:
        """Send again what nobody waits for, and what a later transaction waits behind."""
        for known in waiting:
            found = None if known.refused else self._box.take(known.nonce)
            if found is None:
                continue
            signed, claim = found
            try:
                work = _Work(signed, claim, doubt=True)
                if self._reader.receipt(signed.hashes) is not None:
                    continue
                if self._due(signed):
                    self._raise(work)
                else:
                    self._broadcast(work)
                if work.answer is not None:
                    log.info("%s, nonce %d: %s", signed.what, signed.nonce, work.answer)
            except ChainError as error:
                log.warning("%s, nonce %d: %s", signed.what, signed.nonce, error)
            finally:
                claim.release()

    def _learn(self, held: list[Signed], mined: int, pending: int, head: int) -> None:
        """Take down what waits in the node's pool and was sent from elsewhere, if it shows it."""
        for nonce in sorted(set(range(mined, pending)) - {signed.nonce for signed in held}):
            try:
                found = self._rpc.ask(
                    "eth_getTransactionBySenderAndNonce", self._key.address, hex(nonce)
                )
                if not found or found.get("blockNumber"):
                    continue
                to = to_checksum_address(found["to"]) if found["to"] else ""
                fields = {"to": to, "data": found["input"], "nonce": nonce}
                for name in ("value", "gas", *fees.NAMES):
                    if found.get(name) is not None:
                        fields[name] = self._rpc.whole(found[name])
                if "maxFeePerGas" in fields:
                    fields.pop("gasPrice", None)
                fields["chainId"] = self._chain_id
                digest, known = _digest(found), [str(found["hash"])]
            except (ChainError, LookupError, TypeError, AttributeError):
                return  # most nodes do not show it
            now_s = outbox.now_s()
            what = "a transaction sent from elsewhere"
            signed = Signed(nonce, what, digest, fields, head, now_s, now_s, [], known)
            self._box.keep(signed)
            held.append(signed)

    def _tidy(self, held: list[Signed]) -> None:
        """Forget what is final, and what nobody asked for in a long time."""
        now_s = time.monotonic()
        if not held or (len(held) < _TIDY and now_s - self._tidied_s < 60):
            return
        self._tidied_s = now_s
        try:
            final = self._count(self._reader.finalized_block())
        except ChainError:
            return
        for known in list(held):
            if known.nonce >= final or not (found := self._box.take(known.nonce)):
                continue
            signed, claim = found
            old = outbox.now_s() - signed.made_s > _FORGET_S
            if signed.told or signed.refused or old:
                self._box.drop(signed.nonce)
                held.remove(known)
            claim.release()

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


def _digest(found: dict[str, Any]) -> str:
    """Return the digest of a node's transaction object."""
    return outbox.digest(found["to"] or "", int(found["value"], 16), found["input"])
