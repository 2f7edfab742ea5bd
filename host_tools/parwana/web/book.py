"""What the payment chain logged, by metering point, in a file: no page waits for a node.

It is a copy: lost, it is read again. Rows of blocks that are not final are read again each time.
"""

import json
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parwana.audit.balance import NO_SUPPLY
from parwana.chain.account import ACCOUNT, Bill
from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.dated import dated
from parwana.chain.deployment import Deployment
from parwana.chain.node import Chain, Ledgers
from parwana.chain.points import FEEDERS
from parwana.chain.tariff import Tariff
from parwana.web.kept import Kept

_TABLES = """
CREATE TABLE IF NOT EXISTS logs (
    block INTEGER, position INTEGER, item INTEGER, time_s INTEGER, name TEXT, number INTEGER,
    meter TEXT, period INTEGER, args TEXT, PRIMARY KEY (block, position, item)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_number ON logs (number, name) WHERE number IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_meter ON logs (meter, name, period) WHERE meter IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_name ON logs (name);
CREATE TABLE IF NOT EXISTS balances (
    feeder INTEGER, period INTEGER, row TEXT, PRIMARY KEY (feeder, period)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (next INTEGER, head INTEGER, time_s INTEGER, mark BLOB);
"""
_NEWEST = "SELECT count(*), max(block) FROM logs"


@dataclass(frozen=True)
class Told:
    """One log, as the chain has it; `values` by the names of its arguments, bytes as 0x-hex."""

    name: str
    time_s: int
    values: dict[str, Any]
    block: int


@dataclass(frozen=True)
class Place:
    """How far the chain was read: the newest block, and its time."""

    head: int
    time_s: int


class Book(Kept):
    """Follow one deployment's payment chain; any thread may read."""

    def __init__(self, folder: Path, deployment: Deployment) -> None:
        made = deployment
        of = f"{made.chain_id}-{made.payment_ledger[2:].lower()}-{made.from_block}"
        super().__init__(folder / f"book-{of}.sqlite", _TABLES)
        self._first = made.from_block
        self._added: tuple[int, dict[int, Bill]] = 0, {}  # accounts, of the blocks before

    def follow(self, chain: Chain, ledgers: Ledgers) -> bool:
        """Take what is new; return whether anything is. Raises ChainError."""
        final, head = chain.finalized_block(), chain.head()
        with self._open() as db:
            place = db.execute("SELECT next, head, mark FROM place").fetchone()
            before = db.execute(_NEWEST).fetchone()
        # A final block that is another one is another chain's.
        if place and place[0] and chain.block_hash(place[0] - 1) not in (b"", place[2]):
            place, self._added = None, (0, {})
            with self._open() as db:
                db.execute("DELETE FROM balances")
        first = place[0] if place else self._first
        if place and place[1] == head and first > final:
            return False
        time_s, now = chain.block_time_s(head), before
        of = (ledgers.registry, ledgers.energy, ledgers.payment)
        for after, entries in dated(chain, of, first, head):
            with self._open() as db:
                db.execute("DELETE FROM logs WHERE block >= ?", (first,))
                rows = [row for entry, at_s in entries for row in _rows(entry, at_s)]
                db.executemany(f"INSERT INTO logs VALUES ({','.join('?' * 9)})", rows)
                following = min(after, final + 1)
                mark = chain.block_hash(following - 1) if following else b""
                db.execute("DELETE FROM place")
                values = (following, after - 1, time_s, mark)
                db.execute("INSERT INTO place VALUES (?, ?, ?, ?)", values)
                now = db.execute(_NEWEST).fetchone()
            first = after
        return bool(now != before)

    def place(self) -> Place | None:
        """Return how far the chain was read, None if it never was."""
        with self._open() as db:
            found = db.execute("SELECT head, time_s FROM place").fetchone()
        return Place(*found) if found else None

    def _told(self, where: str, *values: Any) -> list[Told]:
        query = f"SELECT name, time_s, args, block FROM logs WHERE {where}"
        order = " ORDER BY block, position, item"
        with self._open() as db:
            rows = db.execute(query + order, values)
            return [Told(name, time_s, json.loads(args), at) for name, time_s, args, at in rows]

    def bill(self, meter: str, number: int) -> Bill:
        """Return the account of a point that `meter` serves."""
        bill = Bill(meter=meter, number=number, due=0, period=0)
        for told in self._told("number = ? OR (meter = ? AND name = 'PermitPublished')",
                               number, meter.lower()):  # fmt: skip
            if told.name in ACCOUNT:
                bill.take(told.name, told.values, told.time_s)
        return bill

    def payers(self, number: int) -> list[str]:
        """Return who paid a point's bills, the last first."""
        paid = self._told("number = ? AND name = 'Paid'", number)
        return [str(told.values["payer"]) for told in reversed(paid)]

    def closings(self, meter: str) -> list[Closing]:
        """Return the meter's closings on the chain, in their order."""
        found = self._told("meter = ? AND name = 'Closing'", meter.lower())
        return [
            Closing(bytes.fromhex(meter[2:]), told.values["period"], told.values["energy_wh"])
            for told in found
        ]

    def closed(self, meter: str) -> Closing | None:
        """Return the meter's last closing on the chain, if any."""
        return next(reversed(self.closings(meter)), None)

    def last_bills(self, number: int, count: int) -> list[Told]:
        """Return the last bills of a point, in their order."""
        return self._told("number = ? AND name = 'Billed'", number)[-count:]

    def enrolment(self, meter: str) -> Told | None:
        """Return the log of a meter's enrolment, or of its replacing another, if any."""
        found = self._told("meter = ? AND name IN ('Enrolled', 'Replaced')", meter.lower())
        return found[0] if found else None

    def serving(self, number: int) -> str:
        """Return the meter that serves a point now, "" if nobody ever did."""
        found = self._told("number = ? AND name IN ('Enrolled', 'Replaced')", number)
        values = found[-1].values if found else {"meter": ""}
        return str(values.get("new") or values["meter"])

    def tariffs(self) -> list[Tariff]:
        """Return all tariffs that were announced, in order."""
        return [
            Tariff(
                told.values["from_period"],
                [(slab["upto_wh"], slab["price_per_kwh"]) for slab in told.values["slabs"]],
                told.values["fixed_charge"],
            )
            for told in self._told("name = 'TariffAnnounced'")
        ]

    def feeders(self) -> dict[int, str]:
        """Return the number and kind of every feeder that was enrolled."""
        found = (told.values for told in self._told("name = 'Enrolled'"))
        return {one["number"]: FEEDERS[one["kind"]] for one in found if one["kind"] in FEEDERS}

    def reconciled(self) -> dict[int, list[dict[str, Any]]]:
        """Return what was logged of each feeder's periods, in its order."""
        found: dict[int, list[dict[str, Any]]] = {}
        for told in self._told("name = 'Reconciled'"):
            found.setdefault(told.values["feeder"], []).append(told.values)
        return found

    def settled(self, feeder: int) -> dict[int, dict[str, Any]]:
        """Return by period the balances that `settle` kept."""
        query = "SELECT period, row FROM balances WHERE feeder = ?"
        with self._open() as db:
            return {period: json.loads(row) for period, row in db.execute(query, (feeder,))}

    def settle(self, feeder: int, rows: Iterable[dict[str, Any]]) -> None:
        """Keep the balances among `rows` that nothing but another log can change any more."""
        kept = [
            (feeder, row["period"], json.dumps(row))
            for row in rows
            if row["reconciled"] and row["reason"] != NO_SUPPLY
        ]
        young = "SELECT 1 FROM logs, place WHERE name = 'Reconciled' AND block >= next"
        with self._open() as db:
            if not db.execute(young).fetchone():
                db.executemany("INSERT OR REPLACE INTO balances VALUES (?, ?, ?)", kept)

    def accounts(self) -> list[Bill]:
        """Return the accounts of all points that were ever billed, by number.

        Without permits; of bills and payments it keeps how many there are, not what they say.
        What is final is added up once. One thread may ask.
        """
        names = ",".join(f"'{name}'" for name in ACCOUNT)
        where = f"number IS NOT NULL AND name IN ({names}) AND block >= ? AND block < ?"
        query = f"SELECT name, time_s, args FROM logs WHERE {where} ORDER BY block, position, item"
        before, final = self._added
        with self._open() as db:
            place = db.execute("SELECT next FROM place").fetchone()
            following = max(before, place[0]) if place else 0
            _add(final, db.execute(query, (before, following)))
            if self._added[1] is final:  # no other chain's since
                self._added = following, final
            recent = db.execute(query, (following, 2**62)).fetchall()
        touched = {json.loads(args)["number"] for _, _, args in recent}
        found = final | {number: deepcopy(final[number]) for number in touched & final.keys()}
        _add(found, recent)
        return [found[number] for number in sorted(found)]


def _add(to: dict[int, Bill], rows: Iterable[tuple[str, int, str]]) -> None:
    """Let accounts take logs."""
    nothing: dict[str, Any] = {}
    for name, time_s, args in rows:
        values = json.loads(args)
        number = values["number"]
        bill = to.setdefault(number, Bill(meter="", number=number, due=0, period=0))
        bill.take(name, values, time_s)
        for kept in (bill.billed, bill.payments):
            kept[-1:] = [nothing] * len(kept[-1:])


def _rows(entry: Any, time_s: int) -> list[tuple[Any, ...]]:
    """Return the rows of a log: one, or one for each closing of a batch."""
    at = entry["blockNumber"], entry["logIndex"]
    if entry["event"] == "Closed":
        closed = unpack_results(entry["args"]["results"])
        return [
            (*at, i, time_s, "Closing", None, "0x" + one.meter.hex(), one.period,
             json.dumps({"period": one.period, "energy_wh": one.energy_wh}))
            for i, one in enumerate(closed) if isinstance(one, Closing)
        ]  # fmt: skip
    values = {name: _plain(value) for name, value in dict(entry["args"]).items()}
    meter = values.get("new") or values.get("meter")
    named = values.get("number"), meter.lower() if meter else None, values.get("period")
    return [(*at, 0, time_s, entry["event"], *named, json.dumps(values))]


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it: bytes as 0x-hex, structs as lists."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return dict(value) if hasattr(value, "keys") else value
