"""Whether each part does its work, and what waits since when. Each check asks for itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import wire
from parwana.chain.currency import currency_of
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.chain.points import NOBODY
from parwana.fleet.rows import Row
from parwana.relay.follower import CURSOR
from parwana.rights import rotation
from parwana.rights.office import Office
from parwana.store.reader import Store
from parwana.store.tables import TAKEN
from parwana.world.broker import BrokerError, Session
from parwana.world.options import SILENT_S

OK, WAITS, WRONG = "ok", "waits", "wrong"
BROKER_S = 5.0


@dataclass(frozen=True)
class Line:
    """One thing that works, waits, or does not work; `since_s`: Unix time, 0: not known."""

    part: str
    state: str
    text: str
    since_s: int = 0


@dataclass(frozen=True)
class Limits:
    """After how many seconds something that should go on is wrong."""

    now_s: int
    late_s: int = 3600  # blocks, claims, permits, signed time
    silent_s: int = SILENT_S


def broker(deployment: Deployment) -> Iterator[Line]:
    """Log in as relays and signers do."""
    with Session(deployment.broker) as session:
        try:
            session.wait(BROKER_S)
        except BrokerError as error:
            yield Line("broker", WRONG, str(error))
        else:
            yield Line("broker", OK, session.place)


def chain(node: Chain, limits: Limits, part: str = "chain") -> Iterator[Line]:
    """Say how old the newest block is, and which one is final. Raises ChainError."""
    head = node.head()
    time_s, final = node.block_time_s(head), node.finalized_block()
    state = WRONG if limits.now_s - time_s > limits.late_s else OK
    yield Line(part, state, f"chain {node.chain_id}, block {head}, final {final}", time_s)


def meters(rows: list[Row], limits: Limits) -> Iterator[Line]:
    """Say how many meters are heard, by the last one's time."""
    served = [row for row in rows if row.in_service]
    silent = [row for row in served if limits.now_s - row.heard_s > limits.silent_s]
    alarms = sum(bool(row.alarms) for row in served)
    last_s = max([0, *(row.heard_s for row in served)])
    text = f"{len(served)} in service, {len(silent)} silent, {alarms} with an alarm"
    if served and len(silent) == len(served):
        yield Line("meters", WRONG, f"{text}; is a relay running?", last_s)
    else:
        yield Line("meters", WAITS if alarms else OK, text, last_s)


def relays(store: Store, node: Chain, limits: Limits) -> Iterator[Line]:
    """Say whether a relay follows the chain. Raises ChainError, StoreError."""
    at, final = store.cursor(CURSOR), node.finalized_block()
    if at is None:
        yield Line("relay", WRONG, "none has followed the chain yet: parwana relay")
        return
    since_s = node.block_time_s(max(0, min(at - 1, final)))
    late = node.block_time_s(final) - since_s > limits.late_s
    text = f"the chain is followed to block {at - 1}, final is {final}"
    yield Line("relay", WRONG if late else OK, text, since_s)


def closings(office: Office, rows: list[Row], limits: Limits) -> Iterator[Line]:
    """Say of each feeder's last period whether it closed and was balanced, on the energy chain.

    Raises ChainError.
    """
    call, energy = office.chain.call, office.ledgers.energy.functions
    periods = office.deployment.periods
    period = periods.of(limits.now_s) - 1
    end_s = periods.start(period + 1)
    deadline_s = end_s + call(energy.closing_deadline_s())
    first = _block_at(office.chain, office.deployment.from_block, end_s)
    logs = office.chain.logs(office.ledgers.energy.events.Reconciled, first, period=period)
    balanced = {log["args"]["feeder"]: log["args"]["alarm"] for log in logs}
    for feeder in sorted({row.number for row in rows if row.in_service and row.kind != "house"}):
        sums = call(energy.sums(feeder, period))
        text = f"feeder {feeder}, period {periods.text(period)}: "
        if feeder in balanced:
            alarm = ("", "theft", "over-billing", "no comparison")[balanced[feeder]]
            state = WRONG if alarm in ("theft", "over-billing") else OK
            yield Line("closings", state, text + (alarm or "balanced"), end_s)
            continue
        missing = sums.expected - sums.closed + (not sums.own_closed)
        if not sums.expected:
            continue
        what = f"{missing} closings missing" if missing else "not balanced yet"
        late = limits.now_s > (deadline_s if missing else end_s) + limits.late_s
        yield Line("closings", WRONG if late else WAITS, text + what, end_s)


def _block_at(node: Chain, first: int, time_s: int) -> int:
    """Return the first block from `first` on that is not before an instant, at most the head."""
    last = node.head()
    while first < last:
        middle = (first + last) // 2
        first, last = (middle + 1, last) if node.block_time_s(middle) < time_s else (first, middle)
    return first


def signers(office: Office, store: Store, limits: Limits) -> Iterator[Line]:
    """Say who signs, and which rotation waits. Raises ChainError, StoreError."""
    made, last = office.deployment, store.last_signed()
    current, coming = rotation.signers(office), rotation.announced(office)
    for index, key in enumerate(made.signers):
        when_s = last.get(index, 0)
        if current[index] != rotation.address_of(key):
            text = f"{current[index]}, the deployment file names another: parwana signers apply"
            yield Line(f"signer {index}", WRONG, text)
        elif limits.now_s - when_s > limits.late_s:
            word = "signs nothing" if when_s else "has signed nothing yet"
            text = f"{current[index]} {word}; is it running? {made.permit_threshold} must sign"
            yield Line(f"signer {index}", WRONG, text, when_s)
        else:
            yield Line(f"signer {index}", OK, current[index], when_s)
    for index, (who, at_s) in coming.items():
        due = at_s <= limits.now_s
        text = f"becomes {who}" + (": parwana signers apply" if due else ", after the notice")
        state = WRONG if limits.now_s - at_s > limits.late_s else WAITS
        yield Line(f"signer {index}", state, text, at_s)


def payments(office: Office, store: Store, limits: Limits) -> Iterator[Line]:
    """Name the payments that wait for a permit. Raises ChainError, StoreError."""
    made, node, ledgers = office.deployment, office.chain, office.ledgers
    first = store.cursor(f"permits {made.payment_ledger}")
    locks = _locks(node, ledgers, made.from_block if first is None else first)
    currency = currency_of(node, ledgers, made)
    escrow_s = node.call(ledgers.payment.functions.escrow_window_s())
    for lock in locks:
        since_s = lock["deadline_s"] - escrow_s
        text = f"{currency.text(lock['amount'])} for number {lock['number']}"
        if limits.now_s > lock["deadline_s"]:
            yield Line("payment", WRONG, f"{text}: not claimed in time, refundable", since_s)
            continue
        state = WRONG if limits.now_s - since_s > limits.late_s else WAITS
        yield Line("payment", state, f"{text}: waits for its permit", since_s)


def _locks(node: Chain, ledgers: Ledgers, first: int) -> list[dict[str, Any]]:
    events, found = ledgers.payment.events, []
    for event in (events.Locked, events.Paid, events.Refunded):
        found += node.logs(event, first)
    locks: dict[int, dict[str, Any]] = {}
    for log in sorted(found, key=lambda log: (log["blockNumber"], log["logIndex"])):
        locks.pop(log["args"]["number"], None)
        if log["event"] == "Locked":
            locks[log["args"]["number"]] = dict(log["args"])
    return sorted(locks.values(), key=lambda lock: lock["deadline_s"])


def permits(store: Store, rows: list[Row], limits: Limits) -> Iterator[Line]:
    """Name the permits and changes of trust that meters have not taken. Raises StoreError."""
    served = {row.meter: row for row in rows if row.in_service}
    for permit in store.outstanding():
        row = served.get("0x" + permit.meter.hex())
        if row is None:
            continue
        fields: Any = wire.parse(bytes(permit.bundle[: wire.FRAME_SIZE]))
        heard = row.heard_s > fields.issued_at_s + limits.late_s
        text = f"number {row.number} has not taken serial {fields.serial}"
        text += "" if heard else "; it was not heard since"
        yield Line("permit", WRONG if heard else WAITS, text, fields.issued_at_s)
    waiting = [row for row in store.trust() if row.state != TAKEN]
    waiting = [row for row in waiting if "0x" + row.meter.hex() in served]
    if waiting:
        first: Any = wire.parse(bytes(waiting[0].bundle[: wire.FRAME_SIZE]))
        count = len({row.meter for row in waiting})
        text = f"{count} meters have not taken a change: parwana signers show, parwana ledger show"
        yield Line("trust", WAITS, text, first.issued_at_s)


def utility(office: Office) -> Iterator[Line]:
    """Tell who the utility is, its credit, and to whom the place is offered. Raises ChainError."""
    call, contracts = office.chain.call, (office.ledgers.registry, office.ledgers.payment)
    payment = office.ledgers.payment.functions
    who = str(call(payment.utility()))
    credit = office.currency().text(call(payment.credits(who)))
    yield Line("utility", OK, f"{who}, {credit} to withdraw")
    for offered in sorted({str(call(one.functions.offered())) for one in contracts} - {NOBODY}):
        yield Line("utility", WAITS, f"offered to {offered}, which has not accepted")
