"""Enforce the floors of docs/architecture.md: firmware and host import from lower floors only."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
FIRMWARE = REPO / "firmware"
BOARDS = [REPO / "boards/esp32/board.py"]
HOST = REPO / "host_tools" / "parwana"

HARDWARE = {"machine", "network", "esp32", "ntptime", "bluetooth", "neopixel", "flashbdev"}
# boot.py has to look at the button and at the cause of the reset, and to mount the flash, before
# there is a slot.
HARDWARE_USERS = {"boot": {"machine", "flashbdev"}, "board": HARDWARE}
ASYNC = {"asyncio", "uasyncio", "_thread"}
MICROPYTHON = {
    "__main__", "array", "binascii", "collections", "errno", "gc", "hashlib", "io", "json",
    "micropython",
    "os", "random", "re", "select", "socket", "ssl", "struct", "sys", "time", "tls", "uctypes",
    "vfs",
}  # fmt: skip
THIRD_PARTY = {"umqtt"}
OF_ALL = {"BUILD", "CHECKOUT", "REPO"}


def floors(title: str = "Floors of the firmware") -> dict[str, int]:
    """Read a table of floors from docs/architecture.md: module or room -> floor."""
    text = (REPO / "docs/architecture.md").read_text()
    section = text.split(f"## {title}")[1].split("\n## ")[0]
    found: dict[str, int] = {}
    for floor, names in re.findall(r"(\d) `([a-z0-9_ ]+)`", section):
        for name in names.split():
            assert name not in found, f"{name} is on two floors of docs/architecture.md"
            found[name] = int(floor)
    return found


def module_of(path: Path) -> str:
    """Return the name under which the firmware imports a file; a package is one module."""
    parts = path.relative_to(FIRMWARE).with_suffix("").parts
    if parts[0] == "lib":
        parts = parts[1:]
    return parts[0]


def sources() -> list[Path]:
    return sorted(FIRMWARE.rglob("*.py"))


def imports(path: Path) -> list[tuple[str, int]]:
    """Return (top-level module, line) of every import in a file, wherever it stands in it."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append((node.module.split(".")[0], node.lineno))
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "__import__"
        ):
            found.append(("__import__", node.lineno))
    return found


def violations(module: str, found: list[tuple[str, int]], table: dict[str, int]) -> list[str]:
    """Return what is wrong with the imports of `module`."""
    floor = table[module]
    wrong = []
    for name, line in found:
        if name == module:
            continue
        if name in table:
            if table[name] >= floor and not table[name] == floor == 1:
                wrong.append(f"line {line}: {name} is on floor {table[name]}, {module} on {floor}")
        elif name in HARDWARE:
            if name not in HARDWARE_USERS.get(module, set()):
                wrong.append(f"line {line}: {name} is the board's to import")
        elif name in ASYNC:
            if floor < 3:
                wrong.append(f"line {line}: {name} below floor 3")
        elif name == "board":
            if module != "main":
                wrong.append(f"line {line}: board is main's to import")
        elif name in THIRD_PARTY:
            if module != "main":
                wrong.append(f"line {line}: {name} is main's to import")
        elif name not in MICROPYTHON:
            wrong.append(f"line {line}: {name} is neither ours nor MicroPython's")
    return wrong


def circle(uses: dict[str, set[str]]) -> list[str]:
    """Return the modules that import one another in a circle, or that need such ones."""
    left = set(uses)
    while free := {name for name in left if not uses[name] & left}:
        left -= free
    return sorted(left)


def room_of(path: Path) -> str:
    """Return the room of a host file; one beside the rooms is a room of its own."""
    return path.relative_to(HOST).with_suffix("").parts[0]


def host_imports(path: Path) -> list[tuple[str, str, int]]:
    """Return (room, module or name in it, line) of every import of ours in a file."""
    found: list[tuple[str, str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: a relative import"
            continue
        for name in names:
            of, room, module, *_ = [*name.split("."), "", ""]
            if of == "parwana" and room not in OF_ALL:
                found.append((room, module, node.lineno))
    return found


def room_violations(room: str, found: list[tuple[str, str, int]]) -> list[str]:
    """Return what is wrong with the imports of a file in `room` (`boards` for those)."""
    table = floors("Rooms of the host")
    floor = 2 if room == "boards" else table[room]
    wrong = []
    for name, _, line in found:
        if name not in table:
            wrong.append(f"line {line}: {name} is no room")
        elif name != room and (table[name] >= floor or (room == "boards" and name != "world")):
            wrong.append(f"line {line}: {name} is on floor {table[name]}, {room} on {floor}")
    return wrong


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(FIRMWARE)))
def test_imports_point_down(path: Path) -> None:
    table = floors()
    module = module_of(path)
    assert module in table, f"{module} has no floor in docs/architecture.md"
    wrong = violations(module, imports(path), table)
    assert not wrong, f"{path.relative_to(REPO)}: " + "; ".join(wrong)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.parent.name)
def test_a_board_knows_nothing_of_the_firmware(path: Path) -> None:
    table = floors()
    known = [name for name, _ in imports(path) if name in table]
    assert not known, f"{path} imports {known}"


def test_floor_table_names_what_there_is() -> None:
    there = {module_of(path) for path in sources()}
    missing = set(floors()) - there
    assert not missing, f"docs/architecture.md names {sorted(missing)}, which do not exist"


def test_libraries_do_not_go_in_circles() -> None:
    table = floors()
    uses: dict[str, set[str]] = {name: set() for name, floor in table.items() if floor == 1}
    for path in sources():
        found = {name for name, _ in imports(path) if name in uses}
        if module_of(path) in uses:
            uses[module_of(path)] |= found - {module_of(path)}
    assert not circle(uses), f"{circle(uses)} import one another in a circle"


def test_private_names_stay_private() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private, f"{path.name} imports {private} from {node.module}"


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        ("journal", "import uplink", "floor 3"),
        ("journal", "def f():\n    from metering import Metering", "floor 3"),
        ("supply", "import permits", "floor 2"),
        ("app", "import machine", "the board's"),
        ("boot", "import network", "the board's"),
        ("clock", "import asyncio", "below floor 3"),
        ("uplink", "import umqtt.simple", "main's"),
        ("app", "import board", "main's"),
        ("wire", "import typing", "neither ours"),
        ("wire", "__import__('machine')", "neither ours"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(source)
    wrong = violations(module, imports(path), floors())
    assert len(wrong) == 1
    assert words in wrong[0]


@pytest.mark.parametrize("room", [*floors("Rooms of the host"), "boards"])
def test_rooms_import_from_lower_floors(room: str) -> None:
    folder = REPO / "boards" if room == "boards" else HOST / room
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    wrong = {
        str(path.relative_to(REPO)): room_violations(room, host_imports(path)) for path in paths
    }
    assert {path: found for path, found in wrong.items() if found} == {}


def test_the_table_of_rooms_names_what_there_is() -> None:
    there = {room_of(path) for path in HOST.rglob("*.py")} - {"__init__"}
    assert set(floors("Rooms of the host")) == there


def test_files_of_a_room_do_not_go_in_circles() -> None:
    files = {path.relative_to(HOST).with_suffix(""): path for path in HOST.rglob("*.py")}
    names = {".".join(of.parts): path for of, path in files.items()}
    uses = {
        name: {f"{room}.{module}" for room, module, _ in host_imports(path)} & set(names)
        for name, path in names.items()
    }
    assert circle(uses) == []


@pytest.mark.parametrize(
    ("room", "source", "words"),
    [
        ("world", "from parwana.store.reader import Store", "store is on floor 2, world on 1"),
        ("store", "def f():\n    import parwana.chain.node", "chain is on floor 3, store on 2"),
        ("relay", "from parwana.permits import bundle", "permits is on floor 4, relay on 4"),
        ("boards", "from parwana.image import firmware", "image is on floor 2, boards on 2"),
        ("pay", "from parwana import nothing", "nothing is no room"),
    ],
)
def test_a_wrong_import_of_a_room_is_found(
    room: str, source: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(source)
    [wrong] = room_violations(room, host_imports(path))
    assert words in wrong


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"a"}, "c": set()}) == ["a", "b"]
