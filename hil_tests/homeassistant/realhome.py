"""The real Home Assistant, in a Python of its own, newer than this machine's may be.

Python 3.13 is Debian's, unpacked without root under build/ and run with its own C library; Home
Assistant and what it needs come from PyPI. Fetched once, some 900 MB.
"""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parwana import BUILD
from parwana.world import runtime
from parwana.world.programs import Program, free_port

VERSION = "2026.2.3"
_HOME = BUILD / f"homeassistant-{VERSION}"
_PYTHON = "python3.13"
_NEEDED = ("mqtt", "recorder", "sensor")
# Has no wheel for this Python in the version that is asked for
_NEWER = ("lru-dict",)
_WITNESS = '''"""Write what the states of the MQTT entities are, each second."""

import json
from datetime import timedelta
from pathlib import Path

from homeassistant.helpers import entity_registry
from homeassistant.helpers.event import async_track_time_interval


async def async_setup(hass, config):
    path = Path(hass.config.path("states.json"))

    def write(text):
        aside = path.with_suffix(".new")
        aside.write_text(text)
        aside.replace(path)

    async def look(now):
        found = {}
        for entry in entity_registry.async_get(hass).entities.values():
            state = hass.states.get(entry.entity_id)
            if entry.platform == "mqtt" and state:
                attributes = dict(state.attributes)
                found[entry.unique_id] = [entry.entity_id, state.state, attributes]
        await hass.async_add_executor_job(write, json.dumps(found, default=str))

    async_track_time_interval(hass, look, timedelta(seconds=0.5))
    return True
'''


def _home_assistant() -> Path:
    """Return the Python that has it, fetched if need be. Raises RuntimeMissing."""
    done = _HOME / "done"
    if not done.exists():
        shutil.rmtree(_HOME, ignore_errors=True)
        _install(_python())
        done.touch()
    return _HOME / "venv/bin/python"


def _python() -> Path:
    """Unpack Debian's Python; return what runs it with its own libraries."""
    architecture = runtime.native_architecture()
    triplet, loader = runtime.ARCHITECTURES[architecture]
    options = runtime.apt_state(_HOME / "apt", architecture)
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    runtime.say(f"fetching {_PYTHON} ({architecture}) from Debian {runtime.SUITE}")
    closure = runtime.apt(
        ["apt-cache", *options, "depends", "--recurse", *(f"--no-{kind}" for kind in kinds)]
        + [_PYTHON, f"{_PYTHON}-venv"]
    )
    unused = re.compile(r"debconf|cdebconf|gcc-.*-base|libnewt.*|libslang.*|ca-certificates")
    names = {name for name in closure.splitlines() if re.match(r"[a-z]", name)}
    root = _HOME / "root"
    runtime.unpack(options, sorted(n for n in names if not unused.fullmatch(n)), root)
    program, libraries = root / "usr/bin" / _PYTHON, root / "usr/lib" / triplet
    real = program.rename(program.with_name(f"{_PYTHON}-real"))
    # Its name leads a venv's link to the venv; so it is told the name it was called by.
    program.write_text(
        f'#!/bin/sh\nexec "{libraries / loader}" --library-path "{libraries}" '
        f'--argv0 "$0" "{real}" "$@"\n'
    )
    program.chmod(0o755)
    return program


def _install(python: Path) -> None:
    """Make a venv with Home Assistant and what its parts need."""
    venv = _HOME / "venv"
    _run(python, "-m", "venv", "--without-pip", venv)
    [pip] = (python.parents[1] / "share/python-wheels").glob("pip-*.whl")
    pip_install = (venv / "bin/python", pip / "pip", "install", "-qq", "--prefer-binary")
    runtime.say(f"fetching Home Assistant {VERSION} from PyPI")
    _run(*pip_install, "--no-deps", f"homeassistant=={VERSION}")
    [packages] = (venv / "lib").glob("python3*/site-packages")
    constraints = (packages / "homeassistant/package_constraints.txt").read_text().splitlines()
    (_HOME / "constraints.txt").write_text(
        "\n".join(line for line in constraints if not line.startswith(_NEWER))
    )
    [about] = packages.glob("homeassistant-*.dist-info/METADATA")
    wanted = re.findall(r"^Requires-Dist: (\S+)$", about.read_text(), re.M)
    wanted = [re.sub(f"^({'|'.join(_NEWER)})==.*", r"\1", one) for one in wanted]
    wanted += _of_parts(packages / "homeassistant")
    _run(*pip_install, "-c", _HOME / "constraints.txt", *wanted)


def _of_parts(package: Path) -> list[str]:
    """Return what the integrations need that are loaded at every start, and those of ours."""
    names = re.search(r"^DEFAULT_INTEGRATIONS = \{(.*?)^\}", _bootstrap(package), re.S | re.M)
    assert names
    todo, seen, wanted = {*_NEEDED, *re.findall(r'"(\w+)"', names[1])}, set(), set()
    while todo:
        name = todo.pop()
        seen.add(name)
        manifest = json.loads((package / "components" / name / "manifest.json").read_text())
        wanted |= set(manifest.get("requirements", ()))
        todo |= set(manifest.get("dependencies", ())) - seen
    return sorted(wanted)


def _bootstrap(package: Path) -> str:
    return (package / "bootstrap.py").read_text()


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, timeout=1800)


class RealHome:
    """Home Assistant with a broker, stopped until `start`; its folder outlives it."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        self._folder, self._python = folder, _home_assistant()
        self._running: Program | None = None
        witness = folder / "custom_components/witness"
        witness.mkdir(parents=True)
        (folder / ".storage").mkdir()
        (witness / "__init__.py").write_text(_WITNESS)
        about = {"domain": "witness", "name": "Witness", "version": "1.0.0", "codeowners": []}
        (witness / "manifest.json").write_text(json.dumps(about))
        (folder / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {free_port()}\n"
            "recorder:\n  commit_interval: 0\nwitness:\n"
        )
        made = "2026-01-01T00:00:00+00:00"
        entry = {
            "domain": "mqtt",
            "entry_id": "01JGEAAAAAAAAAAAAAAAAAAAAA",
            "title": "broker",
            "data": {"broker": "127.0.0.1", "port": broker_port},
            "options": {},
            "version": 1,
            "minor_version": 2,
            "source": "user",
            "unique_id": None,
            "disabled_by": None,
            "discovery_keys": {},
            "subentries": [],
            "pref_disable_new_entities": False,
            "pref_disable_polling": False,
            "created_at": made,
            "modified_at": made,
        }
        entries = {"version": 1, "minor_version": 5, "key": "core.config_entries"}
        (folder / ".storage/core.config_entries").write_text(
            json.dumps({**entries, "data": {"entries": [entry]}})
        )

    def start(self) -> None:
        """Start it; it is there when it says so."""
        self._states.unlink(missing_ok=True)
        line = (self._python, "-m", "homeassistant", "--config", self._folder, "--skip-pip")
        self._running = Program("hass", line, self._folder / "hass.log")

    def stop(self) -> None:
        """End it, as a restart does."""
        if self._running:
            self._running.stop()
            self._running = None

    @property
    def _states(self) -> Path:
        return self._folder / "states.json"

    def state(self, unique_id: str) -> str | None:
        """Return an entity's state, None if it does not exist (yet)."""
        return self.entity(unique_id)[1]

    def entity(self, unique_id: str) -> tuple[str, str | None, dict[str, Any]]:
        """Return (entity id, state, attributes)."""
        try:
            found = json.loads(self._states.read_text())
        except FileNotFoundError:
            found = {}
        return tuple(found.get(unique_id, ("", None, {})))

    def complaints(self) -> list[str]:
        """Return what it logged of MQTT that is a warning or worse."""
        text = (self._folder / "hass.log").read_text()
        lines = re.findall(r"^.*(?:WARNING|ERROR).*$", text, re.M)
        return [line for line in lines if re.search("mqtt|sensor", line)]

    def last_words(self) -> str:
        """Return the end of its log."""
        return self._running.last_words() if self._running else "stopped"

    def history(self, entity_id: str) -> list[str]:
        """Return all states that its recorder kept of an entity, in order."""
        with sqlite3.connect(self._folder / "home-assistant_v2.db") as database:
            rows = database.execute(
                "SELECT state FROM states JOIN states_meta USING (metadata_id) "
                "WHERE states_meta.entity_id = ? ORDER BY last_updated_ts",
                (entity_id,),
            )
            return [row[0] for row in rows]


@contextmanager
def real_home(folder: Path, broker_port: int) -> Iterator[RealHome]:
    """Lend one, stopped."""
    made = RealHome(folder, broker_port)
    try:
        yield made
    finally:
        made.stop()
