"""`socket` over the machine's own network, as long as the Wi-Fi is there.

There are ten, as lwIP has in an ESP-IDF that nobody configured otherwise: who forgets to close
them soon has none.
"""

import usocket
from usocket import *  # noqa: F403

import chip
import network


_SOCKETS = 10
_ENFILE = 23


def socket(*arguments):
    if chip.sockets() >= _SOCKETS:
        raise OSError(_ENFILE)
    made = usocket.socket(*arguments)
    if not network.usable():
        chip.deafen(made.fileno())
    return made


def getaddrinfo(host, port, *arguments):
    if not network.usable() and not host.replace(".", "").isdigit():
        raise OSError(-202)  # EAI_FAIL of lwIP
    if port == 123:  # every server's name leads to the bench's
        host, port = "127.0.0.1", chip.words.ntp_port
    if port == 53 and chip.words.name_port:
        host, port = "127.0.0.1", chip.words.name_port
    return usocket.getaddrinfo(host, port, *arguments)
