"""Host tools of Parwana: everything that runs on a computer rather than on a meter."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CHECKOUT = (REPO / "contracts").is_dir()  # not so where the package was installed from a wheel
BUILD = (REPO if CHECKOUT else Path.cwd()) / "build"
