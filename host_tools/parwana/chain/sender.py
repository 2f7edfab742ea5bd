"""Send transactions of one key, each call once.

A call is signed, written down (outbox.py) and broadcast. From then on only a receipt decides: of
one of the transactions that were signed for it, all of one nonce, so that at most one is mined.
Whatever a node answers to the broadcast, the call gets no second nonce before the chain shows a
stranger's transaction at the first. docs/nodes.md tells it situation by situation.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from web3.types import TxReceipt

from parwana.chain.awaiting import Done, Waiting
from parwana.chain.desk import Work
from parwana.chain.errors import ChainError, Reverted
from parwana.chain.faults import Verdict
from parwana.chain.opening import Call
from parwana.chain.taker import SomebodyElse

__all__ = ["IN_FLIGHT", "Call", "Done", "Sender"]

IN_FLIGHT = 16  # geth's pool takes so many of an account, however full it is (accountslots)
_ATTEMPTS = 5
log = logging.getLogger("parwana.chain")


@dataclass
class Flying:
    """Calls on their way, and those to be sent before others.

    `full`: nothing is added before a receipt came. `outrun`: how often in a row another program
    took a nonce.
    """

    works: list[tuple[Call, Work]] = field(default_factory=list)
    again: list[Call] = field(default_factory=list)
    full: bool = False
    outrun: int = 0

    @property
    def first(self) -> tuple[Call, Work] | None:
        """Return the one of the lowest nonce: no other is mined before it."""
        return min(self.works, key=lambda one: one[1].signed.nonce, default=None)

    @property
    def gas(self) -> int:
        """Return how much gas they may take."""
        return sum(int(work.signed.fields["gas"]) for _, work in self.works)

    def next(self, source: Iterator[Call]) -> list[Call]:
        """Take as many calls as there is room for."""
        room = 0 if self.full else IN_FLIGHT - len(self.works)
        calls, self.again = self.again[:room], self.again[room:]
        return calls + list(islice(source, room - len(calls)))

    def add(self, call: Call, work: Work) -> None:
        """Have one more. What is in doubt may leave a gap: nothing follows before it is clear."""
        self.works.append((call, work))
        self.full = work.word is not Verdict.TAKEN

    def end(self, call: Call, work: Work) -> None:
        """Have one less."""
        self.works.remove((call, work))
        work.claim.release()
        self.full = any(one.word is not Verdict.TAKEN for _, one in self.works)


class Sender(Waiting):
    """Send with one key on one chain, from any thread. Every method raises ChainError."""

    def send(self, call: Call, timeout_s: float, done: Done | None = None) -> TxReceipt:
        """Return the receipt of a call that succeeded; its own, if an ended run sent it.

        `done` gets it before the call counts as heard of: what it writes down is not done again.
        """
        deadline_s = time.monotonic() + timeout_s
        for _ in range(_ATTEMPTS):
            with self._desk.box.lock():
                work = self._opening.open(call, self._opening.survey(), self._patience_s)
            assert work is not None
            try:
                receipt = self._wait(work, deadline_s, done)
            except SomebodyElse as error:
                log.warning("%s: %s; it is sent anew", call.what, error)
                continue
            finally:
                work.claim.release()
            return self._checked(call, work, receipt)
        raise self._outrun()

    def send_all(
        self, calls: Iterable[Call], timeout_s: float
    ) -> Iterator[tuple[Call, TxReceipt | Reverted]]:
        """Give each call with its receipt, or with why the contract refused it, as they come.

        At most IN_FLIGHT wait at a time, and at most a block's gas; `calls` are taken one by one
        when there is room. No call may need another's effect. Whatever ends this early leaves what
        was sent as an ended run does. `timeout_s` is the most between two receipts.
        """
        source, flying = iter(calls), Flying()
        try:
            while True:
                if not self._is_mined(flying.first):
                    yield from self._launch(flying, source)
                if flying.first is None:
                    return
                call, work = flying.first
                try:
                    receipt = self._wait(work, time.monotonic() + timeout_s)
                except SomebodyElse as error:
                    log.warning("%s: %s; it is sent anew", call.what, error)
                    flying.outrun += 1
                    if flying.outrun >= _ATTEMPTS:
                        raise self._outrun() from None
                    flying.again.append(call)
                    continue
                finally:
                    flying.end(call, work)
                flying.outrun = 0
                try:
                    yield call, self._checked(call, work, receipt)
                except Reverted as error:
                    yield call, error
        finally:
            for _, work in flying.works:
                work.claim.release()

    def _is_mined(self, one: tuple[Call, Work] | None) -> bool:
        """Say whether a receipt is there: then more of them may be, and room for a whole block."""
        try:
            return one is not None and self._reader.receipt(one[1].signed.hashes) is not None
        except ChainError:
            return False

    def _launch(self, flying: Flying, source: Iterator[Call]) -> Iterator[tuple[Call, Reverted]]:
        """Send until there is no more room; give what is refused before it was sent."""
        while calls := flying.next(source):
            refused: list[tuple[Call, Reverted]] = []
            try:
                with self._desk.box.lock():
                    self._open_all(flying, calls, refused)
            except ChainError as error:
                if not flying.works:
                    raise
                log.info("%s: %s; it waits for those before it", calls[0].what, error)
                flying.full = True
            flying.again = calls + flying.again
            yield from refused

    def _open_all(
        self, flying: Flying, calls: list[Call], refused: list[tuple[Call, Reverted]]
    ) -> None:
        """Open calls and take them out of the list, until one must wait."""
        seen = self._opening.survey()
        limit = self._rpc.block("latest").gas_limit
        while calls and not flying.full:
            # What needs more than a block is told so by the node.
            seen.gas_room = max(0, limit - flying.gas) if limit and flying.works else None
            try:
                work = self._opening.open(calls[0], seen, self._patience_s)
            except Reverted as error:
                refused.append((calls.pop(0), error))
                continue
            if work is None or self._no_room(flying, work):
                flying.full = True
                return
            flying.add(calls.pop(0), work)

    def _no_room(self, flying: Flying, work: Work) -> bool:
        """Say whether the node refuses one more than it has; its nonce is free again then."""
        if not flying.works or work.doubt or work.word is not Verdict.REFUSED:
            return False
        log.info("%s: %s; it waits for those before it", work.signed.what, work.answer)
        self._put_aside(work)
        work.claim.release()
        return True

    def _checked(self, call: Call, work: Work, receipt: TxReceipt) -> TxReceipt:
        if receipt["status"] != 1:
            raise Reverted(call.what, self._reason(call, receipt, work.signed.fields["gas"]))
        return receipt

    def _outrun(self) -> ChainError:
        return ChainError(
            f"another program sends with {self._key.address}, too, and is faster each time; give "
            "each its own key"
        )

    def resume(self, to: str, start: str, timeout_s: float) -> TxReceipt | None:
        """Finish what an ended run sent to `to` with data that begins with `start`.

        None if there is no such call, or nothing came of it.
        """
        works = self._unheard([(to, start)])
        for work in works[:-1]:
            work.claim.release()
        receipt = self._heard(works[-1], timeout_s) if works else None
        return receipt if receipt is not None and receipt["status"] == 1 else None

    def finish(self, starts: Collection[tuple[str, str]], timeout_s: float) -> int:
        """Wait for all that ended runs sent and nobody heard of; return how many it was.

        `starts` are (to, what the data begins with). `timeout_s` is the most between two receipts.
        """
        works = self._unheard(starts)
        done = 0
        try:
            for work in works:
                done += 1
                self._heard(work, timeout_s)
        finally:
            for work in works[done:]:
                work.claim.release()
        return done

    def _unheard(self, starts: Collection[tuple[str, str]]) -> list[Work]:
        """Claim what was sent and nobody heard of, the newest last."""
        works = []
        with self._desk.box.lock():
            for known in self._desk.box.all():
                to, data = known.fields["to"].lower(), known.fields["data"]
                if not any(to == of.lower() and data.startswith(start) for of, start in starts):
                    continue
                if (found := self._desk.box.take(known.nonce)) is None:
                    continue
                signed, claim = found
                if signed.told or signed.refused:
                    claim.release()
                else:
                    works.append(Work(signed, claim, doubt=True))
        return works

    def _heard(self, work: Work, timeout_s: float) -> TxReceipt | None:
        try:
            if self._reader.receipt(work.signed.hashes) is None:
                self._desk.broadcast(work)
            return self._wait(work, time.monotonic() + timeout_s)
        except SomebodyElse:
            return None
        finally:
            work.claim.release()

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
