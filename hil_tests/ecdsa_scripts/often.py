"""Do one thing often: often.py LIBRARY sign|verify|both TIMES SIGNATURE PUBLIC_KEY"""

import sys

sys.path.insert(0, sys.argv[1])
import ecdsa  # noqa: E402

DIGEST = b"d" * 32
KEY = b"k" * 32
signature = bytes.fromhex(sys.argv[4])
public_key = bytes.fromhex(sys.argv[5])
for _ in range(int(sys.argv[3])):
    if sys.argv[2] != "verify":
        assert ecdsa.sign(DIGEST, KEY)[0] == signature
    if sys.argv[2] != "sign":
        assert ecdsa.verify(DIGEST, signature, public_key)
print("done")
