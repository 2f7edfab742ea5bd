"""Landing on a real chain: closings, bills and balances, from what a store holds."""

from pathlib import Path
from typing import Any

import pytest

from hil_tests.chainkit import utility
from hil_tests.services import SignedMeter
from hil_tests.town import FEEDER, Town
from parwana.audit.command import audit
from parwana.chain.contracts import unpack_results
from parwana.chain.node import Chain, Reverted
from parwana.chain.opening import Call, Opening
from parwana.chain.periods import DAY_S
from parwana.relay.landing import Landed, Landing
from parwana.store.reader import Store


def test_a_period_is_closed_billed_and_balanced_in_three_transactions(town: Town) -> None:
    landing = town.landing()
    assert landing.step() == Landed()
    town.go_to(town.periods.start(town.first + 1) + 60)
    for house in town.houses:
        town.close(house, town.first, 5000)
    town.close(town.feeder, town.first, 20_100)
    before = town.world.chain.head()
    assert landing.step() == Landed(5, 4, 1)
    assert town.world.chain.head() == before + 3
    assert all(town.closing(house) == (town.first, 5000) for house in town.houses)
    supplied, sold, closed, expected, _, own = town.sums(town.first)
    assert (supplied, sold, closed, expected, own) == (20_100, 20_000, 4, 4, True)
    account = town.world.ledgers.payment.functions.account(town.houses[0].key.address)
    assert town.world.chain.call(account)[2] == town.first
    assert landing.step() == Landed()
    assert town.landing().step() == Landed()


def test_theft_raises_the_alarm(town: Town) -> None:
    town.settle_in()
    town.go_to(town.periods.start(town.first + 1) + 60)
    for house in town.houses:
        town.close(house, town.first, 5000)
    town.close(town.feeder, town.first, 25_000)
    assert town.landing().step().balances == 1
    assert town.alarm(town.first) == 1


def waiting(town: Town) -> tuple[Landing, int]:
    """Return a landing that waits for one closing, and when the period ended."""
    landing = town.landing(gather_s=3600)
    end_s = town.periods.start(town.first + 1)
    town.go_to(end_s + 60)
    for house in town.houses[:3]:
        town.close(house, town.first, 5000)
    assert landing.step() == Landed()
    return landing, end_s


def test_closings_are_gathered_then_a_late_one_lands_alone(town: Town) -> None:
    landing, end_s = waiting(town)
    town.go_to(end_s + 3600)
    assert landing.step() == Landed(3, 3, 0)
    town.close(town.houses[3], town.first, 5000)
    town.close(town.feeder, town.first, 20_000)
    assert landing.step() == Landed(2, 1, 1)


def test_a_step_that_waits_asks_the_chain_for_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing, end_s = waiting(town)
    asked: list[str] = []
    call = Chain.call

    def counted(chain: Chain, function: Any) -> Any:
        asked.append(function.fn_name)
        return call(chain, function)

    monkeypatch.setattr(Chain, "call", counted)
    assert [landing.step() for _ in range(5)] == [Landed()] * 5
    assert asked == []
    town.go_to(end_s + 120)  # what no event tells is seen in time
    assert landing.step() == Landed()
    assert asked == ["sums"], "one a feeder"


def test_a_dead_meter_holds_up_the_bills_of_its_own_feeder_alone(town: Town) -> None:
    other, house, loose = (SignedMeter(seed, town.feeder.domain) for seed in (700, 701, 702))
    for meter, number, kind, feeder in (
        (other, 700, 2, 0),
        (house, 701, 1, 700),
        (loose, 702, 1, 0),
    ):
        town.enrol(meter, number, kind, feeder)
    town.follow()
    landing = town.landing(gather_s=3600)
    end_s = town.periods.start(town.first + 1)
    town.go_to(end_s + 60)
    for meter in (*town.houses[:3], town.feeder, other, house, loose):
        town.close(meter, town.first, 5000)
    assert landing.step() == Landed(3, 2, 1)
    assert [town.closing(meter) for meter in (other, house, loose)] == [(town.first, 5000)] * 3
    (wait,) = landing.waits
    assert (wait.feeder, wait.period, wait.until_s) == (FEEDER, town.first, end_s + 3600)
    assert wait.meters == ["0x" + town.houses[3].address.hex()]
    town.go_to(end_s + 3600)
    assert landing.step() == Landed(4, 3, 0)
    assert landing.waits == []
    # It has missed a period: the next one waits for it no more.
    town.go_to(town.periods.start(town.first + 2) + 60)
    for meter in (*town.houses[:3], town.feeder):
        town.close(meter, town.first + 1, 9000)
    assert landing.step().closings == 4


def test_a_feeder_with_a_missing_meter_is_balanced_after_the_deadline_and_again(
    town: Town,
) -> None:
    town.settle_in()
    landing = town.landing()
    end_s = town.periods.start(town.first + 1)
    town.go_to(end_s + 3600)
    for house in town.houses[:3]:
        town.close(house, town.first, 5000)
    town.close(town.feeder, town.first, 20_000)
    assert landing.step() == Landed(4, 3, 0, roots=1)
    town.go_to(end_s + DAY_S)
    assert landing.step() == Landed(0, 0, 1, roots=1)
    assert town.alarm(town.first) == 1
    assert landing.step() == Landed()
    town.close(town.houses[3], town.first, 5000)
    restarted = town.landing(gather_s=0)
    assert restarted.step() == Landed(1, 1, 1)
    assert town.alarm(town.first) == 0


def test_feeders_are_balanced_together_and_a_clock_that_is_ahead_costs_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [SignedMeter(seed, town.feeder.domain) for seed in (700, 701)]
    for number, meter in enumerate(others, 700):
        town.enrol(meter, number, 2, 0)
    town.follow()
    town.settle_in()
    for meter in others:
        town.close(meter, town.first - 1, 0)
    town.go_to(town.periods.start(town.first + 1) + 60)
    town.landing().step()
    for meter in (*town.houses[:3], town.feeder, *others):
        town.close(meter, town.first, 0)
    town.close(others[0], town.first, 0)
    landing = town.landing(gather_s=0)
    before = town.world.chain.head()
    assert landing.step().balances == 2  # theirs; the town's waits for its house
    assert town.world.chain.head() == before + 3
    real = town.world.clock.now
    monkeypatch.setattr(landing, "_now", lambda: real() + 3 * DAY_S)
    before = town.world.chain.head()
    assert landing.step().balances == 0
    assert town.world.chain.head() == before


def test_backfilled_periods_land_in_order(town: Town) -> None:
    town.go_to(town.periods.start(town.first + 3) + 3600)
    for period in range(3):
        for house in town.houses:
            town.close(house, town.first + period, 5000 * (period + 1))
        town.close(town.feeder, town.first + period, 20_000 * (period + 1))
    assert town.landing().step() == Landed(15, 4, 3)
    assert [town.sums(town.first + p)[1] for p in range(3)] == [20_000] * 3
    assert all(town.closing(house) == (town.first + 2, 15_000) for house in town.houses)


def test_a_later_closing_waits_for_an_earlier_that_may_still_come(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store(url)
    with utility(url, closing_deadline_s=4 * DAY_S) as world:
        town = Town(world, store)
        early, late = town.houses[:2]
        landing = town.landing(gather_s=0)
        for house in (early, late):
            town.sequences[house.address] = 1  # sequence 1 is not here yet
            town.close(house, town.first + 1, 9000)
        town.go_to(town.periods.start(town.first + 2) + 60)
        assert landing.step() == Landed()
        town.sequences[early.address] = 0
        town.close(early, town.first, 4000)
        assert landing.step().closings == 2
        assert town.closing(early) == (town.first + 1, 9000)
        town.go_to(town.periods.start(town.first + 1) + 4 * DAY_S)
        assert landing.step().closings == 1
        assert town.closing(late) == (town.first + 1, 9000)
    store.close()


def test_a_period_that_was_never_closed_is_spanned(town: Town) -> None:
    house = town.houses[0]
    town.close(house, town.first + 1, 9000)
    town.go_to(town.periods.start(town.first + 2) + 60)
    # All its frames are here: no closing of the first period can come any more.
    assert town.landing(gather_s=0).step().closings == 1
    assert town.closing(house) == (town.first + 1, 9000)
    assert town.sums(town.first + 1)[4] == 1


def test_readings_that_close_nothing_are_not_sent(town: Town) -> None:
    house = town.houses[0]
    town.close(house, town.first, 5000, after_s=DAY_S)  # a closing of the day after
    town.go_to(town.periods.start(town.first + 1) + 2000)
    assert town.landing(gather_s=0).step() == Landed()


def test_a_register_that_went_back_is_refused_once_and_does_not_block(town: Town) -> None:
    landing = town.landing(gather_s=0)
    good, bad = town.houses[:2]
    town.close(good, town.first, 5000)
    town.close(bad, town.first, 5000)
    town.go_to(town.periods.start(town.first + 1) + 60)
    assert landing.step().closings == 2
    town.close(good, town.first + 1, 9000)
    town.close(bad, town.first + 1, 100)
    town.go_to(town.periods.start(town.first + 2) + 60)
    assert landing.step().closings == 1
    before = town.world.chain.head()
    assert landing.step() == Landed()
    assert town.world.chain.head() == before


def test_two_relays_land_everything_once(town: Town) -> None:
    relays = [town.landing(gather_s=0), town.landing(gather_s=0)]
    for period in range(2):
        for house in town.houses:
            town.close(house, town.first + period, 5000 * (period + 1))
        town.close(town.feeder, town.first + period, 20_000 * (period + 1))
        town.go_to(town.periods.start(town.first + period + 1) + 60)
        total = [relay.step() for relay in relays]
        assert total == [Landed(5, 4, 1, roots=period), Landed()]
        relays.reverse()
    logs = town.world.chain.logs(town.world.ledgers.energy.events.Closed, 0)
    assert [len(unpack_results(log["args"]["results"])) for log in logs] == [5, 5]
    logs = town.world.chain.logs(town.world.ledgers.energy.events.Reconciled, 0)
    assert [log["args"]["period"] for log in logs] == [town.first, town.first + 1]


@pytest.mark.parametrize("looked", [False, True], ids=["at once", "after a look"])
def test_a_reorganisation_is_noticed_and_everything_landed_again(town: Town, looked: bool) -> None:
    landing = town.landing(gather_s=0)
    for house in town.houses:
        town.close(house, town.first, 5000)
    town.close(town.feeder, town.first, 20_000)
    town.go_to(town.periods.start(town.first + 1) + 60)
    before = town.world.chain.head()
    assert landing.step() == Landed(5, 4, 1)
    if looked:
        assert landing.step() == Landed()
    town.world.node.rewind(before)
    town.world.clock.time_s += 1
    town.world.node.mine(9)
    assert landing.step() == Landed(5, 4, 1)
    assert landing.step() == Landed()


def test_the_last_reading_of_a_replaced_meter_is_landed_and_billed(town: Town) -> None:
    landing = town.landing(gather_s=0)
    old, new = town.houses[0], SignedMeter(500, town.feeder.domain)
    noon_s = town.periods.start(town.first + 1) + DAY_S // 2
    town.close(old, town.first, 5000)
    town.go_to(noon_s)
    town.read(old, noon_s - 900, 5600)
    town.read(old, noon_s + 5000, 9999)  # after it was replaced
    assert landing.step().closings == 1
    functions = town.world.ledgers.registry.functions
    town.world.chain.send(functions.replace(old.key.address, new.key.address, 100))
    town.follow()
    assert landing.step() == Landed(1, 0, 0)
    assert town.closing(old) == (town.first + 1, 5600)
    assert landing.step() == Landed()
    town.close(new, town.first + 1, 400)
    town.go_to(town.periods.start(town.first + 2) + 60)
    assert landing.step() == Landed(1, 1, 1)
    logs = town.world.chain.logs(town.world.ledgers.payment.events.Billed, 0)
    assert [log["args"]["energy_wh"] for log in logs] == [5000, 900]
    report = audit(town.world.deployment, town.world.chain, town.store)
    assert [f for f in report.findings if f.kind in ("closing", "bill")] == []


def test_a_house_that_cannot_be_billed_does_not_keep_others_from_their_bills(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = town.landing(gather_s=0)
    for house in town.houses:
        town.close(house, town.first, 5000)
    town.go_to(town.periods.start(town.first + 1) + 60)
    real, poor = Opening.open, town.houses[1].address.hex()

    def open_it(opening: Opening, call: Call, *more: Any) -> Any:
        if "settle" in call.what and poor in call.data:
            raise Reverted("settle", "carried above 2**72")
        return real(opening, call, *more)

    monkeypatch.setattr(Opening, "open", open_it)
    assert landing.step() == Landed(4, 3, 0)


def test_a_meter_that_contradicts_itself_is_shown_to_the_chain_once(town: Town) -> None:
    house = town.houses[0]
    town.close(house, town.first, 5000)
    twin = house.stored(1, energy_wh=77)
    with town.store.transaction() as tx:
        tx.add_frames(house.address, [twin], 0)
    town.landing().step()
    town.landing().step()
    energy = town.world.ledgers.energy
    assert town.world.chain.call(energy.functions.equivocated(house.key.address))
    (entry,) = town.world.chain.logs(energy.events.Equivocation, 0)
    assert entry["args"]["meter"] == house.key.address
