"""`network` as an ESP32 has it: one station interface and one access point in reach."""

import time

import chip
import registers

STA_IF, AP_IF = 0, 1
AUTH_OPEN, AUTH_WPA2_PSK = 0, 3
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 1000, 1001, 1010
STAT_BEACON_TIMEOUT, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = 200, 201, 202
STAT_ASSOC_FAIL, STAT_HANDSHAKE_TIMEOUT = 203, 204

_JOIN_MS = 300
_SETTINGS = ("reconnects", "hostname", "dhcp_hostname", "pm", "txpower", "protocol", "channel")
_station = None
_reachable = False  # as the last message said: the register changes before it comes


class WLAN:
    IF_STA, IF_AP = STA_IF, AP_IF
    PM_NONE, PM_PERFORMANCE, PM_POWERSAVE = 0, 1, 2

    def __new__(cls, interface=STA_IF):
        global _station
        if interface != STA_IF:
            raise ValueError("this board has no access point interface")
        if _station is None:
            _station = object.__new__(cls)
            _station._active = False
            _station._wanted = None
            _station._reconnects = -1
            _station._hostname = "mpy-esp32"
        return _station

    def __init__(self, interface=STA_IF):
        pass

    def active(self, on=None):
        if on is not None:
            if self._active and not on:
                self.disconnect()
            self._active = bool(on)
        return self._active

    def _demand_started(self):
        if not self._active:
            raise OSError("Wifi Not Started")

    def connect(self, ssid=None, key=None, *, bssid=None):
        self._demand_started()
        if self.status() == STAT_CONNECTING:
            raise OSError("Wifi Internal State Error")
        if ssid is not None:
            self._wanted = (ssid, key or "")
        self._since_ms = time.ticks_ms()

    def disconnect(self):
        self._demand_started()
        if self._wanted and self.status() == STAT_GOT_IP:
            chip.sink_sockets()
        self._wanted = None

    def status(self, what=None):
        if what == "rssi":
            if self.status() != STAT_GOT_IP:
                raise OSError("Wifi Not Connected")
            return -55
        if not self._wanted:
            return STAT_IDLE
        ssid, key = self._wanted
        if time.ticks_diff(time.ticks_ms(), self._since_ms) < _JOIN_MS:
            return STAT_CONNECTING
        reason = STAT_GOT_IP
        if not _reachable or ssid != chip.text(registers.SSID):
            reason = STAT_NO_AP_FOUND
        elif key != chip.text(registers.PASSWORD):
            reason = STAT_WRONG_PASSWORD
        # While it may try again it does not tell what went wrong.
        return STAT_CONNECTING if reason != STAT_GOT_IP and self._reconnects < 0 else reason

    def isconnected(self):
        return self.status() == STAT_GOT_IP

    def ifconfig(self, settings=None):
        if not self.isconnected():
            return ("0.0.0.0",) * 4
        return "127.0.0.1", "255.0.0.0", "127.0.0.1", chip.text(registers.NAME_SERVER)

    def config(self, name=None, **settings):
        if name is None:
            for setting in settings:
                if setting not in _SETTINGS:
                    raise ValueError("unknown config param")
            self._reconnects = settings.get("reconnects", self._reconnects)
            self._hostname = settings.get(
                "dhcp_hostname", settings.get("hostname", self._hostname)
            )
            return None
        if name in ("ssid", "essid"):
            return self._wanted[0] if self._wanted else ""
        if name == "mac":
            return bytes(chip.regs[registers.UNIQUE_ID : registers.UNIQUE_ID + 6])
        if name in ("hostname", "dhcp_hostname"):
            return self._hostname
        raise ValueError("unknown config param")

    def scan(self):
        if not self._active:
            raise OSError("STA must be active")
        if not _reachable:
            return []
        return [(chip.text(registers.SSID).encode(), b"\x02parwa", 6, -55, AUTH_WPA2_PSK, False)]


def usable():
    """Return whether packets go out and come in."""
    return _station is not None and _station.isconnected()


def on_message(level):
    """Lose or find the access point: what was connected does not live through it."""
    global _reachable
    _reachable = bool(level)
    if level:
        if _station is not None:
            _station._since_ms = time.ticks_ms()
        chip.scrap_sockets()
    else:
        chip.sink_sockets()
