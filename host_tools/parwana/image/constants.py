"""Put numbers in the place of their names before the firmware is compiled.

On a meter each name of a module takes 20 to 40 bytes of a small heap for good. A constant, here,
is an ALL_CAPS name that its module sets once, to an integer that fits MicroPython's small int or
to a few bytes. Lines stay where they are, so that a traceback tells the truth.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*$")
_SMALL = 1 << 30
_FEW = 8

Value = int | bytes
Change = tuple[ast.stmt | ast.expr, str]
"""A part of a source, and the text in its place."""


@dataclass
class _Module:
    name: str  # dotted, as it is imported
    package: str
    source: str
    tree: ast.Module
    values: dict[str, Value] = field(default_factory=dict)
    given: dict[str, Value] = field(default_factory=dict)  # constants that it imports by name
    modules: dict[str, str] = field(default_factory=dict)  # modules that it imports: their name


def inline(sources: dict[str, str]) -> dict[str, str]:
    """Return {path within a slot: source} without constants, nor modules of nothing else."""
    while (inlined := _inline_once(sources)) != sources:
        sources = inlined  # what was computed from constants may be one now
    return sources


def _inline_once(sources: dict[str, str]) -> dict[str, str]:
    parsed = {path: _parse(path, text) for path, text in sources.items()}
    modules = {module.name: module for module in parsed.values()}
    for module in modules.values():
        _find(module)
    for module in modules.values():
        _resolve(module, modules)
    return {
        path: replaced(module.source, _changes(module, modules))
        for path, module in parsed.items()
        if not _only_constants(module)
    }


def _parse(path: str, text: str) -> _Module:
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if parts[0] == "lib":
        del parts[0]
    package = parts[:-1]
    if parts[-1] == "__init__":
        parts = package
    return _Module(".".join(parts), ".".join(package), text, ast.parse(text))


def _find(module: _Module) -> None:
    """Find the module's own constants."""
    stored = [
        node.id
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    ]
    for statement in module.tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                if _CONSTANT.match(name) and stored.count(name) == 1:
                    number = _evaluate(value, module.values)
                    if number is not None:
                        module.values[name] = number


def _evaluate(node: ast.expr, known: dict[str, Value]) -> Value | None:
    """Return the value of an expression, None if it is no constant that may be inlined."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return node.value if len(node.value) <= _FEW else None
    for inner in ast.walk(node):
        match inner:
            case ast.Constant(value=value) if type(value) is int:
                pass
            case ast.Name(id=name) if type(known.get(name)) is int:
                pass
            case ast.BinOp() | ast.UnaryOp() | ast.operator() | ast.unaryop() | ast.Load():
                pass
            case _:
                return None
    number = eval(compile(ast.Expression(node), "constant", "eval"), {}, dict(known))
    return number if type(number) is int and -_SMALL <= number < _SMALL else None


def _resolve(module: _Module, modules: dict[str, _Module]) -> None:
    """Find out which of the module's names are modules and imported constants."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in modules:
                    module.modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                if inner in modules:
                    module.modules[alias.name] = inner
                else:
                    value = _lookup(modules, origin, alias.name)
                    if value is not None:
                        module.given[alias.name] = value


def _origin(module: _Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    return f"{module.package}.{node.module}" if node.module else module.package


def _lookup(modules: dict[str, _Module], name: str, constant: str) -> Value | None:
    """Return a constant of a module, or of what that module imports everything from."""
    module = modules.get(name)
    if module is None:
        return None
    if constant in module.values:
        return module.values[constant]
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            return _lookup(modules, _origin(module, node), constant)
    return None


def _only_constants(module: _Module) -> bool:
    return bool(module.values) and all(
        _is_constant(module, node) or _is_docstring(node) for node in module.tree.body
    )


def _is_constant(module: _Module, node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in module.values
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _changes(module: _Module, modules: dict[str, _Module]) -> Iterator[Change]:
    """Find what to replace, and by what."""
    dropped = [node for node in module.tree.body if _is_constant(module, node)]
    inside = {id(inner) for node in dropped for inner in ast.walk(node)}
    yield from ((node, "pass") for node in dropped)
    known = {**module.given, **module.values}
    for node in ast.walk(module.tree):
        if id(node) in inside:
            continue
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name in known:
                yield node, _text(known[name])
            case ast.Attribute(value=ast.Name(id=base), attr=name, ctx=ast.Load()):
                if base in module.modules:
                    value = _lookup(modules, module.modules[base], name)
                    if value is not None:
                        yield node, _text(value)
            case ast.ImportFrom():
                kept = _still_needed(module, modules, node)
                if len(kept) < len(node.names):
                    where = "." * node.level + (node.module or "")
                    yield node, f"from {where} import {', '.join(kept)}" if kept else "pass"


def _still_needed(module: _Module, modules: dict[str, _Module], node: ast.ImportFrom) -> list[str]:
    origin = _origin(module, node)
    kept = []
    for alias in node.names:
        gone = modules.get(origin if alias.name == "*" else f"{origin}.{alias.name}")
        if alias.name not in module.given and not (gone and _only_constants(gone)):
            kept.append(alias.name)
    return kept


def replaced(source: str, changes: Iterable[Change]) -> str:
    """Return the source with its changes made; every line keeps its number."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for node, text in sorted(changes, key=lambda change: _start(change[0]), reverse=True):
        first, last = _start(node)[0] - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [before + text.encode() + after] + [b"\n"] * (last - first)
    return b"".join(lines).decode()


def _start(node: ast.stmt | ast.expr) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)]), node.col_offset


def _text(value: Value) -> str:
    return f"({value})" if isinstance(value, int) and value < 0 else repr(value)
