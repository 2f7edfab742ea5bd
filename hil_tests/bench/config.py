"""bench.toml: what a bench has, and where. What is not understood is refused (docs/bench.md)."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from hil_tests.bench.line import INPUTS, OUTPUTS
from hil_tests.bench.protocols import BenchError
from parwana.world.clock import ClockError, WorldClock

NOUNS = ("meter", "load", "power", "line", "network", "world")


@dataclasses.dataclass(frozen=True)
class MeterPart:
    """The board: its console, and what is wired to it, as in docs/configuration.md."""

    port: str
    contactor: str = "latching"
    pins: dict[str, int] = dataclasses.field(default_factory=dict)

    def check(self) -> str:
        known = self.contactor in ("latching", "plain")
        return "" if known else 'contactor: write "latching" or "plain"'


@dataclasses.dataclass(frozen=True)
class PzemPart:
    """The emulator, in place of the PZEM."""

    port: str
    unit_id: int = 1

    def check(self) -> str:
        return "" if 1 <= self.unit_id <= 247 else "unit_id: write 1 to 247"


@dataclasses.dataclass(frozen=True)
class RealPart:
    """A PZEM with a load of known power."""

    watts: float
    tolerance: float = 0.05

    def check(self) -> str:
        return "" if self.watts > 0 and 0 < self.tolerance < 1 else "watts and tolerance: above 0"


@dataclasses.dataclass(frozen=True)
class CommandPart:
    """Commands that give and cut power."""

    on: list[str]
    off: list[str]

    def check(self) -> str:
        return "" if self.on and self.off else 'on and off: write a command as ["program", "word"]'


@dataclasses.dataclass(frozen=True)
class RelayPart:
    """A USB relay board of the LCUS-1 kind."""

    port: str
    relay: int = 1
    normally_closed: bool = True

    def check(self) -> str:
        return "" if 1 <= self.relay <= 8 else "relay: write 1 to 8"


@dataclasses.dataclass(frozen=True)
class ModemPart:
    """The modem lines of an adapter; without a port, of the one of [load]."""

    contact: str
    port: str = ""
    button: str = ""

    def check(self) -> str:
        if self.contact.removeprefix("!") not in INPUTS:
            return f"contact: write one of {', '.join(INPUTS)}, or !{INPUTS[0]} to turn it round"
        if self.button and self.button not in OUTPUTS:
            return f"button: write one of {', '.join(OUTPUTS)}"
        return ""


@dataclasses.dataclass(frozen=True)
class ConsolePart:
    """No wire; the meter's own words."""

    def check(self) -> str:
        return ""


@dataclasses.dataclass(frozen=True)
class WifiPart:
    """The Wi-Fi that the meter joins, and this computer's address in it.

    The password is in PARWANA_WIFI_PASSWORD, empty for an open network; no file holds it.
    """

    ssid: str
    host: str
    port: int = 1883

    def check(self) -> str:
        return "" if 0 < self.port < 65536 else "port: write 1 to 65535"


@dataclasses.dataclass(frozen=True)
class WorldPart:
    """The clock of a virtual board elsewhere; a real board's is real time."""

    clock: str

    def check(self) -> str:
        try:
            WorldClock.parse(self.clock)
        except ClockError:
            return "clock: write start_s:real_start_s:factor"
        return ""


_DRIVERS: dict[str, dict[str, Any]] = {
    "load": {"pzem": PzemPart, "real": RealPart},
    "power": {"command": CommandPart, "lcus": RelayPart},
    "line": {"modem": ModemPart, "console": ConsolePart},
    "network": {"wifi": WifiPart},
}


@dataclasses.dataclass(frozen=True)
class Parts:
    """What bench.toml describes; None where it says that there is none."""

    meter: MeterPart
    load: Any = None
    power: Any = None
    line: Any = None
    network: WifiPart | None = None
    world: WorldPart | None = None


def load(path: Path) -> Parts:
    """Read a bench.toml. Raises BenchError, which names the key and says what to write."""
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise BenchError(f"there is no {path}; copy hil_tests/bench.toml.example") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} is not TOML: {error}") from None
    return parse(data, str(path))


def parse(data: dict[str, Any], name: str = "bench.toml") -> Parts:
    """Return the Parts that the tables of a bench.toml describe. Raises BenchError."""
    for noun in data:
        if noun not in NOUNS:
            raise BenchError(f"{name}: no section [{noun}]; there are {', '.join(NOUNS)}")
        if not isinstance(data[noun], dict):
            raise BenchError(f"{name}: write [{noun}] as a section")
    if "meter" not in data:
        raise BenchError(f"{name}: [meter] is missing; write its port")
    parts: dict[str, Any] = {"meter": _part(MeterPart, data["meter"], f"{name}: [meter]")}
    if "world" in data:
        parts["world"] = _part(WorldPart, data["world"], f"{name}: [world]")
    for noun, drivers in _DRIVERS.items():
        section = dict(data.get(noun, {"driver": "none"}))
        where = f"{name}: [{noun}]"
        driver = section.pop("driver", None)
        if driver == "none" and not section:
            continue
        if not isinstance(driver, str) or driver not in drivers:
            raise BenchError(f"{where} driver: write one of {', '.join([*drivers, 'none'])}")
        parts[noun] = _part(drivers[driver], section, where)
    made = Parts(**parts)
    shared = isinstance(made.line, ModemPart) and not made.line.port
    if shared and not isinstance(made.load, PzemPart):
        raise BenchError(f"{name}: [line] port: missing; write the adapter's")
    return made


def _part(kind: Any, section: dict[str, Any], where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in section.items():
        if key not in fields:
            raise BenchError(
                f"{where} has no key {key!r}; there are: {', '.join(fields) or 'none'}"
            )
        wanted = fields[key].type
        if not _fits(value, wanted):
            raise BenchError(f"{where} {key}: write {_words(wanted)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    for key in required:
        if key not in section:
            raise BenchError(f"{where} {key}: missing; write {_words(fields[key].type)}")
    made = kind(**section)
    wrong = made.check()
    if wrong:
        raise BenchError(f"{where} {wrong}")
    return made


def _fits(value: Any, wanted: Any) -> bool:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if wanted is float:
        return type(value) in (int, float)
    return type(value) is wanted


def _words(wanted: Any) -> str:
    origin = get_origin(wanted)
    if origin is list:
        return 'a list, as ["program", "word"]'
    if origin is dict:
        return "a table of GPIO numbers"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[wanted]
