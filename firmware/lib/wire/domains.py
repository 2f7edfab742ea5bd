"""Bind a frame to where it counts (docs/protocol.md section 2)."""

from hashlib import sha256

from .codes import ADDRESS_SIZE, FRAME_SIZE, PUBLIC_KEY_SIZE
from .frames import FrameError

_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"


def reading_domain(utility_id: str) -> bytes:
    """Return the domain (32 bytes) of readings and events."""
    return sha256(b"parwana/reading/1" + check_utility_id(utility_id).encode()).digest()


def permit_domain(chain_id: int, ledger: bytes, meter: bytes) -> bytes:
    """Return the domain (32 bytes) of the permits, signers and ledgers of one meter.

    `ledger` and `meter` are addresses (20 bytes); a signer change in a PaymentLedger has a
    meter of zeros.
    """
    return sha256(b"parwana/permit/1" + _ledger(chain_id, ledger) + check_address(meter)).digest()


def time_domain(chain_id: int, ledger: bytes) -> bytes:
    """Return the domain (32 bytes) of time frames; `ledger` is an address (20 bytes)."""
    return sha256(b"parwana/time/1" + _ledger(chain_id, ledger)).digest()


def update_domain(chain_id: int, ledger: bytes) -> bytes:
    """Return the domain (32 bytes) of updates; `ledger` is an address (20 bytes)."""
    return sha256(b"parwana/update/1" + _ledger(chain_id, ledger)).digest()


def digest(domain: bytes, frame: bytes) -> bytes:
    """Return the 32 bytes that are signed for a frame (40 bytes) under a domain (32 bytes)."""
    if len(domain) != 32 or len(frame) != FRAME_SIZE:
        raise FrameError(
            "digest of %d + %d bytes, must be a domain of 32 and a frame of 40"
            % (len(domain), len(frame))
        )
    state = sha256(domain)
    state.update(frame)
    return state.digest()


def key_prefix(public_key: bytes) -> bytes:
    """Return the 28 bytes by which a signer frame names a public key (64 bytes)."""
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise FrameError("public key has %d bytes, must have 64" % len(public_key))
    return sha256(public_key).digest()[:28]


def check_utility_id(utility_id: str) -> str:
    """Return `utility_id` as it is. Raises FrameError unless it is 1 to 32 of a-z 0-9 -."""
    if not 1 <= len(utility_id) <= 32 or any(c not in _NAME_CHARACTERS for c in utility_id):
        raise FrameError("utility id must be 1 to 32 characters of a-z 0-9 -")
    return utility_id


def check_address(address: bytes) -> bytes:
    """Return `address` as bytes. Raises FrameError unless it has 20."""
    if len(address) != ADDRESS_SIZE:
        raise FrameError("address has %d bytes, must have 20" % len(address))
    return bytes(address)


def _ledger(chain_id: int, ledger: bytes) -> bytes:
    if not 0 <= chain_id < 1 << 256:
        raise FrameError("chain id must fit 32 bytes")
    return chain_id.to_bytes(32, "big") + check_address(ledger)
