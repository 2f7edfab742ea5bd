"""The demo's own judgement: whatever is not as the story demands is told."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import wire
from hil_tests.chainkit import Utility
from hil_tests.permits.test_command import one
from hil_tests.town import FEEDER, Town
from parwana.demo.evidence import paid_up, settled
from parwana.demo.report import unfulfilled
from parwana.store.reader import Store

GOOD: dict[str, Any] = {
    "readings": {"captured": 9, "stored": 9, "verified": 9},
    "permits": {"published": 3, "accepted": 3},
    "power_cut": {"meter": 4, "cuts_in_a_write": 1, "lost": 0, "repeated": 0},
    "offline": {"meter": 3, "buffered": 5, "backfilled": 5},
    "claims_without_permit_in_log": 0,
    "audit": {"findings": []},
    "proof": {"meter": 1, "sequence": 30, "proven": 4},
    "losses": {"feeder": 100, "month": 2, "suspects": [{"kind": "tap", "numbers": []}]},
    "supply": [
        {"meter": 2, "event": "disconnected", "reason": "expired", "time": 2},
        {"meter": 2, "event": "reconnected", "reason": "new_permit", "time": 3},
    ],
    "feeders": [
        {"feeder": 100, "month": 0, "alarm": None},
        {"feeder": 100, "month": 1, "alarm": None},
        {"feeder": 100, "month": 2, "alarm": "theft"},
    ],
}
CUT = {"meter": 1, "event": "disconnected", "reason": "expired", "time": 4}


def judge(report: dict[str, Any]) -> list[str]:
    return unfulfilled(report, late=2, tapped_month=2, feeder=100)


def test_the_story_as_it_should_be() -> None:
    assert judge(GOOD) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r["readings"].update(verified=8),
        lambda r: r["readings"].update(captured=10),
        lambda r: r["readings"].update(captured=0, stored=0, verified=0),
        lambda r: r["permits"].update(accepted=2),
        lambda r: r["power_cut"].update(lost=1),
        lambda r: r["power_cut"].update(repeated=1),
        lambda r: r["power_cut"].update(cuts_in_a_write=0),
        lambda r: r["offline"].update(backfilled=4),
        lambda r: r["offline"].update(buffered=0, backfilled=0),
        lambda r: r.update(claims_without_permit_in_log=1),
        lambda r: r["audit"]["findings"].append({}),
        lambda r: r["proof"].update(proven=2),
        lambda r: r["losses"]["suspects"].clear(),
        lambda r: r["losses"]["suspects"][0].update(kind="bypass", numbers=[3]),
        lambda r: r["supply"].append(CUT),
        lambda r: r["supply"].pop(),
        lambda r: r["supply"].pop(0),
        lambda r: r["feeders"][1].update(alarm="over-billing"),
        lambda r: r["feeders"][2].update(alarm=None),
        lambda r: r["feeders"][0].update(alarm="theft"),
    ],
)
def test_one_thing_that_is_not(spoil: Callable[[dict[str, Any]], object]) -> None:
    report = copy.deepcopy(GOOD)
    spoil(report)
    assert len(judge(report)) == 1


def test_the_last_month_is_over_once_all_of_it_reached_the_meters(
    world: Utility, store: Store
) -> None:
    town = Town(world, store)
    house = town.houses[0]
    told = [("house", house, 101), ("transformer", town.feeder, FEEDER)]
    rehearsal: Any = SimpleNamespace(
        deployment=world.deployment,
        meters=[
            SimpleNamespace(address=meter.key.address, kind=kind, number=number)
            for kind, meter, number in told
        ],
    )
    assert paid_up(rehearsal, town.first - 1), "of which nothing was closed"
    over = []
    town.go_to(town.periods.start(town.first + 1) + 60)
    for meter in (*town.houses, town.feeder):
        town.close(meter, town.first, 5000)
    over.append((settled(rehearsal, town.first), paid_up(rehearsal, town.first)))
    town.landing().step()
    over.append((settled(rehearsal, town.first), paid_up(rehearsal, town.first)))
    world.pay(house.key)
    over.append((settled(rehearsal, town.first), paid_up(rehearsal, town.first)))
    world.node.mine(2)
    assert one(world, store, 1, 2).step().claimed == 1
    town.follow()
    over.append((settled(rehearsal, town.first), paid_up(rehearsal, town.first)))
    row = store.newest_permit(house.address)
    assert row is not None
    permit = wire.parse(row.bundle[:40])
    assert isinstance(permit, wire.Permit)
    town.event(house, wire.EVENT_PERMIT_ACCEPTED, int(world.clock.now()), permit.serial, 0, 0)
    over.append((settled(rehearsal, town.first), paid_up(rehearsal, town.first)))
    assert over == [(False, False)] * 4 + [(True, True)]
    assert paid_up(rehearsal, town.first - 1), "of which nothing was closed"
