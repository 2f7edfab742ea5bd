"""All three contracts against the model, in any order of events."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hil_tests.contracts.evm import Evm, Reverted
from hil_tests.contracts.model import MeterState, Model, Tariff
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
    UTILITY,
    Meter,
    World,
    address,
)

PAYERS = [address("payer 1"), address("payer 2")]
pick = st.integers(0, 10**6)


class Ledgers(RuleBasedStateMachine):
    """The transformer is point 1; houses follow from 2 on. Periods of months."""

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

    @initialize()
    def transformer(self) -> None:
        self._enrolled(self.world.enrol("meter 0", 1, TRANSFORMER), 0)

    def _enrolled(self, device: Meter, initial_wh: int) -> None:
        state = self.model.enrol(device.number, self.evm.time_s, self.world.period, initial_wh)
        self.devices.append((device, state))

    def _device(self, state: MeterState) -> Meter:
        return next(device for device, known in self.devices if known is state)

    def _point(self, which: int, *, houses: bool = True) -> int:
        numbers = sorted(number for number in self.model.serving if number > houses)
        return numbers[which % len(numbers)]

    has_house = precondition(lambda self: len(self.model.serving) > 1)

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
        state = self.model.replace(number, self.evm.time_s, self.world.period, initial_wh)
        self.devices.append((device, state))

    @has_house
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
        start = self.world.start(self.world.period)
        over = self.world.period - 1
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
        period = self.world.energy.period_of(state.retired_at_s or self.evm.time_s)
        deadline_s = self.world.start(period) + DEADLINE_S
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

    @rule(price=st.integers(0, 10**6), bound=st.integers(1, 10**6), ahead=st.integers(1, 3))
    def announce_tariff(self, price: int, bound: int, ahead: int) -> None:
        start = max(self.world.period, self.model.tariffs[-1].from_period) + ahead
        slabs = [(bound, price), (OPEN, 2 * price)]
        self.world.payment.announce_tariff(start, slabs, price, sender=UTILITY)
        self.model.tariffs.append(Tariff(start, slabs, price))

    @has_house
    @rule(which=pick)
    def settle(self, which: int) -> None:
        number = self._point(which)
        device = self._device(self.model.serving[number])
        value = self.world.payment.settle(device.address).value
        assert value == self.model.settle(number)

    @has_house
    @rule(which=pick)
    def pay(self, which: int) -> None:
        number = self._point(which)
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

    @has_house
    @rule(which=pick)
    def claim(self, which: int) -> None:
        number = self._point(which)
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

    @has_house
    @rule(which=pick)
    def refund(self, which: int) -> None:
        number = self._point(which)
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
    def money_is_where_the_model_says(self) -> None:
        accounts = self.model.accounts.values()
        locked = sum(account.lock.amount for account in accounts if account.lock)
        held = locked + sum(self.model.credits.values())
        assert self.evm.balance(self.world.payment.address) == held

    @invariant()
    def accounts_agree(self) -> None:
        for number, account in self.model.accounts.items():
            device = self._device(self.model.serving[number])
            found = self.world.payment.account(device.address)
            assert (found.due, found.carried_wh) == (account.due, account.carried_wh)
            assert (found.payments, found.meter) == (len(account.paid), device.address)
            locked = self.world.payment.locked(device.address)
            assert locked.amount == (account.lock.amount if account.lock else 0)

    @invariant()
    def feeder_agrees(self) -> None:
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
            if number > 1:
                self._check_energy(number)

    def _check_energy(self, number: int) -> None:
        for device, state in self.devices:
            if state.number == number:
                closing: Any = self.world.energy.closing(device.address)
                assert (closing.energy_wh, closing.period) == (state.closed_wh, state.period)
                assert state.billed_wh <= state.closed_wh <= state.energy_wh


class LedgersOfHours(Ledgers):
    """Periods of an hour."""

    deployed = World(Evm(START_S), HOUR_S)
    fresh = deployed.evm.save()


def lives(count: int) -> settings:
    """Return settings for so many lives."""
    every = list(HealthCheck)
    return settings(
        max_examples=count, stateful_step_count=40, deadline=None, suppress_health_check=every
    )


TestLedgersOfHours = LedgersOfHours.TestCase
TestLedgersOfHours.settings = lives(3)
