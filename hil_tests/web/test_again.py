"""What is done again and again is done again after a bug, too."""

import logging
from threading import Event

import pytest

from parwana.web.again import Again


def test_a_step_that_fails_is_told_and_made_again(caplog: pytest.LogCaptureFixture) -> None:
    done, tried = Event(), []

    def step() -> None:
        tried.append(1)
        if len(tried) == 1:
            raise KeyError("kind")
        done.set()

    again = Again(step, 0.01)
    with caplog.at_level(logging.ERROR, "parwana.web"):
        again.start()
        assert done.wait(20)
        again.stop()
    [record] = [one for one in caplog.records if one.name == "parwana.web"]
    assert record.exc_info
    assert record.exc_info[0] is KeyError
