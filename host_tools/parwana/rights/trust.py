"""Changes of whom meters trust: one frame, signed by m of n for each meter; relays tell them.

Signers find each other's signatures in the store, as they do for permits, under one scope a meter.
What stands there is nobody's word: a frame that another signer began is taken up only if it says
what this one was asked to sign, and if its time and serial can do no harm.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import wire
from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key
from parwana.chain.periods import DAY_S
from parwana.store.reader import Store
from parwana.store.signatures import SignatureError, signer
from parwana.store.tables import TAKEN, TOLD
from parwana.world.tables import print_table, table

SCOPE = b"trust"
NOBODY = bytes(20)  # the meter whose domain is that of changes in a PaymentLedger
GATHER_S = 7 * DAY_S  # for which a change that was begun is taken up
LACKING = "lacks signatures"
_AHEAD_S = 60  # that signers' clocks may differ
EVENTS = {
    wire.KIND_SIGNER: (wire.EVENT_SIGNER_CHANGED, "b"),
    wire.KIND_LEDGER: (wire.EVENT_LEDGER_CHANGED, "a"),
}


@dataclass(frozen=True)
class Progress:
    """How far a change has come with one meter.

    `taken_s`: when the meter took it, as it signed; 0: not yet. `since`: it was enrolled when the
    change was in force, so its configuration has it.
    """

    number: int
    meter: str
    signatures: int
    state: str
    taken_s: int
    since: bool = False


class Change:
    """A kind 5 or 6 frame; `signers` are the addresses of those whom meters trust before it."""

    def __init__(
        self,
        deployment: Deployment,
        store: Store,
        frame: bytes,
        signers: Sequence[str],
        public_key: bytes = b"",
    ) -> None:
        self.frame = frame
        self.fields: Any = wire.parse(frame)
        self._public_key = public_key
        self._deployment = deployment
        self._store = store
        self._signers = [bytes.fromhex(address[2:]) for address in signers]

    def digest(self, meter: bytes) -> bytes:
        """Return what is signed for a meter (20 bytes)."""
        return wire.digest(self._deployment.permit_domain(meter.hex()), self.frame)

    def sign(self, keys: Mapping[int, Key], meters: Iterable[bytes], now_s: int) -> None:
        """Keep the keys' signatures for the contract and the meters. Raises StoreError."""
        with self._store.transaction() as writer:
            for meter in (NOBODY, *meters):
                digest = self.digest(meter)
                for index, key in keys.items():
                    signature = key.sign(digest)
                    row = (SCOPE + meter, self.frame, digest, index, signature, now_s)
                    writer.add_signature(*row)

    def signatures(self, meter: bytes) -> list[tuple[int, bytes]]:
        """Return the signatures that the meter would believe, by index. Raises StoreError."""
        digest = self.digest(meter)
        return [
            (index, signature)
            for index, signature in self._store.signatures(digest)
            if 0 <= index < len(self._signers)
            and _made_by(digest, signature) == self._signers[index]
        ]

    def bundle(self, meter: bytes) -> bytes | None:
        """Return what the meter takes, None while fewer than m have signed. Raises StoreError."""
        found = self.signatures(meter)[: self._deployment.permit_threshold]
        if len(found) < self._deployment.permit_threshold:
            return None
        return wire.pack_bundle(self.frame, found, self._public_key)

    def hand_to_relays(self, meters: Iterable[bytes], *stores: Store) -> None:
        """Have the relays of these stores tell the meters that m have signed for."""
        known = {(row.meter, row.serial) for store in stores[:1] for row in store.trust()}
        bundles = {m: self.bundle(m) for m in meters if (m, self.fields.serial) not in known}
        for store in stores:
            with store.transaction() as writer:
                for meter, bundle in sorted(bundles.items()):
                    if bundle is not None:
                        writer.add_trust(meter, self.fields.serial, bundle)

    def progress(self, enrolled_s: Callable[[str], int], in_force_s: int) -> list[Progress]:
        """Tell of each meter in service how far the change has come. Raises StoreError.

        Taken is what the meter signed to have taken. `enrolled_s` tells when a meter (0x…) was
        enrolled; it is asked of those for whom nobody signed.
        """
        code, field = EVENTS[self.frame[1]]
        taken: dict[bytes, int] = {}
        for event in self._store.events([code], self.fields.issued_at_s - DAY_S):
            fields: Any = wire.parse(event.frame)
            digest = wire.digest(self._deployment.reading_domain, event.frame)
            same = getattr(fields, field) == self.fields.serial
            if same and _made_by(digest, event.signature) == event.meter:
                taken[event.meter] = fields.time_s
        states = {(row.meter, row.serial): row.state for row in self._store.trust()}
        found = []
        for row in self._store.meters():
            if not row.in_service:
                continue
            count = len(self.signatures(row.meter))
            state, meter = states.get((row.meter, self.fields.serial)), "0x" + row.meter.hex()
            word = {None: "not handed to relays", TOLD: "told", TAKEN: "says it has it"}
            text = "taken" if row.meter in taken else word.get(state, "waits for the meter")
            since = not count and enrolled_s(meter) >= in_force_s > 0
            if since:
                text = "enrolled since"
            elif state is None and count < self._deployment.permit_threshold:
                text = LACKING
            taken_s = taken.get(row.meter, 0)
            found.append(Progress(row.number, meter, count, text, taken_s, since))
        return found


def in_service(store: Store) -> list[bytes]:
    """Return the meters that relays serve. Raises StoreError."""
    return [row.meter for row in store.meters() if row.in_service]


def last_serial(store: Store, on_chain: int, now_s: int) -> int:
    """Return the trust serial that a new change must be above. Raises StoreError."""
    return max([on_chain, *(row.serial for row in store.trust() if row.serial <= now_s + DAY_S)])


def begun(
    deployment: Deployment,
    store: Store,
    signers: Sequence[str],
    last: int,
    now_s: int,
    same: Callable[[Any], bool],
) -> bytes | None:
    """Return the newest frame that another signer began and that may be signed, too.

    Its time moves the meters' clocks, its serial bars all below: both must be those of an honest
    signer.
    """
    for row in reversed(store.signed(SCOPE + NOBODY)):
        try:
            change = Change(deployment, store, row.frame, signers)
        except wire.FrameError:
            continue
        fields = change.fields
        if not isinstance(fields, wire.Signer | wire.Ledger) or not same(fields):
            continue
        fresh = now_s - GATHER_S <= fields.issued_at_s <= now_s + _AHEAD_S
        harmless = fresh and fields.serial == max(last + 1, fields.issued_at_s)
        if harmless and change.signatures(NOBODY):
            return bytes(row.frame)
    return None


def show(rows: list[Progress], title: str, *, every: bool) -> None:
    """Print how many meters have taken a change, and the table of those that have not."""
    concerned = [row for row in rows if not row.since]
    left = [row for row in concerned if not row.taken_s]
    if every or left:
        shown = table(title, "number", "meter", "signatures", "state", "taken (UTC)")
        for row in rows if every else left:
            when = datetime.fromtimestamp(row.taken_s, UTC) if row.taken_s else None
            text = f"{when:%Y-%m-%d %H:%M}" if when else "-"
            shown.add_row(str(row.number), row.meter, str(row.signatures), row.state, text)
        print_table(shown)
    print(f"{title}: {len(concerned) - len(left)} of {len(concerned)} meters have taken it")


def as_json(rows: list[Progress]) -> dict[str, Any]:
    """Return the same for scripts."""
    taken = sum(bool(row.taken_s) for row in rows)
    return {"taken": taken, "meters": [asdict(row) for row in rows]}


def _made_by(digest: bytes, signature: bytes) -> bytes:
    try:
        return signer(digest, signature)
    except SignatureError:
        return b""
