"""Test app: restarts, what feeds the watchdog, the trial of a slot; and the module slot."""

import os
import sys

import slot
from app import App, supervise
from crc16 import crc16

import wire
from hil_tests.firmware.check import in_folder, raises
from hil_tests.firmware.world import Clock, Quiet, Ticks, drive


class Over(Exception):
    """The test has seen enough. (An Exception would be caught by supervise.)"""


class Stop(BaseException):
    """Ends `drive`: nobody catches it."""


class Task:
    """Does nothing; `ticked_ms` follows the time unless it hangs."""

    def __init__(self, ticks):
        self._ticks = ticks
        self._hung_ms = None

    async def run(self):
        pass

    follows = True

    def hang(self):
        self._hung_ms = self._ticks.ticks_ms()

    @property
    def ticked_ms(self):
        return self._ticks.ticks_ms() if self._hung_ms is None else self._hung_ms


class Metering(Task):
    energy_wh = 5
    power_dw = None
    failures = 0
    late_ms = 0


class Uplink(Task):
    pointer = None
    connected = False


class Watchdog:
    fed = 0

    def feed(self):
        self.fed += 1


class Recorder:
    boots = 1
    readings = 2
    events = 3

    def __init__(self):
        self.recorded = []

    def made_room(self, _error):
        return False

    def record(self, code, a=0, b=0, c=0):
        self.recorded.append((code, a, b, c))


class Journal:
    next = 6
    oldest = 1


class Supply:
    control_state = 1


class Console:
    def last(self):
        return ["line"]


class Update:
    trial = False
    proofs = 0

    def proved(self):
        self.proofs += 1
        self.trial = False


class Config:
    status_s = 60
    interval_s = 60


class Meter:
    def __init__(self, slot_path="/nowhere/slot"):
        self.ticks = Ticks()
        self.metering = Metering(self.ticks)
        self.control = Task(self.ticks)
        self.watchdog = Watchdog()
        self.recorder = Recorder()
        self.log = Quiet()
        self.update = Update()
        self.later = None  # after how many seconds to call what
        self.uplink = Uplink(self.ticks)
        self.app = App(
            Config(), self.watchdog, self.recorder, Journal(), Clock(self.ticks), self.metering,
            self.control, self.uplink, Task(self.ticks), Task(self.ticks), Supply(),
            self.update, slot_path, Console(), self.ticks, self.log,
        )  # fmt: skip

    def run(self, seconds):
        """Let the app watch for a while; its tasks themselves do not run."""
        self.app.start = lambda: None
        end = self.ticks.now_ms + 1000 * seconds

        def stop():
            if self.later and end - self.ticks.now_ms < 1000 * (seconds - self.later[0]):
                self.later[1]()
            if self.ticks.now_ms > end:
                raise Stop

        self.ticks.on_sleep = stop
        with raises(Stop):
            drive(self.ticks, self.app.run())


def failing(ticks, log, lives_ms, count):
    """Supervise a task that fails after each of `lives_ms`; return when it was restarted."""
    restarts = []
    lives = list(lives_ms)

    async def run():
        await ticks.sleep_ms(lives.pop(0) if lives else 0)
        raise Over("at work with %d" % len(lives))

    def restarted(name):
        restarts.append((name, ticks.now_ms))
        if len(restarts) == count:
            raise Stop

    with raises(Stop):
        drive(ticks, supervise("uplink", run, restarted, ticks, log))
    return restarts


def test_failed_task_is_logged_and_started_again_ever_later():
    ticks, log = Ticks(), Quiet()
    start = ticks.now_ms
    restarts = failing(ticks, log, (), 8)
    assert [name for name, _ in restarts] == ["uplink"] * 8
    assert [at - start for _, at in restarts] == [
        1000, 3000, 7000, 15000, 31000, 63000, 123000, 183000
    ]  # fmt: skip
    assert any("uplink stopped" in line and "at work" in line for line in log.lines)


def test_long_life_forgives():
    for life_ms in (601_000, 7 * 86_400_000):  # ticks come round in 12.4 days
        ticks = Ticks()
        start = ticks.now_ms
        restarts = failing(ticks, Quiet(), (0, 0, life_ms, 0), 4)
        pauses = [at - start for _, at in restarts]
        assert pauses[:2] == [1000, 3000]
        assert pauses[2] == 3000 + life_ms + 1000


def test_task_that_ends_is_started_again():
    ticks, log = Ticks(), Quiet()
    runs = []

    async def run():
        runs.append(1)
        if len(runs) == 3:
            raise Stop

    with raises(Stop):
        drive(ticks, supervise("time", run, lambda _: None, ticks, log))
    assert "time ended" in log.lines


def test_failure_to_record_a_restart_is_survived():
    ticks, log = Ticks(), Quiet()
    tries = []

    async def run():
        raise Over

    def restarted(_):
        tries.append(1)
        if len(tries) == 4:
            raise Stop
        raise OSError("flash")

    with raises(Stop):
        drive(ticks, supervise("control", run, restarted, ticks, log))


def test_watchdog_is_fed_while_all_is_well():
    meter = Meter()
    meter.run(30)
    assert 28 <= meter.watchdog.fed <= 30


def test_watchdog_starves_when_measuring_or_control_hangs():
    for name in ("metering", "control"):
        meter = Meter()
        getattr(meter, name).hang()
        meter.run(60)
        assert 13 <= meter.watchdog.fed <= 16, (name, meter.watchdog.fed)


def test_a_slow_flash_that_keeps_all_waiting_is_no_hang():
    meter = Meter()
    assert meter.app.healthy()
    meter.ticks.now_ms += 1000
    for task in (meter.metering, meter.control):
        task.hang()  # it had its turn, then writes kept all waiting
    meter.ticks.now_ms += 70000
    assert meter.app.healthy()
    assert not meter.app.healthy(), "nor had it another since"


def test_watchdog_starves_when_tasks_fail_in_a_row():
    meter = Meter()
    for _ in range(5):
        meter.app._restarted("uplink")
    meter.run(10)
    fed = meter.watchdog.fed
    assert fed >= 8
    meter.app._restarted("uplink")
    meter.run(10)
    assert meter.watchdog.fed == fed
    assert meter.recorder.recorded[5] == (wire.EVENT_TASK_RESTARTED, crc16(b"uplink"), 6, 0)
    meter.run(610)
    assert meter.watchdog.fed > fed


def test_status_line_comes_at_its_interval():
    meter = Meter()
    meter.run(185)
    lines = [line for line in meter.log.lines if line.startswith("status ")]
    assert len(lines) == 3
    assert "next=6 oldest=1 pointer=None readings=2" in lines[0]
    assert meter.app.status()["control"] == 1
    assert meter.app.last() == ["line"]


def content(path):
    with open(path) as file:
        return file.read()


def put(path, text):
    with open(path, "w") as file:
        file.write(text)


def test_healthy_trial_is_confirmed_and_no_other():
    with in_folder() as folder:
        path = folder + "/slot"
        for seconds, hung, wanted in (
            (10, False, "b tried"),
            (20, True, "b tried"),
            (20, False, "b"),
        ):
            put(path, "b tried")
            meter = Meter(path)
            if hung:
                meter.metering.hang()
                meter.ticks.now_ms += 20_000
            meter.run(seconds)
            assert content(path) == wanted, (seconds, hung)


def on_trial(path):
    """Return a meter that shows all that an updated one has to."""
    put(path, "b tried")
    meter = Meter(path)
    meter.update.trial = True
    meter.metering.power_dw = 0
    meter.uplink.pointer = Journal.next
    return meter


def test_an_update_stays_once_it_shows_all_that_a_meter_is_for():
    with in_folder() as folder:
        path = folder + "/slot"
        meter = on_trial(path)
        meter.run(10)
        assert content(path) == "b tried"
        meter = on_trial(path)
        meter.run(1000)
        assert content(path) == "b"
        assert meter.update.proofs == 1
        assert meter.watchdog.fed > 990


LACKING = (
    ("uplink", "pointer", Journal.next - 1),
    ("recorder", "readings", 0),
    ("metering", "power_dw", None),
    ("control", "follows", False),
    ("uplink", "pointer", None),
)


def test_an_update_that_lacks_anything_is_given_up_in_time():
    given_up(LACKING[:1])


def long_all_that_an_update_may_lack():
    given_up(LACKING)


def given_up(lacking):
    with in_folder() as folder:
        path = folder + "/slot"
        for part, name, value in lacking:
            meter = on_trial(path)
            setattr(getattr(meter, part), name, value)
            meter.run(800)
            assert content(path) == "b tried", name
            assert 710 < meter.watchdog.fed <= 720, "boot.py is to go back"
            assert not meter.update.proofs


def test_an_update_that_shows_it_late_stays():
    with in_folder() as folder:
        path = folder + "/slot"
        meter = on_trial(path)
        meter.recorder.readings = 0
        meter.later = (700, lambda: setattr(meter.recorder, "readings", 1))
        meter.run(1000)
        assert content(path) == "b"
        assert meter.watchdog.fed > 990


def test_a_slot_that_cannot_be_confirmed_yet_is_confirmed_later():
    with in_folder() as folder:
        path = folder + "/slot"
        put(path, "b tried")
        meter = Meter(path)
        asked = []
        create = slot.records.create

        def full(_):
            raise OSError(28, "full")

        def made_room(error):
            asked.append(error.errno)
            if len(asked) == 2:
                slot.records.create = create
            return False

        slot.records.create = full
        try:
            meter.recorder.made_room = made_room
            meter.run(60)
        finally:
            slot.records.create = create
        assert content(path) == "b"
        assert asked == [28, 28]
        assert meter.watchdog.fed > 55


def test_slot_words():
    with in_folder() as folder:
        path = folder + "/slot"
        slot.confirm(path)  # nothing there: nothing to do
        slot.postpone(path)
        for before, confirmed, postponed in (
            ("a", "a", "a"),
            ("b try\n", "b", "b try\n"),
            ("b tried", "b", "b try"),
            ("b 2", "b", "b"),
            ("b stay", "b", "b stay"),
            ("", "", ""),
        ):
            put(path, before)
            slot.confirm(path)
            assert content(path) == confirmed
            put(path, before)
            slot.postpone(path)
            assert content(path) == postponed


def test_the_other_slot_is_attempted():
    with in_folder() as folder:
        path = folder + "/slot"
        for before, after in (
            ("", "b try"),
            ("a", "b try"),
            ("b 2", "a try"),
            ("b stay", "a try"),
        ):
            put(path, before)
            assert slot.attempt(path)
            assert content(path) == after
        assert not slot.attempt(folder + "/nowhere/slot")


def test_the_slot_that_runs_is_confirmed_whatever_was_to_run():
    """Where boot.py could not write, it runs another than the one that is named."""
    with in_folder() as folder:
        path = folder + "/slot"
        for before in ("b try", "b tried"):
            put(path, before)
            sys.path.append("/a")
            try:
                slot.confirm(path)
            finally:
                sys.path.remove("/a")
            assert content(path) == "a"


def test_a_folder_in_the_place_of_the_slot_is_in_no_way():
    with in_folder() as folder:
        path = folder + "/slot"
        put(path, "b tried")
        os.mkdir(path + ".new")
        slot.confirm(path)
        assert content(path) == "b"
        os.remove(path)
        os.mkdir(path)
        slot.confirm(path)
        slot.postpone(path)
