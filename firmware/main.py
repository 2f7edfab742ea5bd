"""Put the meter together: board + configuration -> app. Nothing is decided here."""

import ecdsa  # noqa: F401  (first: on an ESP32 it needs one contiguous buffer)

import asyncio
import gc
import sys
import time

import board
import identity
import slot
import umqtt.simple
import version
from app import App
from config import ConfigError, load
from control import Control, keeper, restore
from clock import Clock
from journal import Journal
from log import Console, Log
from metering import Metering
from permits import Permits
from pzem004t import Pzem004T
from recorder import Recorder
from register import Register
from supply import Supply
from timesync import TimeSync
from uplink import Uplink

CONFIG = "/config.json"
SLOT = "/slot"
STATE = "/state"
SENSOR_MS = 300


def build(config, hardware, console):
    """Return the App that `config` describes. Raises what its parts raise."""

    def log(name):
        return Log(name, console)

    unit_ids = [unit_id for unit_id, _ in config.sensors]
    clock = Clock(board.wall, board.set_wall, time.ticks_ms, restore(STATE + "/clock.rec"))
    journal = Journal("/journal", config.journal_frames)
    recorder = Recorder(
        STATE + "/metering.rec", journal, clock, lambda saved: Register(saved, unit_ids),
        log("recorder"),
    )  # fmt: skip
    permits = Permits(
        config.permit_threshold, config.permit_signers, config.chain_id, config.payment_ledger,
        config.meter, config.utc_offset_s, keeper(STATE + "/permits.rec"),
        restore(STATE + "/permits.rec"),
    )  # fmt: skip
    supply = Supply(restore(STATE + "/control.rec"), hardware.contactor.closed)
    sensors = [
        Pzem004T(hardware.uart, unit_id, ct_ratio, time.ticks_ms, SENSOR_MS)
        for unit_id, ct_ratio in config.sensors
    ]
    metering = Metering(
        config, sensors, recorder, clock, supply, hardware.contactor, hardware.mains,
        hardware.tamper, time, log("metering"),
    )  # fmt: skip
    control = Control(
        hardware.contactor, hardware.button, hardware.led, clock, permits, supply, metering,
        recorder, STATE, time.ticks_ms, log("control"),
    )  # fmt: skip

    def hello():
        return (
            permits.serial, permits.trust_serial, recorder.boots, version.number(),
            supply.control_state,
        )  # fmt: skip

    uplink = Uplink(
        config, hardware.link, umqtt.simple, journal, recorder,
        identity.load_or_create("/identity.key", board.random), hello, control.bundle,
        board.random, time, log("uplink"),
    )  # fmt: skip
    tasks = [("metering", metering), ("control", control), ("uplink", uplink)]
    if config.ntp_host:
        timesync = TimeSync(
            config.ntp_host, hardware.link, uplink.resolve, board.network_time, clock, recorder,
            log("time"),
        )  # fmt: skip
        tasks.append(("time", timesync))
    recorder.start(board.reset_cause(), version.number(), config.crc32)
    app = App(
        tasks, (metering, control), hardware.watchdog, recorder, journal, SLOT, config.status_s,
        time, log("app"),
    )  # fmt: skip
    app.last = console.last
    app.more["pointer"] = lambda: uplink.pointer
    app.more["connected"] = lambda: uplink.connected
    app.more["failures"] = lambda: metering.failures
    app.more["energy_wh"] = lambda: metering.energy_wh
    app.more["power_dw"] = lambda: metering.power_dw
    app.more["time"] = clock.now
    app.more["control"] = lambda: supply.control_state
    return app


def start():
    """Run the meter until Ctrl-C. Returns the App for the service console, None without one."""
    print("parwana", version.VERSION)
    try:
        config = load(CONFIG)
    except ConfigError as error:
        print("parwana:", error)
        slot.confirm(SLOT)  # an unpaired meter cannot show more health than this
        return None
    hardware = board.build(config)
    app = None
    try:
        hardware.watchdog.start(config.watchdog_s)
        app = build(config, hardware, Console(config.log_level))
        gc.collect()
        gc.threshold(gc.mem_free() // 4 + gc.mem_alloc())
        asyncio.run(app.run())
    except KeyboardInterrupt:
        hardware.watchdog.relax()
        slot.postpone(SLOT)
        print("parwana: service mode; the contactor is not touched; app.status() tells more")
    except Exception as error:
        # Nobody is here to see it: the watchdog will try again.
        sys.print_exception(error)
    return app
