"""Time a house's page with many meters and a year of readings in PostgreSQL.

    python -m bench.web [--meters 10000] [--whole 50] [--requests 2000]

Every meter has the register of each midnight of a year and its last day in quarters of an
hour; `--whole` of them have all quarters of the year (35,040), and every second request is for one
of those. Frames are made by the database: a page does not verify them. `parwana serve` runs as a
process of its own and reads meters and chain meanwhile, as it always does. Exit code 1 above the
ceiling. Beside each page a fixed piece of work is timed: where other programs take the processors,
it takes longer, too, and the server's own processor time is what remains to be compared.
"""

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import requests

from bench.processes import resident_mb, worked_s
from hil_tests.chainkit import START_S, utility
from hil_tests.postgresql import Server
from hil_tests.services import wait_until
from parwana.chain.periods import DAY_S
from parwana.permits.bundle import make_permit
from parwana.store.reader import Store
from parwana.store.tables import CLOSING, PAGE, ZERO
from parwana.web.book import Book
from parwana.world.clock import VARIABLE, WorldClock
from parwana.world.programs import Program, parwana

CEILING_S = 0.050  # of the 99th percentile
GROWTH_MOST = 1.10  # of the memory, from the first hundred requests to the last
HOUSES = 200  # a feeder
BILLS = 12
REST = r"""
    int2send({flags}) || int8send({energy}::bigint) || int4send(4000) || int4send(5000)
    || int4send(1800) || int2send(2300::smallint) || int2send(2280::smallint)
    || int2send(500::smallint) || '\x6101'::bytea
"""


def meter_of(number: int) -> bytes:
    """Return the address of a house."""
    return b"\x11" * 12 + number.to_bytes(8, "big")


def fill(url: str, meters: int, whole: int, now_s: int) -> int:
    """Fill the store; return how many frames it holds."""
    first_s = now_s - 365 * DAY_S
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            """
            INSERT INTO meters (meter, number, kind, feeder, in_service, oldest, next,
                                permit_serial, boots, version, control_state, heard_s)
            SELECT decode(repeat('11', 12), 'hex') || int8send(n), n, 1, 1000000 + n / %s, true,
                   1, 40000, 7, 1, 131328, 1, %s FROM generate_series(1, %s) n
            """,
            (HOUSES, now_s, meters),
        )
        db.execute("INSERT INTO framed (meter) SELECT meter FROM meters ORDER BY number")
        insert = """
            INSERT INTO frames
            SELECT n, q - {zero}, {first} + 900 * q - {zero}, {first} + 900 * q - {zero},
                   NULL::smallint, CASE WHEN q % 96 = 0 THEN {closing} END, {rest},
                   decode(repeat('5a', 64), 'hex')
            FROM (SELECT id AS n FROM framed) points, generate_series(1::bigint, 35040) q
            WHERE {which}
        """
        rest = REST.format(
            flags="(CASE WHEN q % 96 = 0 THEN 97 ELSE 96 END)::smallint", energy="q * 100"
        )
        indexes = db.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'frames'"
        ).fetchall()
        for name, _definition in indexes:  # made in one go afterwards, which is quicker
            db.execute(f"DROP INDEX {name}".encode())
        for which in (f"n <= {whole}", f"n > {whole} AND (q % 96 = 0 OR q > 35040 - 96)"):
            values = {"zero": ZERO, "closing": CLOSING, "rest": rest, "first": first_s}
            db.execute(insert.format(which=which, **values).encode())
        for _name, definition in indexes:
            db.execute(str(definition).encode())
        db.execute(
            f"INSERT INTO days SELECT DISTINCT (time_s + {ZERO}) / {DAY_S}, meter, "
            f"floor(sequence / {PAGE}.0) FROM frames".encode()
        )
        frame_ = make_permit(
            issued_at_s=now_s - DAY_S, valid_until_s=now_s + 9 * DAY_S, period=1, last_serial=6
        )
        permit = frame_ + b"\0" + b"\1" * 64 + b"\1" + b"\1" * 64
        db.execute("INSERT INTO permits SELECT meter, 7, %s, 1 FROM meters", (permit,))
        db.execute("ANALYZE")
        count = db.execute("SELECT count(*) FROM frames").fetchone()
    assert count is not None
    return int(count[0])


def write(book: Book, meters: int, final: int, mark: bytes, now_s: int) -> None:
    """Write a year of bills and payments of each house into the copy of the chain's logs."""
    rows: list[tuple[object, ...]] = []
    place = 0

    def log(time_s: int, name: str, number: int | None, values: dict[str, object]) -> None:
        nonlocal place
        place += 1
        of = number, values["meter"], values.get("period")
        rows.append((1, place, 0, time_s, name, *of, json.dumps(values)))

    for number in range(1, meters + 1):
        meter = "0x" + meter_of(number).hex()
        start_s = now_s - 366 * DAY_S
        of = {"meter": meter, "number": number, "kind": 1, "initial_wh": 0}
        log(start_s, "Enrolled", number, of)
        for month in range(BILLS):
            at_s, due = start_s + month * 30 * DAY_S, 10**16 + number
            bill: dict[str, object] = {"number": number, "meter": meter, "period": 20_000 + month}
            bill |= {"amount": due, "periods": 1, "energy_wh": 288_000, "due": due}
            bill |= {"payer": meter, "deadline_s": at_s + DAY_S, "serial": month, "index": month}
            log(at_s, "Closing", None, bill | {"energy_wh": 288_000 * (month + 1)})
            for name in ("Billed", "Locked", "Paid"):
                log(at_s, name, number, bill)
            log(at_s, "PermitPublished", None, bill)
    with sqlite3.connect(book.path) as db:
        db.executemany("INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute("INSERT INTO place VALUES (?, ?, ?, ?)", (final + 1, final, now_s, mark))
    db.close()


def yardstick() -> float:
    """Return how many times longer than its processor time a fixed piece of work takes."""
    began_s, work_s = time.perf_counter(), time.thread_time()
    sum(i * i for i in range(100_000))
    return (time.perf_counter() - began_s) / (time.thread_time() - work_s)


def main() -> int:
    """Fill, serve, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meters", type=int, default=10_000)
    parser.add_argument("--whole", type=int, default=50, help="with all quarters of the year")
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-web-"))
    server = Server(folder / "postgresql")
    server.stop()
    server.start("shared_buffers=512MB", "max_wal_size=4GB")
    url = server.database()
    now_s = START_S + 60
    Store(url).close()
    began_s = time.monotonic()
    frames = fill(url, options.meters, options.whole, now_s)
    with utility(url) as world:
        world.clock.time_s = now_s
        world.node.mine(3)
        state = folder / "web"
        state.mkdir()
        final = world.chain.finalized_block()
        mark = world.chain.block_hash(final)
        write(Book(state, world.deployment), options.meters, final, mark, now_s)
        print(
            f"{options.meters} meters, {frames} frames, filled in "
            f"{time.monotonic() - began_s:.0f} s",
            flush=True,
        )
        file = folder / "deployment.json"
        world.deployment.save(file)
        command = parwana(
            *("serve", "--deployment", file, "--port", "0", "--public", "all"),
            *("--state", state, "--audit-every", "0"),
        )
        clock = {VARIABLE: str(WorldClock(now_s, time.time(), 1.0))}
        with Program("serve", command, folder / "serve.log", clock) as served:
            at = served.wait_for(r"serve: (http\S+)", 300)[1]
            wait_until(lambda: requests.get(at + "/healthz", timeout=60).ok, "serve", 60)
            failed = ask(at, served, options.meters, options.whole, options.requests)
    server.stop()
    return failed


def ask(at: str, served: Program, meters: int, whole: int, count: int) -> int:
    """Ask for pages of houses by chance; return 1 if it takes too long or too much."""
    chance, took_s, stretched = random.Random(1), [], []
    pid = served.pid
    wait_until(lambda: requests.get(at + "/readyz", timeout=60).ok, "all to be read", 300)
    began_work_s = worked_s(pid)
    with requests.Session() as session:
        early_mb = 0.0
        for i in range(count):
            most = whole if i % 2 and whole else meters
            path = f"{at}/m/0x{meter_of(chance.randint(1, most)).hex()}"
            stretched.append(yardstick())
            began_s = time.perf_counter()
            answer = session.get(path, timeout=60)
            took_s.append(time.perf_counter() - began_s)
            assert answer.ok
            assert "288.000 kWh" in answer.text
            if i == min(100, count - 1):
                early_mb = resident_mb(pid)
    late_mb = resident_mb(pid)
    cuts = statistics.quantiles(took_s, n=100)
    print(
        f"{count} pages of a house, one after the other: median {1000 * cuts[49]:.1f} ms, "
        f"p99 {1000 * cuts[98]:.1f} ms, most {1000 * max(took_s):.1f} ms; "
        f"memory {early_mb:.0f} MB, then {late_mb:.0f} MB"
    )
    others = statistics.quantiles(stretched, n=100)
    print(
        f"processor time of the server {1000 * (worked_s(pid) - began_work_s) / count:.1f} ms a "
        f"page; other programs stretched what the processors did {others[49]:.1f} times (median), "
        f"{others[98]:.1f} times (p99)"
    )
    return int(cuts[98] > CEILING_S or late_mb > GROWTH_MOST * early_mb)


if __name__ == "__main__":
    sys.exit(main())
