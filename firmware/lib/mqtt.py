"""Speak MQTT through umqtt.simple without ever waiting.

umqtt writes a packet and then reads until the answer is there, which hangs on a dead socket. Here
it gets a Stream that takes what it writes and hands it the answer it waits for; the broker's own
answer is read later, when all of it has arrived. So each call returns at once, whatever the
network does.

Source: MQTT 3.1.1; micropython-umqtt.simple 1.3.4.
"""

_CONNACK = 0x20
_PUBLISH = 0x30
_PUBLISH_1 = 0x32  # at QoS 1
_PUBACK = 0x40
_SUBACK = 0x90
_PACKET_MOST = 1024  # a permit with eight signatures takes some 720
_UNSENT_MOST = 4096
_CHUNK = 256
_DRAIN_CHUNKS = 16  # of a packet too long, before others are let run

_REFUSED = (  # one text takes less than six
    "unknown reason/protocol version/client identifier/server unavailable/user name or password"
    "/not authorised"
)


class BrokerError(OSError):
    """The connection to the broker is of no more use; close it and connect anew."""


class Stream:
    """What umqtt takes for its socket. `sock` is connected, or connecting, and non-blocking."""

    def __init__(self, sock):
        self._sock = sock
        self._chunk = bytearray(_CHUNK)
        self._in = bytearray()
        self._out = bytearray()
        self._canned = b""
        # Of a packet too long: what is left of it, of its topic, and what to acknowledge it by.
        self._left = 0
        self._topic_left = 0
        self._acknowledge = False
        self.dropped = 0
        self.count = 0

    # umqtt opens its socket through the module `socket`; the Stream stands for that as well.
    def socket(self):
        return self

    def getaddrinfo(self, host, port):
        return [[(host, port)]]

    def connect(self, address):
        pass

    def setblocking(self, flag):
        pass

    def write(self, data, size=None):
        """Take `data`, or its first `size` bytes; `pump` sends them. Raises BrokerError."""
        if len(self._out) + len(data) > _UNSENT_MOST:
            raise BrokerError("the broker takes nothing more")
        self._out.extend(data if size is None else data[:size])

    def read(self, size):
        """Return `size` bytes that are here already. Raises BrokerError when they are not."""
        if self._canned:
            data, self._canned = self._canned[:size], self._canned[size:]
            return data
        if not 0 <= size <= len(self._in):
            raise BrokerError("the broker's packet contradicts its own length")
        data = bytes(memoryview(self._in)[:size])
        self._in = self._in[size:]
        return data

    def promise(self, answer):
        """Hand `answer` to the reads that follow, before what really arrives."""
        self._canned = answer

    def pump(self):
        """Send what can be sent; return whether all of it went. Raises OSError."""
        while self._out:
            try:
                sent = self._sock.write(self._out)
            except ValueError as error:  # what TLS says of a certificate
                raise BrokerError(str(error).strip())
            if not sent:
                return False
            self._out = self._out[sent:]
        return True

    def fill(self):
        """Take in what has arrived, 256 bytes at most, or drain 4 KB of a packet too long.

        Returns how much it was. Raises OSError when the broker hung up.
        """
        filled = 0
        for _ in range(_DRAIN_CHUNKS):
            size = self._sock.readinto(self._chunk)
            if size is None:
                break
            if size == 0:
                raise BrokerError("the broker closed the connection")
            self._in.extend(memoryview(self._chunk)[:size])
            filled += size
            if not self._draining():
                break
        return filled

    def packet(self):
        """Return whether a whole MQTT packet is here.

        A message too long to keep is dropped as it arrives: counted, acknowledged as any other.
        Raises BrokerError.
        """
        if self._draining():
            return False
        length = 0
        for i in range(1, min(5, len(self._in))):
            length |= (self._in[i] & 0x7F) << 7 * (i - 1)
            if not self._in[i] & 0x80:
                if length <= _PACKET_MOST:
                    return len(self._in) > i + length
                return self._too_long(i + 1, length) and self.packet()
        if len(self._in) >= 5:
            raise BrokerError("the broker sent a length that is none")
        return False

    def _too_long(self, start, length):
        """Begin to drain the packet whose `length` bytes begin at `start`; return whether it can.

        Nothing but a message is ever so long, and none comes at QoS 2.
        """
        kind = self._in[0] & 0xF6
        if kind not in (_PUBLISH, _PUBLISH_1):
            raise BrokerError("the broker sent a packet of %d bytes" % length)
        if len(self._in) < start + 2:
            return False
        self.read(start)
        topic = self.read(2)
        self._acknowledge = kind == _PUBLISH_1
        self._left = length - 2
        self._topic_left = topic[0] << 8 | topic[1]
        if self._topic_left + 2 * self._acknowledge > self._left:
            raise BrokerError("the broker's packet contradicts its own length")
        return True

    def _draining(self):
        """Drop what is here of a packet too long; return whether more of it is to come."""
        if not self._left:
            return False
        if self._acknowledge:
            self._topic_left -= self._drop(self._topic_left)
            if self._topic_left or len(self._in) < 2:
                return True
            self.write(bytes([_PUBACK, 2]) + self.read(2))
            self._acknowledge = False
            self._left -= 2
        self._drop(self._left)
        if not self._left:
            self.dropped += 1
        return self._left > 0

    def _drop(self, size):
        size = min(size, len(self._in))
        self._in = self._in[size:]
        self.count += self._left // _PACKET_MOST - (self._left - size) // _PACKET_MOST
        self._left -= size
        return size

    def close(self):
        self._sock.close()


class Session:
    """One connection to a broker. `umqtt` is the module umqtt.simple."""

    def __init__(self, umqtt, sock):
        self._umqtt = umqtt
        self._stream = Stream(sock)
        self._client = None
        self._wait_msg = None
        self._answer = 0
        self._message = None
        self.accepted = 0  # by the broker: the connection, and each subscription

    def connect(self, client_id, user, password, keepalive_s, will_topic, will):
        """Send CONNECT with a clean session and a retained last will at QoS 1.

        All but `keepalive_s` are bytes; an empty `user` is none.
        """
        # umqtt opens a socket of its own unless its module says otherwise.
        self._umqtt.socket = self._stream
        client = self._umqtt.MQTTClient(
            client_id, "", 1, user=user or None, password=password, keepalive=keepalive_s
        )
        client.set_last_will(will_topic, will, retain=True, qos=1)
        client.set_callback(self._take)
        self._wait_msg = client.wait_msg
        client.wait_msg = self._promised
        self._client = client
        self._stream.promise(b"\x20\x02\x00\x00")
        client.connect()

    def subscribe(self, topic):
        """Subscribe to `topic` at QoS 1."""
        self._answer = _SUBACK
        self._client.subscribe(topic, 1)

    def publish(self, topic, payload, retain=False):
        """Publish `payload` at QoS 1."""
        self._answer = _PUBACK
        self._client.pid %= 0xFFFF
        self._client.publish(topic, payload, retain, 1)

    def ping(self):
        self._client.ping()

    def pump(self):
        """Send what waits; return whether nothing waits any more. Raises OSError."""
        return self._stream.pump()

    def heard(self):
        """Take in what has arrived; return whether anything did. Raises OSError."""
        return self._stream.fill() > 0

    @property
    def dropped(self):
        """How many messages were too long to keep."""
        return self._stream.dropped

    @property
    def count(self):
        """How many packets have come whole, and kilobytes of those too long.

        Bytes alone show no living broker: they may belong to a packet whose length is spoilt.
        """
        return self._stream.count

    def receive(self):
        """Return the next message as (topic, payload), None when there is none.

        Raises BrokerError when the broker refuses something or sends what is no MQTT.
        """
        while self._stream.packet():
            self._stream.count += 1
            try:
                answer = self._wait_msg()
            except (AssertionError, IndexError, TypeError):
                raise BrokerError("the broker sends what is not MQTT 3.1.1")
            if self._message:
                message, self._message = self._message, None  # it is long, and would stay
                return message
            if answer is not None:
                self._settle(answer)
        return None

    def close(self):
        self._stream.close()

    def _take(self, topic, payload):
        self._message = (topic, payload)

    def _promised(self):
        """Stand in for umqtt's wait_msg where it waits for an answer to what it has written."""
        pid = self._client.pid.to_bytes(2, "big")
        self._stream.promise(b"\x02" + pid if self._answer == _PUBACK else b"\x03" + pid + b"\x01")
        return self._answer

    def _settle(self, answer):
        """Read the rest of the broker's own answer, whose first byte is `answer`."""
        size = self._stream.read(1)[0]
        rest = self._stream.read(size)
        if answer == _CONNACK and size == 2:
            if rest[1]:
                why = _REFUSED.split("/")[rest[1] if rest[1] < 6 else 0]
                raise BrokerError("the broker refused the connection: %s" % why)
            self.accepted += 1
        elif answer == _SUBACK and size == 3:
            if rest[2] > 2:
                raise BrokerError("the broker refused a subscription")
            self.accepted += 1
        elif answer != _PUBACK:
            raise BrokerError("the broker sends what is not MQTT 3.1.1")
