"""What a key signed, kept on disk from before it is sent until its block is final.

One folder for each chain (by its id and its first block) and key, one file for each nonce; mode
700 and 600. Several processes may use it: who decides on a nonce holds `lock()`, who waits for a
transaction holds its claim, and a claim ends with the process. Only this computer knows of it.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eth_utils import keccak

from parwana.chain.errors import ChainError
from parwana.world import secretfiles

VARIABLE = "PARWANA_STATE"


@dataclass
class Signed:
    """A call that was signed, with each transaction signed for it: all of one nonce.

    `call` is the digest of what it does, `block` one that was there before, `raised_s` when the
    fee last rose. `known` are hashes of transactions signed elsewhere. `refused`: no node has it.
    `told`: the block it was in when a caller learnt the outcome, 0 while none did.
    """

    nonce: int
    what: str
    call: str
    fields: dict[str, Any]
    block: int
    made_s: float
    raised_s: float
    raws: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    refused: bool = False
    told: int = 0

    @property
    def hashes(self) -> list[str]:
        """Return the transactions' hashes, the newest first."""
        return ["0x" + keccak(hexstr=raw).hex() for raw in reversed(self.raws)] + self.known


class Claim:
    """Hold one nonce's transaction: nobody else waits for it or raises its fee."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def release(self) -> None:
        """Let others look after it."""
        os.close(self._handle)


class Outbox:
    """The transactions of one key on one chain. Raises ChainError where it cannot write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _told(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other threads and processes from deciding on a nonce."""
        with _told(self.folder):
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def all(self) -> list[Signed]:
        """Return what is kept, by nonce."""
        found = [self._read(path) for path in self.folder.glob("*.json")]
        return sorted((one for one in found if one), key=lambda signed: signed.nonce)

    def _read(self, path: Path) -> Signed | None:
        try:
            signed = Signed(**json.loads(path.read_text()))
            if signed.nonce != int(path.stem) or not all(map(str, signed.hashes)):
                raise ValueError("it is of another nonce")
            return signed
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ChainError(
                f"{path} cannot be read ({error}); look up the key's transactions, then move it "
                "away"
            ) from None

    def keep(self, signed: Signed, *, durable: bool = True) -> None:
        """Write it down; on return it outlasts a power cut, if `durable`."""
        path = self.folder / f"{signed.nonce}.json"
        with _told(path):
            secretfiles.replace(path, json.dumps(asdict(signed)).encode(), durable=durable)

    def drop(self, nonce: int) -> None:
        """Forget a nonce; within `lock()`."""
        for kind in ("json", "claim"):
            (self.folder / f"{nonce}.{kind}").unlink(missing_ok=True)

    def claim(self, nonce: int) -> Claim | None:
        """Claim a nonce, within `lock()`; None while a thread or process holds it."""
        with _told(self.folder):
            handle = os.open(self.folder / f"{nonce}.claim", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return Claim(handle)

    def take(self, nonce: int) -> tuple[Signed, Claim] | None:
        """Claim what is kept under a nonce, as its last holder left it; None as in `claim`."""
        claim = self.claim(nonce)
        signed = self._read(self.folder / f"{nonce}.json") if claim else None
        if claim and signed:
            return signed, claim
        if claim:
            claim.release()
        return None


def of(chain_id: int, genesis: bytes, address: str) -> Outbox:
    """Return the outbox of a key on a chain."""
    return Outbox(_state() / "sent" / f"{chain_id}-{genesis.hex()[:16]}-{address.lower()}")


def digest(to: str, value: int, data: str) -> str:
    """Return what tells one call from another."""
    return keccak(text=f"{to.lower()} {value} {data.lower()}").hex()


def now_s() -> float:
    """Return the machine's time: no fast world hurries a node."""
    return time.time()


def _state() -> Path:
    """Return the folder for what must outlast a process."""
    own = os.environ.get(VARIABLE)
    if own:
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "state") / "parwana"
    except RuntimeError:
        raise ChainError(f"this user has no home; set {VARIABLE} to a folder that lasts") from None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ChainError(
            f"{path}: {error.strerror}; what is sent is written down first: set {VARIABLE} to a "
            "folder that lasts and that this user may write"
        ) from None
