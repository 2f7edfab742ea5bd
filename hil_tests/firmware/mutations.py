"""Have each parser of the table read mutated inputs: mutations.py INPUTS SEED [PARSER ...]"""

import gc
import io
import sys

_HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
if __name__ == "__main__":
    root = _HERE + "/../.."
    sys.path[:0] = [_HERE, root, root + "/firmware", root + "/firmware/lib"]

if not hasattr(sys, "print_exception"):
    import traceback

import json  # noqa: E402
from binascii import hexlify, unhexlify  # noqa: E402

from hil_tests.firmware import flashparsers, parsers  # noqa: E402
from hil_tests.firmware.check import VECTORS, Dice, in_folder  # noqa: E402


def found_before():
    """Return what was found, as (parser, input)."""
    with open(VECTORS + "found.json") as file:
        return [(one["parser"], unhexlify(one["input"])) for one in json.load(file)]


def feed(parser, inputs, seed):
    """Let it read so many mutations of its seeds; return how many it took, and a fault or None."""
    dice = Dice(seed)
    taken = 0
    for _ in range(inputs):
        data = parsers.mutate(dice, parser.seeds[dice.roll(len(parser.seeds))], parser.seeds)
        try:
            taken += parser.try_(data) == ""
        except Exception as error:
            return taken, {
                "parser": parser.name,
                "input": hexlify(data).decode(),
                "error": _lines(error),
            }
    return taken, None


def _lines(error):
    if hasattr(sys, "print_exception"):
        lines = io.StringIO()
        sys.print_exception(error, lines)
        return lines.getvalue()
    return "".join(traceback.format_exception(error))


def main(inputs, seed, *names):
    """Print figures as JSON: `inputs`, how many were taken as good, and the faults."""
    figures = {"inputs": 0, "taken": 0, "faults": []}
    with in_folder() as folder:
        table = parsers.parsers() + flashparsers.parsers(folder)
        table = [parser for parser in table if not names or parser.name in names]
        for parser in table:
            for good in parser.seeds:
                parser.try_(good)
            for name, data in found_before():
                if name == parser.name:
                    parser.try_(data)
            gc.collect()
            count = int(int(inputs) * parser.share)
            taken, fault = feed(parser, count, int(seed))
            figures["inputs"] += count
            figures["taken"] += taken
            if fault:
                figures["faults"].append(fault)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
