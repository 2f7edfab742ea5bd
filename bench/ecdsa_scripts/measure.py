"""Repeat an operation, or tell what garbage it makes.

These scripts run compiled without assertions.
"""

import gc


def repeat(function, arguments, times):
    """times: how often, or "garbage" to print the bytes that one call leaves."""
    if not function(*arguments):
        raise SystemExit("it fails")
    gc.collect()
    if times == "garbage":
        gc.disable()
        before = gc.mem_alloc()
        function(*arguments)
        print(gc.mem_alloc() - before)
        return
    for _ in range(int(times)):
        function(*arguments)
