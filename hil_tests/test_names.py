"""The firmware is compiled with short names for what no other module calls, the same program."""

import ast
from pathlib import Path

import pytest

from parwana import firmware
from parwana.names import shorten


def shortened(source: str) -> str:
    return shorten({"a.py": source})["a.py"]


def test_attributes_values_and_arguments_become_letters() -> None:
    source = (
        "_LIMITS = (1, 2)\n"
        "class C:\n"
        "    def __init__(self, power_dw):\n"
        "        self._power_dw = power_dw\n"
        "    def over(self, limit_dw):\n"
        "        return self._power_dw > limit_dw + _LIMITS[0]\n"
    )
    assert shortened(source) == (
        "_a = (1, 2)\n"
        "class C:\n"
        "    def __init__(self, a):\n"
        "        self._a = a\n"
        "    def over(self, a):\n"
        "        return self._a > a + _a[0]\n"
    )


def test_what_another_module_reaches_keeps_its_name() -> None:
    sources = {
        "a.py": "_TABLE = [1]\nclass C:\n    def __init__(self):\n        self._seen = _TABLE\n",
        "b.py": "import a\nprint(a._TABLE, a.C()._seen)\n",
    }
    assert shorten(sources) == sources


def test_a_letter_in_use_is_not_given_twice() -> None:
    assert shortened("def f(first):\n    a = 1\n    return a + first\n") == (
        "def f(b):\n    a = 1\n    return a + b\n"
    )
    assert shortened("def _a(): pass\n_LIST = []\nprint(_a, _LIST)\n") == (
        "def _a(): pass\n_b = []\nprint(_a, _b)\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        "def _function(): pass\n_function()\n",  # a traceback shows it
        "def f(size): pass\nf(size=1)\n",
        "def f(size):\n    def g():\n        return size\n    return g\n",
        "def f(size):\n    return [size for size in size]\n",
        "class C:\n    _count = 0\n    def f(self):\n        self._count += 1\n",
        "class C:\n    def f(self):\n        self._x1 = 1\n        return getattr(self, '_x1')\n",
        "class C:\n    def _step(self): pass\n    def f(self):\n        self._step = 1\n",
        "import base\nclass C(base.B):\n    def f(self):\n        self._shared = 1\n",
        "class C:\n    def f(self):\n        self.public = 1\n",
        "_STATE = 1\ndef f():\n    global _STATE\n    _STATE = 2\n",
        "_NAME = 1\ndef f():\n    def _NAME(): pass\n    return _NAME\n",
    ],
)
def test_the_rest_stays(source: str) -> None:
    assert shortened(source) == source


def test_the_base_in_another_module_keeps_its_attributes_too() -> None:
    sources = {
        "a.py": "class B:\n    def f(self):\n        self._shared = 1\n",
        "b.py": "from a import B\nclass C(B):\n    def g(self):\n        self._shared = 2\n",
    }
    assert shorten(sources) == sources


def test_the_firmware_keeps_its_lines_and_functions() -> None:
    root = firmware.SOURCE
    sources = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.py")}
    for path, text in shorten(sources).items():
        assert text.count("\n") == sources[path].count("\n"), path
        assert _functions(text) == _functions(sources[path]), path


def _functions(text: str) -> list[tuple[str, int]]:
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef))
    return [(node.name, node.lineno) for node in functions]


def test_a_slot_is_built_with_them(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class C:\n    def __init__(self):\n        self._long = 1\n")
    (tmp_path / "two.py").write_text("import one\none.C()\n")
    assert b"_long" not in firmware.build(None, tmp_path)["one.mpy"]
