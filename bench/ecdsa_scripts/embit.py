"""embit.py LIBRARY sign|verify TIMES"""

import sys

sys.path[:0] = [sys.argv[1], sys.argv[0].rsplit("/", 1)[0] + "/shims"]
import key as embit  # noqa: E402
from measure import repeat  # noqa: E402

digest = bytes(range(32))
private = embit.ECKey()
private.set(bytes(range(1, 33)), False)
if sys.argv[2] == "sign":
    assert private.sign_ecdsa(digest)
    repeat(lambda: private.sign_ecdsa(digest), sys.argv[3])
else:
    public = private.get_pubkey()
    public.p = embit.SECP256K1.affine(public.p)
    signature = private.sign_ecdsa(digest)
    assert public.verify_ecdsa(signature, digest)
    repeat(lambda: public.verify_ecdsa(signature, digest), sys.argv[3])
