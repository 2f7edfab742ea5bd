"""ecdsa on CPython against libsecp256k1 (coincurve)."""

import random

import coincurve
import pytest

import ecdsa
from ecdsa.curve import N

EDGES = [1, 2, 3, N - 1, N - 2, N // 2, N // 2 + 1, 2**128, 2**255]


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_libsecp256k1(seed: int) -> None:
    rng = random.Random(seed)
    for d in [*EDGES, *(rng.randrange(1, N) for _ in range(40))]:
        key, digest = d.to_bytes(32, "big"), rng.randbytes(32)
        reference = coincurve.PrivateKey(key)
        signature, recovery = ecdsa.sign(digest, key)
        assert signature + bytes([recovery]) == reference.sign_recoverable(digest, hasher=None)
        public_key = reference.public_key.format(compressed=False)[1:]
        assert ecdsa.public_key(key) == public_key
        assert ecdsa.recover(digest, signature, recovery) == public_key
        assert ecdsa.decompress(reference.public_key.format()) == public_key
        assert ecdsa.verify(digest, signature, public_key)
        assert ecdsa.expand(ecdsa.compact(signature, recovery)) == (signature, recovery)
