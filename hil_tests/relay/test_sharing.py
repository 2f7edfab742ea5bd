"""Several relays of one store land each thing once; one that died holds nobody up for long."""

import threading
from typing import Any

import pytest

from hil_tests.services import SignedMeter
from hil_tests.town import Town
from parwana.chain import sender
from parwana.chain.contracts import unpack_results
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.relay import balances, bills, closer
from parwana.relay.landing import Landed, Landing
from parwana.relay.waits import LEASE_S
from parwana.store.leases import LeaseChanges


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few meters take many transactions."""
    monkeypatch.setattr(closer, "CLOSINGS_MAX", 2)
    monkeypatch.setattr(bills, "HOUSES_MAX", 1)
    monkeypatch.setattr(balances, "FEEDERS_MAX", 1)


def relay(town: Town, key: int) -> Landing:
    world = town.world
    return Landing(
        world.deployment,
        town.store,
        lambda: Chain.of(world.deployment, dev_key(key)),
        world.clock.now,
        0,
    )


def over(town: Town) -> None:
    """Let a period end that every meter closed."""
    town.go_to(town.periods.start(town.first + 1) + 60)
    for meter in (town.feeder, *town.houses):
        town.close(meter, town.first, 5000)


def sent(town: Town, first: int) -> tuple[int, int, int]:
    """Return how many closings were sent, houses billed, feeders balanced, from a block on."""
    ledgers, chain = town.world.ledgers, town.world.chain
    closed = chain.logs(ledgers.energy.events.Closed, first)
    return (
        sum(len(unpack_results(log["args"]["results"])) for log in closed),
        len(chain.logs(ledgers.payment.events.Billed, first)),
        len(chain.logs(ledgers.energy.events.Reconciled, first)),
    )


def test_relays_at_once_send_nothing_twice(town: Town) -> None:
    others = [SignedMeter(seed, town.feeder.domain) for seed in range(700, 706)]
    for number, meter in enumerate(others, 700):
        town.enrol(meter, number, 1, 0)
    town.follow()
    relays = [relay(town, key) for key in (7, 8, 9)]
    assert [one.step() for one in relays] == [Landed()] * 3
    over(town)
    for meter in others:
        town.close(meter, town.first, 5000)
    first, blocks = town.world.chain.head() + 1, town.world.chain.head()
    landed: list[Landed] = []

    def work(one: Landing) -> None:
        for _ in range(4):
            landed.append(one.step())

    threads = [threading.Thread(target=work, args=(one,)) for one in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sent(town, first) == (11, 10, 1), "each once"
    assert sum(one.closings for one in landed) == 11
    assert sum(one.bills for one in landed) == 10
    assert sum(one.balances for one in landed) == 1
    assert town.world.chain.head() - blocks <= 9 + 10 + 1, "no empty transaction"


def test_what_a_dead_relay_was_about_to_send_waits_for_its_lease(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, living = relay(town, 7), relay(town, 8)
    living.step()
    over(town)
    with monkeypatch.context() as patched:
        patched.setattr(sender.Sender, "send_all", dies)
        with pytest.raises(KeyboardInterrupt):
            dead.step()
    first = town.world.chain.head() + 1
    assert living.step() == Landed(closings=3, bills=3), "all but the two that are another's"
    assert living.step() == Landed()
    now_s = LeaseChanges._now_s
    monkeypatch.setattr(LeaseChanges, "_now_s", lambda tx: now_s(tx) + LEASE_S)
    assert living.step() == Landed(closings=2, bills=1, balances=1)
    assert sent(town, first) == (5, 4, 1)


def test_a_relay_that_is_begun_anew_goes_on_with_what_it_held(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    over(town)
    with monkeypatch.context() as patched:
        patched.setattr(sender.Sender, "send_all", dies)
        with pytest.raises(KeyboardInterrupt):
            relay(town, 7).step()
    assert relay(town, 7).step() == Landed(closings=5, bills=4, balances=1)


def dies(_sender: Any, calls: Any, _timeout_s: float) -> Any:
    """Be killed when the first call is ready."""
    next(iter(calls))
    raise KeyboardInterrupt


def test_what_was_on_its_way_when_a_relay_ended_is_heard_of_before_anything_is_sent(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died with both batches sent; begun anew, it finds other closings in the store, too."""
    late = town.houses[3]
    town.go_to(town.periods.start(town.first + 1) + 60)
    for meter in (town.feeder, *town.houses[:3]):
        town.close(meter, town.first, 5000)
    first = town.world.chain.head() + 1
    with monkeypatch.context() as patched:
        patched.setattr(sender.Sender, "_wait", killed)
        with pytest.raises(KeyboardInterrupt):
            relay(town, 7).step()
    assert sent(town, first)[0] == 4
    town.close(late, town.first, 5000)
    assert relay(town, 7).step() == Landed(closings=1, bills=4, balances=1)
    assert sent(town, first) == (5, 4, 1)


def killed(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_a_step_tells_how_far_it_is(town: Town) -> None:
    over(town)
    told: list[tuple[str, int, int]] = []
    landing = relay(town, 7)
    landing._tell = lambda *how_far: told.append(how_far)
    landing.step()
    assert [one for one in told if one[0] == "closings"] == [
        ("closings", done, 5) for done in (2, 4, 5)
    ]
    assert ("bills", 4, 4) in told
    assert ("balances", 1, 1) in told
    assert landing.progress == {}
