"""Find the serial port that a board is on."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import serial.tools.list_ports

AUTO = "auto"


class PortError(Exception):
    """There is no port, or nobody said which; the message lists those that there are."""


def candidates() -> list[tuple[str, str]]:
    """Return (device, description) of the USB serial ports here, as a board's would be."""
    found = [port for port in serial.tools.list_ports.comports() if port.vid is not None]
    return sorted((str(port.device), _described(port)) for port in found)


def _described(port: object) -> str:
    words = [getattr(port, name, None) for name in ("manufacturer", "description")]
    number = getattr(port, "serial_number", None)
    text = " ".join(dict.fromkeys(str(word) for word in words if word and word != "n/a"))
    return text + (f", id:{number}" if number else "")


def resolve(port: str, ask: Callable[[str], str] | None = None) -> str:
    """Return the device that `port` names: one, a URL of pyserial, id:SERIAL, or "auto".

    "auto" is the only port; among several, `ask` is given the list and returns a number of it or
    a port. Raises PortError.
    """
    if port.startswith("id:"):
        return _by_serial_number(port[3:])
    if port != AUTO:
        return port.removeprefix("port:")
    found = candidates()
    if not found:
        raise PortError(
            "no USB serial port is here; plug the board in, or give --port: a device, "
            "socket://host:port or rfc2217://host:port"
        )
    if len(found) == 1:
        return found[0][0]
    listed = "\n".join(f"  {n}  {device}  {text}" for n, (device, text) in enumerate(found, 1))
    if ask is None:
        raise PortError(f"several boards may be meant; give one as --port:\n{listed}")
    answer = ask(f"Several boards may be meant:\n{listed}\nWhich (number or port)").strip()
    if answer.isdecimal() and 1 <= int(answer) <= len(found):
        return found[int(answer) - 1][0]
    if answer.isdecimal() or not answer:
        raise PortError(f"there is no port {answer or 'without a name'} in the list")
    return resolve(answer)


def why_closed(device: str, error: Exception) -> str:
    """Return what keeps a port from opening, and what to do; `error` is what its opener said."""
    if "://" in device:
        return f"{device} does not open ({error}); check the address"
    if not Path(device).exists():
        here = ", ".join(name for name, _ in candidates())
        return f"there is no port {device}; plug the board in (ports here: {here or 'none'})"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"you may not open {device}; join its group (often dialout) and log in again"
    try:
        opened = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as refusal:
        if refusal.errno in (errno.EIO, errno.ENXIO, errno.ENODEV):
            return f"{device} hung up; plug the board in again, or start it"
        serial_device = refusal.errno != errno.EISDIR
    else:
        serial_device = os.isatty(opened)
        os.close(opened)
    if not serial_device:
        return f"{device} is no serial port; give the board's, as /dev/ttyUSB0"
    return f"{device} is in use; close the other program (a terminal, mpremote) and try again"


def _by_serial_number(number: str) -> str:
    for port in serial.tools.list_ports.comports():
        if port.serial_number == number:
            return str(port.device)
    raise PortError(
        f"no USB serial port has the serial number {number}; here are: "
        + ("; ".join(" ".join(pair) for pair in candidates()) or "none")
    )
