"""EnergyLedger.close: what is taken, what is skipped and why, and that nobody blocks anybody."""

import pytest
from eth_utils import to_canonical_address

import wire
from hil_tests.contracts.evm import Evm, Reverted
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    HOUR_S,
    HOUSE,
    OTHER,
    PLANT,
    START_S,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
)
from parwana.chain.contracts import Closing, unpack_results

NO_CLOSING, AHEAD, UNKNOWN, CLOSED, BACKWARD, RETIRED = range(1, 7)


def close(world: World, *items: bytes) -> tuple[int, list[Closing], list[tuple[int, int]]]:
    """Close in one transaction; return how many, the closings logged, the skipped ones."""
    result = world.energy.close(b"".join(items), sender=OTHER)
    event = result.event("Closed")
    assert event.relay == OTHER
    results = unpack_results(event.results)
    assert len(results) == len(items)
    closings = [each for each in results if isinstance(each, Closing)]
    assert result.value == len(closings)
    skipped = [(i, each) for i, each in enumerate(results) if not isinstance(each, Closing)]
    return result.value, closings, skipped


def reasons(world: World, *items: bytes) -> list[int]:
    """Close and return 0 for each that was taken, its reason for each that was not."""
    skipped = dict(close(world, *items)[2])
    return [skipped.get(place, 0) for place in range(len(items))]


@pytest.fixture
def house(world: World) -> Meter:
    """Enrol a house in the period before this one."""
    meter = world.enrol("house", 9, initial_wh=1000)
    world.next_period()
    return meter


def test_a_closing(world: World, house: Meter) -> None:
    before = world.energy.closing(house.address)
    over = world.period - 1
    assert (before.period, before.energy_wh, before.time_s) == (over - 1, 1000, 0)
    start = world.start(over + 1)
    taken, closings, skipped = close(world, house.closing(start, 1700))
    assert (taken, skipped) == (1, [])
    assert closings == [Closing(to_canonical_address(house.address), over, 1700)]
    after = world.energy.closing(house.address)
    assert (after.period, after.energy_wh, after.time_s) == (over, 1700, start)


def test_closing_of_nobody(world: World) -> None:
    with pytest.raises(Reverted, match="meter not enrolled"):
        world.energy.closing(OTHER)


def test_sums_of_a_whole_network(world: World) -> None:
    plant = world.enrol("plant", 1, PLANT)
    transformers = [world.enrol(f"transformer {i}", 10 + i, TRANSFORMER, 1) for i in range(2)]
    houses = [
        world.enrol(f"house {i}", 100 + i, HOUSE, 10 + i % 2, initial_wh=i) for i in range(6)
    ]
    loose = world.enrol("loose", 200)
    over = world.next_period()
    start = world.start(over + 1)
    # interleaved on purpose: sums are gathered by runs of one feeder
    order = [*houses, loose, *transformers, plant]
    items = [meter.closing(start, 1000 + 10 * i) for i, meter in enumerate(order)]
    assert close(world, *items)[0] == 10
    used = [1000 + 10 * i - i for i in range(6)]
    for i in range(2):
        sums = world.energy.sums(10 + i, over)
        assert (sums.supplied_wh, sums.sold_wh) == (1070 + 10 * i, sum(used[i::2]))
        assert (sums.closed, sums.expected, sums.spanning) == (3, 3, 0)
        assert sums.own_closed
    sums = world.energy.sums(1, over)
    assert (sums.supplied_wh, sums.sold_wh, sums.closed, sums.expected) == (1090, 2150, 2, 2)
    assert world.energy.sums(0, over).sold_wh == 1090 + 1060
    with pytest.raises(Reverted, match="no such period"):
        world.energy.sums(0, 2**32)


def test_in_several_batches_and_periods(world: World) -> None:
    world.enrol("transformer", 1, TRANSFORMER)
    houses = [world.enrol(f"house {i}", 10 + i, HOUSE, 1) for i in range(4)]
    total = 0
    for month in range(1, 4):
        over = world.next_period()
        start = world.start(over + 1)
        for i, house in enumerate(houses):
            total += 100 * (i + 1)
            assert close(world, house.closing(start, 100 * (i + 1) * month))[0] == 1
        assert world.energy.sums(1, over).sold_wh == 1000
        assert world.energy.sums(1, over).closed == 4
    assert total == 3000


@pytest.mark.parametrize("length", [0, 1, 103, 105, 104 * 2 - 1])
def test_length(world: World, length: int) -> None:
    with pytest.raises(Reverted, match=r"length not n \* 104"):
        world.energy.close(bytes(length))


def test_128_fit_and_129_do_not(world: World) -> None:
    assert close(world, *[bytes(104)] * 128)[2] == [(i, NO_CLOSING) for i in range(128)]
    with pytest.raises(Reverted):
        world.energy.close(bytes(104 * 129))


def test_what_is_no_closing(world: World, house: Meter) -> None:
    start = world.start(world.period)
    good = wire.pack_reading(wire.FLAG_CLOSING, 1, start, 2000, 0, 0, 0, 0, 0, 0, 0, 1)
    event = wire.pack_event(1, 1, start, 2000, clock_trust=1)
    assert reasons(
        world,
        house.reading(start, 2000),
        house.closing(start, 2000, trust=0),
        house.signed(good[:39] + b"\x03"),
        house.signed(event[:3] + b"\x01" + event[4:]),
        house.signed(b"\x02" + good[1:]),
        house.signed(b"\x01\x03" + good[2:]),
        house.closing(start - 1, 2000, wire.FLAG_BOOT)[:40] + bytes(64),
        house.closing(start - 1, 2000),
    ) == [NO_CLOSING] * 6 + [UNKNOWN, NO_CLOSING]
    assert reasons(world, house.closing(start, 2000, trust=2)) == [0]


def test_the_window_after_a_boundary(world: World) -> None:
    meters = [world.enrol(f"house {i}", 9 + i) for i in range(6)]
    over = world.next_period()
    start = world.start(over + 1)
    world.evm.at(start + 10 * DAY_S)
    boot = wire.FLAG_BOOT
    assert reasons(
        world,
        meters[0].closing(start - 1, 5),
        meters[1].closing(start, 5),
        meters[2].closing(start + DAY_S - 1, 5),
        meters[3].closing(start + DAY_S, 5),
        meters[3].closing(start + DAY_S, 5, boot),
        meters[4].closing(start + 9 * DAY_S, 5, boot),
        # a boot before the boundary would close the period before: enrolled later
        meters[5].closing(start - 1, 5, boot),
    ) == [NO_CLOSING, 0, 0, NO_CLOSING, 0, 0, CLOSED]


def test_the_window_of_a_period_of_an_hour_is_that_hour() -> None:
    world = World(Evm(START_S), HOUR_S)
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    meters = [world.enrol(f"house {i}", 9 + i, HOUSE, 1) for i in range(3)]
    over = world.next_period()
    start = world.start(over + 1)
    assert start % HOUR_S == (-19_800) % HOUR_S
    assert reasons(world, meters[0].closing(start - 1, 5)) == [CLOSED]  # of the hour before
    world.evm.at(start + HOUR_S)
    assert reasons(
        world,
        transformer.closing(start, 12),
        meters[0].closing(start, 5),
        meters[1].closing(start + HOUR_S - 1, 5),
        meters[2].closing(start + HOUR_S, 5),  # closes the next hour, and this one with it
    ) == [0, 0, 0, 0]
    periods = [world.energy.closing(meter.address).period for meter in meters]
    assert periods == [over, over, over + 1]
    world.evm.at(start + DEADLINE_S)
    world.energy.reconcile(1, over)
    sums = world.energy.sums(1, over)
    assert (sums.supplied_wh, sums.sold_wh, sums.closed, sums.expected) == (12, 10, 2, 3)


def test_ahead_of_the_chain(world: World, house: Meter) -> None:
    now = world.evm.time_s
    next_start = world.start(world.period + 1)
    # a period ends by the chain's clock, too: until then the registry may change what it holds
    world.evm.at(next_start - 1)
    assert reasons(world, house.closing(next_start, 2000)) == [AHEAD]
    world.evm.at(next_start)
    assert reasons(world, house.closing(next_start + 3601, 2000)) == [AHEAD]
    assert reasons(world, house.closing(next_start + 3600, 2000)) == [0]
    assert now < next_start


def test_strangers_and_bad_signatures(world: World, house: Meter) -> None:
    start = world.start(world.period)
    good = house.closing(start, 2000)
    stranger = Meter("stranger").closing(start, 2000)
    n = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    word = int.from_bytes(good[72:104], "big")
    s, parity = word % 2**255, word >> 255
    high = n - s
    # the other encoding of the same signature: high s, other parity; it overflows into bit 255
    malleated = good[:72] + (((1 - parity) << 255 | high) % 2**256).to_bytes(32, "big")
    assert reasons(
        world,
        stranger,
        malleated,
        good[:40] + bytes(64),
        good[:40] + good[40:72] + bytes(32),
        good[:40] + b"\xff" * 64,
        good[:40] + stranger[40:],
        good,
    ) == [UNKNOWN] * 6 + [0]


def test_no_bit_of_a_closing_can_be_changed(world: World, house: Meter) -> None:
    good = house.closing(world.start(world.period), 2000)
    flipped = []
    for bit in range(104 * 8):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        flipped.append(bytes(changed))
    for at in range(0, len(flipped), 128):
        assert close(world, *flipped[at : at + 128])[0] == 0
    assert world.energy.closing(house.address).time_s == 0
    assert close(world, good)[0] == 1


def test_a_griefer_cannot_block_honest_closings(world: World) -> None:
    world.enrol("transformer", 1, TRANSFORMER)
    houses = [world.enrol(f"house {i}", 10 + i, HOUSE, 1) for i in range(8)]
    over = world.next_period()
    start = world.start(over + 1)
    good = [house.closing(start, 500) for house in houses]
    assert close(world, good[3])[0] == 1
    batch = [good[0], good[0], b"\xff" * 104, good[1], bytes(104), *good[2:], good[7]]
    taken, _, skipped = close(world, *batch)
    assert taken == 7
    assert skipped == [(1, CLOSED), (2, NO_CLOSING), (4, NO_CLOSING), (6, CLOSED), (11, CLOSED)]
    assert world.energy.sums(1, over).sold_wh == 8 * 500
    assert close(world, *good)[0] == 0


def test_backward_and_zero(world: World, house: Meter) -> None:
    start = world.start(world.period)
    assert reasons(world, house.closing(start, 999)) == [BACKWARD]
    assert reasons(world, house.closing(start, 1000)) == [0]
    world.next_period()
    assert reasons(world, house.closing(world.start(world.period), 999)) == [BACKWARD]
    assert reasons(world, house.closing(world.start(world.period), 2**64 - 1)) == [0]


def test_a_meter_that_was_off(world: World) -> None:
    world.enrol("transformer", 1, TRANSFORMER)
    house = world.enrol("house", 9, HOUSE, 1)
    first = world.next_period()
    world.next_period()
    over = world.next_period()
    assert world.close((house, 3000)) == 1
    assert (world.energy.sums(1, over).sold_wh, world.energy.sums(1, over).spanning) == (3000, 1)
    assert world.energy.sums(1, first).closed == 0
    assert reasons(world, house.closing(world.start(first + 1), 1000)) == [CLOSED]
    world.next_period()
    assert world.close((house, 3100)) == 1
    sums = world.energy.sums(1, over + 1)
    assert (sums.sold_wh, sums.spanning, sums.closed) == (100, 0, 1)


def test_a_feeder_that_was_off(world: World) -> None:
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    world.next_period()
    over = world.next_period()
    assert world.close((transformer, 7000)) == 1
    sums = world.energy.sums(1, over)
    assert (sums.supplied_wh, sums.spanning, sums.own_closed) == (7000, 1, True)


def test_a_retired_meter(world: World) -> None:
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    a, b = world.enrol("a", 10, HOUSE, 1), world.enrol("b", 11, HOUSE, 1)
    over = world.next_period()
    start = world.start(over + 1)
    assert close(world, b.closing(start, 70))[0] == 1
    world.evm.at(start + 3 * DAY_S)
    world.registry.retire(a.address, sender=UTILITY)
    # what it signed before counts, what it signs after does not, known to the ledger or not
    assert reasons(world, a.closing(start, 50), b.closing(start, 70)) == [0, CLOSED]
    assert world.energy.sums(1, over).closed == 2
    assert world.energy.sums(1, over).expected == 2
    world.registry.retire(b.address, sender=UTILITY)
    over = world.next_period()
    start = world.start(over + 1)
    for _ in range(2):
        assert reasons(
            world,
            a.closing(start, 60),
            b.closing(start, 80),
            transformer.closing(start, 10),
        )[:2] == [RETIRED, RETIRED]
    assert world.energy.sums(1, over).expected == 0


def test_retired_in_the_second_of_the_reading(world: World) -> None:
    house, other = world.enrol("house", 9), world.enrol("other", 10)
    over = world.next_period()
    start = world.start(over + 1)
    world.evm.at(start)
    for meter in (house, other):
        world.registry.retire(meter.address, sender=UTILITY)
    assert reasons(world, house.closing(start, 50), other.closing(start + 1, 50)) == [0, RETIRED]


def test_a_neighbour_is_not_hurt_by_a_retirement(world: World) -> None:
    world.enrol("transformer", 1, TRANSFORMER)
    a, b, c = (world.enrol(name, 10 + i, HOUSE, 1) for i, name in enumerate("abc"))
    world.next_period()
    assert world.close((a, 1), (b, 1), (c, 1)) == 3
    world.registry.retire(b.address, sender=UTILITY)
    over = world.next_period()
    start = world.start(over + 1)
    items = [a.closing(start, 11), b.closing(start, 12), c.closing(start, 13)]
    assert reasons(world, *items) == [0, RETIRED, 0]
    over = world.next_period()
    start = world.start(over + 1)
    items = [
        b.closing(start, 12),
        a.closing(start, 31),
        b.closing(start, 12),
        c.closing(start, 43),
    ]
    assert reasons(world, *items) == [RETIRED, 0, RETIRED, 0]
    sums = world.energy.sums(1, over)
    assert (sums.sold_wh, sums.closed, sums.expected) == (50, 2, 2)


def test_a_replaced_meter(world: World) -> None:
    world.enrol("transformer", 1, TRANSFORMER)
    old, new = world.enrol("old", 10, HOUSE, 1, initial_wh=100), Meter("new")
    first = world.next_period()
    start = world.start(first + 1)
    world.evm.at(start + DAY_S)
    world.registry.replace(old.address, new.address, 5000, sender=UTILITY)
    # each closes the periods that ended while it served, and the point counts once
    assert reasons(world, new.closing(start, 5000), old.closing(start, 300)) == [CLOSED, 0]
    second = world.next_period()
    start = world.start(second + 1)
    assert reasons(world, old.closing(start, 400), new.closing(start, 5070)) == [RETIRED, 0]
    for period, sold_wh in ((first, 200), (second, 70)):
        sums = world.energy.sums(1, period)
        assert (sums.sold_wh, sums.closed, sums.expected) == (sold_wh, 1, 1)
