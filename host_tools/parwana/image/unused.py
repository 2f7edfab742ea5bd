"""Leave out of a slot the functions and namedtuples that nothing on a meter uses, as linkers do.

The codec packs what only the host sends, and some modules offer what only their tests use. Here a
function counts as used if its name is read anywhere outside itself, whoever it belongs to.
"""

import ast
from collections.abc import Iterator
from pathlib import PurePosixPath

from parwana.image.constants import Change, replaced

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def drop(sources: dict[str, str], called: frozenset[str]) -> dict[str, str]:
    """Return {path within a slot: source} without unused functions; the other lines stay.

    `called` are the names that somebody uses from outside.
    """
    while True:
        trees = {path: ast.parse(text) for path, text in sources.items()}
        used = called.union(*(_used(path, tree) for path, tree in trees.items()))
        kept = {p: replaced(sources[p], _changes(tree, used)) for p, tree in trees.items()}
        if kept == sources:
            return sources
        sources = kept  # what only an unused function called is unused now


def _used(path: str, tree: ast.AST, within: frozenset[str] = frozenset()) -> Iterator[str]:
    """Find the names that are read, but for a function's own within itself."""
    for node in ast.iter_child_nodes(tree):
        inner = within | {node.name} if isinstance(node, _Function) else within
        names: list[str] = []
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                names = [name]
            case ast.ImportFrom() if PurePosixPath(path).name != "__init__.py":
                names = [alias.name for alias in node.names]
        yield from (name for name in names if name not in within)
        yield from _used(path, node, inner)


def _changes(tree: ast.Module, used: frozenset[str]) -> Iterator[Change]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for body in (tree.body, *(node.body for node in classes)):
        for node in body:
            if isinstance(node, _Function) and _unused(node.name, used):
                yield node, "pass"
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="namedtuple"))
            ) if _unused(name, used):
                yield node, "pass"
        if isinstance(node, ast.ImportFrom):
            kept = [alias.name for alias in node.names if not _unused(alias.name, used)]
            if len(kept) < len(node.names):
                where = "." * node.level + (node.module or "")
                yield node, f"from {where} import {', '.join(kept)}" if kept else "pass"


def _unused(name: str, used: frozenset[str]) -> bool:
    return name not in used and name != "*" and not name.startswith("__")
