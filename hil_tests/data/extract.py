"""Re-create households.csv from SimBench's own profiles.

    pip download --no-deps simbench==1.6.3 && python hil_tests/data/extract.py simbench-1.6.3-*.whl

A house's power is a measured household profile of SimBench's low-voltage grids (H0-A, B, C, G, L:
per unit, 15 min, 2016) times 3 kW, the rated power most of those grids' loads have. Houses 1 to 5
are three weeks from Monday 2016-05-30, houses 6 to 10 the same profiles three weeks later, houses
11 and 12 another three weeks later: a dozen different courses.
"""

import csv
import hashlib
import io
import sys
import zipfile
from datetime import datetime
from pathlib import Path

SHA256 = "8b48bdab2445286a96649eb18bb09476d000a0e212fd57fdba83399df54af4de"
FOLDER = "simbench/networks/1-complete_data-mixed-all-0-sw/"
PROFILES = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-L")
RATED_W = 3000
HOUSES = 12
STEPS = 21 * 96
STARTS = (datetime(2016, 5, 30), datetime(2016, 6, 20), datetime(2016, 7, 11))


def extract(wheel: Path) -> str:
    """Return the text of households.csv: a column a house, integer watts, a row a quarter hour."""
    data = wheel.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{wheel} is not simbench 1.6.3 (its SHA-256 differs)")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        profiles = _table(archive, "LoadProfile.csv")
    rows = {datetime.strptime(row["time"], "%d.%m.%Y %H:%M"): row for row in profiles}
    instants = sorted(rows)
    lines = [",".join(f"house_{i + 1}_w" for i in range(HOUSES))]
    first = [instants.index(start) for start in STARTS]
    for step in range(STEPS):
        values = [
            max(0, round(float(rows[instants[start + step]][f"{name}_pload"]) * RATED_W))
            for start in first
            for name in PROFILES
        ]
        lines.append(",".join(map(str, values[:HOUSES])))
    return "\n".join(lines) + "\n"


def _table(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    with archive.open(FOLDER + name) as raw:
        return list(csv.DictReader(io.TextIOWrapper(raw, "utf-8"), delimiter=";"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    Path(__file__).with_name("households.csv").write_text(extract(Path(sys.argv[1])))
