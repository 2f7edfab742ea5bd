"""Write an export piece by piece, so that one that was broken off goes on where it was.

Beside the file stands a folder, NAME.parts, with what was asked and a piece for each meter that
is done. At the end the pieces become the file, in one rename, and the folder goes.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from parwana.export import csvfile, greenbutton, parquet
from parwana.export.selection import ExportError, Point, Span
from parwana.store.frames import SignedFrame
from parwana.store.reader import Store
from parwana.world.progress import Told

_TELL = 1000  # readings between two looks at the bar


class Format(StrEnum):
    """What --format takes."""

    CSV = "csv"
    GREEN_BUTTON = "greenbutton"
    PARQUET = "parquet"


@dataclass(frozen=True)
class Question:
    """What is asked for, as the command line says it; `until_s` None: up to now."""

    utility_id: str
    utc_offset_s: int
    format: Format
    points: list[str]  # addresses
    after_s: int
    until_s: int | None


class Export:
    """One question put to one store, which counts as it was at span.asked_s."""

    def __init__(self, question: Question, span: Span, store: Store) -> None:
        self._span, self._store = span, store
        self._feed = None
        if question.format is Format.GREEN_BUTTON:
            made = question.utility_id, question.utc_offset_s, span.asked_s
            self._feed = greenbutton.Feed(*made)

    def head(self) -> str:
        """Return what stands before the meters."""
        return self._feed.head() if self._feed else csvfile.HEAD

    def tail(self) -> str:
        """Return what stands after them."""
        return greenbutton.TAIL if self._feed else ""

    def piece(self, point: Point, seen: Callable[[SignedFrame], None]) -> Iterator[str]:
        """Give a meter's part; `seen` gets each reading. Raises StoreError."""

        def readings() -> Iterator[SignedFrame]:
            for reading in self._span.readings(self._store, point):
                seen(reading)
                yield reading

        if not self._feed:
            return csvfile.lines(point, readings())
        after_s = self._span.after_s
        before = self._store.last_reading(point.meter, after_s) if after_s else None
        return self._feed.entries(point, readings(), before)

    def text(self, points: Iterable[Point]) -> Iterator[str]:
        """Give the whole as text, for who wants no file. Raises StoreError."""
        yield self.head()
        for point in points:
            yield from self.piece(point, lambda _reading: None)
        yield self.tail()


def write(
    question: Question, store: Store, points: Sequence[Point], out: Path, now_s: int, told: Told
) -> tuple[int, Span]:
    """Write the file; return of how many readings, and the span. Raises ExportError, StoreError.

    `now_s` is the instant as of which the store counts, unless an earlier run began this one.
    """
    if out.exists():
        raise ExportError(f"{out} is there already; write another --out, or remove it")
    if question.format is Format.PARQUET:
        parquet.library()
    with _folder(out) as folder:
        span = _asked(question, folder, now_s)
        export = Export(question, span, store)
        done = dict(path.name.split("-") for path in folder.glob("0x*-*"))
        held = [sum(last - first + 1 for first, last in store.runs(p.meter)) for p in points]
        total, passed, pieces = sum(held), 0, []
        for point, frames in zip(points, held, strict=True):
            name = point.address
            if name not in done:

                def tell(count: int, at: int = passed) -> None:
                    told("readings", at + count, total)

                count = _write_piece(export, point, folder / "piece", tell)
                done[name] = str(count)
                os.replace(folder / "piece", folder / f"{name}-{count}")
            pieces.append(folder / f"{name}-{done[name]}")
            passed += frames
            told("readings", passed, total)
        if question.format is Format.PARQUET:
            parquet.write(pieces, folder / "whole")
        else:
            _join(export, pieces, folder / "whole")
        os.replace(folder / "whole", out)
        shutil.rmtree(folder)
    return sum(map(int, done.values())), span


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Lend the folder of pieces to one process at a time. Raises ExportError."""
    folder = out.with_name(out.name + ".parts")
    folder.mkdir(parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(f"another process writes {out}; wait for it") from None
        yield folder
    finally:
        os.close(place)


def _asked(question: Question, folder: Path, now_s: int) -> Span:
    """Return the span of the run that was broken off, or of this one. Raises ExportError."""
    plan, asked = folder / "asked.json", asdict(question)
    if not plan.exists():
        until_s = now_s if question.until_s is None else question.until_s
        span = Span(question.after_s, until_s, now_s)
        with (folder / "piece").open("w", encoding="utf-8") as file:
            json.dump({"question": asked, "span": asdict(span)}, file)
            _settle(file)
        os.replace(folder / "piece", plan)
        return span
    before = json.loads(plan.read_text())
    if before["question"] != asked:
        raise ExportError(
            f"{folder} holds another export, which was broken off; write another --out, or remove "
            "that folder"
        )
    return Span(**before["span"])


def _write_piece(export: Export, point: Point, path: Path, told: Callable[[int], None]) -> int:
    count = 0

    def seen(_reading: SignedFrame) -> None:
        nonlocal count
        count += 1
        if count % _TELL == 0:
            told(count)

    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(export.piece(point, seen))
        _settle(file)
    return count


def _join(export: Export, pieces: Iterable[Path], out: Path) -> None:
    with out.open("wb") as file:
        file.write(export.head().encode())
        for piece in pieces:
            with piece.open("rb") as part:
                shutil.copyfileobj(part, file)
        file.write(export.tail().encode())
        _settle(file)


def _settle(file: IO[Any]) -> None:
    """Have what was written outlive a power cut."""
    file.flush()
    os.fsync(file.fileno())
