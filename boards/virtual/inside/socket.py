"""`socket` over the machine's own network, as long as the Wi-Fi is there."""

import usocket
from usocket import *  # noqa: F403

import chip
import network


def socket(*arguments):
    made = usocket.socket(*arguments)
    if not network.usable():
        chip.deafen(made.fileno())
    return made


def getaddrinfo(host, port, *arguments):
    if not network.usable() and not host.replace(".", "").isdigit():
        raise OSError(-202)  # EAI_FAIL of lwIP
    return usocket.getaddrinfo(host, port, *arguments)
