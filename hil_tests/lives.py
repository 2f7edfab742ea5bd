"""Run the programs of hil_tests/firmware that live a meter's life, under MicroPython."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parwana.world import runtime

FOLDER = Path(__file__).parent / "firmware"
TIMEOUT_S = 4500


def live(name: str, library: Path, lives: Iterable[Iterable[object]]) -> list[dict[str, Any]]:
    """Run a program beside itself, once for each list of arguments; return what each figured.

    `library` holds ecdsa in machine code. Raises AssertionError with what one said that broke off.
    """
    program = [str(runtime.micropython()), "-X", "heapsize=64m", str(FOLDER / name)]
    running = [
        subprocess.Popen(
            program + [str(word) for word in words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MICROPYPATH": f".frozen:{library}"},
            text=True,
        )
        for words in lives
    ]
    try:
        said = [one.communicate(timeout=TIMEOUT_S)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    for text in said:
        assert text.splitlines()[-1].startswith("{"), text
    return [{**json.loads(text.splitlines()[-1]), "said": text} for text in said]
