"""Print a meter's label: a QR code, and beside it the same for people; as PNG and PDF."""

import io
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import segno
from PIL import Image, ImageDraw, ImageFont

DPI = 300
_WIDTH_MM, _HEIGHT_MM = 62, 29  # a common roll of label printers
_QUIET = 4  # modules of white around a QR code. Source: ISO/IEC 18004, 9.1
_GAP = 12
_NUMBER, _TEXT, _SMALL = 60, 34, 25


@dataclass(frozen=True)
class Label:
    """What a label says. `address` is 0x and 40 digits, `serial` the board's, `feeder` 0: none.

    With a `link` to the house's page the code leads there, and the label says so.
    """

    utility_id: str
    number: int
    address: str
    serial: str
    feeder: int
    link: str = ""

    @property
    def content(self) -> str:
        """Return what the QR code holds."""
        if self.link:
            return self.link
        return (
            f"parwana:{self.address}?utility={self.utility_id}&number={self.number}"
            f"&serial={self.serial}&feeder={self.feeder}"
        )

    def save(self, folder: Path) -> list[Path]:
        """Write number.png and number.pdf; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        image = self.draw()
        paths = [folder / f"{self.utility_id}-{self.number}{end}" for end in (".png", ".pdf")]
        image.save(paths[0], dpi=(DPI, DPI))
        image.save(paths[1], resolution=DPI, title=f"Meter {self.number}")
        return paths

    def draw(self) -> Image.Image:
        """Return the label, 62 by 29 mm, black on white."""
        width, height = (round(mm / 25.4 * DPI) for mm in (_WIDTH_MM, _HEIGHT_MM))
        image = Image.new("L", (width, height), 255)
        code = segno.make_qr(self.content, error="m")
        scale = height // (code.symbol_size(border=_QUIET)[0])
        drawn = io.BytesIO()
        code.save(drawn, kind="png", scale=scale, border=_QUIET)
        picture = Image.open(drawn).convert("L")
        image.paste(picture, (0, (height - picture.height) // 2))
        pen = ImageDraw.Draw(image)
        left, top = picture.width + _GAP, _GAP * 2
        digits = self.address[2:]
        rows = [
            (self.utility_id, _TEXT),
            (f"No. {self.number}", _NUMBER),
            (f"feeder {self.feeder or 'none'}", _TEXT),
            (str(urlsplit(self.link).netloc) or f"board {self.serial}", _SMALL),
            *((digits[at : at + 20], _SMALL) for at in (0, 20)),
        ]
        for text, size in rows:
            font = self._font(text, size, width - left - _GAP)
            pen.text((left, top), text, fill=0, font=font)
            top += size + _GAP
        return image

    def _font(
        self, text: str, size: int, width: int
    ) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """Return a font of at most `size` pixels, in which the text is not too wide."""
        while (font := ImageFont.load_default(size)).getlength(text) > width:
            size -= 1
        return font
