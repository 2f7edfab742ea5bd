"""A store with a feeder of three houses, as a relay would have filled it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import wire
from hil_tests.meter.test_pairing import DEPLOYMENT
from hil_tests.services import UTILITY, SignedMeter, reading
from parwana.chain.deployment import Deployment
from parwana.store.reader import SignedFrame, Store, signed_frame

FEEDER, HOUSES = 100, (17, 18, 19)
OFFSET_S = 19800
START_S = 1_800_000_000 // 86400 * 86400 - OFFSET_S  # a midnight of UTC+5:30: 2027-01-15


class Books:
    """Meters that sign into a store."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store = store
        self.url = f"sqlite:///{folder}/store.db"
        made = replace(DEPLOYMENT, utility_id=UTILITY, utc_offset_s=OFFSET_S, store=self.url)
        self.deployment: Deployment = made
        self.meters = {number: SignedMeter(number) for number in (FEEDER, *HOUSES)}
        self.sequences: dict[int, int] = {}
        self.energy_wh: dict[int, int] = {}
        with store.transaction() as tx:
            tx.enrol(self.meters[FEEDER].address, FEEDER, 2, 0)
            for number in HOUSES:
                tx.enrol(self.meters[number].address, number, 1, FEEDER)

    def read(
        self,
        number: int,
        time_s: int,
        energy_wh: int,
        flags: int = 0,
        *,
        sequence: int = 0,
        received_s: int = 0,
    ) -> None:
        """Store a reading with the meter's next sequence, or a given one."""
        self._keep(
            number,
            [self._signed(number, time_s, energy_wh, flags, sequence)],
            received_s or time_s,
        )

    def day(self, number: int, start_s: int = START_S, wh: int = 100, count: int = 96) -> None:
        """Store a day of quarters, the last of them at midnight."""
        base = self.energy_wh.get(number, 1000 * number)
        frames = [
            self._signed(number, start_s + 900 * n, base + n * wh) for n in range(1, count + 1)
        ]
        self._keep(number, frames, start_s + 900 * count)

    def _signed(
        self, number: int, time_s: int, energy_wh: int, flags: int = 0, sequence: int = 0
    ) -> SignedFrame:
        sequence = sequence or self.sequences.get(number, 0) + 1
        self.sequences[number], self.energy_wh[number] = sequence, energy_wh
        frame = reading(sequence, time_s, energy_wh, flags)
        if flags & wire.FLAG_SENSOR_SILENT:
            frame = frame[:20] + bytes(19) + frame[39:]  # no sample in the interval
        meter = self.meters[number]
        return signed_frame(meter.address, *meter.sign(frame))

    def _keep(self, number: int, frames: list[SignedFrame], received_s: int) -> None:
        with self.store.transaction() as tx:
            tx.add_frames(self.meters[number].address, frames, received_s)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Lend a store with a feeder's meter and three houses, and a deployment file beside it."""
    store = Store(f"sqlite:///{tmp_path}/store.db")
    made = Books(tmp_path, store)
    made.deployment.save(tmp_path / "town.json")
    yield made
    store.close()
