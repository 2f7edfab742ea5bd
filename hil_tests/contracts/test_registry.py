"""MeterRegistry: enrol, replace, retire, raise_load, the utility, and who was where when."""

import random

import pytest

from hil_tests.contracts.evm import ZERO, Reverted
from hil_tests.contracts.world import (
    HOUSE,
    LOAD_DW,
    OTHER,
    PLANT,
    START_S,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
    address,
)

A, B = address("meter a"), address("meter b")


def enrolment(**changed: object) -> tuple[object, ...]:
    fields = {"meter": A, "number": 7, "kind": HOUSE, "feeder": 0, "initial_wh": 5, "load": 300}
    assert not changed.keys() - fields.keys()
    return tuple({**fields, **changed}.values())


def test_enrol(world: World) -> None:
    result = world.registry.enrol(enrolment(), sender=UTILITY)
    event = result.event("Enrolled")
    assert (event.meter, event.number, event.feeder, event.kind) == (A, 7, 0, HOUSE)
    assert (event.initial_wh, event.sanctioned_load_dw) == (5, 300)
    meter = world.registry.meter(A)
    assert (meter.number, meter.kind, meter.feeder, meter.initial_wh) == (7, HOUSE, 0, 5)
    assert (meter.enrolled_at_s, meter.retired_at_s, meter.sanctioned_load_dw) == (START_S, 0, 300)
    assert meter.previous == ZERO
    assert world.registry.meter_of(7) == A
    assert world.registry.served_since(7) == START_S


def test_fields_do_not_touch(world: World) -> None:
    world.registry.enrol(enrolment(number=3, kind=PLANT, meter=B), sender=UTILITY)
    most = {"number": 2**48 - 1, "feeder": 3, "initial_wh": 2**64 - 1, "load": 2**32 - 1}
    world.registry.enrol(enrolment(**most), sender=UTILITY)
    meter = world.registry.meter(A)
    assert vars(meter) == {
        "number": 2**48 - 1,
        "kind": HOUSE,
        "feeder": 3,
        "enrolled_at_s": START_S,
        "retired_at_s": 0,
        "sanctioned_load_dw": 2**32 - 1,
        "initial_wh": 2**64 - 1,
        "previous": ZERO,
    }


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"meter": ZERO}, "meter is zero"),
        ({"number": 0}, "number is zero"),
        ({"kind": 0}, "kind not 1, 2 or 3"),
        ({"kind": 4}, "kind not 1, 2 or 3"),
        ({"load": 0}, "house without load"),
        ({"feeder": 99}, "no such feeder"),
        ({"feeder": 7}, "no such feeder"),
        ({"feeder": 21}, "feeder not above"),
        ({"kind": TRANSFORMER, "feeder": 20}, "feeder not above"),
        ({"feeder": 22}, "no such feeder"),
        ({"meter": B}, "meter enrolled before"),
        ({"number": 21}, "number used before"),
        ({"number": 22}, "number used before"),
    ],
)
def test_enrol_refuses(world: World, changed: dict[str, object], reason: str) -> None:
    world.enrol("transformer", 20, TRANSFORMER)
    world.registry.enrol(enrolment(meter=B, number=21), sender=UTILITY)
    world.registry.retire(world.enrol("retired", 22, TRANSFORMER).address, sender=UTILITY)
    with pytest.raises(Reverted, match=reason):
        world.registry.enrol(enrolment(**changed), sender=UTILITY)


def test_enrol_many_is_all_or_none(world: World) -> None:
    feeder = enrolment(number=1, kind=TRANSFORMER)
    with pytest.raises(Reverted, match="number used before"):
        world.registry.enrol_many([feeder, enrolment(meter=B, number=1)], sender=UTILITY)
    assert world.registry.meter(A).kind == 0
    world.registry.enrol_many([feeder, enrolment(meter=B, number=2, feeder=1)], sender=UTILITY)
    assert world.registry.children(1) == 1


def test_replace(world: World) -> None:
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    old = world.enrol("old", 2, HOUSE, 1, initial_wh=9)
    revision = world.registry.revision(1)
    world.evm.at(START_S + 5000)
    event = world.registry.replace(old.address, B, 1234, sender=UTILITY).event("Replaced")
    assert (event.old, event.new, event.number, event.initial_wh) == (old.address, B, 2, 1234)
    new, gone = world.registry.meter(B), world.registry.meter(old.address)
    assert (new.number, new.kind, new.feeder, new.initial_wh) == (2, HOUSE, 1, 1234)
    assert (new.enrolled_at_s, new.retired_at_s) == (START_S + 5000, 0)
    assert (new.sanctioned_load_dw, new.previous) == (LOAD_DW, old.address)
    assert (gone.retired_at_s, gone.initial_wh, gone.enrolled_at_s) == (START_S + 5000, 9, START_S)
    assert world.registry.meter_of(2) == B
    assert world.registry.served_since(2) == START_S
    assert world.registry.children(1) == 1
    assert world.registry.revision(1) == revision + 1
    # a feeder's replacement keeps its children
    world.registry.replace(transformer.address, A, 0, sender=UTILITY)
    assert world.registry.children(1) == 1


def test_replace_refuses(world: World) -> None:
    old, other = world.enrol("old", 2), world.enrol("other", 3)
    for new, reason in ((ZERO, "meter is zero"), (other.address, "meter enrolled before")):
        with pytest.raises(Reverted, match=reason):
            world.registry.replace(old.address, new, 0, sender=UTILITY)
    with pytest.raises(Reverted, match="meter enrolled before"):
        world.registry.replace(old.address, old.address, 0, sender=UTILITY)
    with pytest.raises(Reverted, match="meter not enrolled"):
        world.registry.replace(A, B, 0, sender=UTILITY)
    world.registry.replace(old.address, A, 0, sender=UTILITY)
    with pytest.raises(Reverted, match="meter retired"):
        world.registry.replace(old.address, B, 0, sender=UTILITY)


def test_retire(world: World) -> None:
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    house = world.enrol("house", 2, HOUSE, 1)
    with pytest.raises(Reverted, match="feeder has children"):
        world.registry.retire(transformer.address, sender=UTILITY)
    event = world.registry.retire(house.address, sender=UTILITY).event("Retired")
    assert (event.meter, event.number, event.feeder) == (house.address, 2, 1)
    assert world.registry.children(1) == 0
    assert world.registry.revision(1) == 1
    with pytest.raises(Reverted, match="meter retired"):
        world.registry.retire(house.address, sender=UTILITY)
    with pytest.raises(Reverted, match="meter not enrolled"):
        world.registry.retire(A, sender=UTILITY)
    world.registry.retire(transformer.address, sender=UTILITY)
    assert world.registry.meter_of(2) == house.address


def test_raise_load(world: World) -> None:
    house = world.enrol("house", 2)
    before = vars(world.registry.meter(house.address))
    for load in (LOAD_DW, LOAD_DW - 1, 0):
        with pytest.raises(Reverted, match="load not raised"):
            world.registry.raise_load(house.address, load, sender=UTILITY)
    result = world.registry.raise_load(house.address, 2**32 - 1, sender=UTILITY)
    event = result.event("LoadRaised")
    assert (event.meter, event.sanctioned_load_dw) == (house.address, 2**32 - 1)
    after = vars(world.registry.meter(house.address))
    assert after == {**before, "sanctioned_load_dw": 2**32 - 1}


def test_only_the_utility(world: World) -> None:
    house = world.enrol("house", 2)
    registry = world.registry
    for call in (
        lambda: registry.enrol(enrolment(), sender=OTHER),
        lambda: registry.enrol_many([], sender=OTHER),
        lambda: registry.replace(house.address, B, 0, sender=OTHER),
        lambda: registry.retire(house.address, sender=OTHER),
        lambda: registry.raise_load(house.address, 2**32 - 1, sender=OTHER),
        lambda: registry.offer_utility(OTHER, sender=OTHER),
    ):
        with pytest.raises(Reverted, match="not the utility"):
            call()


@pytest.mark.parametrize("name", ["registry", "payment"])
def test_the_utility_passes_on_in_two_steps(world: World, name: str) -> None:
    contract = getattr(world, name)
    event = contract.offer_utility(OTHER, sender=UTILITY).event("UtilityOffered")
    assert (event.utility, event.offered) == (UTILITY, OTHER)
    assert (contract.utility(), contract.offered()) == (UTILITY, OTHER)
    with pytest.raises(Reverted, match="not offered to you"):
        contract.accept_utility(sender=UTILITY)
    contract.offer_utility(ZERO, sender=UTILITY)
    with pytest.raises(Reverted, match="not offered to you"):
        contract.accept_utility(sender=OTHER)
    contract.offer_utility(OTHER, sender=UTILITY)
    assert contract.accept_utility(sender=OTHER).event("UtilityChanged").utility == OTHER
    assert (contract.utility(), contract.offered()) == (OTHER, ZERO)
    with pytest.raises(Reverted, match="not the utility"):
        contract.offer_utility(UTILITY, sender=UTILITY)
    with pytest.raises(Reverted, match="not offered to you"):
        contract.accept_utility(sender=OTHER)


def test_a_registry_needs_a_utility(world: World) -> None:
    with pytest.raises(Reverted, match="utility is zero"):
        world.deploy("MeterRegistry", ZERO)


def test_children_at_any_time(world: World) -> None:
    """Compare with a list of what happened when, over many enrolments and retirements."""
    rng = random.Random(7)
    world.enrol("transformer", 1, TRANSFORMER)
    lives: list[list[int]] = []  # born, gone
    meters: list[Meter] = []
    time_s = START_S
    for number in range(100, 160):
        time_s += rng.choice([0, 1, 100, 900, 5000, 100_000])
        world.evm.at(time_s)
        if meters and rng.random() < 0.3:
            index = rng.randrange(len(meters))
            if lives[index][1] == 2**32:
                world.registry.retire(meters[index].address, sender=UTILITY)
                lives[index][1] = time_s
        meters.append(world.enrol(f"house {number}", number, HOUSE, 1))
        lives.append([time_s, 2**32])
    instants = {born // 900 * 900 + step for born, _ in lives for step in (-900, 0, 900)}
    for instant in sorted(instants | {0, time_s // 900 * 900 + 9_000_000}):
        expected = sum(born < instant <= gone for born, gone in lives)
        assert world.registry.children_at(1, instant) == expected
        assert world.registry.feeder_between(1, 0, instant) == (instant > START_S, False, expected)
    with pytest.raises(Reverted, match="time not a multiple of 900"):
        world.registry.children_at(1, 901)


def test_what_is_a_feeder_when(world: World) -> None:
    later = START_S // 900 * 900 + 1800
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    world.enrol("house", 2)
    world.evm.at(later)
    world.registry.retire(transformer.address, sender=UTILITY)
    world.evm.at(later + 10)
    plant = world.enrol("plant", 3, PLANT)
    world.registry.replace(plant.address, A, 0, sender=UTILITY)
    for number, instant, expected in (
        (1, later - 1800, False),
        (1, later, True),
        (1, later + 900, False),
        (2, later, False),
        (3, later, False),
        (3, later + 900, True),
        (4, later, False),
    ):
        assert world.registry.feeder_between(number, 0, instant) == (expected, False, 0)


def test_what_is_a_steady_feeder(world: World) -> None:
    """In service, with as many points at the start of a span as at its end."""
    start = START_S // 900 * 900 + 900
    world.enrol("transformer", 1, TRANSFORMER)
    house = world.enrol("house", 2, HOUSE, 1)
    world.evm.at(start + 900)
    world.enrol("other house", 3, HOUSE, 1)
    world.evm.at(start + 2700)
    world.registry.retire(house.address, sender=UTILITY)
    for from_s, to_s, expected in (
        (start - 900, start, (True, False, 1)),
        (start, start + 900, (True, True, 1)),
        (start, start + 1800, (True, False, 2)),
        (start + 1800, start + 2700, (True, True, 2)),
        (start + 1800, start + 3600, (True, False, 1)),
        (start, start + 3600, (True, True, 1)),
    ):
        assert world.registry.feeder_between(1, from_s, to_s) == expected
    with pytest.raises(Reverted, match="time not a multiple of 900"):
        world.registry.feeder_between(1, start + 1, start + 900)
