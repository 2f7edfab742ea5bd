"""The audit: silent about an honest town, and naming each of many things that are made wrong."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from web3.datastructures import AttributeDict

import wire
from hil_tests.chainkit import START_S, utility
from hil_tests.services import OF, SignedMeter
from hil_tests.town import Town
from parwana import cli
from parwana.audit import run as audit_module
from parwana.audit.command import AuditError, audit
from parwana.audit.findings import Finding, Report
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.chain.tariff import Tariff, bill
from parwana.permits.signer import PermitSigner
from parwana.relay.landing import Landed
from parwana.store.reader import Store
from parwana.store.rows import packed
from parwana.store.tables import CLOSING

PAYS, REFUNDED, OWES, LATE = range(4)  # the four houses
LATER_S = START_S + 30 * DAY_S  # when what a test adds arrived: no root is due for it


def live(town: Town, after: Callable[[int], None] = lambda _month: None) -> None:
    """Let three periods pass: readings, closings, bills, payments, permits, a refund.

    `after` is called after each, with its number.
    """
    world = town.world
    keys = [dev_key(1), dev_key(3)]
    signer = PermitSigner(
        world.deployment, town.store, keys, lambda: Chain.of(world.deployment, keys[0])
    )
    landing = town.landing(gather_s=0)
    for period in range(town.first, town.first + 3):
        month = period - town.first
        before_s = town.periods.start(period + 1)
        for meter in [*town.houses, town.feeder]:
            share = 4 if meter is town.feeder else 1
            town.read(meter, before_s - 900, share * (5000 * month + 4000))
            town.close(meter, period, share * (5000 * month + 5000))
        town.go_to(before_s + 60)
        assert landing.step() == Landed(5, 4, 1, roots=min(month, 1))
        house = town.houses[PAYS]
        world.pay(house.key)
        if month == 0:
            world.pay(town.houses[REFUNDED].key)
            claims_for(town, signer, house)
            town.go_to(before_s + DAY_S - 3600)
            after(month)
            continue
        if month == 1:
            number = 101 + REFUNDED
            chain = world.chain
            town.go_to(before_s + 7200)
            chain.send(world.ledgers.payment.functions.refund(number))
            world.pay(town.houses[LATE].key)
        world.node.mine(2)
        signer.step()
        town.follow()
        accept(town, house)
        after(month)
    accept(town, town.houses[LATE])


def claims_for(town: Town, signer: PermitSigner, house: SignedMeter) -> None:
    """Claim one house's payment and leave the other's, as signers that are nearly too late."""
    town.world.node.mine(2)
    quiet = town.houses[REFUNDED].key.address
    serve = signer._serve

    def but_one(chain: Any, ledgers: Any, lock: Any, progress: Any) -> Any:
        return [] if lock.meter == quiet else serve(chain, ledgers, lock, progress)

    signer._serve = but_one  # type: ignore[method-assign]
    signer.step()
    town.follow()
    accept(town, house)


def accept(town: Town, house: SignedMeter) -> None:
    """Let the meter sign that it accepted the newest permit."""
    row = town.store.newest_permit(house.address)
    assert row is not None
    permit = wire.parse(row.bundle[:40])
    assert isinstance(permit, wire.Permit)
    values = (permit.serial, permit.valid_until_s, permit.power_limit_dw)
    now_s = int(town.world.clock.now())
    town.event(house, wire.EVENT_PERMIT_ACCEPTED, now_s, *values)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    url = f"sqlite:///{folder}/store.db"
    store = Store(url)
    with utility(url) as world:
        town = Town(world, store)
        live(town)
        yield town
    store.close()


@pytest.fixture
def copy(lived: Town, tmp_path: Path) -> Path:
    return lived.copy_store(tmp_path / "copy.db")


def findings(town: Town, path: Path) -> list[Finding]:
    store = Store(f"sqlite:///{path}", create=False)
    try:
        return audit(town.world.deployment, town.world.chain, store).findings
    finally:
        store.close()


def spoil(path: Path, statement: str, *values: Any) -> None:
    """Run SQL on a copy; it must change one row."""
    db = sqlite3.connect(path)
    assert db.execute(statement, values).rowcount == 1
    db.commit()
    db.close()


def kinds(found: list[Finding]) -> set[str]:
    return {finding.kind for finding in found}


def frame_of(path: Path, meter: SignedMeter, sequence: int) -> tuple[bytes, bytes]:
    store = Store(f"sqlite:///{path}", create=False)
    found = next(store.frames(meter.address, sequence))
    store.close()
    return found.frame, found.signature


def test_an_honest_town_has_no_findings(lived: Town, copy: Path) -> None:
    store = Store(f"sqlite:///{copy}", create=False)
    report = audit(lived.world.deployment, lived.world.chain, store)
    store.close()
    assert report.findings == []
    counts = report.counts
    assert counts["readings"] == 30
    assert (counts["closings"], counts["bills"], counts["balances"]) == (15, 12, 3)
    assert (counts["payments"], counts["permits"], counts["permits_accepted"]) == (4, 4, 4)


def test_a_changed_energy_in_a_frame_is_found(lived: Town, copy: Path) -> None:
    house = lived.houses[0]
    frame, _ = frame_of(copy, house, 1)
    changed = packed(frame[:12] + (1).to_bytes(8, "big") + frame[20:])
    spoil(
        copy,
        f"UPDATE frames SET frame = ? WHERE meter = {OF} AND sequence = 1",
        changed,
        house.address,
    )
    finding, root = findings(lived, copy)
    assert (root.kind, root.where) == ("root", f"day {lived.first}")
    assert (finding.kind, finding.meter, finding.where) == (
        "signature",
        "0x" + house.address.hex(),
        "sequence 1",
    )


def test_a_changed_closing_is_found_against_the_chain_too(lived: Town, copy: Path) -> None:
    house = lived.houses[0]
    frame, _ = frame_of(copy, house, 2)
    changed = packed(frame[:12] + (4500).to_bytes(8, "big") + frame[20:])
    spoil(
        copy,
        f"UPDATE frames SET frame = ? WHERE meter = {OF} AND sequence = 2",
        changed,
        house.address,
    )
    found = findings(lived, copy)
    assert kinds(found) == {"signature", "closing", "root"}
    assert f"period {lived.first}" in {finding.where for finding in found}


def test_a_swapped_signature_is_found(lived: Town, copy: Path) -> None:
    house = lived.houses[1]
    _, other = frame_of(copy, house, 3)
    spoil(
        copy,
        f"UPDATE frames SET signature = ? WHERE meter = {OF} AND sequence = 1",
        other,
        house.address,
    )
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("signature", "sequence 1")


@pytest.mark.parametrize("sequence", [1, 3, 6])
def test_a_deleted_row_is_found(lived: Town, copy: Path, sequence: int) -> None:
    house = lived.houses[OWES]
    spoil(copy, f"DELETE FROM frames WHERE meter = {OF} AND sequence = ?", house.address, sequence)
    found = findings(lived, copy)
    assert ("deleted", f"sequence {sequence}") in {(f.kind, f.where) for f in found}
    assert kinds(found) <= {"deleted", "closing", "root"}
    assert ("root" in kinds(found)) == (sequence < 6)  # its day has a root


def test_a_second_frame_of_one_sequence_is_found(lived: Town, copy: Path) -> None:
    house = lived.houses[0]
    signed = house.stored(1, energy_wh=7)
    store = Store(f"sqlite:///{copy}")
    with store.transaction() as tx:
        tx.add_frames(house.address, [signed], LATER_S)
    store.close()
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("contradiction", "sequence 1")


def test_an_altered_copy_of_a_permit_is_found(lived: Town, copy: Path) -> None:
    house = lived.houses[PAYS]
    row = lived.store.newest_permit(house.address)
    assert row is not None
    altered = row.bundle[:60] + bytes([row.bundle[60] ^ 1]) + row.bundle[61:]
    spoil(
        copy,
        "UPDATE permits SET bundle = ? WHERE meter = ? AND serial = ?",
        altered,
        house.address,
        row.serial,
    )
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("stored_permit", f"serial {row.serial}")


def test_an_altered_signers_signature_is_found(lived: Town, copy: Path) -> None:
    db = sqlite3.connect(copy)
    db.execute(
        "UPDATE signatures SET signature = (SELECT signature FROM signatures WHERE signer_index=2)"
        " WHERE signer_index = 0"
    )
    db.commit()
    db.close()
    assert kinds(findings(lived, copy)) == {"stored_signature"}


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [("time_s", 5, "signature"), ("sequence", 99, "signature"), ("kind", CLOSING, "altered_row")],
)
def test_a_column_that_lies_about_its_frame_is_found(
    lived: Town, copy: Path, column: str, value: Any, kind: str
) -> None:
    spoil(
        copy,
        f"UPDATE frames SET {column} = ? WHERE meter = {OF} AND sequence = 1",
        value,
        lived.houses[0].address,
    )
    assert kind in kinds(findings(lived, copy))


def test_a_stranger_in_the_store_is_found(lived: Town, copy: Path) -> None:
    stranger = SignedMeter(77, lived.world.deployment.reading_domain)
    store = Store(f"sqlite:///{copy}")
    with store.transaction() as tx:
        tx.add_frames(stranger.address, [stranger.stored(1)], LATER_S)
    store.close()
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.meter) == ("unknown_meter", "0x" + stranger.address.hex())


def add(path: Path, meter: SignedMeter, *signed: tuple[bytes, bytes]) -> None:
    """Add frames to a copy as a relay would."""
    from parwana.store.reader import signed_frame

    store = Store(f"sqlite:///{path}")
    with store.transaction() as tx:
        for pair in signed:
            frame = signed_frame(meter.address, *pair)
            tx.add_frames(meter.address, [frame], LATER_S)
    store.close()


def event(meter: SignedMeter, code: int, sequence: int, time_s: int, *values: int) -> Any:
    return meter.event(code, sequence, time_s, 90_000, *values)


def test_a_gap_is_found_unless_the_meter_signed_its_loss(lived: Town, copy: Path) -> None:
    house, now_s = lived.houses[OWES], int(lived.world.clock.now())
    add(copy, house, event(house, wire.EVENT_BOOT, 20, now_s))
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("gap", "sequences 7 to 19")
    overwrote = wire.EVENT_JOURNAL_OVERWRITE
    add(copy, house, event(house, overwrote, 21, now_s, 7, 12, 6))
    (finding,) = findings(lived, copy)
    assert finding.where == "sequences 13 to 19"
    add(copy, house, event(house, overwrote, 22, now_s, 13, 17, 11))
    (finding,) = findings(lived, copy)
    assert finding.where == "sequences 18 to 19"
    damaged = (wire.STATE_JOURNAL, 18, 19)
    add(copy, house, event(house, wire.EVENT_STATE_LOST, 23, now_s, *damaged))
    assert findings(lived, copy) == []


def test_a_register_or_a_clock_that_goes_back_is_found(lived: Town, copy: Path) -> None:
    house, now_s = lived.houses[OWES], int(lived.world.clock.now())
    add(copy, house, house.reading(7, energy_wh=3, time_s=now_s - 5 * DAY_S))
    assert kinds(findings(lived, copy)) == {"energy_decreased", "time_order"}


def test_a_reading_may_follow_an_event_within_its_interval(lived: Town, copy: Path) -> None:
    house, now_s = lived.houses[OWES], int(lived.world.clock.now())
    boot = event(house, wire.EVENT_BOOT, 7, now_s + 850)
    add(copy, house, boot, house.reading(8, energy_wh=90_000, time_s=now_s))
    assert findings(lived, copy) == []
    add(copy, house, event(house, wire.EVENT_BOOT, 9, now_s - 850))
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("time_order", "sequence 9")


def test_an_end_of_an_interval_that_comes_twice_is_found(lived: Town, copy: Path) -> None:
    house, now_s = lived.houses[OWES], int(lived.world.clock.now())
    add(copy, house, house.reading(7, energy_wh=90_000, time_s=now_s))
    add(copy, house, house.reading(8, energy_wh=90_001, time_s=now_s))
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("time_order", "sequence 8")


def test_a_clock_that_is_set_back_by_an_event_is_no_finding(lived: Town, copy: Path) -> None:
    house, now_s = lived.houses[OWES], int(lived.world.clock.now())
    add(
        copy,
        house,
        event(house, wire.EVENT_CLOCK_SET, 7, now_s - 7200, now_s, now_s - 7200, 1),
        house.reading(8, energy_wh=91_000, time_s=now_s - 7000),
    )
    assert findings(lived, copy) == []


def test_a_permit_that_nobody_published_is_found(lived: Town, copy: Path) -> None:
    house, now_s = lived.houses[OWES], int(lived.world.clock.now())
    add(copy, house, event(house, wire.EVENT_PERMIT_ACCEPTED, 7, now_s, 5, now_s + DAY_S, 0))
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("permit_unpublished", "serial 5")


def test_a_house_that_was_cut_while_its_permit_was_out_is_found(lived: Town, copy: Path) -> None:
    house = lived.houses[PAYS]
    row = lived.store.newest_permit(house.address)
    assert row is not None
    permit = wire.parse(row.bundle[:40])
    assert isinstance(permit, wire.Permit)
    sequence = lived.sequences[house.address] + 1
    cut = (wire.REASON_EXPIRED, 0, 0)
    add(copy, house, event(house, wire.EVENT_DISCONNECTED, sequence, permit.valid_until_s, *cut))
    (finding,) = findings(lived, copy)
    assert finding.kind == "permit_withheld"
    add(
        copy,
        house,
        event(house, wire.EVENT_DISCONNECTED, sequence + 1, permit.valid_until_s + 1, *cut),
    )
    assert len(findings(lived, copy)) == 1


def test_a_closing_that_nobody_landed_is_found(lived: Town, copy: Path) -> None:
    house, period = lived.houses[OWES], lived.first + 3
    time_s = lived.periods.start(period + 1)
    add(copy, house, house.reading(7, energy_wh=99_000, time_s=time_s, flags=wire.FLAG_CLOSING))
    assert findings(lived, copy) == []
    node, clock = lived.world.node, lived.world.clock
    before, now_s = lived.world.chain.head(), clock.time_s
    clock.time_s = time_s + DAY_S + 1
    node.mine()
    found = {(f.kind, f.where) for f in findings(lived, copy)}
    node.rewind(before)
    clock.time_s = now_s
    assert ("not_landed", f"period {period}") in found


def test_a_closing_that_is_not_the_first_valid_one_is_found(lived: Town, copy: Path) -> None:
    """A meter that boots within the day signs a second one; whoever lands may choose."""
    house, period = lived.houses[OWES], lived.first + 3
    start_s = lived.periods.start(period + 1)
    node, clock = lived.world.node, lived.world.clock
    before, now_s = lived.world.chain.head(), clock.time_s
    clock.time_s = start_s + 9000
    node.mine()
    second = house.reading(
        8, energy_wh=95_000, time_s=start_s + 3600, flags=wire.FLAG_CLOSING | wire.FLAG_BOOT
    )
    first = house.reading(7, energy_wh=94_000, time_s=start_s, flags=wire.FLAG_CLOSING)
    add(copy, house, first, second)
    relay = Chain.of(lived.world.deployment, dev_key(21))
    relay.send(relay.ledgers(lived.world.deployment).energy.functions.close(b"".join(second)))
    found = [f for f in findings(lived, copy) if f.kind == "closing"]
    node.rewind(before)
    clock.time_s = now_s
    assert [(f.expected, f.found) for f in found] == [("94000 Wh", "95000 Wh")]


def test_energy_behind_an_open_contactor_is_found(lived: Town, copy: Path) -> None:
    house, now_s = lived.houses[OWES], int(lived.world.clock.now())

    def cut(sequence: int, energy_wh: int, flags: int = 0) -> Any:
        frame, _ = house.reading(sequence, energy_wh=energy_wh, time_s=now_s + 900 * sequence)
        flags |= int.from_bytes(frame[2:4], "big") & ~wire.FLAG_OUTPUT_CLOSED
        return house.sign(frame[:2] + flags.to_bytes(2, "big") + frame[4:])

    off = house.event(wire.EVENT_DISCONNECTED, 7, now_s + 900, 90_000, wire.REASON_EXPIRED)
    # what the sensor tells late, then a trifle
    add(copy, house, off, cut(8, 90_000), cut(9, 90_100), cut(10, 90_120))
    assert findings(lived, copy) == []
    # a step that was held back and is counted now; what passed while it was closed
    counted = cut(11, 91_000, wire.FLAG_REGISTER_EVENT)
    back = house.event(wire.EVENT_RECONNECTED, 12, now_s + 10_000, 91_000, wire.REASON_NEW_PERMIT)
    add(copy, house, counted, back, cut(13, 92_000), cut(14, 92_000))
    assert findings(lived, copy) == []
    add(copy, house, cut(15, 92_021))
    (finding,) = findings(lived, copy)
    assert (finding.kind, finding.where) == ("bridged", "sequence 15")
    assert (finding.expected, finding.found) == ("0 Wh", "21 Wh")
    # with a frame missing in between, nobody knows that it stayed open
    add(copy, house, cut(17, 99_000), cut(18, 99_000))
    assert [f.where for f in findings(lived, copy) if f.kind == "bridged"] == ["sequence 15"]


Change = Callable[[Any], Any]


def altered(name: str, **values: Any) -> Change:
    """Return a change of the first log of `name`; None values leave the log out."""
    done: list[int] = []

    def change(entry: Any) -> Any:
        if entry["event"] != name or done:
            return entry
        done.append(1)
        if not values:
            return None
        new = {k: v(entry["args"][k]) if callable(v) else v for k, v in values.items()}
        return AttributeDict({**entry, "args": AttributeDict({**entry["args"], **new})})

    return change


def flip(data: bytes) -> bytes:
    return data[:18] + bytes([data[18] ^ 1]) + data[19:]


def one_more(results: bytes) -> bytes:
    """Add a watt-hour to the last closing of a batch."""
    return (int.from_bytes(results) + 1).to_bytes(len(results))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            altered("Closed", results=one_more),
            {"closing", "bill", "balance"},
        ),
        (altered("Closed", results=lambda data: data[:-32]), {"bill", "balance"}),
        (altered("Reconciled", alarm=1), {"balance"}),
        (altered("Reconciled", missing=1), {"balance"}),
        (altered("Reconciled", sold_wh=lambda w: w - 1), {"balance"}),
        (altered("Billed", amount=lambda a: a + 1), {"bill"}),
        (altered("Billed", energy_wh=lambda w: w + 1), {"bill"}),
        (altered("Locked", amount=lambda a: a - 1), {"payment"}),
        (altered("Locked", deadline_s=lambda d: d + 1), {"payment"}),
        (altered("Paid", serial=1), {"payment"}),
        (altered("Paid", payer="0x" + "11" * 20), {"payment"}),
        (altered("Refunded", amount=1), {"payment", "bill"}),
        (altered("PermitPublished"), {"payment", "permit_unpublished", "stored_permit"}),
        (altered("PermitPublished", signatures=flip), {"permit", "stored_permit"}),
        (altered("PermitPublished", frame=flip), {"permit", "stored_permit"}),
        (altered("PermitPublished", serial=5), {"permit", "payment"}),
        (altered("TariffAnnounced", fixed_charge=lambda c: c + 1), {"bill"}),
        (altered("SignerChanged", signer="0x" + "22" * 20), {"permit"}),
        (altered("Enrolled", initial_wh=1), {"balance"}),
    ],
)
def test_a_chain_that_computes_wrong_is_found(
    lived: Town,
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    expected: set[str],
) -> None:
    real = audit_module._logs

    def logs(*arguments: Any) -> list[Any]:
        changed = [(change(entry), time_s) for entry, time_s in real(*arguments)]
        return [(entry, time_s) for entry, time_s in changed if entry is not None]

    monkeypatch.setattr(audit_module, "_logs", logs)
    assert expected <= kinds(findings(lived, copy))


def test_a_payment_that_nobody_claims_or_refunds_is_found(lived: Town, copy: Path) -> None:
    world = lived.world
    before, now_s = world.chain.head(), world.clock.time_s
    world.pay(lived.houses[OWES].key)
    world.clock.time_s = now_s + DAY_S + 3600
    world.node.mine()
    found = findings(lived, copy)
    world.node.rewind(before)
    world.clock.time_s = now_s
    assert kinds(found) == {"payment_stuck"}


def test_the_command_tells_and_exits_with_3(
    lived: Town, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deployment.json"
    lived.world.deployment.save(path)
    arguments = ["audit", "--deployment", str(path), "--store", f"sqlite:///{copy}"]
    assert cli.main(arguments) == 0
    assert "no findings" in capsys.readouterr().out
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    spoil(copy, f"DELETE FROM frames WHERE meter = {OF} AND sequence = 1", lived.feeder.address)
    assert cli.main([*arguments, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert [f["kind"] for f in told["findings"]] == ["deleted", "root"]
    assert cli.main(arguments) == 3
    assert "deleted of 0x" + lived.feeder.address.hex() in capsys.readouterr().out


def test_people_read_dates_and_the_coins_unit(
    lived: Town, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    path = tmp_path / "deployment.json"
    lived.world.deployment.save(path)
    real = audit_module._logs

    def logs(*arguments: Any) -> list[Any]:
        change = altered("Billed", amount=lambda wei: wei + 10**18)
        return [(change(entry), time_s) for entry, time_s in real(*arguments)]

    monkeypatch.setattr(audit_module, "_logs", logs)
    arguments = ["audit", "--deployment", str(path), "--store", f"sqlite:///{copy}"]
    assert cli.main(arguments) == 3
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("bill of"))
    period = lived.periods.text(lived.first)
    assert f", period {period}: expected" in line
    assert f"'period': {period}, " in line
    assert re.search(r"'amount': 1\.0\d+ ETH, 'due': \d+\.\d+ ETH", line.split("found")[1])
    assert cli.main([*arguments, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)["findings"]
    bill_told = next(f for f in told if f["kind"] == "bill")
    assert bill_told["where"] == f"period {lived.first}"
    assert re.search(r"'amount': 1\d{18}, ", bill_told["found"])


def test_another_deployments_file_is_refused(lived: Town, copy: Path) -> None:
    from dataclasses import replace

    wrong = replace(lived.world.deployment, utility_id="other")
    store = Store(f"sqlite:///{copy}", create=False)
    with pytest.raises(AuditError, match="utility_id"):
        audit(wrong, lived.world.chain, store)
    store.close()


def test_bills_by_hand() -> None:
    old = Tariff(0, [(1000, 100), (2**64 - 1, 200)], 7)
    assert bill([old], 0, 10, 1) == 7
    assert bill([old], 1000, 10, 1) == 107
    assert bill([old], 1500, 10, 1) == 207
    assert bill([old], 1504, 10, 1) == 207  # 100 + 100.8 + 7, rounded down
    assert bill([old], 1505, 10, 1) == 208
    assert bill([old], 3000, 10, 2) == 2000 * 100 // 1000 + 1000 * 200 // 1000 + 14
    assert bill([old], 500, 10, 0) == 50
    new = Tariff(12, [(2**64 - 1, 1000)], 100)
    assert bill([old, new], 2000, 10, 2) == 1000 + 100 + 100 + 7
    assert bill([old, new], 2001, 10, 2) == 1000 + 100 + 100 + 7
    assert bill([old, new], 2000, 11, 1) == 2100


def test_a_report_prints_what_a_person_needs() -> None:
    report = Report()
    report.add("gap", b"\1" * 20, "sequence 5", "held", "never received")
    assert str(report.findings[0]) == (
        "gap of 0x0101010101010101010101010101010101010101, sequence 5: "
        "expected held, found never received"
    )
