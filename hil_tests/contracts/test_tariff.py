"""PaymentLedger: announce_tariff, tariff, and the constructor."""

from typing import Any

import pytest
from eth._utils.address import force_bytes_to_address
from eth.vm.forks.prague.computation import PragueComputation

from hil_tests.contracts.evm import ZERO, Reverted
from hil_tests.contracts.world import (
    DAY_S,
    ESCROW_WINDOW_S,
    FIXED,
    OPEN,
    OTHER,
    PAYMENT_WINDOW_S,
    ROTATION_DELAY_S,
    SLABS,
    THRESHOLD,
    UTILITY,
    World,
    address,
)


def slabs_of(tariff: Any) -> list[tuple[int, int]]:
    return [(slab.upto_wh, slab.price_per_kwh) for slab in tariff.slabs]


def test_the_first_tariff(world: World) -> None:
    assert world.payment.tariff_count() == 1
    tariff = world.payment.tariff(0)
    assert (tariff.from_period, slabs_of(tariff), tariff.fixed_charge) == (0, SLABS, FIXED)
    with pytest.raises(Reverted, match="no such tariff"):
        world.payment.tariff(1)


def test_announce(world: World) -> None:
    six = [(i + 1, 2**96 - 1 - i) for i in range(5)] + [(OPEN, 0)]
    now = world.period
    event = world.payment.announce_tariff(now + 1, six, 2**96 - 1, sender=UTILITY).event(
        "TariffAnnounced"
    )
    assert (event.index, event.from_period, event.fixed_charge) == (1, now + 1, 2**96 - 1)
    assert [(slab.upto_wh, slab.price_per_kwh) for slab in event.slabs] == six
    tariff = world.payment.tariff(1)
    assert (tariff.from_period, slabs_of(tariff)) == (now + 1, six)
    assert tariff.fixed_charge == 2**96 - 1
    world.payment.announce_tariff(now + 5, SLABS, 0, sender=UTILITY)
    assert slabs_of(world.payment.tariff(1)) == six
    assert world.payment.tariff_count() == 3


def test_announce_refuses(world: World) -> None:
    now = world.period
    world.payment.announce_tariff(now + 3, SLABS, 0, sender=UTILITY)
    for sender, from_period, slabs, reason in (
        (OTHER, now + 9, SLABS, "not the utility"),
        (UTILITY, now, SLABS, "notice too short"),
        (UTILITY, now + 3, SLABS, "not after the last tariff"),
        (UTILITY, now + 2, SLABS, "not after the last tariff"),
        (UTILITY, 2**32, SLABS, "no such period"),
        (UTILITY, now + 9, [], "no slab"),
        (UTILITY, now + 9, [(5, 1)], "last slab not open"),
        (UTILITY, now + 9, [(5, 1), (5, 2), (OPEN, 3)], "slabs not rising"),
        (UTILITY, now + 9, [(0, 1), (OPEN, 3)], "slabs not rising"),
        (UTILITY, now + 9, [(OPEN, 1), (OPEN, 3)], "slabs not rising"),
    ):
        with pytest.raises(Reverted, match=reason):
            world.payment.announce_tariff(from_period, slabs, 0, sender=sender)
    assert world.payment.tariff_count() == 2


def test_notice_of_several_periods(world: World) -> None:
    ledger = world.deploy("PaymentLedger", *world.payment_arguments(notice_periods=3))
    with pytest.raises(Reverted, match="notice too short"):
        ledger.announce_tariff(world.period + 2, SLABS, 0, sender=UTILITY)
    ledger.announce_tariff(world.period + 3, SLABS, 0, sender=UTILITY)


def test_what_is_read_back(world: World) -> None:
    ledger = world.payment
    assert ledger.registry() == world.registry.address
    assert ledger.energy_ledger() == world.energy.address
    assert (ledger.token(), ledger.utility(), ledger.offered()) == (ZERO, UTILITY, ZERO)
    assert ledger.payment_window_s() == PAYMENT_WINDOW_S
    assert ledger.escrow_window_s() == ESCROW_WINDOW_S
    assert ledger.rotation_delay_s() == ROTATION_DELAY_S
    assert (ledger.notice_periods(), ledger.threshold(), ledger.signer_count()) == (
        1,
        THRESHOLD,
        3,
    )
    assert [ledger.signers(i) for i in range(3)] == [s.address for s in world.signers]
    assert ledger.signers(3) == ZERO


@pytest.mark.parametrize("days", [1, 366])
def test_the_narrowest_and_the_widest_windows(world: World, days: int) -> None:
    windows = ("payment_window_s", "escrow_window_s", "rotation_delay_s")
    same = dict.fromkeys(windows, days * DAY_S)
    ledger = world.deploy("PaymentLedger", *world.payment_arguments(**same))
    assert [getattr(ledger, window)() for window in windows] == [days * DAY_S] * 3


NOBODY = "0x" + "11" * 20
A, B = address("a"), address("b")


@pytest.mark.parametrize("name", ["EnergyLedger", "PaymentLedger"])
def test_a_chain_without_sha256_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Some chains lack the precompile; a call to it then returns its input, or nothing."""
    arguments = world.payment_arguments()
    if name == "EnergyLedger":
        arguments = [world.registry.address, "utility", 0, 0, 0, 0]
    world.deploy(name, *arguments)
    precompiles = dict(PragueComputation._precompiles)
    for broken in (precompiles[force_bytes_to_address(b"\x04")], None):
        changed = dict(precompiles)
        if broken:
            changed[force_bytes_to_address(b"\x02")] = broken
        else:
            del changed[force_bytes_to_address(b"\x02")]
        monkeypatch.setattr(PragueComputation, "_precompiles", changed)
        with pytest.raises(Reverted, match="no sha256 precompile"):
            world.deploy(name, *arguments)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"registry": NOBODY}, "registry is no contract"),
        ({"energy_ledger": NOBODY}, "energy ledger is no contract"),
        ({"token": NOBODY}, "token is no contract"),
        ({"utility": ZERO}, "utility is zero"),
        ({"escrow_window_s": 0}, "escrow window is zero"),
        ({"payment_window_s": 366 * DAY_S + 1}, "payment window above 366 days"),
        ({"payment_window_s": ESCROW_WINDOW_S - 1}, "escrow above payment window"),
        ({"rotation_delay_s": ESCROW_WINDOW_S - 1}, "rotation below escrow window"),
        ({"rotation_delay_s": 366 * DAY_S + 1}, "rotation above 366 days"),
        ({"notice_periods": 0}, "notice not 1 to 366"),
        ({"notice_periods": 367}, "notice not 1 to 366"),
        ({"threshold": 0}, "threshold not 1 to n"),
        ({"threshold": 4}, "threshold not 1 to n"),
        ({"signers": [A, B, A]}, "signer twice"),
        ({"signers": [A, ZERO]}, "signer is zero"),
        ({"signers": []}, "threshold not 1 to n"),
        ({"slabs": []}, "no slab"),
        ({"slabs": [(5, 1)]}, "last slab not open"),
    ],
)
def test_constructor_refuses(world: World, changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reverted, match=reason):
        world.deploy("PaymentLedger", *world.payment_arguments(**changed))
