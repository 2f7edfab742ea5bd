"""Permits: made, signed, checked; and signers that race for a paid bill on a real chain."""

import json
import threading

import pytest

import wire
from hil_tests.chainkit import SIGNERS, Utility
from parwana import cli
from parwana.chain.keys import Key, dev_key
from parwana.chain.node import Chain, ChainError
from parwana.chain.periods import DAY_S
from parwana.permits import signer
from parwana.permits.bundle import (
    PermitError,
    check_bundle,
    indexed,
    make_permit,
    parse_flags,
    sign_frame,
)
from parwana.permits.signer import PermitSigner, TimeSigner
from parwana.store.reader import Store

PUBLIC = [dev_key(n).public_key for n in SIGNERS]
DOMAIN = bytes(range(32))


def paid(world: Utility, seed: int = 1001) -> Key:
    house = world.enrol(seed)
    world.close_period()
    world.pay(house)
    return house


def one(world: Utility, store: Store, *numbers: int) -> PermitSigner:
    keys = [dev_key(n) for n in numbers]
    return PermitSigner(world.deployment, store, keys, lambda: Chain.of(world.deployment, keys[0]))


def published(world: Utility, house: Key) -> list:
    event = world.ledgers.payment.events.PermitPublished
    return [log["args"] for log in world.chain.logs(event, 0, meter=house.address)]


def final(world: Utility) -> None:
    world.node.mine(2)


# permits.py


def test_a_permit_is_the_same_bytes_for_the_same_values():
    values = {"issued_at_s": 1000, "valid_until_s": 5000, "period": 7, "flags": 3}
    frame = make_permit(**values, last_serial=10)
    assert frame == make_permit(**values, last_serial=10)
    fields = wire.parse(frame)._asdict()
    assert [fields[n] for n in ("serial", "issued_at_s", "valid_until_s")] == [1000, 1000, 5000]
    assert wire.parse(make_permit(**values, last_serial=1000))[1] == 1001


@pytest.mark.parametrize(
    "values",
    [
        {"valid_until_s": 1000},
        {"valid_until_s": 2**32},
        {"flags": 8},
        {"no_cut_from_h": 24},
        {"grace_days": 256},
    ],
)
def test_an_impossible_permit_is_refused(values):
    with pytest.raises(PermitError):
        make_permit(**{"issued_at_s": 1000, "valid_until_s": 5000, "period": 1, **values})


def test_a_bundle_is_believed_only_as_a_meter_would():
    frame = make_permit(issued_at_s=1000, valid_until_s=5000, period=1)
    keys = indexed([dev_key(3), dev_key(1)], PUBLIC)
    assert list(keys) == [0, 2]
    bundle = sign_frame(DOMAIN, frame, keys)
    assert check_bundle(DOMAIN, bundle, PUBLIC, 2) == wire.parse(frame)
    for place in range(len(bundle)):
        for bit in range(8):
            bad = bytearray(bundle)
            bad[place] ^= 1 << bit
            with pytest.raises(PermitError):
                check_bundle(DOMAIN, bytes(bad), PUBLIC, 2)
    with pytest.raises(PermitError, match="2 of 3"):
        check_bundle(DOMAIN, bundle, PUBLIC, 3)
    with pytest.raises(PermitError, match="does not verify"):
        check_bundle(bytes(32), bundle, PUBLIC, 2)
    signed = wire.parse_bundle(bundle).signatures
    twice = frame + 2 * (bytes([0]) + signed[0][1])
    with pytest.raises(PermitError, match="rise"):
        check_bundle(DOMAIN, twice, PUBLIC, 2)


def test_a_key_that_is_no_signers_is_named():
    with pytest.raises(PermitError, match=dev_key(9).address):
        indexed([dev_key(9)], PUBLIC)


def test_flags_are_words():
    assert parse_flags("") == 0
    assert parse_flags("protected, commissioning") == 5
    with pytest.raises(PermitError, match="there are protected"):
        parse_flags("free")


# signer.py


def test_a_paid_bill_becomes_a_permit(world, store):
    house = paid(world)
    final(world)
    progress = one(world, store, 1, 2).step()
    assert (progress.signed, progress.claimed, progress.waiting) == (2, 1, 0)
    [log] = published(world, house)
    bundle = log["frame"] + log["signatures"]
    permit = check_bundle(world.deployment.permit_domain(house.address), bundle, PUBLIC, 2)
    periods, period = world.deployment.periods, log["period"]
    assert permit.period == period == periods.of(world.clock.time_s)
    start = periods.start(period + 1)
    assert permit.valid_until_s >= start + world.deployment.payment_window_s
    assert permit.power_limit_dw == 50_000
    assert permit.serial == permit.issued_at_s
    [paid_] = world.chain.logs(world.ledgers.payment.events.Paid, 0, meter=house.address)
    assert paid_["args"]["serial"] == permit.serial


def test_nothing_is_signed_before_the_payment_is_final(world, store):
    house = paid(world)
    signers = one(world, store, 1, 2)
    assert signers.step().signed == 0
    world.node.mine()
    assert signers.step().signed == 0
    assert store.signed(b"permit" + bytes.fromhex(house.address[2:])) == []
    world.node.mine()
    assert signers.step().claimed == 1


def test_a_payment_that_a_reorganisation_took_back_buys_nothing(world, store):
    house = world.enrol(1001)
    world.close_period()
    due = world.owe(house)
    before = world.chain.head()
    world.pay(house)
    signers = one(world, store, 1, 2)
    signers.step()
    world.node.rewind(before)
    final(world)
    world.node.mine(3)
    assert signers.step().signed == 0
    assert published(world, house) == []
    assert world.chain.call(world.ledgers.payment.functions.account(house.address)).due == due


def test_two_signers_meet_in_the_store(world, store):
    house = paid(world)
    final(world)
    first, second = one(world, store, 1), one(world, store, 3)
    assert first.step().waiting == 1
    assert published(world, house) == []
    assert second.step().claimed == 1
    assert first.step().waiting == 0
    assert len(published(world, house)) == 1
    digests = {row.digest for row in store.signed(b"permit" + bytes.fromhex(house.address[2:]))}
    assert len(digests) == 1, "every signer makes the same bytes"


def test_signers_race_safely(world, store):
    houses = [world.enrol(1001 + n) for n in range(4)]
    world.close_period()
    for house in houses:
        world.pay(house)
    final(world)
    stop, failures = threading.Event(), []

    def work(number):
        signers = one(world, store, number)
        while not stop.is_set():
            try:
                signers.step()
            except ChainError as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in SIGNERS]
    for thread in threads:
        thread.start()
    waited = threading.Event()
    for _ in range(300):
        if all(published(world, house) for house in houses):
            break
        waited.wait(0.1)
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    assert failures == []
    assert [len(published(world, house)) for house in houses] == [1, 1, 1, 1]


def three_paid(world: Utility) -> list[Key]:
    houses = [world.enrol(1001 + n) for n in range(3)]
    world.close_period()
    for house in houses:
        world.pay(house)
    final(world)
    return houses


def test_what_is_ready_together_is_claimed_in_one_transaction(world, store):
    houses = three_paid(world)
    before = world.chain.head()
    progress = one(world, store, 1, 2).step()
    assert (progress.claimed, progress.waiting, progress.failure) == (3, 0, "")
    assert world.chain.head() == before + 1
    assert [len(published(world, house)) for house in houses] == [1, 1, 1]


def test_a_claim_that_is_refused_keeps_no_other(world, store, monkeypatch):
    houses = three_paid(world)
    signers = one(world, store, 1, 2)
    serve = signers._serve

    def spoil(chain, ledgers, lock, progress):
        claims = serve(chain, ledgers, lock, progress)
        if lock.meter != houses[1].address:
            return claims
        return [(*claims[0][:3], claims[0][3][:-1] + b"?")]

    monkeypatch.setattr(signers, "_serve", spoil)
    progress = signers.step()
    assert (progress.claimed, progress.waiting) == (2, 1)
    assert progress.failure.startswith(houses[1].address)
    assert [len(published(world, house)) for house in houses] == [1, 0, 1]
    monkeypatch.undo()
    progress = one(world, store, 1, 2).step()
    assert progress.claimed == 0  # it was ready before: the other signer's turn comes first
    monkeypatch.setattr(signer, "CLAIM_WAIT_S", 0)
    assert one(world, store, 1, 2).step().claimed == 1


def test_who_did_not_complete_it_claims_when_the_other_is_gone(world, store, monkeypatch):
    house = paid(world)
    final(world)
    first, second = one(world, store, 1), one(world, store, 2)
    first.step()
    with monkeypatch.context() as broken:
        broken.setattr(Chain, "send", _fail)
        with pytest.raises(ChainError, match="gone"):
            second.step()
    assert first.step().claimed == 0
    monkeypatch.setattr(signer, "CLAIM_WAIT_S", 0.0)
    assert first.step().claimed == 1
    assert len(published(world, house)) == 1


def _fail(*_args, **_kwargs):
    raise ChainError("gone")


def test_a_restarted_signer_finds_what_is_open(world, store):
    house = paid(world)
    final(world)
    assert one(world, store, 1).step().waiting == 1
    world.node.mine(5)
    assert one(world, store, 1).step().waiting == 1
    assert one(world, store, 2).step().claimed == 1
    final(world)
    again = one(world, store, 1, 2)
    assert again.step().waiting == 0
    assert (
        store.cursor(f"permits {world.deployment.payment_ledger}") or 0
    ) > world.chain.head() - 3
    assert len(published(world, house)) == 1


def test_signatures_that_do_not_verify_are_left_out(world, store):
    house = paid(world)
    final(world)
    first = one(world, store, 1)
    first.step()
    [row] = store.signed(b"permit" + bytes.fromhex(house.address[2:]))
    with store.transaction() as writer:
        forged = dev_key(2).sign(bytes(32))
        writer.add_signature(row.scope, row.frame, row.digest, 1, forged, 0)
        writer.add_signature(row.scope, row.frame, row.digest, 7, forged, 0)
    assert first.step().waiting == 1
    assert published(world, house) == []
    assert one(world, store, 2).step().claimed == 1


def test_a_payment_whose_window_passed_is_left_to_the_refund(world, store):
    house = paid(world)
    world.clock.time_s += 2 * DAY_S
    final(world)
    progress = one(world, store, 1, 2).step()
    assert (progress.signed, progress.claimed) == (0, 0)
    assert "refund" in progress.failure
    functions = world.ledgers.payment.functions
    world.chain.send(functions.refund(1001))
    final(world)
    assert one(world, store, 1, 2).step().waiting == 0
    assert published(world, house) == []


def test_a_meter_replaced_after_the_payment_gets_its_own_permit(world, store):
    house = paid(world)
    new = Key((2002).to_bytes(32, "big"))
    world.chain.send(world.ledgers.registry.functions.replace(house.address, new.address, 0))
    final(world)
    assert one(world, store, 1, 2).step().claimed == 1
    [log] = published(world, new)
    domain = world.deployment.permit_domain(new.address)
    check_bundle(domain, log["frame"] + log["signatures"], PUBLIC, 2)


def test_a_second_payment_gets_a_higher_serial(world, store):
    house = paid(world)
    final(world)
    signers = one(world, store, 1, 2)
    signers.step()
    world.close_period()
    world.pay(house)
    final(world)
    assert signers.step().claimed == 1
    first, second = published(world, house)
    assert second["serial"] > first["serial"]
    assert second["period"] == first["period"] + 1


def test_another_ledgers_signer_is_refused(world, store):
    with pytest.raises(PermitError, match="no permit signer"):
        one(world, store, 9)


# time


class Broker:
    def __init__(self):
        self.payloads = []

    def publish(self, payload):
        self.payloads.append(payload)


def test_signers_publish_each_instant_once(world, store):
    broker = Broker()
    now = [world.clock.time_s]

    def made(*numbers):
        keys = [dev_key(n) for n in numbers]
        return TimeSigner(world.deployment, store, keys, lambda: now[0], 900, broker.publish)

    first, second, third = made(1), made(2), made(3)
    for _ in range(3):
        now[0] += 900
        steps = [first.step(), second.step(), first.step(), third.step()]
        assert [step.times for step in steps] == [0, 1, 0, 0]
        assert first.step().times == second.step().times == 0
    frames = []
    for payload in broker.payloads:
        kind, bundle = wire.parse_message(payload)
        assert kind == wire.MESSAGE_BUNDLE
        frames.append(check_bundle(world.deployment.time_domain, bundle, PUBLIC, 2))
    assert len(frames) == 3
    instants = [frame.issued_at_s for frame in frames]
    assert sorted(set(instants)) == [now[0] // 900 * 900 - back for back in (1800, 900, 0)]
    assert all(frame.serial == frame.issued_at_s for frame in frames)


def test_one_signer_of_two_publishes_no_time(world, store):
    broker = Broker()
    keys = [dev_key(1)]
    alone = TimeSigner(world.deployment, store, keys, world.clock.now, 900, broker.publish)
    assert alone.step().times == 0
    assert broker.payloads == []


# the command


@pytest.fixture
def files(world, tmp_path):
    del world  # which saves the file
    return tmp_path / "deployment.json", tmp_path / "permit.bundle"


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_the_command_issues_cosigns_and_shows(world, files, capsys):
    deployment, bundle = files
    house = world.enrol(1001)
    common = ("--deployment", deployment, "--meter", house.address)
    more = ("--valid-until", "+2d", "--flags", "commissioning", "--key", "dev:1", "--out", bundle)
    code, out, _ = run(capsys, "permits", "issue", *common, *more)
    assert (code, "1 of 2 signatures" in out) == (0, True)
    code, out, _ = run(capsys, "permits", "show", bundle, *common, "--json")
    shown = json.loads(out)
    assert (shown["believed"], shown["signed_by"], shown["flags"]) == (False, [0], 4)
    code, out, _ = run(capsys, "permits", "sign", bundle, *common, "--key", "dev:3")
    assert (code, "2 of 2 signatures" in out) == (0, True)
    code, out, _ = run(capsys, "permits", "show", bundle, *common, "--json")
    assert json.loads(out)["believed"] is True
    domain = world.deployment.permit_domain(house.address)
    check_bundle(domain, bundle.read_bytes(), PUBLIC, 2)


def test_the_number_of_a_point_stands_for_its_meter(world, files, capsys):
    deployment, bundle = files
    house = world.enrol(1001)
    common = ("--deployment", deployment, "--number", "1001")
    more = ("--valid-until", "+2d", "--key", "dev:1", "--out", bundle)
    assert run(capsys, "permits", "issue", *common, *more)[0] == 0
    assert run(capsys, "permits", "sign", bundle, *common, "--key", "dev:3")[0] == 0
    check_bundle(world.deployment.permit_domain(house.address), bundle.read_bytes(), PUBLIC, 2)
    shown = json.loads(run(capsys, "permits", "show", bundle, *common, "--json")[1])
    assert shown["believed"] is True
    out = run(capsys, "permits", "show", bundle, *common)[1]
    assert world.deployment.periods.text(shown["period"]) in out
    for command in (("issue", *more), ("sign", bundle, "--key", "dev:3"), ("show", bundle)):
        code, _, err = run(capsys, "permits", *command, *common, "--meter", house.address)
        assert (code, "one of them" in err) == (1, True)
    code, _, err = run(capsys, "permits", "issue", *common, *more, "--offline")
    assert (code, "give --meter with --offline" in err) == (1, True)


def test_the_command_publishes_an_act_of_grace(world, files, capsys):
    deployment, bundle = files
    house = world.enrol(1001)
    common = ("permits", "issue", "--deployment", deployment, "--meter", house.address)
    more = ("--key", "dev:1", "--key", "dev:2", "--out", bundle, "--publish")
    assert run(capsys, *common, "--valid-until", "+2d", *more)[0] == 0
    [log] = published(world, house)
    assert log["frame"] + log["signatures"] == bundle.read_bytes()
    assert run(capsys, *common, "--valid-until", "+3d", *more)[0] == 0
    first, second = published(world, house)
    assert second["serial"] > first["serial"], "the last serial is asked of the chain"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--meter", "0x12"), "40 hex digits"),
        (("--valid-until", "tomorrow"), "like 2026-12-31"),
        (("--valid-until", "1000"), "must end after"),
        (("--flags", "free"), "unknown"),
        (("--key", "dev:9"), "no permit signer"),
        (("--no-cut-hours", "9"), "two hours"),
        (("--no-cut-hours", "9-24"), "no such permit"),
    ],
)
def test_the_command_says_what_to_write(world, files, capsys, arguments, words):
    deployment, bundle = files
    house = world.enrol(1001)
    code, _, err = run(
        capsys,
        *("permits", "issue", "--deployment", deployment, "--meter", house.address),
        *("--valid-until", "+2d", "--key", "dev:1", "--out", bundle, *arguments),
    )
    assert (code, len(err.strip().splitlines())) == (1, 1)
    assert words in err
    assert not bundle.exists()


def test_the_command_serves_once(world, files, capsys):
    deployment, _ = files
    house = paid(world)
    final(world)
    arguments = ("--key", "dev:1", "--key", "dev:2", "--time-step", "0", "--once", "--json")
    code, out, _ = run(capsys, "permits", "run", "--deployment", deployment, *arguments)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["claimed"] == 1
    assert len(published(world, house)) == 1


def test_a_broker_that_is_not_there_is_named(files, capsys, monkeypatch):
    deployment, _ = files
    monkeypatch.setattr("parwana.permits.publisher.PUBLISH_S", 0.5)
    arguments = ("--key", "dev:1", "--key", "dev:2", "--once")
    code, _, err = run(capsys, "permits", "run", "--deployment", deployment, *arguments)
    assert (code, "is it running?" in err) == (1, True)
