"""Places: directions, projections and their noise."""

import numpy as np

from hil_tests.losses.worlds import HOUSES, halves, world
from parwana.losses import model, suspects
from parwana.losses.suspects import HEAD, HOUSE, LINE, Projection, folded, unfolded


def learnt(*, voltages: bool = True) -> tuple[Projection, model.Model]:
    reference = halves(world())[0].complete()
    made = model.learn(reference)
    used = np.array([True, *[voltages] * HOUSES])
    return suspects.projection(made, used, reference.block()), made


def test_each_place_gives_back_the_power_that_was_drawn_there() -> None:
    project, _ = learnt()
    course = np.random.default_rng(1).uniform(0, 500, 96 * 4)
    block = np.repeat(np.arange(4), 96)
    for place in range(len(project.places.kind)):
        left = course[:, None] * project.places.direction[:, place]
        bands = project.bands(left, block)
        whole = unfolded(bands.fast[:, :, place] + bands.slow[:, None, place], bands.counts)
        assert np.allclose(whole, course)


def test_a_place_is_beside_each_house_and_the_feeder_is_one() -> None:
    project, made = learnt()
    places = project.places
    assert (places.kind == HOUSE).sum() == HOUSES
    assert (places.kind == LINE).sum() == 3 * HOUSES
    assert (places.kind == HEAD).sum() == 1
    # Beside the house all voltages fall as behind its service, but its own, which falls less.
    for place in np.flatnonzero(places.kind == LINE):
        house = places.near[place]
        behind = places.direction[:, house]
        others = np.delete(np.arange(HOUSES + 1), house + 1)
        assert np.array_equal(places.direction[others, place], behind[others])
        assert places.direction[house + 1, place] > behind[house + 1]
    assert made.ohm.shape == (HOUSES, HOUSES)


def test_without_voltages_the_line_is_one_place() -> None:
    project, _ = learnt(voltages=False)
    assert (project.places.kind == LINE).sum() == 1
    assert not project.places.direction[1:].any()


def test_blocks_are_folded_and_unfolded() -> None:
    values = np.arange(10.0).reshape(5, 2)
    block = np.array([0, 0, 0, 2, 2])
    shaped = folded(values, block)
    assert shaped.shape == (2, 3, 2)
    assert not shaped[1, 2].any()
    assert np.array_equal(unfolded(shaped, np.array([3.0, 2.0])), values)
