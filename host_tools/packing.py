"""Build the wheel: setuptools', with the compiled contracts in it. Source: PEP 517, PEP 660."""

import shutil
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from parwana import BUILD
from parwana.chain import contracts

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what building needs; the compiler is needed for a wheel alone."""
    needed = build_meta.get_requires_for_build_wheel(config_settings)
    return [*needed, f"vyper=={contracts.VYPER}"]


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Write the wheel; return its name."""
    shutil.rmtree(BUILD / "lib", ignore_errors=True)  # what an earlier build left would be packed
    contracts.pack(contracts.PACKED)
    try:
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    finally:
        shutil.rmtree(contracts.PACKED)
