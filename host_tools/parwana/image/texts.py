"""Say less in errors that nobody on a meter reads.

What a FrameError of the codec tells in numbers helps who packs frames on the host. On a meter it
reaches the console as one of thousands that a hostile network may cause, and takes 1.6 KB of heap.
"""

import ast

from parwana.image.constants import replaced

_ERROR = "FrameError"
_LESS = '("malformed")'


def shorten(sources: dict[str, str]) -> dict[str, str]:
    """Return {path within a slot: source} with one text for all FrameErrors that tell numbers."""
    return {path: _shortened(text) for path, text in sources.items()}


def _shortened(source: str) -> str:
    changes = [
        (node.exc, _ERROR + _LESS)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _tells(node.exc)
    ]
    return replaced(source, changes)


def _tells(call: ast.Call) -> bool:
    named = isinstance(call.func, ast.Name) and call.func.id == _ERROR
    return named and any(isinstance(argument, ast.BinOp) for argument in call.args)
