"""The steps that make a flashed board a meter of a utility.

Each step looks whether it is done already, so a run that stopped is simply run again. The
contactor is left open until the meter itself has accepted a permit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_utils import to_checksum_address

import wire
from parwana import pair_device as device
from parwana.broker import BrokerError, parse_url
from parwana.chain import Chain, ChainError, Ledgers
from parwana.clock import WorldClock
from parwana.deployment import Deployment
from parwana.keys import Key
from parwana.listener import Listener
from parwana.meter import Meter, MeterError
from parwana.permits import PermitError, check_bundle, indexed, make_permit, sign_frame

KINDS = {"house": 1, "transformer": 2, "plant": 3}
WIFI_PASSWORD = "PARWANA_WIFI_PASSWORD"
CA_PATH = "/ca.der"
NOBODY = "0x" + "00" * 20


class PairError(Exception):
    """A step failed; the message says what to check. Run pair again once that is mended."""


@dataclass(frozen=True)
class Wish:
    """What the meter shall be."""

    number: int
    kind: str
    feeder: str
    sanctioned_load_w: int
    wifi_ssid: str
    wifi_password: str
    sensors: list[int]
    ct_ratio: int
    broker: str
    broker_ca: bytes
    options: dict[str, Any]


class Pairing:
    """The steps of one pairing, in order; each returns what to tell, or raises."""

    def __init__(
        self,
        wish: Wish,
        deployment: Deployment,
        meter: Meter,
        key: Key,
        signer_keys: list[Key],
        clock: WorldClock,
        confirm: Callable[[str], bool],
        timeout_s: float,
    ) -> None:
        self.wish = wish
        self.deployment = deployment
        self.meter = meter
        self.clock = clock
        self.timeout_s = timeout_s
        self._key = key
        self._signers = indexed(signer_keys, deployment.signers)
        self._confirm = confirm
        self.identity: device.Identity | None = None
        self._energy_wh = self._accepted = self._serial = 0
        self._chain: tuple[Chain, Ledgers] | None = None

    @property
    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Return (name, step) in order; a feeder's meter cuts nobody and needs no permit."""
        house = self.wish.kind == "house"
        return [
            ("chain", self.reach_chain),
            ("identity", self.identify),
            ("configuration", self.configure),
            ("wifi", self.join_wifi),
            ("broker", self.reach_broker),
            ("sensor", self.ask_sensors),
            ("state", self.read_state),
            *([("contactor", self.click)] if house else []),
            ("enrolment", self.enrol),
            *([("permit", self.give_permit)] if house else []),
            ("relay", self.be_heard),
        ]

    @property
    def address(self) -> Any:
        """Return the meter's address with its checksum."""
        assert self.identity is not None
        return to_checksum_address(self.identity.address)

    @property
    def chain(self) -> tuple[Chain, Ledgers]:
        """Return the chain and its contracts. Raises ChainError."""
        if self._chain is None:
            connected = Chain.of(self.deployment, self._key)
            self._chain = connected, connected.ledgers(self.deployment)
        return self._chain

    def reach_chain(self) -> str:
        """Connect; the key must be the utility's and able to pay."""
        chain, ledgers = self.chain
        utility = chain.call(ledgers.registry.functions.utility())
        if utility != self._key.address:
            raise PairError(f"only the utility {utility} enrols; --key is {self._key.address}")
        if not chain.balance(self._key.address):
            raise PairError(f"{self._key.address} has no coin for gas; send it some")
        return f"chain {chain.chain_id}, utility {utility}"

    def identify(self) -> str:
        """Have the key made on the device, and read its public half."""
        self.identity = device.identify(self.meter)
        return f"firmware {self.identity.version}, meter {self.address}"

    def configure(self) -> str:
        """Write the configuration."""
        if self.wish.broker_ca:
            self.meter.replace(CA_PATH, self.wish.broker_ca)
        changed = device.write_config(self.meter, self._configuration())
        return "written and accepted" if changed else "as it should be already"

    def _configuration(self) -> dict[str, Any]:
        assert self.identity is not None
        scheme, host, port, user, password = parse_url(self.wish.broker)
        values: dict[str, Any] = {
            "utility_id": self.deployment.utility_id,
            "meter": self.identity.address.hex(),
            "sensors": [
                {"unit_id": unit_id, "ct_ratio": self.wish.ct_ratio}
                for unit_id in self.wish.sensors
            ],
            "utc_offset_s": self.deployment.utc_offset_s,
            "wifi": {"ssid": self.wish.wifi_ssid, "password": self.wish.wifi_password},
            "broker": {"host": host, "port": port, "user": user or "", "password": password or ""},
            "chain_id": self.deployment.chain_id,
            "payment_ledger": self.deployment.payment_ledger[2:].lower(),
            "permit_threshold": self.deployment.permit_threshold,
            "permit_signers": self.deployment.permit_signers,
            **self.wish.options,
        }
        if scheme == "mqtts":
            values["broker"] |= {"tls": True, "ca": CA_PATH if self.wish.broker_ca else ""}
        return values

    def join_wifi(self) -> str:
        """Have the meter join its network."""
        if not device.joins_wifi(self.meter):
            raise PairError(
                f"the meter does not join {self.wish.wifi_ssid!r}; check the name, the password "
                f"({WIFI_PASSWORD}), the antenna and the distance"
            )
        return f"joined {self.wish.wifi_ssid}"

    def reach_broker(self) -> str:
        """Have the meter open a connection to its broker."""
        wrong = device.reaches_broker(self.meter)
        if wrong:
            host = parse_url(self.wish.broker)[1]
            raise PairError(f"the meter does not reach the broker at {host} ({wrong}); is it up?")
        return "reached from the meter"

    def ask_sensors(self) -> str:
        """Ask each sensor."""
        told = []
        for unit_id, answer in device.sensors(self.meter):
            if isinstance(answer, str):
                raise PairError(
                    f"sensor {unit_id}: {answer}; check that it has mains, TX to RX crossed, "
                    "and its unit id"
                )
            voltage_dv, current_ma, power_dw, _ = answer
            told.append(
                f"sensor {unit_id}: {voltage_dv / 10:.1f} V, {current_ma / 1000:.3f} A, "
                f"{power_dw / 10:.1f} W"
            )
        return "; ".join(told)

    def read_state(self) -> str:
        """Read the register that it will be enrolled with, and what permit it has."""
        self._energy_wh, self._accepted = device.register_and_serial(self.meter)
        return f"register {self._energy_wh} Wh, permit {self._accepted or 'none'}"

    def click(self) -> str:
        """Close and open the contactor, unless the meter has been in service."""
        if self._accepted:
            return "not touched: the meter is in service"
        closed, opened = device.click_contactor(self.meter)
        if closed is False or opened is True:
            stuck = "does not close" if closed is False else "does not open"
            raise PairError(f"the contactor {stuck}; check its coil, its supply and its contact")
        if not self._confirm("Did the contactor click twice?"):
            raise PairError("the contactor did not click; check its coil, its supply and its pin")
        return "closed and opened"

    def enrol(self) -> str:
        """Put the meter into the registry, under its feeder, with its present register."""
        chain, ledgers = self.chain
        functions = ledgers.registry.functions
        feeder = self._feeder(chain, ledgers)
        entry = chain.call(functions.meter(self.address))
        kind, number = KINDS[self.wish.kind], self.wish.number
        if entry.kind:
            if (entry.number, entry.kind, entry.feeder) != (number, kind, feeder):
                raise PairError(
                    f"the meter is enrolled as number {entry.number}, kind {entry.kind}, feeder "
                    f"{entry.feeder}; give these, or use another board"
                )
            if entry.retired_at_s:
                raise PairError("the meter was retired, for ever; use another board")
            return "enrolled already"
        serving = chain.call(functions.meter_of(number))
        if serving != NOBODY:
            raise PairError(f"number {number} is served by {serving}; choose another --number")
        load_dw = self.wish.sanctioned_load_w * 10 if self.wish.kind == "house" else 0
        place = (self.address, number, kind, feeder, self._energy_wh, load_dw)
        chain.send(functions.enrol(place))
        return f"number {number}, feeder {feeder or 'none'}, from {self._energy_wh} Wh"

    def _feeder(self, chain: Chain, ledgers: Ledgers) -> int:
        text = self.wish.feeder
        if not text.startswith("0x"):
            return int(text or 0)
        place = chain.call(ledgers.registry.functions.meter(to_checksum_address(text)))
        if place.kind < 2:
            raise PairError(f"{text} is no feeder's meter; pair the feeder first")
        return int(place.number)

    def give_permit(self) -> str:
        """Publish a commissioning permit and hand it over, if the meter has none as good."""
        bundle = self._published() or self._publish()
        frame = self._check(bundle)
        self._serial = frame.serial
        if self._accepted >= frame.serial:
            return f"permit {frame.serial} is accepted already"
        self.meter.replace("/permit.new", bundle)
        until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(frame.valid_until_s))
        return f"permit {frame.serial}, valid until {until}"

    def _check(self, bundle: bytes) -> Any:
        deployment = self.deployment
        domain = deployment.permit_domain(self.address)
        return check_bundle(domain, bundle, deployment.signers, deployment.permit_threshold)

    def _published(self) -> bytes | None:
        """Return the newest published permit of this meter that is not over, if any."""
        chain, ledgers = self.chain
        event = ledgers.payment.events.PermitPublished
        logs = chain.logs(event, self.deployment.from_block, meter=self.address)
        if not logs:
            return None
        values = logs[-1]["args"]
        bundle = bytes(values["frame"]) + bytes(values["signatures"])
        return bundle if self._check(bundle).valid_until_s > self.clock.now() + 3600 else None

    def _publish(self) -> bytes:
        """Sign a permit until the first bill falls due, and publish it for all to see."""
        chain, ledgers = self.chain
        account = chain.call(ledgers.payment.functions.account(self.address))
        entry = chain.call(ledgers.registry.functions.meter(self.address))
        issued_at_s = min(int(self.clock.now()), chain.block_time_s())
        period = self.deployment.periods.of(issued_at_s)
        window_s = self.deployment.payment_window_s
        frame = make_permit(
            issued_at_s=issued_at_s,
            valid_until_s=self.deployment.periods.start(period + 1) + window_s,
            period=period,
            last_serial=account.serial,
            flags=wire.PERMIT_COMMISSIONING,
            power_limit_dw=entry.sanctioned_load_dw,
        )
        domain = self.deployment.permit_domain(self.address)
        bundle = sign_frame(domain, frame, self._signers)
        self._check(bundle)
        signatures = bundle[wire.FRAME_SIZE :]
        chain.send(ledgers.payment.functions.publish(self.address, frame, signatures))
        return bundle

    def be_heard(self) -> str:
        """Start the firmware; wait until a relay holds what the meter signed, and its permit."""
        assert self.identity is not None
        with Listener(
            self.wish.broker, self.deployment.utility_id, self.identity.address
        ) as heard:
            device.set_clock(self.meter, int(self.clock.now()))
            self.meter.reset()
            self.meter.wait_for(f"parwana {self.identity.version}", 30)
            heard.wait_for_relay(self.timeout_s)
            if self._serial > self._accepted:
                heard.wait_for_permit(self._serial, self.timeout_s)
                return "the meter accepted its permit; a relay holds what it signed"
            return "a relay holds what the meter signed"


def run(pairing: Pairing, tell: Callable[[str, str], None]) -> dict[str, Any]:
    """Run all steps, `tell` each; return the record of it. `ok` is False where it stopped."""
    steps: list[dict[str, Any]] = []
    record: dict[str, Any] = {"ok": True, "number": pairing.wish.number, "steps": steps}
    for name, step in pairing.steps:
        try:
            detail = step()
        except (PairError, MeterError, ChainError, PermitError, BrokerError) as error:
            steps.append({"step": name, "ok": False, "detail": str(error)})
            record["ok"] = False
            tell(name, f"FAILED: {error}")
            break
        steps.append({"step": name, "ok": True, "detail": detail})
        tell(name, detail)
    if pairing.identity is not None:
        record["meter"] = pairing.address
        record["public_key"] = pairing.identity.public_key.hex()
    return record
