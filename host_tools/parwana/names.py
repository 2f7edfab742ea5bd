"""Give short names to what nobody outside needs to call by name, before the firmware is compiled.

On a meter every distinct name takes some 20 bytes of heap, and past 620 the table of names
doubles. A module's private attributes and values become `_a`, `_b` ... here, the arguments of its
functions `a`, `b` ...: the same in every module. Functions keep their names, for tracebacks.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from itertools import product
from string import ascii_lowercase
from typing import Any

from parwana.constants import Change, replaced

_PRIVATE = re.compile(r"_[A-Za-z]\w+$")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_WORDS = ("as", "if", "in", "is", "or")


def shorten(sources: dict[str, str]) -> dict[str, str]:
    """Return {path within a slot: source} with short names; lines stay where they are."""
    trees = {path: ast.parse(text) for path, text in sources.items()}
    kept, keywords = {"self", "cls"}, {"self", "cls"}
    for tree in trees.values():
        kept |= _known_outside(tree)
        keywords |= {node.arg for node in _all(tree, ast.keyword)}
    return {
        path: replaced(sources[path], [*_privates(tree, kept), *_arguments(tree, keywords)])
        for path, tree in trees.items()
    }


def _all(tree: ast.AST, kind: type[ast.AST]) -> list[Any]:
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def _known_outside(tree: ast.Module) -> set[str]:
    """Find what somebody may reach by its name: imported, in a text, or of another object."""
    known = {node.attr for node in _all(tree, ast.Attribute) if not _of_self(node)}
    known |= {node.name for node in _all(tree, ast.alias)}
    known |= {node.value for node in _all(tree, ast.Constant) if isinstance(node.value, str)}
    bases = [base for node in _all(tree, ast.ClassDef) for base in node.bases]
    if not all(isinstance(base, ast.Name) and hasattr(builtins, base.id) for base in bases):
        known |= {node.attr for node in _all(tree, ast.Attribute)}  # shared with the base
    return known


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _privates(tree: ast.Module, kept: set[str]) -> Iterator[Change]:
    """Rename the attributes that a module's objects set on themselves, and values set once."""
    defined = {node.name for node in ast.walk(tree) if hasattr(node, "name")}
    defined |= {node.arg for node in _all(tree, ast.arg)}
    within = [name for node in _all(tree, ast.ClassDef) for name in _all(node, ast.Name)]
    attributes = [node for node in _all(tree, ast.Attribute) if _of_self(node)]
    given = _short(
        {node.attr for node in attributes if isinstance(node.ctx, ast.Store)},
        {node.attr for node in attributes},
        kept | defined | {node.id for node in within if isinstance(node.ctx, ast.Store)},
    )
    for node in attributes:
        if node.attr in given:
            end = node.end_col_offset
            yield _at(node.end_lineno, end - len(node.attr), end), given[node.attr]
    names = _all(tree, ast.Name)
    stored = [node.id for node in names if isinstance(node.ctx, ast.Store)]
    targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
    values = {target.id for target in targets if isinstance(target, ast.Name)}
    given = _short(
        {name for name in values if stored.count(name) == 1},
        {node.id for node in names},
        kept | defined,
    )
    yield from ((node, given[node.id]) for node in names if node.id in given)


def _short(names: set[str], taken: set[str], kept: set[str]) -> dict[str, str]:
    letters = _letters("_", taken | kept)
    return {name: next(letters) for name in sorted(names - kept) if _PRIVATE.match(name)}


def _arguments(tree: ast.Module, kept: set[str]) -> Iterator[Change]:
    """Rename in functions that hold no other function: there a name means one thing."""
    for function in ast.walk(tree):
        if not isinstance(function, _FUNCTIONS):
            continue
        body = [function.body] if isinstance(function, ast.Lambda) else function.body
        inside = [node for part in body for node in ast.walk(part)]
        if any(isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Global)) for node in inside):
            continue
        used = [node for node in inside if isinstance(node, ast.Name)]
        arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        letters = _letters("", {node.id for node in used} | {a.arg for a in arguments})
        other = kept | {  # of a comprehension, another variable of that name
            node.id
            for part in inside
            if isinstance(part, ast.comprehension)
            for node in _all(part.target, ast.Name)
        }
        for argument in arguments:
            if argument.arg in other or len(argument.arg) == 1:
                continue
            letter, start = next(letters), argument.col_offset
            yield _at(argument.lineno, start, start + len(argument.arg)), letter
            yield from ((node, letter) for node in used if node.id == argument.arg)


def _at(line: int, start: int, end: int) -> ast.Name:
    """Return a node for a name that is part of another one."""
    place = {"lineno": line, "end_lineno": line, "col_offset": start, "end_col_offset": end}
    return ast.Name("", ast.Load(), **place)


def _letters(start: str, taken: set[str]) -> Iterator[str]:
    for length in (1, 2):
        for letters in product(ascii_lowercase, repeat=length):
            name = start + "".join(letters)
            if name not in taken and name not in _WORDS:
                yield name
