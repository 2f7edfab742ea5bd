"""Turn what an audit knows into JSON and back, by the types that it is declared with."""

import types
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """Return a value of dataclasses, containers, bytes, numbers and text as JSON has it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return [[plain(key), plain(one)] for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, set):
        return sorted(plain(one) for one in value)
    if is_dataclass(value):
        return [plain(getattr(value, field.name)) for field in fields(value)]
    return value


def typed(kind: Any, found: Any) -> Any:
    """Return what `plain` made of a value of this type. Raises ValueError, TypeError."""
    origin, of = get_origin(kind), get_args(kind)
    if kind is bytes:
        return bytes.fromhex(found)
    if origin is dict:
        return {typed(of[0], key): typed(of[1], one) for key, one in found}
    if origin in (list, set):
        return origin(typed(of[0], one) for one in found)
    if origin is tuple:
        return tuple(typed(part, one) for part, one in zip(of, found, strict=True))
    if origin in (Union, types.UnionType):
        return None if found is None else typed(of[0], found)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        pairs = zip(names, found, strict=True)
        return kind(**{name: typed(hints[name], one) for name, one in pairs})  # type: ignore[operator]
    if kind is not Any and not isinstance(found, kind):
        raise TypeError(f"{found!r:.40} is no {kind.__name__}")
    return found


def kept(of: Any) -> dict[str, Any]:
    """Return the attributes that an object names in KEPT, as JSON has them."""
    return {name: plain(getattr(of, name)) for name in of.KEPT}


def restore(of: Any, found: dict[str, Any]) -> None:
    """Put back what `kept` gave. Raises ValueError, TypeError, KeyError."""
    hints = get_type_hints(type(of))
    for name in of.KEPT:
        value, place = typed(hints[name], found[name]), getattr(of, name)
        if isinstance(place, list):
            place[:] = value
        else:
            place.clear()
            place.update(value)
