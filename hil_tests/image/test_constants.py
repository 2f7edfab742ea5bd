"""The firmware is compiled without the names of its constants, and is the same program."""

import ast

import pytest

from parwana.image import firmware
from parwana.image.constants import inline


def inlined(**sources: str) -> dict[str, str]:
    """Inline modules given by their name."""
    return inline({name + ".py": text for name, text in sources.items()})


def test_numbers_take_the_place_of_names() -> None:
    out = inlined(a='"""A."""\n_X = 0x10\nY = 2\n\ndef f():\n    return _X + Y\n')
    assert out == {"a.py": '"""A."""\npass\npass\n\ndef f():\n    return 16 + 2\n'}


def test_other_modules_get_the_number_too() -> None:
    out = inline(
        {
            "lib/codes.py": "ONE = 1\nNAME = b'\\x01'\n",
            "lib/wire/codes.py": "TWO = 2\n",
            "lib/wire/__init__.py": "from .codes import *\nfrom .frames import parse\n",
            "lib/wire/frames.py": "from . import codes\nfrom .codes import TWO\n"
            "def parse():\n    return codes.TWO + TWO\n",
            "user.py": "import codes\nimport wire\n"
            "print(codes.ONE, codes.NAME, wire.TWO, wire.parse)\n",
        }
    )
    assert "lib/codes.py" not in out
    assert "lib/wire/codes.py" not in out
    assert out["lib/wire/__init__.py"] == "pass\nfrom .frames import parse\n"
    assert out["lib/wire/frames.py"] == "pass\npass\ndef parse():\n    return 2 + 2\n"
    assert out["user.py"].endswith("print(1, b'\\x01', 2, wire.parse)\n")


def test_what_is_computed_from_constants_is_one() -> None:
    out = inlined(a="A = 3\nB = 2 * A - 8\n", b="from a import B\nC = B << 1\nprint(C, B)\n")
    assert out == {"b.py": "pass\npass\nprint((-4), (-2))\n"}


@pytest.mark.parametrize(
    "source",
    [
        "X = 1\nX = 2\nprint(X)\n",
        "X = 1\n\ndef f():\n    global X\n    X = 2\n",
        "X = 1 << 30\nprint(X)\n",
        "X = 'text'\nprint(X)\n",
        "X = (1, 2)\nprint(X)\n",
        "x = 1\nprint(x)\n",
        "X = f(1)\nprint(X)\n",
        "def f():\n    X = 1\n    return X\n",
        "class C:\n    X = 1\n\nprint(C.X)\n",
    ],
)
def test_the_rest_stays(source: str) -> None:
    assert inlined(a=source) == {"a.py": source}


def test_an_import_over_lines_keeps_the_lines_after_it() -> None:
    out = inlined(a="X = 1\ndef f(): pass\n", b="from a import (\n    X,\n    f,\n)\nf(X)\n")
    assert out["b.py"] == "from a import f\n\n\n\nf(1)\n"


def test_text_that_is_not_ascii_does_not_shift_what_follows() -> None:
    assert inlined(a='X = 7\nprint("‖", X)\n')["a.py"] == 'pass\nprint("‖", 7)\n'


def test_the_firmware_keeps_its_lines_and_loses_its_constants() -> None:
    root = firmware.SOURCE
    sources = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.py")}
    out = inline(sources)
    assert set(sources) - set(out) == {"lib/wire/codes.py"}
    for path, text in out.items():
        assert text.count("\n") == sources[path].count("\n"), path
        ast.parse(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("wire", "codes"):
                assert not node.attr.isupper(), (path, node.attr)
        functions = [n.lineno for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
        before = ast.walk(ast.parse(sources[path]))
        assert functions == [n.lineno for n in before if isinstance(n, ast.FunctionDef)], path
