"""starkbank.py LIBRARY sign|verify TIMES"""

import sys

sys.path.insert(0, sys.argv[1])
from ellipticcurve.curve import secp256k1  # noqa: E402
from ellipticcurve.ecdsa import Ecdsa  # noqa: E402
from ellipticcurve.math import Math  # noqa: E402
from measure import repeat  # noqa: E402


class Key:
    """What Ecdsa looks at in a private and a public key."""

    curve = secp256k1
    secret = int.from_bytes(bytes(range(1, 33)), "big")


key = Key()
signature = Ecdsa.sign("a message", key)
if sys.argv[2] == "sign":
    repeat(Ecdsa.sign, ("a message", key), sys.argv[3])
else:
    key.point = Math.multiplyGenerator(secp256k1, key.secret)
    repeat(Ecdsa.verify, ("a message", signature, key), sys.argv[3])
