"""What a meter's newest frames say now: nothing older than it looks, never 0 for unknown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wire
from hil_tests.services import SignedMeter
from parwana.homeassistant.state import State, look
from parwana.store.reader import Store, signed_frame

NOW_S = 1_800_000_000
STALE_S = 2100


class Kept:
    """One house that signs into a store."""

    def __init__(self, store: Store) -> None:
        self.store, self.meter, self.sequence = store, SignedMeter(17), 0
        with store.transaction() as tx:
            tx.enrol(self.meter.address, 17, 1, 100)

    def keep(self, signed: tuple[bytes, bytes]) -> None:
        frame = signed_frame(self.meter.address, *signed)
        with self.store.transaction() as tx:
            tx.add_frames(self.meter.address, [frame], frame.time_s)

    def read(self, time_s: int, energy_wh: int, flags: int = 0, *, voltage: bool = True) -> None:
        self.sequence += 1
        flags |= wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT
        frame, _ = self.meter.reading(
            self.sequence, time_s=time_s, energy_wh=energy_wh, flags=flags
        )
        if not voltage:
            frame = frame[:20] + bytes(19) + frame[39:]
        self.keep(self.meter.sign(frame))

    def event(self, code: int, time_s: int) -> None:
        self.sequence += 1
        self.keep(self.meter.event(code, self.sequence, time_s, 0))

    def hello(self, next_sequence: int) -> None:
        heard = {"next": next_sequence, "version": 0x000203, "heard_s": NOW_S, "boots": 1}
        with self.store.transaction() as tx:
            tx.heard([{"meter": self.meter.address, "control_state": 1, **heard}])

    def look(self, now_s: int = NOW_S, permit: bytes | None = None) -> State | None:
        return look(self.store, self.store.meter(self.meter.address), permit, now_s, STALE_S)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Kept]:
    store = Store(f"sqlite:///{tmp_path}/store.db")
    yield Kept(store)
    store.close()


def seen(state: State | None) -> Any:
    assert state is not None
    return state


def test_a_fresh_reading_is_all_values_in_their_units(house: Kept) -> None:
    house.read(NOW_S - 60, 12_345)
    state = seen(house.look())
    assert (state.live, state.energy_wh) == (True, 12_345)
    assert state.values == {
        "power": 400.0,
        "voltage": 230.0,
        "current": 1.8,
        "frequency": 50.0,
        "power_factor": 97,
        "supply": "connected",
        "permit_end": None,
        "measured": "2027-01-15T07:59:00+00:00",
    }


def test_a_permits_end_has_its_days_of_grace(house: Kept) -> None:
    house.read(NOW_S, 1)
    frame = wire.pack_permit(0, 5, NOW_S, NOW_S + 86400, 1, 0, 0, 0, 0, 0, 2)
    bundle = wire.pack_bundle(frame, [(0, bytes(64))])
    assert seen(house.look(permit=bundle)).values["permit_end"] == "2027-01-18T08:00:00+00:00"


def test_a_meter_that_never_sent_has_no_state(house: Kept) -> None:
    assert house.look() is None


@pytest.mark.parametrize("later_s", [STALE_S + 1, 40 * 86400])
def test_a_silent_meter_keeps_its_register_and_measures_nothing(house: Kept, later_s: int) -> None:
    house.read(NOW_S, 500)
    state = seen(house.look(NOW_S + later_s))
    assert (state.live, state.energy_wh) == (False, 500)
    names = ("power", "voltage", "current", "frequency", "power_factor", "supply")
    assert [state.values[name] for name in names] == [None] * 6


def test_what_no_sensor_measured_is_unknown_and_not_zero(house: Kept) -> None:
    house.read(NOW_S, 500, wire.FLAG_SENSOR_SILENT, voltage=False)
    state = seen(house.look())
    assert (state.live, state.values["power"], state.values["supply"]) == (
        False,
        None,
        "connected",
    )


def test_a_sensor_that_was_silent_for_a_while_has_measured(house: Kept) -> None:
    house.read(NOW_S, 500, wire.FLAG_SENSOR_SILENT)
    assert seen(house.look()).live


@pytest.mark.parametrize(
    ("code", "live", "supply"),
    [
        (wire.EVENT_BOOT, False, "connected"),
        (wire.EVENT_SENSOR_SILENT, False, "connected"),
        (wire.EVENT_MAINS_OUTAGE, False, "connected"),
        (wire.EVENT_DISCONNECTED, False, "disconnected"),
        (wire.EVENT_READY_FOR_RECONNECTION, True, "ready"),
        (wire.EVENT_EXPIRY_WARNING, True, "connected"),
    ],
)
def test_an_event_after_the_reading_ends_what_it_said(
    house: Kept, code: int, live: bool, supply: str
) -> None:
    house.read(NOW_S - 60, 500)
    house.event(code, NOW_S - 30)
    state = seen(house.look())
    assert (state.live, state.values["supply"]) == (live, supply)
    house.read(NOW_S - 10, 510)
    assert seen(house.look()).live


def test_a_backlog_is_no_state_until_it_is_through(house: Kept) -> None:
    """A day offline: its readings come one by one, and none of them is shown as it comes."""
    house.read(NOW_S - 86400, 100)
    house.hello(6)
    for n in range(1, 4):
        house.read(NOW_S - 86400 + 900 * n, 100 + n)
        assert house.look() is None
    house.read(NOW_S - 60, 900)
    assert seen(house.look()).energy_wh == 900


def test_a_hello_that_promises_too_much_does_not_hide_a_fresh_reading(house: Kept) -> None:
    house.hello(4_000_000_000)
    house.read(NOW_S, 900)
    assert seen(house.look()).live
