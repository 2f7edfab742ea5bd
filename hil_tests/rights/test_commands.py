"""Every right has a command: the table of docs/contracts.md against the contracts' ABIs."""

import re

import pytest

from parwana import REPO
from parwana.chain import contracts

HOST = REPO / "host_tools" / "parwana"
TOOLS = "\n".join(path.read_text() for path in sorted(HOST.rglob("*.py")))


def rows() -> dict[tuple[str, str], str]:
    """Read the table: (contract, function) -> command."""
    section = (REPO / "docs/contracts.md").read_text().split("## Commands\n")[1].split("\n## ")[0]
    found, contract = {}, ""
    for line in section.splitlines():
        if not line.startswith("| ") or line.startswith("| contract"):
            continue
        named, functions, command = (cell.strip() for cell in line.strip("|").split("|"))
        contract = named or contract
        for function in re.findall(r"`(\w+)`", functions):
            assert (contract, function) not in found
            found[contract, function] = command
    return found


@pytest.mark.parametrize("name", ["MeterRegistry", "EnergyLedger", "PaymentLedger"])
def test_each_function_that_changes_something_is_in_the_table(name: str) -> None:
    abi = contracts.load(name).abi
    changing = {
        entry["name"]
        for entry in abi
        if entry["type"] == "function" and entry["stateMutability"] in ("nonpayable", "payable")
    }
    assert {function for contract, function in rows() if contract == name} == changing


@pytest.mark.parametrize(("contract", "function"), rows())
def test_each_command_sends_it(contract: str, function: str) -> None:
    """That the commands exist is hil_tests/test_docs.py's to say."""
    told = rows()[contract, function]
    called = re.search(rf"functions\.{function}\b", TOOLS) is not None
    assert (called and "`parwana " in told) or told.startswith("deliberately none"), told
