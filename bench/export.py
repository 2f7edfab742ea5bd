"""Time `parwana export`, and see that its memory does not grow with what it writes.

    python -m bench.export [--meters 10] [--days 366]

A store is filled directly with quarters of an hour, signed by nobody; the export runs as a
command of its own, of one meter and then of all. Exit code 1 where the peak of memory of all is
more than MORE above that of one.
"""

import argparse
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from hil_tests.meter.test_pairing import DEPLOYMENT
from hil_tests.services import UTILITY, SignedMeter, reading
from parwana import cli
from parwana.export.job import Format
from parwana.store.reader import Store, signed_frame

START_S = 1_700_000_000
MORE = 1.25


def fill(store: Store, meters: int, readings: int) -> None:
    """Store the readings of each meter."""
    for number in range(1, meters + 1):
        meter = SignedMeter(number)
        with store.transaction() as tx:
            tx.enrol(meter.address, number, 1, 0)
            for first in range(1, readings + 1, 1000):
                frames = [
                    signed_frame(
                        meter.address,
                        reading(n, START_S + 900 * n, 100 * n),
                        bytes(64),
                    )
                    for n in range(first, min(first + 1000, readings + 1))
                ]
                tx.add_frames(meter.address, frames, START_S)


def _run(words: list[str]) -> int:
    """Run a command in this process; return its peak of memory, KB."""
    cli.main(words)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    """Print a line for each format and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, default=10)
    parser.add_argument("--days", type=int, default=366)
    given = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = f"sqlite:///{home}/store.db"
        store = Store(url)
        fill(store, given.meters, 96 * given.days)
        store.close()
        replace(DEPLOYMENT, utility_id=UTILITY, store=url).save(home / "town.json")
        for kind in Format:
            peaks = []
            for meters in (1, given.meters):
                out = home / f"{meters}.{kind}"
                words = ["export", "--deployment", str(home / "town.json"), "--format", str(kind)]
                words += ["--out", str(out)]
                for number in range(1, meters + 1):
                    words += ["--number", str(number)]
                started = time.monotonic()
                with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # not our memory
                    peaks.append(fresh.submit(_run, words).result())
                took_s, size = time.monotonic() - started, out.stat().st_size
                print(
                    f"{kind:>11}, {meters} meters, {meters * 96 * given.days} readings: "
                    f"{took_s:.1f} s, peak {peaks[-1] / 1024:.0f} MB, file {size / 1e6:.1f} MB",
                    flush=True,
                )
            worst = max(worst, peaks[1] / peaks[0])
    return int(worst > MORE)


if __name__ == "__main__":
    sys.exit(main())
