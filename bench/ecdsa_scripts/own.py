"""own.py LIBRARY sign|verify|prepared|public_key|decompress|recover|prepare TIMES"""

import sys

sys.path[:0] = [sys.argv[1], sys.argv[0].rsplit("/", 1)[0] + "/shims"]
from measure import repeat  # noqa: E402

import ecdsa  # noqa: E402

key = bytes(range(1, 33))
digest = bytes(range(32))
operation = sys.argv[2]
if operation in ("sign", "public_key"):
    public_key = None
else:
    signature, recovery = ecdsa.sign(digest, key)
    public_key = ecdsa.public_key(key)
    compressed = bytes([2 + (public_key[63] & 1)]) + public_key[:32]
prepared = ecdsa.prepare(public_key) if operation == "prepared" else None
sys.modules.pop("ecdsa.portable", None)
operations = {
    "sign": lambda: ecdsa.sign(digest, key),
    "verify": lambda: ecdsa.verify(digest, signature, public_key),
    "prepared": lambda: ecdsa.verify(digest, signature, prepared),
    "public_key": lambda: ecdsa.public_key(key),
    "decompress": lambda: ecdsa.decompress(compressed),
    "recover": lambda: ecdsa.recover(digest, signature, recovery),
    "prepare": lambda: ecdsa.prepare(public_key),
}
assert operations[operation]()
repeat(operations[operation], sys.argv[3])
