"""What broke off, or what another relay did first, is taken up by the next step."""

from typing import Any

import pytest

from hil_tests.town import Town
from parwana.chain.errors import Unreachable
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.opening import Call, Opening
from parwana.relay.closer import Closer
from parwana.relay.landing import Landed


def over(town: Town) -> None:
    """Let a period end that every meter closed."""
    town.go_to(town.periods.start(town.first + 1) + 60)
    for meter in (town.feeder, *town.houses):
        town.close(meter, town.first, 5000)


def broken_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the first transaction that calls `name` not be sent."""
    real = Opening.open
    broken: list[str] = []

    def open_it(opening: Opening, call: Call, *more: Any) -> Any:
        if call.what == name and not broken:
            broken.append(name)
            raise Unreachable("the node is away")
        return real(opening, call, *more)

    monkeypatch.setattr(Opening, "open", open_it)


def test_bills_that_could_not_be_sent_are_sent_by_the_next_step(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = town.landing()
    over(town)
    broken_once(monkeypatch, "reconcile")  # the first of what is sent together
    with pytest.raises(Unreachable):
        landing.step()
    assert landing.step() == Landed(bills=4)
    town.go_to(town.world.clock.time_s + 60)  # when what no event tells is asked for again
    assert landing.step() == Landed(balances=1)
    assert landing.step() == Landed()


def test_a_last_reading_that_could_not_be_sent_is_sent_by_the_next_step(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing, house = town.landing(), town.houses[0]
    over(town)
    landing.step()
    town.read(house, town.world.clock.time_s + 600, 6000)
    town.go_to(town.world.clock.time_s + 700)
    town.world.chain.send(town.world.ledgers.registry.functions.retire(house.key.address))
    town.follow()
    broken_once(monkeypatch, "finish")
    town.go_to(town.periods.start(town.first + 2) + town.periods.length_s)
    with pytest.raises(Unreachable):
        landing.step()
    landing.step()
    assert town.closing(house)[1] == 6000


def test_what_a_relay_landed_that_is_gone_since_is_billed_by_the_other(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found the same closings; one landed them and was killed before their bills."""
    landing = town.landing()
    landing.step()
    over(town)
    real = Closer._send

    def second(closer: Closer, rows: Any, found: Any, told: Any) -> int:
        monkeypatch.undo()
        data = b"".join(frame.frame + frame.signature for frame in found)
        chain = Chain.of(town.world.deployment, dev_key(7))
        chain.send(town.world.ledgers.energy.functions.close(data))
        return real(closer, rows, found, told)

    monkeypatch.setattr(Closer, "_send", second)
    landed = [landing.step() for _ in range(2)]
    assert (sum(one.closings for one in landed), sum(one.bills for one in landed)) == (0, 4)
