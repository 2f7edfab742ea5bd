"""Compile the contracts, once for each state of their sources, and read what they log."""

import json
import os
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from parwana import BUILD, REPO

SOURCES = REPO / "contracts"
CACHE = BUILD / "contracts"

# Part of what is deployed: another version or setting makes other bytecode.
VYPER = "0.4.3"
_compiling = threading.Lock()  # vyper keeps its settings in a global


class ContractError(Exception):
    """A contract cannot be compiled; the message says what to do."""


@dataclass(frozen=True)
class Artifact:
    """A compiled contract; `bytecode` and `runtime` are 0x-prefixed hex."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    runtime: str


@dataclass(frozen=True)
class Closing:
    """One meter's closing, as EnergyLedger's event Closed packs it."""

    meter: bytes
    period: int
    energy_wh: int


def unpack_closing(word: int) -> Closing:
    """Read a word of Closed.closings: meter 160 bits, period 32, energy_wh 64."""
    return Closing((word >> 96).to_bytes(20, "big"), word >> 64 & 0xFFFFFFFF, word & (2**64 - 1))


def unpack_skipped(word: int) -> tuple[int, int]:
    """Read a word of Closed.skipped as (place in the batch, reason SKIPPED_*)."""
    return word >> 8, word & 0xFF


def load(name: str, folder: Path = SOURCES) -> Artifact:
    """Return the compiled contract `name`, from the cache if no source changed.

    Raises ContractError.
    """
    source = folder / f"{name}.vy"
    if not source.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.vy") if not p.stem.islower()))
        raise ContractError(f"no contract {name}; there are {known}")
    cached = CACHE / f"{name}-{_fingerprint(source)}.json"
    with _compiling:
        if cached.is_file():
            return Artifact(**json.loads(cached.read_text()))
        artifact = _compile(source)
        CACHE.mkdir(parents=True, exist_ok=True)
        # aside and renamed: another process may compile the same
        aside = cached.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(artifact.__dict__))
        aside.replace(cached)
    return artifact


def _fingerprint(source: Path) -> str:
    """Hash the compiler's version, the contract and every source that it may import."""
    digest = sha256(VYPER.encode())
    # modules are named in lower case, contracts are not
    imports = [path for path in sorted(SOURCES.glob("*.vy")) if path.stem.islower()]
    imports += sorted((SOURCES / "interfaces").glob("*.vyi"))
    for path in [source, *imports]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _compile(source: Path) -> Artifact:
    """Compile one file. Imports take a second, so they stay here: the cache needs no compiler."""
    import vyper
    from vyper.compiler import compile_from_file_input
    from vyper.compiler.input_bundle import FilesystemInputBundle
    from vyper.exceptions import VyperException

    if vyper.__version__ != VYPER:
        raise ContractError(f"vyper is {vyper.__version__}; install vyper=={VYPER}")
    bundle = FilesystemInputBundle([SOURCES, source.parent])
    try:
        output = compile_from_file_input(
            bundle.load_file(source.name if source.parent == SOURCES else source),
            input_bundle=bundle,
            output_formats=("abi", "bytecode", "bytecode_runtime"),
        )
    except VyperException as error:
        raise ContractError(f"{source.name} does not compile: {error}") from error
    return Artifact(source.stem, output["abi"], output["bytecode"], output["bytecode_runtime"])
