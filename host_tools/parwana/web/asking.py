"""Ask another of our commands, as a process of its own: what takes long is in nobody's way."""

import json
import subprocess
import sys
from collections.abc import Sequence
from threading import Event
from typing import Any

_LOOK_S = 0.5
_NICE = 10  # pages come first


class AskError(Exception):
    """The command answered nothing; the text is what it said last."""


def answer(words: Sequence[str], ending: Event) -> Any:
    """Return what `parwana WORDS --json` ends with, None if `ending` was set meanwhile.

    Whatever its exit code is. Raises AskError.
    """
    command = ["nice", "-n", str(_NICE), sys.executable, "-m", "parwana.cli", *words, "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while not ending.is_set():
            try:
                out, err = process.communicate(timeout=_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            process.kill()
            return None
    try:
        told = json.loads(out.splitlines()[-1])
        if "error" not in told:
            return told
        said = str(told["error"])
    except (ValueError, LookupError, TypeError):
        said = (err.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    raise AskError(said)
