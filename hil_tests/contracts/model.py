"""What the contracts must compute, written the plain way."""

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tariff:
    """Prices from a period on; slabs are (upper bound in Wh of one period, price per kWh)."""

    from_period: int
    slabs: list[tuple[int, int]]
    fixed_charge: int


def price_slabs(slabs: list[tuple[int, int]], energy_wh: int, periods: int) -> int:
    """Return thousandths: each Wh at the price of the slab that it falls into."""
    cost = low = 0
    for i, (upto_wh, price) in enumerate(slabs):
        high = energy_wh if i == len(slabs) - 1 else min(energy_wh, upto_wh * periods)
        cost += (high - low) * price
        low = high
    return cost


def bill(tariffs: list[Tariff], energy_wh: int, last: int, periods: int) -> int:
    """Return the bill for `energy_wh` over the periods last + 1 … last + periods.

    Energy is shared out evenly where the tariff changed, from the newest tariff back; the rest
    goes to the oldest. With no period it is priced as one, without the fixed charge.
    """
    first = last + min(periods, 1)
    end = first + max(periods, 1)
    cost, rest_wh = 0, energy_wh
    for tariff in reversed(tariffs):
        if tariff.from_period >= end:
            continue
        start = max(tariff.from_period, first)
        part_wh = rest_wh * (end - start) // (end - first)
        cost += price_slabs(tariff.slabs, part_wh, end - start)
        cost += tariff.fixed_charge * (end - start) * 1000 * min(periods, 1)
        rest_wh -= part_wh
        end = start
        if end == first:
            break
    return cost // 1000


@dataclass
class MeterState:
    """A meter as both ledgers see it; its own register runs on in `energy_wh`."""

    number: int
    enrolled_at_s: int
    energy_wh: int
    closed_wh: int
    billed_wh: int
    period: int
    first_wh: int
    previous: "MeterState | None" = None
    retired_at_s: int = 0
    closed: bool = False


@dataclass
class Lock:
    """A payment in escrow."""

    payer: str
    amount: int
    period: int
    deadline_s: int


@dataclass
class Account:
    """What a point owes and has paid."""

    period: int
    due: int = 0
    carried_wh: int = 0
    lock: Lock | None = None
    paid: list[int] = field(default_factory=list)


@dataclass
class Sums:
    """A feeder in one period."""

    supplied_wh: int = 0
    sold_wh: int = 0
    closed: int = 0
    spanning: int = 0
    own: bool = False


class Model:
    """One feeder, its meters, their accounts; time comes with each call."""

    def __init__(self, tariffs: list[Tariff]) -> None:
        self.tariffs = tariffs
        self.serving: dict[int, MeterState] = {}
        self.accounts: dict[int, Account] = {}
        self.sums: defaultdict[int, Sums] = defaultdict(Sums)
        self.credits: defaultdict[str, int] = defaultdict(int)

    def enrol(self, number: int, time_s: int, period: int, initial_wh: int) -> MeterState:
        """Put a meter into service at a new point."""
        meter = MeterState(
            number, time_s, initial_wh, initial_wh, initial_wh, period - 1, initial_wh
        )
        self.serving[number] = meter
        self.accounts[number] = Account(period - 1)
        return meter

    def replace(self, number: int, time_s: int, period: int, initial_wh: int) -> MeterState:
        """Let a new meter serve a point."""
        old = self.serving[number]
        old.retired_at_s = time_s
        new = MeterState(
            number, time_s, initial_wh, initial_wh, initial_wh, period - 1, initial_wh, old
        )
        self.serving[number] = new
        return new

    def close(self, meter: MeterState, period: int, time_s: int, energy_wh: int) -> bool:
        """Take a closing of `period`, read at `time_s`, or leave it."""
        gone = meter.retired_at_s and time_s > meter.retired_at_s
        if gone or period <= meter.period or energy_wh < meter.closed_wh:
            return False
        self._add(meter, period, energy_wh)
        self.sums[period].own |= meter.number == 1
        self.sums[period].closed += meter.number != 1
        meter.closed = True
        return True

    def finish(self, meter: MeterState, period: int, energy_wh: int) -> None:
        """Take the last reading of a meter that was retired in `period`."""
        self._add(meter, period, energy_wh)
        meter.closed = True

    def _add(self, meter: MeterState, period: int, energy_wh: int) -> None:
        sums = self.sums[period]
        used_wh = energy_wh - meter.closed_wh
        if meter.number == 1:
            sums.supplied_wh += used_wh
        else:
            sums.sold_wh += used_wh
        sums.spanning += period > meter.period + 1
        meter.closed_wh, meter.period = energy_wh, period

    def settle(self, number: int) -> int:
        """Bill a point by the meter that serves it; return the amount."""
        meter, account = self.serving[number], self.accounts[number]
        for each in (meter, meter.previous):
            if each:
                account.carried_wh += each.closed_wh - each.billed_wh
                each.billed_wh = each.closed_wh
        periods = meter.period - account.period if meter.closed else 0
        if periods == 0 and not (meter.retired_at_s and account.carried_wh):
            return 0
        amount = bill(self.tariffs, account.carried_wh, account.period, periods)
        account.due = min(account.due + amount, 2**96 - 1)
        account.carried_wh = 0
        account.period += periods
        return amount

    def pay(self, number: int, payer: str, deadline_s: int) -> None:
        """Lock what is due."""
        account = self.accounts[number]
        account.lock = Lock(payer, account.due, account.period, deadline_s)
        account.due = 0

    def claim(self, number: int, utility: str) -> None:
        """Give the lock to the utility."""
        account = self.accounts[number]
        assert account.lock
        self.credits[utility] += account.lock.amount
        account.paid.append(account.lock.amount)
        account.lock = None

    def refund(self, number: int) -> None:
        """Give the lock back to its payer."""
        account = self.accounts[number]
        assert account.lock
        self.credits[account.lock.payer] += account.lock.amount
        account.due = min(account.due + account.lock.amount, 2**96 - 1)
        account.lock = None
