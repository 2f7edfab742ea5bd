"""Time `parwana audit` on 10,000 closings, and see that it finds each of the frauds in a copy.

    python -m bench.audit [--meters 1000] [--days 10] [--readings 0]

Houses under feeders close a day at a time on the embedded chain, with bills, daily roots and some
payments; the store is filled directly. The audit runs as a command of its own, as people run it:
all, then what one more day brought, from a checkpoint on. Exit code 1 where either takes more than
its ceiling (of processor time), or misses a fraud.
"""

import argparse
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hil_tests.chainkit import Utility, utility
from hil_tests.services import OF, SignedMeter
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.chain.periods import DAY_S
from parwana.relay.roots import Roots
from parwana.store.reader import SignedFrame, Store, signed_frame
from parwana.store.rows import packed
from parwana.store.tables import CLOSING

CEILING_S = 60.0
FRAMES = 100_000  # for so many the ceiling is
DAY_SHARE = 0.05  # of a whole audit, one more day
HOUSES = 200  # a feeder
BATCH = 128
BILLS = 64
EXIT_FINDINGS = 3


class City:
    """Feeders with houses, in which every day is alike."""

    def __init__(self, world: Utility, store: Store, meters: int, readings: int) -> None:
        self.world, self.store, self.readings = world, store, readings
        self.periods = world.deployment.periods
        self.day = self.periods.of(world.clock.time_s)
        domain = world.deployment.reading_domain
        self.feeders: dict[SignedMeter, list[SignedMeter]] = {}
        for feeder in range(-(-meters // HOUSES)):
            number = 1_000_000 + feeder
            own = self._enrol(SignedMeter(number, domain), number, 2, 0)
            under = range(feeder * HOUSES, min(meters, (feeder + 1) * HOUSES))
            self.feeders[own] = [
                self._enrol(SignedMeter(i + 1, domain), i + 1, 1, number) for i in under
            ]
        self.sequence = 0
        made = world.chain, world.ledgers, store, world.deployment
        self.roots = Roots(*made, world.clock.now, wait_s=0)

    def _enrol(self, meter: SignedMeter, number: int, kind: int, feeder: int) -> SignedMeter:
        entry = (meter.key.address, number, kind, feeder, 0, 50_000)
        self.world.chain.send(self.world.ledgers.registry.functions.enrol(entry))
        return meter

    def live(self) -> None:
        """Let a day pass, then close, bill, balance and commit it."""
        start_s, end_s = self.periods.start(self.day), self.periods.start(self.day + 1)
        self.world.clock.time_s = end_s + DAY_S // 4
        self.world.node.mine()
        chain, energy = self.world.chain, self.world.ledgers.energy.functions
        step_s = DAY_S // (self.readings + 1)
        for own, houses in self.feeders.items():
            frames = []
            for meter in (own, *houses):
                share = len(houses) if meter is own else 1
                for i in range(1, self.readings + 2):
                    closes = i == self.readings + 1
                    time_s = end_s if closes else start_s + i * step_s
                    frames.append(self._signed(meter, i, time_s, share, closes=closes))
            self._keep(frames)
            closing = [f for f in frames if f.closing]
            for at in range(0, len(closing), BATCH):
                data = b"".join(f.frame + f.signature for f in closing[at : at + BATCH])
                chain.send(energy.close(data))
            chain.send(energy.reconcile(int.from_bytes(own.key.secret), self.day))
            for at in range(0, len(houses), BILLS):
                batch = [house.key.address for house in houses[at : at + BILLS]]
                chain.send(self.world.ledgers.payment.functions.settle_many(batch))
        self.roots.land()
        self.sequence += self.readings + 1
        self.day += 1

    def _signed(
        self, meter: SignedMeter, i: int, time_s: int, share: int, *, closes: bool
    ) -> SignedFrame:
        sequence = self.sequence + i
        signed = meter.reading(
            sequence, time_s=time_s, energy_wh=100 * share * sequence, flags=closes
        )
        return signed_frame(meter.address, *signed)

    def _keep(self, frames: list[SignedFrame]) -> None:
        by_meter: dict[bytes, list[SignedFrame]] = {}
        for frame in frames:
            by_meter.setdefault(frame.meter, []).append(frame)
        with self.store.transaction() as tx:
            for meter, of_it in by_meter.items():
                for at in range(0, len(of_it), 500):
                    tx.add_frames(meter, of_it[at : at + 500], int(self.world.clock.now()) - 3600)


def plant(city: City, path: Path) -> list[tuple[str, str]]:
    """Commit frauds in a copy of the store, and one on the chain; return (kind, where) of each."""
    houses = [house for under in city.feeders.values() for house in under]
    altered, deleted, exchanged, doubled, moved, unlanded = houses[:6]
    last, now_s = city.sequence, int(city.world.clock.now())
    day = city.day - 1
    db = sqlite3.connect(path)

    def change(statement: str, *values: Any) -> None:
        assert db.execute(f"{statement} WHERE meter = {OF} AND sequence = ?", values).rowcount == 1

    change("UPDATE frames SET signature = zeroblob(64)", altered.address, last)
    change("DELETE FROM frames", deleted.address, 1)
    lie = exchanged.stored(
        last, time_s=city.periods.start(day + 1), energy_wh=100 * last - 1, flags=1
    )
    change(
        "UPDATE frames SET frame = ?, signature = ?",
        *(packed(lie.frame), lie.signature, exchanged.address, last),
    )
    other = f"CASE kind WHEN {CLOSING} THEN NULL ELSE {CLOSING} END"
    change(f"UPDATE frames SET kind = {other}", moved.address, last)
    db.commit()
    db.close()
    store = Store(f"sqlite:///{path}")
    stranger = SignedMeter(7_777_777, doubled.domain)
    with store.transaction() as tx:
        tx.add_frames(stranger.address, [stranger.stored(1)], now_s)
        tx.add_frames(doubled.address, [doubled.stored(last, energy_wh=5)], now_s)
        late_s = city.periods.start(day - 2) + DAY_S // 3
        back = unlanded.stored(last + 2, time_s=late_s, energy_wh=1)
        tx.add_frames(unlanded.address, [back], now_s)
    store.close()
    liar = Chain.of(city.world.deployment, dev_key(12))
    liar.send(
        liar.ledgers(city.world.deployment).energy.functions.commit(0, [(day, b"1" * 32, 1)])
    )
    return [
        ("signature", f"sequence {last}"),
        ("deleted", "sequence 1"),
        ("closing", f"period {day}"),
        ("root", f"day {day}"),
        ("altered_row", f"sequence {last}"),
        ("contradiction", f"sequence {last}"),
        ("unknown_meter", "store"),
        ("gap", f"sequence {last + 1}"),
        ("energy_decreased", f"sequence {last + 2}"),
        ("time_order", f"sequence {last + 2}"),
        ("committer", f"1 days, the last of them {day}"),
    ]


def run_audit(deployment: Path, store: str, *more: str) -> tuple[dict[str, Any], float, float]:
    """Return what the command says, how long it took and how much processor time, s."""
    command = [sys.executable, "-m", "parwana.cli", "audit", "--deployment", str(deployment)]
    began_s, before_s = time.monotonic(), _used_s()
    done = subprocess.run(
        [*command, "--store", store, "--json", *more], capture_output=True, text=True, check=False
    )
    took_s, used_s = time.monotonic() - began_s, _used_s() - before_s
    if done.returncode not in (0, EXIT_FINDINGS):
        raise SystemExit(done.stderr)
    return json.loads(done.stdout), took_s, used_s


def _used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told_of(name: str, told: dict[str, Any], took_s: float, used_s: float) -> None:
    """Print one audit."""
    counts = told["counts"]
    memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{name}: {counts.get('closings', 0)} closings, {counts.get('frames', 0)} frames, "
        f"{counts.get('bills', 0)} bills, {counts.get('daily_roots', 0)} roots: {took_s:.1f} s, "
        f"{used_s:.1f} s of processor time, {memory_mb:.0f} MB, {len(told['findings'])} findings",
        flush=True,
    )


def main() -> int:
    """Fill, audit, spoil, audit again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meters", type=int, default=1000, help="houses")
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--readings", type=int, default=0, help="a day, besides the closing")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-audit-"))
    url = f"sqlite:///{folder}/store.db"
    store = Store(url)
    with utility(url) as world:
        began_s = time.monotonic()
        city = City(world, store, options.meters, options.readings)
        for _ in range(options.days):
            city.live()
        print(f"filled in {time.monotonic() - began_s:.0f} s", flush=True)
        deployment = folder / "deployment.json"
        world.deployment.save(deployment)
        kept = folder / "kept.json"
        going_on = "--checkpoint", str(kept), "--key", "dev:15"
        told, took_s, used_s = run_audit(deployment, url, *going_on)
        told_of("whole", told, took_s, used_s)
        shutil.copy(kept, folder / "before.json")
        city.live()
        day, day_took_s, day_used_s = run_audit(deployment, url, *going_on)
        told_of("a day", day, day_took_s, day_used_s)
        share = day_used_s / used_s
        print(f"a day is {100 * share:.1f} % of all, {kept.stat().st_size} bytes are kept")
        store.close()
        shutil.copy(folder / "store.db", folder / "spoilt.db")
        frauds = plant(city, folder / "spoilt.db")
        missed = []
        for more in ((), ("--checkpoint", str(folder / "before.json"), "--key", "dev:15")):
            spoilt, *_ = run_audit(deployment, f"sqlite:///{folder}/spoilt.db", *more)
            found = {(finding["kind"], finding["where"]) for finding in spoilt["findings"]}
            missed += [fraud for fraud in frauds if fraud not in found]
    print(f"{len(frauds)} frauds planted, {len(missed)} missed {missed or ''}")
    late = used_s > CEILING_S * max(1, told["counts"]["frames"] / FRAMES)
    wrong = told["findings"] or day["findings"] or missed
    shutil.rmtree(folder)
    return int(bool(wrong or late or share > DAY_SHARE))


if __name__ == "__main__":
    sys.exit(main())
