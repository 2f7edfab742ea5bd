"""Daily roots on a real chain: when, what, once, and what strangers cannot spoil."""

from typing import Any

import wire
from hil_tests.town import Town
from parwana.chain import merkle
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.relay.roots import ROOT_WAIT_S, Roots

STRANGER = 12


def roots(town: Town, key: int = 9, wait_s: int = ROOT_WAIT_S) -> Roots:
    deployment = town.world.deployment
    chain = Chain.of(deployment, dev_key(key))
    ledgers = chain.ledgers(deployment)
    return Roots(chain, ledgers, town.store, deployment, town.world.clock.now, wait_s)


def logged(town: Town) -> list[tuple[int, int, bytes, str]]:
    """Return (day, leaves, root, committer) of what was committed, in order."""
    event = town.world.ledgers.energy.events.DailyRoot
    found = town.world.chain.logs(event, 0, feeder=merkle.UTILITY)
    names = ("day", "leaves", "root", "committer")
    return [tuple(log["args"][name] for name in names) for log in found]


def commit(town: Town, days: list[Any], key: int = STRANGER) -> None:
    chain = Chain.of(town.world.deployment, dev_key(key))
    chain.send(chain.ledgers(town.world.deployment).energy.functions.commit(0, days))


def start(town: Town, day: int) -> int:
    return town.periods.start(day)  # the town's periods are days


def read(town: Town, day: int, count: int = 3) -> None:
    """Let every meter sign `count` readings of a day, the last one at its midnight."""
    for meter in (town.feeder, *town.houses):
        for i in range(1, count + 1):
            energy_wh = town.energy_wh.get(meter.address, 0) + 10
            town.read(meter, start(town, day + 1) - 900 * (count - i), energy_wh)


def true_root(town: Town, day: int) -> tuple[int, int, bytes]:
    """Return (day, leaves, root) of all that the store holds, from the frames themselves."""
    offset_s = town.world.deployment.utc_offset_s
    found = sorted(
        (meter, frame.sequence, wire.digest(town.world.deployment.reading_domain, frame.frame))
        for meter in town.store.framed_meters()
        for frame in town.store.frames(meter)
        if merkle.day_of(frame.time_s, offset_s) == day
    )
    root, leaves = merkle.root(digest for _, _, digest in found)
    return day, leaves, root


def look(town: Town, day: int) -> None:
    """Go to where every relay has to have looked for the root of `day`."""
    town.go_to(start(town, day + 1) + ROOT_WAIT_S + ROOT_WAIT_S // 10)


def test_a_day_is_landed_once_after_its_wait(town: Town) -> None:
    day, relay = town.first, roots(town)
    read(town, day)
    town.go_to(start(town, day + 1) + ROOT_WAIT_S - 1)
    assert relay.land() == 0
    look(town, day)
    before = town.world.chain.head()
    assert relay.land() == 1
    assert town.world.chain.head() == before + 1
    (entry,) = logged(town)
    assert entry[:3] == true_root(town, day)
    assert entry[1] == 15
    assert [relay.land(), roots(town).land(), roots(town, key=8).land()] == [0, 0, 0]


def test_a_day_without_frames_costs_nothing(town: Town) -> None:
    look(town, town.first)
    assert roots(town).land() == 0
    assert logged(town) == []


def test_late_frames_go_with_the_next_day(town: Town) -> None:
    day, relay = town.first, roots(town)
    read(town, day)
    look(town, day)
    assert relay.land() == 1
    read(town, day, 2)
    read(town, day + 1)
    town.go_to(town.world.clock.time_s + 120)
    # neither at once, nor after a restart, nor by another relay that landed before
    assert [relay.land(), roots(town).land()] == [0, 0]
    look(town, day + 1)
    before = town.world.chain.head()
    assert roots(town).land() == 2
    assert town.world.chain.head() == before + 1
    first, new, superseding = logged(town)
    assert (first[:2], new[:3]) == ((day, 15), true_root(town, day + 1))
    assert superseding[:3] == true_root(town, day)
    assert superseding[1] == 25
    assert relay.land() == 0


def test_two_relays_of_one_store_look_at_different_times(town: Town) -> None:
    waits = {roots(town, key)._wait_s for key in range(5, 15)}
    assert len(waits) == 10
    assert ROOT_WAIT_S <= min(waits) <= max(waits) <= ROOT_WAIT_S * 1.1


def test_a_strangers_roots_neither_stop_nor_replace_one(town: Town) -> None:
    day = town.first
    read(town, day)
    look(town, day)
    commit(town, [(day, b"\1" * 32, 15), (day, b"\2" * 32, 2**32), (day + 1, b"\3" * 32, 1)])
    assert roots(town).land() == 1
    assert logged(town)[-1][:3] == true_root(town, day)


def test_a_root_is_not_landed_twice_whoever_landed_it(town: Town) -> None:
    day = town.first
    read(town, day)
    look(town, day)
    _, leaves, root = true_root(town, day)
    commit(town, [(day, root, leaves)])
    assert roots(town).land() == 0


def test_what_comes_within_the_last_minute_is_left_for_the_next_root(town: Town) -> None:
    day = town.first
    read(town, day, 2)
    look(town, day)
    read(town, day, 1)
    assert roots(town).land() == 1
    assert logged(town)[-1][1] == 10


def test_many_late_days_take_turns(town: Town) -> None:
    """A house sends what it buffered in 40 days: 32 days a transaction, one transaction a day."""
    day = town.first + 41
    house = town.houses[0]
    town.go_to(start(town, day + 1))
    for number in range(40):
        town.read(house, start(town, town.first + number + 1), number)
    read(town, day)
    look(town, day)
    assert roots(town).land() == merkle.DAYS_MAX
    assert logged(town)[0][0] == day
    read(town, day + 1)
    look(town, day + 1)
    assert roots(town).land() == 10
    days = [entry[0] for entry in logged(town)]
    assert sorted(days) == [*range(town.first, town.first + 40), day, day + 1]


def test_a_reorganised_chain_gets_its_root_again(town: Town) -> None:
    day, relay = town.first, town.landing()
    read(town, day)
    look(town, day)
    before = town.world.chain.head()
    assert relay.step().roots == 1
    assert relay.step().roots == 0
    town.world.node.rewind(before)
    town.go_to(town.world.clock.time_s + 60)
    assert relay.step().roots == 1
    assert [entry[:3] for entry in logged(town)] == [true_root(town, day)]


def test_a_store_that_lost_frames_lands_no_lesser_root(town: Town) -> None:
    day = town.first
    read(town, day)
    look(town, day)
    assert roots(town).land() == 1
    with town.store.transaction() as tx:
        tx.connection.exec_driver_sql("DELETE FROM frames WHERE sequence = 3")
    look(town, day + 1)
    assert roots(town).land() == 0


def test_a_frame_of_no_time_has_no_day(town: Town) -> None:
    house = town.houses[0]
    town.keep(house, house.sign(house.reading(town.next(house), time_s=1)[0]))
    read(town, town.first)
    look(town, town.first)
    assert roots(town).land() == 2  # 1 January 1970 at UTC+5:30 is a day
    with town.store.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE frames SET time_s = 0 WHERE time_s = 1")
    assert town.store.days(0, 2**40)[town.first] > 0
    assert min(town.store.days(0, 2**40)) > 0
    assert min(town.store.days(-18_000, 2**40)) > 0
    assert town.world.clock.time_s > DAY_S
