"""Carry frames to the relays and hear permits, time and `want` from them.

Nothing from the network is believed and nothing here waits for it: every step that takes time
lets metering run. A `want` moves the send pointer and nothing else.
"""

import asyncio
import gc
from binascii import hexlify

import dns
import version
import wire
from backlog import Backlog
from journal import JournalError
from mqtt import Session

_SPREAD_S = 900  # of a longer interval
_STEPS = 32  # of the backlog, before the broker is listened to again
_ANSWER_MS = 10000
_STEP_MS = 50
_PING_MS = 20000
_DEAD_MS = 45000
_KEEPALIVE_S = 60
_SETTLED_PINGS = 3
_FLOOD = 100  # messages that are of no use, and no answer among them
_DNS_PORT = 53
_DNS_MS = 2000
_DNS_TRIES = 3
_DNS_SIZE = 512


class NetworkError(OSError):
    """The network did not do in time what was asked of it; try again later."""


class Uplink:
    """Keep a session with the broker.

    `random(size)` returns random bytes, `umqtt` is the module umqtt.simple. What all meters would
    do at one instant each does at its share of a time, by its address (docs/protocol.md, 5.2).
    `bundle(data)` returns whether it took what may be a bundle; `update.piece` takes what may be
    one of an update, `update.step()` returns what to publish for it. None of them raises.
    """

    def __init__(self, config, link, umqtt, journal, recorder, identity, permits, supply, bundle,
                 random, ticks, log, update, clock):  # fmt: skip
        self._config = config
        self._link = link
        self._umqtt = umqtt
        self._journal = journal
        self._recorder = recorder
        self._backlog = Backlog(journal, self._read, self._sign, recorder, log)
        self._identity = identity
        self._permits = permits
        self._supply = supply
        self._bundle = bundle
        self._random = random
        self._ticks = ticks
        self._log = log
        self._update = update
        self._clock = clock
        self._domain = wire.reading_domain(config.utility_id)
        self._up = wire.topic(config.utility_id, config.meter, "up").encode()
        self._status = wire.topic(config.utility_id, config.meter, "status").encode()
        self._listen = (
            wire.topic(config.utility_id, config.meter, "down").encode(),  # first
            wire.topic(config.utility_id, config.meter, "permit").encode(),
            wire.time_topic(config.utility_id).encode(),
        )
        self._session = self._sock = None
        self._pings = 0  # of the last session
        self._asked_ms = None  # when a hello or frames went out that no want has answered
        self._asked_ignored = 0  # what `ignored` was then
        self._pause_ms = _ANSWER_MS
        self._turn_s = 0  # when readings may go out; None until there are some
        self._events = 0  # of the recorder, when nothing was left to send
        self.connected = False
        self.ignored = 0

    @property
    def pointer(self):
        """The next sequence to send, None until a relay names it."""
        return self._backlog.pointer

    async def run(self):
        """Connect, serve, and after a failure back off and connect again; for ever."""
        failures = 0
        while True:
            try:
                await self._connect()
                self._pings = 0  # no times are compared: a session may outlast the ticks
                await self._serve()
            except OSError as error:
                self._log.warn("%s", error)
                if self.connected and self._pings >= _SETTLED_PINGS:
                    failures = 0
                elif self.connected and failures > 2:
                    self._log.warn("again soon after it accepted: is our client id used twice?")
            finally:
                self._hang_up()
            await asyncio.sleep_ms(self._backoff_ms(failures))
            failures = min(failures + 1, 12)

    def _share(self, whole):
        """Return this meter's part of `whole`, by its address."""
        return whole * int.from_bytes(self._config.meter[:2], "big") >> 16

    def _backoff_ms(self, failures):
        """Return 1, 2, 4 ... s up to the cap, less a random part of up to half.

        After a session that had settled, which all others may have lost as well, a share of the
        cap, and the cap after that; but who is cut may wait for a permit.
        """
        cap_ms = self._config.broker_backoff_cap_s * 1000
        if self._pings >= _SETTLED_PINGS and self._supply.control_state == wire.CONTROL_CONNECTED:
            if not failures:
                return self._share(cap_ms)
            failures = 12
        most = min(1000 << failures, cap_ms)
        return most - most * int.from_bytes(self._random(2), "big") // 131072

    async def _connect(self):
        config = self._config
        self._link.keep()
        while not self._link.up:
            await asyncio.sleep_ms(1000)
            self._link.keep()
        address = await self.resolve(config.broker_host)
        sock = self._sock = self._link.dial(address, config.broker_port)
        await self._until(lambda: self._link.arrived(sock), "the broker does not answer")
        if config.broker_tls:
            gc.collect()  # an ESP32 then returns what its heap took and no longer needs
            sock = self._link.secure(sock, config.broker_host, config.broker_ca)
        session = self._session = Session(self._umqtt, sock)
        client_id = b"parwana-" + hexlify(config.meter)
        session.connect(
            client_id,
            config.broker_user.encode(),
            config.broker_password.encode(),
            _KEEPALIVE_S,
            self._status,
            wire.STATUS_OFFLINE,
        )
        await self._until(session.pump, "the broker takes no bytes")

        def accepted():
            session.heard()
            session.receive()
            return session.accepted

        await self._until(accepted, "the broker does not accept the connection")
        for topic in self._listen:
            session.subscribe(topic)
        session.publish(self._status, wire.STATUS_ONLINE, True)
        self._say_hello()
        self.connected = True
        self._log.info("connected to %s:%d", address, config.broker_port)

    async def _until(self, done, otherwise):
        """Let others run until `done()`. Raises NetworkError after 10 s."""
        started = self._ticks.ticks_ms()
        while not done():
            if self._since(started) > _ANSWER_MS:
                raise NetworkError("%s for %d s" % (otherwise, _ANSWER_MS // 1000))
            await asyncio.sleep_ms(_STEP_MS)

    async def _serve(self):
        """Listen and send until the connection fails. Raises OSError."""
        session = self._session
        heard_ms = pinged_ms = self._ticks.ticks_ms()
        dropped = count = 0
        while True:
            more = session.heard()
            message = session.receive()
            while message:
                self._handle(*message)
                await asyncio.sleep_ms(0)
                message = session.receive()
            while dropped < session.dropped:
                dropped += 1
                self._ignore("too long")
            if count != session.count:
                count = session.count
                heard_ms = self._ticks.ticks_ms()
            if self._since(pinged_ms) > _PING_MS:
                if session.accepted <= len(self._listen):
                    raise NetworkError("the broker does not answer a subscription")
                pinged_ms = self._ticks.ticks_ms()
                self._pings += 1
                session.ping()
            silent = self._since(heard_ms) > _DEAD_MS
            # A slow flash keeps all waiting for that long: the broker has its time to answer, too.
            if (silent and self._since(pinged_ms) > _ANSWER_MS) or not self._link.up:
                raise NetworkError("the connection is dead")
            if session.pump():
                await self._send()
                message = self._update.step()
                if message:
                    session.publish(self._up, message)
            # What a flood leaves in the broker's queue is gone soon; others have their turn.
            await asyncio.sleep_ms(0 if more else _STEP_MS)

    def _say_hello(self):
        self._backlog.go_to(None)
        journal = self._journal
        message = wire.pack_hello(
            journal.oldest,
            journal.next,
            self._permits.serial,
            self._permits.trust_serial,
            self._recorder.boots,
            version.number(),
            self._supply.control_state,
        )
        self._ask(message)

    def _ask(self, message):
        self._session.publish(self._up, message)
        self._asked_ms = self._ticks.ticks_ms()
        self._asked_ignored = self.ignored

    async def _send(self):
        """Say hello until a relay wants something; then send it, and again until it wants more."""
        if self._asked_ms is not None:
            if self._since(self._asked_ms) < self._pause_ms:
                return
            if self.ignored - self._asked_ignored > _FLOOD:
                # A new session begins with an empty queue, and with the retained permit.
                raise NetworkError("a flood keeps answers away")
            if self.pointer is None:
                self._pause_ms = min(2 * self._pause_ms, 6 * _ANSWER_MS)
                self._say_hello()
                return
        elif self._backlog.empty:
            self._turn_s = None
            self._events = self._recorder.events
            return
        elif self._events == self._recorder.events:  # nothing is new but a reading
            now_s = self._clock.ran()
            if self._turn_s is None:
                spread_s = min(self._config.interval_s, _SPREAD_S) * 3 // 4
                self._turn_s = now_s + self._share(spread_s)
            if now_s < self._turn_s:
                return
        for _ in range(_STEPS):
            message = self._backlog.step()
            if message:
                self._ask(message)
                self._pause_ms = _ANSWER_MS
                return
            if self._backlog.empty:
                return
            await asyncio.sleep_ms(0)

    def _read(self, sequence):
        """Return a frame, None if it cannot be read."""
        try:
            return self._journal.read(sequence)
        except (JournalError, OSError):
            return None

    def _sign(self, frame):
        return self._identity.sign(wire.digest(self._domain, frame))

    def _handle(self, topic, payload):
        """Take one message. What is malformed or out of place is counted and dropped."""
        try:
            kind, value = wire.parse_down(payload)
        except wire.FrameError as error:
            self._ignore(str(error))
            return
        if kind == wire.MESSAGE_BUNDLE and topic in self._listen:
            if not self._bundle(value):
                self._ignore("too many bundles")
        elif kind == wire.MESSAGE_WANT and topic == self._listen[0]:
            self._want(value)
        elif kind == wire.MESSAGE_PIECE and topic == self._listen[0]:
            self._update.piece(*value)
        else:
            self._ignore("message %d does not belong there" % kind)

    def _ignore(self, why):
        self.ignored += 1
        if self.ignored & self.ignored - 1 == 0:  # the first, second, fourth, eighth ...
            self._log.warn("%d messages ignored: %s", self.ignored, why)

    def _want(self, sequence):
        if self._backlog.want(sequence):
            self._asked_ms = None

    def _since(self, ticks_ms):
        return self._ticks.ticks_diff(self._ticks.ticks_ms(), ticks_ms)

    def _hang_up(self):
        self.connected = False
        self._backlog.go_to(None)
        self._pause_ms = _ANSWER_MS
        if self._session:
            self._session.close()
            self._session = None
        if self._sock:  # which TLS lets go of, open, when a handshake fails
            self._sock.close()
            self._sock = None

    async def resolve(self, host):
        """Return the address (dotted quad) of `host`. Raises OSError, after 6 s at most."""
        if dns.is_address(host):
            return host
        if host == "localhost":  # no name server knows it; RFC 6761, section 6.3
            return "127.0.0.1"
        query = dns.pack_query(host, int.from_bytes(self._random(2), "big"))
        sock = self._link.dial_udp(self._link.name_server(), _DNS_PORT)
        try:
            for _ in range(_DNS_TRIES):
                sock.write(query)
                asked_ms = self._ticks.ticks_ms()
                while self._since(asked_ms) < _DNS_MS:
                    await asyncio.sleep_ms(_STEP_MS)
                    data = sock.read(_DNS_SIZE)
                    address = dns.parse_answer(data, query) if data else None
                    if address:
                        return address
        finally:
            sock.close()
        raise NetworkError("the name server does not answer")
