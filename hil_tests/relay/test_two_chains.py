"""A month on two chains: balances on one, bills on the other, signed closings on both."""

import json
from contextlib import ExitStack
from typing import Any

import pytest
from eth_utils import to_checksum_address

from hil_tests.chainkit import HandClock, Utility, terms
from hil_tests.fakenode import FakeNode, Odd
from hil_tests.town import FEEDER, Town
from parwana import cli
from parwana.audit.command import audit
from parwana.chain import deploy
from parwana.chain.deployment import Deployment, DeploymentError
from parwana.chain.errors import ChainError
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import Period
from parwana.devchain.server import DevChain
from parwana.meter.enrolment import Enrolment, Place
from parwana.permits.signer import PermitSigner
from parwana.relay.landing import Landed
from parwana.relay.service import landings_of
from parwana.store.reader import Store

PAYMENTS, ENERGY = 31337, 31338
RELAY = dev_key(9)


class TwoTowns(Town):
    """A town whose registry is on both chains, by the utility's own tool."""

    def __init__(self, world, there, store):
        self.there = there  # the energy chain's node
        super().__init__(world, store)

    def enrol(self, meter, number, kind, feeder):
        place = Place(number, "house" if kind == 1 else "transformer", str(feeder), 5000)
        clock: Any = self.world.clock
        Enrolment(self.world.deployment, dev_key(0), clock).enrol(meter.key.address, place, 0)

    def go_to(self, time_s):
        super().go_to(time_s)
        self.there.mine()

    def connect_there(self):
        return Chain.of(self.world.deployment.on_energy_chain, RELAY)

    def landings(self):
        """Return what a relay has that knows nothing yet."""
        made = self.world.deployment

        def connect():
            return Chain.of(made, RELAY)

        now = self.world.clock.now
        return landings_of(made, self.store, connect, self.connect_there, now, 0, 0)

    def land(self):
        return {name: landing.step() for name, landing in self.landings().items()}

    def month(self, supplied_wh, used_wh):
        """Let a month pass in which each house used so much."""
        for meter, wh in ((self.feeder, supplied_wh), *((h, used_wh) for h in self.houses)):
            self.close(meter, self.first, self.energy_wh.get(meter.address, 0) + wh)
        self.go_to(self.periods.start(self.first + 1) + 60)
        self.first += 1
        return self.first - 1

    def ledgers_there(self):
        chain = self.connect_there()
        return chain, chain.ledgers(self.world.deployment.on_energy_chain)


@pytest.fixture
def town(tmp_path):
    with ExitStack() as stack:
        clock = HandClock()
        here, there = (
            stack.enter_context(DevChain(clock=clock, block_interval_s=600, chain_id=chain_id))
            for chain_id in (PAYMENTS, ENERGY)
        )
        chain, beside = Chain(here.url, dev_key(0)), Chain(there.url, dev_key(0))
        monthly = terms(period=Period("month", 0, 19800), payment_window_s=10 * 86400)
        store_url = f"sqlite:///{tmp_path / 'store.db'}"
        made = deploy.deploy(
            chain, monthly, "mqtt://127.0.0.1:1", store_url, lambda _: None, there=beside
        )
        world = Utility(here, clock, made, chain, chain.ledgers(made))
        store = Store(store_url)
        stack.callback(store.close)
        yield TwoTowns(world, there, store)


def settled_in(town):
    """Land the month in which all were enrolled; the next is the first to be compared."""
    town.month(4100, 1000)
    town.land()
    return town


def test_a_month_on_two_chains(town, tmp_path, capsys):
    settled_in(town)
    period = town.month(20_500, 5000)
    done = town.land()
    assert done["landing energy"] == Landed(closings=5, bills=0, balances=1, roots=1)
    assert done["landing"] == Landed(closings=5, bills=4, balances=0, roots=0)
    assert town.land() == {"landing energy": Landed(), "landing": Landed()}, "nothing twice"
    # The payment chain bills, and has no balance; the energy chain the reverse.
    world, (there, ledgers) = town.world, town.ledgers_there()
    event = ledgers.energy.events.Reconciled
    [_, log] = there.logs(event, 0, feeder=FEEDER)
    args = log["args"]
    assert (args.period, args.supplied_wh, args.sold_wh, args.alarm) == (period, 20_500, 20_000, 0)
    assert not world.chain.logs(world.ledgers.energy.events.Reconciled, 0)
    # A house pays on its chain, and the signers' permit is bound to that chain's ledger.
    house = town.houses[0].key
    world.pay(house)
    world.node.mine(3)
    keys = [dev_key(1), dev_key(2)]
    signer = PermitSigner(
        world.deployment, town.store, keys, lambda: Chain.of(world.deployment, keys[0])
    )
    assert signer.step().claimed == 1
    town.follow()
    report = audit(world.deployment, world.chain, town.store, (), lambda *_: None, there)
    assert [str(finding) for finding in report.findings] == []
    path = tmp_path / "town.json"
    world.deployment.save(path)
    for command, number in (("audit", 0), ("balance", 0)):
        assert cli.main([command, "--deployment", str(path), "--json"]) == number
    *_, told = capsys.readouterr().out.strip().splitlines()
    assert [(row["supplied_wh"], row["reconciled"]) for row in json.loads(told)][-1] == (
        20_500,
        True,
    )


@pytest.mark.long
def test_theft_is_seen_on_one_and_billed_on_neither(town):
    settled_in(town)
    town.month(40_000, 5000)
    town.land()
    there, ledgers = town.ledgers_there()
    [_, log] = there.logs(ledgers.energy.events.Reconciled, 0, feeder=FEEDER)
    assert log["args"].alarm == 1


@pytest.mark.parametrize(
    "away", [pytest.param("landing energy", marks=pytest.mark.long), "landing"]
)
def test_a_chain_that_is_away_holds_up_only_its_own(town, away):
    settled_in(town)
    town.month(20_500, 5000)
    other = {"landing": "landing energy", "landing energy": "landing"}[away]
    landings = town.landings()
    with FakeNode("http://127.0.0.1:9") as dead:
        dead.answer("eth_chainId", Odd(status=503, body=""), times=999)
        landings[away]._connect = lambda: Chain(dead.url, RELAY)
        assert landings[other].step().closings == 5
        with pytest.raises(ChainError):
            landings[away].step()
    assert town.land()[away].closings == 5


def test_a_closing_that_only_one_chain_has_is_found_by_the_audit(town):
    settled_in(town)
    period = town.month(20_500, 5000)
    town.landings()["landing"].step()
    town.go_to(town.periods.start(period + 1) + 3 * 86400)
    there = town.connect_there()
    report = audit(town.world.deployment, town.world.chain, town.store, (), lambda *_: None, there)
    late = [f for f in report.findings if f.kind == "not_landed"]
    assert len(late) == 5
    assert all(f.where.startswith("energy chain, ") for f in late)


@pytest.mark.long
def test_a_meter_that_leaves_leaves_both(town):
    settled_in(town)
    town.month(20_500, 5000)
    town.land()
    utility = Enrolment(town.world.deployment, dev_key(0), town.world.clock)
    house = town.houses[3]
    address = house.key.address
    assert utility._there is not None
    utility._there.retire(address)  # broke off after the first chain
    assert utility.retirable(address) == 104
    utility.retire(address)
    town.follow()
    period = town.periods.of(int(town.world.clock.time_s))
    town.read(house, int(town.world.clock.time_s) - 30, 10_700)
    town.go_to(town.periods.start(period + 1) + 60)
    assert {name: done.closings for name, done in town.land().items()} == {
        "landing energy": 1,
        "landing": 1,
    }


@pytest.mark.long
def test_enrolment_that_broke_off_goes_on_with_the_same_register(town):
    utility = Enrolment(town.world.deployment, dev_key(0), town.world.clock)
    new, place = dev_key(30).address, Place(130, "house", str(FEEDER), 5000)
    beside = utility._there
    assert beside is not None
    beside.enrol(new, place, 700)
    assert utility.found(new, place) == ""
    utility.enrol(new, place, 950)
    assert utility.found(new, place) == "enrolled already"
    for side in (utility, beside):
        assert side.entry(new).initial_wh == 700


def command(here, there, out, *more):
    return [
        *("deploy", "--rpc", here.url, "--energy-rpc", there.url, "--key", "dev:0"),
        *("--utility-id", "test", "--signer", dev_key(1).public_key.hex(), "--threshold", "1"),
        *("--out", str(out), *more),
    ]


def test_the_command_writes_both(tmp_path, capsys):
    out = tmp_path / "town.json"
    with (
        DevChain(block_interval_s=60) as here,
        DevChain(block_interval_s=60, chain_id=ENERGY) as there,
    ):
        assert cli.main(command(here, here, out)) == 1
        assert "is chain 31337, too; leave it out" in capsys.readouterr().err
        assert cli.main(command(here, there, out, "--escrow-window", "0")) == 1, "the last refuses"
        assert cli.main(command(here, there, out)) == 0
        assert list(tmp_path.iterdir()) == [out]
        made = Deployment.load(out)
        beside = made.on_energy_chain
        assert (made.chain_id, beside.chain_id) == (PAYMENTS, ENERGY)
        assert beside.rpc == there.url
        chain = Chain.of(beside)
        ledgers = chain.ledgers(beside)
        assert chain.call(ledgers.energy.functions.registry()) == beside.registry
        assert chain.call(ledgers.energy.functions.domain()) == made.reading_domain
        utility = to_checksum_address(dev_key(0).address)
        nonces = [Chain(n.url).w3.eth.get_transaction_count(utility) for n in (here, there)]
        assert nonces == [3, 2], "what was there was not made again"
        verify = tmp_path / "verify"
        bundle = ["contracts", "bundle", "--deployment", str(out), "--out", str(verify)]
        assert cli.main(bundle) == 0
        found = json.loads((verify / "verify.json").read_text())
        assert [entry["chain_id"] for entry in found] == [PAYMENTS] * 3 + [ENERGY] * 2


def test_a_file_that_names_a_wrong_energy_chain_is_refused(town, tmp_path):
    made = town.world.deployment
    path = tmp_path / "town.json"
    for change, words in (
        ({"chain_id": PAYMENTS}, "chain_id is the payment chain's"),
        ({"rpc": "nowhere"}, "energy: rpc is wrong"),
        ({"registry": "0x12"}, "energy: registry is '0x12'"),
        ({"broker": "mqtt://x"}, "energy must have chain_id, rpc, registry, energy_ledger"),
    ):
        path.write_text(json.dumps(made.as_dict() | {"energy": made.energy | change}))
        with pytest.raises(DeploymentError, match=words):
            Deployment.load(path)
