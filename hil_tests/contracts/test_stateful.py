"""All three contracts against the model and the books, in any order of events."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hil_tests.contracts.books import Books
from hil_tests.contracts.evm import Evm, Reverted
from hil_tests.contracts.model import Account, MeterState, Model, Tariff
from hil_tests.contracts.test_periods import month_of, start_of_month
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    ESCROW_WINDOW_S,
    FIXED,
    HOUR_S,
    HOUSE,
    OPEN,
    SLABS,
    START_S,
    TRANSFORMER,
    UTC_OFFSET_S,
    UTILITY,
    Meter,
    World,
    address,
)

# how many steps there are between two that read all accounts back
APART = 8
MOST_WAITING = 12
PAYERS = [address("payer 1"), address("payer 2")]
pick = st.integers(0, 10**6)


class Ledgers(RuleBasedStateMachine):
    """The transformer is point 1; houses follow from 2 on. Periods of months."""

    period_s = 0
    deployed = World(Evm(START_S))
    fresh = deployed.evm.save()

    def __init__(self) -> None:
        super().__init__()
        self.deployed.evm.restore(self.fresh)
        self.world = self.deployed
        self.evm = self.deployed.evm
        self.model = Model([Tariff(0, SLABS, FIXED)])
        self.devices: list[tuple[Meter, MeterState]] = []
        self.touched: set[int] = set()
        self.steps = 0
        self.books = Books(self.world, self._period_of, self._start)
        self.evm.listeners[:] = [self.books.hear]

    @property
    def period(self) -> int:
        """Return the period of now, by Python's calendar."""
        return self._period_of(self.evm.time_s)

    def _period_of(self, time_s: int) -> int:
        if self.period_s:
            return (time_s + UTC_OFFSET_S) // self.period_s
        return month_of(time_s, UTC_OFFSET_S)

    def _start(self, period: int) -> int:
        if self.period_s:
            return period * self.period_s - UTC_OFFSET_S
        return start_of_month(period, UTC_OFFSET_S)

    @initialize(used=st.lists(st.integers(0, 300_000), min_size=3, max_size=3))
    def town(self, used: list[int]) -> None:
        """Enrol the transformer and two houses, which owe their first bills."""
        self._enrolled(self.world.enrol("meter 0", 1, TRANSFORMER), 0)
        for _ in range(2):
            self.enrol(0)
        self.honest_period(used)

    def _enrolled(self, device: Meter, initial_wh: int) -> None:
        state = self.model.enrol(device.number, self.evm.time_s, self.period, initial_wh)
        self.devices.append((device, state))

    def _device(self, state: MeterState) -> Meter:
        return next(device for device, known in self.devices if known is state)

    def _point(self, which: int, *, houses: bool = True) -> int:
        numbers = sorted(number for number in self.model.serving if number > houses)
        return numbers[which % len(numbers)]

    def _likely(self, which: int, likely: Callable[[Account], object]) -> int:
        """Choose a house, three times of four one for which something is to be done, if any."""
        numbers = [number for number, account in self.model.accounts.items() if likely(account)]
        numbers = [number for number in numbers if number > 1]
        return numbers[which // 4 % len(numbers)] if numbers and which % 4 else self._point(which)

    @precondition(lambda self: len(self.model.serving) < 5)
    @rule(initial_wh=st.integers(0, 10**6))
    def enrol(self, initial_wh: int) -> None:
        number = len(self.model.serving) + 1
        device = self.world.enrol(f"meter {len(self.devices)}", number, HOUSE, 1, initial_wh)
        self._enrolled(device, initial_wh)

    @rule(which=pick, initial_wh=st.integers(0, 10**6))
    def replace(self, which: int, initial_wh: int) -> None:
        number = self._point(which, houses=False)
        old = self.model.serving[number]
        if old.retired_at_s or (old.previous and old.previous.billed_wh != old.previous.closed_wh):
            return
        device = Meter(f"meter {len(self.devices)}", number)
        self.world.registry.replace(
            self._device(old).address, device.address, initial_wh, sender=UTILITY
        )
        state = self.model.replace(number, self.evm.time_s, self.period, initial_wh)
        self.devices.append((device, state))

    @rule(which=pick)
    def retire(self, which: int) -> None:
        state = self.model.serving[self._point(which)]
        if not state.retired_at_s and which % 3 == 0:
            self.world.registry.retire(self._device(state).address, sender=UTILITY)
            state.retired_at_s = self.evm.time_s

    @rule(days=st.integers(1, 20))
    def wait(self, days: int) -> None:
        self.evm.at(self.evm.time_s + days * DAY_S)

    @rule(used=st.lists(st.integers(0, 300_000), min_size=1, max_size=8))
    def next_period(self, used: list[int]) -> None:
        for i, (_, state) in enumerate(self.devices):
            if not state.retired_at_s:
                state.energy_wh += used[i % len(used)]
        self.touched.add(self.world.next_period())

    @rule(mask=st.integers(1, 2**12), twice=st.booleans())
    def close(self, mask: int, twice: bool) -> None:
        """Land closings of some meters, the retired ones too, and garbage in between."""
        start = self._start(self.period)
        over = self.period - 1
        self.touched.add(over)
        items, expected = [bytes(104)], 0
        for _ in range(1 + twice):
            for i, (device, state) in enumerate(self.devices):
                if mask >> i & 1:
                    items.append(device.closing(start, state.energy_wh))
                    expected += self.model.close(state, over, start, state.energy_wh)
        assert self.world.energy.close(b"".join(items)).value == expected

    @rule(which=pick, more_wh=st.integers(0, 1000))
    def finish(self, which: int, more_wh: int) -> None:
        """Land the last reading of a retired meter, or see why it waits."""
        device, state = self.devices[which % len(self.devices)]
        state.energy_wh += more_wh if state.retired_at_s else 0
        item = device.reading(state.retired_at_s or self.evm.time_s, state.energy_wh)
        period = self._period_of(state.retired_at_s or self.evm.time_s)
        deadline_s = self._start(period) + DEADLINE_S
        if not state.retired_at_s:
            reason = "meter in service"
        elif state.energy_wh <= state.closed_wh:
            reason = "nothing new"
        elif state.period + 1 < period and self.evm.time_s < deadline_s:
            reason = "closings missing, wait"
        else:
            self.world.energy.finish(item)
            self.model.finish(state, period, state.energy_wh)
            self.touched.add(period)
            return
        with pytest.raises(Reverted, match=reason):
            self.world.energy.finish(item)

    @rule(used=st.lists(st.integers(0, 300_000), min_size=1, max_size=8))
    def honest_period(self, used: list[int]) -> None:
        """A period passes, all that are in service close it, everybody is billed."""
        self.next_period(used)
        self.close(2 ** len(self.devices) - 1, twice=False)
        for number in range(2, len(self.model.serving) + 1):
            self._settle(number)

    @rule(price=st.integers(0, 10**6), bound=st.integers(1, 10**6), ahead=st.integers(1, 3))
    def announce_tariff(self, price: int, bound: int, ahead: int) -> None:
        start = max(self.period, self.model.tariffs[-1].from_period) + ahead
        slabs = [(bound, price), (OPEN, 2 * price)]
        waiting = sum(tariff.from_period > self.period for tariff in self.model.tariffs)
        if waiting == MOST_WAITING:
            with pytest.raises(Reverted, match="12 tariffs wait"):
                self.world.payment.announce_tariff(start, slabs, price, sender=UTILITY)
            return
        self.world.payment.announce_tariff(start, slabs, price, sender=UTILITY)
        self.model.tariffs.append(Tariff(start, slabs, price))

    @rule(which=pick)
    def settle(self, which: int) -> None:
        self._settle(self._point(which))

    def _settle(self, number: int) -> None:
        device = self._device(self.model.serving[number])
        value = self.world.payment.settle(device.address).value
        assert value == self.model.settle(number)

    @rule(which=pick)
    def pay(self, which: int) -> None:
        self._pay(self._likely(which, lambda account: account.due and not account.lock), which)

    @rule(claims=st.integers(0, 15))
    def honest_payments(self, claims: int) -> None:
        """Everybody who owes pays; some have their permit at once."""
        for number, account in self.model.accounts.items():
            if number > 1 and account.due and not account.lock:
                self._pay(number, claims)
                if claims >> number % 4 & 1:
                    self._claim(number)

    def _pay(self, number: int, which: int) -> None:
        account = self.model.accounts[number]
        meter = self._device(self.model.serving[number]).address
        payer = PAYERS[which % 2]
        self.evm.fund(payer, self.evm.balance(payer) + account.due)
        if account.due == 0 or account.lock:
            with pytest.raises(Reverted, match="nothing due|paid, not claimed yet"):
                self.world.payment.pay(meter, account.due, sender=payer, value=account.due)
            return
        self.world.payment.pay(meter, account.due, sender=payer, value=account.due)
        self.model.pay(number, payer, self.evm.time_s + ESCROW_WINDOW_S)

    @rule(which=pick)
    def claim(self, which: int) -> None:
        self._claim(self._likely(which, lambda account: account.lock))

    def _claim(self, number: int) -> None:
        device = self._device(self.model.serving[number])
        lock = self.model.accounts[number].lock
        if not lock:
            with pytest.raises(Reverted, match="nothing locked"):
                self.world.payment.least_grant(device.address)
            return
        frame = self.world.permit(device)
        signatures = self.world.sign(frame, device.address)
        if self.evm.time_s > lock.deadline_s:
            with pytest.raises(Reverted, match="too late, refund"):
                self.world.payment.claim(device.address, frame, signatures)
            return
        self.world.payment.claim(device.address, frame, signatures)
        self.model.claim(number, UTILITY)

    @rule(which=pick)
    def refund(self, which: int) -> None:
        self._refund(self._likely(which, lambda account: account.lock))

    def _refund(self, number: int) -> None:
        lock = self.model.accounts[number].lock
        if not lock or self.evm.time_s <= lock.deadline_s:
            with pytest.raises(Reverted, match="nothing locked|too early to refund"):
                self.world.payment.refund(number)
            return
        self.world.payment.refund(number)
        self.model.refund(number)

    @rule(who=st.sampled_from([*PAYERS, UTILITY]))
    def withdraw(self, who: str) -> None:
        credit = self.model.credits.pop(who, 0)
        before = self.evm.balance(who)
        if credit == 0:
            with pytest.raises(Reverted, match="no credit"):
                self.world.payment.withdraw(sender=who)
            return
        assert self.world.payment.withdraw(sender=who).value == credit
        assert self.evm.balance(who) == before + credit

    @invariant()
    def money_is_where_the_logs_say(self) -> None:
        self.books.check()
        locks = [account.lock for account in self.model.accounts.values() if account.lock]
        assert self.books.escrow == sum(lock.amount for lock in locks)
        for who, credit in self.model.credits.items():
            assert self.books.earned[who] - self.books.withdrawn[who] == credit

    @invariant()
    def accounts_agree(self) -> None:
        self.steps += 1
        for number, account in self.model.accounts.items():
            house = self.books.houses[number]
            assert (house.due, house.carried_wh) == (account.due, account.carried_wh)
            assert house.payments == len(account.paid)
            if self.steps % APART == 0:
                self._check_house(number)

    def _check_house(self, number: int) -> None:
        device = self._device(self.model.serving[number])
        self.books.check_house(number, device.address)

    @invariant()
    def feeder_agrees(self) -> None:
        if self.steps % APART:
            return
        for period in sorted(self.touched)[-2:]:
            self._check_feeder(period)

    def _check_feeder(self, period: int) -> None:
        found, sums = self.world.energy.sums(1, period), self.model.sums[period]
        assert (found.supplied_wh, found.sold_wh) == (sums.supplied_wh, sums.sold_wh)
        assert (found.closed, found.spanning) == (sums.closed, sums.spanning)
        assert found.closed <= found.expected

    def teardown(self) -> None:
        """Nobody was billed for more than the meters closed, nor for less once all is settled."""
        for period in self.touched:
            self._check_feeder(period)
        for number in self.model.accounts:
            self._check_house(number)
            if number > 1:
                self._check_energy(number)
        self.evm.listeners.clear()

    def _check_energy(self, number: int) -> None:
        for device, state in self.devices:
            if state.number == number:
                closing: Any = self.world.energy.closing(device.address)
                assert (closing.energy_wh, closing.period) == (state.closed_wh, state.period)
                assert state.billed_wh <= state.closed_wh <= state.energy_wh


class LedgersOfHours(Ledgers):
    """Periods of an hour."""

    period_s = HOUR_S
    deployed = World(Evm(START_S), HOUR_S)
    fresh = deployed.evm.save()


def lives(count: int, steps: int = 40) -> settings:
    """Return settings for so many lives of so many steps."""
    every = list(HealthCheck)
    return settings(
        max_examples=count, stateful_step_count=steps, deadline=None, suppress_health_check=every
    )


TestLedgersOfHours = LedgersOfHours.TestCase
TestLedgersOfHours.settings = lives(3)
