"""Print bytes of heap: memory.py LIBRARY SIGNATURE PUBLIC_KEY

Kept by the import and the first use, then the garbage of a signature, of its verification, and of
that with a prepared key.
"""

import gc
import sys
from gc import mem_alloc  # type: ignore[attr-defined]

sys.path.insert(0, sys.argv[1])
signature = bytes.fromhex(sys.argv[2])
public_key = bytes.fromhex(sys.argv[3])
DIGEST = b"d" * 32
KEY = b"k" * 32


def allocated():
    gc.collect()
    return mem_alloc()


before = allocated()
import ecdsa  # noqa: E402

prepared = ecdsa.prepare(public_key)
sys.modules.pop("ecdsa.portable", None)
ecdsa.sign(DIGEST, KEY)
ecdsa.verify(DIGEST, signature, public_key)


def garbage(function, *arguments):
    gc.collect()
    gc.disable()
    start = mem_alloc()
    function(*arguments)
    end = mem_alloc()
    gc.enable()
    return end - start


signing = garbage(ecdsa.sign, DIGEST, KEY)
verifying = garbage(ecdsa.verify, DIGEST, signature, public_key)
verifying_prepared = garbage(ecdsa.verify, DIGEST, signature, prepared)
prepared = None
print(ecdsa.backend, allocated() - before, signing, verifying, verifying_prepared)
