"""Methods that MicroPython lacks, as functions."""


def bit_length(n):
    digits = "{:x}".format(abs(n))  # noqa: UP032  (f-strings cannot format big integers here)
    first = int(digits[0], 16)
    return 4 * len(digits) - (0 if first > 7 else 1 if first > 3 else 2 if first > 1 else 3)


def zfill(text, width):
    return "0" * (width - len(text)) + text
