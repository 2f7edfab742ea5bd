"""Repeat an operation, or tell what garbage it makes."""

import gc


def repeat(function, times):
    """times: how often, or "garbage" to print the bytes that one call leaves."""
    gc.collect()
    if times == "garbage":
        function()
        gc.collect()
        gc.disable()
        before = gc.mem_alloc()
        function()
        print(gc.mem_alloc() - before)
        return
    for _ in range(int(times)):
        function()
