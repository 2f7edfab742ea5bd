"""Start a broker for one test, and make signed frames."""

import time
from collections.abc import Callable
from pathlib import Path

import wire
from parwana.chain.keys import Key
from parwana.store.reader import SignedFrame, signed_frame
from parwana.world.programs import OPEN_TO_ALL, free_port, mosquitto

UTILITY = "test-board"
DOMAIN = wire.reading_domain(UTILITY)
OF = "(SELECT id FROM framed WHERE meter = ?)"  # a meter in the store's table `frames`


def reading(sequence: int, time_s: int, energy_wh: int, flags: int = 0) -> bytes:
    """Pack a reading with a trusted time (40 bytes)."""
    return wire.pack_reading(
        flags=flags | wire.FLAG_OUTPUT_CLOSED,
        sequence=sequence,
        time_s=time_s,
        energy_wh=energy_wh,
        power_dw=4000,
        power_max_dw=5000,
        current_ma=1800,
        voltage_dv=2300,
        voltage_min_dv=2280,
        frequency_dhz=500,
        power_factor_pct=97,
        clock_trust=wire.TRUST_NETWORK,
    )


class SignedMeter:
    """A meter as the relay sees it: a key, and frames that it signed."""

    def __init__(self, seed: int, domain: bytes = DOMAIN) -> None:
        self.key = Key(seed.to_bytes(32, "big"))
        self.address = bytes.fromhex(self.key.address[2:])
        self.domain = domain

    def sign(self, frame: bytes) -> tuple[bytes, bytes]:
        """Return (frame, signature)."""
        return frame, self.key.sign(wire.digest(self.domain, frame))

    def reading(
        self, sequence: int, *, energy_wh: int = 0, time_s: int = 0, flags: int = 0
    ) -> tuple[bytes, bytes]:
        """Return a signed reading; time and energy follow the sequence unless given."""
        time_s = time_s or 1_700_000_100 + 900 * sequence
        return self.sign(reading(sequence, time_s, energy_wh or 100 * sequence, flags))

    def event(
        self,
        code: int,
        sequence: int,
        time_s: int,
        energy_wh: int,
        a: int = 0,
        b: int = 0,
        c: int = 0,
    ) -> tuple[bytes, bytes]:
        """Return a signed event with a trusted time."""
        trust = wire.TRUST_NETWORK
        return self.sign(wire.pack_event(code, sequence, time_s, energy_wh, a, b, c, trust))

    def stored(self, sequence: int, **values: int) -> SignedFrame:
        """Return a signed reading as the store takes it."""
        return signed_frame(self.address, *self.reading(sequence, **values))

    def topic(self, leaf: str) -> str:
        """Return one of the meter's topics."""
        return wire.topic(UTILITY, self.address, leaf)


def wait_until(
    holds: Callable[[], object],
    what: str,
    timeout_s: float = 15,
    last: Callable[[], str] | None = None,
) -> None:
    """Wait until `holds()`. Raises TimeoutError with `what` and the `last()` that was seen."""
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline_s:
            seen = f"; {last()}" if last else ""
            raise TimeoutError(f"waited {timeout_s:g} s for {what}{seen}")
        time.sleep(0.02)


class Broker:
    """A mosquitto, usually on the loopback, that can be stopped and started again."""

    settings = OPEN_TO_ALL

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port or free_port()
        self.url = f"mqtt://{self.host}:{self.port}"
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start the broker and wait until it listens."""
        self._program = mosquitto(self._folder, self.port, self.host, self.settings)

    def stop(self) -> None:
        """End the broker; what it had retained is gone."""
        self._program.stop()
