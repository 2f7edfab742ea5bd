"""Processes that are killed between two lines: where they are told to be, and nowhere else."""

from pathlib import Path

from hil_tests.kills import Killable


def writes(path: Path) -> int:
    for _ in range(2):
        with path.open("a") as file:
            file.write("a line\n")
        print("written")
        _ = 1 + 1
    return 3


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_a_place_comes_after_each_thing_that_is_done(tmp_path: Path) -> None:
    path = tmp_path / "there" / "file"
    path.parent.mkdir()
    program = Killable(writes, [path], [__name__], path.parent)
    whole = program.run({}, tmp_path / "whole")
    assert (whole.code, whole.said, lines(path)) == (3, "written\n" * 2, 2)
    left = []
    for place in whole.places:
        path.unlink(missing_ok=True)
        ended = program.run({}, tmp_path / "ended", place)
        assert (ended.code, ended.places) == (-9, [])
        left.append((path.exists(), lines(path)))
    # Before all, when the file is open, when it is written; the second time it is there already.
    assert left == [(False, 0), (True, 0), (True, 1), (True, 2)]


def test_a_place_that_it_does_not_come_to_ends_nothing(tmp_path: Path) -> None:
    program = Killable(writes, [tmp_path / "file"], [__name__], tmp_path / "none")
    assert program.run({}, tmp_path / "ended", (__name__, 1, 1)).code == 3
