"""Whatever bytes come in: what reads them answers, or says what is wrong, and nothing else.

The table is in parsers.py and firmware/parsers.py. Each input that was ever found to be a fault is
tried in every run, under both interpreters.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from hil_tests import parsers
from hil_tests.firmware.check import Dice
from hil_tests.lives import live
from hil_tests.reliability import record
from parwana import BUILD, REPO

EXAMPLES = 40
SHORT = 60  # inputs of each parser under MicroPython
LONG_MICROPYTHON = 30_000
LONG_ATHERIS = 400_000
LONG_LEAST = 10_000_000
ATHERIS_S = 5000
SEED = 20261127


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> "list[Any]":
    return parsers.table(tmp_path_factory.mktemp("parsers"))


def test_each_parser_takes_what_is_well_formed(table: "list[Any]") -> None:
    names = [parser.name for parser in table]
    assert len(set(names)) == len(names)
    for parser in table:
        assert parser.seeds, parser.name
        for good in parser.seeds:
            parser.try_(good)


def test_what_was_found_once_is_found_no_more(table: "list[Any]") -> None:
    by_name = {parser.name: parser for parser in table}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(2000)  # as commands have it; py-evm raises it
    try:
        for name, data in parsers.vectors():
            by_name[name].try_(data)
    finally:
        sys.setrecursionlimit(limit)


def inputs(parser: Any) -> "st.SearchStrategy[bytes]":
    """Return bytes of any sort, and mutations of what is well-formed."""

    def mutated(good: bytes, dice: int) -> bytes:
        return bytes(parsers.firmware.mutate(Dice(dice), good, parser.seeds))

    edited = st.builds(mutated, st.sampled_from(parser.seeds), st.integers(0, 2**32 - 1))
    return edited | st.binary(max_size=100)


def test_any_bytes(table: "list[Any]") -> None:
    for parser in table:
        examples = max(5, int(EXAMPLES * parser.share))

        @seed(SEED)
        @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
        @given(inputs(parser))
        def no_fault(data: bytes) -> None:
            parser.try_(data)  # noqa: B023

        try:
            no_fault()
        except Exception as error:
            error.add_note(f"found of the parser {parser.name!r}; add it to vectors/found.json")
            raise


def test_any_bytes_under_micropython(machine_code: Path) -> None:
    (figures,) = live("mutations.py", machine_code, [(SHORT, SEED)])
    assert figures["faults"] == []
    assert 0 < figures["taken"] < figures["inputs"]


def test_a_fault_is_found() -> None:
    """A parser that indexes what is not there: hypothesis finds it, and names it."""
    bad = parsers.Parser("bad", [b"abc"], lambda data: data[2], ())
    with pytest.raises(IndexError) as caught:
        test_any_bytes([bad])
    assert "the parser 'bad'" in caught.value.__notes__[-1]


@pytest.fixture(scope="session")
def atheris() -> Path:
    """Return a folder to import atheris from; only the long form needs its 35 MB."""
    folder = BUILD / "atheris"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--upgrade", "--only-binary", ":all:", "--target", str(folder)]
    command += ["-c", str(REPO / "constraints.txt"), "atheris"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"pip has no atheris for this Python: {done.stderr.strip().splitlines()[-1]}")
    return folder


def fuzz(library: Path, names: "list[str]") -> int:
    """Have atheris try parsers; return how many inputs they took. Raises AssertionError."""
    command = [sys.executable, "-m", "hil_tests.fuzz", str(LONG_ATHERIS), str(SEED), *names]
    done = subprocess.run(
        command,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(library)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=ATHERIS_S,
        check=False,
    )
    said = done.stdout.decode("utf8", "replace")
    tried = re.findall(r"number_of_executed_units: (\d+)", said)
    wrong = re.findall(r"(?m)^(?:parser|found): .*", said)
    assert done.returncode == 0, f"{wrong}\n{said[-6000:]}"
    assert len(tried) == len(names), said[-6000:]
    return sum(map(int, tried))


@pytest.mark.long
def test_any_bytes_at_length(table: "list[Any]", atheris: Path, machine_code: Path) -> None:
    seeds = [(LONG_MICROPYTHON, SEED + i) for i in range(2)]
    on_meter = live("mutations.py", machine_code, seeds)
    assert [figures["faults"] for figures in on_meter] == [[], []]
    names = [parser.name for parser in table]
    with ThreadPoolExecutor(2) as two:
        on_host = sum(two.map(partial(fuzz, atheris), (names[::2], names[1::2])))
    tried = {
        "under_micropython": sum(figures["inputs"] for figures in on_meter),
        "by_atheris": on_host,
    }
    record("parsers", parsers=len(table), vectors=len(parsers.vectors()), faults=0, **tried)
    assert sum(tried.values()) >= LONG_LEAST
