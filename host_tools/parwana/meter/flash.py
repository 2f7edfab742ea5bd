"""Put the firmware on a meter: into the slot that does not run, checked there, then switched to.

The old firmware stays whole until the new one has been read back, imported and has signed a known
digest on the board itself. Configuration, key, state and journal are never touched.
"""

import ast
import functools
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import coincurve
import typer
from rich.console import Console
from rich.progress import Progress

from parwana.image import firmware
from parwana.meter import esp, offered, ports
from parwana.meter.esp import DOWNLOADS
from parwana.meter.repl import RESET_S, START_S, BoardSilent, Meter, MeterError, connect
from parwana.meter.snippets import REMOVE, TELL_IMPORTS
from parwana.meter.steps import Steps
from parwana.world.options import Json, Port

OLDEST = (1, 24)
FAMILY = {"esp32", "linux"}  # linux: a virtual board
SERVICE_MS = 600_000
_BLOCK = 4096
_FOLDERS_BLOCKS = 4  # littlefs keeps names in pairs of blocks, and moves them while it writes
_FILES = ("/a.fw", "/b.fw", "/a/main.mpy", "/a/main.py", "/b/main.mpy", "/b/main.py")
_SETTLE_TRIES = 3
_AS_BEFORE = "the meter runs what it ran before"
_KEY = hashlib.sha256(b"parwana self-test, not a secret").digest()

_MOUNT = """
import os, vfs
for path in ('/a', '/b'):
 try: vfs.umount(path)
 except OSError: pass
try:
 from flashbdev import bdev
 flash = vfs.VfsLfs2(bdev, readsize=%d, lookahead=64, mtime=False)
 vfs.umount('/')
 vfs.mount(flash, '/')
 os.chdir('/')
except Exception as e: print('the flash stays as it is mounted:', repr(e))
"""
_COPYING = 1024  # littlefs's buffers are four times that: a block, written and read at once
_RUNNING = 128  # as boot.py mounts it
_SELF_TEST = """
import gc
gc.threshold(4096)  # as main does, so that there is room for ecdsa's code
_tell(*%(modules)r)
import main, ecdsa, version, gc
key, digest = %(key)r, %(digest)r
print('sign')
signature = ecdsa.sign(digest, key)[0]
print('verify')
verified = ecdsa.verify(digest, signature, ecdsa.public_key(key))
gc.collect()
print(repr((version.VERSION, signature, verified, gc.mem_free())))
"""
_CONFIGURATION = """
import os
_tell('config')
import config
refused = ''
try:
 if 'config.json' in os.listdir('/'): config.load('/config.json')
except config.ConfigError as e: refused = str(e)
print(repr(refused))
"""


class FlashError(Exception):
    """The meter cannot take the firmware; the message says what to do next."""


def flash(
    meter: Meter,
    progress: Progress,
    source: Path = firmware.SOURCE,
    offer: offered.Offered | None = None,
) -> dict[str, Any]:
    """Bring a meter, which stands in its raw REPL, to the firmware in `source`; let it run.

    With `offer`, to that, if the meter trusts who signed it; its loaders then stay.
    Returns what was done. Raises FlashError, MeterError, FirmwareError, OfferError.
    """
    steps = Steps(meter, progress)
    meter.left = _AS_BEFORE
    steps.begin("asking the board what it is")
    board = _settle(meter)
    native = firmware.architecture(board["mpy"])
    if offer is None:
        image = firmware.archive(firmware.build(native, source))
        loaders = firmware.loaders(source)
        version = firmware.version(source)
    else:
        image, loaders, version = _offered(meter, offer, native)
    steps.begin("reading what is on the meter")
    meter.run(_MOUNT % _COPYING)
    there = meter.hashes(*_FILES, *loaders)
    running, target = _slots(meter, there)
    kept = "b" if target == "a" else "a"
    result: dict[str, Any] = {
        "port": meter.port,
        "version": version,
        "micropython": ".".join(map(str, board["version"])),
        "chip": board["chip"],
        "architecture": native or "bytecode only",
    }
    stale = _differing(loaders, there)
    if running and not _differing({_file(running): image}, there):
        _replace(meter, stale, steps, meter.left)
        meter.resume()
        result |= {"slot": running, "copied": sorted(stale), "restarted": False}
        steps.begin("waiting for the firmware to start")
        meter.wait_for(f"parwana {version}\r", START_S)
        return result
    if offer is not None:
        if not running or not meter.ask("'config.json' in __import__('os').listdir('/')"):
            raise FlashError(f"{meter.port} trusts nobody yet; run flash.sh without --offer")
        steps.begin("asking the meter whether it trusts who signed")
        offered.take(meter, offer, running)
    if running == target:
        meter.left = f"the meter goes back to slot {kept}, which is whole"
    if running and _words(meter) != [kept]:
        meter.replace("/slot", kept.encode())  # what is half copied is never run
    copied = _fill(meter, target, image, there, steps)
    result["free_heap"] = _self_test(meter, target, source, version, steps)
    if running:
        _check_configuration(meter, target, kept, steps)
    starts = meter.left if running else f"the meter starts the new firmware, in slot {target}"
    _replace(meter, stale, steps, starts)
    steps.begin(f"switching to slot {target}")
    meter.replace("/slot", f"{target} try\n".encode())
    meter.left = f"slot {target} is switched to, and runs when the board starts" + (
        f"; should it not prove well, the meter goes back to slot {kept}" if running else ""
    )
    meter.reset()
    result |= {"slot": target, "copied": sorted([*copied, *stale]), "restarted": True}
    steps.begin("waiting for the new firmware to report itself healthy")
    _wait_well(meter, target, version)
    return result


def _settle(meter: Meter) -> dict[str, Any]:
    """Identify the board, and make the watchdog of the old firmware patient: it cannot be stopped.

    Should it bite before that, the board is stopped anew.
    """
    for _ in range(_SETTLE_TRIES):
        try:
            board = _identify(meter)
            _calm(meter)
            return board
        except BoardSilent:
            raise
        except MeterError as error:
            told = error
            meter.stop()
    raise MeterError(
        f"{told}; it restarts all the time: hold its button for two seconds while it starts, let "
        "go, try again"
    )


def _calm(meter: Meter) -> None:
    """Give the watchdog its time anew."""
    meter.run(f"import machine\nmachine.WDT(timeout={SERVICE_MS})")


def _identify(meter: Meter) -> dict[str, Any]:
    name, version, mpy, platform, chip = meter.ask(
        "(lambda s, i: (i.name, tuple(i.version[:3]), getattr(i, '_mpy', 0), s.platform, "
        "getattr(i, '_machine', s.platform)))"
        "(__import__('sys'), __import__('sys').implementation)"
    )
    if platform not in FAMILY or not firmware.runs_on(chip):
        raise FlashError(f"{meter.port} is a {chip}; Parwana runs on ESP32, ESP32-S3 and -C3")
    if name != "micropython" or version < OLDEST:
        raise FlashError(
            f"{meter.port} runs {name} {'.'.join(map(str, version))}; write MicroPython 1.24 or "
            f"newer first: --micropython FILE, from {DOWNLOADS}"
        )
    return {"version": version, "mpy": mpy, "chip": chip}


def _slots(meter: Meter, there: dict[str, str]) -> tuple[str | None, str]:
    """Return (the slot that boot.py would run, the slot that may be overwritten).

    A slot on trial is overwritten rather than the one to fall back on.
    """
    words = _words(meter)
    filled = [
        slot
        for slot in "ab"
        if any(path.startswith(f"/{slot}") for path in _FILES if path in there)
    ]
    running = words[0] if words[0] in filled else filled[0] if filled else None
    if running is None:
        return None, "a"
    other = "b" if running == "a" else "a"
    on_trial = words[0] == running and words[1:] in (["try"], ["tried"]) and other in filled
    return running, running if on_trial else other


def _words(meter: Meter) -> list[str]:
    return (meter.read("/slot") or b"").decode("ascii", "replace").split() or ["a"]


def _differing(wanted: dict[str, bytes], there: dict[str, str]) -> dict[str, bytes]:
    return {
        path: data
        for path, data in wanted.items()
        if there.get(path) != hashlib.sha256(data).hexdigest()
    }


def _file(slot: str) -> str:
    return f"/{slot}.fw"


def _fill(meter: Meter, slot: str, image: bytes, there: dict[str, str], steps: Steps) -> list[str]:
    """Make a slot hold `image` and nothing else; return the files that were copied."""
    path = _file(slot)
    missing = _differing({path: image}, there)
    # What is replaced goes first: beside a full journal there is no room for both.
    steps.begin(f"removing what slot {slot} held")
    gone = [f"/{slot}", f"{path}.new", *missing]
    meter.run(REMOVE + f"for path in {gone!r}: remove(path)")
    if not missing:
        return []
    steps.begin("looking for room")
    _check_space(meter, len(image))
    steps.begin(f"copying {len(image) // 1024} KB to slot {slot}", len(image))
    meter.write(f"{path}.new", image, functools.partial(steps.advance, path))
    steps.begin(f"reading slot {slot} back")
    if _differing({f"{path}.new": image}, meter.hashes(f"{path}.new")):
        raise FlashError(
            f"{meter.port}: {path} did not arrive whole; the old firmware still runs: start again"
        )
    meter.run(f"import os\nos.rename({f'{path}.new'!r}, {path!r})")
    return [path]


def _check_space(meter: Meter, size: int) -> None:
    block, _, _, free = meter.ask("__import__('os').statvfs('/')[:4]")
    needed = (-(-size // _BLOCK) + _FOLDERS_BLOCKS) * _BLOCK
    if free * block < needed:
        raise FlashError(
            f"{meter.port}: {needed // 1024} KB are needed and {free * block // 1024} KB are "
            "free; what ran before still runs: remove files that are not Parwana's"
        )


def _offered(
    meter: Meter, offer: offered.Offered, native: str | None
) -> tuple[bytes, dict[str, bytes], str]:
    """Return archive, no loaders, and version of an update for this board. Raises FlashError."""
    architecture = firmware.architecture(offer.processor << 10)
    if architecture != native:
        raise FlashError(
            f"{meter.port}: the update is for {architecture}, this board is {native}: take the "
            "update of that architecture, parwana update status lists them"
        )
    return offer.image, {}, offer.version


def _self_test(meter: Meter, slot: str, source: Path, version: str, steps: Steps) -> int:
    """Import the new firmware on the board and have it sign; return the free heap in bytes."""
    modules = _imports(source / "main.py")
    digest = hashlib.sha256(slot.encode()).digest()
    expected = coincurve.PrivateKey(_KEY).sign_recoverable(digest, hasher=None)[:64]
    steps.begin(f"testing slot {slot}")
    meter.stop()
    _calm(meter)
    meter.run(_MOUNT % _RUNNING)
    code = _SELF_TEST % {"modules": modules, "key": _KEY, "digest": digest}
    text = meter.run(TELL_IMPORTS + firmware.opening(slot) + code)
    says, signature, verified, free = _parse(text)
    if (says, signature, verified) != (version, expected, True):
        raise FlashError(
            f"{meter.port}: the new firmware fails its self-test; the old one still runs. "
            f"It says: {text.strip()[-200:]!r}"
        )
    return int(free)


def _imports(path: Path) -> list[str]:
    """Return the modules that a file imports, in its order, and its own last."""
    names = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return [*names, path.stem]


def _check_configuration(meter: Meter, new: str, old: str, steps: Steps) -> None:
    """Refuse firmware that refuses what the old one takes: it would wait for pairing for ever."""
    steps.begin("asking the new firmware to take the configuration")
    refused = _refusal(meter, new)
    if refused and not _refusal(meter, old):
        raise FlashError(
            f"{meter.port}: the new firmware refuses this meter's configuration ({refused}); the "
            "old one still runs: pair it again with what is asked for, then start again"
        )


def _refusal(meter: Meter, slot: str) -> str:
    meter.stop()
    text = meter.run(TELL_IMPORTS + firmware.opening(slot) + _CONFIGURATION)
    return str(ast.literal_eval(text.strip().splitlines()[-1]))


def _wait_well(meter: Meter, slot: str, version: str) -> None:
    """Wait until the new firmware has said that it is well: a paired one measures 15 s first."""
    ends = (
        f"parwana {re.escape(version)}\r[^\0]*?(slot {slot} is well|>>> |for service)"
        f"|slot {slot} does not start|slot {slot} did not report itself healthy"
    )
    found, printed = meter.hear(ends.encode(), START_S)
    if not found or not (found[1] or b"").endswith(b"well"):
        raise FlashError(
            f"{meter.port}: the new firmware starts, but does not report itself healthy; at the "
            f"next restart the old one runs. It printed {printed[-300:]!r}"
        )


def _parse(text: str) -> tuple[Any, ...]:
    try:
        value = ast.literal_eval(text.strip().splitlines()[-1])
    except (SyntaxError, ValueError, IndexError):
        return (None,) * 4
    return value if isinstance(value, tuple) and len(value) == 4 else (None,) * 4


def _replace(meter: Meter, files: dict[str, bytes], steps: Steps, starts: str) -> None:
    """Replace loaders; `starts` tells what the meter runs once all are the new ones."""
    if files:
        steps.begin("replacing the loaders")
    before, new = meter.left, ""
    for path, data in files.items():
        meter.replace(path, data)
        new = f"{new} and {path} are the new ones" if new else f"{path} is the new one"
        new = new.replace(" is the new one and", " and")
        meter.left = f"{new}, good for both slots; {before}"
    meter.left = f"{new}, good for both slots; {starts}" if new else starts


def command(
    port: Port = ports.AUTO,
    micropython: Annotated[
        Path | None, typer.Option(help="First write this MicroPython (.bin), by esptool.")
    ] = None,
    offer: Annotated[
        Path | None,
        typer.Option(help="A signed update (parwana update carry) instead of this checkout's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put the firmware on a meter, through its serial port.

    A meter's configuration, key, readings and permit stay. Without --port it takes the only board
    there is, or asks which.

    Example: parwana flash --port /dev/ttyUSB0
    """
    console = Console(stderr=True)
    ask = typer.prompt if sys.stdin.isatty() and not as_json else None

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    signed = offered.read(offer) if offer else None
    device = ports.resolve(port, ask)
    if micropython:
        esp.write(micropython, device)
    with (
        connect(device, RESET_S, tell) as meter,
        Progress(console=console, transient=True) as progress,
    ):
        result = flash(meter, progress, offer=signed)
    if as_json:
        print(json.dumps(result))
        return
    done = f"{len(result['copied'])} files copied" if result["copied"] else "nothing to change"
    print(f"Parwana {result['version']} runs in slot {result['slot']}: {done}.")
