"""What is counted over an outage, a silence, a clock that is set: the parts as main joins them."""

from clock import Clock
from journal import Journal
from metering import Metering
from recorder import Recorder
from register import Register

import wire
from hil_tests.firmware.check import in_folder
from hil_tests.firmware.signers import DAY_S, T0
from hil_tests.firmware.test_metering import Config, Contactor, Sensor, Supply
from hil_tests.firmware.world import Quiet, Ticks, drive

HOUR_S = 3600
YEAR_S = 365 * DAY_S
RTC_AT_POWER_ON_S = 946684800
RESTART_S = Config.interval_s + 300
OF_THE_SENSOR = (
    wire.EVENT_REGISTER_SWAP,
    wire.EVENT_STEP_HELD,
    wire.EVENT_STEP_COUNTED,
    wire.EVENT_REGISTER_RESET,
)


class House:
    """A meter and its sensor in a world where it is `time_s`."""

    def __init__(self, folder):
        self._folder = folder
        self.time_s = T0
        self._clock_record = None
        self.sensor = Sensor()
        self.sensor.energy_wh = 1000
        self._taken = 0
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.journal.close()

    def start(self):
        """Power it on."""
        self.ticks = Ticks()
        self._rtc_s = RTC_AT_POWER_ON_S - self.ticks.now_ms // 1000
        self.clock = Clock(self.wall, self.set_wall, self.ticks.ticks_ms, self._clock_record)
        self.journal = Journal(self._folder + "/journal", 2000)
        self.recorder = Recorder(
            self._folder + "/metering.rec",
            self.journal,
            self.clock,
            lambda saved: Register(saved, [(1, 1)], RESTART_S),
            Quiet(),
        )
        self._metering = Metering(
            Config(), [self.sensor], self.recorder, self.clock, Supply(), Contactor(), None, None,
            self.ticks, Quiet(),
        )  # fmt: skip
        self.recorder.start(1, 1, 1)

    def wall(self):
        return self._rtc_s + self.ticks.now_ms // 1000

    def set_wall(self, time_s):
        self._rtc_s += time_s - self.wall()

    def go(self, seconds, power_w=0):
        """Let it measure; its house uses `power_w`."""
        used_ws = 0
        for _ in range(seconds):
            drive(self.ticks, self._metering.poll())
            self.pass_by(1)
            self.ticks.now_ms += 990  # a poll took 10
            used_ws += power_w
            if used_ws >= 3600:
                self.sensor.energy_wh += used_ws // 3600
                used_ws %= 3600

    def pass_by(self, seconds):
        self.time_s += seconds

    def trust(self, level):
        """Let it hear the time from the network (1), and from the signers, too (2)."""
        if level:
            self.clock.network(self.time_s)
        if level == wire.TRUST_SIGNED:
            self.clock.signed(self.time_s - 5)
        assert self.clock.now()[1] == level

    def off(self, seconds, counted_wh):
        """Cut its power for so long; its sensor shows so much more afterwards."""
        self._clock_record = self.clock.save()
        self.journal.close()
        self.pass_by(seconds)
        self.sensor.energy_wh += counted_wh
        self.start()

    @property
    def energy_wh(self):
        return self.recorder.register.energy_wh

    def events(self):
        """Return (code, b, c) of what it told of its sensor since the last call."""
        found = []
        for sequence in range(self._taken + 1, self.journal.next):
            frame = wire.parse(self.journal.read(sequence))
            if isinstance(frame, wire.Event) and frame.code in OF_THE_SENSOR:
                found.append((frame.code, frame.b, frame.c))
        self._taken = self.journal.next - 1
        return found


def measured(folder, trust=wire.TRUST_SIGNED):
    """Return a house that has measured 100 Wh, saved a reading, and knows the time so well."""
    house = House(folder)
    house.go(2)
    house.trust(trust)
    house.go(200, 1800)
    house.go(2 * Config.interval_s)
    assert house.energy_wh == 100
    assert house.events() == []
    return house


def test_a_sensor_swapped_while_the_power_is_off_adds_nothing():
    for off_s in (10, 10 * HOUR_S):
        with in_folder() as folder, measured(folder) as house:
            house.off(off_s, 4_999_900)
            house.go(70)
            house.trust(wire.TRUST_SIGNED)
            house.go(70)
            assert house.energy_wh == 100
            held, swapped = house.events()
            assert held[:2] == (wire.EVENT_STEP_HELD, 4_999_900)
            assert swapped[:2] == (wire.EVENT_REGISTER_SWAP, 1100)
            house.go(3600, 1000)
            assert 1090 <= house.energy_wh <= 1100


def test_a_forged_network_time_proves_no_outage():
    for trust in (wire.TRUST_NONE, wire.TRUST_NETWORK, wire.TRUST_SIGNED):
        with in_folder() as folder, measured(folder, trust) as house:
            house.off(10, 100_000)
            house.go(30)
            house.clock.network(house.time_s + YEAR_S)
            house.go(100)
            house.clock.network(house.time_s + YEAR_S + HOUR_S)
            house.go(100)
            assert house.energy_wh == 100
            house.off(10, 0)
            house.go(100)
            assert house.energy_wh == 100


def test_energy_counted_while_the_meter_alone_was_off_is_added_once_signed_time_proves_it():
    with in_folder() as folder, measured(folder) as house:
        house.off(10 * HOUR_S, 20_000)
        house.go(70)
        house.trust(wire.TRUST_NETWORK)
        house.go(200)
        assert house.energy_wh == 100  # anybody can say so
        house.trust(wire.TRUST_SIGNED)
        house.go(2)
        assert house.energy_wh == 20_100
        held, swapped, counted = house.events()
        assert held[:2] == (wire.EVENT_STEP_HELD, 20_000)
        assert swapped[:2] == (wire.EVENT_REGISTER_SWAP, 1100)
        assert counted[:2] == (wire.EVENT_STEP_COUNTED, 20_000)
        # No earlier than the last reading, which was signed; never longer than it was.
        assert 10 * HOUR_S - 10 <= counted[2] <= 10 * HOUR_S + Config.interval_s
        house.off(10, 0)
        house.go(100)
        assert house.energy_wh == 20_100
        assert house.events() == []


def test_an_outage_that_began_at_no_signed_time_is_not_proven():
    # How late its clock was then is unknown: so is how long it was off.
    for trust in (wire.TRUST_NONE, wire.TRUST_NETWORK):
        with in_folder() as folder, measured(folder, trust) as house:
            house.off(10, 20_000)
            house.go(70)
            house.pass_by(10 * DAY_S)  # as if signed time came after ten days without
            house.trust(wire.TRUST_SIGNED)
            house.go(100)
            assert house.energy_wh == 100
            assert house.events()[0][:2] == (wire.EVENT_STEP_HELD, 20_000)


def test_waiting_proves_no_outage():
    with in_folder() as folder, measured(folder) as house:
        house.off(10, 20_000)
        house.go(2 * HOUR_S)
        house.trust(wire.TRUST_SIGNED)
        house.go(100)
        assert house.energy_wh == 100


def test_an_outage_of_the_mains_and_a_reset_lose_nothing_and_hold_nothing():
    for off_s, counted_wh in ((30 * DAY_S, 0), (5, 3), (60, 380), (240, 1500)):
        with in_folder() as folder, measured(folder) as house:
            house.off(off_s, counted_wh)
            house.go(3)
            assert house.energy_wh == 100 + counted_wh
            house.trust(wire.TRUST_SIGNED)
            house.go(100)
            assert house.energy_wh == 100 + counted_wh
            assert house.events() == []


def test_what_was_counted_since_the_last_reading_is_not_lost():
    with in_folder() as folder, measured(folder) as house:
        house.go(Config.interval_s - 20, 20_000)
        used_wh = house.energy_wh
        assert used_wh > 4900
        house.off(60, 300)
        house.go(3)
        assert used_wh + 300 <= house.energy_wh <= used_wh + 306
        assert house.events() == []


def test_a_clock_that_is_set_gives_a_silent_sensor_no_time():
    def network(house):
        house.clock.network(house.time_s + YEAR_S)

    def signed(house):
        house.clock.signed(house.time_s + 20 * DAY_S)  # true, and long unheard of

    for set_clock in (network, signed):
        with in_folder() as folder, measured(folder, wire.TRUST_NETWORK) as house:
            house.sensor.silent = True
            house.go(10)
            set_clock(house)
            house.sensor.silent = False
            house.sensor.energy_wh = 200_000
            house.go(100)
            assert house.energy_wh == 100
            assert house.events()[0][:2] == (wire.EVENT_STEP_HELD, 198_900)


def test_a_silent_sensor_has_the_time_that_the_meter_ran():
    with in_folder() as folder, measured(folder) as house:
        house.sensor.silent = True
        house.go(HOUR_S)
        house.sensor.silent = False
        house.sensor.energy_wh += 22_000
        house.go(3)
        assert house.energy_wh == 22_100
        assert house.events() == []
