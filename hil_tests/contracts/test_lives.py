"""All three contracts against the model, with balances, tolerances, signers and strangers."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

import wire
from hil_tests.contracts.evm import Evm, Reverted
from hil_tests.contracts.test_stateful import PAYERS, Ledgers, lives, pick
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    LOAD_DW,
    OTHER,
    ROTATION_DELAY_S,
    START_S,
    UTILITY,
    Key,
    Meter,
    World,
)

NONE, THEFT, OVERBILLING, INCOMPARABLE = range(4)
DEFAULT_BP = 500


class Lives(Ledgers):
    """What the base does, and all that is left."""

    deployed = World(Evm(START_S))
    fresh = deployed.evm.save()
    signers = list(deployed.signers)

    def __init__(self) -> None:
        super().__init__()
        self.world.signers[:] = self.signers
        self.tolerances: list[tuple[int, int]] = []
        self.announced: dict[int, tuple[Key, int]] = {}
        self.keys = 0

    def _points(self, time_s: int) -> int:
        """Count the houses in service just before an instant."""
        found = 0
        for number, state in self.model.serving.items():
            first: Any = state
            while first.previous:
                first = first.previous
            gone_s = state.retired_at_s or 2**40
            found += number > 1 and first.enrolled_at_s < time_s <= gone_s
        return found

    def _balance(self, period: int) -> tuple[int, int] | str:
        """Return (missing, alarm) of a period, or why it waits."""
        start_s, end_s = self.world.start(period), self.world.start(period + 1)
        if self.evm.time_s < end_s:
            return "period not over"
        sums, points = self.model.sums[period], self._points(end_s)
        missing = points - sums.closed + (not sums.own)
        if missing and self.evm.time_s < end_s + DEADLINE_S:
            return "closings missing, wait"
        bp = next((b for p, b in reversed(self.tolerances) if p <= period), DEFAULT_BP)
        allowed_wh = sums.supplied_wh * bp // 10_000
        if not sums.own or sums.spanning or start_s <= START_S or self._points(start_s) != points:
            return missing, INCOMPARABLE
        if sums.supplied_wh > sums.sold_wh + allowed_wh:
            return missing, THEFT
        return missing, OVERBILLING * (sums.sold_wh > sums.supplied_wh + allowed_wh)

    @rule(back=st.integers(0, 4), many=st.booleans())
    def reconcile(self, back: int, many: bool) -> None:
        first = self.world.energy.period_of(START_S)
        period = max(first, self.world.period - back)
        expected = self._balance(period)
        if isinstance(expected, str):
            with pytest.raises(Reverted, match=expected):
                self.world.energy.reconcile(1, period)
            return
        if many:
            result = self.world.energy.reconcile_many([1, 2, 77], period)
            assert result.value == 1
        else:
            result = self.world.energy.reconcile(1, period)
        event, sums = result.event("Reconciled"), self.model.sums[period]
        assert (event.missing, event.alarm) == expected
        assert (event.supplied_wh, event.sold_wh) == (sums.supplied_wh, sums.sold_wh)

    @rule(tolerance_bp=st.integers(0, 2000))
    def set_tolerance(self, tolerance_bp: int) -> None:
        self.world.energy.set_tolerance(1, tolerance_bp, sender=UTILITY)
        self.tolerances.append((self.world.period + 1, tolerance_bp))

    @Ledgers.has_house
    @rule(which=pick, weak=st.integers(0, 7))
    def claim_with_less(self, which: int, weak: int) -> None:
        """No payout below the least grant, without m signatures, or by an old permit."""
        number = self._point(which)
        lock = self.model.accounts[number].lock
        device = self._device(self.model.serving[number])
        if not lock or self.evm.time_s > lock.deadline_s:
            return
        least = self.world.payment.least_grant(device.address)
        changed: dict[str, int] = [
            {"valid_until_s": least.valid_until_s - 1},
            {"period": least.period + 1},
            {"power_limit_dw": LOAD_DW - 1},
            {"energy_limit_wh": 1},
            {"serial": least.serial - 1},
            {"flags": wire.PERMIT_PROTECTED << 1},
            {},
            {},
        ][weak]
        frame = self.world.permit(device, **changed)
        signatures = self.world.sign(frame, device.address, (1,) if weak == 6 else (0, 2))
        if weak == 7:
            signatures = self.world.sign(frame, OTHER)
        with pytest.raises(Reverted):
            self.world.payment.claim(device.address, frame, signatures, sender=UTILITY)

    @Ledgers.has_house
    @rule(many=st.booleans())
    def settle_many(self, many: bool) -> None:
        numbers = sorted(number for number in self.model.serving if number > 1)
        numbers = numbers if many else numbers[:1]
        devices = [self._device(self.model.serving[number]).address for number in numbers]
        self.world.payment.settle_many(devices)
        for number in numbers:
            self.model.settle(number)

    @Ledgers.has_house
    @rule()
    def claim_many(self) -> None:
        claims, numbers = [], []
        for number in sorted(number for number in self.model.serving if number > 1):
            device = self._device(self.model.serving[number])
            lock = self.model.accounts[number].lock
            if lock and self.evm.time_s <= lock.deadline_s:
                frame = self.world.permit(device)
                claims.append((device.address, frame, self.world.sign(frame, device.address)))
                numbers.append(number)
            else:
                claims.append((device.address, bytes(40), bytes(130)))
        result = self.world.payment.claim_many(claims, sender=OTHER)
        assert result.value == len(numbers)
        paid = [fields for name, fields in result.events if name == "Paid"]
        for number, fields in zip(numbers, paid, strict=True):
            lock = self.model.accounts[number].lock
            assert lock
            assert (fields.amount, fields.number) == (lock.amount, number)
            self.model.claim(number, UTILITY)

    @Ledgers.has_house
    @rule(which=pick)
    def publish(self, which: int) -> None:
        """A grace permit: it changes nothing of what is owed, locked or recorded."""
        number = self._point(which)
        device = self._device(self.model.serving[number])
        lock = self.model.accounts[number].lock
        serial = self.world.payment.account(device.address).serial + 1
        now = self.evm.time_s
        frame = wire.pack_permit(0, serial, now, now + DAY_S, self.world.period)
        signatures = self.world.sign(frame, device.address)
        if lock and now <= lock.deadline_s:
            with pytest.raises(Reverted, match="paid, claim instead"):
                self.world.payment.publish(device.address, frame, signatures)
            return
        self.world.payment.publish(device.address, frame, signatures)

    @rule(index=st.integers(0, 2))
    def rotate(self, index: int) -> None:
        self.keys += 1
        new = Key(f"new signer {self.keys}")
        serial = self.world.payment.trust_serial() + 1
        frame = wire.pack_signer(index, serial, self.evm.time_s, wire.key_prefix(new.public))
        self.world.payment.rotate(frame, new.public, self.world.sign(frame))
        self.announced[index] = new, self.evm.time_s + ROTATION_DELAY_S

    @rule(index=st.integers(0, 2))
    def apply_rotation(self, index: int) -> None:
        if index not in self.announced or self.evm.time_s < self.announced[index][1]:
            with pytest.raises(Reverted, match="no signer announced|signer announced for later"):
                self.world.payment.apply_rotation(index, sender=OTHER)
            return
        self.world.payment.apply_rotation(index, sender=OTHER)
        self.world.signers[index] = self.announced.pop(index)[0]

    @rule(who=st.sampled_from([*PAYERS, UTILITY]))
    def withdraw_for(self, who: str) -> None:
        credit = self.model.credits.pop(who, 0)
        before = self.evm.balance(who)
        if credit == 0:
            with pytest.raises(Reverted, match="no credit"):
                self.world.payment.withdraw_for(who, sender=OTHER)
            return
        assert self.world.payment.withdraw_for(who, sender=OTHER).value == credit
        assert self.evm.balance(who) == before + credit

    @rule(which=pick)
    def strangers(self, which: int) -> None:
        """Nobody but the utility and m signers does what is theirs."""
        device, _ = self.devices[which % len(self.devices)]
        new = Meter("stranger", 99)
        serial = self.world.payment.trust_serial() + 1
        frame = wire.pack_signer(0, serial, self.evm.time_s, wire.key_prefix(new.public))
        calls: list[tuple[Any, Any]] = [
            (self.world.registry.enrol, [(new.address, 99, 1, 0, 0, LOAD_DW)]),
            (self.world.registry.replace, [device.address, new.address, 0]),
            (self.world.registry.retire, [device.address]),
            (self.world.registry.raise_load, [device.address, 2**32 - 1]),
            (self.world.energy.set_tolerance, [1, 2000]),
            (self.world.payment.announce_tariff, [2**20, [(2**64 - 1, 0)], 0]),
            (self.world.payment.rotate, [frame, new.public, self.world.sign(frame, by=(1,))]),
            (self.world.payment.publish, [device.address, bytes(40), bytes(130)]),
        ]
        function, arguments = calls[which % len(calls)]
        with pytest.raises(Reverted):
            function(*arguments, sender=OTHER)

    @invariant()
    def payments_are_recorded(self) -> None:
        for number, account in self.model.accounts.items():
            record = self.world.payment.record(self._device(self.model.serving[number]).address)
            assert record.payments == len(account.paid)

    def teardown(self) -> None:
        """What the feeder's meters closed is what its sums hold, period by period."""
        super().teardown()
        sold = sum(
            state.closed_wh - state.first_wh for device, state in self.devices if device.number > 1
        )
        assert sum(self.world.energy.sums(1, p).sold_wh for p in self.touched) == sold
        self.world.signers[:] = self.signers


class ManyLives(Lives):
    """The same, for as long as `--long` has."""

    called = 0

    def teardown(self) -> None:
        super().teardown()
        type(self).called = self.evm.calls


TestLives = Lives.TestCase
TestLives.settings = lives(6)
TestManyLives = pytest.mark.long(ManyLives.TestCase)
TestManyLives.settings = lives(270)


@pytest.mark.long
def test_that_was_many_calls() -> None:
    """Reads too; one in six changes something. Comes after the machine, in the same process."""
    assert ManyLives.called >= 50_000
