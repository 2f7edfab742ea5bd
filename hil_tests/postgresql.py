"""Fetch and run a PostgreSQL for tests: the server that is there, else Debian's, without root.

A server lives as long as its test process; each test gets a database of its own. PostgreSQL
refuses to run as root: there it runs as nobody, with leave to pass root's folders.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg

from parwana import BUILD
from parwana.world import runtime
from parwana.world.programs import Program, free_port
from parwana.world.runtime import RuntimeMissing

AT_LEAST = 13
_PACKAGES = ("postgresql-17", "postgresql-client-17")
_HOME = BUILD / "runtime" / f"postgresql-17-{runtime.SUITE}"
_BIN = _HOME / "root/usr/lib/postgresql/17/bin"
_PROGRAMS = ("postgres", "initdb", "pg_dump", "pg_restore")
_NOBODY = 65534
_START_S = 60

# PostgreSQL finds its other files and programs by the place of what was called: --argv0.
_WRAPPER = """#!/bin/sh
# Runs the program with the C library it was packaged with.
exec '{loader}' --library-path '{lib}' --argv0 "$0" '{program}' "$@"
"""


def programs() -> Path:
    """Return the folder of the newest PostgreSQL's programs. Raises RuntimeMissing."""
    found = [Path(p).parent for p in (shutil.which("initdb"), shutil.which("pg_dump")) if p]
    found += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    complete = [(_version(f), f) for f in found if all((f / p).exists() for p in _PROGRAMS)]
    if complete and max(complete)[0] >= AT_LEAST:
        return max(complete)[1]
    try:
        return fetched()
    except RuntimeMissing as error:
        wanted = f"install postgresql >= {AT_LEAST}"
        raise RuntimeMissing(f"PostgreSQL is missing ({error}); {wanted}") from None


def _version(folder: Path) -> int:
    said = subprocess.run([folder / "initdb", "--version"], capture_output=True, text=True).stdout
    found = re.search(r" (\d+)", said)
    return int(found[1]) if found else 0


def fetched() -> Path:
    """Return the folder of Debian's programs, fetched once. Raises RuntimeMissing."""
    with runtime.alone("PostgreSQL"):
        if not (_HOME / "complete").exists():
            _fetch(runtime.native_architecture())
            (_HOME / "complete").touch()
    return _BIN


def _fetch(architecture: str) -> None:
    if architecture not in runtime.ARCHITECTURES:
        raise RuntimeMissing(f"no Debian packages are known for {architecture}")
    shutil.rmtree(_HOME, ignore_errors=True)
    options = runtime.apt_state(_HOME / "apt", architecture)
    runtime.say(f"fetching PostgreSQL 17 ({architecture}) from Debian {runtime.SUITE}")
    depends = ["apt-cache", *options, "depends", "--important"]
    wanted = re.findall(r"Depends: (lib\S+)", runtime.apt([*depends, *_PACKAGES]))
    # LLVM only compiles long queries, and is larger than all the rest.
    wanted = [name for name in wanted if not name.startswith("libllvm")]
    libraries = re.findall(r"^lib\S+", runtime.apt([*depends, "--recurse", *wanted]), re.M)
    runtime.unpack(options, sorted({*_PACKAGES, *libraries}), _HOME / "root")
    triplet, loader = runtime.ARCHITECTURES[architecture]
    lib = _HOME / "root/usr/lib" / triplet
    for name in _PROGRAMS:
        program = (_BIN / name).rename(_BIN / f".{name}")
        wrapper = _WRAPPER.format(loader=lib / loader, lib=lib, program=program)
        (_BIN / name).write_text(wrapper)
        (_BIN / name).chmod(0o755)
    shutil.rmtree(_HOME / "apt")


class Server:
    """A PostgreSQL on the loopback whose data `folder` takes; it ends with this process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.programs = programs()
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        self._log = folder / "postgresql.log"
        self._databases = 0
        self._make()
        self.start()

    def _make(self) -> None:
        if os.geteuid() == 0:
            os.chown(self._data, _NOBODY, _NOBODY)
        kind = ["--auth=trust", "--username=parwana", "--locale=C", "--encoding=UTF8"]
        self.run("initdb", *kind, "--no-sync", "--pgdata", self._data)

    def run(self, program: str, *arguments: "str | Path") -> None:
        """Run one of PostgreSQL's programs to its end. Raises RuntimeError."""
        command = self._unprivileged([self.programs / program, *arguments])
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{program} failed ({done.returncode}): {done.stderr}")

    def start(self, *settings: str) -> None:
        """Start the server, with `name=value` settings, and wait until it takes sessions."""
        given = ["fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        given += ["jit=off"]  # its compiler, LLVM, is a package that is not fetched
        given += ["max_connections=20", "shared_buffers=16MB", "log_timezone=UTC", *settings]
        options = [part for setting in given for part in ("-c", setting)]
        place: list[str | Path] = ["-D", self._data, "-p", str(self.port)]
        command = self._unprivileged([self.programs / "postgres", *place, *options])
        self._server = Program("postgres", command, self._log)
        try:
            self._server.wait_for("ready to accept (read-only )?connections", _START_S)
        except Exception:
            self.stop()
            raise

    @property
    def running(self) -> bool:
        """Say whether it has not ended."""
        return self._server.running

    def stop(self, by: int = signal.SIGINT) -> None:
        """Close all sessions, then end the server, unless `by` is SIGKILL; its data stays."""
        self._server.stop(by)

    def url(self, database: str, user: str = "parwana") -> str:
        """Return a URL of this server."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Make an empty database; return its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, url: str = "") -> list[tuple[object, ...]]:
        """Execute a statement as the superuser, in the database of `url`; return its rows."""
        with psycopg.connect(url or self.url("postgres"), autocommit=True) as session:
            done = session.execute(statement.encode())
            return done.fetchall() if done.description else []

    def ask_for_passwords(self, user: str, password: str) -> None:
        """Ask everybody but `parwana` for a password; make a user that has one."""
        rules = "host all parwana 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self._data / "pg_hba.conf").write_text(rules)
        self.execute(f"DROP ROLE IF EXISTS {user}")
        self.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        self.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        self.execute("SELECT pg_reload_conf()")

    def _unprivileged(self, command: "Sequence[str | Path]") -> "list[str | Path]":
        """Return a command that ends with this process, as nobody if this one is root's."""
        drop: list[str] = []
        if os.geteuid() == 0:
            drop = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
            # It asks access(2), too, which looks at these rights only without the fix-up.
            drop += ["--securebits=+no_setuid_fixup"]
            drop += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        return ["setpriv", "--pdeathsig=INT", *drop, *command]


class Standby(Server):
    """A copy of a server, that follows it and takes no writes until `promote`."""

    def __init__(self, primary: Server, folder: Path) -> None:
        self._primary = primary
        super().__init__(folder)

    def _make(self) -> None:
        self._primary.stop()
        copy = ["cp", "-a", f"{self._primary._data}/.", str(self._data)]
        subprocess.run(copy, check=True, timeout=120)
        self._primary.start()
        (self._data / "standby.signal").touch()

    def start(self, *settings: str) -> None:
        """Start it; it waits for its primary, if that is away."""
        follows = f"primary_conninfo=host=127.0.0.1 port={self._primary.port} user=parwana"
        super().start(follows, *settings)

    @property
    def caught_up(self) -> bool:
        """Say whether it holds all that the primary holds."""
        [(wrote,)] = self._primary.execute("SELECT pg_current_wal_lsn()")
        [(holds,)] = self.execute("SELECT pg_last_wal_replay_lsn()")
        return wrote == holds

    def promote(self) -> None:
        """Take writes from now on."""
        self.execute("SELECT pg_promote()")


if __name__ == "__main__":
    try:
        print(programs())
    except RuntimeMissing as missing:
        runtime.say(str(missing))
        sys.exit(1)
