"""The steps that make a flashed board a meter of a utility.

Each step looks whether it is done already, so a run that stopped is simply run again. The meter
gets its first permit, and with it may close its contactor, when all else works: it is enrolled,
and a relay holds what it signs.
"""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_utils import to_checksum_address

from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key
from parwana.chain.node import ChainError
from parwana.chain.points import PointError
from parwana.meter import device
from parwana.meter.enrolment import EnrolError, Enrolment, Place
from parwana.meter.handover import ACCEPTED, explain, hand_over
from parwana.meter.label import Label
from parwana.meter.listener import Listener, try_broker
from parwana.meter.logins import LoginError, login
from parwana.meter.repl import RUNS, START_S, Meter, MeterError
from parwana.meter.steps import Seldom
from parwana.permits.bundle import PermitError
from parwana.world.broker import BrokerError, parse_url
from parwana.world.clock import WorldClock
from parwana.world.logs import redacted

WIFI_PASSWORD = "PARWANA_WIFI_PASSWORD"
CA_PATH = "/ca.der"
_CLOCK_OFF_S = 5
_READING_SLACK_S = 400  # a permit and a reading are written first: 1,700 operations at 0.2 s
# Source: MicroPython, network.WLAN, ESP32 (station status).
_WIFI = {
    15: f"the password is wrong: check {WIFI_PASSWORD}",
    201: "no network of that name is in reach: check the name, the antenna, the distance; 2.4 GHz",
    202: f"the password is wrong: check {WIFI_PASSWORD}",
    204: f"the password is wrong, or the signal weak: check {WIFI_PASSWORD} and the antenna",
}


class PairError(Exception):
    """A step failed; the message says what to check. Run pair again once that is mended."""


@dataclass(frozen=True)
class Wish:
    """What the meter shall be; `replace`: the address of the meter whose place it takes, or ""."""

    place: Place
    wifi_ssid: str
    wifi_password: str
    sensors: list[int]
    ct_ratio: int
    broker: str
    broker_ca: bytes
    options: dict[str, Any]
    logins: Path | None = None  # where the meter gets a broker's login of its own
    replace: str = ""
    timeout_s: float = 300
    wait_reading: bool = True
    labels: Path = Path("labels")
    url: str = ""  # of `parwana serve`: the label's code leads to the meter's page there
    rpc: list[str] | None = None  # None: the deployment's


@dataclass
class Pairing:
    """The steps of one pairing, in order; each returns what to tell, or raises."""

    wish: Wish
    deployment: Deployment
    meter: Meter
    key: Key
    signers: list[Key]
    clock: WorldClock
    confirm: Callable[[str], bool]
    identity: device.Identity | None = None
    state: device.State = device.State(0, 0, 0)
    labels: list[Path] = field(default_factory=list)
    _runs: bool = False
    _utility: Enrolment | None = None
    _heard: Listener | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Return (name, step) in order; a feeder's meter cuts nobody and needs no permit."""
        house = self.wish.place.kind == "house"
        return [
            ("chain", self.reach_chain),
            ("identity", self.identify),
            ("registry", self.look_up),
            ("configuration", self.configure),
            ("wifi", self.join_wifi),
            ("broker", self.reach_broker),
            ("clock", self.set_clock),
            ("sensor", self.ask_sensors),
            ("state", self.read_state),
            *([("contactor", self.click)] if house else []),
            ("enrolment", self.enrol),
            ("relay", self.be_heard),
            *([("permit", self.give_permit)] if house else []),
            *([("reading", self.wait_reading)] if self.wish.wait_reading else []),
            ("label", self.print_label),
        ]

    @property
    def address(self) -> Any:
        """Return the meter's address with its checksum."""
        assert self.identity is not None
        return to_checksum_address(self.identity.address)

    @property
    def utility(self) -> Enrolment:
        """Return the utility at its chain. Raises ChainError."""
        if self._utility is None:
            self._utility = Enrolment(self.deployment, self.key, self.clock, self.wish.rpc)
        return self._utility

    @property
    def broker(self) -> str:
        """Return the broker's URL with the login that the meter has. Raises LoginError."""
        if self.wish.logins is None:
            return self.wish.broker
        assert self.identity is not None
        return login(self.wish.logins, self.wish.broker, self.identity.address.hex())

    def close(self) -> None:
        """Stop listening; let a meter that is in service run, wherever this stopped."""
        self._stack.close()
        if self.identity and self.identity.in_service and not self._runs:
            with suppress(MeterError):
                self.meter.reset()

    def reach_chain(self) -> str:
        """Connect; the key must be the utility's and able to pay."""
        return self.utility.check()

    def identify(self) -> str:
        """Have the key made on the device, and read its public half."""
        self.identity = device.identify(self.meter)
        return f"firmware {self.identity.version}, meter {self.address}"

    def look_up(self) -> str:
        """Find, before anything is written, that the registry can take this meter there."""
        assert self.identity is not None
        found = self.utility.found(self.address, self.wish.place, self.wish.replace)
        if self.identity.in_service and not found:
            raise PairError(
                "this registry does not know the meter, which has a permit of another utility, "
                "chain or meter: check --deployment; to start it anew, remove that permit "
                "(mpremote fs rm :/state/permits.rec)"
            )
        return found or "can be enrolled"

    def configure(self) -> str:
        """Write the configuration: network, signers, what permits are bound to."""
        if self.wish.broker_ca:
            self.meter.replace(CA_PATH, self.wish.broker_ca)
        changed = device.write_config(self.meter, self._configuration())
        return "written and accepted" if changed else "as it should be already"

    def _configuration(self) -> dict[str, Any]:
        assert self.identity is not None
        scheme, host, port, user, password = parse_url(self.broker)
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
        }
        if self.deployment.periods.kind == "hours":
            values["closing_s"] = self.deployment.periods.length_s
        for name in self.wish.options:
            if name in values:
                raise PairError(f"--config: {name} is written by pairing; remove it there")
        if scheme == "mqtts":
            values["broker"] |= {"tls": True, "ca": CA_PATH if self.wish.broker_ca else ""}
        return values | self.wish.options

    def join_wifi(self) -> str:
        """Have the meter join its network."""
        status = device.join_wifi(self.meter)
        if status:
            why = _WIFI.get(status, f"status {status}: check name, password and antenna")
            raise PairError(f"the meter does not join {self.wish.wifi_ssid!r}: {why}")
        return f"joined {self.wish.wifi_ssid}" + ("" if self.wish.wifi_password else ", open")

    def reach_broker(self) -> str:
        """Log in to the meter's broker as it will, from here with all its rights, then from it."""
        assert self.identity is not None
        utility_id, meter = self.deployment.utility_id, self.identity.address
        try:
            try_broker(self.broker, utility_id, meter, self.wish.broker_ca)
        except BrokerError as error:
            if self.wish.logins is None:
                raise
            raise PairError(
                f"{error}; if the login is new, have the broker read {self.wish.logins}/passwords "
                "again (systemctl reload mosquitto) and run pair again"
            ) from None
        wrong = device.reach_broker(self.meter)
        if wrong:
            _, host, port, _, _ = parse_url(self.broker)
            raise PairError(
                f"the meter does not reach the broker at {host}:{port} ({wrong}): does it run, "
                "and does the Wi-Fi lead to it?"
            )
        return "takes the meter's login and messages; reached from the meter"

    def set_clock(self) -> str:
        """Set the meter's clock by this computer's, until it hears a better one."""
        now_s = int(self.clock.now())
        shown_s = device.set_clock(self.meter, now_s)
        if not 0 <= shown_s - now_s <= _CLOCK_OFF_S * max(1, self.clock.factor):
            raise PairError(f"the meter's clock does not take the time: it shows {shown_s}")
        return f"set to {_utc(now_s)}"

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
        self.state = device.state(self.meter)
        permit = self.state.permit_serial or "none"
        return f"register {self.state.energy_wh} Wh, permit {permit}"

    def click(self) -> str:
        """Close and open the contactor, unless the meter has been in service."""
        if self.state.permit_serial:
            return "not touched: the meter is in service"
        seen = device.click_contactor(self.meter)
        if seen.closed is False or seen.opened is True:
            stuck = "does not close" if seen.closed is False else "does not open"
            raise PairError(f"the contactor {stuck}; check its coil, its supply and its contact")
        if seen.open_ma:
            raise PairError(
                f"{seen.open_ma / 1000:.3f} A flow though the contactor is open: check its "
                "opening coil, and that nothing is connected before it"
            )
        if seen.closed_ma:
            return f"closed: {seen.closed_ma / 1000:.3f} A flowed; opened: none"
        if not self.confirm("Did the contactor click twice? (No load is there to see it by.)"):
            raise PairError("the contactor did not click; check its coil, its supply and its pin")
        return "closed and opened; no load was there to see it by"

    def enrol(self) -> str:
        """Put the meter into the registry, under its feeder, with its present register."""
        place, energy_wh = self.wish.place, self.state.energy_wh
        if self.wish.replace:
            return self.utility.replace(self.wish.replace, self.address, place, energy_wh)
        return self.utility.enrol(self.address, place, energy_wh)

    def be_heard(self) -> str:
        """Start the firmware; wait until a relay holds something that the meter signed."""
        assert self.identity is not None
        heard = Listener(
            self.broker,
            self.deployment.utility_id,
            self.identity.address,
            self.wish.broker_ca,
        )
        self._heard = self._stack.enter_context(heard)
        device.set_clock(self.meter, int(self.clock.now()))
        self.meter.reset()
        self._runs = True
        self.meter.wait_for(RUNS, START_S)
        self._heard.wait_for_relay(self.wish.timeout_s)
        return "a relay holds what the meter signed"

    def give_permit(self) -> str:
        """Publish a commissioning permit and hand it over, if the meter has none as good."""
        assert self._heard is not None
        bundle = self.utility.permit(self.address, self.signers)
        frame = self.utility.believed(self.address, bundle)
        if self.state.permit_serial >= frame.serial:
            return f"permit {frame.serial} is accepted already"
        answer = hand_over(self.meter, bundle)
        if answer not in ACCEPTED:
            raise PairError(f"the meter refuses its permit: {explain(answer)}")
        self._heard.wait_for_permit(frame.serial, self.wish.timeout_s)
        return f"permit {frame.serial} accepted, valid until {_utc(frame.valid_until_s)}"

    def wait_reading(self) -> str:
        """Wait until a relay holds a reading; the first may be an interval away."""
        assert self._heard is not None
        interval_s = int(self.wish.options.get("interval_s", 900))
        longest_s = self.clock.real_seconds(interval_s + _READING_SLACK_S) + self.wish.timeout_s
        self._heard.wait_for_reading(self.state.reading, longest_s)
        return "a relay holds the meter's first reading"

    def print_label(self) -> str:
        """Print the label."""
        assert self.identity is not None
        entry = self.utility.entry(self.address)
        utility_id, serial = self.deployment.utility_id, self.identity.serial
        link = f"{self.wish.url}/m/{self.address}" if self.wish.url else ""
        label = Label(utility_id, entry.number, self.address, serial, entry.feeder, link)
        try:
            self.labels = label.save(self.wish.labels)
        except OSError as error:
            raise PairError(
                f"the label cannot be written ({error}); give another --label"
            ) from None
        return ", ".join(map(str, self.labels))


def run(pairing: Pairing, tell: Callable[[str, str], None]) -> dict[str, Any]:
    """Run all steps, `tell` each; return the record of it. `ok` is False where it stopped."""
    steps: list[dict[str, Any]] = []
    record: dict[str, Any] = {"ok": True, "number": pairing.wish.place.number, "steps": steps}
    try:
        for name, step in pairing.steps:
            pairing.meter.begin(name, Seldom(functools.partial(tell, name)))
            try:
                detail = step()
            except (
                PairError, EnrolError, PointError, MeterError, ChainError, PermitError,
                BrokerError, LoginError,
            ) as error:  # fmt: skip
                told = redacted(str(error))
                steps.append({"step": name, "ok": False, "detail": told})
                record["ok"] = False
                tell(name, f"FAILED: {told}")
                break
            steps.append({"step": name, "ok": True, "detail": detail})
            tell(name, detail)
    finally:
        pairing.close()
    if pairing.identity is not None:
        record["meter"] = pairing.address
        record["public_key"] = pairing.identity.public_key.hex()
        record["serial"] = pairing.identity.serial
    record["label"] = [str(path) for path in pairing.labels]
    return record


def _utc(time_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time_s))
