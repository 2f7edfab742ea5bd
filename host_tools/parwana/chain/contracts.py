"""The compiled contracts, and what they log.

In a checkout they are compiled, once for each state of their sources; an installed package has
them with it, and needs no compiler.
"""

import json
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

from parwana import BUILD, REPO
from parwana.world import wholefiles

SOURCES = REPO / "contracts"
CACHE = BUILD / "contracts"
PACKED = Path(__file__).with_name("artifacts")  # in a wheel only: host_tools/packing.py
NAMES = ("MeterRegistry", "EnergyLedger", "PaymentLedger")

# Part of what is deployed: another version or setting makes other bytecode.
VYPER = "0.4.3"
_compiling = threading.Lock()  # vyper keeps its settings in a global


class ContractError(Exception):
    """A contract cannot be compiled; the message says what to do."""


@dataclass(frozen=True)
class Artifact:
    """A compiled contract; `bytecode` and `runtime` are 0x-prefixed hex.

    `standard_json` is what the compiler was given, as explorers take it to verify the code.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    runtime: str
    standard_json: dict[str, Any]


@dataclass(frozen=True)
class Closing:
    """One meter's closing, as EnergyLedger's event Closed packs it."""

    meter: bytes
    period: int
    energy_wh: int


def unpack_results(results: bytes) -> list[Closing | int]:
    """Read Closed.results, 32 bytes for each item: its closing, or why it was skipped."""
    return [_result(results[at : at + 32]) for at in range(0, len(results), 32)]


def _result(word: bytes) -> Closing | int:
    """Read meter 160 bits, period 32, energy_wh 64; without a meter, a reason SKIPPED_*."""
    rest = int.from_bytes(word[20:])
    if not any(word[:20]):
        return rest
    return Closing(word[:20], rest >> 64, rest & (2**64 - 1))


def load(name: str, folder: Path = SOURCES) -> Artifact:
    """Return the compiled contract `name`, from the cache if no source changed.

    Raises ContractError.
    """
    packed = PACKED / f"{name}.json"
    if not folder.is_dir() and packed.is_file():
        return Artifact(**json.loads(packed.read_text()))
    source = folder / f"{name}.vy"
    if not source.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.vy") if not p.stem.islower()))
        raise ContractError(f"no contract {name}; there are {known}")
    cached = CACHE / f"{name}-{_fingerprint(source)}.json"
    with _compiling:
        if cached.is_file():
            return Artifact(**json.loads(cached.read_text()))
        artifact = _compile(source)
        wholefiles.put(cached, json.dumps(artifact.__dict__).encode())
    return artifact


def pack(into: Path) -> None:
    """Write each contract for a wheel. Raises ContractError."""
    into.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (into / f"{name}.json").write_text(json.dumps(load(name).__dict__))


def _fingerprint(source: Path) -> str:
    """Hash the compiler's version, the contract and every source that it may import."""
    digest = sha256(f"3 {VYPER}".encode())  # 3: the form of what is cached
    # modules are named in lower case, contracts are not
    sources = [path for folder in {SOURCES, source.parent} for path in folder.glob("*.vy")]
    imports = [path for path in sorted(sources) if path.stem.islower()]
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
            output_formats=("abi", "bytecode", "bytecode_runtime", "solc_json"),
        )
    except VyperException as error:
        raise ContractError(f"{source.name} does not compile: {error}") from error
    return Artifact(
        source.stem,
        output["abi"],
        output["bytecode"],
        output["bytecode_runtime"],
        _standard(source, output["solc_json"]),
    )


def _standard(source: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Name the files in a standard JSON input as imports name them, wherever the compiler ran."""

    def named(path: str) -> str:
        parts = PurePath(path).parts
        tails = ("/".join(parts[at:]) for at in range(len(parts)))
        return next(tail for tail in tails if any((f / tail).is_file() for f in folders))

    folders = (SOURCES, source.parent)
    return {
        **made,
        "sources": {named(path): text for path, text in sorted(made["sources"].items())},
        "settings": {
            **made["settings"],
            "search_paths": ["."],
            "outputSelection": {source.name: ["abi", "evm.bytecode.object"]},
        },
    }
