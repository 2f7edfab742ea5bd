"""A utility on two chains: its place in three contracts, one screen over both."""

from pathlib import Path

import pytest

from hil_tests.relay.test_two_chains import TwoTowns, settled_in, town
from hil_tests.rights.conftest import Run
from parwana.chain.keys import dev_key

__all__ = ["town"]
NEXT = dev_key(6).address


@pytest.fixture
def world(town: TwoTowns, tmp_path: Path) -> object:  # noqa: F811
    """Lend the payment chain's side; `deployment.json` tells of both."""
    town.world.deployment.save(tmp_path / "deployment.json")
    return town.world


@pytest.mark.usefixtures("world")
def test_the_place_passes_on_in_three_contracts(town: TwoTowns, run: Run) -> None:  # noqa: F811
    old = dev_key(0).address
    offer = ("utility", "offer", "--key", "dev:0", "--to", NEXT, "--json")
    assert set(run(*offer).json) == {"registry", "payments", "energy-registry"}
    there, ledgers = town.ledgers_there()
    utility = ledgers.registry.functions.utility()
    assert there.call(utility) == old
    line = ("utility", "accept", "--key", "dev:6", "--of", "energy-registry")
    assert run(*line).out == f"energy-registry: {NEXT}\n"
    assert there.call(utility) == NEXT
    shown = run("utility", "show", "--json").json
    assert shown["registry"] == {"utility": old, "offered": NEXT}


@pytest.mark.usefixtures("world")
def test_balances_are_looked_for_on_the_energy_chain(town: TwoTowns, run: Run) -> None:  # noqa: F811
    settled_in(town)
    town.month(20_500, 5000)
    town.land()

    def lines(*more: str) -> dict[str, tuple[str, str]]:
        found = run("status", "--json", *more).json["lines"]
        return {line["part"]: (line["state"], line["text"]) for line in found}

    parts = lines()
    assert (parts["chain"][0], parts["energy chain"][0]) == ("ok", "ok")
    assert parts["energy chain"][1].startswith("chain 31338")
    assert parts["closings"][0] == "ok"
    assert parts["closings"][1].endswith("balanced")
    parts = lines("--energy-rpc", "http://127.0.0.1:1")
    assert parts["energy chain"][0] == "wrong"
    assert "closings" not in parts
    assert parts["chain"][0] == "ok"
