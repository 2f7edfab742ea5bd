"""Hold the meter's own key: made once on the device, never leaving it, never printed."""

import ecdsa
import records
from binascii import hexlify

_KEY_SIZE = 32
_TRIES = 64


class IdentityError(Exception):
    """The meter has no key that it can use; the message tells what to do."""


class Identity:
    """Sign as this meter. `public_key` is 64 bytes."""

    def __init__(self, key):
        self._key = key
        self.public_key = ecdsa.public_key(key)

    def sign(self, digest):
        """Return the signature (64 bytes, compact form) of a digest (32 bytes).

        The same digest gives the same signature. Source: RFC 6979.
        """
        return ecdsa.compact(*ecdsa.sign(digest, self._key))

    def __repr__(self):
        return "<Identity %s...>" % hexlify(self.public_key[:4]).decode()


def load_or_create(path, random):
    """Return the Identity whose key is the record at `path`; make and store one if there is none.

    `random(n)` returns n bytes fit for a key: os.urandom with the radio on, else the ESP32's
    generator is not a true one. A damaged record is never replaced, since the meter is enrolled
    under its key. Raises IdentityError.
    """
    try:
        key = records.load(path)
    except records.RecordError:
        raise IdentityError("%s is damaged; replace this meter with: parwana pair" % path)
    if key is None:
        key = _draw(random)
        records.save(path, key)
        if records.load(path) != key:
            raise IdentityError("%s did not keep what was written; the flash is worn" % path)
    try:
        return Identity(key)
    except ecdsa.EcdsaError:
        raise IdentityError("%s holds no key; replace this meter with: parwana pair" % path)


def _draw(random):
    """Return a key, uniform in 1 to n - 1, by rejection. Source: FIPS 186-5, A.2.2."""
    last = None
    for _ in range(_TRIES):
        key = bytes(random(_KEY_SIZE))
        if key == last or len(key) != _KEY_SIZE:
            break
        if last is not None and _in_range(key):
            return key
        last = key
    raise IdentityError("the random generator is stuck; switch the radio on, or replace the board")


def _in_range(key):
    return 0 < int.from_bytes(key, "big") < ecdsa.N
