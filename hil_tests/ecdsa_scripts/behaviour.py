"""Run a file of hil_tests/firmware with the ecdsa of a folder: behaviour.py LIBRARY FILE"""

import sys

sys.path.insert(0, sys.argv[1])
sys.path.insert(1, sys.argv[2].rsplit("/", 1)[0])

import run  # type: ignore[import-not-found]  # noqa: E402

import ecdsa  # noqa: E402, F401  (before the repository's own comes first on the path)

sys.exit(1 if run.main(sys.argv[2], "test_") else 0)
