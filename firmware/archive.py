"""Import the firmware from its slot's file. Flashed as /archive.mpy.

A slot is one file, an archive of compiled modules; docs/architecture.md has its form. It is
mounted where the slot's folder would be, so that an import finds its module in memory: to look for
a name in a folder takes littlefs dozens of reads, and an import looks for several.
"""

import io
import os
import sys
import vfs

_FOLDER = (0x4000,) + (0,) * 9
_FILE = (0x8000,) + (0,) * 9
_HEAD = 32


class _Module(io.IOBase):
    """A module in the archive, whose file stays open for the next."""

    def __init__(self, file):
        self._file = file

    def readinto(self, buffer):
        return self._file.readinto(buffer)

    def ioctl(self, _request, _argument):
        return 0


class _Archive:
    """A slot's file as a file system: modules are imported from it, and it lists nothing."""

    def __init__(self, path):
        self._file = file = open(path, "rb")  # noqa: SIM115
        head = file.read(_HEAD).split()
        if head[:2] != [b"parwana-slot", b"1"] or file.seek(0, 2) != int(head[3]):
            raise OSError(22)
        file.seek(_HEAD)
        self._index = file.read(int(head[2])).decode()

    def mount(self, _readonly, _mkfs):
        pass

    def umount(self):
        pass

    def stat(self, path):
        if self._find(path, " ") >= 0:
            return _FILE
        if self._find(path, "/") >= 0:
            return _FOLDER
        raise OSError(2)

    def ilistdir(self, _path):
        return iter(())

    def open(self, path, _mode):
        place = self._find(path, " ")
        self._file.seek(int(self._index[place : self._index.find("\n", place)]))
        return _Module(self._file)

    def _find(self, path, after):
        """Return where what follows a path in the index begins, -1 if it is not in it."""
        wanted = "\n" + path[1:] + after
        place = self._index.find(wanted)
        return place if place < 0 else place + len(wanted)


def open_slot(slot):
    """Have imports look into a slot, "a" or "b": its archive, or its folder."""
    path = "/" + slot
    try:
        vfs.umount(path)
    except OSError:
        pass  # it is not mounted
    sys.path[:] = [path, path + "/lib", ".frozen"]
    try:
        os.stat(path + ".fw")
    except OSError:
        sys.path[2:] = ["", ".frozen", "/lib"]  # a folder, of one who tries something out
    else:
        vfs.mount(_Archive(path + ".fw"), path)


def close():
    """Free what only imports need; there are none from then on."""
    try:
        vfs.umount(sys.path[0])
    except OSError:
        pass  # a folder
    del sys.modules["archive"]
