"""Test timesync: how often it asks, what it believes, and that nothing ends it but its caller."""

from clock import Clock
from timesync import TimeSync

import wire
from hil_tests.firmware.check import raises
from hil_tests.firmware.world import Quiet, Ticks, drive

T0 = 1_790_000_000  # 2026-09-21
KISS_OF_DEATH_S = 2085978496  # 2036-02-07


class Enough(Exception):
    pass


class Network:
    """A link, a name server and a time server; `answers` are what the latter says, or raises."""

    def __init__(self, ticks, answers):
        self.up = True
        self.named = True
        self._ticks = ticks
        self.asked = []  # milliseconds since the start, address
        self._answers = answers
        self._from_ms = ticks.now_ms

    def gateway(self):
        return "10.0.0.1"

    async def resolve(self, host):
        assert host == "ntp.example"
        if not self.named:
            raise OSError("no such name")
        return "10.0.0.9"

    async def network_time(self, address):
        self.asked.append((self._ticks.now_ms - self._from_ms, address))
        if not self._answers:
            raise Enough
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Meter:
    def __init__(self, *answers, host="ntp.example"):
        self.ticks = Ticks()
        self.log = Quiet()
        self.events = []
        self.network = Network(self.ticks, list(answers))
        self.wall_s = 0
        self.clock = Clock(lambda: self.wall_s, self.set_wall, self.ticks.ticks_ms, None)
        self.clock.lived(T0)
        self.sync = TimeSync(
            host, self.network, self.network.resolve, self.network.network_time, self.clock, self,
            self.log,
        )  # fmt: skip

    def set_wall(self, time_s):
        self.wall_s = time_s

    def record(self, *event):
        self.events.append(event)

    def run(self):
        with raises(Enough):
            drive(self.ticks, self.sync.run())
        return [at_ms for at_ms, _ in self.network.asked]


def test_it_asks_once_an_hour_and_tells_a_correction():
    meter = Meter(T0 + 100, T0 + 3700)
    assert meter.run() == [0, 3600000, 7200000]
    assert meter.events == [
        (wire.EVENT_CLOCK_SET, T0, T0 + 100, wire.TRUST_NETWORK),
        (wire.EVENT_CLOCK_SET, T0 + 3600, T0 + 3700, wire.TRUST_NETWORK),
    ]


def test_after_a_failure_it_asks_soon_then_ever_more_rarely():
    meter = Meter(*[OSError("no answer")] * 9)
    asked = meter.run()
    assert [asked[i + 1] - asked[i] for i in range(9)] == [
        5000, 10000, 20000, 40000, 80000, 160000, 300000, 300000, 300000
    ]  # fmt: skip


def test_what_cannot_be_believed_is_a_failure_and_sets_nothing():
    meter = Meter(KISS_OF_DEATH_S, 0, 0xFFFFFFFF, T0 + 100)
    assert meter.run() == [0, 5000, 15000, 35000, 35000 + 3600000]
    assert meter.wall_s == T0 + 100
    assert meter.events == [(wire.EVENT_CLOCK_SET, T0 + 35, T0 + 100, wire.TRUST_NETWORK)]
    assert "4294967295 cannot be believed" in " ".join(meter.log.lines)


def test_without_a_name_server_the_router_is_asked():
    meter = Meter(T0 + 100)
    meter.network.named = False
    meter.run()
    assert meter.network.asked[0][1] == "10.0.0.1"


def test_without_a_time_server_nobody_is_asked():
    meter = Meter(host="")
    hours = [0] * 5

    def count():
        if not hours:
            raise Enough
        hours.pop()

    meter.ticks.on_sleep = count
    assert meter.run() == []
