"""What nothing on a meter calls is not on it, and everything else is."""

import pytest

from parwana.image.unused import drop

NOBODY: frozenset[str] = frozenset()


def test_a_function_that_nobody_names_goes_with_what_only_it_calls() -> None:
    source = "def f():\n    return 1\n\ndef g():\n    return f()\n\nX = 2\n"
    assert drop({"a.py": source}, NOBODY) == {"a.py": "pass\n\n\npass\n\n\nX = 2\n"}


def test_calling_itself_is_no_use() -> None:
    assert drop({"a.py": "def f(n):\n    return f(n - 1)\n"}, NOBODY) == {"a.py": "pass\n\n"}


def test_methods_and_properties_go_too_and_the_class_stays_whole() -> None:
    source = "class C:\n    @property\n    def old(self):\n        return 1\n\nC()\n"
    assert drop({"a.py": source}, NOBODY) == {"a.py": "class C:\n    pass\n\n\n\nC()\n"}


def test_namedtuples_go_too() -> None:
    source = "A = namedtuple('A', 'a')\nB = namedtuple('B', 'b')\nC = f()\nx = A(1)\n"
    out = drop({"lib/p/__init__.py": "from .t import A, B\n", "lib/p/t.py": source}, NOBODY)
    assert out["lib/p/t.py"] == "A = namedtuple('A', 'a')\npass\nC = f()\nx = A(1)\n"
    assert out["lib/p/__init__.py"] == "from .t import A\n"


def test_a_package_no_longer_offers_it() -> None:
    out = drop(
        {
            "lib/wire/__init__.py": "from .frames import (\n    pack,\n    parse,\n)\n",
            "lib/wire/frames.py": "def pack(): pass\ndef parse(): pass\n",
            "main.py": "import wire\nwire.parse()\n",
        },
        NOBODY,
    )
    assert out["lib/wire/__init__.py"] == "from .frames import parse\n\n\n\n"
    assert out["lib/wire/frames.py"] == "pass\ndef parse(): pass\n"


@pytest.mark.parametrize(
    "source",
    [
        "def f(): pass\nf()\n",
        "def f(): pass\nx = f\n",
        "class C:\n    def f(self): pass\n\ndef g(x):\n    return x.f\n\ng(C())\n",
        "class C:\n    def __init__(self): pass\n\nC()\n",
        "def called_from_outside(): pass\n",
    ],
)
def test_what_is_used_stays(source: str) -> None:
    assert drop({"a.py": source}, frozenset({"called_from_outside"})) == {"a.py": source}


def test_a_name_that_another_module_imports_stays() -> None:
    sources = {"a.py": "def f(): pass\n", "b.py": "from a import f\nx = 1\n"}
    assert drop(sources, NOBODY) == sources
