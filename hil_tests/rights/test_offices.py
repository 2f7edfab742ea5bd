"""The utility's place, tolerances, sanctioned loads, credits: whose they are, nobody else's."""

from hil_tests.chainkit import Utility
from hil_tests.rights.conftest import Run
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.points import NOBODY
from parwana.permits.signer import PermitSigner
from parwana.store.reader import Store

NEXT = dev_key(6).address


def utilities(world: Utility) -> list[str]:
    contracts = (world.ledgers.registry, world.ledgers.payment)
    return [world.chain.call(one.functions.utility()) for one in contracts]


def test_the_place_passes_on_when_it_is_accepted(world: Utility, run: Run) -> None:
    old = dev_key(0).address
    assert run("utility", "offer", "--key", "dev:0", "--to", NEXT, "--yes").code == 0
    assert utilities(world) == [old, old]
    shown = run("utility", "show", "--json").json
    assert shown["registry"] == shown["payments"] == {"utility": old, "offered": NEXT}
    assert run("utility", "accept", "--key", "dev:6").code == 0
    assert utilities(world) == [NEXT, NEXT]
    done = run("utility", "offer", "--key", "dev:0", "--to", old, "--yes")
    assert done.code == 1
    assert f"only the utility {NEXT}" in done.err


def test_one_of_two_places_passes_on(world: Utility, run: Run) -> None:
    of = ("--of", "payments")
    assert run("utility", "offer", "--key", "dev:0", "--to", NEXT, *of, "--json").code == 0
    assert "not offered" in run("utility", "accept", "--key", "dev:6", "--of", "registry").err
    assert run("utility", "accept", "--key", "dev:6", "--json").json == {
        "payments": {"utility": NEXT, "offered": None}
    }
    assert utilities(world) == [dev_key(0).address, NEXT]


NO_PLACES: list[tuple[tuple[str, ...], str]] = [
    (("offer", "--key", "dev:7", "--to", NEXT), "only the utility"),
    (("offer", "--key", "dev:0", "--to", "0x12"), "40 hex digits"),
    (("offer", "--key", "dev:0", "--to", dev_key(0).address), "the utility already"),
    (("accept", "--key", "dev:6", "--of", "energy-registry"), "there is one registry"),
    (("accept", "--key", "dev:6"), "not offered to"),
    (("accept", "--key", "dev:0"), "not offered to"),
]


def test_the_place_goes_to_nobody_else(world: Utility, run: Run) -> None:
    head = world.chain.head()
    for arguments, words in NO_PLACES:
        done = run("utility", *arguments, "--json")
        assert done.code == 1
        assert words in done.err
    assert world.chain.head() == head


def test_an_offer_is_taken_back(world: Utility, run: Run) -> None:
    assert run("utility", "offer", "--key", "dev:0", "--to", NEXT, "--yes").code == 0
    assert run("utility", "offer", "--key", "dev:0", "--to", "nobody").code == 0
    assert "not offered" in run("utility", "accept", "--key", "dev:6").err
    assert world.chain.call(world.ledgers.registry.functions.offered()) == NOBODY


def test_a_tolerance_counts_from_the_next_period_on(world: Utility, run: Run) -> None:
    registry = world.ledgers.registry.functions
    world.chain.send(registry.enrol((dev_key(30).address, 100, 2, 0, 0, 0)))
    period = world.deployment.periods.of(world.clock.time_s)
    done = run("tolerance", "set", "--key", "dev:0", "--feeder", "100", "--percent", "4.25")
    assert done.code == 0
    assert f"4.25 % from period {world.deployment.periods.text(period + 1)}" in done.out
    assert run("tolerance", "show", "--json").json == {
        "default_bp": 300,
        "feeders": [{"feeder": 100, "tolerance_bp": 300, "next_bp": 425}],
    }
    assert "transformer 100" in run("tolerance", "show").out


NO_TOLERANCES: list[tuple[tuple[str, ...], str]] = [
    (("--key", "dev:7", "--feeder", "100", "--percent", "4"), "only the utility"),
    (("--key", "dev:0", "--feeder", "17", "--percent", "4"), "there are: 100"),
    (("--key", "dev:0", "--feeder", "100", "--percent", "20.01"), "write 0 to 20"),
    (("--key", "dev:0", "--feeder", "100", "--percent", "4.255"), "write 0 to 20"),
    (("--key", "dev:0", "--feeder", "100", "--percent", "nan"), "write 0 to 20"),
    (("--key", "dev:0", "--feeder", "100", "--percent", "-1"), "write 0 to 20"),
    (("--key", "dev:0", "--feeder", "100", "--percent", "1e999999"), "write 0 to 20"),
]


def test_no_other_tolerance_is_set(world: Utility, run: Run) -> None:
    registry = world.ledgers.registry.functions
    world.chain.send(registry.enrol((dev_key(30).address, 100, 2, 0, 0, 0)))
    head = world.chain.head()
    for more, words in NO_TOLERANCES:
        done = run("tolerance", "set", *more)
        assert done.code == 1
        assert words in done.err
    assert world.chain.head() == head


def test_a_sanctioned_load_is_raised(world: Utility, run: Run) -> None:
    house = world.enrol(17)
    done = run("raise-load", "--key", "dev:0", "--number", "17", "--watts", "8000")
    assert done.code == 0
    assert done.out == "number 17: 8000 W sanctioned, 5000 W before\n"
    functions = world.ledgers.registry.functions
    assert world.chain.call(functions.meter(house.address)).sanctioned_load_dw == 80_000


def test_no_other_load_is_raised(world: Utility, run: Run) -> None:
    world.enrol(17)
    gone = world.enrol(18)
    world.chain.send(world.ledgers.registry.functions.retire(gone.address))
    head = world.chain.head()
    stranger = ("--meter", "0x" + "55" * 20)
    for who, which, watts, words in (
        ("dev:7", ("--number", "17"), "8000", "only the utility"),
        ("dev:0", ("--number", "17"), "5000", "5000 W are sanctioned"),
        ("dev:0", ("--number", "19"), "8000", "never enrolled"),
        ("dev:0", stranger, "8000", "never enrolled"),
        ("dev:0", ("--number", "18"), "8000", "left service"),
        ("dev:0", (), "8000", "--meter or --number"),
    ):
        done = run("raise-load", "--key", who, *which, "--watts", watts)
        assert done.code == 1
        assert words in done.err
    assert run("raise-load", "--key", "dev:0", "--number", "17", "--watts", 2**32).code == 2
    assert world.chain.head() == head


def test_the_utility_takes_its_income_and_nobody_else_does(
    world: Utility, run: Run, store: Store
) -> None:
    house = world.enrol(1001)
    world.close_period()
    world.pay(house)
    assert "nothing is credited" in run("withdraw", "--key", "dev:0").err, "locked is not earned"
    world.node.mine(2)
    keys = [dev_key(1), dev_key(2)]
    PermitSigner(world.deployment, store, keys, lambda: Chain.of(world.deployment, keys[0])).step()
    amount = run("withdraw", "--key", "dev:0", "--show", "--json").json["credited"]
    assert amount > 0
    assert "nothing is credited" in run("withdraw", "--key", "dev:7").err
    before = world.chain.balance(dev_key(0).address)
    assert run("withdraw", "--key", "dev:0", "--json").json["withdrawn"] == amount
    gained = world.chain.balance(dev_key(0).address) - before
    assert 0 < amount - gained < 10**16, "all of it, less the gas"
    assert run("withdraw", "--key", "dev:0").code == 1, "once"
