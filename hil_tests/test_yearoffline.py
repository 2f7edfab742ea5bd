"""A year without a network: what hil_tests/firmware/yearoffline.py tells.

The short form keeps 1,000 frames; with --long it is a year of them, at 15 minutes and at one.
"""

from pathlib import Path
from typing import Any

import pytest

from hil_tests.lives import live
from hil_tests.reliability import record

YEAR_FRAMES = 35_136
SEGMENT_RECORDS = 1141
JOURNAL_BYTES = 1_600_000
START_OPERATIONS = 11_000  # of the flash, from power to the first poll, whatever is held
HEAP_GROWTH = 1536  # bytes, from the first start to one beside a year of frames
ENDURANCE = 100_000  # erases of a block, the least that data sheets of SPI NOR flash promise
LEAST_YEARS = {900: 20, 60: 10}


def years(figures: dict[str, Any]) -> float:
    """Return how long the block lasts that was erased most often, were it always the same."""
    return float(ENDURANCE / (figures["erases_most"] / figures["days"] * 365))


def check(figures: dict[str, Any], name: str) -> None:
    """Compare with what is promised, and keep the figures."""
    figures.pop("said")
    figures["years_of_flash"] = round(years(figures), 1)
    record(name, **figures)
    print(name, figures)
    heap = [bytes_ for _, _, bytes_ in figures["starts"]]
    assert max(heap) - heap[0] <= HEAP_GROWTH
    assert max(operations for _, operations, _ in figures["starts"]) <= START_OPERATIONS
    assert figures["overwrites_told"] >= 2
    assert figures["backfilled"] >= figures["journal_frames"]
    assert figures["verified"] > 0


def test_a_full_journal_goes_out_in_order(machine_code: Path) -> None:
    (figures,) = live("yearoffline.py", machine_code, [(900, 1000, 3, 285)])
    check(figures, "1,000 frames offline")


@pytest.mark.long
def test_a_year(machine_code: Path) -> None:
    lives = [(interval_s, YEAR_FRAMES, 8, SEGMENT_RECORDS) for interval_s in LEAST_YEARS]
    for figures in live("yearoffline.py", machine_code, lives):
        check(figures, f"a year of frames, each {figures['interval_s']} s")
        assert figures["journal_bytes_most"] <= JOURNAL_BYTES
        assert figures["years_of_flash"] >= LEAST_YEARS[figures["interval_s"]]
