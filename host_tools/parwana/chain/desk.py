"""The desk of a key: what it signed, handed to the node, made dearer, kept and forgotten.

Nothing here decides whether a call was done; sender.py does, by receipts.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_utils import to_checksum_address

from parwana.chain import fees, outbox
from parwana.chain.errors import ChainError
from parwana.chain.faults import Verdict, verdict
from parwana.chain.keys import Key
from parwana.chain.limits import Limits, Tally
from parwana.chain.outbox import Claim, Outbox, Signed
from parwana.chain.presets import preset
from parwana.chain.reader import Reader

_FORGET_S = 90 * 86400.0
_TIDY = 16
log = logging.getLogger("parwana.chain")


@dataclass
class Work:
    """A transaction that this thread waits for. `doubt`: a node may have it, whatever it said."""

    signed: Signed
    claim: Claim
    doubt: bool
    answer: ChainError | None = None

    @property
    def word(self) -> Verdict:
        return verdict(self.answer)


class Desk:
    """Sign with one key on one chain. Every method raises ChainError."""

    def __init__(self, reader: Reader, key: Key, chain_id: int, limits: Limits) -> None:
        self._reader = reader
        self.rules = preset(chain_id)
        self._limits = limits
        self._rpc = reader.rpc
        self._key = key
        self._chain_id = chain_id
        self._made: Outbox | None = None
        self._tidied_s = 0.0

    @property
    def box(self) -> Outbox:
        """Return where what was signed is written down."""
        if self._made is None:
            genesis = self._rpc.block(0).hash
            self._made = outbox.of(self._chain_id, genesis, self._key.address)
        return self._made

    @property
    def _tally(self) -> Tally:
        return Tally(self.box.folder, self._limits)

    def offer(self) -> dict[str, int]:
        """Return the fee fields for a transaction sent now, within the limits."""
        return fees.offer(self._rpc, self.rules, self._limits)

    def sign(self, fields: dict[str, Any]) -> str:
        """Return a signed transaction, 0x-hexadecimal text; what it may cost is held."""
        signed = Account.sign_transaction(fields, self._key.secret)
        raw = "0x" + bytes(signed.raw_transaction).hex()
        most = fees.most_wei(self._rpc, self.rules, fields, raw)
        self._tally.hold(fields["nonce"], most, outbox.now_s())
        return raw

    def settle(self, signed: Signed, receipt: Any = None) -> None:
        """Count what a transaction did cost; without a receipt of it, nothing."""
        wei = fees.paid_wei(signed.fields, receipt) if receipt is not None else 0
        if wei is not None:
            self._tally.settle(signed.nonce, wei, outbox.now_s())

    def broadcast(self, work: Work) -> None:
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
        work.doubt = work.doubt or work.word in (Verdict.TAKEN, Verdict.UNSURE, Verdict.HELD)

    def make_dearer(self, work: Work) -> None:
        """Sign the call with a higher fee, write it down, broadcast it.

        Beyond the limits it stays as it was.
        """
        signed = work.signed
        market = fees.market(self._rpc, self.rules)
        fields = fees.raised(signed.fields, market, self._limits)
        signed.raised_s = outbox.now_s()
        try:
            if fields is not None:
                signed.raws.append(self.sign(fields))
                signed.fields = fields
                self.box.keep(signed)
        finally:
            self.broadcast(work)

    def push(self, waiting: list[Signed], patience_s: float) -> None:
        """Send again what nobody waits for, dearer if its fee did not rise for `patience_s`."""
        for known in waiting:
            found = None if known.refused else self.box.take(known.nonce)
            if found is None:
                continue
            signed, claim = found
            try:
                work = Work(signed, claim, doubt=True)
                if self._reader.receipt(signed.hashes) is not None:
                    continue
                if outbox.now_s() - signed.raised_s > patience_s:
                    self.make_dearer(work)
                else:
                    self.broadcast(work)
                if work.answer is not None:
                    log.info("%s, nonce %d: %s", signed.what, signed.nonce, work.answer)
            except ChainError as error:
                log.warning("%s, nonce %d: %s", signed.what, signed.nonce, error)
            finally:
                claim.release()

    def learn(self, held: list[Signed], mined: int, pending: int, head: int) -> None:
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
                digest, known = digest_of(found), [str(found["hash"])]
            except (ChainError, LookupError, TypeError, AttributeError):
                return  # most nodes do not show it
            now_s = outbox.now_s()
            what = "a transaction sent from elsewhere"
            signed = Signed(nonce, what, digest, fields, head, now_s, now_s, [], known)
            self.box.keep(signed)
            held.append(signed)

    def tidy(self, held: list[Signed]) -> None:
        """Forget what is final, and what nobody asked for in a long time."""
        now_s = time.monotonic()
        if not held or (len(held) < _TIDY and now_s - self._tidied_s < 60):
            return
        self._tidied_s = now_s
        try:
            final = self._reader.count(self._key.address, self._reader.finalized_block())
        except ChainError:
            return
        for known in list(held):
            if known.nonce >= final or not (found := self.box.take(known.nonce)):
                continue
            signed, claim = found
            old = outbox.now_s() - signed.made_s > _FORGET_S
            if signed.told or signed.refused or old:
                self.box.drop(signed.nonce)
                held.remove(known)
            claim.release()


def digest_of(found: dict[str, Any]) -> str:
    """Return the digest of a node's transaction object."""
    return outbox.digest(found["to"] or "", int(found["value"], 16), found["input"])
