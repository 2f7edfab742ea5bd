"""Each fault at each byte of an exchange with a sensor: hil_tests/firmware/sensorline.py."""

import re
from pathlib import Path

import pytest

from hil_tests.reliability import record
from hil_tests.test_micropython import FOLDER, LONG_S, run


@pytest.mark.long
def test_each_fault_at_each_byte(machine_code: Path) -> None:
    done = run(FOLDER / "test_sensorfaults.py", machine_code, "long_", LONG_S)
    assert done.returncode == 0, done.stdout
    found = re.search(r"spoilt (\d+) exchanges", done.stdout)
    assert found, done.stdout
    record("sensor faults", exchanges=int(found[1]), believed=0, jumps=0)
