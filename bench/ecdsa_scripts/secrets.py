"""The part of secrets that MicroPython lacks and the peers use."""

import os


def randbelow(limit):
    return int.from_bytes(os.urandom(40), "big") % limit
