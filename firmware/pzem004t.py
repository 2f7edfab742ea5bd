"""Read a PZEM-004T v3 energy sensor: one snapshot a poll, never waiting.

Source: PZEM-004T V3.0 user manual, sections 2.2 to 2.8.
"""

from collections import namedtuple

import modbus_rtu

Snapshot = namedtuple(
    "Snapshot",
    "voltage_dv current_ma power_dw energy_wh frequency_dhz power_factor_pct alarm",
)

REFRESH_MS = 1000  # about how often the sensor itself measures

_REGISTERS = 10
_SIZE = 5 + 2 * _REGISTERS
_FLUSHES_MAX = 16
# Twice what the sensor can measure; beyond it, the values are no measurement.
_CURRENT_MAX_MA = 200_000
_POWER_MAX_DW = 460_000
_VOLTAGE_MAX_DV = 5_000
_FREQUENCY_MAX_DHZ = 1_000


class SensorError(Exception):
    """No snapshot this time: silence, or a reply that must not be believed. Poll again."""


class Pzem004T:
    """Poll one sensor on a bus: `request()`, then `receive()` until it gives a Snapshot.

    `uart` has write(bytes) and a readinto(buffer) that never blocks and gives the count, or
    None or 0 when idle. `unit_id` is 1 to 247. `ct_ratio` (a whole number) scales current, power
    and energy. `ticks_ms` counts milliseconds and may wrap at 2^30 or a multiple of it. A reply
    takes 60 to 126 ms.
    """

    def __init__(self, uart, unit_id, ct_ratio, ticks_ms, timeout_ms=500):
        self.unit_id = unit_id
        self._uart = uart
        self._ct_ratio = ct_ratio
        self._ticks_ms = ticks_ms
        self._timeout_ms = timeout_ms
        self._request = modbus_rtu.pack_read(
            unit_id, modbus_rtu.READ_INPUT_REGISTERS, 0, _REGISTERS
        )
        self._chunk = bytearray(_SIZE)
        self._reply = bytearray(_SIZE)
        self._size = 0
        self._why = None
        self._asked_ms = None

    def request(self):
        """Ask for a snapshot; forget what a former request may still bring."""
        # A bus that never falls silent must not hold us here.
        for _ in range(_FLUSHES_MAX):
            if not self._uart.readinto(self._chunk):
                break
        self._size = 0
        self._why = None
        self._uart.write(self._request)
        self._asked_ms = self._ticks_ms()

    def receive(self):
        """Return the Snapshot, or None while the reply is not there.

        What comes before it is passed over: an echo, noise, the rest of another unit's. Raises
        SensorError on time-out, which says what was heard instead, and for values that no sensor
        can measure; the request is over then. Allocates the Snapshot only.
        """
        if self._asked_ms is None:
            raise SensorError("unit %d: nothing was asked, call request() first" % self.unit_id)
        for i in range(self._uart.readinto(self._chunk) or 0):
            self._reply[self._size] = self._chunk[i]
            self._size += 1
            if self._found():
                return self._snapshot()
        if (self._ticks_ms() - self._asked_ms) & 0x3FFFFFFF > self._timeout_ms:
            heard = "%d of %d bytes within %d ms" % (self._size, _SIZE, self._timeout_ms)
            if self._why:
                heard = "%s, %s" % (heard, self._why)
            raise self._over(heard)
        return None

    def _found(self):
        """Return whether the reply is here; pass over what cannot be its beginning."""
        reply = self._reply
        while self._size:
            exception = modbus_rtu.is_exception(reply, self._size)
            # As soon as it is seen: noise must not cost a CRC for each of its bytes.
            if (
                reply[0] == self.unit_id
                and (self._size < 2 or reply[1] & 0x7F == modbus_rtu.READ_INPUT_REGISTERS)
                and (self._size < 3 or exception or reply[2] == 2 * _REGISTERS)
            ):
                if self._size < (modbus_rtu.EXCEPTION_SIZE if exception else _SIZE):
                    return False
                try:
                    modbus_rtu.check_read(
                        reply,
                        modbus_rtu.EXCEPTION_SIZE if exception else _SIZE,
                        self.unit_id,
                        modbus_rtu.READ_INPUT_REGISTERS,
                        _REGISTERS,
                    )
                    return True
                except modbus_rtu.ModbusError as error:
                    self._why = str(error)
            elif not self._why:
                self._why = "others passed over: look for noise, or another unit that answers late"
            self._size -= 1
            for i in range(self._size):
                reply[i] = reply[i + 1]
        return False

    def _snapshot(self):
        self._asked_ms = None
        voltage_dv = self._register(0)
        current_ma = self._double(1)
        power_dw = self._double(3)
        frequency_dhz = self._register(7)
        power_factor_pct = self._register(8)
        if (
            voltage_dv > _VOLTAGE_MAX_DV
            or current_ma > _CURRENT_MAX_MA
            or power_dw > _POWER_MAX_DW
            or frequency_dhz > _FREQUENCY_MAX_DHZ
            or power_factor_pct > 100
        ):
            raise self._over("values out of the sensor's range: check wiring, replace it")
        return Snapshot(
            voltage_dv,
            current_ma * self._ct_ratio,
            power_dw * self._ct_ratio,
            self._double(5) * self._ct_ratio,
            frequency_dhz,
            power_factor_pct,
            self._register(9) == 0xFFFF,
        )

    def _register(self, index):
        at = 3 + 2 * index
        return self._reply[at] << 8 | self._reply[at + 1]

    def _double(self, index):
        """Return the 32-bit value whose low word is register `index`."""
        return self._register(index + 1) << 16 | self._register(index)

    def _over(self, why):
        self._asked_ms = None
        return SensorError("unit %d: %s" % (self.unit_id, why))
