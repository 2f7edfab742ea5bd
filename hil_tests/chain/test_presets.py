"""What is known of chains by their id, and the page that says where it is from."""

import re

from parwana import REPO
from parwana.chain import presets
from parwana.chain.deployment import FINALIZED

PAGE = (REPO / "docs/nodes.md").read_text().split("## Chains that are known")[1].split("\n## ")[0]


def told(row: list[str]) -> presets.Preset:
    """Read a row of the page's table."""
    name, _, coin, block, final, fees, raised = row

    def number(pattern: str, text: str) -> float:
        found = re.search(pattern, text)
        return float(found[1]) if found else 0

    return presets.Preset(
        name=name,
        coin=coin,
        block_s=number(r"^([\d.]+) s\b", block),
        finality=FINALIZED if final.startswith("the tag:") else int(number(r"^(\d+) bl", final)),
        least_tip_wei=int(number(r"tip at least (\d+) gwei", fees) * 10**9),
        raise_after_s=number(r"^(\d+) s$", raised),
        l1_fee="a fee for bytes on L1" in fees,
    )


def test_the_page_says_what_the_file_says():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    assert rows[0][1:3] == ["id", "coin"]
    assert {int(row[1]): told(row) for row in rows[1:]} == presets.known()


def test_every_figure_has_its_source():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    cited = {n for line in lines for n in re.findall(r"\[(\d+)\]", line)}
    notes = PAGE.split(lines[-1])[1]
    assert cited == set(re.findall(r"(?:^|· ?\n?)\[(\d+)\] ", notes, re.M))


def test_chains_that_are_known():
    known = presets.known()
    assert {11155111, 84532, 11155420, 80002, 10200} <= set(known)
    for chain_id, rules in known.items():
        assert rules.name, chain_id
        assert rules.block_s > 0
        assert 0 < rules.raise_after_s <= 60
        assert rules.finality == FINALIZED or type(rules.finality) is int
    assert presets.preset(5) == presets.UNKNOWN
