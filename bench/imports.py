"""What each module of the firmware keeps of the heap: a program for the board, and its answer."""

import re

PROGRAM = """
import builtins, gc, sys

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
print("imports end")
"""
END = "imports end"


def costs(said: str) -> list[tuple[str, int]]:
    """Return (module, bytes that it keeps without what it imports), the largest first."""
    found = [(name, int(cost)) for name, cost in re.findall(r"^import (\S+) (-?\d+)", said, re.M)]
    return sorted(found, key=lambda item: -item[1])
