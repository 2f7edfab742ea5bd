"""The label of a meter: a phone reads it, and a person too."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image

from parwana.meter.label import DPI, Label

ADDRESS = "0x5aedA56215b167893e80B4fE645BA6d5Bab767DE"
PLAIN = Label("kalpa-discom", 17, ADDRESS, "0200a1b2c3d4", 100)
LONGEST = Label("w" * 32, 2**48 - 1, ADDRESS, "d" * 12, 2**48 - 1)


@pytest.mark.parametrize("label", [PLAIN, LONGEST], ids=["plain", "longest"])
def test_a_reader_finds_all_of_it(label: Label, tmp_path: Path) -> None:
    picture, document = label.save(tmp_path / "new")
    with Image.open(picture) as image:
        assert tuple(round(dots) for dots in image.info["dpi"]) == (DPI, DPI)
        assert image.size == (732, 343)
        (code,) = zxingcpp.read_barcodes(image.convert("L"))
    assert code.text == (
        f"parwana:{ADDRESS}?utility={label.utility_id}&number={label.number}"
        f"&serial={label.serial}&feeder={label.feeder}"
    )
    # The PDF has the same picture on a page of 62 by 29 mm.
    data = document.read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([0-9.]+) ([0-9.]+) \]", data)
    assert [round(float(points) / 72 * 25.4) for points in box] == [62, 29]


@pytest.mark.parametrize("label", [PLAIN, LONGEST], ids=["plain", "longest"])
def test_the_text_stays_on_the_label_and_off_the_code(label: Label) -> None:
    image = label.draw()
    ink = image.point(lambda level: 255 - level)
    box = ink.getbbox()
    assert box
    left, top, right, bottom = box
    assert left >= 12
    assert top >= 12
    assert right <= image.width - 8
    assert bottom <= image.height - 12
    columns = [ink.crop((x, 0, x + 1, image.height)).getbbox() is None for x in range(image.width)]
    text = max(x for x in range(12, 400) if all(columns[x : x + 24]))
    assert 250 < text < 330  # where the white between code and text begins


def test_a_code_that_leads_to_a_page_is_read_and_told_in_words(tmp_path: Path) -> None:
    link = f"https://meter.kalpa-discom.example/m/{ADDRESS}"
    linked = replace(PLAIN, link=link)
    picture, _ = linked.save(tmp_path)
    with Image.open(picture) as image:
        (code,) = zxingcpp.read_barcodes(image.convert("L"))
    assert code.text == link
    assert linked.draw().tobytes() != replace(PLAIN, link=link + "0").draw().tobytes()


def test_a_meter_without_a_feeder_says_none() -> None:
    assert Label("x", 1, ADDRESS, "0", 0).content.endswith("&feeder=0")
