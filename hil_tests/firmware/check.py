"""Help the tests of this folder: what pytest offers and MicroPython lacks."""

import os
import sys
import time

_HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
VECTORS = _HERE + "/../vectors/"
MICROPYTHON = sys.implementation.name == "micropython"


class raises:
    """Demand that the block raises `error`, with `words` in its message."""

    def __init__(self, error, words=""):
        self.error = error
        self.words = words

    def __enter__(self):
        return self

    def __exit__(self, error_type, error, _):
        assert error_type is not None, f"{self.error.__name__} was not raised"
        if not issubclass(error_type, self.error):
            return False
        assert self.words in str(error), f"{repr(self.words)} is not in {repr(str(error))}"
        return True


class in_folder:
    """Lend the block a new, empty folder, and remove it with all it holds."""

    _made = 0

    def __enter__(self):
        in_folder._made += 1
        # The address tells apart processes that run side by side; MicroPython has no getpid.
        self.path = f"/tmp/parwana-{id(self)}-{time.time_ns()}-{in_folder._made}"
        os.mkdir(self.path)
        return self.path

    def __exit__(self, *_):
        remove(self.path)


def remove(path):
    """Remove a folder with all it holds."""
    for name in os.listdir(path):
        try:
            os.remove(path + "/" + name)
        except OSError:
            remove(path + "/" + name)
    os.rmdir(path)


class Dice:
    """A linear congruential generator: the same numbers everywhere. Source: Numerical Recipes."""

    def __init__(self, seed):
        self._x = seed

    def roll(self, sides):
        self._x = (self._x * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self._x >> 16) % sides
