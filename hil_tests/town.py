"""A feeder with houses on a development chain, and a store that a relay would have filled."""

import sqlite3
from pathlib import Path
from typing import Any

import wire
from hil_tests.chainkit import Utility
from hil_tests.services import SignedMeter
from parwana.chain.keys import dev_key
from parwana.chain.node import Chain
from parwana.relay.follower import Follower
from parwana.relay.landing import Landing
from parwana.store.reader import Store, signed_frame

TRANSFORMER = 2
FEEDER = 900


class Town:
    """A feeder with houses: contracts on a chain, and a store that a relay would have filled."""

    def __init__(self, world: Utility, store: Store) -> None:
        self.world = world
        self.store = store
        self.periods = world.deployment.periods
        self.first = self.periods.of(world.clock.time_s)
        domain = world.deployment.reading_domain
        self.feeder = SignedMeter(FEEDER, domain)
        self.houses = [SignedMeter(seed, domain) for seed in range(101, 105)]
        self.sequences: dict[bytes, int] = {}
        self.energy_wh: dict[bytes, int] = {}
        self.enrol(self.feeder, FEEDER, TRANSFORMER, 0)
        for number, house in enumerate(self.houses, 101):
            self.enrol(house, number, 1, FEEDER)
        self.follow()

    def enrol(self, meter: SignedMeter, number: int, kind: int, feeder: int) -> None:
        entry = (meter.key.address, number, kind, feeder, 0, 50_000 if kind == 1 else 0)
        self.world.chain.send(self.world.ledgers.registry.functions.enrol(entry))

    def follow(self) -> None:
        """Copy the registry into the store, as the relay's follower does."""
        Follower(
            self.world.deployment, self.store, lambda: self.world.chain, lambda _m, _b: None
        ).step()

    def landing(self, **options: Any) -> Landing:
        world = self.world
        key = dev_key(9)
        return Landing(
            world.deployment,
            self.store,
            lambda: Chain.of(world.deployment, key),
            world.clock.now,
            **options,
        )

    def go_to(self, time_s: int) -> None:
        """Move the world's clock."""
        self.world.clock.time_s = time_s
        self.world.node.mine()

    def settle_in(self) -> None:
        """Land the period in which all were enrolled; the next is the first to be compared."""
        self.go_to(self.periods.start(self.first + 1) + 60)
        for meter in (self.feeder, *self.houses):
            self.close(meter, self.first, 0)
        self.landing().step()
        self.first += 1

    def close(
        self, meter: SignedMeter, period: int, energy_wh: int, *, after_s: int = 0, flags: int = 0
    ) -> None:
        """Store the closing that a meter, connected, signed for `period`."""
        flags |= wire.CONTROL_CONNECTED << wire.CONTROL_SHIFT
        self.read(
            meter,
            self.periods.start(period + 1) + after_s,
            energy_wh,
            flags=flags | wire.FLAG_CLOSING,
        )

    def read(self, meter: SignedMeter, time_s: int, energy_wh: int, *, flags: int = 0) -> None:
        """Store a reading with the meter's next sequence."""
        self.energy_wh[meter.address] = energy_wh
        self.keep(
            meter,
            meter.reading(self.next(meter), time_s=time_s, energy_wh=energy_wh, flags=flags),
        )

    def event(self, meter: SignedMeter, code: int, time_s: int, *values: int) -> None:
        """Store an event with the meter's next sequence; `values` are a, b and c."""
        energy_wh = self.energy_wh.get(meter.address, 0)
        self.keep(meter, meter.event(code, self.next(meter), time_s, energy_wh, *values))

    def next(self, meter: SignedMeter) -> int:
        """Return the meter's next sequence, and use it up."""
        sequence = self.sequences.get(meter.address, 0) + 1
        self.sequences[meter.address] = sequence
        return sequence

    def keep(self, meter: SignedMeter, signed: tuple[bytes, bytes]) -> None:
        """Store a signed frame."""
        frame = signed_frame(meter.address, *signed)
        with self.store.transaction() as tx:
            tx.add_frames(meter.address, [frame], int(self.world.clock.now()))

    def copy_store(self, path: Path) -> Path:
        """Copy the store to a file that a test may spoil; return its path."""
        source = sqlite3.connect(self.store._engine.url.database or "")
        target = sqlite3.connect(path)
        source.backup(target)
        source.close()
        target.close()
        return path

    def closing(self, meter: SignedMeter) -> tuple[int, int]:
        """Return (period, energy_wh) of the meter's last closing on the chain."""
        energy = self.world.ledgers.energy.functions
        found = self.world.chain.call(energy.closing(meter.key.address))
        return found[0], found[1]

    def sums(self, period: int) -> Any:
        energy = self.world.ledgers.energy.functions
        return self.world.chain.call(energy.sums(FEEDER, period))

    def alarm(self, period: int) -> int:
        """Return what the feeder's last balance of a period said."""
        event = self.world.ledgers.energy.events.Reconciled
        logs = self.world.chain.logs(event, 0, feeder=FEEDER, period=period)
        return int(logs[-1]["args"]["alarm"])
