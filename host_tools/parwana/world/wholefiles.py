"""Files that are there whole or not at all, whoever else writes the same meanwhile."""

import os
from pathlib import Path


def put(path: Path, data: bytes) -> None:
    """Write a file aside, then give it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_bytes(data)
    aside.replace(path)
