"""Sign permits for the tests: keys, bundles, and a Permits that trusts them."""

from hashlib import sha256

import permits

import ecdsa
import wire

CHAIN_ID = 31337
LEDGER = bytes(range(20))
METER = bytes(range(100, 120))
OFFSET_S = 19800  # India, +5:30
T0 = 1795372200  # 2026-11-22 18:30 UTC, a Monday's midnight in India
DAY_S = 86400
SPARE = 4  # the index of a key that no meter is configured with

_KEYS = [sha256(b"permit signer %d" % i).digest() for i in range(5)]
PUBLIC_KEYS = [ecdsa.public_key(key) for key in _KEYS]


def domain(chain_id=CHAIN_ID, ledger=LEDGER, meter=METER):
    return wire.permit_domain(chain_id, ledger, meter)


def bundle(frame, signers=(0, 2), under=None, public_key=b"", indices=None):
    """Return the bundle of a frame signed by the keys `signers`, under this meter's domain."""
    if under is None:
        under = domain()
        if frame[1] == wire.KIND_TIME:
            under = wire.time_domain(CHAIN_ID, LEDGER)
    digest = wire.digest(under, frame)
    data = bytes(frame) + public_key
    for at, signer in enumerate(signers):
        index = signer if indices is None else indices[at]
        data += bytes([index]) + ecdsa.compact(*ecdsa.sign(digest, _KEYS[signer]))
    return data


def permit(serial, days=30, flags=0, issued_at_s=T0, valid_until_s=None, **limits):
    """Return a permit frame, valid for `days` from T0."""
    end_s = T0 + days * DAY_S if valid_until_s is None else valid_until_s
    return wire.pack_permit(flags, serial, issued_at_s, end_s, 0, **limits)


class Flash:
    """Keep the record that a Permits persists; `fails` makes it refuse."""

    def __init__(self):
        self.record = None
        self.writes = 0
        self.fails = False

    def persist(self, record):
        if self.fails:
            raise OSError(28)
        self.record = record
        self.writes += 1


def trusting(flash, threshold=2, signers=4, update=None, **changed):
    """Return the Permits of a meter that trusts the first keys, m of n, started from `flash`."""
    place = {"chain_id": CHAIN_ID, "ledger": LEDGER, "meter": METER}
    place.update(changed)
    return permits.Permits(
        threshold,
        PUBLIC_KEYS[:signers],
        place["chain_id"],
        place["ledger"],
        place["meter"],
        OFFSET_S,
        flash.persist,
        flash.record,
        update,
    )
