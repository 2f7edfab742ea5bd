"""The golden vectors are what their script makes, and eth-keys agrees with every signature."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from eth_keys.datatypes import PublicKey, Signature
from eth_keys.validation import validate_signature_v

FOLDER = Path(__file__).parent / "vectors"
HALF_N = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_vectors", FOLDER / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def signer_of(digest: str, signature: str) -> PublicKey:
    """Return who made an EIP-2098 signature, by eth-keys."""
    raw = bytes.fromhex(signature)
    parity, s = raw[32] >> 7, int.from_bytes(raw[32:]) & ((1 << 255) - 1)
    assert 0 < s <= HALF_N
    validate_signature_v(parity)
    vrs = (parity, int.from_bytes(raw[:32]), s)
    return Signature(vrs=vrs).recover_public_key_from_msg_hash(bytes.fromhex(digest))


def test_vectors_are_what_the_script_makes(tmp_path: Path) -> None:
    module = make()
    module.main(tmp_path)
    for name in module.FILES:
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text(), (
            f"{name} differs: run python hil_tests/vectors/make.py"
        )


def test_script_does_not_use_the_code_under_test() -> None:
    imports = [
        line.split()[1]
        for line in (FOLDER / "make.py").read_text().splitlines()
        if line.startswith(("import ", "from "))
    ]
    known = {"json", "struct", "sys", "hashlib", "pathlib", "typing"}
    assert set(imports) <= known | {"coincurve", "eth_keys.datatypes"}


def test_keys_and_addresses() -> None:
    v = load("signed.json")
    for key in (v["meter"], *v["signers"]):
        public_key = PublicKey(bytes.fromhex(key["public_key"]))
        assert public_key.to_canonical_address().hex() == key["address"]


@pytest.mark.parametrize("case", load("signed.json")["signed"], ids=lambda case: case["name"])
def test_signatures_recover_their_signer(case: "dict[str, str]") -> None:
    signer = signer_of(case["digest"], case["signature"])
    assert signer.to_canonical_address().hex() == case["by"]


def test_bundles_are_signed_by_their_indices() -> None:
    v = load("signed.json")
    digests = {case["frame"]: case["digest"] for case in v["signed"]}
    for case in load("bundles.json")["bundles"]:
        for index, signature in case["signatures"]:
            signer = signer_of(digests[case["frame"]], signature)
            assert signer.to_bytes().hex() == v["signers"][index]["public_key"]
