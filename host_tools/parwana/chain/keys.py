"""Keys of people and processes: encrypted keystore files, and public development keys."""

import getpass
import json
import os
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from coincurve import PrivateKey
from eth_account import Account
from eth_account.hdaccount import HDPath, seed_from_mnemonic
from eth_utils import keccak, to_checksum_address

from parwana.store import signatures
from parwana.world import secretfiles

PASSWORD_FILE = "PARWANA_PASSWORD_FILE"
DEV_CHAIN_ID = 31337
DEV_CHAIN_IDS = (DEV_CHAIN_ID, 31338)  # the second, where a rehearsal has two chains
DEV_KEYS = 32
# DEVELOPMENT ONLY: in the manual of every Ethereum toolchain; value sent to these keys is lost.
DEV_MNEMONIC = "test test test test test test test test test test test junk"


class KeySourceError(ValueError):
    """A key cannot be read or made; the text says what to do."""


@dataclass(frozen=True)
class Key:
    """A secp256k1 key, with the account and the signer that it is. Its repr hides the secret."""

    secret: bytes = field(repr=False)
    development: bool = False

    @property
    def public_key(self) -> bytes:
        """Return x ‖ y, 64 bytes."""
        return PrivateKey(self.secret).public_key.format(compressed=False)[1:]

    @property
    def address(self) -> str:
        """Return the Ethereum address with its checksum."""
        return to_checksum_address(keccak(self.public_key)[12:])

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest, as signatures.sign does."""
        return signatures.sign(PrivateKey(self.secret), digest)


@cache
def dev_key(index: int) -> Key:
    """Return development key 0 to 31: m/44'/60'/0'/0/index. Raises KeySourceError."""
    if not 0 <= index < DEV_KEYS:
        raise KeySourceError(f"there is no development key {index}; use 0 to {DEV_KEYS - 1}")
    return Key(HDPath(f"m/44'/60'/0'/0/{index}").derive(_dev_seed()), development=True)


@cache
def _dev_seed() -> bytes:
    return seed_from_mnemonic(DEV_MNEMONIC, "")


def create(path: Path, password: str, *, iterations: int | None = None) -> Key:
    """Make a random key and write it encrypted, mode 600. Raises KeySourceError."""
    if not password:
        raise KeySourceError("the password is empty; choose one of at least 12 characters")
    secret = os.urandom(32)
    keystore = Account.encrypt(secret, password, iterations=iterations)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        secretfiles.create(path, json.dumps(keystore).encode())
    except FileExistsError:
        raise KeySourceError(f"{path} exists; choose another name") from None
    return Key(secret)


def load(path: Path, password: str) -> Key:
    """Decrypt a keystore file (web3 secret storage, version 3), which nobody else can read.

    Raises KeySourceError, SecretFileError.
    """
    try:
        secretfiles.refuse_exposed(path, "the key file")
        keystore = json.loads(path.read_text())
    except FileNotFoundError:
        raise KeySourceError(f"{path} does not exist; make it: parwana key new {path}") from None
    except (OSError, ValueError, RecursionError):
        raise KeySourceError(f"{path} is not a readable keystore file") from None
    try:
        return Key(bytes(Account.decrypt(keystore, password)))
    except (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError,
            TypeError, ValueError):  # fmt: skip
        raise KeySourceError(f"{path} does not open: wrong password or no keystore") from None


def password(path: Path, *, confirm: bool = False) -> str:
    """Read a keystore's password from the file PARWANA_PASSWORD_FILE names, else a prompt.

    Raises KeySourceError, SecretFileError.
    """
    source = os.environ.get(PASSWORD_FILE)
    if source:
        try:
            secretfiles.refuse_exposed(Path(source), PASSWORD_FILE)
            return Path(source).read_text().rstrip("\r\n")
        except OSError as error:
            raise KeySourceError(f"{PASSWORD_FILE}: {source}: {error.strerror}") from None
    if not sys.stdin.isatty():
        raise KeySourceError(f"{path} needs a password: set {PASSWORD_FILE} to a file with it")
    text = getpass.getpass(f"Password of {path}: ")
    if confirm and getpass.getpass("Again: ") != text:
        raise KeySourceError("the two passwords differ; nothing was written")
    return text


def resolve(text: str) -> Key:
    """Return the key that --key names: `dev:3`, or a keystore file. Raises KeySourceError."""
    if text.startswith("dev:"):
        number = text[4:]
        if not number.isdecimal():
            raise KeySourceError(f"--key {text}: write dev:0 to dev:{DEV_KEYS - 1}, or a file")
        return dev_key(int(number))
    path = Path(text)
    return load(path, password(path) if path.exists() else "")
