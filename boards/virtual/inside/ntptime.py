"""`ntptime` as an ESP32 has it; every server's name leads to the bench's NTP server.

Like it, it believes whatever comes: neither stratum nor mode is looked at, and a torn answer is a
ValueError. Source: micropython-lib, ntptime (MicroPython 1.24).
"""

import socket
import struct

import chip
import machine
from time import gmtime

host = "pool.ntp.org"
timeout = 1

_FROM_1900_S = 3155673600  # to 2000
_EARLIEST_S = 3913056000  # 2024: what is less, and be it 0, is taken to be of the era from 2036 on


def time():
    query = bytearray(48)
    query[0] = 0x1B
    address = socket.getaddrinfo("127.0.0.1", chip.words.ntp_port)[0][-1]
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        client.settimeout(timeout)
        client.sendto(query, address)
        answer = client.recv(48)
    finally:
        client.close()
    stamp_s = struct.unpack("!I", answer[40:44])[0]
    return stamp_s + ((1 << 32) if stamp_s < _EARLIEST_S else 0) - _FROM_1900_S


def settime():
    parts = gmtime(time())
    machine.RTC().datetime(parts[:3] + (parts[6] + 1,) + parts[3:6] + (0,))
