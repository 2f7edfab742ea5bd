"""Check ecdsa against a file of vectors: vectors.py LIBRARY FILE EVERY

A line holds digest, key, signature, recovery id, public key, compressed key. Signatures and
verification are checked on every line, what is slower on every EVERY-th.
"""

import sys

sys.path.insert(0, sys.argv[1])

import ecdsa  # noqa: E402

checked = 0
with open(sys.argv[2]) as file:
    for line in file:
        fields = line.split()
        recovery = int(fields.pop(3))
        digest, key, signature, public_key, compressed = [bytes.fromhex(f) for f in fields]
        assert ecdsa.sign(digest, key) == (signature, recovery), line
        assert ecdsa.verify(digest, signature, public_key), line
        if checked % int(sys.argv[3]) == 0:
            assert ecdsa.public_key(key) == public_key, line
            assert ecdsa.decompress(compressed) == public_key, line
            assert ecdsa.recover(digest, signature, recovery) == public_key, line
            assert ecdsa.verify(digest, signature, ecdsa.prepare(public_key)), line
        checked += 1
print(ecdsa.backend, "checked", checked)
