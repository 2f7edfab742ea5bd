"""libsecp256k1.py LIBRARY sign|verify TIMES: the C library, called from MicroPython."""

import sys

import ffi
from measure import repeat  # noqa: E402

library = ffi.open(sys.argv[1])
sign = library.func("i", "secp256k1_ecdsa_sign", "pppppp")
verify = library.func("i", "secp256k1_ecdsa_verify", "pppp")
context = library.func("p", "secp256k1_context_create", "I")(1)
key = bytes(range(1, 33))
digest = bytes(range(32))
public_key = bytearray(64)
signature = bytearray(64)
library.func("i", "secp256k1_ec_pubkey_create", "ppp")(context, public_key, key)
sign(context, signature, digest, key, None, None)
if sys.argv[2] == "sign":
    repeat(sign, (context, signature, digest, key, None, None), sys.argv[3])
else:
    repeat(verify, (context, signature, digest, public_key), sys.argv[3])
