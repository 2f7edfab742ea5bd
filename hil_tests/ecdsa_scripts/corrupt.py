"""Spoil bits of signatures: corrupt.py LIBRARY FILE SIGNATURES STEP

Of each of the first lines of a file of vectors, every STEP-th bit, starting one further each time.
"""

import sys

sys.path.insert(0, sys.argv[1])

import ecdsa  # noqa: E402

refused = 0
step = int(sys.argv[4])
with open(sys.argv[2]) as file:
    for n in range(int(sys.argv[3])):
        fields = file.readline().split()
        digest = bytes.fromhex(fields[0])
        signature = bytearray(bytes.fromhex(fields[2]))
        public_key = bytes.fromhex(fields[4])
        # one key for all, or the time would go into preparing keys
        prepared = ecdsa.prepare(public_key) if step == 1 else public_key
        for bit in range(n % step, 512, step):
            signature[bit >> 3] ^= 1 << (bit & 7)
            assert not ecdsa.verify(digest, signature, prepared), (n, bit)
            signature[bit >> 3] ^= 1 << (bit & 7)
            refused += 1
        assert ecdsa.verify(digest, signature, prepared), n
print(ecdsa.backend, "refused", refused)
