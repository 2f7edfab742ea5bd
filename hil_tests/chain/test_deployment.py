"""The deployment file: what is written comes back, what is wrong is named."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parwana.chain import keys
from parwana.chain.deployment import Deployment, DeploymentError, Period


def make(**changes):
    return {
        "utility_id": "test",
        "chain_id": 31337,
        "rpc": "http://127.0.0.1:8545",
        "registry": "0x" + "11" * 20,
        "energy_ledger": "0x" + "22" * 20,
        "payment_ledger": "0x" + "33" * 20,
        "permit_threshold": 2,
        "permit_signers": [keys.dev_key(n).public_key.hex() for n in range(3)],
        "period": {"kind": "days", "days": 1},
        "utc_offset_s": 19800,
        "payment_window_s": 86400,
        "broker": "mqtt://127.0.0.1:1883",
        "store": "sqlite:///build/test/store.db",
        **changes,
    }


def test_a_file_comes_back(tmp_path):
    path = tmp_path / "new" / "deployment.json"
    Deployment(**make(from_block=7)).save(path)
    assert Deployment.load(path) == Deployment(**make(from_block=7))
    assert json.loads(path.read_text()) == asdict(Deployment(**make(from_block=7)))


def test_a_file_is_not_overwritten_unless_forced(tmp_path):
    path = tmp_path / "deployment.json"
    Deployment(**make()).save(path)
    with pytest.raises(DeploymentError, match="--force"):
        Deployment(**make(utility_id="other")).save(path)
    Deployment(**make(utility_id="other")).save(path, force=True)
    assert Deployment.load(path).utility_id == "other"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("utility_id", "Upper"),
        ("utility_id", ""),
        ("chain_id", 0),
        ("chain_id", True),
        ("chain_id", "31337"),
        ("rpc", "127.0.0.1:8545"),
        ("registry", "0x12"),
        ("energy_ledger", None),
        ("payment_ledger", 3),
        ("permit_threshold", 4),
        ("permit_threshold", 0),
        ("permit_signers", []),
        ("permit_signers", ["ab"]),
        ("permit_signers", 7),
        ("permit_signers", [keys.dev_key(0).public_key.hex()] * 2),
        ("period", {"kind": "week"}),
        ("period", {"kind": "days"}),
        ("period", {"kind": "days", "days": 0}),
        ("period", {"kind": "days", "days": 1, "more": 1}),
        ("utc_offset_s", 100_000),
        ("utc_offset_s", 1.5),
        ("payment_window_s", 0),
        ("broker", "http://x"),
        ("store", "store.db"),
        ("from_block", -1),
    ],
)
def test_a_wrong_value_is_named(tmp_path, name, value):
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(make(**{name: value})))
    with pytest.raises(DeploymentError, match=rf"deployment.json: {name} is .*; write"):
        Deployment.load(path)


def test_unknown_and_missing_keys_are_named(tmp_path):
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(make(colour="red")))
    with pytest.raises(DeploymentError, match="unknown key 'colour'"):
        Deployment.load(path)
    values = make()
    del values["broker"]
    path.write_text(json.dumps(values))
    with pytest.raises(DeploymentError, match="'broker' is missing"):
        Deployment.load(path)


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_what_is_no_deployment_is_refused(tmp_path, text):
    path = tmp_path / "deployment.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DeploymentError, match="deployment.json"):
        Deployment.load(path)


@given(
    st.integers(86400 * 400, 2**32 - 1),
    st.sampled_from([0, 19800, -12600, 50400, -43200]),
    st.integers(0, 366),
)
def test_a_period_holds_its_instants(time_s, offset_s, days):
    period = Period("days" if days else "month", days, offset_s)
    number = period.of(time_s)
    assert period.start(number) <= time_s < period.start(number + 1)
    assert period.of(period.start(number)) == number
    assert period.of(period.start(number) - 1) == number - 1


def test_a_month_is_local():
    period = Period.parse("month", 19800)
    last = int(datetime(2026, 1, 31, 18, 29, 59, tzinfo=UTC).timestamp())
    assert (period.of(last), period.of(last + 1)) == (56 * 12, 56 * 12 + 1)


@pytest.mark.parametrize("text", ["days:0", "days:", "days:367", "week", "days:1.5", ""])
def test_a_wrong_period_says_what_to_write(text):
    with pytest.raises(DeploymentError, match="write month, or days:1"):
        Period.parse(text, 0)
