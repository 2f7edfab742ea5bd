"""Test control on a littlefs whose power is cut at every write (MicroPython)."""

import ecdsa  # noqa: F401  before the chip: its tables need room in one piece
import wire
from hil_tests.firmware import flash
from hil_tests.firmware.check import MICROPYTHON

# Taken while the heap is in one piece, and used again and again.
CHIP = flash.Memory(8).data if MICROPYTHON else None

from hil_tests.firmware.rig import Rig  # noqa: E402
from hil_tests.firmware.signers import DAY_S, T0, bundle, permit  # noqa: E402


class Meter(Rig):
    """A rig whose events are on the same flash as its records."""

    def record(self, code, a, b, c):
        super().record(code, a, b, c)
        with open(self.folder + "/events", "ab") as file:
            file.write(bytes((code, a & 0xFF)))

    def told(self):
        """Return what the flash holds of events, as (code, a)."""
        try:
            with open(self.folder + "/events", "rb") as file:
                data = file.read()
        except OSError:
            return []
        return [(data[i], data[i + 1]) for i in range(0, len(data), 2)]


def live(rig, bundles, at):
    """Lead a meter through a permit and its end; `at` keeps how far it came. A cut ends it."""
    try:
        rig.start()
        at[0] = 1
        rig.control.bundle(bundles[0])
        rig.run(12000)
        at[0] = 2
        rig.control.bundle(bundles[1])
        rig.run(12000)
        at[0] = 3
    except OSError:
        pass


def cut_everywhere(latching):
    """Cut the power at every write, and check what the next start makes of it."""
    bundles = [
        bundle(permit(7)),
        bundle(wire.pack_time(1, T0 + 31 * DAY_S)),
        bundle(permit(8, days=60)),
    ]
    cut_at = 1
    stages = set()
    while True:
        at = [0]
        for block in CHIP:
            for start in range(0, flash.BLOCK, 256):
                block[start : start + 256] = b"\xff" * 256
        device = flash.Memory(8, CHIP)
        with flash.mounted(device, make=True):
            rig = Meter(flash.MOUNT)
            device.cut_at(cut_at, cut_at % 17)
            live(rig, bundles, at)
            was = rig.closed
            device.cut_at(1 << 29)
        cut = at[0] < 3
        stages.add((at[0], was))
        device = flash.Memory(8, CHIP)
        with flash.mounted(device):
            rig = Meter(flash.MOUNT, closed=was and latching)  # a plain one opened in the outage
            assert True not in (rig.clock.lost, rig.permits.lost, rig.supply.lost), cut_at
            rig.run(12000)
            if at[0] < 2 or at[0] == 3:
                assert rig.closed == was or (at[0] == 1 and rig.permits.serial == 7), cut_at
            elif not was:
                assert not rig.closed, cut_at
            if was and at[0] == 1:
                assert ("contactor", False) not in rig.done, cut_at
            if was or rig.closed:  # whatever was cut off, the move is told
                assert (wire.EVENT_RECONNECTED, wire.REASON_NEW_PERMIT) in rig.told() or (
                    wire.EVENT_RECONNECTED, wire.REASON_RESTORED
                ) in rig.told(), cut_at  # fmt: skip
            if at[0] > 1 and not rig.closed:
                told = [code for code, _ in rig.told()]
                assert wire.EVENT_DISCONNECTED in told, cut_at
            assert wire.EVENT_STATE_LOST not in [done[0] for done in rig.done]
            rig.control.bundle(bundles[2])
            rig.run(12000)
            assert rig.closed, cut_at
        if not cut:
            break
        cut_at += 1
    print("cuts:", cut_at - 1)
    assert {(1, False), (1, True), (2, True), (3, False)} <= stages  # each decision met a cut
    assert cut_at > 10


def test_power_cut_at_every_flash_write():
    if MICROPYTHON:
        cut_everywhere(latching=False)


def test_power_cut_at_every_flash_write_beside_a_latching_contactor():
    if MICROPYTHON:
        cut_everywhere(latching=True)
