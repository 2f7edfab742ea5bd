"""own.py LIBRARY sign|verify|prepared|public_key|decompress|recover|prepare TIMES"""

import sys

sys.path.insert(0, sys.argv[1])
from measure import repeat  # noqa: E402

import ecdsa  # noqa: E402

key = bytes(range(1, 33))
digest = bytes(range(32))
name = sys.argv[2]
function = getattr(ecdsa, "verify" if name == "prepared" else name)
if name == "sign":
    arguments = digest, key
elif name == "public_key":
    arguments = (key,)
else:
    signature, recovery = ecdsa.sign(digest, key)
    public_key = ecdsa.public_key(key)
    if name == "verify":
        arguments = digest, signature, public_key
    elif name == "prepared":
        arguments = digest, signature, ecdsa.prepare(public_key)
        sys.modules.pop("ecdsa.portable", None)
    elif name == "recover":
        arguments = digest, signature, recovery
    elif name == "decompress":
        arguments = (bytes([2 + (public_key[63] & 1)]) + public_key[:32],)
    else:
        arguments = (public_key,)
repeat(function, arguments, sys.argv[3])
