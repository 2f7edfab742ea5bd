"""What each module of the firmware keeps of the heap: a program for the board, and its answer."""

import re

from parwana.image import firmware

_PROGRAM = """
import builtins, gc, micropython, sys

load = builtins.__import__
costs = []
packages = []
within = 0

def free():
    gc.collect()
    return gc.mem_free()

def measured(name, globals=None, locals=None, wanted=None, level=0):
    global within
    if level:
        name = packages[-1] + ("." + name if name else "")
    if name in sys.modules:
        return load(name, None, None, wanted, 0)
    packages.append(name.rsplit(".", 1)[0])
    outer, within, before = within, 0, free()
    module = load(name, None, None, wanted, 0)
    cost = before - free()
    packages.pop()
    if cost > within:
        costs.append((name, cost - within))
    within = outer + cost
    return module

free()
builtins.__import__ = measured
import main
builtins.__import__ = load
for name, cost in costs:
    print("import", name, cost)
micropython.qstr_info()
print("imports end")
"""
END = "imports end"
NAMES = 20 + 40 + 80 + 160 + 320
"""Names that fit MicroPython's tables, each twice the one before; the next takes 4.5 KB."""


def program() -> bytes:
    """Return a /main.py that imports the firmware and prints what each module keeps."""
    return firmware.opening("a").encode() + _PROGRAM.encode()


def costs(said: str) -> list[tuple[str, int]]:
    """Return (module, bytes that it keeps without what it imports), the largest first."""
    found = [(name, int(cost)) for name, cost in re.findall(r"^import (\S+) (-?\d+)", said, re.M)]
    return sorted(found, key=lambda item: -item[1])


def names(said: str) -> int:
    """Return how many names MicroPython keeps on the heap."""
    found = re.search(r"n_qstr=(\d+)", said)
    return int(found[1]) if found else 0
