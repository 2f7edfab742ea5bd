"""Run the firmware's own uplink under CPython: its session, its timing, its backlog."""

import binascii
import importlib
import importlib.util
import socket
import struct
import sys
import types
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

from parwana import REPO
from parwana.world import runtime

_FOLDERS = (str(REPO / "firmware"), str(REPO / "firmware" / "lib"))


@types.coroutine
def sleep_ms(ms: int) -> Generator[int, None, None]:
    """Hand `ms`, the pause that the firmware asks for, to who runs the meter."""
    yield ms


def load(session: Any) -> tuple[Any, Any]:
    """Return the modules uplink and umqtt.simple; `session` takes mqtt.Session's place.

    `session` is called with that class and returns what opens one. Raises RuntimeMissing.
    """
    # umqtt.simple is written for MicroPython, which calls these modules so.
    sys.modules.update(usocket=socket, ustruct=struct, ubinascii=binascii)
    spec = importlib.util.spec_from_file_location("umqtt_simple", runtime.umqtt())
    assert spec is not None
    assert spec.loader is not None
    umqtt = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(umqtt)
    sys.path[:0] = _FOLDERS
    try:
        uplink: Any = importlib.import_module("uplink")
    finally:
        for folder in _FOLDERS:
            sys.path.remove(folder)
    uplink.asyncio = SimpleNamespace(sleep_ms=sleep_ms)
    uplink.Session = session(importlib.import_module("mqtt").Session)
    return uplink, umqtt
