"""Compare every number with a unit, on every page, with what commands say of chain and store.

What they say is taken as it is (`meters`, `balance`, `export`, the chain's logs and accounts); a
page may show that, and differences of a meter's registers from one closing to a later one, or to
its last reading.
"""

import csv
import io
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import combinations
from typing import Any

from eth_utils.address import to_checksum_address

import wire
from hil_tests.chainkit import Utility
from hil_tests.rights.conftest import Run
from hil_tests.web.conftest import Window
from hil_tests.web.test_pages import words
from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.currency import currency_of
from parwana.chain.tariff import Tariff, bill

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)? (?:kWh|W|V|A|%|ETH)(?!\w)")


def plain(numbers: Iterable[str]) -> set[str]:
    """Return numbers as one writes them who leaves out zeros at the end."""
    parted = (number.split() for number in numbers)
    return {f"{Decimal(value).normalize():f} {unit}" for value, unit in parted}


def kwh(energy_wh: int) -> str:
    return f"{energy_wh / 1000:.3f} kWh"


def of_balances(rows: list[dict[str, Any]]) -> set[str]:
    """Return what balances may show."""
    found = {kwh(row[name]) for row in rows for name in ("supplied_wh", "sold_wh")}
    found |= {f"{row['tolerance_bp'] / 100:.2f} %" for row in rows}
    for row in rows:
        if row["supplied_wh"] and not row["reason"]:
            lost = row["supplied_wh"] - row["sold_wh"]
            found.add(f"{100 * lost / row['supplied_wh']:.2f} %")
    return found


def of_readings(text: str) -> tuple[set[str], list[int]]:
    """Return what the readings of a meter may show, of what `export` says; and their registers."""
    shown = {
        "energy_wh": kwh,
        "power_dw": lambda dw: f"{dw // 10} W",
        "power_max_dw": lambda dw: f"{dw // 10} W",
        "current_ma": lambda ma: f"{ma / 1000:.3f} A",
        "voltage_dv": lambda dv: f"{dv / 10:.1f} V",
    }
    rows = list(csv.DictReader(io.StringIO(text)))
    said = {show(int(row[name])) for row in rows for name, show in shown.items() if row[name]}
    return said, [int(row["energy_wh"]) for row in rows]


class Comparison:
    """Pages of a utility that stands still; `seen` counts the numbers."""

    def __init__(self, window: Window, world: Utility, run: Run) -> None:
        self.window, self.world, self.run, self.seen = window, world, run, 0
        self.meters = run("meters", "--json").json
        self.of = currency_of(world.chain, world.ledgers, world.deployment)
        functions, call = world.ledgers.payment.functions, world.chain.call
        for row in self.meters:
            row["meter"] = to_checksum_address(row["meter"])
        houses = [row["meter"] for row in self.meters if row["kind"] == "house"]
        self.dues = {meter: call(functions.account(meter)).due for meter in houses}
        self.locked = sum(call(functions.locked(meter)).amount for meter in houses)
        self.credit = call(functions.credits(call(functions.utility())))
        self.closings: dict[str, list[Closing]] = {}
        for log in world.chain.logs(world.ledgers.energy.events.Closed, 0):
            for closed in unpack_results(log["args"]["results"]):
                if isinstance(closed, Closing):
                    self.closings.setdefault("0x" + closed.meter.hex(), []).append(closed)
        self.billed = [log["args"] for log in world.chain.logs(
            world.ledgers.payment.events.Billed, 0)]  # fmt: skip

    def check(self, path: str, known: set[str]) -> set[str]:
        """Fail if a page shows what is not known; return what it shows."""
        shown = plain(NUMBER.findall(words(self.window.get(path).text)))
        strange = shown - plain(known)
        assert not strange, (path, strange)
        self.seen += len(shown)
        return shown

    def everything(self) -> int:
        """Compare all pages; return how many numbers were compared."""
        self.utility()
        for row in self.meters:
            self.house(row)
        return self.seen

    def utility(self) -> None:
        """Compare the utility's pages; of a search for losses see test_losses."""
        rows = self.run("balance", "--json").json
        house_w = sum(row["power_dw"] or 0 for row in self.meters if row["kind"] == "house") // 10
        now = f"{house_w} W"
        assert self.check("/", of_balances(rows) | {now}) >= plain({now})
        for row in self.meters:
            if row["kind"] == "house":
                continue
            feeder = row["number"]
            wanted = of_balances([one for one in rows if one["feeder"] == feeder])
            assert self.check(f"/feeder/{feeder}", wanted) == plain(wanted), feeder
        listed = {kwh(row["energy_wh"]) for row in self.meters}
        powers = {f"{(row['power_dw'] or 0) // 10} W" for row in self.meters}
        assert self.check("/meters", listed | powers) >= plain(listed)
        text = self.of.text
        owed = {text(due) for due in self.dues.values() if due}
        totals = {text(sum(self.dues.values())), text(self.locked)}
        shown = self.check("/office", owed | totals | {text(self.credit)})
        assert shown >= plain(owed | totals)
        for path in ("/audit", "/coverage"):
            self.check(path, set())

    def house(self, row: dict[str, Any]) -> None:
        """Compare a meter's page and journal."""
        page, text = f"/m/{row['meter']}", self.of.text
        readings, registers = of_readings(self.window.get(page + "/readings.csv").text)
        frames = self.window.site.store.frames(bytes.fromhex(row["meter"][2:]))
        signed: list[Any] = [wire.parse(frame.frame) for frame in frames]  # events, too
        self.check(page + "/journal", readings | {kwh(one.energy_wh) for one in signed})
        closed = self.closings.get(row["meter"].lower(), [])
        marks = [0, *(one.energy_wh for one in closed), *registers[-1:]]
        used = {kwh(later - earlier) for earlier, later in combinations(marks, 2)}
        used.add(kwh(0))
        logs = [log for log in self.billed if log["meter"] == row["meter"]]
        money = {text(log["amount"]) for log in logs} | {kwh(log["energy_wh"]) for log in logs}
        due = {text(self.dues.get(row["meter"], 0))}
        so_far = {text(self._so_far(closed[-1], registers[-1]))} if closed and registers else set()
        shown = self.check(page, readings | used | money | due | so_far)
        assert shown >= plain(money | due if logs else ()), page

    def _so_far(self, closed: Closing, register_wh: int) -> int:
        """Return what is to be paid for what was used since a closing, by the chain's tariff."""
        tariff = self.world.chain.call(self.world.ledgers.payment.functions.tariff(0))
        terms = Tariff(tariff.from_period, list(tariff.slabs), tariff.fixed_charge)
        now = self.world.deployment.periods.of(int(self.world.clock.now()))
        count = max(1, now - closed.period)
        return bill([terms], register_wh - closed.energy_wh, closed.period, count)
