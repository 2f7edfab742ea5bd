"""Figures of what was tried, in build/reliability.json: those of the newest run of each test."""

import fcntl
import json
from typing import Any

from parwana import BUILD

PATH = BUILD / "reliability.json"


def record(name: str, **figures: Any) -> None:
    """Put the figures of `name` beside those of others; tests may run side by side."""
    BUILD.mkdir(exist_ok=True)
    with open(PATH, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        held = json.loads(file.read() or "{}")
        held[name] = figures
        file.truncate(0)
        file.write(json.dumps(held, indent=1, sort_keys=True) + "\n")
