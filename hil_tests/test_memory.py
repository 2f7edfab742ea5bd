"""The firmware fits an ESP32: a short life with less heap and stack than there is."""

import subprocess
from pathlib import Path

import pytest

from bench import imports, lookalike, memory
from bench.memory import CALLS, CALLS_TO_SPARE, HEAP, HEAP_TAKEN, Bench, OverBudget, Phase
from bench.meterlife import OutOfMemory


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, may_build=False)


def test_the_firmware_lives_with_less_than_there_is(bench: Bench) -> None:
    # The stand-in's own blocks lie elsewhere: with an update and a flood at once it wants more.
    heap = HEAP - (HEAP_TAKEN if bench.exact else HEAP_TAKEN - 4096)
    phases = list(bench.live("squeezed", 0, heap, CALLS - CALLS_TO_SPARE, brief=True))
    assert phases[-1].name == "forgeries"
    assert phases[1].name == "no network time"
    for phase in phases if bench.exact else []:
        assert 80_000 < phase.live <= phase.live_most, phase
        assert phase.calls_most > 10, phase
        assert phase.free_least + HEAP_TAKEN >= memory.HEAP_TO_SPARE, phase


def test_a_heap_that_is_too_small_is_noticed(bench: Bench) -> None:
    with pytest.raises(OutOfMemory):
        for _ in bench.live("starved", 0, HEAP - 3 * HEAP_TAKEN, brief=True):
            pass


def test_the_budget_can_be_exceeded() -> None:
    good = Phase("good", 1, 1, memory.HEAP_TO_SPARE, 1, 1, 42.0, 8.0)
    memory.check([good])
    with pytest.raises(OverBudget, match="heavy: 30719 B free"):
        memory.check([good, Phase("heavy", 1, 1, memory.HEAP_TO_SPARE - 1, 1, 1, 42.0, 8.0)])
    with pytest.raises(OverBudget, match=r"deep: 7\.9 calls are left"):
        memory.check([good, Phase("deep", 1, 1, memory.HEAP_TO_SPARE, 1, 1, 42.1, 7.9)])
    with pytest.raises(OverBudget, match="held: a poll waited 300 ms"):
        memory.check([good, Phase("held", 1, 1, memory.HEAP_TO_SPARE, 1, 1, 42.0, 8.0, 300)])


def test_what_the_board_says_of_imports_is_understood() -> None:
    said = (
        "import wire 500\nimport wire.frames 3856\n"
        "qstr pool: n_pool=5, n_qstr=579, n_str_data_bytes=5258, n_total_bytes=9754\nimports end"
    )
    assert imports.costs(said) == [("wire.frames", 3856), ("wire", 500)]
    assert imports.names(said) == 579


def test_the_look_alike_is_one() -> None:
    try:
        micropython = lookalike.built()
    except lookalike.RuntimeMissing as error:
        pytest.skip(str(error))
    code = (
        "import sys\ndef f():\n  global n\n  n += 1\n  f()\nn = 0\n"
        "try: f()\nexcept RuntimeError: print(sys.maxsize == 2**31 - 1, 2.0**24 + 1 == 2.0**24, n)"
    )
    done = subprocess.run([micropython, "-c", code], capture_output=True, text=True, timeout=60)
    word_is_32_bit, floats_are_single, calls = done.stdout.split()
    assert (word_is_32_bit, floats_are_single) == ("True", "True")
    assert 50 <= int(calls) <= 60
