"""embit.py LIBRARY sign|verify TIMES"""

import sys

sys.path.insert(0, sys.argv[1])
import key as embit  # noqa: E402
from measure import repeat  # noqa: E402

digest = bytes(range(32))
private = embit.ECKey()
private.set(bytes(range(1, 33)), False)
if sys.argv[2] == "sign":
    repeat(private.sign_ecdsa, (digest,), sys.argv[3])
else:
    public = private.get_pubkey()
    public.p = embit.SECP256K1.affine(public.p)
    signature = private.sign_ecdsa(digest)
    repeat(public.verify_ecdsa, (signature, digest), sys.argv[3])
