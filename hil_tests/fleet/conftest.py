"""Run commands on a utility's chain and store."""

from hil_tests.rights.conftest import run

__all__ = ["run"]
