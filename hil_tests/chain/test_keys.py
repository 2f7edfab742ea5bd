"""Key files and development keys."""

import io
import stat

import pytest
from coincurve import PublicKey
from eth_account import Account

from parwana.chain import keys
from parwana.chain.keys import KeySourceError
from parwana.store import signatures
from parwana.world.secretfiles import SecretFileError

PASSWORD = "correct horse battery"


@pytest.fixture
def file(tmp_path):
    keys.create(tmp_path / "signer.json", PASSWORD, iterations=2)
    return tmp_path / "signer.json"


def test_a_key_file_comes_back(tmp_path):
    made = keys.create(tmp_path / "a.json", PASSWORD, iterations=2)
    assert keys.load(tmp_path / "a.json", PASSWORD) == made
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o600
    assert made.secret.hex() not in (tmp_path / "a.json").read_text()


def test_a_key_file_is_never_overwritten(file):
    before = file.read_bytes()
    with pytest.raises(KeySourceError, match="exists"):
        keys.create(file, PASSWORD, iterations=2)
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", [None, "", "{}", "[]", "7", '{"version": 3}'])
def test_what_is_no_key_file_is_refused(file, content):
    if content is not None:
        file.write_text(content)
    with pytest.raises(KeySourceError, match="signer.json"):
        keys.load(file, "wrong")


def test_the_password_may_come_from_a_file(file, tmp_path, monkeypatch):
    source = tmp_path / "password"
    source.write_text(PASSWORD + "\n")
    monkeypatch.setenv(keys.PASSWORD_FILE, str(source))
    source.chmod(0o644)
    with pytest.raises(SecretFileError, match=f"{keys.PASSWORD_FILE} .* chmod 600 {source}"):
        keys.resolve(str(file))
    source.chmod(0o600)
    assert keys.resolve(str(file)).address == keys.load(file, PASSWORD).address
    file.chmod(0o644)
    with pytest.raises(SecretFileError, match=f"the key file .* chmod 600 {file}"):
        keys.resolve(str(file))


def test_no_password_says_how_to_give_one(file, monkeypatch):
    monkeypatch.delenv(keys.PASSWORD_FILE, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(KeySourceError, match=keys.PASSWORD_FILE):
        keys.resolve(str(file))


@pytest.mark.parametrize("text", ["dev:32", "dev:", "dev:-1", "dev:x", "nowhere.json"])
def test_a_wrong_name_is_refused(text):
    with pytest.raises(KeySourceError):
        keys.resolve(text)


def test_development_keys_are_those_of_the_mnemonic():
    Account.enable_unaudited_hdwallet_features()
    for index in (0, 1, 31):
        path = f"m/44'/60'/0'/0/{index}"
        account = Account.from_mnemonic(keys.DEV_MNEMONIC, account_path=path)
        assert keys.resolve(f"dev:{index}").address == account.address


def test_a_signature_is_compact_and_low():
    key, digest = keys.dev_key(3), bytes(range(32))
    signature = key.sign(digest)
    assert signatures.recover(digest, signature) == key.public_key
    assert PublicKey(b"\x04" + key.public_key).verify(_der(signature), digest, hasher=None)


def test_the_secret_stays_out_of_text():
    key = keys.dev_key(3)
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in f"{key}"


def _der(signature: bytes) -> bytes:
    def integer(data: bytes) -> bytes:
        body = data.lstrip(b"\0")
        body = b"\0" + body if body[0] & 0x80 else body
        return bytes([2, len(body)]) + body

    vs = bytes([signature[32] & 0x7F]) + signature[33:]
    body = integer(signature[:32]) + integer(vs)
    return bytes([0x30, len(body)]) + body
