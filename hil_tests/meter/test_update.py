"""A whole meter takes a signed update over a real broker, and goes back from one that fails."""

import random
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests import meterkit
from hil_tests.meterkit import SIGNERS, START_S, Meter
from hil_tests.services import wait_until
from parwana.image import firmware

X86 = 1
NATIVE = firmware.architecture(X86 << 10)
SERIAL = START_S
NEW = 0x090909
TARGET = X86 << 24 | NEW
FETCHING, TRYING = 1, 2
FACTOR = 240
INTERVAL_S = 300
SHORTER_S = 40 - 2 * INTERVAL_S
ENDED = wire.EVENT_UPDATE_ENDED

RAISES = "\ndef start():\n    raise ValueError('the new start fails')\n"
NEVER = "\nasync def _never(self):\n    while True:\n        await asyncio.sleep_ms(1000)\n"
DEAF = NEVER + "\nUplink.run = _never\n"
BLIND = NEVER + "\nMetering.run = _never\n"


def newer(folder: Path, module: str = "main", text: str = "") -> bytes:
    """Return the slot's file of a newer version with `text` at the end of a module."""
    source = meterkit.newer(folder / "newer")
    path = source / f"{module}.py"
    path.write_text(path.read_text() + text)
    app = source / "app.py"  # ticks are no faster than life, so the trial is shorter
    app.write_text(app.read_text().replace("_TRIAL_MORE_S = 600", f"_TRIAL_MORE_S = {SHORTER_S}"))
    return meterkit.archive(NATIVE, source)


def offered(image: bytes, serial: int = SERIAL) -> bytes:
    return meterkit.update(image, serial, NEW, SIGNERS[:2], X86)


def begun(image: bytes, held: int, state: int = FETCHING) -> dict[str, bytes]:
    """Return the flash of a meter that was switched off while it fetched an update."""
    record = bytes([state]) + offered(image)[2 : wire.FRAME_SIZE]
    return {
        **meterkit.firmware_files(NATIVE),
        "/b.fw.new": image[: held * wire.PIECE_SIZE],
        "/state/update.rec": record + crc32(record).to_bytes(4, "big"),
    }


@contextmanager
def meter(folder: Path, files: dict[str, bytes], image: bytes) -> Iterator[Meter]:
    changes: Any = {"status_s": 60, "watchdog_s": 30, "interval_s": INTERVAL_S}
    with meterkit.running_meter(folder, files, factor=FACTOR, **changes) as found:
        found.relay.images[SERIAL] = image
        yield found


def ended(found: Meter, timeout_s: float = 60) -> list[int]:
    """Return how updates ended, once one did."""

    def told() -> list[tuple[int, int, int]]:
        return [(e.a, e.b, e.c) for e in found.relay.events if e.code == ENDED]

    wait_until(told, "the end of an update", timeout_s)
    assert all(event[1:] == (SERIAL, TARGET) for event in told())
    assert found.relay.complete
    assert not found.relay.contradictions
    return [event[0] for event in told()]


def booted(found: Meter) -> list[int]:
    """Return the versions that ran, by event 1."""
    return [e.b for e in found.relay.events if e.code == wire.EVENT_BOOT]


def test_it_goes_on_after_a_restart_proves_well_and_stays(tmp_path: Path) -> None:
    image = newer(tmp_path)
    pieces = len(image) // wire.PIECE_SIZE
    with meter(tmp_path, begun(image, pieces - 3), image) as found:
        assert ended(found) == [wire.UPDATE_RUNS]
        assert found.relay.asked == list(range(pieces - 3, pieces))
        assert booted(found) == [0x000100, NEW]
        assert found.board.resets[-1][1] != "watchdog"
        found.board.wait_console("slot b is well", 5)


def test_a_start_that_fails_falls_back_and_is_told(tmp_path: Path) -> None:
    image = newer(tmp_path, "main", RAISES)
    files = begun(image, len(image) // wire.PIECE_SIZE, TRYING)
    with meter(tmp_path, files, image) as found:
        assert ended(found) == [wire.UPDATE_FELL_BACK]
        assert booted(found) == [0x000100, 0x000100]
        found.wait_frames(1)
        found.relay.publish("down", wire.pack_bundle_message(offered(image)))
        found.wait_frames(2)
        assert not found.relay.asked
        assert ended(found) == [wire.UPDATE_FELL_BACK]


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "text"), [("uplink", DEAF), ("metering", BLIND)], ids=["deaf", "blind"]
)
def test_what_cannot_prove_itself_falls_back(tmp_path: Path, module: str, text: str) -> None:
    image = newer(tmp_path, module, text)
    with meter(tmp_path, begun(image, len(image) // wire.PIECE_SIZE - 1), image) as found:
        assert ended(found, 240) == [wire.UPDATE_FELL_BACK]
        assert booted(found)[-1] == 0x000100


@pytest.mark.long
def test_from_the_offer_to_the_end_through_a_flood(tmp_path: Path) -> None:
    image = newer(tmp_path)
    with meter(tmp_path, meterkit.firmware_files(NATIVE), image) as found:
        relay = found.relay
        for bad in (
            meterkit.update(image, SERIAL, NEW, SIGNERS[:1], X86),
            meterkit.update(image, SERIAL, NEW, SIGNERS[1:], X86),
            meterkit.update(image, SERIAL, 0x000100, SIGNERS[:2], X86),
            meterkit.update(image, SERIAL, NEW, SIGNERS[:2], X86 + 1),
        ):
            relay.publish("down", wire.pack_bundle_message(bad))
        found.wait_frames(4)
        assert not relay.asked
        relay.publish("down", wire.pack_bundle_message(offered(image)))
        wait_until(lambda: len(relay.asked) > 20, "20 pieces", 60)
        rng = random.Random(1)
        for number in range(300):  # what a hostile broker puts between
            relay.publish("down", wire.pack_piece(SERIAL - 1, number % 180, rng.randbytes(512)))
            relay.publish("down", wire.pack_piece(SERIAL, 65535, rng.randbytes(512)))
        assert ended(found, 300) == [wire.UPDATE_RUNS]
        accepted = [e.a for e in relay.events if e.code == wire.EVENT_UPDATE_ACCEPTED]
        assert accepted == [SERIAL]


@pytest.mark.long
def test_a_wrong_piece_is_found_before_the_switch_and_all_is_fetched_again(tmp_path: Path) -> None:
    image = newer(tmp_path)
    spoilt = bytearray(image)
    spoilt[5000] ^= 1
    files = begun(bytes(spoilt), len(image) // wire.PIECE_SIZE)
    record = begun(image, 0)["/state/update.rec"]
    with meter(tmp_path, {**files, "/state/update.rec": record}, image) as found:
        assert ended(found, 60) == [wire.UPDATE_SPOILT]
        wait_until(lambda: wire.UPDATE_RUNS in ended(found), "the second try", 300)
        assert booted(found) == [0x000100, NEW]


@pytest.mark.long
def test_a_power_cut_at_a_flash_write_costs_no_reading(tmp_path: Path) -> None:
    image = newer(tmp_path)
    pieces = len(image) // wire.PIECE_SIZE
    with meter(tmp_path, begun(image, pieces - 40), image) as found:
        for write in (3, 40, 90, 25):
            found.board.cut_power_at_flash_write(write)
            wait_until(lambda: not found.board.powered, "the cut", 60)
            found.board.power_on()
        wait_until(lambda: NEW in booted(found), "the new version", 120)
        assert set(ended(found, 120)) <= {wire.UPDATE_RUNS, wire.UPDATE_FELL_BACK}
