"""Test control: permits in, contactor out, and in which order things become durable."""

import asyncio
import os

import control as under_test
import records
from clock import Clock
from control import restore
from supply import Supply

import wire
from hil_tests.firmware.check import MICROPYTHON, in_folder, raises
from hil_tests.firmware.rig import Rig
from hil_tests.firmware.signers import (
    CHAIN_ID,
    DAY_S,
    LEDGER,
    PUBLIC_KEYS,
    T0,
    bundle,
    domain,
    permit,
)

ACCEPTED = (wire.EVENT_PERMIT_ACCEPTED, 7, T0 + 30 * DAY_S, 0)
CONNECTED = (wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT, 7, 0)


def connected(folder):
    rig = Rig(folder)
    rig.control.bundle(bundle(permit(7)))
    rig.run(1000)
    assert rig.closed
    rig.take()
    return rig


def test_permit_from_the_network_connects():
    with in_folder() as folder:
        rig = Rig(folder).run(60000)
        assert rig.take() == []
        rig.control.bundle(bundle(permit(7)))
        rig.run(2000)
        assert rig.take() == [("contactor", True), ACCEPTED, CONNECTED]
        assert rig.supply.control_state == wire.CONTROL_CONNECTED
        assert rig.clock.not_before() >= T0  # the signers saw that time, so it has passed


class SlowFolder:
    """Stands for `os`: a look for a file takes a second of the rig's ticks."""

    def __init__(self, rig):
        self.rig = rig
        self.looks = 0

    def stat(self, path):
        self.looks += 1
        self.rig.ticks += 1000
        return os.stat(path)


def test_a_slow_flash_is_looked_at_more_rarely():
    with in_folder() as folder:
        rig = Rig(folder)
        under_test.os = SlowFolder(rig)
        try:
            rig.run(100_000)
            assert 4 <= under_test.os.looks <= 6
            with open(folder + "/permit.new", "wb") as file:
                file.write(bundle(permit(7)))
            under_test.os.remove = os.remove
            rig.run(60_000)
        finally:
            under_test.os = os
        assert rig.closed


def test_permit_handed_over_by_hand_connects_and_is_deleted():
    with in_folder() as folder:
        rig = Rig(folder).run(1000)
        with open(folder + "/permit.new", "wb") as file:
            file.write(bundle(permit(7)))
        rig.run(2000)
        assert rig.take() == [("contactor", True), ACCEPTED, CONNECTED]
        assert "permit.new" not in os.listdir(folder)


def test_a_folder_in_the_place_of_a_permit_stops_nothing():
    with in_folder() as folder:
        rig = Rig(folder).run(1000)
        for inside in ((), ("kept",), ("kept",)):
            os.mkdir(folder + "/permit.new")
            for name in inside:
                os.mkdir(folder + "/permit.new/" + name)
            rig.run(3000)
            assert "permit.new" not in os.listdir(folder)
        assert sorted(n for n in os.listdir(folder) if "aside" in n) == [
            "permit.new.aside1",
            "permit.new.aside2",
        ]
        with open(folder + "/permit.new", "wb") as file:
            file.write(bundle(permit(7)))
        rig.run(3000)
        assert rig.closed


def test_a_permit_file_that_cannot_be_read_or_removed_stops_nothing():
    with in_folder() as folder:
        rig = Rig(folder).run(1000)

        def fail(*_):
            raise OSError(84, "broken")

        clear = records.clear
        under_test.open = records.clear = fail
        try:
            with open(folder + "/permit.new", "wb") as file:
                file.write(bundle(permit(7)))
            rig.run(60_000)
            rig.control.bundle(bundle(permit(8)))
            rig.run(3000)
            assert rig.permits.serial == 8
        finally:
            del under_test.open
            records.clear = clear
        rig.run(600_000)
        assert "permit.new" not in os.listdir(folder)


def test_a_full_flash_makes_room_for_permits_clock_and_supply():
    with in_folder() as folder:
        room = [0]  # how often it was made

        def full(*_):
            raise OSError(28, "full")

        def made_room(error):
            assert error.errno == 28
            room[0] += 1
            del records.open
            return True

        rig = Rig(folder)
        rig.room = made_room
        try:
            records.open = full
            rig.control.bundle(bundle(permit(7)))
            rig.run(2000)
            assert (rig.permits.serial, rig.closed, room[0]) == (7, True, 1)
            for keep in (rig.control._keep_supply_record, rig.control._keep_clock_record):
                records.open = full
                keep(b"record")
            assert room[0] == 3
        finally:
            if hasattr(records, "open"):
                del records.open


def test_file_that_grows_is_left_until_it_is_whole():
    with in_folder() as folder:
        rig = Rig(folder).run(1000)
        data = bundle(permit(7))
        for size in (0, 50, 100, 150):
            with open(folder + "/permit.new", "wb") as file:
                file.write(data[:size])
            rig.run(500)
        with open(folder + "/permit.new", "wb") as file:
            file.write(data)
        rig.run(2000)
        assert rig.closed
        assert rig.control.refusals == 0


def test_bad_files_are_refused_and_deleted():
    with in_folder() as folder:
        rig = Rig(folder)
        for data in (b"", b"\xff" * 3000, bundle(permit(7), (0,))):
            with open(folder + "/permit.new", "wb") as file:
                file.write(data)
            rig.run(3000)
            assert "permit.new" not in os.listdir(folder)
        assert rig.control.refusals == 3
        assert not rig.closed


def test_an_opening_is_told_before_it_is_saved_before_the_contactor():
    with in_folder() as folder:
        rig = connected(folder)
        rig.run(10000)

        def looking(what):
            # What a power cut at this moment would leave behind.
            saved = Supply(restore(folder + "/control.rec"), False)
            rig.done.append((what, saved.control_state))

        rig.record = lambda code, *_: looking(code)
        rig.set = looking
        rig.clock.lived(T0 + 31 * DAY_S)
        rig.run(500)
        assert rig.take() == [
            (wire.EVENT_DISCONNECTED, wire.CONTROL_CONNECTED),
            (False, wire.CONTROL_DISCONNECTED),
        ]


class SlowFlash:
    """Have each durable write of a rig take half a second of its ticks.

    `done` names what happened since, in order, and says when: (what, ms). An event is written
    twice, as recorder.Recorder does when the register has moved.
    """

    def __init__(self, rig):
        self.done = []
        self._rig = rig
        self._began_ms = rig.ticks
        self._real = records.save, rig.record, rig.set

    def __enter__(self):
        records.save, self._rig.record, self._rig.set = self._save, self._event, self._move
        return self

    def __exit__(self, *_):
        records.save, self._rig.record, self._rig.set = self._real

    def names(self):
        return [what for what, _ in self.done]

    def _pass(self, what):
        self._rig.ticks += 500
        self.done.append((what, self._rig.ticks - self._began_ms))

    def _save(self, path, payload, made_room):
        self._pass(path.rsplit("/", 1)[1])
        self._real[0](path, payload, made_room)

    def _event(self, code, a, b, c):
        self._pass("metering.rec")
        self._pass(code)
        self._real[1](code, a, b, c)

    def _move(self, closed):
        self.done.append((closed, self._rig.ticks - self._began_ms))
        self._real[2](closed)


def test_permit_connects_within_two_seconds_though_the_flash_is_slow():
    with in_folder() as folder:
        rig = Rig(folder).run(60000)
        for serial, days in ((7, 30), (8, 70)):
            with SlowFlash(rig) as flash:
                rig.control.bundle(bundle(permit(serial, days=days)))
                held_ms = []
                for _ in range(10):
                    before_ms = rig.ticks
                    rig.run(100)
                    held_ms.append(rig.ticks - before_ms)
            assert max(held_ms) <= 1100  # the two writes of an event: polls come between all else
            assert flash.names()[:2] == ["permits.rec", True]
            assert flash.done[1][1] <= 1000, flash.done
            rest = flash.names()[2:]
            events = [wire.EVENT_PERMIT_ACCEPTED, wire.EVENT_RECONNECTED]
            assert [what for what in rest if what in events] == events
            assert rest.index(wire.EVENT_RECONNECTED) < rest.index("control.rec")
            rig.clock.lived(T0 + 31 * DAY_S)
            rig.run(30000)
            assert rig.closed == (serial == 8)


def test_a_hand_waits_until_what_it_did_is_written():
    # A restart knows nothing of the hand: without its record it would open the contactor again.
    with in_folder() as folder:
        rig = Rig(folder).run(1000)
        rig.control.bundle(bundle(permit(7, flags=wire.PERMIT_BUTTON)))
        rig.run(1000)
        with SlowFlash(rig) as flash:
            rig.press()
        names = flash.names()
        assert names.index("control.rec") < names.index(wire.EVENT_RECONNECTED) < names.index(True)


def test_events_that_cannot_be_recorded_yet_are_not_lost():
    with in_folder() as folder:
        rig = Rig(folder).run(1000)
        rig.broken = "events"
        rig.control.bundle(bundle(permit(7)))
        with raises(OSError):
            rig.run(1000)
        assert rig.closed  # the permit is saved: it says so after a restart, too
        rig.broken = None
        rig.control.start()
        rig.run(1000)
        assert rig.take() == [("contactor", True), ACCEPTED, CONNECTED]


def test_contactor_stays_when_the_event_cannot_be_recorded():
    with in_folder() as folder:
        rig = connected(folder)
        rig.broken = "events"
        rig.ticks += 60000
        rig.clock.lived(T0 + 31 * DAY_S)
        with raises(OSError):
            rig.run(2000)
        assert rig.closed
        rig.broken = None
        rig.start()
        rig.run(9000)
        assert rig.closed
        rig.run(2000)  # nothing was saved: it comes to the same move, and the event tells
        assert not rig.closed
        assert [done[:2] for done in rig.take()] == [
            (wire.EVENT_DISCONNECTED, wire.REASON_EXPIRED),
            ("contactor", False),
        ]


def test_expiry_disconnects_and_payment_reconnects():
    with in_folder() as folder:
        rig = connected(folder)
        rig.control.bundle(bundle(wire.pack_time(1, T0 + 31 * DAY_S)))
        rig.run(30000)
        assert rig.take() == [
            (wire.EVENT_CLOCK_SET, T0 + 1, T0 + 31 * DAY_S, wire.TRUST_NETWORK),
            (wire.EVENT_DISCONNECTED, wire.REASON_EXPIRED, 7, 100),
            ("contactor", False),
        ]
        rig.control.bundle(bundle(permit(8, days=60)))
        rig.run(2000)
        assert rig.closed


def test_network_time_cuts_nobody():
    with in_folder() as folder:
        rig = connected(folder)
        rig.clock.network(T0 + 10 * 365 * DAY_S)
        rig.run(60000)
        assert rig.closed


def test_button_reconnects_and_a_stuck_one_does_not():
    with in_folder() as folder:
        rig = Rig(folder)
        rig.button.level = 1
        rig.start()
        rig.control.bundle(bundle(permit(7, flags=wire.PERMIT_BUTTON)))
        rig.run(60000)
        assert not rig.closed
        rig.button.level = 0
        rig.run(1000)
        rig.button.level = 1
        rig.run(100)
        rig.button.level = 0
        rig.run(1000)
        assert not rig.closed  # a glitch of one sample
        rig.press()
        assert rig.closed


def test_overload_and_energy_limit_reach_the_supply():
    with in_folder() as folder:
        rig = Rig(folder)
        rig.control.bundle(bundle(permit(7, power_limit_dw=5000, energy_limit_wh=900)))
        rig.run(1000)
        rig.load_dw = 6000
        rig.run(11000)
        assert not rig.closed
        rig.load_dw = 100
        rig.run(61000)
        assert rig.closed
        rig.load_dw = None
        rig.run(60000)
        assert rig.closed
        rig.energy_wh = 900
        rig.run(2000)
        assert not rig.closed
        assert rig.supply.reason == wire.REASON_ENERGY_LIMIT


def test_refusals_are_counted_and_their_events_limited():
    with in_folder() as folder:
        rig = Rig(folder)
        bad = bundle(permit(7), under=domain(meter=bytes(20)))
        for _ in range(240):  # four minutes of forgeries
            rig.control.bundle(bad)
            rig.run(1000)
        refused = [done for done in rig.take() if done[0] == wire.EVENT_PERMIT_REFUSED]
        assert refused[0] == (wire.EVENT_PERMIT_REFUSED, wire.REFUSED_SIGNATURE, 7, 1)
        assert 2 <= len(refused) <= 3
        assert 200 < rig.control.refusals <= 240
        assert refused[-1][3] > 100
        assert not rig.closed
        rig.run(6000).control.bundle(bundle(permit(7)))
        rig.run(2000)
        assert rig.closed


def test_flood_between_rounds_is_bounded():
    with in_folder() as folder:
        rig = Rig(folder)
        for _ in range(100):
            rig.control.bundle(b"\0" * 2000)
        rig.run(1900)
        assert rig.control.refusals == 2  # one a second
        rig.run(20000)
        assert rig.control.refusals == 4


def test_what_the_broker_repeats_is_no_refusal():
    with in_folder() as folder:
        rig = connected(folder)
        time = bundle(wire.pack_time(1, T0 + 5))
        for _ in range(5):
            rig.control.bundle(bundle(permit(7)))
            rig.control.bundle(time)
            rig.run(2000)
        assert [done[0] for done in rig.take()] == [wire.EVENT_CLOCK_SET]
        assert rig.control.refusals == 0


def test_trust_changes_are_events():
    with in_folder() as folder:
        rig = Rig(folder)
        key = PUBLIC_KEYS[4]
        frame = wire.pack_signer(1, 3, T0, wire.key_prefix(key))
        rig.control.bundle(bundle(frame, public_key=key))
        rig.control.bundle(bundle(wire.pack_ledger(4, T0, (9 << 32) + 5, bytes(20))))
        rig.run(2000)
        assert rig.take() == [
            (wire.EVENT_SIGNER_CHANGED, 1, 3, 0),
            (wire.EVENT_LEDGER_CHANGED, 4, 5, 0),
        ]


def test_an_update_is_handed_on_and_moves_no_clock():
    with in_folder() as folder:
        rig = Rig(folder)
        target = (5 << 24) + 0x010203
        update = wire.pack_update(180, T0 + 9, target, bytes(28))
        rig.control.bundle(bundle(update, under=wire.update_domain(CHAIN_ID, LEDGER)))
        rig.run(2000)
        assert rig.take() == [
            ("update", T0 + 9),
            (wire.EVENT_UPDATE_ACCEPTED, T0 + 9, target, 180),
        ]
        assert rig.clock.not_before() < 1000


def test_follows():
    with in_folder() as folder:
        rig = Rig(folder)
        assert rig.control.follows
        rig.closed = True
        assert not rig.control.follows
        rig.closed = None
        assert rig.control.follows
        rig = connected(folder)
        assert rig.control.follows
        rig.closed = False
        assert not rig.control.follows


def test_restart_changes_nothing():
    with in_folder() as folder:
        rig = connected(folder)
        rig.control.bundle(bundle(wire.pack_time(1, T0 + 20 * DAY_S)))
        rig.run(20000)
        rig.take()
        lived_s = rig.clock.not_before()
        rig.ticks = 99
        rig.start()
        rig.run(60000)
        assert rig.take() == []
        assert rig.closed
        assert rig.clock.not_before() >= lived_s - 20 + 60


def saved_clock(folder):
    """Return what `not_before` would be after a power cut now."""
    return Clock(None, None, lambda: 0, restore(folder + "/clock.rec")).not_before()


def test_a_power_cut_takes_little_from_the_clock():
    """After a run of t s at most t, (t + 10) / 2 and 300 s, of which the docs tell."""
    with in_folder() as folder:
        rig = connected(folder)
        rig.start()
        lived_s = saved_clock(folder)
        lost_s = [0]
        for ran_s in range(1, 1300):
            rig.run(1000)
            lost_s.append(ran_s - (saved_clock(folder) - lived_s))
            assert lost_s[-1] <= min(ran_s, (ran_s + 10) // 2 + 1, 301), ran_s
        assert max(lost_s) >= 299
        assert max(lost_s[i] / i for i in range(60, 1300)) <= 0.6


def test_clock_is_saved_every_five_minutes():
    with in_folder() as folder:
        rig = connected(folder)
        for _ in range(700):
            rig.run(1000)
        lived_s = saved_clock(folder)
        saved_s = {lived_s}
        for _ in range(1000):
            rig.run(1000)
            saved_s.add(saved_clock(folder))
        assert 3 <= len(saved_s) - 1 <= 4
        assert max(saved_s) - lived_s >= 900


def test_clock_that_leaps_is_saved_before_it_cuts():
    with in_folder() as folder:
        rig = connected(folder)
        rig.run(320000)
        rig.set = lambda _: rig.done.append(saved_clock(folder))
        rig.clock.lived(T0 + 31 * DAY_S)
        rig.run(2000)
        assert rig.take()[-1] >= T0 + 31 * DAY_S
        os.remove(folder + "/clock.rec")
        rig.clock.lived(rig.clock.not_before() + 200)
        rig.run(1000)
        assert "clock.rec" not in os.listdir(folder)


def test_clock_that_signed_time_puts_back_is_saved_at_once():
    with in_folder() as folder:
        rig = connected(folder)
        rig.clock.network(T0 + 400 * DAY_S)
        rig.run(300000)
        for serial in (1, 2):
            rig.control.bundle(bundle(wire.pack_time(serial, T0 + 300 + serial)))
            rig.run(1000)
        rig.start()  # without power for a moment
        assert rig.clock.now()[0] < T0 + DAY_S


def test_control_tells_that_it_lives():
    with in_folder() as folder:
        rig = Rig(folder)
        rig.run(5000)
        assert rig.control.ticked_ms == rig.ticks


def test_flash_and_permits_are_not_worn_by_every_round():
    with in_folder() as folder:
        rig = connected(folder)
        grant = rig.permits.grant
        asked = []
        rig.permits.grant = lambda *inputs: asked.append(1) or grant(*inputs)
        os.remove(folder + "/control.rec")
        rig.run(20000)
        assert "control.rec" not in os.listdir(folder)
        assert 18 <= len(asked) <= 21


def test_least_time_runs_from_the_move_of_a_slow_contactor():
    with in_folder() as folder:
        rig = connected(folder)
        rig.run(20000)

        def slowly(closed):
            rig.ticks += 3000
            rig.done.append(("contactor", closed))
            rig.closed = closed

        rig.set = slowly
        rig.clock.lived(T0 + 31 * DAY_S)
        rig.run(2000)
        assert not rig.closed
        rig.control.bundle(bundle(permit(8, days=60)))
        rig.run(7500)
        assert not rig.closed
        rig.run(3000)
        assert rig.closed


def test_hand_over_that_failed_is_taken_up_again():
    with in_folder() as folder:
        rig = Rig(folder)
        rig.broken = "events"
        with open(folder + "/permit.new", "wb") as file:
            file.write(bundle(permit(7)))
        with raises(OSError):
            rig.run(3000)
        rig.broken = None
        rig.control.start()
        rig.run(3000)
        assert rig.closed
        assert "permit.new" not in os.listdir(folder)
        assert rig.control.refusals == 0


def test_loss_is_told_once_though_the_task_restarts():
    with in_folder() as folder:
        for name in ("clock.rec", "permits.rec", "control.rec"):
            records.save(folder + "/" + name, b"nonsense")
        rig = Rig(folder)
        assert len(rig.take()) == 3
        rig.run(1000)
        rig.control.start()
        rig.run(1000)
        rig.start()
        rig.run(20000)
        assert rig.take() == []


def test_lost_records_are_told_once_and_change_nothing():
    names = (("clock.rec", wire.STATE_CLOCK), ("permits.rec", wire.STATE_PERMITS))
    names += (("control.rec", wire.STATE_CONTROL),)
    for name, number in names:
        with in_folder() as folder:
            rig = connected(folder)
            with open(folder + "/" + name, "r+b") as file:
                file.write(b"\xa5\x5a")
            rig.start()
            assert rig.take() == [(wire.EVENT_STATE_LOST, number, 0, 0)]
            rig.run(60000)
            rig.start()
            rig.run(60000)
            assert rig.take() == [], name
            assert rig.closed


def test_clock_without_memory_takes_the_permits_floor():
    with in_folder() as folder:
        rig = connected(folder)
        os.remove(folder + "/clock.rec")
        rig.start()
        assert rig.clock.not_before() == T0


def test_led_tells_the_states_apart():
    with in_folder() as folder:
        rig = Rig(folder)
        patterns = []

        def look():
            rig.run(2000)
            patterns.append(rig.led.seen)

        look()
        rig.control.bundle(bundle(permit(7)))
        rig.run(2000)
        look()
        rig.clock.lived(T0 + 25 * DAY_S)
        rig.run(10000)
        look()
        rig.clock.lived(T0 + 31 * DAY_S)
        rig.run(10000)
        look()
        rig.control.bundle(bundle(permit(8, days=60, flags=wire.PERMIT_BUTTON)))
        rig.run(2000)
        look()
        rig.bridged, rig.load_dw = True, 3000
        rig.run(12000)
        look()
        assert patterns[1] == 20 * "1"
        assert patterns[0] == patterns[3]
        assert len(set(patterns)) == 5


def test_run_ticks_for_ever():
    if not MICROPYTHON:
        return  # CPython's asyncio has no sleep_ms
    with in_folder() as folder:
        rig = Rig(folder)
        rig.control.bundle(bundle(permit(7)))

        async def life():
            task = asyncio.create_task(rig.control.run())
            for _ in range(100):
                rig.ticks += 100
                await asyncio.sleep_ms(10)
                if rig.closed:
                    break
            task.cancel()

        asyncio.run(life())
        assert rig.closed
