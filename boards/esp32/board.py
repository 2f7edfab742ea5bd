"""Name the parts of an ESP32 devkit; the only importer of machine and network.

Here, and nowhere else, an ESP32 and the unix port are made alike: the epoch, the codes of a socket
that would wait, and the form of an address. Nothing is touched before `build`.
"""

import binascii
import os
import select
import socket
import sys
import time

import machine
import network

_UNIX_S_AT_2000 = 946684800
_EPOCH_S = _UNIX_S_AT_2000 if time.gmtime(0)[0] == 2000 else 0

_PULSE_MS = 100
_SERVICE_WATCHDOG_MS = 600000
_JOIN_AGAIN_MS = 60000
_IN_PROGRESS = (115, 119)  # EINPROGRESS of Linux and of lwIP


def wall():
    """Return the RTC in Unix seconds (an integer); far in the past after a power cut."""
    return int(time.time()) + _EPOCH_S


def set_wall(time_s):
    """Set the RTC to Unix time `time_s`, in 2068 at the latest, where an ESP32's gmtime ends."""
    epoch_s = min(time_s - _EPOCH_S, 0x7FFFFFFF)
    year, month, day, hour, minute, second, weekday, _ = time.gmtime(epoch_s)
    machine.RTC().datetime((year, month, day, weekday, hour, minute, second, 0))


def random(size):
    """Return `size` random bytes with the radio on: off, the ESP32's generator is predictable.

    Source: ESP-IDF Programming Guide, Random Number Generation.
    """
    wlan = network.WLAN(network.STA_IF)
    if not wlan.active():
        wlan.active(True)
    return os.urandom(size)


def unique_id():
    """Return the chip's serial number in hex."""
    return binascii.hexlify(machine.unique_id()).decode()


def reset_cause():
    """Return `machine.reset_cause()`."""
    return machine.reset_cause()


def reset():
    """Restart the board."""
    machine.reset()


class Contactor:
    """A contactor on one pin that is high while closed.

    The pad is held, so a watchdog reset does not drop it; building this object changes no level.
    After a power cut the pad is low (a pull-down on the board keeps it there): open.
    Source: ESP-IDF, gpio_hold_en; MicroPython, machine.Pin, hold.
    """

    def __init__(self, pin, sense):
        self._sense = sense
        self._pin = machine.Pin(pin)
        self.set(self._pin.value())

    @property
    def closed(self):
        """Whether the house is connected: the auxiliary contact if fitted, else the pad."""
        return bool(self._sense.value() if self._sense else self._pin.value())

    def set(self, closed):
        """Close or open the contactor."""
        self._pin.init(machine.Pin.OUT, value=1 if closed else 0, hold=True)


class LatchingContactor:
    """A contactor with a closing and an opening coil that stays where the last pulse put it.

    Without an auxiliary contact nobody can ask it where it is: `closed` is None until it is set.
    """

    def __init__(self, close, open, sense):
        self._sense = sense
        self._close = machine.Pin(close, machine.Pin.OUT, value=0)
        self._open = machine.Pin(open, machine.Pin.OUT, value=0)
        self._closed = None

    @property
    def closed(self):
        """Whether the house is connected: the auxiliary contact if fitted, else what was set."""
        return bool(self._sense.value()) if self._sense else self._closed

    def set(self, closed):
        """Pulse one coil; takes 0.1 s, twice that at a Ctrl-C."""
        coil = self._close if closed else self._open
        try:
            coil.value(1)
            time.sleep_ms(_PULSE_MS)
        except KeyboardInterrupt:
            time.sleep_ms(_PULSE_MS)  # so that it moves all the same
            raise
        finally:
            coil.value(0)  # no coil is made for lasting current
        self._closed = bool(closed)


class _Input:
    """A line that means yes at one level; `value` returns 1 for yes, as machine.Signal's."""

    def __init__(self, pin, active, no_pull_up):
        pull = None if pin in no_pull_up else machine.Pin.PULL_UP
        self._pin = machine.Pin(pin, machine.Pin.IN, pull)
        self._level = active

    @classmethod
    def fitted(cls, pin, active, no_pull_up):
        return None if pin is None else cls(pin, active, no_pull_up)

    def value(self):
        return 1 if self._pin.value() == self._level else 0


class Keyboard:
    """What is typed at the serial console; Ctrl-C is not among it, it interrupts."""

    def __init__(self):
        self._poll = select.poll()
        self._poll.register(sys.stdin.buffer, select.POLLIN)
        self._byte = bytearray(1)

    def read(self):
        """Return the next byte, None if none is there. Waits for nothing, allocates nothing.

        A byte each time: what is not text would let sys.stdin wait for the rest of a character.
        """
        for _ in self._poll.ipoll(0):
            if sys.stdin.buffer.readinto(self._byte):
                return self._byte[0]
        return None


class Watchdog:
    """The task watchdog; it does not run before `start`."""

    def __init__(self):
        self._timer = None

    def start(self, timeout_s):
        """Reset the board when it is not fed for `timeout_s`."""
        self._timer = machine.WDT(timeout=timeout_s * 1000)

    def feed(self):
        if self._timer:
            self._timer.feed()

    def relax(self):
        """Give a person at the console ten minutes; a running watchdog cannot be stopped."""
        if self._timer:
            self._timer = machine.WDT(timeout=_SERVICE_WATCHDOG_MS)
            self._timer.feed()


class Link:
    """The Wi-Fi station and the sockets over it. Nothing here waits."""

    def __init__(self, ssid, password):
        self._ssid = ssid
        self._password = password
        self._wlan = network.WLAN(network.STA_IF)
        self._asked_ms = None

    @property
    def up(self):
        return self._wlan.isconnected()

    def keep(self):
        """Join the network, and join anew after a minute without it. Call it once a second.

        And when the network is there: only from then on is a loss one, not the last one still.
        """
        if self.up:
            self._asked_ms = None
            return
        now = time.ticks_ms()
        asked_ms = self._asked_ms
        if asked_ms is not None and time.ticks_diff(now, asked_ms) < _JOIN_AGAIN_MS:
            return
        self._asked_ms = now
        self._wlan.active(True)
        if self._wlan.status() != network.STAT_IDLE:
            self._wlan.disconnect()  # it tries still, perhaps since before a soft reset
        if hasattr(network.WLAN, "PM_NONE"):
            self._wlan.config(pm=network.WLAN.PM_NONE)
        if self._password:
            self._wlan.connect(self._ssid, self._password)
        else:
            self._wlan.connect(self._ssid)

    def name_server(self):
        """Return the address (dotted quad) of the network's DNS server."""
        return self._wlan.ifconfig()[3]

    def gateway(self):
        """Return the address (dotted quad) of the network's router."""
        return self._wlan.ifconfig()[2]

    def dial(self, address, port):
        """Return a non-blocking socket on its way to `address` (dotted quad). Raises OSError."""
        sock = self._socket(socket.SOCK_STREAM)
        try:
            sock.setsockopt(6, 1, 1)  # TCP_NODELAY; a build that lacks it only answers later
        except (OSError, ValueError):
            pass
        return self._connect(sock, address, port)

    def dial_udp(self, address, port):
        """Return a non-blocking datagram socket to `address` (dotted quad). Raises OSError."""
        return self._connect(self._socket(socket.SOCK_DGRAM), address, port)

    def _socket(self, kind):
        sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        return sock

    def _connect(self, sock, address, port):
        try:
            sock.connect(socket.getaddrinfo(address, port)[0][-1])
        except OSError as error:
            if error.errno not in _IN_PROGRESS:
                sock.close()
                raise
        return sock

    def secure(self, sock, host, ca_path):
        """Return TLS over a connected `sock`; the handshake goes on as it is written to.

        The server must be `host` by a certificate of the CA in `ca_path` (DER or PEM). Raises
        OSError; the socket raises ValueError when the server is not who it should be.
        """
        import tls

        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        context.verify_mode = tls.CERT_REQUIRED
        try:
            with open(ca_path, "rb") as file:
                context.load_verify_locations(file.read())
        except (OSError, ValueError):
            raise OSError("%s is missing or no certificate" % ca_path)
        return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)

    def arrived(self, sock):
        """Return whether `sock` is connected. Raises OSError when it never will be."""
        poll = select.poll()
        poll.register(sock, select.POLLOUT | select.POLLHUP)  # an ESP32 tells what it is asked for
        for _, event in poll.poll(0):
            if event & (select.POLLERR | select.POLLHUP):
                raise OSError("connection refused")
            return True
        return False


class Board:
    """The devkit, put together as the configuration says."""

    def __init__(self, config):
        pins, bare = config.pins, config.no_pull_up
        sense = _Input.fitted(pins["contactor_sense"], 0, bare)
        if config.contactor == "latching":
            self.contactor = LatchingContactor(pins["contactor"], pins["contactor_open"], sense)
        else:
            self.contactor = Contactor(pins["contactor"], sense)
        self.uart = machine.UART(
            config.uart, baudrate=9600, tx=pins["uart_tx"], rx=pins["uart_rx"], timeout=0,
            rxbuf=256,
        )  # fmt: skip
        self.button = _Input(pins["button"], 0, bare)
        self.led = machine.Pin(pins["led"], machine.Pin.OUT, value=0)
        self.mains = _Input.fitted(pins["mains"], 1, bare)
        self.tamper = _Input.fitted(pins["tamper"], 1, bare)
        self.keyboard = Keyboard()
        self.watchdog = Watchdog()
        self.link = Link(config.wifi_ssid, config.wifi_password)


def build(config):
    """Return the Board that `config` describes; the contactor keeps its state."""
    return Board(config)
