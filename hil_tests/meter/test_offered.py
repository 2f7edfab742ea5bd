"""A signed update goes over the cable as over the air: the meter itself judges who signed it."""

import json
from pathlib import Path

import pytest
from rich.progress import Progress

import wire
from boards.virtual.board import VirtualBoard
from hil_tests import meterkit
from hil_tests.boardkit import TIMEOUT_S, powered_board
from hil_tests.meterkit import SIGNERS, configuration, make_image, read_image
from parwana.image import firmware
from parwana.meter import flash, offered
from parwana.meter.repl import connect

X86 = 1
SERIAL = 1_800_000_000
NEWER = 0x090909
IMAGE = bytes(range(256)) * 4


def carried(folder: Path, image: bytes, **changes: object) -> Path:
    """Return the file that carries an update, signed by two of the signers."""
    values = {"serial": SERIAL, "version": NEWER, "keys": SIGNERS[:2], "processor": X86}
    file = folder / "update.bin"
    file.write_bytes(meterkit.update(image, **{**values, **changes}) + image)  # type: ignore[arg-type]
    return file


def test_what_is_no_update_is_told(tmp_path: Path) -> None:
    good = carried(tmp_path, IMAGE).read_bytes()
    permit = meterkit.permit(1, SERIAL)
    for bad, words in (
        (b"", "is no signed update"),
        (good[:39], "is no signed update"),
        (good[:200], "is no signed update"),
        (good[:-1], "is no signed update"),
        (permit + IMAGE, "is no signed update"),
        (good[:-1] + b"\0", "is damaged"),
    ):
        file = tmp_path / "bad.bin"
        file.write_bytes(bad)
        with pytest.raises(offered.OfferError, match=words):
            offered.read(file)
    found = offered.read(carried(tmp_path, IMAGE))
    assert (found.image, found.version, found.processor) == (IMAGE, "9.9.9", X86)


def flash_it(board: VirtualBoard, file: Path) -> dict[str, object]:
    with connect(board.serial_port) as meter, Progress(disable=True) as progress:
        return flash.flash(meter, progress, offer=offered.read(file))


def test_the_meter_refuses_what_its_signers_did_not_sign_and_takes_what_they_did(
    tmp_path: Path,
) -> None:
    source = tmp_path / "newer"
    native = firmware.architecture(X86 << 10)
    image = meterkit.archive(native, meterkit.newer(source))
    files = {
        **meterkit.firmware_files(native),
        "/config.json": json.dumps(configuration(1)).encode(),
    }
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "flash.img").write_bytes(make_image(files))
    with VirtualBoard(folder) as board:
        board.power_on()
        board.wait_console("the meter runs", TIMEOUT_S)
        for changes, words in (
            ({"keys": SIGNERS[:1]}, "too few"),
            ({"keys": SIGNERS[1:]}, "a signature is not of a signer"),
            ({"version": 0x000100}, "not above the one that runs"),
            ({"processor": 10}, "is for xtensawin"),
        ):
            with pytest.raises((offered.OfferError, flash.FlashError), match=words):
                flash_it(board, carried(tmp_path, image, **changes))
        result = flash_it(board, carried(tmp_path, image))
        assert (result["version"], result["slot"], result["copied"]) == ("9.9.9", "b", ["/b.fw"])
        board.power_off()
        flash_image = board.folder / "flash.img"
        assert read_image(flash_image, "/slot").split() == [b"b"]
        record = read_image(flash_image, "/state/update.rec")
        frame = carried(tmp_path, image).read_bytes()[: wire.FRAME_SIZE]
        assert record[1:39] == frame[2:], "an older one is not taken any more"


def test_a_board_that_was_never_paired_trusts_nobody(tmp_path: Path) -> None:
    native = firmware.architecture(X86 << 10)
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "flash.img").write_bytes(make_image(meterkit.firmware_files(native)))
    with (
        powered_board(folder) as board,
        pytest.raises(flash.FlashError, match="trusts nobody yet"),
    ):
        flash_it(board, carried(tmp_path, IMAGE))
