"""Test identity: one key, made once, kept secret."""

import os

import identity
import records
from identity import IdentityError

import ecdsa
from hil_tests.firmware.check import in_folder, raises

DIGEST = bytes(range(32))
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Draws:
    """A random source that returns the given keys, in turn."""

    def __init__(self, *keys):
        self.keys = list(keys)

    def __call__(self, size):
        assert size == 32
        return self.keys.pop(0)


def number(value):
    return value.to_bytes(32, "big")


def test_key_is_made_once():
    with in_folder() as folder:
        path = folder + "/identity.key"
        made = identity.load_or_create(path, os.urandom)
        again = identity.load_or_create(path, Draws())
        assert made.public_key == again.public_key
        assert made.sign(DIGEST) == again.sign(DIGEST)
        assert records.load(path) is not None


def test_signature_is_the_compact_form():
    with in_folder() as folder:
        made = identity.load_or_create(folder + "/identity.key", os.urandom)
        signature = made.sign(DIGEST)
        assert len(signature) == 64
        plain, recovery = ecdsa.expand(signature)
        assert ecdsa.recover(DIGEST, plain, recovery) == made.public_key
        assert not ecdsa.verify(bytes(32), plain, made.public_key)


def test_draws_out_of_range_are_rejected():
    with in_folder() as folder:
        path = folder + "/identity.key"
        draws = Draws(number(5), number(0), number(N), number(N + 1), b"\xff" * 32, number(N - 1))
        identity.load_or_create(path, draws)
        assert records.load(path) == number(N - 1)


def test_stuck_generator_makes_no_key():
    with in_folder() as folder:
        path = folder + "/identity.key"
        for broken in (lambda _: number(7), lambda n: bytes(n), lambda _: b"\x07"):
            with raises(IdentityError, "random"):
                identity.load_or_create(path, broken)
            assert records.load(path) is None


def test_damaged_key_is_never_replaced():
    with in_folder() as folder:
        path = folder + "/identity.key"
        identity.load_or_create(path, os.urandom)
        with open(path, "rb") as file:
            good = file.read()
        for at in range(0, len(good), 7):
            bad = bytearray(good)
            bad[at] ^= 4
            with open(path, "wb") as file:
                file.write(bad)
            with raises(IdentityError, "damaged"):
                identity.load_or_create(path, Draws())
            with open(path, "rb") as file:
                assert file.read() == bytes(bad)
        for key in (b"\0", number(0), number(N), number(5) + b"\0"):
            records.save(path, key)
            with raises(IdentityError, "no key"):
                identity.load_or_create(path, Draws())


def test_nothing_secret_is_shown():
    with in_folder() as folder:
        path = folder + "/identity.key"
        made = identity.load_or_create(path, os.urandom)
        secret = int.from_bytes(records.load(path), "big")
        for text in (repr(made), str(made)):
            assert len(text) < 40
            assert ("%x" % secret)[:8] not in text
        records.save(path, records.load(path) + b"\0")
        try:
            identity.load_or_create(path, Draws())
        except IdentityError as error:
            text = str(error)
        assert ("%x" % secret)[:8] not in text
        assert str(secret)[:8] not in text
