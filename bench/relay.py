"""Count what a core verifies and commits, beside what coincurve alone verifies in the same run.

    python -m bench.relay [--stored 100000] [--postgresql] [--long]

Letters as meters publish them go through the relay's own `examine` and `commit`: single readings
of many meters, then backfill of eight a letter. Times are of the processor, not of the clock: of
this process, and of the PostgreSQL session that serves it. The same is done again in a store that
holds --stored readings (--long: 10,000,000), of meters of its own. Exit code 1 where a share of
verifying is below its floor, a reading in the full store costs over GROWTH times one in the
empty, or takes more than BYTES.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

import wire
from hil_tests import postgresql
from hil_tests.services import DOMAIN, UTILITY, SignedMeter, reading
from parwana.relay.carrier import BATCH
from parwana.relay.intake import commit
from parwana.store.frames import SignedFrame
from parwana.store.held import insert
from parwana.store.letters import examine
from parwana.store.reader import Store
from parwana.store.rows import Rows
from parwana.store.signatures import signer
from parwana.store.tables import runs

METERS = 512
ROUNDS = 8
BACKFILL = 8  # readings a letter
FLOORS = {1: 0.50, BACKFILL: 0.60}
GROWTH = 1.3
BYTES = {"sqlite": 140, "postgresql": 180}  # a reading, indexes included
READINGS = 10_000  # of a meter that is there already
BULK = 100_000  # readings a transaction
LONG_STORED = 10_000_000
_TICKS = os.sysconf("SC_CLK_TCK")

Mail = list[tuple[str, bytes]]


def mail(of: list[SignedMeter], first: int, each: int) -> Mail:
    """Return one letter a meter, with readings from sequence `first` on."""
    sequences = range(first, first + each)
    return [(m.topic("up"), wire.pack_frames([m.reading(s) for s in sequences])) for m in of]


class Postbox:
    """A store, and the processor time that is spent on it."""

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self._pid: int | None = None
        if url.startswith("postgresql"):
            with self.store.transaction() as tx:
                self._pid = tx.connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()

    def spent_s(self) -> float:
        """Return the processor time of this process and of the server's session."""
        server = 0
        if self._pid is not None:
            stat = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
            server = int(stat[11]) + int(stat[12])
        return time.process_time() + server / _TICKS

    def size(self) -> int:
        """Return the bytes of the database, indexes included."""
        with self.store.transaction() as tx:
            if self._pid is not None:
                query = sa.text("SELECT pg_database_size(current_database())")
                return int(tx.connection.execute(query).scalar_one())
        path = Path(str(tx.connection.engine.url.database))
        self.store.close()  # which brings its log into the file
        return path.stat().st_size

    def take(self, letters: Mail) -> float:
        """Examine and commit letters as a relay does; return the seconds."""
        before = self.spent_s()
        for at in range(0, len(letters), BATCH):
            batch = [examine(t, p, UTILITY, DOMAIN) for t, p in letters[at : at + BATCH]]
            answers, counters, _ = commit(self.store, batch, 1_800_000_000)
            if counters.quarantined or not answers:
                raise SystemExit(f"bench: letters were not taken: {counters}")
        return self.spent_s() - before


def verified(letters: Mail) -> float:
    """Return the seconds in which coincurve alone recovers all signers."""
    pairs = [
        (wire.digest(DOMAIN, frame), signature)
        for _, payload in letters
        for frame, signature in wire.parse_message(payload)[1]
    ]
    before = time.process_time()
    for digest, signature in pairs:
        signer(digest, signature)
    return time.process_time() - before


def fill(store: Store, stored: int) -> None:
    """Put readings of other meters into the store as time brings them; none is checked again."""
    each = min(READINGS, stored)
    addresses = [os.urandom(20) for _ in range(-(-stored // each))]
    start_s = 1_700_000_000
    with store.transaction() as tx:
        for number, address in enumerate(addresses):
            tx.enrol(address, 10_000 + number, 1, 3)
    steps = max(1, BULK // len(addresses))
    for first in range(1, each + 1, steps):
        sequences = range(first, min(first + steps, each + 1))
        made = []
        for sequence in sequences:
            time_s = start_s + 900 * sequence
            frame, closing = reading(sequence, time_s, 100 * sequence), sequence % 96 == 0
            rest = sequence, frame, bytes(64), time_s, closing
            made += [SignedFrame(address, *rest) for address in addresses]
        with store.transaction() as tx:
            Rows(tx.connection, addresses).add(made, {}, start_s + 900 * sequences[-1])
    with store.transaction() as tx:
        insert(tx.connection, runs, [(address, 1, each) for address in addresses])


def measure(url: str, say: Callable[[str], None], stored: int, most_b: int) -> bool:
    """Measure one store; say whether all floors hold."""
    of = [SignedMeter(seed) for seed in range(1, METERS + 1)]
    good, costs = True, {}
    for held in (0, stored):
        box = Postbox(url)
        if held:
            before = box.size()
            fill(box.store, held)
            each_b = (box.size() - before) / held
            good &= each_b <= most_b
            say(f"  {held:,} stored: {each_b:.1f} B a reading (at most {most_b})")
        first = 1 if not held else 2 + ROUNDS * (1 + BACKFILL)
        if not held:
            with box.store.transaction() as tx:
                for number, meter in enumerate(of, 1):
                    tx.enrol(meter.address, number, 1, 3)
        box.take(mail(of, first, 1))  # statements, keys and topics are known from now on
        first += 1
        for each in (1, BACKFILL):
            rounds = [mail(of, first + i * each, each) for i in range(ROUNDS)]
            first += ROUNDS * each
            gc.collect()
            gc.freeze()  # as the relay does; and the mail would not be there
            alone = sum(verified(letters) for letters in rounds)
            whole = sum(box.take(letters) for letters in rounds)
            readings = METERS * ROUNDS * each
            share = alone / whole
            costs[held, each] = whole / readings
            good &= share >= FLOORS[each]
            say(
                f"  beside {held:,} stored, {each} a letter: {readings / whole:,.0f} readings/s,"
                f" coincurve {readings / alone:,.0f}/s: {share:.1%} (floor {FLOORS[each]:.0%})"
            )
        box.store.close()
    for each in (1, BACKFILL):
        growth = costs[stored, each] / costs[0, each]
        good &= growth <= GROWTH
        say(f"  {each} a letter: {growth:.2f} of the cost in the empty store ({GROWTH})")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stored", type=int, default=100_000)
    parser.add_argument("--long", action="store_true", help=f"hold {LONG_STORED:,} readings")
    parser.add_argument("--postgresql", action="store_true", help="PostgreSQL only")
    parser.add_argument("--sqlite", action="store_true", help="SQLite only")
    told = parser.parse_args()
    stored = LONG_STORED if told.long else told.stored
    good = True
    with tempfile.TemporaryDirectory() as folder:
        if not told.postgresql:
            print("SQLite")
            good &= measure(f"sqlite:///{folder}/store.db", print, stored, BYTES["sqlite"])
        if not told.sqlite:
            server = postgresql.Server(Path(folder) / "server")
            try:
                print("PostgreSQL (its WAL writer and checkpoints not counted)")
                good &= measure(server.database(), print, stored, BYTES["postgresql"])
            finally:
                server.stop()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
