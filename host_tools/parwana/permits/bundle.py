"""Make, sign and check permits and other frames that need m of n signers.

Nothing here touches a chain, a store or a broker. The daemon that does is signer.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import wire
from parwana.chain.keys import Key
from parwana.store import signatures
from parwana.store.signatures import SignatureError

FLAGS = {
    "protected": wire.PERMIT_PROTECTED,
    "button": wire.PERMIT_BUTTON,
    "commissioning": wire.PERMIT_COMMISSIONING,
}


class PermitError(ValueError):
    """A permit cannot be made, signed or believed; the text says what to do."""


def parse_flags(text: str) -> int:
    """Read `protected,button,commissioning`, any of them or none. Raises PermitError."""
    mask = 0
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in FLAGS:
            raise PermitError(f"permit flag {name!r} is unknown; there are {', '.join(FLAGS)}")
        mask |= FLAGS[name]
    return mask


def make_permit(
    *,
    issued_at_s: int,
    valid_until_s: int,
    period: int,
    last_serial: int = 0,
    flags: int = 0,
    power_limit_dw: int = 0,
    energy_limit_wh: int = 0,
    no_cut_from_h: int = 0,
    no_cut_to_h: int = 0,
    no_cut_weekdays: int = 0,
    grace_days: int = 0,
) -> bytes:
    """Pack a permit (40 bytes) whose serial is max(last_serial + 1, issued_at_s).

    Who is given the same values makes the same bytes. Raises PermitError.
    """
    if valid_until_s <= issued_at_s:
        raise PermitError(f"a permit must end after {issued_at_s}, when it is issued")
    try:
        return wire.pack_permit(
            flags=flags,
            serial=max(last_serial + 1, issued_at_s),
            issued_at_s=issued_at_s,
            valid_until_s=valid_until_s,
            period=period,
            power_limit_dw=power_limit_dw,
            energy_limit_wh=energy_limit_wh,
            no_cut_from_h=no_cut_from_h,
            no_cut_to_h=no_cut_to_h,
            no_cut_weekdays=no_cut_weekdays,
            grace_days=grace_days,
        )
    except wire.FrameError as error:
        raise PermitError(f"no such permit: {error}") from None


def indexed(keys: Iterable[Key], signers: Sequence[bytes]) -> dict[int, Key]:
    """Return the keys by their index among the signers (64-byte public keys).

    Raises PermitError for a key that is nobody's.
    """
    found = {}
    for key in keys:
        if key.public_key not in signers:
            raise PermitError(
                f"{key.address} is no permit signer of this deployment; use one of the "
                f"{len(signers)} keys it was deployed with"
            )
        found[signers.index(key.public_key)] = key
    return dict(sorted(found.items()))


def sign_frame(domain: bytes, frame: bytes, keys: Mapping[int, Key]) -> bytes:
    """Sign a frame (40 bytes) under a domain (32 bytes) and return the bundle.

    `keys` are by signer index, as `indexed` returns them.
    """
    digest = wire.digest(domain, frame)
    signed = [(index, keys[index].sign(digest)) for index in sorted(keys)]
    return wire.pack_bundle(frame, signed)


def believed(
    digest: bytes, signed: Iterable[tuple[int, bytes]], signers: Sequence[bytes]
) -> dict[int, bytes]:
    """Return by index the signatures that verify; what does not is left out."""
    good = {}
    for index, signature in signed:
        if not 0 <= index < len(signers):
            continue
        try:
            if signatures.recover(digest, signature) == signers[index]:
                good[index] = signature
        except SignatureError:
            continue
    return dict(sorted(good.items()))


def check_bundle(domain: bytes, data: bytes, signers: Sequence[bytes], threshold: int) -> Any:
    """Return a bundle's parsed frame if a meter would find it well signed. Raises PermitError."""
    try:
        bundle = wire.parse_bundle(data)
        frame = wire.parse(bundle.frame)
    except wire.FrameError as error:
        raise PermitError(f"no bundle: {error}") from None
    indices = [index for index, _ in bundle.signatures]
    if indices != sorted(set(indices)):
        raise PermitError("the bundle's signer indices must rise; make it again")
    good = believed(wire.digest(domain, bundle.frame), bundle.signatures, signers)
    bad = [index for index in indices if index not in good]
    if bad:
        raise PermitError(
            f"signature {bad[0]} does not verify: other meter, other deployment or other signer"
        )
    if len(good) < threshold:
        raise PermitError(
            f"{len(good)} of {threshold} signatures: let another signer add one with "
            "`parwana permits sign`"
        )
    return frame
