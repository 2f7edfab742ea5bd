"""The list of meters: from what they signed, with filters, as a table, JSON and CSV."""

import csv
import io
from typing import Any

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.relay.test_service import publish
from hil_tests.rights.conftest import Run
from hil_tests.services import SignedMeter
from hil_tests.town import FEEDER, Town
from parwana.chain.periods import DAY_S
from parwana.store.reader import Store
from parwana.store.tables import meters


@pytest.fixture
def town(world: Utility, store: Store) -> Town:
    """Lend a town: house 101 lives well, 102 is cut, 103 was never heard of, 104 is silent."""
    made = Town(world, store)
    now_s = int(world.clock.now())
    one, two, _, four = made.houses
    bundle = publish(world, one)
    made.follow()
    permit: Any = wire.parse(bundle[:40])
    made.event(one, wire.EVENT_PERMIT_ACCEPTED, now_s, permit.serial)
    with store.transaction() as tx:
        state = {"control_state": wire.CONTROL_CONNECTED, "version": 0x000203, "next": 9}
        heard = {"permit_serial": permit.serial, "heard_s": now_s, "boots": 2}
        tx.heard([{"meter": one.address, **state, **heard}])
    made.read(one, now_s, 1234, flags=wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT)
    cut = wire.pack_reading(wire.FLAG_TAMPER, 1, now_s, 500, 0, 0, 0, 2300, 2280, 500, 97, 1)
    made.keep(two, two.sign(cut))
    made.sequences[two.address] = 1
    made.event(two, wire.EVENT_OVERLOAD_LOCKED, now_s, 5)
    made.read(made.feeder, now_s, 9000)
    made.go_to(now_s - 5 * 3600)
    made.read(four, now_s - 5 * 3600, 700)
    world.clock.time_s = now_s
    return made


def listed(run: Run, *filters: object) -> dict[int, dict[str, Any]]:
    done = run("meters", "--json", *filters)
    assert done.code == 0, done
    return {row["number"]: row for row in done.json}


def test_each_meter_is_told_of_by_what_it_signed(world: Utility, town: Town, run: Run) -> None:
    rows = listed(run)
    now_s = int(world.clock.now())
    assert list(rows) == [101, 102, 103, 104, FEEDER]
    accepted: Any = wire.parse(town.store.permits()[0].bundle[:40])
    assert rows[101] == {
        "number": 101,
        "kind": "house",
        "feeder": FEEDER,
        "meter": "0x" + town.houses[0].address.hex(),
        "in_service": True,
        "heard_s": now_s,
        "reading_s": now_s,
        "energy_wh": 1234,
        "power_dw": 4000,
        "permit_serial": accepted.serial,
        "permit_end_s": accepted.valid_until_s,
        "version": "0.2.3",
        "contactor": "closed",
        "control": "connected",
        "alarms": ["permit ends within 1 d"],
    }
    assert (rows[102]["contactor"], rows[102]["control"]) == ("open", "disconnected")
    assert rows[102]["alarms"] == ["overload, locked", "tamper"]
    assert rows[103]["alarms"] == ["never heard"]
    assert (rows[103]["contactor"], rows[103]["heard_s"], rows[103]["version"]) == ("", 0, "")
    assert rows[104]["alarms"] == ["silent"]
    assert (rows[FEEDER]["kind"], rows[FEEDER]["alarms"]) == ("transformer", [])


FILTERS: list[tuple[tuple[object, ...], list[int]]] = [
    (("--kind", "house"), [101, 102, 103, 104]),
    (("--kind", "transformer"), [FEEDER]),
    (("--kind", "plant"), []),
    (("--feeder", FEEDER, "--contactor", "closed"), [101, 104]),
    (("--feeder", "0"), [FEEDER]),
    (("--contactor", "open"), [102]),
    (("--number", "102", "--number", FEEDER), [102, FEEDER]),
    (("--number", "7"), []),
    (("--alarms",), [101, 102, 103, 104]),
    (("--alarms", "--silent-after", 6 * 3600), [101, 102, 103]),
    (("--ends-within", "1"), [101]),
    (("--ends-within", "0"), []),
]


@pytest.mark.usefixtures("town")
def test_filters(run: Run) -> None:
    assert [list(listed(run, *filters)) for filters, _ in FILTERS] == [
        found for _, found in FILTERS
    ]


def test_what_is_wrong_with_a_permit_is_an_alarm(world: Utility, town: Town, run: Run) -> None:
    one = town.houses[0]
    publish(world, one, serial=town.store.permits()[0].serial)
    town.follow()
    assert "permit not taken" in listed(run)[101]["alarms"]
    world.clock.time_s += 2 * DAY_S
    assert listed(run)[101]["alarms"] == ["permit ended", "permit not taken", "silent"]
    assert listed(run, "--ends-within", "0") == {101: listed(run)[101]}


def test_a_bypassed_contactor_is_an_alarm_as_long_as_it_lasts(
    world: Utility, town: Town, run: Run
) -> None:
    two, now_s = town.houses[1], int(world.clock.now())
    for later_s, power_dw in ((900, 0), (1800, 3000)):
        frame = wire.pack_reading(
            0, town.sequences[two.address] + 1, now_s + later_s, 500, power_dw, power_dw, 0, 2300,
            2280, 500, 97, 1,
        )  # fmt: skip
        town.keep(two, two.sign(frame))
        town.sequences[two.address] += 1
        alarms = listed(run)[102]["alarms"]
        assert ("contactor bypassed" in alarms) is bool(power_dw)
    town.event(two, wire.EVENT_CONTACTOR_BYPASSED, now_s, 2)
    town.read(two, now_s + 2700, 600, flags=wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT)
    assert "contactor bypassed" in listed(run)[102]["alarms"]  # the event is of today
    world.clock.time_s += 2 * DAY_S
    assert "contactor bypassed" not in listed(run)[102]["alarms"]


def test_a_liar_and_a_change_not_taken_are_alarms(world: Utility, town: Town, run: Run) -> None:
    now_s = int(world.clock.now())
    two = town.houses[1]
    town.keep(two, two.reading(1, time_s=now_s, energy_wh=400))
    with town.store.transaction() as tx:
        tx.add_trust(two.address, 5, b"bundle")
    alarms = listed(run)[102]["alarms"]
    assert {"contradicts itself", "change of trust not taken"} <= set(alarms)


def test_a_retired_meter_is_listed_when_asked_for_and_raises_no_alarm(
    world: Utility, town: Town, run: Run
) -> None:
    world.chain.send(world.ledgers.registry.functions.retire(town.houses[3].key.address))
    town.follow()
    assert 104 not in listed(run)
    assert listed(run, "--retired")[104]["alarms"] == []
    assert "house, retired" in run("meters", "--retired").out


@pytest.mark.usefixtures("town")
def test_csv_says_the_same_as_json(run: Run) -> None:
    done = run("meters", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    wanted = [
        {name: str(value) for name, value in row.items()} | {"alarms": "; ".join(row["alarms"])}
        for row in listed(run).values()
    ]
    assert rows == wanted


@pytest.mark.usefixtures("town")
def test_the_table_names_counts(run: Run) -> None:
    done = run("meters", "--feeder", FEEDER)
    assert "4 of 5 meters, 4 with an alarm" in done.out
    assert "closed, connected" in done.out
    assert "1.234 kWh" in done.out


def test_a_store_that_is_not_there_is_one_line(run: Run, tmp_path: Any) -> None:
    done = run("meters", "--store", f"sqlite:///{tmp_path}/none.db")
    assert (done.code, done.out) == (1, "")
    assert "there is no store" in done.err


def test_a_stranger_in_the_store_is_no_meter(town: Town, run: Run) -> None:
    stranger = SignedMeter(666)
    with town.store.transaction() as tx:
        tx.connection.execute(meters.insert(), {"meter": stranger.address, "heard_s": 5})
    assert len(listed(run)) == 5
