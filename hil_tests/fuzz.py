"""Feed parsers of the table what atheris thinks of: python -m hil_tests.fuzz RUNS SEED NAME...

atheris (libFuzzer) sees which branches an input takes and goes on from those that take new ones.
It ends its process, so each parser has one, forked where all is imported. Exit code 0: each read
its share of RUNS inputs. Else the input that was a fault is told in hex, on a line `found: …`.
"""

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import atheris

MOST_BYTES = 2048
LEAST_RUNS = 500
SLOW_S = 60  # an input that takes longer is a fault, too
OURS = ["parwana", "wire", "hil_tests.firmware"]
FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"


def main(runs: str, seed: str, *names: str) -> int:
    """Have each parser read its inputs; return how many of them had a fault."""
    sys.path[:0] = [str(FIRMWARE), str(FIRMWARE / "lib")]
    modules = [path.stem for path in FIRMWARE.rglob("*.py") if path.stem not in ("boot", "main")]
    with atheris.instrument_imports(include=OURS + modules):
        from hil_tests.parsers import table
    memory = Path("/dev/shm")
    failed = 0
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for parser in table(Path(folder)):
            if parser.name not in names:
                continue
            print("parser:", parser.name, flush=True)
            child = os.fork()
            if not child:
                try:
                    fuzz(parser, max(LEAST_RUNS, int(int(runs) * parser.share)), seed, folder)
                finally:
                    os._exit(1)  # reached after a fault alone; what is above here is the parent's
            failed += os.waitpid(child, 0)[1] != 0
    return failed


def fuzz(parser: Any, runs: int, seed: str, folder: str) -> None:
    """Run until so many inputs were read, or one that is a fault; end the process."""
    corpus = Path(tempfile.mkdtemp(dir=folder))
    for number, data in enumerate(parser.seeds):
        (corpus / str(number)).write_bytes(data)

    def read(data: bytes) -> None:
        try:
            parser.try_(data)
        except Exception:
            traceback.print_exc()
            print("found:", data.hex(), flush=True)
            raise

    options = [f"-runs={runs}", f"-seed={seed}", f"-max_len={MOST_BYTES}", f"-timeout={SLOW_S}"]
    options += [f"-artifact_prefix={corpus}/", "-detect_leaks=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
