"""Help the tests of this folder: what pytest offers and MicroPython lacks."""

import sys

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
