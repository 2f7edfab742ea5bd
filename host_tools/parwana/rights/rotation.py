"""What the PaymentLedger knows of its signers, and of rotations: announced, due, applied."""

from dataclasses import dataclass
from typing import Any

from eth_utils import to_checksum_address

from parwana.chain.points import NOBODY
from parwana.rights.office import Office, RightError
from parwana.store import signatures


@dataclass(frozen=True)
class Rotation:
    """An announced rotation. `before`: the signers' addresses then; `applied`: it is in force."""

    index: int
    signer: str
    serial: int
    effective_at_s: int
    frame: bytes
    public_key: bytes
    before: list[str]
    applied: bool


def signers(office: Office) -> list[str]:
    """Return the addresses of the signers in force, by index. Raises ChainError."""
    functions, call = office.ledgers.payment.functions, office.chain.call
    return [str(call(functions.signers(i))) for i in range(call(functions.signer_count()))]


def announced(office: Office) -> dict[int, tuple[str, int]]:
    """Return by index the signers announced and not in force: address, from when."""
    payment = office.ledgers.payment
    count = office.chain.call(payment.functions.signer_count())
    # web3 makes of two results without names a tuple of one, where tuples are to have names
    functions = office.chain.w3.eth.contract(address=payment.address, abi=payment.abi).functions
    found = {i: office.chain.call(functions.next_signer(i)) for i in range(count)}
    return {i: (str(who), at_s) for i, (who, at_s) in found.items() if who != NOBODY}


def rotations(office: Office) -> list[Rotation]:
    """Return all rotations that were announced, in order. Raises ChainError."""
    events, first = office.ledgers.payment.events, office.deployment.from_block
    logs: list[Any] = [
        *office.chain.logs(events.SignerAnnounced, first),
        *office.chain.logs(events.SignerChanged, first),
    ]
    logs.sort(key=lambda log: (log["blockNumber"], log["logIndex"]))
    trusted: dict[int, str] = {}
    found: list[Rotation] = []
    for log in logs:
        values = log["args"]
        if log["event"] == "SignerAnnounced":
            before = [trusted[i] for i in sorted(trusted)]
            names = ("index", "signer", "serial", "effective_at_s", "frame", "public_key")
            fields = {name: values[name] for name in names}
            found.append(Rotation(**fields, before=before, applied=False))
            continue
        trusted[values["index"]] = values["signer"]
        same = [r for r in found if (r.index, r.signer) == (values["index"], values["signer"])]
        if same:  # the last of them: announced again, it replaced what was announced before
            at = found.index(same[-1])
            found[at] = Rotation(**{**vars(same[-1]), "applied": True})
    return found


def check_file(office: Office) -> list[str]:
    """Return the signers in force. Raises RightError if the deployment file names others."""
    found = signers(office)
    for index, key in enumerate(office.deployment.signers):
        if found[index] != address_of(key):
            raise RightError(
                f"signer {index} is {found[index]}, not the deployment file's; bring it up to "
                "date: parwana signers apply"
            )
    return found


def address_of(public_key: bytes) -> str:
    """Return the address, with its checksum, of a public key of 64 bytes."""
    return to_checksum_address(signatures.address(public_key))
