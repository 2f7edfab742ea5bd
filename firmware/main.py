"""Put the meter together: board + configuration -> app. Nothing is decided here."""
# ruff: noqa: E402

import gc

gc.threshold(4096)  # else what stays is scattered among what imports leave behind

import ecdsa  # first: on an ESP32 its code needs one contiguous buffer

import sys

import version

print("parwana", version.VERSION)
print("parwana: ecdsa is the %s one. %s" % (ecdsa.backend, ecdsa.reason))


def configure():
    """Return what /config.json says, None when it is refused; the console then tells why."""
    import config

    try:
        return config.load("/config.json")
    except config.ConfigError as error:
        print("parwana:", error)
        return None
    finally:
        del sys.modules["config"], sys.modules["pins"]  # nobody needs them again


settings = configure()  # before the rest, when there is room for 9 KB

import __main__
import asyncio
import time

import board
import records
import slot
import umqtt.simple
import wire  # noqa: F401

from clock import Clock
from identity import load_or_create
from journal import Journal
from log import Console, Log
from permits import Permits
from pzem004t import Pzem004T
from recorder import Recorder
from register import Register
from supply import Supply

from app import App, tell
from control import Control, keeper, restore
from handover import Handover
from metering import Metering
from timesync import TimeSync, network_time
from update import Update, trying
from uplink import Uplink

gc.collect()

SLOT = "/slot"
STATE = "/state"
UPDATE = STATE + "/update.rec"
SENSOR_MS = 300
RESTART_S = 300  # an update on a slow flash
BUILD_S = 2400  # a start has taken 8,394 operations, on a worn flash of 0.2 s each


def build(settings, hardware, identity, console):
    """Return the App that `settings` (config.Config) describes. Raises what its parts raise."""

    def log(name):
        return Log(name, console)

    random = board.random
    records.folder(STATE)
    clock = Clock(board.wall, board.set_wall, time.ticks_ms, restore(STATE + "/clock.rec"))
    journal = Journal("/journal", settings.journal_frames)
    recorder = Recorder(
        STATE + "/metering.rec", journal, clock,
        lambda saved: Register(saved, settings.sensors, settings.interval_s + RESTART_S),
        log("recorder"),
    )  # fmt: skip
    # Before the rest is made: what it writes takes heap.
    recorder.start(board.reset_cause(), version.number(), settings.crc32)
    update = Update(
        restore(UPDATE), keeper(UPDATE, journal.made_room), "/", recorder, board.reset, time,
        log("update"),
    )  # fmt: skip
    permits = Permits(
        settings.permit_threshold, settings.permit_signers, settings.chain_id,
        settings.payment_ledger, settings.meter, settings.utc_offset_s,
        keeper(STATE + "/permits.rec", journal.made_room), restore(STATE + "/permits.rec"),
        update.check,
    )  # fmt: skip
    supply = Supply(restore(STATE + "/control.rec"), hardware.contactor.closed)
    sensors = [
        Pzem004T(hardware.uart, unit_id, ct_ratio, time.ticks_ms, SENSOR_MS)
        for unit_id, ct_ratio in settings.sensors
    ]
    metering = Metering(
        settings, sensors, recorder, clock, supply, hardware.contactor, hardware.mains,
        hardware.tamper, time, log("metering"),
    )  # fmt: skip
    control = Control(
        hardware.contactor, hardware.button, hardware.led, clock, permits, supply, metering,
        recorder, STATE, time.ticks_ms, log("control"), update,
    )  # fmt: skip
    few = type(settings)()  # so that the rest, pins and first signers, can be let go of
    for name in (
        "utility_id", "meter", "interval_s", "broker_host", "broker_port", "broker_user",
        "broker_password", "broker_tls", "broker_ca", "broker_backoff_cap_s",
    ):  # fmt: skip
        setattr(few, name, getattr(settings, name))
    uplink = Uplink(
        few, hardware.link, umqtt.simple, journal, recorder, identity, permits, supply,
        control.bundle, random, time, log("uplink"), update, clock,
    )  # fmt: skip
    timesync = TimeSync(
        settings.ntp_host, hardware.link, uplink.resolve,
        lambda address: network_time(hardware.link, random, address), clock, recorder,
        log("time"),
    )  # fmt: skip
    update.start()
    return App(
        settings, hardware.watchdog, recorder, journal, clock, metering, control, uplink, timesync,
        Handover(hardware.keyboard.read, control.bundle), supply, update, SLOT, console,
        time, log("app"),
    )  # fmt: skip


def forget(module):
    """Let go of functions and classes in a module that nobody will call by their names."""
    names = module.__dict__
    for name in list(names):
        if callable(names[name]):
            del names[name]


def let_go():
    """Free what only the start needs. Set to None: a class's table keeps what is deleted."""
    for module in (__main__, board, sys.modules["identity"]):  # boot.py's are in the first
        forget(module)
    for part in (
        App, Clock, Console, Control, Handover, Journal, Log, Metering, Permits, Pzem004T,
        Recorder, Register, Supply, TimeSync, Update, Uplink,
    ):  # fmt: skip
        part.__init__ = None  # no other object is made of it
    Clock._restore = Permits._restore = Supply._restore = Register._load = None
    Recorder.start = Update.start = Journal.restore = Journal.check = None
    restoring = sys.modules["permits"]
    restoring._unpack = restoring._split = None
    del sys.modules["recovery"]


def start():
    """Run the meter until Ctrl-C. Returns the App for the service console, None without one."""
    global build, configure, forget, let_go, settings
    if settings is None:
        if trying(restore(UPDATE)):
            raise ValueError("the version on trial refuses the configuration")
        slot.confirm(SLOT)  # an unpaired meter cannot show more health than this
        return None
    hardware = board.build(settings)
    watchdog_s = settings.watchdog_s
    app = None
    try:
        hardware.watchdog.start(BUILD_S)
        identity = load_or_create("/identity.key", board.random)
        app = build(settings, hardware, identity, Console(settings.log_level))
        hardware.watchdog.start(watchdog_s)
        let_go()
        del build, configure, forget, let_go, settings
        gc.collect()
        gc.threshold(8192)  # from here on no import leaves anything behind
        print("parwana: the meter runs")
        asyncio.run(app.run())
    except KeyboardInterrupt:
        hardware.watchdog.relax()
        slot.postpone(SLOT)
        print("parwana: service mode; the contactor is not touched; app.status() tells more")
    except Exception as error:
        tell(error)
        hardware.watchdog.start(watchdog_s)  # nobody is here to see it: it tries again
    return app
