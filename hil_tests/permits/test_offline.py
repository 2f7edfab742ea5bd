"""A permit as text and as QR code."""

import io
import json
import time
from pathlib import Path

import pytest
import segno

import wire
from hil_tests.chainkit import SIGNERS, Utility
from hil_tests.meterkit import permit
from parwana import cli
from parwana.chain.keys import dev_key
from parwana.permits import offline
from parwana.permits.bundle import PermitError, make_permit, sign_frame

NOW_S = int(time.time())
NOBODY = bytes(20)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "permit.bundle"
    path.write_bytes(permit(NOW_S, NOW_S))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


# --- the file, the line, the QR code ---


def test_a_file_is_shown_with_its_line_and_reads_back(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "permit.txt"
    code, out, _ = run(capsys, "permit", "show", bundle, "--text", short, "--no-qr")
    assert code == 0
    assert "flags            none\n" in out
    assert f"valid_until_s    {NOW_S + 30 * 86400} = 20" in out
    assert short.stat().st_size == 357
    assert offline.read_bundle(short) == bundle.read_bytes()
    code, out, _ = run(capsys, "permits", "show", short, "--json")
    assert code == 0
    shown = json.loads(out)
    assert (shown["serial"], shown["signed_by"]) == (NOW_S, [0, 1])
    assert "believed" not in shown
    assert wire.parse_text(shown["text"].encode()) == bundle.read_bytes()


def test_the_qr_code_on_the_terminal_is_the_line(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = wire.pack_text(bundle.read_bytes())
    code = segno.make_qr(line, error="l")
    assert code.mode == "alphanumeric"
    drawn = io.StringIO()
    code.terminal(drawn, compact=True)
    status, out, _ = run(capsys, "permits", "show", bundle, "--qr")
    assert status == 0
    assert drawn.getvalue() in out
    assert out.endswith(f"\n{line}\n")


@pytest.mark.parametrize(
    "data",
    [b"", b"PARWANA:", b"PARWANA:00", b"\xff" * 170, b"{}", b"PARWANA:" + b"0" * 4000, b"\0"],
)
def test_files_that_hold_no_bundle_are_refused(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    code, _, error = run(capsys, "permits", "show", path)
    assert code == 1
    assert "is no bundle" in error
    code, _, error = run(capsys, "permits", "load", path, "--port", "/nowhere")
    assert code == 1
    assert "is no bundle" in error


def test_a_file_that_came_by_chat_is_read(bundle: Path, tmp_path: Path) -> None:
    line = wire.pack_text(bundle.read_bytes())
    path = tmp_path / "x"
    for text in (
        "\ufeff" + line,
        f"Utility, 18:04: \u201c{line}\u201d",
        line[:70] + "\r\n  " + line[70:],
    ):
        path.write_text(text)
        assert offline.read_bundle(path) == bundle.read_bytes()


def test_one_wrong_digit_in_a_file_is_noticed(bundle: Path, tmp_path: Path) -> None:
    line = wire.pack_text(bundle.read_bytes())
    path = tmp_path / "x"
    for at in range(8, len(line), 17):
        path.write_text(line[:at] + ("0" if line[at] != "0" else "1") + line[at + 1 :])
        with pytest.raises(PermitError, match="damaged or not whole"):
            offline.read_bundle(path)


def test_what_is_published_is_shown_without_a_file(
    world: Utility, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = world.enrol(1001)
    at = ("--deployment", tmp_path / "deployment.json", "--meter", house.address)
    code, _, error = run(capsys, "permits", "show", *at)
    assert code == 1
    assert "no permit was published" in error
    now_s = world.clock.time_s
    frame = make_permit(
        issued_at_s=now_s,
        valid_until_s=now_s + 40 * 86400,
        period=world.deployment.periods.of(now_s),
        power_limit_dw=50_000,
    )
    keys = {index: dev_key(number) for index, number in enumerate(SIGNERS[:2])}
    signed = sign_frame(world.deployment.permit_domain(house.address), frame, keys)
    publish = world.ledgers.payment.functions.publish
    world.chain.send(publish(house.address, frame, signed[wire.FRAME_SIZE :]))
    code, out, _ = run(capsys, "permits", "show", *at, "--json")
    shown = json.loads(out)
    assert (shown["believed"], shown["signed_by"]) == (True, [0, 1])
    assert wire.parse_text(shown["text"].encode()) == signed
    assert "go together" in run(capsys, "permits", "show", *at[:2], "x")[2]
    assert "give a bundle's file" in run(capsys, "permits", "show")[2]
