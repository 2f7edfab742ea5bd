"""Give short names to what no other module calls, before the firmware is compiled.

On a meter every distinct name takes some 20 bytes of heap, and past 620 the table of names
doubles. A module's private functions, attributes and values become `_a`, `_b` ... here, arguments
`a`, `b` ...: the same in every module. A traceback then tells the module and a short name, and

    python -m parwana.image control _c

tells what that is in the sources at hand.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from itertools import product
from string import ascii_lowercase
from typing import Any

from parwana.image.constants import Change, replaced

_PRIVATE = re.compile(r"_[A-Za-z]\w+$")  # not a short name already
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef)
_FUNCTIONS = (*_NAMED, ast.Lambda)
_WORDS = ("as", "if", "in", "is", "or")


def shorten(sources: dict[str, str]) -> dict[str, str]:
    """Return {path within a slot: source} with short names; lines stay where they are."""
    trees = {path: ast.parse(text) for path, text in sources.items()}
    given = _given(trees)
    keywords = {"self", "cls"}
    for tree in trees.values():
        keywords |= {node.arg for node in _all(tree, ast.keyword)}
    return {
        path: replaced(sources[path], [*_renamed(tree, given[path]), *_arguments(tree, keywords)])
        for path, tree in trees.items()
    }


def meaning(sources: dict[str, str], module: str, short: str) -> str | None:
    """Return what a short name stands for in a module, None if nothing."""
    trees = {path: ast.parse(text) for path, text in sources.items()}
    for path, given in _given(trees).items():
        if path.removeprefix("lib/").removesuffix(".py").replace("/", ".") == module:
            return next((name for name in given if given[name] == short), None)
    return None


def _given(trees: dict[str, ast.Module]) -> dict[str, dict[str, str]]:
    """Return {path: {private name: short name}}."""
    kept = set[str]().union(*(_known_outside(tree) for tree in trees.values()))
    return {path: dict(_short(tree, kept)) for path, tree in trees.items()}


def _all(tree: ast.AST, kind: type[ast.AST]) -> list[Any]:
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def _known_outside(tree: ast.Module) -> set[str]:
    """Find what somebody may reach by its name: imported, in a text, or of another object."""
    known = {node.attr for node in _all(tree, ast.Attribute) if not _of_self(node)}
    known |= {name for node in _all(tree, ast.alias) for name in (node.name, node.asname) if name}
    known |= {node.value for node in _all(tree, ast.Constant) if isinstance(node.value, str)}
    bases = [base for node in _all(tree, ast.ClassDef) for base in node.bases]
    if not all(isinstance(base, ast.Name) and hasattr(builtins, base.id) for base in bases):
        known |= {node.attr for node in _all(tree, ast.Attribute)}  # shared with the base
    return known


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _short(tree: ast.Module, kept: set[str]) -> Iterator[tuple[str, str]]:
    """Name a module's private names anew, each in all its places."""
    functions = {node.name for node in ast.walk(tree) if isinstance(node, _NAMED)}
    names = {node.id for node in _all(tree, ast.Name)}
    attributes = {node.attr for node in _all(tree, ast.Attribute) if _of_self(node)}
    kept = kept | {node.arg for node in _all(tree, ast.arg)}
    kept |= {node.name for node in _all(tree, ast.ClassDef) + _all(tree, ast.ExceptHandler)}
    kept |= {name for node in _all(tree, ast.Global) for name in node.names}
    letters = _letters("_", functions | names | attributes | kept)
    for name in sorted((functions | names | attributes) - kept):
        if _PRIVATE.match(name):
            yield name, next(letters)


def _renamed(tree: ast.Module, given: dict[str, str]) -> Iterator[Change]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if name in given:
                yield node, given[name]
            case ast.Attribute(attr=name) if name in given:
                end = node.end_col_offset or 0
                yield _at(node.end_lineno or 0, end - len(name), end), given[name]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name in given:
                word = "def " if isinstance(node, ast.FunctionDef) else "async def "
                start = node.col_offset + len(word)
                yield _at(node.lineno, start, start + len(name)), given[name]


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
