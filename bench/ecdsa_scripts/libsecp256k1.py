"""libsecp256k1.py LIBRARY sign|verify TIMES: the C library, called from MicroPython."""

import sys

import ffi

sys.path.insert(0, sys.argv[0].rsplit("/", 1)[0] + "/shims")
from measure import repeat  # noqa: E402

library = ffi.open(sys.argv[1])
sign = library.func("i", "secp256k1_ecdsa_sign", "pppppp")
verify = library.func("i", "secp256k1_ecdsa_verify", "pppp")
context = library.func("p", "secp256k1_context_create", "I")(1)
key = bytes(range(1, 33))
digest = bytes(range(32))
public_key = bytearray(64)
signature = bytearray(64)
assert library.func("i", "secp256k1_ec_pubkey_create", "ppp")(context, public_key, key) == 1
assert sign(context, signature, digest, key, None, None) == 1
assert verify(context, signature, digest, public_key) == 1
if sys.argv[2] == "sign":
    repeat(lambda: sign(context, signature, digest, key, None, None), sys.argv[3])
else:
    repeat(lambda: verify(context, signature, digest, public_key), sys.argv[3])
