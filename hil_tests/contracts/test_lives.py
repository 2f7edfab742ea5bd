"""All three contracts, with balances, tolerances, signers, replays and strangers, to the end.

What is held to after each step, by the model and by books kept of the logs alone: escrow is what
was locked less what was claimed and refunded; a bill is the tariff of signed differences; a
payment goes out by a permit that m signed and that grants the least; a feeder's sums are those of
its meters; the digest of the payments is that of their logs; and whatever the others did, who
owes can pay and be connected. At the end every lock has ended in exactly one of claim and refund.
"""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

import wire
from hil_tests.contracts.evm import Evm, Reverted
from hil_tests.contracts.test_stateful import PAYERS, Ledgers, lives, pick
from hil_tests.contracts.world import (
    DAY_S,
    DEADLINE_S,
    ESCROW_WINDOW_S,
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
        start_s, end_s = self._start(period), self._start(period + 1)
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
        first = self._period_of(START_S)
        period = max(first, self.period - back)
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
        self.tolerances.append((self.period + 1, tolerance_bp))

    @rule(which=pick)
    def claim_with_less(self, which: int) -> None:
        """No payout below the least grant, without m signatures, or by an old permit."""
        number = self._likely(which, lambda account: account.lock)
        lock = self.model.accounts[number].lock
        meter = self._device(self.model.serving[number])
        if not lock or self.evm.time_s > lock.deadline_s:
            return
        least = self.world.payment.least_grant(meter.address)
        weak: list[dict[str, int]] = [
            {"valid_until_s": least.valid_until_s - 1},
            {"period": least.period + 1},
            {"power_limit_dw": least.power_limit_dw - 1},
            {"energy_limit_wh": 1},
            {"serial": least.serial - 1},
            {"flags": wire.PERMIT_PROTECTED << 1},
            {"issued_at_s": self.evm.time_s + 1},
        ]
        frames = [self.world.permit(meter, **changed) for changed in weak]
        frame = self.world.permit(meter)
        for shown, signatures in (
            *((less, self.world.sign(less, meter.address)) for less in frames),
            (frame, self.world.sign(frame, meter.address, (1,))),
            (frame, self.world.sign(frame, OTHER)),
        ):
            with pytest.raises(Reverted):
                self.world.payment.claim(meter.address, shown, signatures, sender=UTILITY)

    @rule(many=st.booleans())
    def settle_many(self, many: bool) -> None:
        numbers = sorted(number for number in self.model.serving if number > 1)
        numbers = numbers if many else numbers[:1]
        devices = [self._device(self.model.serving[number]).address for number in numbers]
        self.world.payment.settle_many(devices)
        for number in numbers:
            self.model.settle(number)

    @rule(paying=st.integers(0, 15))
    def claim_many(self, paying: int) -> None:
        """Some who owe pay; then all that can be claimed is, and the rest passed over."""
        claims, numbers = [], []
        for number, account in self.model.accounts.items():
            if number > 1 and account.due and not account.lock and paying >> number % 4 & 1:
                self._pay(number, paying)
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

    @rule(which=pick)
    def publish(self, which: int) -> None:
        """A grace permit: it changes nothing of what is owed, locked or recorded."""
        number = self._point(which)
        device = self._device(self.model.serving[number])
        lock = self.model.accounts[number].lock
        serial = self.world.payment.account(device.address).serial + 1
        now = self.evm.time_s
        frame = wire.pack_permit(0, serial, now, now + DAY_S, self.period)
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

    @rule(index=st.integers(0, 2), beyond_s=st.integers(-1, 1), wait=st.booleans())
    def apply_rotation(self, index: int, beyond_s: int, wait: bool) -> None:
        if index in self.announced and wait:
            self.evm.at(max(self.evm.time_s, self.announced[index][1] + beyond_s))
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

    @rule(which=pick, more_dw=st.integers(1, 10**5))
    def raise_load(self, which: int, more_dw: int) -> None:
        number = self._point(which)
        state = self.model.serving[number]
        load_dw = self.books.houses[number].load_dw + more_dw
        meter = self._device(state).address
        if state.retired_at_s:
            with pytest.raises(Reverted, match="meter retired"):
                self.world.registry.raise_load(meter, load_dw, sender=UTILITY)
            return
        self.world.registry.raise_load(meter, load_dw, sender=UTILITY)

    @rule(which=pick, beyond_s=st.integers(-1, 1), claim=st.booleans())
    def wait_for_a_deadline(self, which: int, beyond_s: int, claim: bool) -> None:
        """About the last second of a lock: claim, or try to, then refund, or the other way."""
        number = self._likely(which, lambda account: account.lock)
        lock = self.model.accounts[number].lock
        if lock and self.evm.time_s <= lock.deadline_s + beyond_s:
            self.evm.at(lock.deadline_s + beyond_s)
            for end in (self._claim, self._refund) if claim else (self._refund, self._claim):
                end(number)

    @rule(which=pick, claim=st.booleans())
    def show_again(self, which: int, claim: bool) -> None:
        """No permit counts twice, for whatever it was published."""
        bundles = self.books.bundles
        if bundles:
            function = self.world.payment.claim if claim else self.world.payment.publish
            with pytest.raises(Reverted):
                function(*bundles[which % len(bundles)], sender=OTHER)

    @rule(which=pick)
    def right_to_pay(self, which: int) -> None:
        """Whatever was done: who owes can pay all of it and is connected. Then forget it."""
        number = self._point(which)
        device, ledger = self._device(self.model.serving[number]), self.world.payment
        saved, heard = self.evm.save(), self.evm.listeners[:]
        self.evm.listeners.clear()
        lock = self.model.accounts[number].lock
        if lock and self.evm.time_s > lock.deadline_s:
            ledger.refund(number)
        ledger.settle(device.address)
        for _ in range(2):  # what is locked, then what came due since
            if ledger.locked(device.address).amount:
                frame = self.world.permit(device)
                ledger.claim(device.address, frame, self.world.sign(frame, device.address))
            if ledger.account(device.address).due:
                self.world.pay(device, OTHER)
        assert ledger.account(device.address).due == ledger.locked(device.address).amount == 0
        self.evm.restore(saved)
        self.evm.listeners[:] = heard

    def teardown(self) -> None:
        """Let every lock end, everything be billed and paid out."""
        self.evm.at(self.evm.time_s + ESCROW_WINDOW_S + 1)
        for number, account in self.model.accounts.items():
            if account.lock:
                self._claim(number)
                self.world.payment.refund(number)
                self.model.refund(number)
            with pytest.raises(Reverted, match="nothing locked"):
                self.world.payment.refund(number)
        assert (self.books.escrow, self.books.locks) == (
            0,
            self.books.claims + self.books.refunds,
        )
        for who in (*PAYERS, UTILITY):
            self.withdraw_for(who)
        assert self.evm.balance(self.world.payment.address) == 0
        self._all_is_billed()
        sold = sum(
            state.closed_wh - state.first_wh for device, state in self.devices if device.number > 1
        )
        assert sum(self.world.energy.sums(1, p).sold_wh for p in self.touched) == sold
        self.world.signers[:] = self.signers
        super().teardown()

    def _all_is_billed(self) -> None:
        """What all meters of a point signed is in its bills, or waits for its next one."""
        signed_wh = dict.fromkeys(self.model.accounts, 0)
        for device, state in self.devices:
            if device.number > 1:
                self.world.payment.settle(device.address)
            signed_wh[device.number] += state.closed_wh - state.first_wh
        for number, house in self.books.houses.items():
            assert number == 1 or house.billed_wh + house.carried_wh == signed_wh[number]


class ManyLives(Lives):
    """The same, for as long as `--long` has."""

    sent = 0

    def __init__(self) -> None:
        super().__init__()
        self.before = self.evm.transactions

    def teardown(self) -> None:
        super().teardown()
        type(self).sent += self.evm.transactions - self.before


TestLives = Lives.TestCase
TestLives.settings = lives(6)
# transactions, not counting what only reads
MANY, PARTS = 50_000, 10


@pytest.mark.long
@pytest.mark.parametrize("_part", range(PARTS))
def test_many_lives(_part: int) -> None:
    """In parts, since a test that takes a quarter of an hour is taken for one that hangs."""
    enough = ManyLives.sent + MANY // PARTS
    while ManyLives.sent < enough:
        run_state_machine_as_test(ManyLives, settings=lives(20, 100))
