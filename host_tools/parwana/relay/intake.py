"""Take what meters published: store it in one transaction, say what to answer.

What cannot be kept goes to the quarantine, with a reason of store/letters.py or one of these.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import wire
from parwana.store.letters import Letter
from parwana.store.reader import Store, Writer

UNKNOWN = "unknown meter"  # the MeterRegistry does not have it, yet
TRUST_EVENTS = (wire.EVENT_SIGNER_CHANGED, wire.EVENT_LEDGER_CHANGED)
CONTRADICTION = "contradiction"  # more contradicting frames of one sequence than are kept


@dataclass(frozen=True)
class Answer:
    """What a meter gets: the sequence to send next, and what it seems not to have: a permit,
    changes of whom it trusts.
    """

    meter: bytes
    want: int
    bundle: bytes | None = None
    changes: list[bytes] = field(default_factory=list)


@dataclass
class Counters:
    """What a relay did since it started."""

    messages: int = 0
    hellos: int = 0
    frames_new: int = 0
    frames_repeated: int = 0
    contradictions: int = 0
    quarantined: int = 0
    answers: int = 0
    permits_delivered: int = 0
    pieces: int = 0  # of updates
    denied: int = 0  # permits, answers and pieces that the broker did not take
    closings: int = 0
    bills: int = 0
    balances: int = 0
    roots: int = 0
    store_failures: int = 0
    chain_failures: int = 0
    dropped: int = 0


def commit(
    store: Store, letters: Iterable[Letter], time_s: int
) -> tuple[list[Answer], Counters, list[Letter]]:
    """Store letters in one transaction; return the answers, what to count and who is unknown.

    Every answer rests on what is durable by then. A meter that the registry does not have gets
    none, so that it sends again and nothing is lost once it is enrolled. Raises StoreError, after
    which nothing of it was kept.
    """
    counters, answers, unknown = Counters(), [], []
    by_meter: dict[bytes, list[Letter]] = {}
    with store.transaction() as tx:
        for letter in letters:
            counters.messages += 1
            for payload, reason, detail in letter.refused:
                counters.quarantined += 1
                tx.quarantine(letter.topic, payload, reason, detail, time_s)
            if letter.hello or letter.frames:
                by_meter.setdefault(letter.meter, []).append(letter)
        for meter in sorted(by_meter):
            row = tx.lock(meter)
            if row is not None:
                answers.append(_answer(tx, meter, row.oldest, by_meter[meter], time_s, counters))
                continue
            unknown += by_meter[meter]
            for letter in by_meter[meter]:
                counters.quarantined += 1
                detail = "enrol it: parwana pair"
                tx.quarantine(letter.topic, letter.payload, UNKNOWN, detail, time_s)
    counters.answers = len(answers)
    return answers, counters, unknown


def _answer(
    tx: Writer, meter: bytes, oldest: int, letters: list[Letter], time_s: int, counters: Counters
) -> Answer:
    has_serial: int | None = None
    for letter in letters:
        if letter.hello:
            counters.hellos += 1
            oldest, has_serial = letter.hello.oldest, letter.hello.permit_serial
            tx.heard(meter, letter.hello, time_s)
            tx.trusts(meter, letter.hello.trust_serial, signed=False)
            continue
        added = tx.add_frames(meter, letter.frames, time_s)
        counters.frames_new += added.new
        counters.frames_repeated += added.repeated
        counters.contradictions += len(added.contradicting)
        for frame in added.refused:
            tx.quarantine(letter.topic, frame.frame + frame.signature, CONTRADICTION, "", time_s)
        first = letter.frames[0].sequence
        if first < oldest:
            oldest = first
            tx.lower_oldest(meter, first)
        for frame in letter.frames:
            fields = wire.parse(frame.frame)
            if isinstance(fields, wire.Event) and fields.code == wire.EVENT_PERMIT_ACCEPTED:
                tx.accepted(meter, fields.a)
            if isinstance(fields, wire.Event) and fields.code in TRUST_EVENTS:
                serial = fields.b if fields.code == wire.EVENT_SIGNER_CHANGED else fields.a
                tx.trusts(meter, serial, signed=True)
    bundle, changes = None, []
    if has_serial is not None:
        changes = [row.bundle for row in tx.tell(meter)]
        permit = tx.newest_permit(meter)
        if permit is not None and permit.serial > has_serial:
            bundle = permit.bundle
    return Answer(meter, tx.lowest_missing(meter, oldest), bundle, changes)
