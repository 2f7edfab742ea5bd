"""flash.sh puts this repository's firmware on the board."""

import hashlib

from hil_tests.bench.bench import Bench
from parwana.image import firmware


def test_the_board_runs_what_was_flashed(bench: Bench) -> None:
    assert bench.flashed["version"] == firmware.version()
    with bench.meter.repl() as repl:
        assert repl.ask("__import__('version').VERSION") == firmware.version()
        native = firmware.architecture(repl.ask("__import__('sys').implementation._mpy"))
        slot = (repl.read("/slot") or b"a").split()[0].decode()
        there = repl.hashes(f"/{slot}.fw")
    image = firmware.archive(firmware.build(native))
    assert there == {f"/{slot}.fw": hashlib.sha256(image).hexdigest()}


def test_flashing_again_copies_nothing_and_lets_it_run_on(bench: Bench) -> None:
    bench.fresh()
    again = bench.meter.flash()
    assert (again["copied"], again["restarted"]) == ([], False)
    assert (bench.meter.status()["readings"], bench.meter.status()["restarts"]) == (0, 0)
