"""ecdsa with whichever backend is chosen: published vectors, edges, refusal of what is wrong."""

import json
from hashlib import sha256

import ecdsa
from ecdsa import EcdsaError
from ecdsa.curve import BETA, GX, GY, N, P, nonces, split, split_odd
from hil_tests.firmware.check import MICROPYTHON, VECTORS, raises

LAMBDA = 0x5363AD4CC05C30E0A5261C028812645A122E22EA20816678DF02967C1B23BD72
EDGES = (1, 2, 3, 4, 7, 8, 15, 16, 17, 1 << 18, 1 << 19, 1 << 114, 1 << 128, 1 << 129, 1 << 255)
DIGEST = sha256(b"a reading").digest()
KEY = sha256(b"a key").digest()


def number(value):
    return value.to_bytes(32, "big")


def scalars():
    """Edge scalars and their opposites, and those about the endomorphism and half of N."""
    near = [N // 2, N // 2 + 1, LAMBDA, LAMBDA + 1, LAMBDA - 1, N - 1 - LAMBDA]
    return list(EDGES) + [N - d for d in EDGES] + near


def signed():
    signature, recovery = ecdsa.sign(DIGEST, KEY)
    return signature, recovery, ecdsa.public_key(KEY)


def test_published_vectors():
    with open(VECTORS + "ecdsa.json") as file:
        vectors = json.load(file)["vectors"]
    assert len(vectors) == 6
    for vector in vectors:
        key = bytes.fromhex(vector["key"])
        digest = sha256(vector["message"].encode()).digest()
        assert next(nonces(digest, key, ecdsa._engine.pad)) == int(vector["k"], 16)
        signature, recovery = ecdsa.sign(digest, key)
        assert signature == bytes.fromhex(vector["signature"])
        assert ecdsa.recover(digest, signature, recovery) == ecdsa.public_key(key)


def test_edge_keys_and_digests():
    digests = [bytes(32), b"\xff" * 32] + [number(N + i) for i in (-1, 0, 1)]
    for i, d in enumerate(scalars()[:: 3 if MICROPYTHON else 1]):
        key = number(d)
        digest = digests[i % len(digests)]
        public_key = ecdsa.public_key(key)
        signature, recovery = ecdsa.sign(digest, key)
        assert int.from_bytes(signature[32:], "big") <= N // 2
        assert ecdsa.verify(digest, signature, public_key), d
        assert ecdsa.recover(digest, signature, recovery) == public_key, d
        other = bytes([digest[0] ^ 1]) + digest[1:]
        assert not ecdsa.verify(other, signature, public_key), d
        opposite = ecdsa.public_key(number(N - d))
        assert opposite[:32] == public_key[:32]
        assert int.from_bytes(opposite[32:], "big") + int.from_bytes(public_key[32:], "big") == P


def test_known_points():
    assert ecdsa.public_key(number(1)) == number(GX) + number(GY)
    assert ecdsa.public_key(number(LAMBDA)) == number(BETA * GX % P) + number(GY)


def test_prepared_key():
    for d in (1, 2, N - 1, LAMBDA, int.from_bytes(KEY, "big")):
        key = number(d)
        public_key = ecdsa.public_key(key)
        prepared = ecdsa.prepare(public_key)
        assert len(prepared) == 4160
        assert prepared[:64] == public_key
        signature, _ = ecdsa.sign(DIGEST, key)
        for form in (prepared, bytes(prepared), memoryview(b"x" + prepared)[1:]):
            assert ecdsa.verify(DIGEST, signature, form), d
            assert not ecdsa.verify(KEY, signature, form), d


def test_sums_that_the_fast_formulas_cannot_form():
    # u * G + v * Q, where a sum on the way is of equal or opposite points, or the end is infinity
    table = ecdsa._base_table()
    special = 0
    # the walk starts at G: at bit 64 it is at 2**65 * G
    for q in (1, 2, N - 1, N - 2, LAMBDA, 1 << 65, N - (1 << 65)):
        public_key = ecdsa.public_key(number(q))
        x = int.from_bytes(public_key[:32], "big")
        y = int.from_bytes(public_key[32:], "big")
        for v in (1, 5, 1 << 64, N - 1):
            for w in (0, 1, 2, N - 3):
                u = (w - v * q) % N
                p = ecdsa._engine.multiply_add(table, u, v, (x, y))
                if p is None:
                    special += 1
                    found = ecdsa._multiply_add_complete(u, v, (x, y))
                else:
                    found = ecdsa._engine.affine(p)
                if w:
                    assert found[0].to_bytes(32, "big") == ecdsa.public_key(number(w))[:32]
                else:
                    assert found is None
    assert special >= 28 + 6  # 28 of them end at infinity


def test_infinity_is_no_signature():
    r = int.from_bytes(ecdsa.sign(DIGEST, KEY)[0][:32], "big")
    digest = number(-r * int.from_bytes(KEY, "big") % N)
    public_key = ecdsa.public_key(KEY)
    for s in (1, 2, N // 2):
        signature = number(r) + number(s)
        assert not ecdsa.verify(digest, signature, public_key)
        assert not ecdsa.verify(digest, signature, ecdsa.prepare(public_key))
    with raises(EcdsaError, "no key"):
        y = ecdsa.decompress(b"\x02" + number(GX))[32:]
        assert int.from_bytes(y, "big") == GY
        # R = G, s = z: Q = (s * R - z * G) / r
        ecdsa.recover(number(5), number(GX) + number(5), 0)


def test_x_above_the_order():
    # r is the x of a point mod N; here x is N + r, which happens by chance once in 2**128.
    r = 0
    while True:
        r += 1
        try:
            ecdsa.decompress(b"\x02" + number(N + r))
        except EcdsaError:
            continue
        break
    signature = number(r) + number(12345)
    for recovery in (2, 3):
        public_key = ecdsa.recover(DIGEST, signature, recovery)
        assert ecdsa.verify(DIGEST, signature, public_key)
        assert ecdsa.verify(DIGEST, signature, ecdsa.prepare(public_key))
        assert not ecdsa.verify(KEY, signature, public_key)
        with raises(EcdsaError, "compact"):
            ecdsa.compact(signature, recovery)


def test_signature_out_of_range():
    signature, recovery, public_key = signed()
    r, s = signature[:32], signature[32:]
    zero, order, most = bytes(32), number(N), b"\xff" * 32
    high = number(N - int.from_bytes(s, "big"))
    above = number(N // 2 + 1)
    prepared = ecdsa.prepare(public_key)
    for wrong in (r + high, r + above, zero + s, r + zero, zero + zero, order + s, r + order):
        assert not ecdsa.verify(DIGEST, wrong, public_key)
        assert not ecdsa.verify(DIGEST, wrong, prepared)
        with raises(EcdsaError, "out of range"):
            ecdsa.recover(DIGEST, wrong, recovery)
    for wrong in (most + s, r + most, most + most, s + r):
        assert not ecdsa.verify(DIGEST, wrong, public_key)
    for wrong in (-1, 4, 27, None, "0"):
        with raises(EcdsaError, "out of range"):
            ecdsa.recover(DIGEST, signature, wrong)
    # x = r + N is beyond P
    with raises(EcdsaError, "out of range"):
        ecdsa.recover(DIGEST, signature, recovery | 2)


def test_recover_where_no_point_has_this_x():
    with raises(EcdsaError, "no point"):
        ecdsa.recover(DIGEST, number(5) + number(7), 0)


def calls():
    """Every function with arguments that are right; only bytes among them are to be spoilt."""
    signature, recovery, public_key = signed()
    return (
        (ecdsa.sign, (DIGEST, KEY)),
        (ecdsa.verify, (DIGEST, signature, public_key)),
        (ecdsa.verify, (DIGEST, signature, ecdsa.prepare(public_key))),
        (ecdsa.prepare, (public_key,)),
        (ecdsa.recover, (DIGEST, signature, recovery)),
        (ecdsa.public_key, (KEY,)),
        (ecdsa.decompress, (b"\x02" + number(GX),)),
        (ecdsa.compact, (signature, recovery)),
        (ecdsa.expand, (signature,)),
    )


def spoilt(arguments, change):
    """Yield the arguments with one of the byte strings changed, each in turn."""
    for i, argument in enumerate(arguments):
        if not isinstance(argument, int):
            yield arguments[:i] + (change(argument),) + arguments[i + 1 :]


def test_wrong_types():
    for wrong in (None, 5, "x" * 64, "x" * 32, "x" * 4160, [0] * 32, [0] * 64, 1.5):
        for function, right in calls():
            for arguments in spoilt(right, lambda _, wrong=wrong: wrong):
                with raises(TypeError, "is bytes, not"):
                    function(*arguments)


def test_wrong_sizes():
    shorter = (lambda b: b[:-1], lambda b: b[1:], lambda b: b[:0])
    longer = (lambda b: b + b"\x00", lambda b: b + b)
    for change in shorter + longer:
        for function, right in calls():
            for arguments in spoilt(right, change):
                with raises(EcdsaError, "bytes, not"):
                    function(*arguments)


def test_private_key_out_of_range():
    for wrong in (0, N, N + 1, (1 << 256) - 1):
        with raises(EcdsaError, "between 1 and N - 1"):
            ecdsa.sign(DIGEST, number(wrong))
        with raises(EcdsaError, "between 1 and N - 1"):
            ecdsa.public_key(number(wrong))


def test_public_key_off_the_curve():
    signature, _, public_key = signed()
    x, y = public_key[:32], public_key[32:]
    flipped = bytes([y[0]]) + y[1:31] + bytes([y[31] ^ 1])
    wrong = [x + flipped, y + x, bytes(64), number(P) + y, x + number(P), b"\xff" * 64]
    # the same point with x or y not reduced, where it still fits
    wrong += [number(1 + P) + ecdsa.decompress(b"\x02" + number(1))[32:]]
    for key in wrong:
        with raises(EcdsaError, "no point"):
            ecdsa.verify(DIGEST, signature, key)
        with raises(EcdsaError, "no point"):
            ecdsa.prepare(key)


def test_decompress():
    for d in EDGES:
        public_key = ecdsa.public_key(number(d))
        parity = public_key[63] & 1
        assert ecdsa.decompress(bytes([2 + parity]) + public_key[:32]) == public_key
        other = ecdsa.decompress(bytes([3 - parity]) + public_key[:32])
        assert other == ecdsa.public_key(number(N - d))
    x = number(GX)
    for prefix in (0, 1, 4, 5, 6, 7, 0x82, 255):
        with raises(EcdsaError, "starts with 2 or 3"):
            ecdsa.decompress(bytes([prefix]) + x)
    for big in (P, P + 1, (1 << 256) - 1):
        with raises(EcdsaError, "below P"):
            ecdsa.decompress(b"\x02" + number(big))
    for none in (0, 5):
        with raises(EcdsaError, "no point"):
            ecdsa.decompress(b"\x03" + number(none))


def test_compact_form():
    for i in range(8):
        digest = sha256(bytes([i])).digest()
        signature, recovery = ecdsa.sign(digest, KEY)
        short = ecdsa.compact(signature, recovery)
        assert len(short) == 64
        assert short[32] >> 7 == recovery
        assert ecdsa.expand(short) == (signature, recovery)
        assert ecdsa.expand(bytearray(short)) == (signature, recovery)
    with raises(EcdsaError, "no compact form"):
        ecdsa.compact(bytes(32) + b"\x80" + bytes(31), 0)
    for wrong in (2, 3, -1, None, "1"):
        with raises(EcdsaError, "recovery ids 0 and 1"):
            ecdsa.compact(signature, wrong)


def test_every_kind_of_bytes():
    signature, recovery, public_key = signed()
    for kind in (bytearray, memoryview, lambda b: memoryview(b"x" + b)[1:]):
        assert ecdsa.sign(kind(DIGEST), kind(KEY)) == (signature, recovery)
        assert ecdsa.public_key(kind(KEY)) == public_key
        assert ecdsa.verify(kind(DIGEST), kind(signature), kind(public_key))
        assert ecdsa.recover(kind(DIGEST), kind(signature), recovery) == public_key
        assert ecdsa.compact(kind(signature), 1) == ecdsa.compact(signature, 1)
        assert ecdsa.prepare(kind(public_key)) == ecdsa.prepare(public_key)
        compressed = bytes([2 + (public_key[63] & 1)]) + public_key[:32]
        assert ecdsa.decompress(kind(compressed)) == public_key


def test_corruption_is_refused():
    # Each of another signature; test_ecdsa_mass.py has all bits of 100 signatures.
    public_key = ecdsa.public_key(KEY)
    prepared = ecdsa.prepare(public_key)
    for bit in range(0, 512, 64 if MICROPYTHON else 8):
        digest = sha256(number(bit)).digest()
        signature = bytearray(ecdsa.sign(digest, KEY)[0])
        for i in range(8):
            signature[bit >> 3] ^= 1 << i
            assert not ecdsa.verify(digest, signature, prepared), bit + i
            signature[bit >> 3] ^= 1 << i
        assert ecdsa.verify(digest, signature, public_key)


def test_the_walk_is_blinded():
    first = ecdsa.sign(DIGEST, KEY)
    starts = []
    for _ in range(5):
        assert ecdsa.sign(DIGEST, KEY) == first
        b, start = ecdsa._start
        starts.append(start if isinstance(start, tuple) else bytes(start))
        p = ecdsa._engine.affine(start)
        ecdsa_point = ecdsa.public_key(number(b))
        assert number(p[0]) + number(p[1]) == ecdsa_point
    assert len(set(starts)) == 5
    ecdsa._start = None
    assert ecdsa.sign(DIGEST, KEY) == first


class WithoutNoise:
    """A board without os.urandom."""


def test_without_hardware_noise():
    first = ecdsa.sign(DIGEST, KEY)
    kept = ecdsa.os
    try:
        ecdsa.os = WithoutNoise()
        ecdsa._start = None
        assert ecdsa.sign(DIGEST, KEY) == first
    finally:
        ecdsa.os = kept


def test_split():
    hashes = [int.from_bytes(sha256(number(i)).digest(), "big") % N for i in range(50)]
    for k in [0] + scalars() + hashes:
        a, b = split(k)
        assert (a + b * LAMBDA - k) % N == 0
        assert max(abs(a), abs(b)) < 1 << 129
        a, b = split_odd(k)
        assert (a + b * LAMBDA - k) % N == 0
        assert a & b & 1
        assert max(abs(a), abs(b)) < 1 << 131


def test_inverse():
    for m in (P, N):
        for a in (0, 1, 2, 3, m - 1, m - 2, m // 2, m, m + 5, 1 << 255, (1 << 256) - 1):
            b = ecdsa._engine.inverse(a, m)
            assert 0 <= b < m
            assert a * b % m == (1 if a % m else 0)


def test_it_says_which_backend():
    assert ecdsa.backend in ("fast", "portable")
    assert (ecdsa.reason == "") == (ecdsa.backend == "fast")
    print("ecdsa is", ecdsa.backend, ecdsa.reason)
