"""One permit signer: wait until a payment is final, sign its permit, claim it; sign the time.

A signer believes the chain alone. Every signer makes the very same 40 bytes from it, so that they
find each other's signatures in the shared store by the digest; a bad row there is left out.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from web3.logs import DISCARD

import wire
from parwana.chain.currency import currency_of
from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key
from parwana.chain.node import Chain, Ledgers, Reverted
from parwana.permits.bundle import PermitError, believed, indexed, make_permit
from parwana.store import signatures
from parwana.store.reader import Store
from parwana.world.logs import Trouble

CLAIM_WAIT_S = 20.0
CLAIMS_MAX = 32  # a transaction
log = logging.getLogger("parwana.signer")


@dataclass(frozen=True)
class Lock:
    """A payment that waits for its permit, as PaymentLedger logged it in a final block."""

    meter: str
    number: int
    payer: str
    amount: int
    period: int
    deadline_s: int
    block: int


_Claim = tuple[Lock, str, bytes, bytes]  # and what PaymentLedger.claim takes


@dataclass
class Progress:
    """What one step did: permits signed and claimed, payments still waiting, times published.

    `failure` is the last thing that was refused.
    """

    signed: int = 0
    claimed: int = 0
    waiting: int = 0
    times: int = 0
    failure: str = ""

    def then(self, done: "Progress") -> "Progress":
        """Return this and what was done after it."""
        counted = ("signed", "claimed", "times")
        sums = {name: getattr(self, name) + getattr(done, name) for name in counted}
        return replace(done, **sums)

    def __str__(self) -> str:
        text = f"{self.signed} signed, {self.claimed} claimed, {self.waiting} waiting"
        return f"{text}; {self.failure}" if self.failure else text


class Quorum:
    """Put own signatures into the store, and say when m of n are together."""

    def __init__(self, deployment: Deployment, store: Store, keys: dict[int, Key]) -> None:
        self._signers = deployment.signers
        self._threshold = deployment.permit_threshold
        self._store = store
        self._keys = keys

    def sign(
        self, scope: bytes, domain: bytes, frame: bytes, time_s: int
    ) -> tuple[int, list[tuple[int, bytes]]]:
        """Return how many signatures were new, and m signatures by index, or none yet."""
        digest = wire.digest(domain, frame)
        held = believed(digest, self._store.signatures(digest), self._signers)
        mine = {i: key.sign(digest) for i, key in self._keys.items() if i not in held}
        if mine:
            with self._store.transaction() as writer:
                for index, signature in mine.items():
                    writer.add_signature(scope, frame, digest, index, signature, time_s)
            held = believed(digest, self._store.signatures(digest), self._signers)
            held.update(mine)
        enough = sorted(held.items())[: self._threshold]
        return len(mine), enough if len(enough) == self._threshold else []


class PermitSigner:
    """Follow the PaymentLedger's locks up to finality; sign and claim. `step()` does what is due.

    `connect` gives a chain with the key that pays for claims. `patient` leaves a claim for a while
    to who brought the last signature; who looks only once must not.
    """

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        keys: list[Key],
        connect: Callable[[], Chain],
        *,
        patient: bool = True,
    ) -> None:
        self._deployment = deployment
        self._store = store
        self._patient = patient
        self._quorum = Quorum(deployment, store, indexed(keys, deployment.signers))
        self._connect = connect
        self._connected: tuple[Chain, Ledgers] | None = None
        self._next_block = 0
        self._cursor = f"permits {deployment.payment_ledger}"
        self._open: dict[int, Lock] = {}
        self._ready: dict[Lock, float] = {}
        self._refused = Trouble(log, "claims")

    def step(self) -> Progress:
        """Sign and claim what is final and still locked. Raises ChainError, StoreError."""
        chain, ledgers = self._chain()
        self._follow(chain, ledgers, chain.finalized_block())
        progress = Progress()
        claims: list[_Claim] = []
        for lock in sorted(self._open.values(), key=lambda lock: lock.deadline_s):
            try:
                claims += self._serve(chain, ledgers, lock, progress)
            except Reverted as error:
                self._fail(lock, error, progress)
        for start in range(0, len(claims), CLAIMS_MAX):
            self._claim(chain, ledgers, claims[start : start + CLAIMS_MAX], progress)
        if not progress.failure:
            self._refused.over()
        return progress

    def _chain(self) -> tuple[Chain, Ledgers]:
        if self._connected is None:
            chain = self._connect()
            ledgers = chain.ledgers(self._deployment)
            for index, key in enumerate(self._deployment.signers):
                signer = chain.call(ledgers.payment.functions.signers(index))
                if bytes.fromhex(signer[2:]) != signatures.address(key):
                    raise PermitError(
                        f"signer {index} of the PaymentLedger is {signer}, not the deployment "
                        "file's; bring the file up to date: parwana signers apply"
                    )
            at = self._store.cursor(self._cursor)
            self._next_block = self._deployment.from_block if at is None else at
            self._connected = chain, ledgers
        return self._connected

    def _follow(self, chain: Chain, ledgers: Ledgers, final: int) -> None:
        """Read what was locked, paid and refunded up to the final block."""
        if final < self._next_block:
            return
        events = ledgers.payment.events
        found: list[Any] = []
        for event in (events.Locked, events.Paid, events.Refunded):
            found += chain.logs(event, self._next_block, final)
        for entry in sorted(found, key=lambda log: (log["blockNumber"], log["logIndex"])):
            values = entry["args"]
            self._open.pop(values["number"], None)
            if entry["event"] == "Locked":
                names = ("meter", "number", "payer", "amount", "period", "deadline_s")
                fields = {name: values[name] for name in names}
                self._open[values["number"]] = Lock(**fields, block=entry["blockNumber"])
        self._ready = {k: v for k, v in self._ready.items() if self._open.get(k.number) == k}
        self._next_block = final + 1
        # Whoever starts here later must still find the locks that are open now.
        with self._store.transaction() as writer:
            oldest = min((lock.block for lock in self._open.values()), default=final + 1)
            writer.set_cursor(self._cursor, oldest)

    def _claim(
        self, chain: Chain, ledgers: Ledgers, claims: list[_Claim], progress: Progress
    ) -> None:
        """Claim what has m signatures, in one transaction; a refused one keeps no other."""
        functions = ledgers.payment.functions
        many = len(claims) > 1
        each = [claim[1:] for claim in claims]
        try:
            receipt = chain.send(functions.claim_many(each) if many else functions.claim(*each[0]))
        except Reverted as error:  # often: another signer's claim was faster
            if many:
                for claim in claims:
                    self._claim(chain, ledgers, [claim], progress)
            else:
                self._fail(claims[0][0], error, progress)
            return
        currency = currency_of(chain, ledgers, self._deployment)
        for entry in ledgers.payment.events.Paid().process_receipt(receipt, DISCARD):
            paid = entry["args"]
            progress.claimed += 1
            progress.waiting -= 1
            amount, period = currency.text(paid["amount"]), paid["period"]
            text = self._deployment.periods.text(period)
            log.info("claimed %s for meter %s, period %s", amount, paid["meter"], text)

    def _fail(self, lock: Lock, error: Reverted, progress: Progress) -> None:
        progress.failure = f"{lock.meter}: {error}"
        if error.reason == "signature wrong":  # was one of us replaced? Look again
            self._connected = None
        self._refused.failed(progress.failure, logging.INFO)

    def _serve(
        self, chain: Chain, ledgers: Ledgers, lock: Lock, progress: Progress
    ) -> list[_Claim]:
        """Sign the permit of a lock that is still there; return its claim if it is time."""
        functions = ledgers.payment.functions
        # All of one block: nodes behind one URL may differ in what is their latest.
        at = chain.head()
        # A replaced meter's payment is owed to the one that serves the house now.
        meter = chain.call(ledgers.registry.functions.meter_of(lock.number), at)
        payment = chain.call(functions.locked(meter), at)
        same = (payment.payer, payment.amount, payment.period, payment.deadline_s)
        if same != (lock.payer, lock.amount, lock.period, lock.deadline_s):
            return []
        progress.waiting += 1
        now_s = chain.block_time_s(at)
        if now_s > lock.deadline_s:
            progress.failure = f"{lock.meter}: payment not claimed in time, refund it"
            return []
        frame = self._permit(chain, ledgers, meter, lock, at)
        domain = self._deployment.permit_domain(meter)
        scope = b"permit" + bytes.fromhex(meter[2:])
        new, enough = self._quorum.sign(scope, domain, frame, now_s)
        progress.signed += new
        if not enough:
            return []
        # Who brought the last signature claims at once; the others only if nothing comes of it.
        first = self._ready.setdefault(lock, time.monotonic())
        if not new and self._patient and time.monotonic() - first < CLAIM_WAIT_S:
            return []
        joined = b"".join(bytes([index]) + signature for index, signature in enough)
        return [(lock, meter, frame, joined)]

    def _permit(self, chain: Chain, ledgers: Ledgers, meter: str, lock: Lock, at: int) -> bytes:
        """Make the least permit that the lock buys; the same bytes at every signer."""
        functions = ledgers.payment.functions
        grant = chain.call(functions.least_grant(meter), at)
        return make_permit(
            issued_at_s=lock.deadline_s - chain.call(functions.escrow_window_s(), at),
            valid_until_s=grant.valid_until_s,
            period=grant.period,
            last_serial=grant.serial - 1,
            power_limit_dw=grant.power_limit_dw,
        )


class TimeSigner:
    """Sign the world's time at each multiple of `step_s`; publish it when m signed.

    `publish(payload)` puts the retained message on the broker.
    """

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        keys: list[Key],
        now: Callable[[], float],
        step_s: int,
        publish: Callable[[bytes], None],
    ) -> None:
        self._domain = deployment.time_domain
        self._cursor = f"time {deployment.payment_ledger}"
        self._store = store
        self._quorum = Quorum(deployment, store, indexed(keys, deployment.signers))
        self._now = now
        self._step_s = step_s
        self._publish = publish
        self._done_s = 0

    def step(self) -> Progress:
        """Sign the newest instant; publish it with m signatures. Raises StoreError."""
        time_s = int(self._now()) // self._step_s * self._step_s
        if time_s == self._done_s:
            return Progress()
        frame = wire.pack_time(time_s, time_s)
        _, enough = self._quorum.sign(b"time", self._domain, frame, time_s)
        if not enough:
            return Progress()
        if (self._store.cursor(self._cursor) or 0) >= time_s:
            self._done_s = time_s
            return Progress()
        self._publish(wire.pack_bundle_message(wire.pack_bundle(frame, enough)))
        with self._store.transaction() as writer:
            writer.set_cursor(self._cursor, time_s)
        self._done_s = time_s
        return Progress(times=1)
