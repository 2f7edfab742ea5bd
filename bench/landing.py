"""Count the blocks in which the closings, bills and balances of one period's end are landed.

    python -m bench.landing [--meters 1000] [--relays 1] [--block-s 12] [--most 3]

Houses under feeders close a day on an anvil that makes a block of --block-gas every --block-s
seconds; relays of one store land it at once, each a process with a key of its own. Exit code 1
where it takes more than --most blocks, or a closing is sent twice.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import wire
from hil_tests import anvil
from hil_tests.chainkit import START_S, terms
from hil_tests.services import SignedMeter
from parwana.chain import deploy, outbox
from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.relay.follower import Follower
from parwana.store.reader import Store, signed_frame

HOUSES = 200  # a feeder
ENROLLED = 64  # a transaction
RELAYS = (5, 6, 7, 8)
LAND = """
import json, sys, time
from dataclasses import asdict
from pathlib import Path
from parwana.chain.deployment import Deployment
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.relay.landing import Landing
from parwana.store.reader import Store
path, key, now_s = sys.argv[1:]
of = Deployment.load(Path(path))
store = Store(of.store)
told = lambda what, done, total: print(f"  relay {key}: {what} {done} of {total}", flush=True)
landing = Landing(of, store, lambda: Chain.of(of, dev_key(int(key))), lambda: int(now_s), 0,
                  told=told)
# What a relay knows before a period ends: meters, their last closings, what is billed.
real, landing._now = landing._now, lambda: int(now_s) - 86400
landing.step()
landing._now = real
print("ready", flush=True)
sys.stdin.readline()
sums = {}
quiet = 0
while quiet < 3:
    done = asdict(landing.step())
    done.pop("roots")
    quiet = 0 if any(done.values()) else quiet + 1
    sums = {name: sums.get(name, 0) + number for name, number in done.items()}
    time.sleep(0.5)
print("landed " + json.dumps(sums), flush=True)
"""


def enrol(chain: Chain, registry: Any, entries: list[tuple[Any, ...]]) -> None:
    """Enrol all, many in flight."""
    calls = (
        (at, registry.functions.enrol_many(entries[at : at + ENROLLED]))
        for at in range(0, len(entries), ENROLLED)
    )
    for at, _ in chain.send_all(calls):
        print(f"\renrolled {at + ENROLLED} of {len(entries)}", end="", file=sys.stderr)
    print(file=sys.stderr)


def fill(made: Deployment, store: Store, meters: dict[SignedMeter, int]) -> int:
    """Store the closing of each meter of the day that is over; return the time of now."""
    period = made.periods.of(START_S)
    end_s = made.periods.start(period + 1)
    flags = wire.FLAG_CLOSING | wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT
    with store.transaction() as tx:
        tx.add_all(
            {
                meter.address: [
                    signed_frame(
                        meter.address,
                        *meter.reading(1, time_s=end_s, energy_wh=5000 * share, flags=flags),
                    )
                ]
                for meter, share in meters.items()
            },
            end_s + 60,
        )
    return end_s + 7200


def count(chain: Chain, made: Deployment, first: int) -> tuple[Counter[str], set[int], int]:
    """Return what was logged from a block on, in which blocks, and how much was skipped."""
    ledgers, skipped = chain.ledgers(made), 0
    found: Counter[str] = Counter()
    blocks: set[int] = set()
    for _, logs in chain.every((ledgers.energy, ledgers.payment), first, chain.head()):
        for entry in logs:
            found[entry["event"]] += 1
            blocks.add(entry["blockNumber"])
            if entry["event"] == "Closed":
                results = unpack_results(entry["args"]["results"])
                taken = sum(isinstance(result, Closing) for result in results)
                found["closings"] += taken
                skipped += len(results) - taken
    return found, blocks, skipped


def main() -> int:
    """Enrol, close, land, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meters", type=int, default=1000, help="houses")
    parser.add_argument("--relays", type=int, default=1, choices=range(1, len(RELAYS) + 1))
    parser.add_argument("--block-s", type=int, default=12)
    parser.add_argument("--block-gas", type=int, default=60_000_000, help="as Ethereum's blocks")
    parser.add_argument("--most", type=int, default=3, help="blocks; 0: as many as it takes")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-landing-"))
    os.environ[outbox.VARIABLE] = str(folder / "state")  # each anvil's first block is the same
    store = Store(f"sqlite:///{folder}/store.db")
    with (folder / "anvil.log").open("w") as log:
        more = "--balance", "1000000", "--gas-limit", str(options.block_gas)
        node = anvil.Anvil(log, "--timestamp", str(START_S), *more)
        try:
            return run(node, folder, store, options)
        finally:
            node.stop()
            store.close()


def run(node: anvil.Anvil, folder: Path, store: Store, options: argparse.Namespace) -> int:
    """Do it on a node."""
    chain = Chain(node.url, dev_key(0))
    url = f"sqlite:///{folder}/store.db"
    made = deploy.deploy(chain, terms(), "mqtt://127.0.0.1:1", url, lambda _: None)
    made.save(folder / "deployment.json")
    domain, registry = made.reading_domain, chain.ledgers(made).registry
    meters: dict[SignedMeter, int] = {}
    entries: list[tuple[Any, ...]] = []
    for feeder in range(-(-options.meters // HOUSES)):
        under = range(feeder * HOUSES, min(options.meters, (feeder + 1) * HOUSES))
        own = SignedMeter(10_000_000 + feeder, domain)
        meters[own] = len(under)
        entries.append((own.key.address, 10_000_000 + feeder, 2, 0, 0, 0))
        for i in under:
            house = SignedMeter(i + 1, domain)
            meters[house] = 1
            entries.append((house.key.address, i + 1, 1, 10_000_000 + feeder, 0, 50_000))
    enrol(chain, registry, entries)
    Follower(made, store, lambda: chain, lambda _m, _b: None).step()
    now_s = fill(made, store, meters)
    command = [sys.executable, "-c", LAND, str(folder / "deployment.json")]
    relays = [
        subprocess.Popen(
            [*command, str(key), str(now_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for key in RELAYS[: options.relays]
    ]  # fmt: skip
    for relay in relays:
        assert relay.stdout
        if "ready\n" not in iter(relay.stdout.readline, ""):
            raise SystemExit("a relay ended before it began")
    node.ask("evm_setNextBlockTimestamp", hex(now_s))
    node.mine()
    first = chain.head() + 1
    node.ask("evm_setIntervalMining", options.block_s)
    began_s = time.monotonic()
    for relay in relays:
        assert relay.stdin
        relay.stdin.write("go\n")
        relay.stdin.flush()
    for relay in relays:
        assert relay.stdout
        for line in relay.stdout:
            print(line.rstrip(), flush=True)
        relay.wait()
    took_s = time.monotonic() - began_s
    found, blocks, skipped = count(chain, made, first)
    span = max(blocks) - min(blocks) + 1
    sent = sum(len(chain.transactions(number)) for number in blocks)
    print(
        f"{found['closings']} closings, {found['Billed']} bills, {found['Reconciled']} balances "
        f"in {sent} transactions of {options.relays} relays: {span} blocks, {skipped} sent twice "
        f"({took_s:.0f} s, blocks of {options.block_s} s)"
    )
    whole = found["closings"] == len(meters) and found["Billed"] == options.meters
    late = options.most and span > options.most
    return int(not whole or skipped > 0 or bool(late))


if __name__ == "__main__":
    sys.exit(main())
