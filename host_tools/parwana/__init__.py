"""Host tools of Parwana: everything that runs on a computer rather than on a meter."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / "build"
