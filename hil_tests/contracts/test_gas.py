"""What calls cost: ceilings a little above what was measured, so that a regression is seen."""

from hil_tests.contracts.world import HOUSE, OTHER, PAYER, TRANSFORMER, World


def test_gas(world: World) -> None:
    """128 houses under one transformer in their second period, one of them billed and paid."""
    transformer = world.enrol("transformer", 1, TRANSFORMER)
    houses = [world.enrol(f"house {i}", 10 + i, HOUSE, 1) for i in range(128)]
    for month in (1, 2):
        over = world.next_period()
        start = world.start(over + 1)
        assert world.close((transformer, 128_000 * month)) == 1
        batch = b"".join(house.closing(start, 1000 * month) for house in houses)
        closed = world.energy.close(batch, sender=OTHER)
        assert closed.value == 128
        reconciled = world.energy.reconcile(1, over, sender=OTHER)
        settled = world.payment.settle(houses[0].address)
        due = world.payment.account(houses[0].address).due
        world.evm.fund(PAYER, due)
        paid = world.payment.pay(houses[0].address, due, sender=PAYER, value=due)
        frame = world.permit(houses[0])
        signatures = world.sign(frame, houses[0].address)
        claimed = world.payment.claim(houses[0].address, frame, signatures)
    assert closed.gas / 128 < 11_550
    assert reconciled.gas < 27_700
    assert settled.gas < 56_600
    assert paid.gas < 38_600
    assert claimed.gas < 76_000


def test_reconcile_costs_the_same_at_any_size(world: World) -> None:
    gas = []
    for point, houses in ((1, 1), (2, 100)):
        world.enrol(f"transformer {point}", point, TRANSFORMER)
        for i in range(houses):
            world.enrol(f"house {point} {i}", 1000 * point + i, HOUSE, point)
    over = world.next_period()
    world.evm.at(world.start(over + 1) + 20 * 86_400)
    for point in (1, 2):
        gas.append(world.energy.reconcile(point, over).gas)
    assert abs(gas[0] - gas[1]) < 100


def test_further_days_share_a_transaction(world: World) -> None:
    one, two = ([(20_600 + i, bytes([i + 1]) * 32, 19_200) for i in range(n)] for n in (1, 2))
    alone = world.energy.commit(0, one, sender=OTHER).gas
    assert alone < 25_800
    assert world.energy.commit(0, two, sender=OTHER).gas - alone < 3_450
