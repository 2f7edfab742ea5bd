"""Run tests of one file under MicroPython: micropython run.py FOLDER/test_NAME.py PREFIX [LIBRARY]

Of a LIBRARY, a folder, modules are imported rather than of the firmware.
"""

import gc
import sys


def main(path, prefix, *libraries):
    """Call every function `prefix*` of the file. Returns the number of failures."""
    here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
    root = here + "/../.."
    folder, name = path.rsplit("/", 1)
    name = name[: -len(".py")]
    firmware = [root + "/firmware", root + "/firmware/lib"]
    sys.path[:0] = [folder] + list(libraries) + [root] + firmware  # noqa: RUF005
    gc.threshold(4096)  # as main.py: while it imports, and then
    module = __import__(name)
    gc.threshold(8192)
    tests = sorted(n for n in dir(module) if n.startswith(prefix))
    failed = 0
    for test in tests:
        gc.collect()
        try:
            getattr(module, test)()
        except Exception as error:
            failed += 1
            print("FAILED", test)
            sys.print_exception(error)
    gc.collect()
    print(f"{name}: {len(tests)} tests, {failed} failed, heap free {gc.mem_free()}")
    return failed if tests else 1


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
