"""All that reads the meter's flash, as parsers.py has it: records, journal, configuration, slot.

A record is tried with the CRC right, too: what another version, or a fault of this one, left.
"""

import json
import os
import struct

import config
import records
import slot
from clock import Clock
from journal import Journal, JournalError
from recorder import Recorder
from register import Register, RegisterError
from supply import Supply
from update import Update

import wire
from hil_tests.firmware import signers
from hil_tests.firmware.check import remove
from hil_tests.firmware.parsers import T0, Parser, frames, trusting
from hil_tests.firmware.test_config import short
from hil_tests.firmware.world import Clock as World
from hil_tests.firmware.world import Quiet, Ticks


def _permits(data):
    held = trusting(saved=data)
    held.grant(T0, 0)
    held.keep()


def _supply(data):
    state = Supply(data, True)
    grant = trusting().grant(T0, 0)
    for ticks_ms in (0, 100, 20_000, 90_000):
        for code, a, b, c in state.step(ticks_ms, grant, T0, 100, True, False, ticks_ms, 1000):
            assert 0 < code < 256
            assert min(a, b, c) >= 0
        assert len(state.save()) <= 41
        wire.pack_hello(1, 1, 0, 0, 0, 0, state.control_state)


def _clock(data):
    ticks = [0]
    clock = Clock(lambda: 0, lambda _: None, lambda: ticks[0], data)
    floor_s = clock.not_before()
    clock.network(T0)
    clock.signed(T0 + 60)
    ticks[0] = 5000
    assert clock.not_before() >= floor_s
    assert 0 <= clock.now()[0] < 1 << 32
    Clock(lambda: 0, lambda _: None, lambda: 0, clock.save())


def _register(data):
    register = Register(data, [(1, 1), (7, 40)])
    before_wh = register.energy_wh
    for unit_id in (1, 7):
        for wh in (0, 40, 80_000, 40):
            register.update(unit_id, wh, 61)
    assert register.energy_wh >= before_wh
    Register(register.save(), [(1, 1), (7, 40)])


def stored(frame):
    """Return a frame as the journal has it."""
    return frame[1:] + records.crc32(frame[1:]).to_bytes(4, "big")


class _Events:
    def record(self, code, a=0, b=0, c=0):
        wire.pack_event(code, 1, T0, 0, a, b, c)


def parsers(folder):
    """Return what reads flash; files are kept in `folder`."""
    path = folder + "/file"

    def write(data):
        with open(path, "wb") as file:
            file.write(data)

    def read_config(data):
        write(data)
        read = config.load(path)
        assert 1 <= read.permit_threshold <= len(read.permit_signers)
        assert 86_400 % read.interval_s == 0

    def read_record(data):
        write(data)
        payload = records.load(path)
        records.save(path, payload)
        assert records.load(path) == payload

    def read_slot(data):
        slot.print = lambda *_: None  # it says "well"
        write(data)
        slot.words(path)
        assert slot.running(path)
        slot.confirm(path)

    def read_journal(data):
        """Read a file that stands among the journal's, then go on behind it."""
        there = empty_journal()
        with open(there + "/1", "wb") as file:
            file.write(data)
        go_on(there)

    def read_index(data):
        """Read an index whose CRC is right, beside two segments."""
        there = empty_journal()
        for name, first in (("full/1", 1), ("4", 4)):
            with open(there + "/" + name, "wb") as file:
                for sequence in range(first, first + 3):
                    file.write(stored(wire.pack_event(1, sequence, T0, 0)))
        records.save(there + "/full/index", data)
        go_on(there)

    def empty_journal():
        there = folder + "/journal"
        records.folder(there)
        remove(there)
        os.mkdir(there)
        os.mkdir(there + "/full")
        return there

    def go_on(there):
        journal = Journal(there, 1000)
        for sequence in {journal.oldest, journal.oldest + 1, journal.next - 1}:
            try:
                wire.parse(journal.read(sequence))
            except (JournalError, wire.FrameError):
                pass  # its CRC may be right, its frame another firmware's
        following = journal.next
        journal.append(wire.pack_event(1, following, T0, 0))
        assert wire.parse(journal.read(following)).sequence == following
        journal.close()

    def read_state(data):
        """Start a recorder on a record whose CRC is right."""
        there = folder + "/state"
        records.folder(there)
        records.save(there + "/metering.rec", data)
        journal = Journal(there + "/journal", 1000)
        made = Recorder(
            there + "/metering.rec",
            journal,
            World(Ticks()),
            lambda saved: Register(saved, [(1, 1)]),
            Quiet(),
        )
        made.start(1, 0x100, 7)
        made.record(wire.EVENT_TAMPER)
        journal.close()
        remove(there)

    def read_update(data):
        made = Update(data, len, folder + "/", _Events(), lambda: None, Ticks(), Quiet())
        made.start()
        made.step()
        if made._file:
            made._file.close()

    event = wire.pack_event(1, 1, T0, 0)
    state = struct.pack(">BIIIIIIIBBB", 2, 1, 0, T0, 7, 1, 0, 1, False, 0, 0)
    register = Register(None, [(1, 1), (7, 40)])
    for unit_id, wh in ((1, 5000), (7, 400_000), (1, 3)):
        register.update(unit_id, wh, 1)
    kept = []
    trusting(kept.append).accept(signers.bundle(signers.permit(T0)), T0, 0)
    offer = struct.pack(">BHII28s", 1, 10, 7, 512, bytes(28))
    return [
        Parser("permits record", kept, _permits, (), 0.2),
        Parser("supply record", [Supply(None, True).save(), bytes(17)], _supply, (), 0.2),
        Parser("clock record", [struct.pack(">BII", 1, T0, T0)], _clock),
        Parser("register record", [register.save()], _register, RegisterError, 0.5),
        Parser("update record", [offer], read_update, (), 0.1),
        Parser("metering record", [state, state + register.save()], read_state, (), 0.02),
        Parser("record", [stored(event)], read_record, records.RecordError, 0.1),
        Parser("journal", [stored(frames()[0]) * 3, stored(event)], read_journal, (), 0.05),
        Parser("journal's index", [b"\0\0\0\1\0\0\0\4", b"\0\0\0\4"], read_index, (), 0.05),
        Parser("configuration", [as_json(short()), as_json(longer())], read_config,
               config.ConfigError, 0.1),
        Parser("slot", [b"a", b"b tried", b"a 2"], read_slot, (), 0.1),
    ]  # fmt: skip


def longer():
    """Return a configuration with all its keys."""
    data = short()
    data.update(
        sensors=[{"unit_id": 1}, {"unit_id": 7, "ct_ratio": 40}], interval_s=60, closing_s=3600,
        poll_ms=1000, utc_offset_s=19_800, ntp_host="", contactor="plain", journal_frames=1000,
        log_level="warn", status_s=5, watchdog_s=20, pins={"led": 32, "mains": 34},
    )  # fmt: skip
    data["broker"].update(port=8883, user="m", password="x", tls=True, ca="/ca.der")
    return data


def as_json(data):
    return json.dumps(data).encode()
