"""The pages of a town say what commands and chain say."""

from hil_tests.rights.conftest import Run
from hil_tests.town import Town
from hil_tests.web.conftest import Serve, live_a_day
from hil_tests.web.numbers import Comparison


def test_every_number_with_a_unit_is_one_that_is_said_elsewhere(
    lived: Town, serve: Serve, run: Run
) -> None:
    live_a_day(lived, tapped=True)
    lived.go_to(int(lived.world.clock.now()) + 1)  # an export has what was received before now
    with serve() as window:
        window.site.watch.look()
        assert Comparison(window, lived.world, run).everything() > 60
