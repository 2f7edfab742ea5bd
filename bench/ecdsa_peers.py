"""Fetch what ecdsa is compared with, and make it run under MicroPython.

The packages come from PyPI and Debian into build/bench; nothing of them is in this repository.
"""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from pypi_simple import PyPISimple

from parwana import BUILD
from parwana.world import runtime

HOME = BUILD / "bench"
_SHIM = "from lacks import bit_length, zfill\n"


class PeerMissing(Exception):
    """A peer cannot be had here; the message says why."""


def embit() -> Path:
    """Return a folder with embit's fallback in pure Python, `key.py`. Raises PeerMissing."""

    def patch(_: str, text: str) -> str:
        return _SHIM + re.sub(r"(\b[rs])\.bit_length\(\)", r"bit_length(\1)", text)

    return _sdist(
        "embit",
        "0.8.0",
        "8bf4b10073c67400370ce523fb16f035fe759f6fdd987c579bdcc268d75ed770",
        {"src/embit/util/key.py": "key.py"},
        patch,
    )


def starkbank() -> Path:
    """Return a folder with starkbank-ecdsa's `ellipticcurve`. Raises PeerMissing."""
    folder = "ellipticcurve"
    names = ["math", "point", "curve", "ecdsa"]
    names += ["utils/integer", "utils/binary", "utils/compatibility"]

    def patch(name: str, text: str) -> str:
        # pow() with a negative exponent does not fail in MicroPython: it returns 0
        text = text.replace("return pow(x, -1, n)", "raise ValueError")
        text = re.sub(r"(\b\w+)\.bit_length\(\)", r"bit_length(\1)", text)
        text = re.sub(r"(hexFromInt\(.+\))\.zfill\((.+? \* 2)\)", r"zfill(\1, \2)", text)
        text = text.replace("hashfunc().digest_size", "32")
        text = text.replace("pyVersion.major == 3", "True")
        if name.endswith("ecdsa.py"):
            # its module needs regular expressions and dates to write DER
            text = text.replace("from .signature import Signature", _SIGNATURE)
        return _SHIM + text

    return _sdist(
        "starkbank-ecdsa",
        "2.3.1",
        "712315c87ba7966a963f6f939a773f7a7a15cdc056ece097a30c0a9d393ee513",
        {f"{folder}/{name}.py": f"{folder}/{name}.py" for name in names},
        patch,
    )


_SIGNATURE = """
class Signature:
    def __init__(self, r, s, recoveryId):
        self.r, self.s, self.recoveryId = r, s, recoveryId
"""


def libsecp256k1(architecture: str) -> Path:
    """Return Debian's libsecp256k1 for the architecture of a MicroPython. Raises PeerMissing."""
    try:
        wrapper = runtime.debian_program("libsecp256k1-2", architecture, "none")
    except runtime.RuntimeMissing as error:
        raise PeerMissing(str(error)) from None
    return next((wrapper.parent / "root").rglob("libsecp256k1.so.*"))


def valgrind() -> "tuple[Path, dict[str, str]]":
    """Return Debian's valgrind and its environment. Raises PeerMissing.

    Not the machine's: those before 3.24 do not run the 32-bit C library of Debian 13.
    """
    done = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False, timeout=60
    )
    try:
        program = runtime.debian_program(
            "valgrind", done.stdout.strip() or "amd64", "usr/bin/valgrind.bin"
        )
    except (runtime.RuntimeMissing, OSError) as error:
        raise PeerMissing(str(error)) from None
    return program, {**os.environ, "VALGRIND_LIB": f"{program.parent}/root/usr/libexec/valgrind"}


def _sdist(
    project: str,
    version: str,
    sha256: str,
    files: dict[str, str],
    patch: Callable[[str, str], str],
) -> Path:
    """Fetch a source distribution, check it, write some of its files, patched, to a folder."""
    home = HOME / f"{project}-{version}"
    archive = home / "sdist.tar.gz"
    home.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        _fetch(project, version, archive)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        archive.unlink()
        raise PeerMissing(f"{project} {version} from PyPI has the wrong SHA-256; it was not used")
    with tarfile.open(archive) as tar:
        root = tar.getnames()[0].split("/")[0]
        for member, target in files.items():
            source = tar.extractfile(f"{root}/{member}")
            if source is None:
                raise PeerMissing(f"{project} {version} has no {member}")
            path = home / "run" / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(patch(target, source.read().decode()))
    return home / "run"


def _fetch(project: str, version: str, archive: Path) -> None:
    index = (
        os.environ.get("PIP_INDEX_URL")
        or subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        ).stdout.strip()
    )
    try:
        with PyPISimple(index) if index else PyPISimple() as client:
            package = next(
                package
                for package in client.get_project_page(project).packages
                if package.version == version and package.package_type == "sdist"
            )
            client.download_package(package, archive, verify=False, timeout=60)
    except (OSError, StopIteration) as error:
        raise PeerMissing(f"{project} {version} could not be fetched: {error}") from None
