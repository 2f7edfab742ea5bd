"""Count what a fleet does, so that counts of several processes add up."""

import math
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

_STEP = math.log(1.02)  # two values of one bucket differ by 2 % at most


class Spread:
    """How often which values came, to 2 %: memory does not grow with how many."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.most = 0.0

    def add(self, value: float) -> None:
        """Count a value; below 1 it counts as 1."""
        self._buckets[math.ceil(math.log(max(1.0, value)) / _STEP)] += 1
        self.most = max(self.most, value)

    def update(self, other: "Spread") -> None:
        """Add what another one counted."""
        self._buckets.update(other._buckets)
        self.most = max(self.most, other.most)

    def __len__(self) -> int:
        return self._buckets.total()

    def at(self, share: float) -> float:
        """Return the value that `share` (0 to 1) of all are not above, 0 if there is none."""
        wanted, seen = share * len(self), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(self.most, math.exp(bucket * _STEP))
        return 0.0

    def told(self) -> dict[str, float]:
        """Return percentiles and the most."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
        told = {name: round(self.at(share), 1) for name, share in shares.items()}
        return {**told, "most": round(self.most, 1), "count": len(self)}


@dataclass
class Figures:
    """What meters did. Times are milliseconds of their life, `*_at` counts by its second."""

    readings: int = 0
    signed: int = 0  # frames, readings and events
    acknowledged: int = 0  # of them
    sent: int = 0  # messages `frames`
    again: int = 0  # of them, those that began with a frame that was sent before
    hellos: int = 0
    sessions: int = 0  # connections that were begun
    lost_sessions: int = 0
    bundles: int = 0
    connected: int = 0  # now
    waiting: int = 0  # frames, now, of meters that have a network
    unheard: int = 0  # frames, now, of those that have none
    ack_ms: Spread = field(default_factory=Spread)  # from the first sending to `want`
    age_ms: Spread = field(default_factory=Spread)  # of a reading, when that came
    sent_at: Counter[int] = field(default_factory=Counter)
    hello_at: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Figures") -> None:
        """Add what another process counted."""
        for item in fields(self):
            mine, more = getattr(self, item.name), getattr(other, item.name)
            if isinstance(mine, int):
                setattr(self, item.name, mine + more)
            else:
                mine.update(more)


def peak(at: Counter[int], from_s: int, to_s: int) -> dict[str, Any]:
    """Return the most in a second of from_s to to_s, the mean, and how many times the mean."""
    counts = [at[second] for second in range(from_s, to_s)]
    mean = sum(counts) / len(counts) if counts else 0.0
    most = max(counts, default=0)
    ratio = round(most / mean, 2) if mean else None
    return {"most": most, "mean": round(mean, 3), "ratio": ratio}
