"""A signal ends a program whatever it was at."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, threading, time
from parwana.world.ending import set_on_signals
stop = threading.Event()
set_on_signals(stop)
with stop._cond:  # as within wait, for a moment
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.1)
print(stop.wait(10))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_within_wait_is_no_deadlock(name: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
