"""Fetch what runs beside us: MicroPython, mosquitto and umqtt.

MicroPython and mosquitto come from PATH where they are recent enough, else from Debian packages
that are unpacked, without root, under build/runtime. umqtt.simple comes from PyPI. Everything is
fetched once.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parwana import BUILD
from parwana.world import wholefiles

SUITE = "trixie"
MICROPYTHON_AT_LEAST = (1, 24)
MOSQUITTO_AT_LEAST = (2, 0)
UMQTT_VERSION = "1.3.4"
UMQTT_SHA256 = "b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f"
_TIMEOUT_S = 300
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Base packages that a dynamically linked program never loads.
_UNUSED = re.compile(r"^(gcc-.*-base|debconf|libgcc-s1|libc-gconv-modules-extra|adduser|passwd)$")
_DEBIAN_SUITES = re.compile(r"^(bookworm|trixie|forky|oldstable|stable|testing|sid)(-updates)?$")

_WRAPPER = """#!/bin/sh
# Runs the program with the C library it was packaged with.
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)/root
lib=$root/usr/lib/{triplet}
exec "$lib"/{loader} --library-path "$lib" "$root/{program}" "$@"
"""
ARCHITECTURES = {
    "i386": ("i386-linux-gnu", "ld-linux.so.2"),
    "amd64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "arm64": ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}


class RuntimeMissing(Exception):
    """A program could not be found or fetched; the message says what to install."""


def micropython() -> Path:
    """Return a MicroPython, 32-bit where this machine can run one. Raises RuntimeMissing."""
    on_path = shutil.which("micropython")
    version = _micropython_version(on_path) if on_path else None
    if on_path and version and version[0] >= MICROPYTHON_AT_LEAST and version[1] == 32:
        return Path(on_path)
    reasons = []
    for architecture in ("i386", native_architecture()):
        try:
            program = debian_program("micropython", architecture, "usr/bin/micropython")
            if _micropython_version(program) is None:
                raise RuntimeMissing(f"the {architecture} build does not run here")
        except RuntimeMissing as error:
            reasons.append(str(error))
            continue
        if architecture != "i386":
            say(f"no 32-bit MicroPython ({reasons[0]}); using {architecture}: memory differs")
        return program
    if on_path and version and version[0] >= MICROPYTHON_AT_LEAST:
        say(f"no 32-bit MicroPython ({reasons[0]}); using {on_path}: memory differs")
        return Path(on_path)
    raise RuntimeMissing(
        f"MicroPython is missing ({reasons[-1]}); put a MicroPython >= 1.24 on PATH"
    )


def mosquitto() -> Path:
    """Return a mosquitto broker. Raises RuntimeMissing."""
    on_path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if on_path:
        found = re.search(r"version (\d+)\.(\d+)", _output([on_path, "-h"]) or "")
        if found and (int(found[1]), int(found[2])) >= MOSQUITTO_AT_LEAST:
            return Path(on_path)
    try:
        return debian_program("mosquitto", native_architecture(), "usr/sbin/mosquitto")
    except RuntimeMissing as error:
        raise RuntimeMissing(f"mosquitto is missing ({error}); install mosquitto >= 2.0") from None


def umqtt() -> Path:
    """Return the source of umqtt.simple, one file. Raises RuntimeMissing."""
    target = BUILD / "runtime" / f"umqtt-{UMQTT_VERSION}" / "simple.py"
    if target.exists():
        return target
    with alone("umqtt.simple"):
        if not target.exists():
            _fetch_umqtt(target)
    return target


def _fetch_umqtt(target: Path) -> None:
    from pypi_simple import PyPISimple

    archive = target.parent / "sdist.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    say(f"fetching micropython-umqtt.simple {UMQTT_VERSION} from PyPI")
    index = (
        os.environ.get("PIP_INDEX_URL")
        or (
            _output([sys.executable, "-m", "pip", "config", "get", "global.index-url"]) or ""
        ).strip()
    )
    try:
        with PyPISimple(index) if index else PyPISimple() as client:
            page = client.get_project_page("micropython-umqtt.simple")
            package = next(p for p in page.packages if p.version == UMQTT_VERSION)
            client.download_package(package, archive, verify=False, timeout=60)
    except (OSError, StopIteration) as error:
        raise RuntimeMissing(f"umqtt.simple could not be fetched: {error}") from None
    if hashlib.sha256(archive.read_bytes()).hexdigest() != UMQTT_SHA256:
        archive.unlink()
        raise RuntimeMissing("umqtt.simple from PyPI has the wrong SHA-256; it was not used")
    member = f"micropython-umqtt.simple-{UMQTT_VERSION}/umqtt/simple.py"
    with tarfile.open(archive) as tar:
        source = tar.extractfile(member)
        if source is None:
            raise RuntimeMissing(f"umqtt.simple {UMQTT_VERSION} has no {member}")
        wholefiles.put(target, source.read())


def _micropython_version(program: "Path | str") -> "tuple[tuple[int, int], int] | None":
    """Return ((major, minor), word size in bits), None if it does not run."""
    code = "import sys; v = sys.implementation.version; print(v[0], v[1], sys.maxsize > 2**31)"
    words = (_output([str(program), "-c", code]) or "").split()
    if len(words) != 3:
        return None
    return (int(words[0]), int(words[1])), 64 if words[2] == "True" else 32


def _output(command: list[str]) -> "str | None":
    """Return what a command printed on standard output, None if it could not be run."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Let one process at a time fetch; the others say what they wait for."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "runtime.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {what}: another process is fetching (build/runtime.lock)")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Tell a person what takes its time."""
    print(f"parwana: {text}", file=sys.stderr, flush=True)


def native_architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    return (_output(["dpkg", "--print-architecture"]) or "").strip() or "amd64"


def _mirror() -> str:
    """Return the Debian mirror that this machine's own apt sources name."""
    folder = Path("/etc/apt")
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        for paragraph in path.read_text().split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", paragraph, re.M))
            if any(_DEBIAN_SUITES.match(suite) for suite in fields.get("Suites", "").split()):
                return fields["URIs"].split()[0]
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]:
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            found = re.match(r"deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)\s+.*\bmain\b", line)
            if found and _DEBIAN_SUITES.match(found[2]):
                return found[1]
    raise RuntimeMissing("apt names no Debian mirror on this machine")


def debian_program(package: str, architecture: str, program: str) -> Path:
    """Return a wrapper, beside `root`, of a program of a Debian package.

    Fetches the package and its libraries if need be. Raises RuntimeMissing.
    """
    home = BUILD / "runtime" / f"{package}-{SUITE}-{architecture}"
    wrapper = home / package
    if wrapper.exists():
        return wrapper
    if architecture not in ARCHITECTURES:
        raise RuntimeMissing(f"no Debian packages are known for {architecture}")
    with alone(package):
        if not wrapper.exists():
            _fetch_program(package, architecture, program, wrapper)
    return wrapper


def _fetch_program(package: str, architecture: str, program: str, wrapper: Path) -> None:
    home = wrapper.parent
    shutil.rmtree(home, ignore_errors=True)
    options = apt_state(home / "apt", architecture)
    say(f"fetching {package} ({architecture}) from Debian {SUITE}")
    kinds = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
    closure = apt(
        ["apt-cache", *options, "depends", "--recurse", *(f"--no-{kind}" for kind in kinds)]
        + [package]
    )
    names = {line for line in closure.splitlines() if re.match(r"[a-z]", line)}
    unpack(options, sorted(name for name in names if not _UNUSED.match(name)), home / "root")
    shutil.rmtree(home / "apt")
    write_wrapper(wrapper, architecture, program)


def write_wrapper(wrapper: Path, architecture: str, program: str) -> None:
    """Write a script that runs `root/program`, beside it, with the libraries of that root."""
    triplet, loader = ARCHITECTURES[architecture]
    aside = wrapper.with_name(wrapper.name + ".new")
    aside.write_text(_WRAPPER.format(triplet=triplet, loader=loader, program=program))
    aside.chmod(0o755)
    aside.replace(wrapper)


def unpack(options: list[str], packages: list[str], root: Path) -> None:
    """Download packages with the options of an apt state and unpack them into `root`."""
    debs = root.parent / "debs"
    debs.mkdir()
    apt(["apt-get", *options, "-qq", "download", *packages], cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        apt(["dpkg", "-x", str(deb), str(root)])
    shutil.rmtree(debs)


def apt_state(
    state: Path, architecture: str, *, sources: bool = False, suite: str = SUITE
) -> list[str]:
    """Make an apt state of our own, so that nothing of the machine's is touched.

    Returns apt's options. It knows binary packages, and if asked `sources`, which not every
    mirror has. Raises RuntimeMissing.
    """
    for tool in ("apt-get", "apt-cache", "dpkg"):
        if not shutil.which(tool):
            raise RuntimeMissing(f"{tool} is missing: this is not a Debian system")
    if not _KEYRING.exists():
        raise RuntimeMissing("the package debian-archive-keyring is missing")
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    mirror = state / "debian.sources"
    types = "deb deb-src" if sources else "deb"
    mirror.write_text(
        f"Types: {types}\nURIs: {_mirror()}\nSuites: {suite}\nComponents: main\n"
        f"Signed-By: {_KEYRING}\n"
    )
    settings = {
        "Dir::State::Lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::SourceParts": "/nonexistent",
        "Dir::Etc::SourceList": mirror,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": _output(["id", "-un"]) or "root",
        "Acquire::Retries": "3",
    }
    options = [p for key, value in settings.items() for p in ("-o", f"{key}={value}".strip())]
    apt(["apt-get", *options, "-qq", "update"])
    return options


def apt(command: list[str], cwd: "Path | None" = None) -> str:
    """Run one of apt's or dpkg's programs; return what it printed. Raises RuntimeMissing."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeMissing(f"{command[0]} did not answer for {_TIMEOUT_S} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeMissing(f"{command[0]} failed: {said[-1] if said else done.returncode}")
    return done.stdout


def main() -> int:
    """Fetch everything; exit 1 with one line if something is missing."""
    try:
        for program in (micropython(), mosquitto(), umqtt()):
            print(program)
    except RuntimeMissing as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
