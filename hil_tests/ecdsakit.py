"""Put ecdsa where a MicroPython finds it: as source, or compiled as a board carries it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from parwana import REPO
from parwana.image import ecdsa_build, ecdsa_native, ecdsa_routines, firmware

SOURCE = REPO / "firmware" / "lib" / "ecdsa"
SCRIPTS = Path(__file__).parent / "ecdsa_scripts"
TIMEOUT_S = 300


def architecture(micropython: Path) -> str | None:
    """Return mpy-cross's name of what this MicroPython's processor is."""
    done = subprocess.run(
        [micropython, "-c", "import sys; print(sys.implementation._mpy)"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return firmware.architecture(int(done.stdout))


def place(folder: Path, arch: str | None, compiled: bool = False) -> Path:
    """Make folder/ecdsa, with machine code for `arch` if any; return the folder to import from."""
    target = folder / "ecdsa"
    target.mkdir(parents=True)
    for source in SOURCE.glob("*.py"):
        if compiled:
            name = f"ecdsa/{source.name}"
            mpy = target / f"{source.stem}.mpy"
            ecdsa_build.compile_source(source.read_text(), name, arch or "x86", mpy)
        else:
            shutil.copy(source, target)
    if arch is not None and not ecdsa_build.build(arch, target):
        raise ValueError(f"there is no machine code for {arch}")
    return folder


def place_simulated(folder: Path) -> Path:
    """As `place`, for this Python: the fast backend on a simulator that runs the ESP32's code."""
    library = place(folder, None)
    native, _ = ecdsa_build.build("xtensawin", folder / "built")
    code, starts = ecdsa_routines.program()
    constants = {"PROGRAM": code, **ecdsa_routines.schedules(starts)}
    names = re.findall(r"^def (\w+)", ecdsa_native.native_source(wide=False), re.M)
    (library / "micropython.py").write_text("def const(value):\n    return value\n")
    (library / "ecdsa" / "table.py").write_text(ecdsa_build.table_source())
    (library / "ecdsa" / "native.py").write_text(
        f"import sys\nfrom pathlib import Path\nsys.path.insert(1, {str(REPO)!r})\n"
        "from bench import mpy, xtensa\n"
        f"code = [f.code for f in mpy.functions(Path({str(native)!r})) if f.kind == 'viper']\n"
        f"{', '.join(names)} = [xtensa.Function(c) for c in code]\n"
        + "".join(f"{name} = {value!r}\n" for name, value in constants.items())
    )
    return library


def run(
    script: str, library: Path, *arguments: object, program: Path, heap: str = "145k"
) -> "subprocess.CompletedProcess[str]":
    """Run one of the scripts with the ecdsa of a folder, under a Python or a MicroPython."""
    options = [] if program == Path(sys.executable) else ["-X", f"heapsize={heap}"]
    command = [program, *options, SCRIPTS / script, library, *arguments]
    return subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
