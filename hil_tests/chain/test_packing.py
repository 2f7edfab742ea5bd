"""The wheel: it holds what the sources compile to, and works where there is no compiler."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from vyper.cli.vyper_json import compile_json

from hil_tests.chain.test_deploy import arguments
from parwana import REPO, cli
from parwana.chain import contracts, keys
from parwana.chain.deployment import Deployment
from parwana.chain.rpc import Rpc
from parwana.devchain.server import DevChain

HOST = REPO / "host_tools"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel, as pip does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    done = subprocess.run(
        [*command, "--wheel-dir", folder, REPO], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def node():
    with DevChain(block_interval_s=60) as chain:
        yield chain


@pytest.fixture(scope="module")
def deployed(node, tmp_path_factory):
    out = tmp_path_factory.mktemp("town") / "town.json"
    assert cli.main(arguments(node, out)) == 0
    return out


def test_it_holds_what_the_sources_compile_to(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if "/artifacts/" in name]
        assert sorted(Path(name).stem for name in names) == sorted(contracts.NAMES)
        for name in names:
            assert json.loads(packed.read(name)) == contracts.load(Path(name).stem).__dict__
        modules = {path.relative_to(HOST) for path in (HOST / "parwana").rglob("*.py")}
        assert modules <= set(map(Path, packed.namelist())), "packages of pyproject.toml"
        told = [name for name in packed.namelist() if str(REPO).encode() in packed.read(name)]
        assert told == [], "no path of the machine that built it"
    assert not contracts.PACKED.exists(), "nothing is left in the sources"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "MeterRegistry" else pytest.mark.long)
        for name in contracts.NAMES
    ],
)
def test_a_standard_json_input_compiles_to_the_same_code(name):
    artifact = contracts.load(name)
    for path in artifact.standard_json["sources"]:
        assert (REPO / "contracts" / path).is_file()
    output = compile_json(json.loads(json.dumps(artifact.standard_json)))
    [made] = output["contracts"][f"{name}.vy"].values()
    assert made["evm"]["bytecode"]["object"].removeprefix("0x") == artifact.bytecode[2:]
    assert made["abi"] == artifact.abi


def without_compiler(tmp_path: Path, site: Path, *command: object) -> subprocess.CompletedProcess:
    """Run `parwana` of the unpacked wheel where neither vyper nor py-evm can be imported."""
    blocked = tmp_path / "blocked"
    blocked.mkdir(exist_ok=True)
    for package in ("vyper", "eth"):
        text = f"raise ModuleNotFoundError('no {package} here', name='{package}')\n"
        (blocked / f"{package}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "parwana.cli", *map(str, command)],
        env={**os.environ, "PYTHONPATH": f"{blocked}:{site}", "PARWANA_STATE": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def test_without_a_compiler_the_chain_is_read_and_contracts_are_deployed(
    node, deployed, unpacked, tmp_path
):
    done = without_compiler(tmp_path, unpacked, "pay", "--help")
    assert done.returncode == 0, done.stderr
    done = without_compiler(tmp_path, unpacked, "balance", "--deployment", deployed, "--json")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    out = tmp_path / "mine.json"
    done = without_compiler(tmp_path, unpacked, *arguments(node, out))
    assert done.returncode == 0, done.stderr
    assert Deployment.load(out).registry != Deployment.load(deployed).registry


def test_what_an_installed_package_lacks_is_told(unpacked, tmp_path):
    for command, words in (
        ("flash", "parwana flash needs the sources: run it in a clone of them"),
        ("devchain", "parwana devchain needs: pip install 'parwana[devchain]'"),
    ):
        done = without_compiler(tmp_path, unpacked, command, "--help")
        assert done.returncode != 0
        assert words in done.stderr


@pytest.mark.long
def test_it_installs_where_there_is_no_compiler(wheel, deployed, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    pip = [environment / "bin" / "pip", "install", "--quiet", "-c", REPO / "constraints.txt"]
    subprocess.run([*pip, wheel], check=True, timeout=600)
    lists = subprocess.run(
        [environment / "bin" / "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "vyper" not in lists
    assert "py-evm" not in lists
    parwana = environment / "bin" / "parwana"
    for command in (["pay", "--help"], ["balance", "--deployment", deployed]):
        done = subprocess.run([parwana, *command], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_a_bundle_is_what_explorers_ask_for(node, deployed, tmp_path, capsys):
    capsys.readouterr()
    out = tmp_path / "verify"
    command = ["contracts", "bundle", "--deployment", str(deployed), "--out", str(out), "--json"]
    assert cli.main(command) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries == json.loads((out / "verify.json").read_text())
    made = Deployment.load(deployed)
    addresses = [made.registry, made.energy_ledger, made.payment_ledger]
    assert [entry["address"] for entry in entries] == addresses
    for entry in entries:
        name = entry["contract"]
        assert json.loads((out / f"{name}.standard.json").read_text())["language"] == "Vyper"
        code = (out / f"{name}.bin").read_text().strip()
        sent = Rpc(node.url, 5).ask("eth_getTransactionByHash", entry["transaction"])
        assert sent["input"] == code + entry["constructor_arguments"]
        assert entry["compiler"].startswith(f"v{contracts.VYPER}+commit.")
    utility = keys.dev_key(0).address[2:].lower()
    assert entries[0]["constructor_arguments"] == utility.rjust(64, "0")


def test_other_code_is_not_passed_off_as_ours(deployed, tmp_path, capsys, monkeypatch):
    real = contracts.load

    def other(name):
        return contracts.Artifact(**{**real(name).__dict__, "bytecode": "0x6001"})

    monkeypatch.setattr(contracts, "load", other)
    command = ["contracts", "bundle", "--deployment", str(deployed), "--out", str(tmp_path)]
    assert cli.main(command) == 1
    assert "was made of other code than these sources compile to" in capsys.readouterr().err
