"""The deployment file: what is written comes back, what is wrong is named."""

import json
import stat

import pytest

from parwana.chain import keys
from parwana.chain.deployment import Deployment, DeploymentError
from parwana.chain.periods import Period


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
    assert json.loads(path.read_text()) == Deployment(**make(from_block=7)).as_dict()


@pytest.mark.parametrize(
    "rpc",
    [
        [],
        ["ws://a"],
        ["http://a", "http://a"],
        [f"http://{n}" for n in range(9)],
        5,
        [["http://a"]],
    ],
)
def test_urls_that_cannot_be_are_refused(rpc):
    with pytest.raises(
        DeploymentError, match="rpc is wrong; write an http:// or https:// URL, or"
    ):
        Deployment(**make(rpc=rpc))


def test_a_file_with_a_password_is_nobody_elses(tmp_path, caplog):
    path = tmp_path / "deployment.json"
    Deployment(**make(broker="mqtt://services:sesame@127.0.0.1:1883")).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Deployment.load(path)
    assert caplog.text == ""
    path.chmod(0o644)
    Deployment.load(path)
    assert f"holds a secret and can be read by others; chmod 600 {path}" in caplog.text
    assert "sesame" not in caplog.text
    caplog.clear()
    Deployment(**make()).save(path, force=True)
    path.chmod(0o644)
    Deployment.load(path)
    assert caplog.text == ""


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
        ("period", {"kind": "hours", "hours": 5}),
        ("period", {"kind": "hours", "hours": 0}),
        ("period", {"kind": "hours", "days": 1}),
        ("period", {"kind": "hours", "hours": True}),
        ("period", {"kind": ["days"]}),
        ("period", "month"),
        ("utc_offset_s", 60),
        ("utc_offset_s", 100_000),
        ("utc_offset_s", 1.5),
        ("payment_window_s", 0),
        ("broker", "http://x"),
        ("store", "store.db"),
        ("from_block", -1),
        ("coin", ""),
        ("coin", "two words"),
        ("coin", "[red]"),
        ("coin", "x" * 12),
        ("coin", None),
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


def test_a_file_without_a_coin_is_of_ether(tmp_path):
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(make()))
    assert Deployment.load(path).coin == "ETH"
    path.write_text(json.dumps(make(coin="xDAI")))
    assert Deployment.load(path).coin == "xDAI"


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_what_is_no_deployment_is_refused(tmp_path, text):
    path = tmp_path / "deployment.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DeploymentError, match="deployment.json"):
        Deployment.load(path)


def test_periods_of_hours_are_for_development_chains():
    hours = {"period": {"kind": "hours", "hours": 1}}
    assert Deployment(**make(**hours)).periods == Period("hours", 1, 19800)
    with pytest.raises(DeploymentError, match=r"chain_id 31337.*hours"):
        Deployment(**make(**hours, chain_id=1))


@pytest.mark.parametrize("period", [{"kind": "month"}, {"kind": "month", "days": 0}])
def test_both_forms_of_months_are_read(period):
    assert Deployment(**make(period=period)).periods == Period("month", 0, 19800)
