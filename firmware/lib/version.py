"""State the version of the firmware, once."""

VERSION = "0.1.0"


def number():
    """Return the version as major * 65536 + minor * 256 + patch."""
    major, minor, patch = (int(part) for part in VERSION.split("."))
    return major << 16 | minor << 8 | patch
