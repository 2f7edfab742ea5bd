"""The firmware is compiled with short names for what no other module calls, the same program."""

import ast
from pathlib import Path

import pytest

from parwana.image import firmware
from parwana.image.names import meaning, shorten


def shortened(source: str) -> str:
    return shorten({"a.py": source})["a.py"]


def test_functions_attributes_values_and_arguments_become_letters() -> None:
    source = (
        "_LIMITS = (1, 2)\n"
        "class C:\n"
        "    def __init__(self, power_dw):\n"
        "        self._power_dw = power_dw\n"
        "    async def _over(self, limit_dw):\n"
        "        return self._power_dw > limit_dw + _LIMITS[0]\n"
    )
    assert shortened(source) == (
        "_a = (1, 2)\n"
        "class C:\n"
        "    def __init__(self, a):\n"
        "        self._c = a\n"
        "    async def _b(self, a):\n"
        "        return self._c > a + _a[0]\n"
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
    assert shortened("_a = 1\n_LIST = []\nprint(_a, _LIST)\n") == (
        "_a = 1\n_b = []\nprint(_a, _b)\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        "def f(size): pass\nf(size=1)\n",
        "def f(size):\n    def g():\n        return size\n    return g\n",
        "def f(size):\n    return [size for size in size]\n",
        "class C:\n    def f(self):\n        self._x1 = 1\n        return getattr(self, '_x1')\n",
        "import base\nclass C(base.B):\n    def f(self):\n        self._shared = 1\n",
        "class C:\n    def f(self):\n        self.public = 1\n",
        "_STATE = 1\ndef f():\n    global _STATE\n    _STATE = 2\n",
        "try:\n    from a import T as _table\nexcept ImportError:\n    _table = None\n",
        "class _Hidden: pass\n_Hidden()\n",
        "try:\n    f()\nexcept ValueError as _error:\n    print(_error)\n",
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


def test_the_firmware_is_the_same_but_for_names() -> None:
    sources = firmware.trimmed()
    for path, text in shorten(sources).items():
        old, new = ast.parse(sources[path]), ast.parse(text)
        places = [(type(node), getattr(node, "lineno", 0)) for node in ast.walk(old)]
        assert [(type(node), getattr(node, "lineno", 0)) for node in ast.walk(new)] == places, path


@pytest.mark.long
def test_a_short_name_can_be_looked_up() -> None:
    sources = firmware.trimmed()
    long = "def _keep_clock("
    line = sources["control.py"][: sources["control.py"].index(long)].count("\n")
    short = shorten(sources)["control.py"].splitlines()[line].split("def ")[1].split("(")[0]
    assert meaning(sources, "control", short) == "_keep_clock"
    assert meaning(sources, "control", "_zz") is None
    assert meaning(sources, "no.such.module", short) is None


def test_a_slot_is_built_with_them(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class C:\n    def __init__(self):\n        self._long = 1\n")
    (tmp_path / "two.py").write_text("import one\none.C()\n")
    assert b"_long" not in firmware.build(None, tmp_path)["one.mpy"]
