"""What pages use of others: fetched from npm at set-up, served as it is. Licences are with it."""

import logging
import sys
from functools import cache
from pathlib import Path

from parwana import BUILD
from parwana.world.npm import Package
from parwana.world.runtime import RuntimeMissing, say

FOLDER = BUILD / "web"
UPLOT = Package(
    "uplot",
    "1.6.32",
    "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d",
    ["dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"],
)
SECP256K1 = Package(
    "@noble/secp256k1",
    "3.2.0",
    "2722e0b18b696cf6d3463ab10365f97f617fb651e85a7eeed8f12121a1077018",
    ["index.js", "LICENSE"],
)
HASHES = Package(
    "@noble/hashes",
    "2.4.0",
    "e1946149b780017b2564fcc092cb01c04e1d7f20627d0296c17da8868f4436dc",
    ["sha2.js", "sha3.js", "_md.js", "_u64.js", "utils.js", "LICENSE"],
)
PACKAGES = (UPLOT, SECP256K1, HASHES)
log = logging.getLogger("parwana.web")


@cache
def urls(base: str) -> dict[str, str]:
    """Return by package the path below which its files are served, {} where they are not there."""
    try:
        return {one.name: f"{base}/{one.fetched(FOLDER).name}" for one in PACKAGES}
    except RuntimeMissing as error:
        log.warning("pages do without charts and without verification: %s", error)
        return {}


def main() -> int:
    """Fetch everything; exit 1 with one line if something is missing."""
    try:
        for package in PACKAGES:
            print(package.fetched(FOLDER))
    except RuntimeMissing as error:
        say(str(error))
        return 1
    return 0


def folder() -> Path:
    """Return the folder that is served."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER


if __name__ == "__main__":
    sys.exit(main())
