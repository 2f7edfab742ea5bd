"""The file that `parwana deploy` writes and every other command reads."""

import json
import logging
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import wire
from parwana.chain.keys import DEV_CHAIN_IDS
from parwana.chain.periods import DAY_S, OFFSET, OFFSETS_S, Period, counts
from parwana.world import secretfiles
from parwana.world.logs import redacted

COIN = r"[A-Za-z0-9]{1,11}"
FINALIZED = "finalized"
FINAL_BLOCKS_MOST = 100_000
URLS_MOST = 8
ENERGY = ("chain_id", "rpc", "registry", "energy_ledger")
ENERGY_OPTIONAL = ("from_block", "finality", "coin")
log = logging.getLogger("parwana.deployment")
_URLS = ("rpc", "broker", "store")


class DeploymentError(ValueError):
    """The deployment file is absent or wrong; the text names the key and what to write."""


@dataclass(frozen=True)
class Deployment:
    """One utility's contracts on one chain, and how its programs reach broker and store.

    `rpc`: a JSON-RPC URL, or a list, asked in this order. Addresses are 0x + 40 hex digits,
    public keys 128 hex digits. `from_block`: where the logs begin. `finality`: "finalized", the
    chain's own word, or {"blocks": N}. `coin`: name of the chain's coin.

    All these are of the payment chain. `energy` is None where it is the energy chain, too; else
    the other chain's ENERGY and ENERGY_OPTIONAL keys.
    """

    utility_id: str
    chain_id: int
    rpc: str | list[str]
    registry: str
    energy_ledger: str
    payment_ledger: str
    permit_threshold: int
    permit_signers: list[str]
    period: dict[str, Any]
    utc_offset_s: int
    payment_window_s: int
    broker: str
    store: str
    from_block: int = 0
    finality: str | dict[str, int] = "finalized"
    coin: str = "ETH"
    energy: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, good, want in self._checks():
            if not good:
                # URLs may hold a password or an API key.
                value = "wrong" if name in _URLS else repr(getattr(self, name))
                raise DeploymentError(f"{name} is {value}; write {want}")
        if self.energy is not None:
            self._check_energy(self.energy)

    def _check_energy(self, energy: Any) -> None:
        named = set(energy) if isinstance(energy, dict) else set()
        if not set(ENERGY) <= named <= {*ENERGY, *ENERGY_OPTIONAL}:
            raise DeploymentError(
                f"energy must have {', '.join(ENERGY)}, may have {', '.join(ENERGY_OPTIONAL)}"
            )
        try:
            there = self.on_energy_chain
        except DeploymentError as error:
            raise DeploymentError(f"energy: {error}") from None
        if there.chain_id == self.chain_id:
            raise DeploymentError("energy: chain_id is the payment chain's; leave energy out")

    @property
    def on_energy_chain(self) -> "Deployment":
        """Return the deployment as it is on the energy chain, without a PaymentLedger of its own.

        The deployment itself, where payments are on the same chain.
        """
        if self.energy is None:
            return self
        alone: dict[str, Any] = {"from_block": 0, "finality": FINALIZED, "coin": "ETH"}
        alone |= {"payment_ledger": "0x" + "00" * 20, "energy": None}
        return replace(self, **alone | self.energy)

    def _checks(self) -> list[tuple[str, bool, str]]:
        def address(name: str) -> tuple[str, bool, str]:
            good = _matches(r"0x[0-9a-fA-F]{40}", getattr(self, name))
            return name, good, "0x and 40 hex digits"

        def whole(name: str, least: int, most: int) -> tuple[str, bool, str]:
            value = getattr(self, name)
            good = type(value) is int and least <= value <= most
            return name, good, f"a whole number, {least} to {most}"

        keys = self.permit_signers
        good_keys = isinstance(keys, list) and all(_matches(r"[0-9a-f]{128}", key) for key in keys)
        period = self.period
        kind = period.get("kind") if isinstance(period, dict) else None
        good_period = period in ({"kind": "month"}, {"kind": "month", "days": 0}) or (
            isinstance(kind, str)
            and set(period) == {"kind", kind}
            and counts(kind, period[kind])
            and (kind == "days" or self.chain_id in DEV_CHAIN_IDS)
        )
        return [
            ("utility_id", _matches(r"[a-z0-9-]{1,32}", self.utility_id), "1 to 32 of a-z 0-9 -"),
            whole("chain_id", 1, 2**64 - 1),
            ("rpc", self._good_rpc(), "an http:// or https:// URL, or a list of such"),
            address("registry"),
            address("energy_ledger"),
            address("payment_ledger"),
            (
                "permit_signers",
                good_keys and 1 <= len(keys) <= 8 and len(set(keys)) == len(keys),
                "1 to 8 different public keys, each 128 lower-case hex digits",
            ),
            whole("permit_threshold", 1, len(keys) if isinstance(keys, list) else 8),
            (
                "period",
                good_period,
                '{"kind": "days", "days": N} or {"kind": "month"}; on a development chain '
                f'(chain_id {DEV_CHAIN_IDS[0]}) also {{"kind": "hours", "hours": N}}',
            ),
            (
                "utc_offset_s",
                type(self.utc_offset_s) is int and self.utc_offset_s in OFFSETS_S,
                OFFSET,
            ),
            whole("payment_window_s", 1, 366 * DAY_S),
            ("broker", _matches(r"mqtts?://\S+", self.broker), "mqtt://host:port"),
            ("store", _matches(r"[a-z0-9+]+://\S+", self.store), "an SQLAlchemy URL"),
            whole("from_block", 0, 2**63),
            ("finality", self._good_finality(), '"finalized", or {"blocks": N}'),
            ("coin", _matches(COIN, self.coin), "1 to 11 letters or digits"),
        ]

    def _good_rpc(self) -> bool:
        urls = self.rpc if isinstance(self.rpc, list) else [self.rpc]
        good = all(_matches(r"https?://\S+", url) for url in urls)
        return good and 1 <= len(urls) <= URLS_MOST and len(set(urls)) == len(urls)

    def _good_finality(self) -> bool:
        if not isinstance(self.finality, dict):
            return self.finality == FINALIZED
        blocks = self.finality.get("blocks")
        good = type(blocks) is int and 0 <= blocks <= FINAL_BLOCKS_MOST
        return good and set(self.finality) == {"blocks"}

    @property
    def final_blocks(self) -> str | int:
        """Return how many blocks behind the head are final, or the tag that says it."""
        return self.finality["blocks"] if isinstance(self.finality, dict) else FINALIZED

    @property
    def periods(self) -> Period:
        """Return the arithmetic of this utility's billing periods."""
        kind = self.period["kind"]
        return Period(kind, self.period.get(kind, 0), self.utc_offset_s)

    @property
    def signers(self) -> list[bytes]:
        """Return the permit signers' public keys, 64 bytes each, by index."""
        return [bytes.fromhex(key) for key in self.permit_signers]

    @property
    def reading_domain(self) -> bytes:
        """Return the domain of readings and events."""
        return wire.reading_domain(self.utility_id)

    @property
    def time_domain(self) -> bytes:
        """Return the domain of time frames."""
        return wire.time_domain(self.chain_id, bytes.fromhex(self.payment_ledger[2:]))

    @property
    def update_domain(self) -> bytes:
        """Return the domain of updates."""
        return wire.update_domain(self.chain_id, bytes.fromhex(self.payment_ledger[2:]))

    def permit_domain(self, meter: str) -> bytes:
        """Return the domain of permits for a meter, named by its address (with 0x or without)."""
        ledger = bytes.fromhex(self.payment_ledger[2:])
        return wire.permit_domain(self.chain_id, ledger, bytes.fromhex(meter.removeprefix("0x")))

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write the file, mode 600, as its URLs may hold passwords.

        Raises DeploymentError when it exists already, unless `force`.
        """
        refuse_existing(path, force=force)
        path.parent.mkdir(parents=True, exist_ok=True)
        secretfiles.replace(path, (json.dumps(self.as_dict(), indent=2) + "\n").encode())

    def as_dict(self) -> dict[str, Any]:
        """Return what the file holds."""
        values = asdict(self)
        return values if self.energy else {k: v for k, v in values.items() if k != "energy"}

    @classmethod
    def load(cls, path: Path) -> "Deployment":
        """Read and check the file. Raises DeploymentError."""
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError:
            raise DeploymentError(f"{path} does not exist; make it with: parwana deploy") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DeploymentError(f"{path} cannot be read: {error}") from None
        names = {item.name for item in fields(cls)}
        if not isinstance(values, dict):
            raise DeploymentError(f"{path} must hold one JSON object")
        held = any(redacted(url) != url for url in map(str, values.values()))
        if held and secretfiles.exposed(path):
            log.warning("%s holds a secret and can be read by others; chmod 600 %s", path, path)
        unknown, absent = (
            set(values) - names,
            names - set(values) - {*ENERGY_OPTIONAL, "energy"},
        )
        if unknown:
            raise DeploymentError(f"{path}: unknown key {sorted(unknown)[0]!r}; remove it")
        if absent:
            raise DeploymentError(f"{path}: key {sorted(absent)[0]!r} is missing; add it")
        try:
            return cls(**values)
        except DeploymentError as error:
            raise DeploymentError(f"{path}: {error}") from None


def read_finality(text: str) -> str | int:
    """Read `finalized`, or a number of blocks. Raises DeploymentError."""
    if text == FINALIZED:
        return text
    if not text.isdecimal() or int(text) > FINAL_BLOCKS_MOST:
        raise DeploymentError(
            f"--finality {text}: write finalized, or after how many blocks one is final (0 to "
            f"{FINAL_BLOCKS_MOST})"
        )
    return int(text)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise DeploymentError when the file exists and may not be overwritten."""
    if path.exists() and not force:
        raise DeploymentError(
            f"{path} exists and would be forgotten; choose another --out, or add --force"
        )


def _matches(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None
