"""Decide with which nonce a call is sent, its own or the next; write it down, send it.

Who decides holds the outbox's lock.
"""

import logging
from dataclasses import dataclass, field

from parwana.chain import outbox
from parwana.chain.desk import Desk, Work
from parwana.chain.errors import NotYet, Reverted
from parwana.chain.keys import Key
from parwana.chain.outbox import Signed
from parwana.chain.reader import Reader
from parwana.chain.rpc import patiently

SAME_S = 3600.0  # so long a call that nobody heard the end of is the one that is asked for again
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
class Survey:
    """One look at a key: what it signed, how many of its transactions are mined and waiting.

    `gas_room`: how much gas a new transaction may take, None: as much as it wants.
    """

    held: list[Signed]
    head: int
    mined: int
    pending: int
    gas_room: int | None = None
    fees: dict[str, int] = field(default_factory=dict)
    pushed: set[int] = field(default_factory=set)


class Opening:
    """Open calls of one key on one chain. Every method raises ChainError."""

    def __init__(self, desk: Desk, reader: Reader, key: Key, chain_id: int) -> None:
        self._desk = desk
        self._reader = reader
        self._key = key
        self._chain_id = chain_id

    def survey(self) -> Survey:
        """Look at what was signed and what became of it."""
        held = self._desk.box.all()
        for signed in held:
            if signed.told:
                self._reader.remember(signed.told, signed.hashes)
        head = self._reader.head()
        for signed in held:
            if signed.told > head:  # reorganised away: the wait for this block is over
                signed.told = max(1, head)
                self._desk.box.keep(signed, durable=False)
        mined = self._reader.count(self._key.address, head)
        pending = max(mined, self._reader.count(self._key.address, "pending"))
        self._desk.tidy(held)
        self._desk.learn(held, mined, pending, head)
        return Survey(held, head, mined, pending)

    def open(self, call: Call, seen: Survey, patience_s: float) -> Work | None:
        """Find the call on its way, or sign it and write it down; broadcast it.

        None where it takes more gas than there is room for. What waits before it is sent again.
        """
        work = self._same(call, seen) or self._sign_next(call, seen)
        if work is None:
            return None
        try:
            before = [
                one
                for one in seen.held
                if seen.mined <= one.nonce < work.signed.nonce and one.nonce not in seen.pushed
            ]
            seen.pushed.update(one.nonce for one in (*before, work.signed))
            self._desk.push(before, patience_s)
            self._desk.broadcast(work)
        except BaseException:
            work.claim.release()
            raise
        return work

    def _same(self, call: Call, seen: Survey) -> Work | None:
        """Return the same call, if it is on its way or if nobody heard of its end."""
        for known in seen.held:
            if known.call != call.digest:
                continue
            found = self._desk.box.take(known.nonce)
            if found is None:
                continue  # another thread waits for it, and means another call
            signed, claim = found
            if signed.refused:
                same = signed.nonce < seen.pending  # else signed again, with this nonce
            elif self._reader.receipt(signed.hashes) is None:
                same = not signed.told or seen.mined <= signed.nonce
            else:
                same = not signed.told and outbox.now_s() - signed.made_s < SAME_S
            if same:
                log.info("%s: was sent before, with nonce %d", call.what, signed.nonce)
                return Work(signed, claim, doubt=True)
            claim.release()
        return None

    def _sign_next(self, call: Call, seen: Survey) -> Work | None:
        gas = patiently(lambda: self._estimate(call)) * 5 // 4
        if seen.gas_room is not None and gas > seen.gas_room:
            return None
        taken = {signed.nonce for signed in seen.held if not signed.refused}
        first = seen.pending
        nonce = next(n for n in range(first, first + len(taken) + 1) if n not in taken)
        return self.sign(call, nonce, gas, seen)

    def sign(self, call: Call, nonce: int, gas: int, seen: Survey) -> Work:
        """Sign a call with a nonce and write it down."""
        if not seen.fees:
            seen.fees = self._desk.offer()
        fields = {"to": call.to, "value": call.value, "data": call.data, "gas": gas}
        fields.update(seen.fees, chainId=self._chain_id, nonce=nonce)
        now_s = outbox.now_s()
        signed = Signed(nonce, call.what, call.digest, fields, seen.head, now_s, now_s)
        signed.raws.append(self._desk.sign(fields))
        for before in seen.held:
            if before.nonce == nonce and before.call == call.digest:
                signed.known += before.hashes
        claim = self._desk.box.claim(nonce)
        if claim is None:
            raise NotYet(f"nonce {nonce} is in use in this moment; try again")
        self._desk.box.keep(signed)
        seen.held = [one for one in seen.held if one.nonce != nonce] + [signed]
        if seen.gas_room is not None:
            seen.gas_room -= gas
        return Work(signed, claim, doubt=False)

    def _estimate(self, call: Call) -> int:
        rpc, message = self._reader.rpc, call.message(self._key.address)
        try:
            return rpc.number("eth_estimateGas", message)
        except Reverted:
            # By a node that lacks our last transaction, perhaps: then it does not at that block.
            if self._reader.written is None and not rpc.several:
                raise
            rpc.ask("eth_call", message, hex(self._reader.head()))
            raise NotYet("the node that estimates gas lies behind") from None
