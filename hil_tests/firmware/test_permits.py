"""Test permits: what is believed, what it grants, and what survives a restart."""

import permits

import wire
from hil_tests.firmware.check import MICROPYTHON, raises
from hil_tests.firmware.signers import (
    CHAIN_ID,
    DAY_S,
    LEDGER,
    METER,
    PUBLIC_KEYS,
    SPARE,
    T0,
    Flash,
    bundle,
    domain,
    permit,
    trusting,
)


def refusal(holder, data, not_before_s=T0, energy_wh=0):
    """Return the Refused that a bundle meets, None when it is accepted.

    A refusal must change nothing, neither in memory nor on flash.
    """
    before = holder.grant(not_before_s, energy_wh)
    known = (holder.serial, holder.trust_serial, holder.signed_s)
    writes = holder.flash.writes
    try:
        holder.accept(data, not_before_s, energy_wh)
    except permits.Refused as refused:
        found = refused
    else:
        return None
    assert (holder.serial, holder.trust_serial, holder.signed_s) == known
    assert holder.flash.writes == writes
    assert holder.grant(not_before_s, energy_wh) == before
    return found


def reason(holder, data, not_before_s=T0, energy_wh=0):
    """Return the reason for which a bundle is refused, None when it is accepted."""
    found = refusal(holder, data, not_before_s, energy_wh)
    return found and found.reason


def fresh(**options):
    flash = Flash()
    holder = trusting(flash, **options)
    holder.flash = flash
    return holder


def restarted(holder, **options):
    again = trusting(holder.flash, **options)
    again.flash = holder.flash
    return again


def give(holder, serial, signers=(0, 2), **terms):
    return holder.accept(bundle(permit(serial, **terms), signers), T0, 0)


# What is believed


def test_valid_permit_is_accepted():
    holder = fresh()
    assert holder.grant(T0, 0) == permits.Grant(False, wire.REASON_NO_PERMIT, 0, 0, 0, False)
    assert (holder.serial, holder.trust_serial, holder.signed_s) == (0, 0, 0)
    frame = permit(7, power_limit_dw=50000, grace_days=2)
    assert holder.accept(bundle(frame), T0, 0) == wire.parse(frame)
    assert holder.serial == 7
    assert holder.grant(T0, 0) == permits.Grant(True, 0, 7, T0 + 32 * DAY_S, 50000, False)


def test_more_signers_than_needed_are_welcome():
    assert reason(fresh(), bundle(permit(1), (0, 1, 2, 3))) is None


def flips(data, step):
    """Yield copies of `data` with one bit flipped each, every `step`-th bit."""
    for bit in range(0, 8 * len(data), step):
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        yield bytes(flipped)


def test_every_flipped_bit_is_refused():
    step = 37 if MICROPYTHON else 1
    data = bundle(permit(7, power_limit_dw=50000, energy_limit_wh=10**6, grace_days=2))
    holder = fresh()
    tried = 0
    for flipped in flips(data, step):
        assert reason(holder, flipped) is not None, tried
        tried += 1
    assert tried >= 8 * len(data) // step
    assert reason(holder, data) is None


def test_every_flipped_bit_of_a_trust_change_is_refused():
    step = 97 if MICROPYTHON else 11
    holder = fresh()
    for data in (signer_change(5, 1), bundle(wire.pack_ledger(5, T0, 1, bytes(20)))):
        for flipped in flips(data, step):
            assert reason(holder, flipped) is not None
        assert reason(holder, data) is None
        holder = fresh()


def test_parity_bit_of_a_signature_counts():
    data = bytearray(bundle(permit(1)))
    data[40 + 1 + 32] ^= 0x80
    assert reason(fresh(), bytes(data)) == wire.REFUSED_SIGNATURE


def test_malformed_is_refused():
    good = bundle(permit(1))
    one = bundle(permit(1), (0,))
    for bad in (b"", b"\x01", good[:40], good[:-1], good + b"\0", good[1:], b"\x02" + good[1:]):
        assert reason(fresh(), bad) == wire.REFUSED_MALFORMED
    assert reason(fresh(), good[:1] + b"\x08" + good[2:]) == wire.REFUSED_MALFORMED
    assert reason(fresh(), one + one[40:] * 8) == wire.REFUSED_MALFORMED  # nine signatures


def test_frames_of_meters_are_refused():
    reading = wire.pack_reading(0, 1, T0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    event = wire.pack_event(1, 1, T0, 0)
    for frame in (reading, event):
        assert reason(fresh(), bundle(frame)) == wire.REFUSED_KIND


def offered(signers=(0, 2), under=None, serial=7, ledger=LEDGER):
    frame = wire.pack_update(180, serial, 5 << 24 | 2, bytes(range(28)))
    return bundle(frame, signers, under or wire.update_domain(CHAIN_ID, ledger))


def test_an_update_is_checked_before_its_signatures_and_changes_nothing_here():
    seen = []
    holder = fresh(update=seen.append)
    frame = holder.accept(offered(), T0, 0)
    assert frame == wire.parse(offered()[:40])
    assert seen == [frame]
    assert holder.flash.writes == 0
    assert (holder.serial, holder.trust_serial, holder.signed_s) == (0, 0, 0)
    for under in (domain(), wire.time_domain(CHAIN_ID, LEDGER)):
        assert reason(holder, offered(under=under)) == wire.REFUSED_SIGNATURE
    assert reason(holder, offered((0,))) == wire.REFUSED_TOO_FEW
    assert reason(holder, offered((1, 1))) == wire.REFUSED_INDEX
    assert len(seen) == 5

    def refuse(offer):
        raise permits.Refused(wire.REFUSED_VERSION, offer.serial)

    holder = fresh(update=refuse)
    assert reason(holder, offered((0,))) == wire.REFUSED_VERSION
    assert reason(fresh(), offered()) == wire.REFUSED_KIND


def test_an_update_is_bound_to_the_ledger_that_the_meter_went_over_to():
    holder = fresh(update=bool)
    other = bytes(range(50, 70))
    assert reason(holder, bundle(wire.pack_ledger(5, T0, CHAIN_ID, other))) is None
    assert reason(holder, offered()) == wire.REFUSED_SIGNATURE
    assert reason(holder, offered(ledger=other)) is None


def test_every_flipped_bit_of_an_update_is_refused():
    step = 97 if MICROPYTHON else 11
    holder = fresh(update=bool)
    for flipped in flips(offered(), step):
        assert reason(holder, flipped) is not None
    assert reason(holder, offered()) is None


def test_too_few_signers():
    assert reason(fresh(), bundle(permit(1), (1,))) == wire.REFUSED_TOO_FEW
    assert reason(fresh(threshold=3), bundle(permit(1), (1, 2))) == wire.REFUSED_TOO_FEW


def test_one_signer_twice():
    frame = permit(1)
    assert reason(fresh(), bundle(frame, (1, 1))) == wire.REFUSED_INDEX
    assert reason(fresh(), bundle(frame, (1, 1), indices=(1, 2))) == wire.REFUSED_SIGNATURE


def test_signers_out_of_order_or_unknown():
    frame = permit(1)
    assert reason(fresh(), bundle(frame, (2, 0))) == wire.REFUSED_INDEX
    assert reason(fresh(), bundle(frame, (0, SPARE))) == wire.REFUSED_INDEX
    assert reason(fresh(), bundle(frame, (0, 1), indices=(0, 255))) == wire.REFUSED_INDEX
    assert reason(fresh(), bundle(frame, (0, SPARE), indices=(0, 1))) == wire.REFUSED_SIGNATURE


def test_every_signature_given_must_verify():
    assert (
        reason(fresh(), bundle(permit(1), (0, 1, SPARE), indices=(0, 1, 2)))
        == wire.REFUSED_SIGNATURE
    )


def test_other_meters_chains_and_ledgers():
    frame = permit(1)
    for under in (
        domain(meter=bytes(20)),
        domain(chain_id=CHAIN_ID + 1),
        domain(ledger=METER),
        wire.time_domain(CHAIN_ID, LEDGER),
        wire.reading_domain("demo"),
    ):
        assert reason(fresh(), bundle(frame, under=under)) == wire.REFUSED_SIGNATURE


def test_serial_must_rise():
    holder = fresh()
    older = bundle(permit(6))
    last = bundle(permit(7))
    assert reason(holder, last) is None
    assert reason(holder, older) == wire.REFUSED_SERIAL
    assert reason(holder, bundle(permit(7, days=31))) == wire.REFUSED_SERIAL
    assert reason(holder, last) == wire.REFUSED_SERIAL
    assert reason(restarted(holder), last) == wire.REFUSED_SERIAL


def test_what_brokers_repeat_is_told_apart():
    holder = fresh()
    first = bundle(permit(7))
    second = bundle(permit(8))
    holder.accept(first, T0, 0)
    holder.accept(second, T0, 0)
    assert not refusal(holder, first).repeat
    assert refusal(holder, second).repeat
    assert refusal(holder, first).serial == 7
    assert "reason 5" in str(refusal(holder, first))


def test_expired_already():
    frame = permit(1, days=10, grace_days=2)
    end_s = T0 + 12 * DAY_S
    assert reason(fresh(), bundle(frame), end_s + 1) == wire.REFUSED_EXPIRED
    assert reason(fresh(), bundle(frame), end_s) is None
    used_up = bundle(permit(1, energy_limit_wh=500))
    assert reason(fresh(), used_up, T0, 500) == wire.REFUSED_EXPIRED
    assert reason(fresh(), used_up, T0, 499) is None
    before_its_issue = bundle(permit(1, valid_until_s=T0 - 1))
    assert reason(fresh(), before_its_issue, 0) == wire.REFUSED_EXPIRED


def test_a_refused_permit_does_not_spend_its_serial():
    holder = fresh()
    assert reason(holder, bundle(permit(9, days=1)), T0 + 2 * DAY_S) == wire.REFUSED_EXPIRED
    assert reason(holder, bundle(permit(9, days=3)), T0 + 2 * DAY_S) is None


def test_time_frames():
    holder = fresh()
    frame = wire.pack_time(5, T0)
    assert holder.accept(bundle(frame), 0, 0) == wire.Time(5, T0)
    assert reason(holder, bundle(frame)) == wire.REFUSED_SERIAL
    assert reason(holder, bundle(wire.pack_time(4, T0 + 9))) == wire.REFUSED_SERIAL
    assert holder.accept(bundle(wire.pack_time(6, T0 + 9)), 0, 0) == wire.Time(6, T0 + 9)
    assert reason(holder, bundle(wire.pack_time(7, T0), under=domain())) == wire.REFUSED_SIGNATURE
    assert reason(holder, bundle(wire.pack_time(7, T0), (1,))) == wire.REFUSED_TOO_FEW
    assert holder.flash.writes == 0


# Whom it trusts


def signer_change(serial, index, signers=(0, 2), key=PUBLIC_KEYS[SPARE], prefix_of=None):
    prefix = wire.key_prefix(key if prefix_of is None else prefix_of)
    return bundle(wire.pack_signer(index, serial, T0, prefix), signers, public_key=key)


def test_signer_is_replaced():
    holder = fresh()
    assert reason(holder, signer_change(1, 1)) is None
    assert holder.trust_serial == 1
    for _ in range(2):
        assert reason(holder, bundle(permit(1), (0, 1))) == wire.REFUSED_SIGNATURE
        holder = restarted(holder)
    assert reason(holder, bundle(permit(1), (0, SPARE), indices=(0, 1))) is None


def test_signer_change_refusals():
    holder = fresh()
    assert reason(holder, signer_change(1, 1, (0,))) == wire.REFUSED_TOO_FEW
    for index in (4, 7):
        assert reason(holder, signer_change(1, index)) == wire.REFUSED_INDEX
    assert reason(holder, signer_change(1, 1, key=PUBLIC_KEYS[0])) == wire.REFUSED_INDEX
    assert reason(holder, signer_change(1, 1, prefix_of=METER * 3 + b"1234")) == (
        wire.REFUSED_KEY_PREFIX
    )
    in_the_ledger = wire.pack_signer(1, 1, T0, wire.key_prefix(PUBLIC_KEYS[SPARE]))
    assert (
        reason(
            holder,
            bundle(in_the_ledger, under=domain(meter=bytes(20)), public_key=PUBLIC_KEYS[SPARE]),
        )
        == wire.REFUSED_SIGNATURE
    )
    assert reason(holder, signer_change(3, 1)) is None
    assert reason(holder, signer_change(3, 3, (0, 2))) == wire.REFUSED_SERIAL
    assert reason(holder, signer_change(2, 3, (0, 2))) == wire.REFUSED_SERIAL


def test_ledger_is_replaced():
    holder = fresh()
    give(holder, 1)
    new = bytes(range(50, 70))
    assert reason(holder, bundle(wire.pack_ledger(1, T0, 99, new))) is None
    for _ in range(2):
        assert holder.grant(T0, 0).running  # the old ledger's permit stays
        assert reason(holder, bundle(permit(2))) == wire.REFUSED_SIGNATURE
        assert reason(holder, bundle(wire.pack_time(1, T0))) == wire.REFUSED_SIGNATURE
        holder = restarted(holder)
    assert reason(holder, bundle(permit(2), under=domain(99, new))) is None
    back = wire.pack_ledger(1, T0, CHAIN_ID, LEDGER)
    assert reason(holder, bundle(back, under=domain(99, new))) == wire.REFUSED_SERIAL


def test_new_configuration_brings_its_own_trust():
    holder = fresh()
    give(holder, 4)
    holder.accept(signer_change(1, 1), T0, 0)
    assert reason(restarted(holder), bundle(permit(5), (0, 1))) == wire.REFUSED_SIGNATURE
    paired = restarted(holder, signers=3)
    assert paired.grant(T0, 0).serial == 4
    assert reason(paired, bundle(permit(5), (0, 1))) is None


# What it grants


def test_better_permit_counts_at_once_worse_one_at_the_end():
    holder = fresh()
    give(holder, 1, days=30, power_limit_dw=20000)
    give(holder, 2, days=10, power_limit_dw=90000, flags=wire.PERMIT_BUTTON)
    now = holder.grant(T0, 0)
    assert now == permits.Grant(True, 0, 2, T0 + 30 * DAY_S, 90000, False)
    later = holder.grant(T0 + 10 * DAY_S + 1, 0)
    assert later == permits.Grant(True, 0, 1, T0 + 30 * DAY_S, 20000, False)
    give(holder, 3, days=40, power_limit_dw=10000, flags=wire.PERMIT_BUTTON)
    assert holder.grant(T0 + 20 * DAY_S, 0) == permits.Grant(
        True, 0, 3, T0 + 40 * DAY_S, 20000, False
    )
    assert holder.grant(T0 + 31 * DAY_S, 0) == permits.Grant(
        True, 0, 3, T0 + 40 * DAY_S, 10000, True
    )


def test_no_limit_is_the_greatest():
    holder = fresh()
    give(holder, 1, days=20)
    give(holder, 2, days=30, power_limit_dw=20000)
    assert holder.grant(T0, 0).power_limit_dw == 0
    assert holder.grant(T0 + 21 * DAY_S, 0).power_limit_dw == 20000


def test_end_is_remembered():
    holder = fresh()
    give(holder, 1, days=10)
    end_s = T0 + 10 * DAY_S
    assert holder.grant(end_s, 0).running
    assert holder.grant(end_s + 1, 0) == permits.Grant(False, wire.REASON_EXPIRED, 1, 0, 0, False)
    # A clock that lost its memory revives nothing, with a restart or without.
    assert not holder.grant(T0, 0).running
    assert restarted(holder).grant(T0, 0).reason == wire.REASON_EXPIRED


def test_longest_permit_fits_four_bytes():
    holder = fresh()
    give(holder, 1, valid_until_s=0xFFFFFFFF, grace_days=255)
    assert holder.grant(T0, 0).end_s == 0xFFFFFFFF
    assert holder.grant(0xFFFFFFFF, 0).running


def test_energy_limit():
    holder = fresh()
    give(holder, 1, energy_limit_wh=5000)
    assert holder.grant(T0, 4999).running
    assert holder.grant(T0, 5000).reason == wire.REASON_ENERGY_LIMIT
    assert not holder.grant(T0, 0).running


def test_no_cut_hours():
    # T0 is a local midnight; the permit ends at 21:00, hours 20 to 7 are free of cuts.
    holder = fresh()
    end_s = T0 + 21 * 3600
    give(holder, 1, valid_until_s=end_s, no_cut_from_h=20, no_cut_to_h=7)
    assert holder.grant(end_s + 1, 0).running
    assert holder.grant(T0 + 31 * 3600 - 1, 0).running
    assert holder.grant(T0 + 31 * 3600, 0).reason == wire.REASON_EXPIRED
    assert not holder.grant(T0 + 46 * 3600, 0).running  # nor does the next night revive it


def test_no_cut_hours_within_a_day():
    holder = fresh()
    end_s = T0 + 10 * 3600
    give(holder, 1, valid_until_s=end_s, no_cut_from_h=9, no_cut_to_h=15)
    assert holder.grant(T0 + 15 * 3600 - 1, 0).running
    assert not holder.grant(T0 + 15 * 3600, 0).running


def test_no_cut_weekdays():
    # T0 begins a Monday; the permit ends on Saturday, Saturday and Sunday are free of cuts.
    holder = fresh()
    give(holder, 1, valid_until_s=T0 + 5 * DAY_S + 60, no_cut_weekdays=0x60)
    assert holder.grant(T0 + 5 * DAY_S + 61, 0).running
    assert holder.grant(T0 + 7 * DAY_S - 1, 0).running
    assert not holder.grant(T0 + 7 * DAY_S, 0).running


def test_no_cut_weekday_holds_an_energy_limit():
    holder = fresh()
    give(holder, 1, energy_limit_wh=500, no_cut_weekdays=0x01)
    assert holder.grant(T0 + DAY_S - 1, 900).running
    assert holder.grant(T0 + DAY_S, 900).reason == wire.REASON_ENERGY_LIMIT


def test_protected_supply_outlives_its_permit_until_another_runs():
    holder = fresh()
    give(holder, 1, days=1, flags=wire.PERMIT_PROTECTED, power_limit_dw=30000)
    for days in (0, 2, 1000):
        granted = holder.grant(T0 + days * DAY_S, 0)
        assert granted.running
        assert granted.power_limit_dw == 30000
    holder = restarted(holder)
    holder.accept(bundle(permit(2, days=1010)), T0 + 1001 * DAY_S, 0)
    assert holder.grant(T0 + 1001 * DAY_S, 0).power_limit_dw == 0
    assert not holder.grant(T0 + 1011 * DAY_S, 0).running


def test_protection_lasts_as_long_as_its_permit_beside_another():
    holder = fresh()
    give(holder, 1, days=20, flags=wire.PERMIT_PROTECTED)
    give(holder, 2, days=5)
    assert holder.grant(T0 + 10 * DAY_S, 0).running
    assert holder.grant(T0 + 30 * DAY_S, 0).running  # the other ended first
    holder = fresh()
    give(holder, 1, days=20, flags=wire.PERMIT_PROTECTED)
    give(holder, 2, days=25)
    assert not holder.grant(T0 + 30 * DAY_S, 0).running  # the other took its place


def test_at_most_four_that_differ():
    holder = fresh()
    for i in range(4):
        give(holder, i + 1, days=30 - i, power_limit_dw=10000 * (i + 1))
    fifth = bundle(permit(5, days=20, power_limit_dw=90000))
    assert reason(holder, fifth) == wire.REFUSED_PENDING
    assert reason(holder, fifth, T0 + 28 * DAY_S) is not None  # it ended, too
    covering = bundle(permit(6, days=40))
    assert reason(holder, covering) is None  # grants all that the four do, and takes their place
    assert reason(holder, bundle(permit(7, days=50, power_limit_dw=10000))) is None


def test_monthly_permits_never_pile_up():
    holder = fresh()
    for month in range(12):
        not_before_s = T0 + month * 30 * DAY_S
        data = bundle(permit(month + 1, days=30 * month + 45, grace_days=5))
        holder.accept(data, not_before_s, 0)
        assert holder.grant(not_before_s, 0).serial == month + 1
        assert len(holder.flash.record) < 700


# What survives


def test_persisted_before_effect():
    holder = fresh()
    give(holder, 1, days=5)
    holder.flash.fails = True
    for data in (bundle(permit(2)), signer_change(1, 1)):
        with raises(OSError):
            holder.accept(data, T0, 0)
    assert holder.serial == 1
    assert holder.trust_serial == 0
    assert holder.grant(T0, 0).end_s == T0 + 5 * DAY_S
    with raises(OSError):
        holder.grant(T0 + 6 * DAY_S, 0)  # not even the end, until it is remembered
    holder.flash.fails = False
    assert reason(holder, bundle(permit(2))) is None


def test_restart_keeps_everything():
    holder = fresh()
    give(holder, 1, days=30, power_limit_dw=20000, grace_days=3)
    give(holder, 2, days=10, power_limit_dw=90000)
    holder.accept(signer_change(8, 3), T0, 0)
    again = restarted(holder)
    assert not again.lost
    assert again.grant(T0, 0) == holder.grant(T0, 0)
    assert (again.serial, again.trust_serial, again.signed_s) == (2, 8, T0)


def test_lost_record_changes_nothing_until_the_next_permit():
    holder = fresh()
    give(holder, 3)
    good = holder.flash.record
    for bad in (b"", good[:-1], good + b"\0", b"\x63" + good[1:]):
        holder.flash.record = bad
        again = restarted(holder)
        assert again.lost
        again.keep()
        again = restarted(again)
        assert not again.lost
        assert again.grant(T0, 0) == permits.Grant(False, 0, 0, 0, 0, False)
        assert reason(again, bundle(permit(4))) is None
        assert again.grant(T0, 0).running
