"""Cut the power at the writes of a meter's day: what hil_tests/firmware/powercuts.py tells.

The short form samples; with --long each write is cut, and each recovery once more.
"""

from collections import Counter
from pathlib import Path

from hil_tests.lives import live
from hil_tests.reliability import record

START_OPERATIONS = 4000  # of the flash, from power to the first poll, with five files of journal
SAMPLED = 67  # every so many writes, in the short form


def cuts(library: Path, *arguments: object, shards: int = 1) -> tuple[Counter[str], str]:
    """Return the figures of all shards, and what they printed."""
    found = live("powercuts.py", library, [(s, shards, *arguments) for s in range(shards)])
    said = "".join(figures.pop("said") for figures in found)
    most = {"writes_of_the_day", "start_operations_most"}
    return Counter(
        {
            name: (max if name in most else sum)(figures[name] for figures in found)
            for name in found[0]
        }
    ), said


def test_a_day_survives_the_power_cuts(machine_code: Path, long: bool) -> None:
    stride, shards = (1, 2) if long else (SAMPLED, 1)
    figures, said = cuts(machine_code, stride, 1, shards=shards)
    record("power cuts" if long else "power cuts, sampled", **figures)
    print(dict(figures))
    assert figures["failures"] == 0, said
    assert figures["writes_of_the_day"] > 1300
    assert figures["writes_cut"] == -(-figures["writes_of_the_day"] // stride)
    assert figures["cuts"] >= 3 * figures["writes_cut"]
    assert figures["second_cuts"] == figures["cuts"]
    assert figures["start_operations_most"] <= START_OPERATIONS


def test_a_flash_that_forgets_its_last_writes_is_found(machine_code: Path) -> None:
    figures, _ = cuts(machine_code, 2 * SAMPLED, 0, "forgetful")
    assert figures["failures"] > 0
