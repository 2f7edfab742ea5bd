"""What the utility does on the chain for one meter: enrol, replace, retire, a first permit."""

from dataclasses import dataclass
from typing import Any

from eth_utils import to_checksum_address

import wire
from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key
from parwana.chain.node import Chain
from parwana.chain.points import NOBODY, serving
from parwana.permits.bundle import check_bundle, indexed, make_permit, sign_frame
from parwana.permits.offline import newest_published
from parwana.world.clock import WorldClock

KINDS = {"house": 1, "transformer": 2, "plant": 3}
_FRESH_S = 3600


class EnrolError(Exception):
    """The registry cannot take it; the message says what to give instead."""


@dataclass(frozen=True)
class Place:
    """A metering point. `feeder` is the number or the meter's address of what is above, or ""."""

    number: int
    kind: str
    feeder: str
    sanctioned_load_w: int


class Enrolment:
    """The utility at the chain. Every method raises ChainError, and EnrolError as it says.

    Where energy is on another chain, its registry says the same: it is written first, so that
    what broke off in between is found as not done.
    """

    def __init__(
        self, deployment: Deployment, key: Key, clock: WorldClock, rpc: list[str] | None = None
    ) -> None:
        self.deployment = deployment
        self.chain = Chain.of(deployment, key, rpc)
        self.ledgers = self.chain.ledgers(deployment)
        self._clock = clock
        self._key = key
        there = deployment.on_energy_chain
        self._there = Enrolment(there, key, clock) if deployment.energy else None

    def check(self) -> str:
        """Return who the utility is; raise EnrolError unless the key is its, with coin for gas."""
        utility = self.chain.call(self.ledgers.registry.functions.utility())
        if utility != self._key.address:
            raise EnrolError(f"only the utility {utility} enrols; --key is {self._key.address}")
        if not self.chain.balance(utility):
            raise EnrolError(
                f"{utility} has no coin for gas on chain {self.chain.chain_id}; send it some"
            )
        told = f"chain {self.chain.chain_id}, utility {utility}"
        return f"{told}; {self._there.check()}" if self._there else told

    def entry(self, meter: str) -> Any:
        """Return a meter's entry in the registry; kind 0 if it has none."""
        return self.chain.call(self.ledgers.registry.functions.meter(to_checksum_address(meter)))

    def serving(self, number: int) -> str:
        """Return the address of the meter that serves a number. Raises PointError."""
        return serving(self.chain, self.ledgers, number)

    def found(self, meter: str, place: Place, old: str = "") -> str:
        """Return how a meter is at its place already, "" if it can be put there.

        `old` is the meter whose place it takes, or "". Raises EnrolError.
        """
        found = self._replaced(old, meter, place.kind) if old else self._enrolled(meter, place)
        there = self._there.found(meter, place, old) if self._there else found
        return found and there

    def enrol(self, meter: str, place: Place, energy_wh: int) -> str:
        """Put a meter into service at a new point, unless it is there. Raises EnrolError."""
        if found := self.found(meter, place):
            return found
        if self._there:
            self._there.enrol(meter, place, energy_wh)
            energy_wh = int(self._there.entry(meter).initial_wh)  # as written, by an ended run too
            if found := self._enrolled(meter, place):
                return found
        load_dw = place.sanctioned_load_w * 10 if place.kind == "house" else 0
        feeder, kind = self._feeder(place), KINDS[place.kind]
        values = (to_checksum_address(meter), place.number, kind, feeder, energy_wh, load_dw)
        self.chain.send(self.ledgers.registry.functions.enrol(values))
        return f"number {place.number}, feeder {feeder or 'none'}, from {energy_wh} Wh"

    def _enrolled(self, meter: str, place: Place) -> str:
        feeder = self._feeder(place)
        entry = self.entry(meter)
        kind = KINDS[place.kind]
        if entry.kind:
            if entry.retired_at_s:
                raise EnrolError("the meter was retired, for ever; use another board")
            if (entry.number, entry.kind, entry.feeder) != (place.number, kind, feeder):
                raise EnrolError(
                    f"the meter is enrolled as number {entry.number}, {_name(entry.kind)}, feeder "
                    f"{entry.feeder}; give these, or use another board"
                )
            return "enrolled already"
        taken = self.chain.call(self.ledgers.registry.functions.meter_of(place.number))
        if taken != NOBODY:
            raise EnrolError(
                f"number {place.number} is served by {taken}, and this is {meter}: plug that one "
                f"in, choose another --number, or give --replace {taken}"
            )
        return ""

    def replace(self, old: str, new: str, place: Place, energy_wh: int) -> str:
        """Let a meter serve the point of another, unless it does. Raises EnrolError.

        Number, feeder, sanctioned load and account stay. What the old one metered last is landed
        by the relays, from the readings that they hold.
        """
        if found := self.found(new, place, old):
            return found
        if self._there:
            self._there.replace(old, new, place, energy_wh)
            energy_wh = int(self._there.entry(new).initial_wh)
            if found := self._replaced(old, new, place.kind):
                return found
        old, new = to_checksum_address(old), to_checksum_address(new)
        self.chain.send(self.ledgers.registry.functions.replace(old, new, energy_wh))
        return f"number {self.entry(new).number}, in place of {old}, from {energy_wh} Wh"

    def _replaced(self, old: str, new: str, kind: str) -> str:
        before, entry = self.entry(old), self.entry(new)
        if entry.kind:
            if int(entry.previous, 16) != int(old, 16):
                raise EnrolError(f"the meter is enrolled already, as number {entry.number}")
            return f"has replaced {old} already"
        if not before.kind:
            raise EnrolError(f"{old} was never enrolled; check the address")
        if before.retired_at_s:
            raise EnrolError(
                f"{old} has left service, and this is {new}: plug the meter in that serves number "
                f"{before.number} now, or give --replace and its address"
            )
        if before.kind != KINDS[kind]:
            raise EnrolError(f"{old} is no {kind}: give --kind {_name(before.kind)}")
        return ""

    def retirable(self, meter: str) -> int:
        """Return the number of a meter that can be retired. Raises EnrolError."""
        entry = self.entry(meter)
        if not entry.kind:
            raise EnrolError(f"{meter} was never enrolled; check the address")
        if entry.retired_at_s:
            raise EnrolError(f"{meter} has left service already")
        functions = self.ledgers.registry.functions
        children = self.chain.call(functions.children(entry.number))
        if children:
            raise EnrolError(f"{children} meters hang on number {entry.number}; retire them first")
        if self._there and not self._there.entry(meter).retired_at_s:
            self._there.retirable(meter)
        return int(entry.number)

    def retire(self, meter: str) -> None:
        """Take a meter and its point out of service, for ever."""
        if self._there and not self._there.entry(meter).retired_at_s:
            self._there.retire(meter)
        self.chain.send(self.ledgers.registry.functions.retire(to_checksum_address(meter)))

    def permit(self, meter: str, signers: list[Key]) -> bytes:
        """Return a published permit that is not about to end; publish one if there is none.

        The new one ends when the first bill falls due. Raises PermitError.
        """
        bundle = newest_published(self.chain, self.ledgers, self.deployment, meter)
        if bundle and self.believed(meter, bundle).valid_until_s > self._clock.now() + _FRESH_S:
            return bundle
        account = self.chain.call(self.ledgers.payment.functions.account(meter))
        issued_at_s = min(int(self._clock.now()), self.chain.block_time_s())
        periods = self.deployment.periods
        period = periods.of(issued_at_s)
        frame = make_permit(
            issued_at_s=issued_at_s,
            valid_until_s=periods.start(period + 1) + self.deployment.payment_window_s,
            period=period,
            last_serial=account.serial,
            flags=wire.PERMIT_COMMISSIONING,
            power_limit_dw=self.entry(meter).sanctioned_load_dw,
        )
        domain = self.deployment.permit_domain(meter)
        bundle = sign_frame(domain, frame, indexed(signers, self.deployment.signers))
        self.believed(meter, bundle)
        signatures = bundle[wire.FRAME_SIZE :]
        self.chain.send(self.ledgers.payment.functions.publish(meter, frame, signatures))
        return bundle

    def believed(self, meter: str, bundle: bytes) -> Any:
        """Return a permit's parsed frame, as its meter would. Raises PermitError."""
        deployment = self.deployment
        domain = deployment.permit_domain(meter)
        return check_bundle(domain, bundle, deployment.signers, deployment.permit_threshold)

    def _feeder(self, place: Place) -> int:
        """Return the feeder's number, 0 for none."""
        if place.feeder in ("", "0"):
            return 0
        by_number = place.feeder.isdecimal()
        above = self.serving(int(place.feeder)) if by_number else place.feeder
        entry = self.entry(above)
        if entry.retired_at_s or entry.kind <= KINDS[place.kind]:
            raise EnrolError(
                f"--feeder {place.feeder} is no feeder in service above a {place.kind}; pair the "
                "feeder's meter first, or correct it"
            )
        return int(entry.number)


def _name(kind: int) -> str:
    return next(name for name, number in KINDS.items() if number == kind)
