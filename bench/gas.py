"""Measure what the contracts' calls cost, beside a floor, a naive contract and the goals.

    python -m bench.gas [--json FILE]

On py-evm (Prague rules) and on anvil (Osaka; needs npm, or anvil on PATH). Readings are as meters
send them, in a second period: slots are not new. Exit code 1 where a goal is missed.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi import encode
from eth_utils import keccak

import wire
from bench.gas_chains import AnvilEvm
from hil_tests.anvil import RuntimeMissing
from hil_tests.contracts.evm import Contract, Evm
from hil_tests.contracts.world import (
    HOUSE,
    LOAD_DW,
    OTHER,
    PAYER,
    START_S,
    TRANSFORMER,
    UTILITY,
    Meter,
    World,
)
from parwana import BUILD
from parwana.chain import contracts

BATCH = 128
DAYS = 30
HOUSES = 200
# Prices that costs are stated at. L1: what a unit of gas costs. Rollup: its own gas, and the data
# that it lands on L1 in blobs, a unit of blob gas a byte, uncompressed.
ETH_USD = 3000
L1_GWEI = 2.0
ROLLUP_GWEI = 0.01
BLOB_GWEI = 1.0
# Source: the yellow paper and EIPs 152, 1108, 2028, 2929
BASE, SLOT, ECRECOVER, LOG_BYTE = 21_000, 5000, 3000, 8
ZERO_BYTE, OTHER_BYTE = 4, 16
READING = "(uint256,uint256,uint256,uint256,uint256)"  # of Naive.vy


@dataclass(frozen=True)
class Cost:
    """Gas and bytes of calldata of one transaction, shared by `of` things."""

    gas: int
    data: bytes
    of: int = 1

    @property
    def each(self) -> float:
        """Gas of each."""
        return self.gas / self.of

    @property
    def bytes_each(self) -> float:
        """Bytes of calldata of each."""
        return len(self.data) / self.of


Costs = dict[str, Cost]


def calldata_gas(data: bytes) -> int:
    """Return what a transaction pays for its data (EIP-2028)."""
    return data.count(0) * ZERO_BYTE + (len(data) - data.count(0)) * OTHER_BYTE


def floor(batch: bytes) -> float:
    """Return the least that a closing can cost in a batch: its share of the transaction, its data,
    SHA-256 of domain and frame, one recovery, one slot, 32 bytes of a log."""
    count = len(batch) // 104
    sha256 = 60 + 12 * 3
    return (BASE + calldata_gas(batch)) / count + sha256 + ECRECOVER + SLOT + 32 * LOG_BYTE


def sent(contract: Contract, name: str, *args: Any, of: int = 1, **how: Any) -> Cost:
    """Send a call and return what it cost."""
    result = getattr(contract, name)(*args, **{"sender": OTHER, **how})
    return Cost(result.gas, contract.data(name, *args), of)


def closing(meter: Meter, time_s: int, energy_wh: int) -> bytes:
    """Sign what a house's meter sends after a month of quarters of an hour."""
    meter.sequence += 2880
    values = (2301, 2417, 4302, 5119, 5001, 97, 12)
    flags = wire.FLAG_CLOSING
    return meter.signed(
        wire.pack_reading(flags, meter.sequence, time_s, energy_wh, *values, wire.TRUST_NETWORK)
    )


class Feeders(World):
    """A world with many feeders, closed and measured period by period."""

    def feeder(self, number: int, houses: int) -> tuple[Meter, list[Meter]]:
        """Enrol a transformer and its houses, many in a transaction."""
        transformer = self.enrol(f"transformer {number}", number, TRANSFORMER)
        meters = [Meter(f"house {number} {i}", 10_000 * number + i) for i in range(houses)]
        rows = [(m.address, m.number, HOUSE, number, 0, LOAD_DW) for m in meters]
        for at in range(0, houses, 64):
            self.registry.enrol_many(rows[at : at + 64], sender=UTILITY)
        return transformer, meters

    def close_all(self, meters: list[Meter], energy_wh: int) -> list[Cost]:
        """Close the period that is over; return the costs of full batches first."""
        start = self.start(self.period)
        costs = []
        for at in range(0, len(meters), BATCH):
            part = meters[at : at + BATCH]
            data = b"".join(closing(meter, start, energy_wh + i) for i, meter in enumerate(part))
            costs.append(sent(self.energy, "close", data, of=len(part)))
        return costs


def feeders(evm: Evm) -> Costs:
    """Measure closings and balances, of feeders of several sizes."""
    world = Feeders(evm)
    sizes = {1: 10, 2: HOUSES, 3: 1000}
    made = {number: world.feeder(number, houses) for number, houses in sizes.items()}
    small = [world.feeder(number, 1) for number in range(10, 42)]
    found: Costs = {}
    for month in (1, 2, 3):
        over = world.next_period()
        own = [transformer for transformer, _ in (*made.values(), *small)]
        owns = world.close_all(own, 900_000 * month)
        houses = {number: world.close_all(made[number][1], 123_000 * month) for number in sizes}
        world.close_all([house for _, [house] in small], 123_000 * month)
        if month == 1:
            found["close 128, a meter's first"] = houses[3][0]
            continue
        found["close 128"] = houses[3][0]
        found["close 72"] = houses[2][1]
        found["close of a feeder's own meter"] = owns[0]
        for number, size in sizes.items():
            found[f"reconcile, {size} houses"] = sent(world.energy, "reconcile", number, over)
        numbers = [transformer.number for transformer, _ in small]
        found["reconcile_many 32"] = sent(world.energy, "reconcile_many", numbers, over, of=32)
    world.next_period()
    start = world.start(world.period)
    for count in (1, 16):
        some = made[1 if count == 1 else 3][1][:count]
        data = b"".join(closing(meter, start, 600_000) for meter in some)
        found[f"close {count}"] = sent(world.energy, "close", data, of=count)
    days = [(20_000 + i, bytes([i + 1]) * 32, 19_300) for i in range(2)]
    found["commit, a day's root"] = sent(world.energy, "commit", 0, days[:1])
    found["commit, two days' roots"] = sent(world.energy, "commit", 0, days, of=2)
    return found


def payments(evm: Evm, threshold: int) -> Costs:
    """Measure a bill, its payment and its permit, alone and for many houses."""
    world = World(evm)
    world.payment = world.deploy("PaymentLedger", *world.payment_arguments(threshold=threshold))
    houses = [world.enrol(f"house {i}", 10 + i) for i in range(32)]
    found: Costs = {}
    by = tuple(range(threshold))
    for month in (1, 2):
        world.next_period()
        start = world.start(world.period)
        batch = b"".join(closing(house, start, 123_000 * month) for house in houses)
        world.energy.close(batch, sender=OTHER)
        first, *rest = [house.address for house in houses]
        found["settle"] = sent(world.payment, "settle", first)
        found["settle_many 31"] = sent(world.payment, "settle_many", rest, of=31)
        for address in (first, *rest):
            due = world.payment.account(address).due
            world.evm.fund(PAYER, due)
            found["pay"] = sent(world.payment, "pay", address, due, sender=PAYER, value=due)
        claims = []
        for house in houses:
            frame = world.permit(house)
            claims.append((house.address, frame, world.sign(frame, house.address, by)))
        found["claim"] = sent(world.payment, "claim", *claims[0])
        found["claim_many 31"] = sent(world.payment, "claim_many", claims[1:], of=31)
    return found


def naive(evm: Evm) -> Cost:
    """Measure a contract that keeps a struct for each reading."""
    artifact = contracts.load("Naive", Path(__file__).parent)
    contract = evm.deploy(artifact, sender=UTILITY)
    meter = Meter("naive")
    cost = Cost(0, b"")
    for month in (1, 2):
        reading = (START_S + month, 123_000 * month, 2301, 2417, 5119)
        signature = meter.sign(keccak(encode([READING], [reading])))
        vs = int.from_bytes(signature[32:])
        parts = 27 + (vs >> 255), signature[:32], (vs % 2**255).to_bytes(32)
        cost = sent(contract, "store", reading, *parts)
    return cost


def measure(evm_of: Any) -> dict[str, Any]:
    """Measure all on one chain; `evm_of()` makes a fresh one."""
    costs = feeders(evm_of())
    ones, twos = payments(evm_of(), 1), payments(evm_of(), 2)
    costs |= ones
    costs["claim, two signers"] = twos["claim"]
    costs["naive, a reading"] = naive(evm_of())
    batch = costs["close 128"].data[68:][: BATCH * 104]
    least = floor(batch)
    root = costs["commit, a day's root"].gas
    shared = (costs["close 128"].gas + costs["close 72"].gas) / HOUSES
    feeder = costs["close of a feeder's own meter"].each + costs["reconcile, 200 houses"].gas
    month = shared + (feeder + DAYS * root) / HOUSES
    data = (
        costs["close 128"].bytes_each
        + costs["close of a feeder's own meter"].bytes_each / HOUSES
        + costs["reconcile, 200 houses"].bytes_each / HOUSES
        + DAYS * costs["commit, a day's root"].bytes_each / HOUSES
    )
    paying = sum(costs[name].gas for name in ("settle", "pay", "claim"))
    paying_data = sum(len(costs[name].data) for name in ("settle", "pay", "claim"))
    goals = [
        ("128 closings, each", costs["close 128"].each, 11_500),
        ("128 closings, times the floor", costs["close 128"].each / least, 1.2),
        *(
            (f"reconcile, {size} houses", costs[f"reconcile, {size} houses"].gas, 30_000)
            for size in (10, 200, 1000)
        ),
        ("reconcile_many 32, each", costs["reconcile_many 32"].each, 14_000),
        ("settle + pay + claim, one signer", paying, 165_000),
        ("a further signer", twos["claim"].gas - ones["claim"].gas, 8000),
        (f"meter-month, {HOUSES} houses, {DAYS} roots", month, 16_000),
    ]
    return {
        "calls": {
            name: {"gas": round(cost.each, 1), "bytes": round(cost.bytes_each, 1)}
            for name, cost in costs.items()
        },
        "floor": round(least, 1),
        "goals": [
            {"what": what, "measured": round(got, 3), "goal": goal, "met": got <= goal}
            for what, got, goal in goals
        ],
        "house_month": {
            "metered": priced(month, data),
            "metered, billed and paid": priced(month + paying, data + paying_data),
        },
    }


def priced(gas: float, data: float) -> dict[str, float]:
    """Return gas, bytes and what they cost at the stated prices, in US dollars."""
    l1 = gas * L1_GWEI * 1e-9 * ETH_USD
    rollup = (gas * ROLLUP_GWEI + data * BLOB_GWEI) * 1e-9 * ETH_USD
    costs = {"l1_usd": round(l1, 5), "rollup_usd": round(rollup, 5)}
    return {"gas": round(gas), "bytes": round(data), **costs}


def show(chain: str, found: dict[str, Any]) -> None:
    """Print one chain's figures."""
    print(f"{chain}\n{'':36}{'gas':>10}{'bytes':>8}")
    for name, cost in sorted(found["calls"].items()):
        print(f"{name:36}{cost['gas']:10,.0f}{cost['bytes']:8.0f}")
    print(f"{'floor of a closing':36}{found['floor']:10,.0f}\n")
    for goal in found["goals"]:
        said = "" if goal["met"] else "  MISSED"
        print(f"{goal['what']:36}{goal['measured']:10,.6g}  goal {goal['goal']:,}{said}")
    print()
    for name, cost in found["house_month"].items():
        text = f"{cost['gas']:,} gas, {cost['bytes']} bytes: ${cost['l1_usd']} on L1, "
        print(f"house-month, {name}: {text}${cost['rollup_usd']} on a rollup")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=BUILD / "gas.json")
    options = parser.parse_args()
    found = {"py-evm": measure(lambda: Evm(START_S))}
    show("py-evm", found["py-evm"])
    running: list[AnvilEvm] = []
    with tempfile.TemporaryFile("w+") as log:

        def anvil() -> Evm:
            running.append(AnvilEvm(START_S, log))
            return running[-1]

        try:
            found["anvil"] = measure(anvil)
            show("anvil", found["anvil"])
        except RuntimeMissing as error:
            print(f"anvil left out: {error}")
        finally:
            for each in running:
                each.stop()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(
        f"At {L1_GWEI} gwei on L1; {ROLLUP_GWEI} gwei on the rollup, {BLOB_GWEI} a byte of its "
        f"data; ETH at ${ETH_USD}. All figures: {options.json}"
    )
    return 0 if all(goal["met"] for each in found.values() for goal in each["goals"]) else 1


if __name__ == "__main__":
    sys.exit(main())
