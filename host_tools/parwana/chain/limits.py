"""The most that a key may spend a day, and pay for a unit of gas; what it spent is kept on disk.

A day is one of UTC. What was sent counts with the most that it may cost until its receipt tells
what it did cost, so that no two programs together pass the bound.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from parwana.chain.errors import ChainError
from parwana.world import secretfiles

DAY_S = 86400
WEI = 10**18


class LimitError(ValueError):
    """A bound is no amount; the text says what to write."""


@dataclass(frozen=True)
class Limits:
    """Bounds in wei; None: none. `coin` is the name of the chain's coin."""

    day_wei: int | None = None
    gas_wei: int | None = None
    coin: str = "ETH"

    @classmethod
    def parse(cls, spend_cap: str | None, fee_cap: str | None, coin: str) -> "Limits":
        """Read --spend-cap, in coin, and --fee-cap, in 10^-9 coin. Raises LimitError."""
        return cls(
            _wei("--spend-cap", spend_cap, WEI, coin),
            _wei("--fee-cap", fee_cap, 10**9, f"10^-9 {coin} (gwei)"),
            coin,
        )


UNLIMITED = Limits()


def _wei(option: str, text: str | None, unit: int, name: str) -> int | None:
    if text is None:
        return None
    try:
        amount = int(Decimal(text) * unit)
    except (InvalidOperation, ValueError, OverflowError):
        amount = 0
    if not 0 < amount < 2**128:
        raise LimitError(f"{option} {text}: write an amount above 0 in {name}, like 0.05")
    return amount


def coins(wei: int, coin: str) -> str:
    """Return an amount for people, to six significant digits."""
    return f"{Decimal(f'{wei / WEI:.6g}'):f} {coin}"


class Tally:
    """What one key spent today, in its outbox's folder; any thread or process may use it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._path = folder / "spent"
        self._limits = limits

    def hold(self, nonce: int, most_wei: int, now_s: float) -> None:
        """Count a transaction before it is sent, again when it gets dearer. Raises ChainError."""
        bound = self._limits.day_wei
        with self._today(now_s) as spent:
            others = sum(wei for other, wei in spent.items() if other != str(nonce))
            if bound is not None and others + most_wei > bound:
                coin, day = self._limits.coin, datetime.fromtimestamp(now_s, UTC).date()
                raise ChainError(
                    f"not sent: with it, {self._path.parent.name[-42:]} may spend more than its "
                    f"{coins(bound, coin)} a day ({coins(others, coin)} since 00:00 UTC); it goes "
                    f"on {day + timedelta(days=1)} 00:00 UTC, or with a higher --spend-cap"
                )
            spent[str(nonce)] = most_wei

    def settle(self, nonce: int, wei: int, now_s: float) -> None:
        """Put what a transaction did cost in place of the most; 0 where none was mined."""
        with self._today(now_s) as spent:
            if str(nonce) in spent:
                spent[str(nonce)] = wei

    @contextmanager
    def _today(self, now_s: float) -> Iterator[dict[str, int]]:
        day = int(now_s // DAY_S)
        try:
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                spent = self._read(self._path.read_text() if self._path.exists() else None, day)
                before = dict(spent)
                yield spent
                if spent != before:
                    kept = json.dumps({"day": day, "wei": spent})
                    secretfiles.replace(self._path, kept.encode(), durable=True)
            finally:
                os.close(lock)
        except OSError as error:
            raise ChainError(f"{self._path}: {error.strerror}; check it") from None

    def _read(self, text: str | None, day: int) -> dict[str, int]:
        try:
            kept: Any = {} if text is None else json.loads(text)
            if kept.get("day") != day:
                return {}
            return {str(nonce): int(wei) for nonce, wei in kept["wei"].items()}
        except (ValueError, TypeError, LookupError, AttributeError):
            raise ChainError(
                f"{self._path} cannot be read; what was spent today is unknown: remove it to "
                "begin at 0"
            ) from None
