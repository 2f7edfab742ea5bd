"""contracts.py: compile once, notice changes, unpack; and the page about the ABI."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parwana import REPO
from parwana.chain import contracts
from parwana.chain.contracts import Artifact, Closing, ContractError

NAMES = ("MeterRegistry", "EnergyLedger", "PaymentLedger")
# EIP-170: the most code that a contract can have
MAX_RUNTIME = 24_576
SMALL = "# pragma version 0.4.3\n# pragma evm-version cancun\n@external\ndef f() -> uint256:\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with one small contract, and an empty cache."""
    monkeypatch.setattr(contracts, "CACHE", tmp_path / "cache")
    (tmp_path / "Small.vy").write_text(SMALL + "    return 1\n")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_they_compile_and_fit(name: str) -> None:
    artifact = contracts.load(name)
    assert artifact.name == name
    assert re.fullmatch("0x([0-9a-f]{2})+", artifact.bytecode)
    assert 1000 < len(artifact.runtime) // 2 - 1 <= MAX_RUNTIME
    assert [e["type"] for e in artifact.abi].count("constructor") == 1


def test_the_cache_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = contracts.load("Small", folder)

    def refuse(_: Path) -> Artifact:
        raise AssertionError("compiled again")

    monkeypatch.setattr(contracts, "_compile", refuse)
    assert contracts.load("Small", folder) == first
    monkeypatch.setattr(contracts, "VYPER", "0.4.4")
    with pytest.raises(AssertionError, match="compiled again"):
        contracts.load("Small", folder)


def test_threads_compile_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Path] = []

    def slowly(source: Path) -> Artifact:
        compiled.append(source)
        time.sleep(0.2)
        return Artifact("Small", [], "0x01", "0x02", {})

    monkeypatch.setattr(contracts, "_compile", slowly)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(contracts.load, ["Small"] * 4, [folder] * 4))
    assert loaded == [Artifact("Small", [], "0x01", "0x02", {})] * 4
    assert len(compiled) == 1


def test_a_changed_source_is_compiled_again(folder: Path) -> None:
    first = contracts.load("Small", folder)
    (folder / "Small.vy").write_text(SMALL + "    return 2\n")
    assert contracts.load("Small", folder).bytecode != first.bytecode
    assert len(list((folder / "cache").iterdir())) == 2


def test_a_changed_import_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "interfaces").mkdir()
    (folder / "signature.vy").write_text("# 1\n")
    monkeypatch.setattr(contracts, "SOURCES", folder)
    before = contracts._fingerprint(folder / "Small.vy")
    (folder / "signature.vy").write_text("# 2\n")
    assert contracts._fingerprint(folder / "Small.vy") != before
    (folder / "signature.vy").write_text("# 1\n")
    assert contracts._fingerprint(folder / "Small.vy") == before
    (folder / "interfaces" / "I.vyi").write_text("# new\n")
    assert contracts._fingerprint(folder / "Small.vy") != before


def test_errors_say_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match="no contract Smal; there are Small"):
        contracts.load("Smal", folder)
    (folder / "Small.vy").write_text(SMALL + "    return nothing\n")
    with pytest.raises(ContractError, match="Small.vy does not compile"):
        contracts.load("Small", folder)
    monkeypatch.setattr(contracts, "VYPER", "9.9.9")
    with pytest.raises(ContractError, match="install vyper==9.9.9"):
        contracts.load("Small", folder)


def test_unpack() -> None:
    word = 0xA1 << 248 | 0xB2 << 96 | 677 << 64 | 2**64 - 1
    meter = b"\xa1" + bytes(18) + b"\xb2"
    results = word.to_bytes(32) + (4).to_bytes(32)
    assert contracts.unpack_results(results) == [Closing(meter, 677, 2**64 - 1), 4]
    assert contracts.unpack_results(b"") == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_names_every_function_and_event(name: str) -> None:
    page = (REPO / "docs" / "contracts.md").read_text()
    section = page.split(f"## {name}\n")[1].split("\n## ")[0]
    for entry in contracts.load(name).abi:
        if entry["type"] != "constructor":
            assert re.search(rf"`{entry['name']}(\(|`)", section), f"{entry['name']} is missing"


@pytest.mark.parametrize("path", sorted(contracts.SOURCES.glob("*.vy")), ids=lambda p: p.stem)
def test_every_argument_has_its_length_in_the_natspec(path: Path) -> None:
    external = re.findall(
        r'@(?:external|deploy)\ndef (\w+)\((.*?)\)[^\n]*:\n    """(.*?)"""',
        path.read_text(),
        re.DOTALL,
    )
    assert len(external) == len(re.findall("^@(external|deploy)$", path.read_text(), re.MULTILINE))
    for function, arguments, natspec in external:
        assert "@notice" in natspec, function
        for argument in re.findall(r"(\w+): ", arguments):
            (text,) = re.findall(rf"@param {argument} (.*)", natspec)
            assert re.search(r"\d", text), f"{function}, {argument}: no length"
