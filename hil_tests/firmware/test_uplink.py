"""Test uplink: hello, want, batches, resending, backing off, hostile messages, names."""

import sys

import uplink as under_test
from journal import JournalError
from uplink import NetworkError, Uplink

import wire
from hil_tests.firmware.check import MICROPYTHON, raises
from hil_tests.firmware.world import Quiet, Ticks, drive

METER = bytes(range(20))
UP = wire.topic("kalpa", METER, "up").encode()
DOWN = wire.topic("kalpa", METER, "down").encode()
PERMIT = wire.topic("kalpa", METER, "permit").encode()
TIME = wire.time_topic("kalpa").encode()
STATUS = wire.topic("kalpa", METER, "status").encode()
SIGNATURE = bytes(range(64))


class Config:
    utility_id = "kalpa"
    meter = METER
    broker_host = "10.0.0.2"
    broker_port = 1883
    broker_user = ""
    broker_password = ""
    broker_tls = False
    broker_ca = ""
    broker_backoff_cap_s = 60
    interval_s = 900


class Journal:
    def __init__(self, count=0):
        self.oldest = 1
        self.next = count + 1
        self.damaged = ()

    def read(self, sequence):
        assert self.oldest <= sequence < self.next, sequence
        if sequence in self.damaged:
            raise JournalError("the record of sequence %d is damaged" % sequence)
        return wire.pack_event(wire.EVENT_TAMPER, sequence, 1_800_000_000, 5, sequence)


class Recorder:
    boots = 3

    def __init__(self):
        self.asked_up_to = 0
        self.told = []

    @property
    def events(self):
        return len(self.told)

    def asked(self, sequence):
        self.asked_up_to = max(self.asked_up_to, sequence)

    def record(self, code, a=0, b=0, c=0):
        self.told.append((code, a, b, c))

    def knows_damaged(self, sequence):
        return any(b <= sequence <= c for _, _, b, c in self.told)

    def damaged(self, first, last):
        self.record(wire.EVENT_STATE_LOST, wire.STATE_JOURNAL, first, last)


class Identity:
    signed = 0

    def sign(self, digest):
        assert len(digest) == 32
        self.signed += 1
        return SIGNATURE


class Permits:
    serial = 70
    trust_serial = 5


class Supply:
    control_state = wire.CONTROL_CONNECTED


class Socket:
    def __init__(self, answer=None):
        self.closed = False
        self.written = []
        self.answer = answer

    def close(self):
        self.closed = True

    def write(self, data):
        self.written.append(data)

    def read(self, _size):
        return self.answer(self.written[-1]) if self.answer else None


class Link:
    def __init__(self):
        self.up = True
        self.kept = 0
        self.there = True
        self.dialled = []
        self.sockets = []
        self.fails = None
        self.names = None

    def keep(self):
        if not self.up:
            self.kept += 1
            self.up = self.kept > 3

    def dial(self, address, port):
        self.dialled.append((address, port))
        self.sockets.append(Socket())
        return self.sockets[-1]

    def secure(self, sock, _host, _ca):
        """Return TLS, which does not close what is below it once a handshake has failed."""
        assert sock is self.sockets[-1]
        if self.fails:
            raise self.fails
        return Socket()

    def arrived(self, _sock):
        return self.there

    def name_server(self):
        return "10.0.0.1"

    def dial_udp(self, address, port):
        assert (address, port) == ("10.0.0.1", 53)
        return Socket(self.names)


class Session:
    """Stands in for mqtt.Session: what is published is kept, what comes in is the test's."""

    made = []

    def __init__(self, _umqtt, sock):
        Session.made.append(self)
        self.sock = sock
        self.accepted = 0
        self.published = []
        self.topics = []
        self.coming = []
        self.full = False
        self.pings = 0
        self.mute = self.drips = self.dry = False
        self.dropped = self.count = self.answered = 0
        self.grants = True

    def connect(self, client_id, _user, _password, _keepalive_s, will_topic, will):
        self.client_id = client_id
        self.will = (will_topic, will)

    def pump(self):
        return not self.full

    def heard(self):
        if not self.mute:
            self.accepted = max(1, self.accepted)
        if self.drips:
            self.dry = not self.dry
            return not self.dry
        return not self.mute and bool(self.coming or self.pings > self.answered)

    def receive(self):
        if not self.mute and (self.coming or self.pings > self.answered):
            self.answered = self.pings
            self.count += 1
        return self.coming.pop(0) if self.coming else None

    def subscribe(self, topic):
        self.topics.append(topic)
        self.accepted += self.grants

    def publish(self, topic, payload, retain=False):
        self.published.append((topic, payload, retain))

    def ping(self):
        self.pings += 1

    def close(self):
        self.sock.close()

    def frames(self):
        """Return the sequences of each frames message sent so far."""
        sent = []
        for topic, payload, _ in self.published:
            if topic == UP and payload[0] == wire.MESSAGE_FRAMES:
                _, signed = wire.parse_message(payload)
                assert all(signature == SIGNATURE for _, signature in signed)
                sent.append([wire.parse(frame).sequence for frame, _ in signed])
        return sent

    def hellos(self):
        return [p for t, p, _ in self.published if t == UP and p[0] == wire.MESSAGE_HELLO]


class Update:
    """Stands for an Update: publishes what `messages` holds, one at a time."""

    def __init__(self):
        self.messages = []
        self.pieces = []

    def step(self):
        return self.messages.pop(0) if self.messages else None

    def piece(self, serial, number, data):
        self.pieces.append((serial, number, data))


class Over(Exception):
    """The test has seen enough."""


class Town:
    """An Uplink with its world. `act(ms, what)` calls `what()` once `ms` have passed."""

    def __init__(self, count=0):
        self.ticks = Ticks()
        self.ticks.on_sleep = self._tick
        self.start_ms = self.ticks.now_ms
        self.link = Link()
        self.journal = Journal(count)
        self.recorder = Recorder()
        self.identity = Identity()
        self.log = Quiet()
        self.bundles = []
        self.room = True
        self.update = Update()
        self.acts = []
        Session.made = []
        under_test.Session = Session
        self.uplink = Uplink(
            Config(), self.link, None, self.journal, self.recorder, self.identity, Permits(),
            Supply(), self._bundle, self._random, self.ticks, self.log,
            self.update, self,
        )  # fmt: skip

    def ran(self):
        """Stand for the clock's."""
        return self.ticks.now_ms // 1000

    def _random(self, size):
        return bytes(size)  # no jitter

    def _bundle(self, data):
        self.bundles.append(data)
        return self.room

    def _tick(self):
        for act in list(self.acts):
            if self.ticks.now_ms - self.start_ms >= act[0]:
                self.acts.remove(act)
                act[1]()

    def act(self, ms, what):
        self.acts.append((ms, what))

    def say(self, ms, topic, payload):
        self.act(ms, lambda: self.session.coming.append((topic, payload)))

    def want(self, ms, sequence):
        self.say(ms, DOWN, wire.pack_want(sequence))

    def run(self, ms):
        def over():
            self.pointer = self.uplink.pointer
            raise Over

        self.act(ms, over)
        with raises(Over):
            drive(self.ticks, self.uplink.run())

    @property
    def session(self):
        return Session.made[-1]


def test_connects_subscribes_and_says_hello():
    town = Town(4)
    town.link.up = False
    town.run(6000)
    session = town.session
    assert town.link.dialled == [("10.0.0.2", 1883)]
    assert session.will == (STATUS, wire.STATUS_OFFLINE)
    assert session.topics == [DOWN, PERMIT, TIME]
    assert session.published[0] == (STATUS, wire.STATUS_ONLINE, True)
    hello = wire.parse_message(session.published[1][1])[1]
    assert (hello.oldest, hello.next, hello.permit_serial, hello.trust_serial) == (1, 5, 70, 5)
    assert (hello.boots, hello.control_state) == (3, wire.CONTROL_CONNECTED)
    assert session.frames() == []


def test_sends_what_is_wanted_in_batches():
    town = Town(20)
    town.want(500, 3)
    town.want(2000, 11)
    town.want(4000, 19)
    town.want(6000, 21)
    town.run(9000)
    assert town.session.frames() == [
        list(range(3, 11)), list(range(11, 19)), [19, 20]
    ]  # fmt: skip
    assert town.recorder.asked_up_to == 21
    assert town.pointer == 21


def test_pieces_are_asked_for_and_handed_on():
    town = Town(2)
    get = wire.pack_get(7, 3)
    town.update.messages += [get]
    town.say(1000, DOWN, wire.pack_piece(7, 3, bytes(512)))
    for topic in (PERMIT, TIME):
        town.say(1500, topic, wire.pack_piece(7, 3, bytes(512)))
    town.say(2000, DOWN, get)
    town.say(2000, DOWN, wire.pack_piece(7, 3, bytes(512))[:-1])
    town.run(4000)
    assert town.session.published.count((UP, get, False)) == 1
    assert town.update.pieces == [(7, 3, bytes(512))]
    assert town.uplink.ignored == 4


def test_nothing_is_asked_for_while_the_broker_takes_no_bytes():
    town = Town(2)

    def fill():
        town.session.full = True
        town.update.messages.append(wire.pack_get(7, 0))

    town.act(1000, fill)
    town.run(3000)
    assert len(town.update.messages) == 1


def metered(town, ms, event=None):
    """Have a reading recorded at `ms`, or an event."""

    def grow():
        town.journal.next += 1
        if event:
            town.recorder.record(event)

    town.act(ms, grow)


def test_an_event_is_sent_soon_and_takes_along_what_waits():
    town = Town(2)
    town.uplink._config = at(b"\xff\xff")
    town.want(500, 3)
    metered(town, 1000)
    metered(town, 3000, wire.EVENT_TAMPER)
    town.run(3200)
    assert town.session.frames() == [[3, 4]]


def at(start, **changes):
    """Return the configuration of a meter whose address starts so."""
    config = Config()
    config.meter = start + METER[2:]
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def test_a_reading_waits_for_the_share_of_its_address():
    for start, changes, wait_s in (
        (b"\x00\x00", {}, 0),
        (b"\x80\x00", {}, 337),
        (b"\xff\xff", {}, 674),
        (b"\xff\xff", {"interval_s": 60}, 44),
        (b"\xff\xff", {"interval_s": 86400}, 674),
    ):
        for later_s, frames in ((-2, []), (2, [[3]])):
            town = Town(2)
            town.uplink._config = at(start, **changes)
            town.want(500, 3)
            metered(town, 3000)
            town.run(3000 + 1000 * (wait_s + later_s) if wait_s else 3200)
            assert town.session.frames() == (frames if wait_s else [[3]]), (start, changes)


def test_each_reading_waits_anew_and_once_whatever_becomes_of_the_session():
    town = Town(2)
    town.uplink._config = at(b"\x80\x00", interval_s=60)
    town.want(500, 1)
    town.want(1500, 3)
    for number in range(3):
        metered(town, 3000 + 60_000 * number)
        town.want(3000 + 60_000 * number + 30_000, 4 + number)
    town.run(3000 + 120_000 + 20_000)
    assert town.session.frames() == [[1, 2], [3], [4]]
    for heard_s, frames in ((20, []), (50, [[3, 4]])):  # of a broker that is away meanwhile
        town = Town(2)
        town.uplink._config = at(b"\xff\xff", interval_s=60)
        town.want(500, 3)
        metered(town, 3000)
        metered(town, 6000)
        town.act(5000, lambda town=town: setattr(town.session, "heard", hung_up))
        town.want(7000, 3)
        town.run(1000 * heard_s)
        assert len(Session.made) == 2
        assert town.session.frames() == frames


def hung_up():
    raise OSError("the broker closed the connection")


def test_a_settled_session_is_begun_anew_at_the_share_of_the_address():
    for start, control_state, from_s, to_s in (
        (b"\x00\x00", wire.CONTROL_CONNECTED, 0, 1),
        (b"\x80\x00", wire.CONTROL_CONNECTED, 29, 31),
        (b"\xff\xff", wire.CONTROL_CONNECTED, 59, 61),
        (b"\xff\xff", wire.CONTROL_DISCONNECTED, 0, 2),
        (b"\xff\xff", wire.CONTROL_READY, 0, 2),
    ):
        town = Town()
        town.uplink._config = at(start)
        town.uplink._supply = Supply()
        town.uplink._supply.control_state = control_state
        dialled = []
        dial = town.link.dial

        def kept(*where, town=town, dial=dial, dialled=dialled):
            dialled.append(town.ticks.now_ms - town.start_ms)
            return dial(*where)

        town.link.dial = kept
        town.act(80_000, lambda town=town: setattr(town.session, "heard", hung_up))
        town.run(150_000)
        assert 80_000 + 1000 * from_s <= dialled[1] <= 80_000 + 1000 * to_s, (start, dialled)


def test_what_fails_after_a_settled_session_is_not_tried_often():
    for control_state, least, most in (
        (wire.CONTROL_CONNECTED, 3, 5),
        (wire.CONTROL_DISCONNECTED, 7, 10),
    ):
        town = Town()
        town.uplink._config = at(b"\x00\x00")
        town.uplink._supply = Supply()
        town.uplink._supply.control_state = control_state
        dialled = []

        def gone(*_, town=town, dialled=dialled):
            dialled.append(town.ticks.now_ms - town.start_ms)
            raise OSError("refused")

        def lose(town=town, gone=gone):
            town.session.heard, town.link.dial = hung_up, gone

        town.act(80_000, lose)
        town.run(80_000 + 200_000)
        assert least <= len(dialled) <= most, (control_state, dialled)


def test_sends_again_until_something_new_is_wanted():
    town = Town(2)
    town.want(500, 1)
    town.want(12000, 1)  # a relay that could not store it
    town.run(25000)
    assert town.session.frames() == [[1, 2]] * 3
    assert town.identity.signed == 2
    town = Town(2)
    town.want(500, 1)
    town.want(600, 1)  # two relays answer the same hello
    town.want(700, 1)
    town.run(9000)
    assert town.session.frames() == [[1, 2]]


def test_hello_is_repeated_ever_more_rarely():
    town = Town(2)
    town.run(200_000)
    assert len(Session.made) == 1
    assert 4 <= len(town.session.hellos()) <= 6
    assert town.session.frames() == []


def test_want_out_of_range_is_brought_into_it():
    town = Town(5)
    town.journal.oldest = 3
    town.want(500, 1)
    town.run(2000)
    assert town.session.frames() == [[3, 4, 5]]
    town = Town(5)
    town.want(500, 4_000_000_000)
    town.run(2000)
    assert town.pointer == 6
    assert town.recorder.asked_up_to == 6


def test_bundles_go_to_control_from_every_topic():
    town = Town()
    for ms, topic in ((500, DOWN), (600, PERMIT), (700, TIME)):
        town.say(ms, topic, b"\x04bundle of " + topic)
    town.run(2000)
    assert town.bundles == [b"bundle of " + topic for topic in (DOWN, PERMIT, TIME)]


def test_hostile_messages_are_counted_and_dropped():
    town = Town(3)
    hostile = (
        b"",
        b"\x00",
        b"\x03",
        b"\x03\x00\x00\x01",
        b"\x02" * 26,
        b"\x01" * 105,
        b"\xff" * 900,
    )
    for payload in hostile:
        town.say(500, DOWN, payload)
    town.say(600, PERMIT, wire.pack_want(1))  # nothing to want there
    town.say(600, b"parwana/1/other/topic", b"\x04bundle")
    town.say(600, DOWN, wire.pack_hello(1, 1, 0, 0, 0, 0, 0))
    town.want(1000, 2)
    town.run(2000)
    assert town.uplink.ignored == len(hostile) + 3
    assert town.bundles == []
    assert town.session.frames() == [[2, 3]]
    assert len(Session.made) == 1


def test_dead_connection_is_left():
    town = Town()
    town.act(1000, lambda: setattr(town.session, "mute", True))
    town.run(44_000)
    assert town.session.pings >= 2
    assert len(Session.made) == 1
    town = Town()
    town.act(1000, lambda: setattr(town.session, "mute", True))
    town.run(60_000)
    assert len(Session.made) == 2
    assert Session.made[0].sock.closed
    assert len(Session.made[1].hellos()) >= 1


def test_a_flood_is_heard_without_pauses_and_others_run():
    town = Town(2)
    flood = [(TIME, b"\x04flood")] * 1000 + [(DOWN, wire.pack_want(1))]

    def hear():
        if flood:
            town.session.coming.append(flood.pop(0))
        return bool(town.session.coming)

    town.act(1000, lambda: setattr(town.session, "heard", hear))
    sleeps = []
    tick = town.ticks.on_sleep
    town.ticks.on_sleep = lambda: (sleeps.append(len(town.bundles)), tick())
    town.run(2000)
    assert len(town.bundles) == 1000
    assert town.session.frames() == [[1, 2]]
    assert max(sleeps[i] - sleeps[i - 1] for i in range(1, len(sleeps))) == 1


def test_a_flood_that_keeps_answers_away_is_left():
    for junk, room, sessions in ((b"\xff", True, 2), (b"\x04forged", False, 2), (b"", None, 1)):
        town = Town(20)
        town.room = room

        def hear(town=town, junk=junk):
            town.session.coming.append((DOWN, junk))
            return False

        if junk:
            town.act(1000, lambda town=town, hear=hear: setattr(town.session, "heard", hear))
        town.run(14_000)
        assert len(Session.made) == sessions, junk
        town = Town(20)  # answers come, if late
        town.room = room
        town.act(1000, lambda town=town, hear=hear: setattr(town.session, "heard", hear))
        for ms in range(9000, 30_000, 9000):
            town.want(ms, 1 + ms // 9000)
        town.run(30_000)
        assert len(Session.made) == 1, junk


def test_a_connection_that_the_meter_itself_let_wait_is_not_dead():
    town = Town()

    def stall():
        town.ticks.now_ms += 60_000

    town.act(30_000, stall)
    town.act(95_000, stall)
    town.run(200_000)
    assert len(Session.made) == 1
    assert town.session.pings >= 2


def test_bytes_that_make_no_packet_show_no_life():
    town = Town()

    def spoil():
        town.session.mute = town.session.drips = True

    town.act(1000, spoil)
    town.run(60_000)
    assert len(Session.made) == 2


def test_a_broker_that_grants_no_subscription_is_left():
    town = Town()
    town.act(100, lambda: setattr(town.session, "grants", False))
    town.act(100, lambda: setattr(town.session, "accepted", 3))
    town.run(30_000)
    assert len(Session.made) == 2
    assert any("subscription" in line for line in town.log.lines)


def test_a_session_longer_than_ticks_tell_is_no_failure():
    step_ms, under_test._STEP_MS = under_test._STEP_MS, 10_000
    try:
        for days in (13,) if MICROPYTHON else (7, 13, 20):  # ticks come round in 12.4 days
            town = Town()
            town.link.there = False
            town.act(120_000, lambda town=town: setattr(town.link, "there", True))
            town.want(240_000, 1)  # and nothing is left to say
            end_ms = days * 86_400_000
            town.act(end_ms, lambda town=town: setattr(town.session, "mute", True))
            town.run(end_ms + 75_000)
            assert len(Session.made) == 2, days
            assert not any("used twice" in line for line in town.log.lines), town.log.lines
    finally:
        under_test._STEP_MS = step_ms


def test_every_socket_is_closed_whatever_tls_lets_go_of():
    def late(town):
        town.link.there = False

    class Mute(Session):
        def heard(self):
            return False

    def mute(_):
        under_test.Session = Mute  # until the next town is made

    def fails(town):
        town.link.fails = OSError("no CA")

    for spoil in (late, mute, fails):
        town = Town()
        town.uplink._config = config = Config()
        config.broker_tls = True
        spoil(town)
        town.act(100_000, lambda town=town: setattr(town.link, "there", False))
        town.run(120_000)
        sockets = town.link.sockets
        assert len(sockets) > 2
        assert [sock.closed for sock in sockets[:-1]] == [True] * (len(sockets) - 1)


def test_lost_network_is_joined_again():
    town = Town()

    def lose():
        town.link.up = False
        town.link.kept = 0

    town.act(3000, lose)
    town.run(12_000)
    assert town.link.kept >= 4
    assert len(Session.made) == 2


def test_backs_off_up_to_the_cap():
    town = Town()
    town.link.there = False
    town.run(600_000)
    # Ten seconds for each attempt and 1, 2, 4 ... 60 s between them.
    assert 10 <= len(town.link.dialled) <= 14, len(town.link.dialled)
    assert any("does not answer" in line for line in town.log.lines)


def test_a_broker_that_hangs_up_again_and_again_makes_the_client_id_suspect():
    def kick():
        def closed():
            raise OSError("the broker closed the connection")

        town.session.heard = closed

    def suspected():
        return any("client id used twice" in line for line in town.log.lines)

    town = Town()
    for second in range(2, 5):
        town.act(1000 * second, kick)
    town.run(9_000)
    assert len(Session.made) >= 2
    assert not suspected()
    town = Town()
    for second in range(2, 30):
        town.act(1000 * second, kick)
    town.run(32_000)
    assert suspected(), town.log.lines
    town = Town()  # after a network that was away the first loss is no kick
    town.link.there = False
    town.act(90_000, lambda: setattr(town.link, "there", True))
    town.act(300_000, kick)
    town.run(301_000)
    assert Session.made[-1].published
    assert not suspected()


def test_jitter_only_shortens_the_pause():
    town = Town()
    town.uplink._random = lambda size: b"\xff" * size
    assert 1900 <= town.uplink._backoff_ms(2) <= 2100
    town.uplink._random = lambda size: bytes(size)
    assert town.uplink._backoff_ms(2) == 4000
    assert town.uplink._backoff_ms(12) == 60000


def test_names_are_resolved():
    answer = b"\x00\x00\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x04mqtt\x03org\x00\x00\x01\x00\x01"
    answer += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x0a\x00\x00\x07"
    town = Town()
    town.link.names = lambda _: answer
    assert drive(town.ticks, town.uplink.resolve("mqtt.org")) == "10.0.0.7"
    assert drive(town.ticks, town.uplink.resolve("localhost")) == "127.0.0.1"
    town.link.names = None
    before = town.ticks.now_ms
    with raises(NetworkError, "name server"):
        drive(town.ticks, town.uplink.resolve("mqtt.org"))
    assert 5000 < town.ticks.now_ms - before < 8000


def test_damaged_frame_stops_nothing():
    town = Town(6)
    town.journal.damaged = (3,)
    town.want(500, 1)
    town.want(2000, 3)
    town.want(4000, 3)
    town.run(30_000)
    assert town.session.frames()[:2] == [[1, 2], [4, 5, 6]]
    assert town.pointer == 7
    assert town.recorder.told == [(wire.EVENT_STATE_LOST, wire.STATE_JOURNAL, 3, 3)]


class Relay:
    """Answers each `frames` with what it lacks first, as docs/protocol.md has it."""

    def __init__(self, town, held_up_to, knows_events=True):
        self.town = town
        self.held = set(range(1, held_up_to + 1))
        self.knows_events = knows_events
        self.seen = 0
        self.wants = 0

    def answer(self):
        """Call it now and then."""
        frames = self.town.session.frames()
        if len(frames) > self.seen or self.town.uplink.pointer is None:
            for batch in frames[self.seen :]:
                self.held.update(batch)
            self.seen = len(frames)
            self.want()

    def want(self):
        lost = set()
        for _, _, first, last in self.town.recorder.told if self.knows_events else ():
            lost.update(range(first, last + 1))
        lacking = 1
        while lacking in self.held or lacking in lost:
            lacking += 1
        self.wants += 1
        self.town.session.coming.append((DOWN, wire.pack_want(lacking)))

    def serve(self, from_ms, to_ms):
        for ms in range(from_ms, to_ms, 250):
            self.town.act(ms, self.answer)


def test_a_relay_that_is_behind_gets_what_follows_a_damaged_frame():
    for damaged in ((10,), (10, 11, 25, 26), range(10, 20), (1,), (40,)):
        relays = ((False, damaged[0] - 1), (True, damaged[0] - 1), (True, 4))
        for knows_events, backup in relays[: 1 if MICROPYTHON else 3]:
            town = Town(40)
            town.journal.damaged = damaged
            first = Relay(town, 0, knows_events)
            first.serve(500, 8000)
            restored = Relay(town, backup, knows_events)  # from yesterday's backup
            town.act(9000, lambda relay=restored, town=town: restore(relay, town))
            restored.serve(9100, 24_000)
            town.run(24_000)
            whole = set(range(1, 41)) - set(damaged)
            assert first.held >= whole, (damaged, knows_events)
            assert restored.held >= whole, (damaged, knows_events)
            assert len(Session.made) == 1
            sent = [sequence for frames in town.session.frames() for sequence in frames]
            assert len(sent) < 2 * len(whole) + 20  # and not over and over


def restore(relay, town):
    relay.seen = len(town.session.frames())
    relay.want()


def test_a_damaged_segment_is_told_by_one_event_and_lets_others_run():
    town = Town(700)
    town.journal.damaged = range(3, 288)
    reads = []
    read = town.journal.read

    def counted(sequence):
        reads.append(town.ticks.now_ms)
        return read(sequence)

    town.journal.read = counted
    sleeps = []
    tick = town.ticks.on_sleep
    town.ticks.on_sleep = lambda: (sleeps.append(len(reads)), tick())
    town.want(500, 3)
    town.want(700, 3)  # a second relay must not send it back to the start
    town.run(4000)
    assert town.recorder.told == [(wire.EVENT_STATE_LOST, wire.STATE_JOURNAL, 3, 287)]
    assert town.session.frames()[0] == list(range(288, 296))
    assert max(sleeps[i] - sleeps[i - 1] for i in range(1, len(sleeps))) <= 2
    assert len(Session.made) == 1


def test_a_range_that_ends_with_the_journal_is_told():
    for count in (32, 40):
        town = Town(count)
        town.journal.damaged = range(1, count + 1)
        town.want(500, 1)
        town.run(4000)
        assert town.recorder.told == [(wire.EVENT_STATE_LOST, wire.STATE_JOURNAL, 1, count)]


def test_frames_that_go_while_they_are_looked_at_are_not_told_as_damaged():
    town = Town(400)
    town.journal.damaged = range(1, 301)
    town.want(500, 1)

    def roll_over():
        town.journal.oldest = 286

    town.act(700, roll_over)
    town.run(4000)
    assert town.recorder.told == [(wire.EVENT_STATE_LOST, wire.STATE_JOURNAL, 286, 300)]
    assert town.session.frames()[0][0] == 301


def test_a_flash_that_takes_no_event_holds_up_no_frames():
    town = Town(20)
    town.journal.damaged = (3,)

    def fail(*_):
        raise OSError(28, "full")

    town.recorder.record = fail
    for ms in (500, 2000, 3000, 4000):
        town.want(ms, 3)
    town.run(6000)
    assert town.session.frames() == [list(range(4, 12)), list(range(12, 20)), [20]]
    assert len(Session.made) == 1


def test_messages_too_long_are_counted_and_the_session_goes_on():
    town = Town(3)

    def drop():
        town.session.dropped += 3

    town.act(500, drop)
    town.want(1000, 2)
    town.run(2000)
    assert town.uplink.ignored == 3
    assert town.session.frames() == [[2, 3]]
    assert len(Session.made) == 1


if sys.implementation.name == "cpython":

    def test_runs_on_a_real_loop():
        """The step that `drive` leaves out: tasks that really take turns."""
        import asyncio

        town = Town(3)
        ticks = town.ticks

        async def main():
            task = asyncio.ensure_future(town.uplink.run())
            for _ in range(200):
                ticks.now_ms += 50
                await asyncio.sleep(0)
            task.cancel()

        async def sleep_ms(_):
            await asyncio.sleep(0)

        asyncio.sleep_ms = sleep_ms
        try:
            asyncio.run(main())
        finally:
            del asyncio.sleep_ms
        assert town.session.hellos()
