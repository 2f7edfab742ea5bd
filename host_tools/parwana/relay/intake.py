"""Take what meters published: store it in one transaction, say what to answer.

What cannot be kept goes to the quarantine, with a reason of store/letters.py or one of these.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

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
        known = tx.lock(by_meter)
        for meter in by_meter.keys() - known.keys():
            unknown += by_meter[meter]
            for letter in by_meter[meter]:
                counters.quarantined += 1
                detail = "enrol it: parwana pair"
                tx.quarantine(letter.topic, letter.payload, UNKNOWN, detail, time_s)
        said = [_Said(row, by_meter[meter], time_s) for meter, row in known.items()]
        _keep(tx, said, time_s, counters)
        answers = _answers(tx, said)
    counters.answers = len(answers)
    return answers, counters, unknown


class _Said:
    """What the letters of one meter say of it, in their order."""

    def __init__(self, row: sa.Row, letters: list[Letter], time_s: int) -> None:
        self.meter: bytes = row.meter
        self.topic = letters[0].topic
        self.frames = [frame for letter in letters for frame in letter.frames]
        self.hellos = [letter.hello for letter in letters if letter.hello]
        self.trusts: list[tuple[int, bool]] = []  # serial, signed
        self.before = {"oldest": row.oldest, "permit_serial": row.permit_serial}
        self.heard: dict[str, int] = dict(self.before)
        for letter in letters:
            if letter.hello:
                self.heard.update(letter.hello._asdict(), heard_s=time_s)
                self.trusts.append((self.heard.pop("trust_serial"), False))
            elif letter.frames[0].sequence < self.heard["oldest"]:
                # It has this one, so that a hello of a higher oldest was not true.
                self.heard["oldest"] = letter.frames[0].sequence
            for frame in letter.frames:
                if frame.kind == wire.KIND_EVENT:
                    self._event(wire.parse(frame.frame))

    def _event(self, event: Any) -> None:
        if event.code == wire.EVENT_PERMIT_ACCEPTED:
            self.heard["permit_serial"] = max(self.heard["permit_serial"], event.a)
        elif event.code in TRUST_EVENTS:
            serial = event.b if event.code == wire.EVENT_SIGNER_CHANGED else event.a
            self.trusts.append((serial, True))


def _keep(tx: Writer, said: list[_Said], time_s: int, counters: Counters) -> None:
    added = tx.add_all({one.meter: one.frames for one in said if one.frames}, time_s)
    for one in said:
        counters.hellos += len(one.hellos)
        if one.meter in added:
            counters.frames_new += added[one.meter].new
            counters.frames_repeated += added[one.meter].repeated
            counters.contradictions += len(added[one.meter].contradicting)
            for frame in added[one.meter].refused:
                payload = frame.frame + frame.signature
                tx.quarantine(one.topic, payload, CONTRADICTION, "", time_s)
    changed = [{"meter": one.meter, **one.heard} for one in said if one.heard != one.before]
    tx.heard([row for row in changed if "heard_s" in row])
    tx.heard([row for row in changed if "heard_s" not in row])
    trusts = {one.meter: one.trusts for one in said if one.trusts}
    if trusts:
        tx.trusts(trusts)


def _answers(tx: Writer, said: list[_Said]) -> list[Answer]:
    greeted = [one.meter for one in said if one.hellos]
    changes: dict[bytes, list[bytes]] = {}
    for row in tx.tell(greeted) if greeted else ():
        changes.setdefault(row.meter, []).append(row.bundle)
    newest = tx.newest_permits(greeted) if greeted else {}
    wanted = tx.lowest_missing({one.meter: one.heard["oldest"] for one in said})
    answers = []
    for one in said:
        permit = newest.get(one.meter)
        bundle = None
        if permit is not None and permit.serial > one.hellos[-1].permit_serial:
            bundle = permit.bundle
        answers.append(Answer(one.meter, wanted[one.meter], bundle, changes.get(one.meter, [])))
    return answers
