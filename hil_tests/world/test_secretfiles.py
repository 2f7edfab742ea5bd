"""Files with secrets: nobody else ever reads them; one that others can read is refused."""

import os
import stat
from pathlib import Path

import pytest

from parwana.world import secretfiles
from parwana.world.secretfiles import SecretFileError, exposed, refuse_exposed


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_file_has_mode_600_before_it_has_a_byte(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    write = Path.write_bytes

    def spy(path: Path, data: bytes) -> int:
        seen.append((mode(path), path.stat().st_size))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", spy)
    before = os.umask(umask)
    try:
        secretfiles.create(tmp_path / "a", b"secret")
        secretfiles.replace(tmp_path / "b", b"secret")
    finally:
        os.umask(before)
    assert seen == [(0o600, 0)] * 2
    assert [mode(tmp_path / name) for name in "ab"] == [0o600] * 2


def test_what_is_replaced_loses_what_others_had(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / "a.json.new").write_text("left by a crash, for all to read")
    (tmp_path / "a.json.new").chmod(0o666)
    secretfiles.replace(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_overwrites_none(tmp_path: Path) -> None:
    secretfiles.create(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        secretfiles.create(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o660, 0o444])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "password"
    path.write_text("secret")
    path.chmod(bits)
    with pytest.raises(SecretFileError, match=f"by others; chmod 600 {path}") as caught:
        refuse_exposed(path, "the file")
    assert "secret" not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize("bits", [0o600, 0o400, 0o700])
def test_a_file_of_ones_own_is_taken(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "password"
    path.write_text("secret")
    path.chmod(bits)
    refuse_exposed(path, "the file")


def test_a_pipe_is_taken_and_so_is_what_an_access_list_lends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe", 0o644)
    assert not exposed(tmp_path / "pipe")
    lent = tmp_path / "lent"
    lent.write_text("x")
    lent.chmod(0o440)
    assert exposed(lent)
    monkeypatch.setattr(os, "listxattr", lambda _path: ["system.posix_acl_access"])
    assert not exposed(lent)
