"""What an audit looked at, and how far: signed, in a file, for the next one to go on from.

The file is JSON: `body`, and the signature by the auditor's key of the SHA-256 of its text. It
holds no secret; whoever has no key cannot make one that the auditor's next run takes.
"""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, get_type_hints

from parwana.audit.findings import Finding
from parwana.audit.keeping import plain, typed
from parwana.audit.store import Evidence, Seen
from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key
from parwana.store.signatures import SignatureError, signer
from parwana.world import secretfiles

FORM = "parwana/audit/1"


class CheckpointError(Exception):
    """The file is not to be gone on from; the message says why, and what to do."""


@dataclass
class Mark:
    """Where an audit of one chain ended: a final block, and what was known there."""

    block: int
    block_hash: bytes
    time_s: int
    state: dict[str, Any]


@dataclass
class Checkpoint:
    """How far frames and chains were audited. `marks` by chain, "payment" and "energy"; none
    while the first audit is not at its end.
    """

    marks: dict[str, Mark] = field(default_factory=dict)
    meters: dict[bytes, Seen] = field(default_factory=dict)
    evidence: dict[bytes, Evidence] = field(default_factory=dict)
    signatures: dict[bytes, int] = field(default_factory=dict)  # checked, by scope
    findings: list[Finding] = field(default_factory=list)
    pruned: int = 0  # days of which readings were removed

    @property
    def frames(self) -> int:
        """Return how many frames were audited."""
        return sum(seen.frames for seen in self.meters.values())

    def save(self, path: Path, deployment: Deployment, key: Key) -> None:
        """Replace the file. Raises CheckpointError."""
        body: dict[str, Any] = {"form": FORM, "deployment": _name(deployment)}
        body["marks"] = {
            at: {**vars(mark), "block_hash": mark.block_hash.hex()}
            for at, mark in self.marks.items()
        }
        for name in ("meters", "evidence", "signatures", "findings", "pruned"):
            body[name] = plain(getattr(self, name))
        text = json.dumps(body, separators=(",", ":"))
        signature = key.sign(sha256(text.encode()).digest()).hex()
        kept = json.dumps({"auditor": key.address, "signature": signature, "body": text})
        try:
            secretfiles.replace(path, kept.encode(), durable=True)
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}; give a place that lasts") from None

    @classmethod
    def load(cls, path: Path, deployment: Deployment, auditor: str) -> "Checkpoint":
        """Read the file, an empty one if there is none. Raises CheckpointError."""
        again = "remove it to audit all from the start"
        try:
            kept = json.loads(path.read_text())
            text, signature = kept["body"], bytes.fromhex(kept["signature"])
            made_by = "0x" + signer(sha256(text.encode()).digest(), signature).hex()
        except FileNotFoundError:
            return cls()
        except SignatureError:
            made_by = "nobody"
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from None
        except (ValueError, LookupError, TypeError, AttributeError):
            raise CheckpointError(f"{path} is no checkpoint of an audit; {again}") from None
        if made_by != auditor.lower():
            raise CheckpointError(
                f"{path} was not signed by {auditor}, but by {made_by}, or it was changed since; "
                f"give its auditor's key, or {again}"
            )
        try:
            body = json.loads(text)
            if body["form"] != FORM:
                raise CheckpointError(f"{path} is of another version; {again}")
            if body["deployment"] != _name(deployment):
                raise CheckpointError(f"{path} is of another deployment; {again}")
            hints = get_type_hints(cls)
            marks = {
                at: Mark(**{**mark, "block_hash": bytes.fromhex(mark["block_hash"])})
                for at, mark in body["marks"].items()
            }
            values = {name: typed(of, body[name]) for name, of in hints.items() if name != "marks"}
        except (ValueError, LookupError, TypeError):
            raise CheckpointError(f"{path} is damaged; {again}") from None
        return cls(marks=marks, **values)


def _name(deployment: Deployment) -> str:
    """Return what tells a deployment from others."""
    of = [deployment, *([deployment.on_energy_chain] if deployment.energy else [])]
    told = [(one.chain_id, one.registry, one.energy_ledger, one.payment_ledger) for one in of]
    return sha256(json.dumps(told).lower().encode()).hexdigest()
