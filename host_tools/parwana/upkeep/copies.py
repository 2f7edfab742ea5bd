"""All signed frames of a store as a file, and back into a store: to move, to keep, to merge.

Source: docs/protocol.md, 9. Neither holds more in memory than a batch, and both go on where they
were broken off.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import IO

import wire
from parwana.chain.deployment import Deployment
from parwana.relay.intake import CONTRADICTION
from parwana.store.frames import SignedFrame, signed_frame
from parwana.store.letters import MALFORMED, SIGNATURE
from parwana.store.reader import Store
from parwana.store.signatures import SignatureError, signer
from parwana.world.progress import Told, untold

RECORD = 128  # bytes: meter 20, received_s 4, frame 40, signature 64
BATCH = 2048  # records
_KIND = b"parwana-frames 1 "
_TOPIC = "import"  # as the quarantine shows it


class CopyError(Exception):
    """The file cannot be written or read so; the text says what to do."""


@dataclass
class Imported:
    """What became of the frames of a file."""

    new: int = 0
    repeated: int = 0
    contradicting: int = 0
    refused: int = 0  # in the quarantine


def write(store: Store, deployment: Deployment, out: Path, told: Told = untold) -> int:
    """Write all frames, by meter and sequence; return how many. Raises CopyError, StoreError.

    What stands in OUT.part, of a run that was broken off, is gone on with.
    """
    if out.exists():
        raise CopyError(f"{out} is there already; write another --out, or remove it")
    head = _head(deployment.utility_id)
    meters = sorted(store.framed_meters())
    with _opened(out.with_name(out.name + ".part")) as file:
        meter, sequence = _go_on(file, head)
        for place, one in enumerate(meters):
            told("meters", place, len(meters))
            if one >= meter:
                first = sequence if one == meter else 1
                file.writelines(map(_record, store.frames(one, first)))
        told("meters", len(meters), len(meters))
        count = (file.tell() - len(head)) // RECORD
        file.flush()
        os.fsync(file.fileno())
    os.replace(out.with_name(out.name + ".part"), out)
    return count


def read(
    store: Store, deployment: Deployment, path: Path, now_s: int, told: Told = untold
) -> Imported:
    """Take a file's frames, each only with its meter's signature. Raises CopyError, StoreError.

    How far it is stands in the store, in the same transactions: the same file goes on from there.
    """
    done, head = Imported(), _head(deployment.utility_id)
    with path.open("rb") as file:
        found = file.read(len(head))
        total, rest = divmod(path.stat().st_size - len(head), RECORD)
        if not found.startswith(_KIND):
            raise CopyError(f"{path} is no copy of a store; take one of `parwana store export`")
        if found != head:
            raise CopyError(f"{path} is not of {deployment.utility_id}; take its own deployment")
        if rest or total < 0:
            raise CopyError(f"{path} was cut off; copy it again")
        name = f"import {sha256(head + file.read(RECORD)).hexdigest()[:16]} {total}"
        at = store.cursor(name) or 0
        file.seek(len(head) + at * RECORD)
        while data := file.read(BATCH * RECORD):
            at += len(data) // RECORD
            _take(store, deployment.reading_domain, data, now_s, (name, at % total), done)
            told("frames", at, total)
    return done


def _head(utility_id: str) -> bytes:
    return _KIND + utility_id.encode() + b"\n"


def _opened(path: Path) -> IO[bytes]:
    path.touch()
    return path.open("r+b")


def _go_on(file: IO[bytes], head: bytes) -> tuple[bytes, int]:
    """Go to where a file goes on; return from which meter and sequence. Raises CopyError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= len(head):
        file.truncate(0)
        file.write(head)
        return b"", 1
    if file.read(len(head)) != head:
        raise CopyError(f"{file.name} is of something else; remove it, or write another --out")
    count = (size - len(head)) // RECORD
    last = b"", 1
    while count:
        file.seek(len(head) + (count - 1) * RECORD)
        record = file.read(RECORD)
        place = record[:20], int.from_bytes(record[28:32])
        if last[0] and place != last:
            break
        last, count = place, count - 1  # all of its sequence is written again
    file.seek(len(head) + count * RECORD)
    file.truncate()
    return last


def _record(one: SignedFrame) -> bytes:
    return one.meter + one.received_s.to_bytes(4, "big") + one.frame + one.signature


def _take(
    store: Store, domain: bytes, data: bytes, now_s: int, cursor: tuple[str, int], done: Imported
) -> None:
    good, bad = _examined(domain, data, now_s)
    with store.transaction() as tx:
        tx.set_cursor(*cursor)  # first: of two that take one file, the second waits
        of = {meter: list(some) for meter, some in groupby(good, lambda one: one.meter)}
        tx.lock(of)
        added = tx.add_all(of, None).values() if of else ()
        for payload, reason, detail in bad:
            tx.quarantine(_TOPIC, payload, reason, detail, now_s)
        for one in (frame for some in added for frame in some.refused):
            tx.quarantine(_TOPIC, one.frame + one.signature, CONTRADICTION, "", now_s)
    done.new += sum(one.new for one in added)
    done.repeated += sum(one.repeated for one in added)
    done.contradicting += sum(len(one.contradicting) for one in added)
    done.refused += len(bad) + sum(len(one.refused) for one in added)


def _examined(
    domain: bytes, data: bytes, now_s: int
) -> tuple[Sequence[SignedFrame], list[tuple[bytes, str, str]]]:
    """Return what its meter signed, and what not, as the quarantine takes it."""
    good: list[SignedFrame] = []
    bad: list[tuple[bytes, str, str]] = []
    for record in _records(data):
        meter, received_s = record[:20], int.from_bytes(record[20:24])
        try:
            frame = signed_frame(meter, record[24:64], record[64:])
            if frame.sequence == 0:
                raise wire.FrameError("sequence 0, the first is 1")
            made_by = signer(wire.digest(domain, frame.frame), frame.signature)
            if made_by != meter:
                raise SignatureError(f"signed by {made_by.hex()}")
            good.append(replace(frame, received_s=min(received_s, now_s)))
        except wire.FrameError as error:
            bad.append((record, MALFORMED, str(error)))
        except SignatureError as error:
            bad.append((record, SIGNATURE, str(error)))
    return sorted(good, key=lambda one: one.meter), bad


def _records(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), RECORD):
        yield data[at : at + RECORD]
