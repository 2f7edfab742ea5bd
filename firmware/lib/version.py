"""State the version of the firmware, once, and when it was built."""

VERSION = "0.1.0"
BUILT_S = 1735689600  # the build puts the time of the source's last commit here, where it knows it


def number():
    """Return the version as major * 65536 + minor * 256 + patch."""
    major, minor, patch = (int(part) for part in VERSION.split("."))
    return major << 16 | minor << 8 | patch
