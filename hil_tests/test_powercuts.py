"""Cut the power at the writes of a meter's day: what hil_tests/firmware/powercuts.py tells.

The short form samples; with --long each write is cut, and each recovery once more.
"""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from hil_tests import ecdsakit
from hil_tests.reliability import record
from parwana.world import runtime

PROGRAM = Path(__file__).parent / "firmware" / "powercuts.py"
TIMEOUT_S = 4500
START_OPERATIONS = 6000  # of the flash, from power to the first poll, with five files of journal
SAMPLED = 67  # every so many writes, in the short form


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ecdsa in machine code, as it is flashed."""
    arch = ecdsakit.architecture(runtime.micropython())
    return ecdsakit.place(tmp_path_factory.mktemp("library"), arch)


def cuts(library: Path, *arguments: object, shards: int = 1) -> tuple[Counter[str], str]:
    """Return the figures of all shards, and what they printed."""
    program = [str(runtime.micropython()), "-X", "heapsize=64m", str(PROGRAM)]
    running = [
        subprocess.Popen(
            program + [str(word) for word in (shard, shards, *arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MICROPYPATH": f".frozen:{library}"},
            text=True,
        )
        for shard in range(shards)
    ]
    try:
        said = [one.communicate(timeout=TIMEOUT_S)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    figures: Counter[str] = Counter()
    for text in said:
        last = text.splitlines()[-1]
        assert last.startswith("{"), text
        for name, value in json.loads(last).items():
            added = name not in ("writes_of_the_day", "start_operations_most")
            figures[name] = figures[name] + value if added else max(figures[name], value)
    return figures, "".join(said)


def test_a_day_survives_the_power_cuts(library: Path, long: bool) -> None:
    stride, shards = (1, 2) if long else (SAMPLED, 1)
    figures, said = cuts(library, stride, 1, shards=shards)
    record("power cuts" if long else "power cuts, sampled", **figures)
    print(dict(figures))
    assert figures["failures"] == 0, said
    assert figures["writes_of_the_day"] > 2000
    assert figures["writes_cut"] == -(-figures["writes_of_the_day"] // stride)
    assert figures["cuts"] >= 3 * figures["writes_cut"]
    assert figures["second_cuts"] == figures["cuts"]
    assert figures["start_operations_most"] <= START_OPERATIONS


def test_a_flash_that_forgets_its_last_writes_is_found(library: Path) -> None:
    figures, _ = cuts(library, 2 * SAMPLED, 0, "forgetful")
    assert figures["failures"] > 0
