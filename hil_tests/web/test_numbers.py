"""Every number with a unit, on every page, is one that commands say of the same chain and store.

What they say is taken as it is (`meters`, `balance`, `export`, the chain's logs and accounts); a
page may show that, and differences of a meter's registers from one closing to the next.
"""

import csv
import io
import re
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hil_tests.rights.conftest import Run
from hil_tests.town import FEEDER, Town
from hil_tests.web.conftest import Serve, live_a_day
from hil_tests.web.test_pages import words
from parwana.chain.contracts import Closing, unpack_results
from parwana.chain.currency import currency_of

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


def of_readings(text: str) -> set[str]:
    """Return what the readings of a meter may show, of what `export` says of them."""
    shown = {
        "energy_wh": kwh,
        "power_dw": lambda dw: f"{dw // 10} W",
        "power_max_dw": lambda dw: f"{dw // 10} W",
        "current_ma": lambda ma: f"{ma / 1000:.3f} A",
        "voltage_dv": lambda dv: f"{dv / 10:.1f} V",
    }
    rows = list(csv.DictReader(io.StringIO(text)))
    return {show(int(row[name])) for row in rows for name, show in shown.items() if row[name]}


def test_every_number_with_a_unit_is_one_that_is_said_elsewhere(
    lived: Town, serve: Serve, run: Run
) -> None:
    live_a_day(lived, tapped=True)
    world = lived.world
    lived.go_to(int(world.clock.now()) + 1)  # an export has what was received before now
    currency, call = currency_of(world.chain, world.ledgers, world.deployment), world.chain.call
    payment = world.ledgers.payment
    meters = run("meters", "--json").json
    public = of_balances(run("balance", "--json").json)
    house_w = sum(row["power_dw"] for row in meters if row["kind"] == "house") // 10
    public.add(f"{house_w} W")
    dues = {h.key.address: call(payment.functions.account(h.key.address)).due
            for h in lived.houses}  # fmt: skip
    closings: dict[bytes, list[int]] = {}
    for log in world.chain.logs(world.ledgers.energy.events.Closed, 0):
        for closed in unpack_results(log["args"]["results"]):
            if isinstance(closed, Closing):
                closings.setdefault(closed.meter, []).append(closed.energy_wh)
    # Nothing was used since the last closing: so far that costs what each period does.
    so_far = currency.text(call(payment.functions.tariff(0)).fixed_charge)
    billed = world.chain.logs(payment.events.Billed, 0)
    seen = 0
    with serve() as window:
        window.site.watch.look()

        def check(path: str, known: set[str]) -> set[str]:
            nonlocal seen
            shown = plain(NUMBER.findall(words(window.get(path).text)))
            assert shown - plain(known) == set(), path
            seen += len(shown)
            return shown

        assert check("/", public) >= plain({f"{house_w} W"})
        assert check(f"/feeder/{FEEDER}", public) == plain(public - {f"{house_w} W"})
        listed = {kwh(row["energy_wh"]) for row in meters}
        powers = {f"{row['power_dw'] // 10} W" for row in meters}
        assert check("/meters", listed | powers) >= plain(listed)
        locked = sum(call(payment.functions.locked(h.key.address)).amount for h in lived.houses)
        owed = {currency.text(due) for due in dues.values() if due}
        totals = {currency.text(amount) for amount in (sum(dues.values()), locked)}
        credit = call(payment.functions.credits(call(payment.functions.utility())))
        assert check("/office", owed | totals | {currency.text(credit)}) >= plain(owed | totals)
        for path in ("/audit", "/coverage"):
            check(path, set())
        for one in (*lived.houses, lived.feeder):
            page = f"/m/{one.key.address}"
            readings = of_readings(window.get(page + "/readings.csv").text)
            check(page + "/journal", readings)
            registers = [0, *closings.get(one.address, [])]
            used = {kwh(after - before) for before, after in pairwise(registers)}
            used |= {kwh(registers[-1] - one_wh) for one_wh in registers}  # a month, or unbilled
            logs = [log["args"] for log in billed if log["args"]["meter"] == one.key.address]
            money = {currency.text(log["amount"]) for log in logs}
            money |= {kwh(log["energy_wh"]) for log in logs}
            due = {currency.text(dues.get(one.key.address, 0))}
            known = readings | used | money | due | {so_far}
            assert check(page, known) >= plain(money | due if logs else ()), page
    assert seen > 60
