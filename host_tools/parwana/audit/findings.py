"""Name what an audit finds: what kind, of which meter, where, what was expected, what is there."""

from dataclasses import asdict, dataclass, field
from typing import Any

KINDS = {
    # the store
    "unknown_meter": "frames of a meter that was never enrolled",
    "malformed": "a frame that protocol.md refuses",
    "signature": "a frame that its meter did not sign",
    "altered_row": "a column that contradicts its frame",
    "contradiction": "two frames that one meter signed with one sequence",
    "gap": "a sequence that is missing, and not signed as lost",
    "deleted": "a sequence that the store held once and holds no more",
    "energy_decreased": "a register that went back",
    "time_order": "a trusted time that went back, without a clock event",
    "bridged": "energy of a house whose contactor was open",
    "stored_permit": "a permit in the store that the chain did not publish",
    "stored_signature": "a signer's signature in the store that does not verify",
    # the EnergyLedger
    "closing": "a closing on the chain that is not the meter's first valid one in the store",
    "not_landed": "a closing in the store that nobody landed by the deadline",
    "balance": "a feeder's balance that does not follow from the closings",
    "equivocation": "a meter that was shown on the chain to contradict itself",
    "root": "a daily root that the frames in the store do not make",
    "no_root": "frames of a day that no root covers in time",
    "committer": "somebody who commits daily roots and landed no closing",
    # the PaymentLedger
    "bill": "a bill that does not follow from closings and tariff",
    "not_billed": "a closed period that nobody billed by the deadline",
    "payment": "a payment that does not match bill, lock and permit",
    "payment_stuck": "a payment that was neither claimed nor refunded in its time",
    "permit": "a published permit whose signatures, serial or grant are wrong",
    "permit_unpublished": "a permit that a meter accepted and nobody published",
    "permit_withheld": "a house that was cut an hour after its permit was published, or later",
}


# What each audit finds anew as long as it is so, and what it finds in a meter's frames
STANDING = {
    "unknown_meter", "not_landed", "not_billed", "payment_stuck", "root", "no_root", "committer"
}  # fmt: skip
OF_FRAMES = {
    "malformed", "signature", "altered_row", "contradiction", "gap", "deleted",
    "energy_decreased", "time_order", "bridged",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `where` says sequence, period, serial or block."""

    kind: str
    meter: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        of = f" of {self.meter}" if self.meter else ""
        return f"{self.kind}{of}, {self.where}: expected {self.expected}, found {self.found}"


@dataclass
class Report:
    """What was looked at and what is wrong with it.

    Of an audit that went on from a checkpoint: `before` are findings that stand, `trusted` says
    what was not looked at, `again` are meters (0x…) that were looked at from the start.
    """

    counts: dict[str, int] = field(default_factory=dict)
    chain: str = ""  # of two: which one the findings are on
    findings: list[Finding] = field(default_factory=list)
    before: list[Finding] = field(default_factory=list)
    trusted: dict[str, Any] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def add(self, kind: str, meter: bytes | str, where: str, expected: Any, found: Any) -> None:
        """Add a finding; `meter` is an address, "" for none."""
        assert kind in KINDS, kind
        name = "0x" + meter.hex() if isinstance(meter, bytes) else meter.lower()
        if self.chain:
            where = f"{self.chain}, {where}"
        self.findings.append(Finding(kind, name, where, str(expected), str(found)))

    def check(self, kind: str, meter: bytes | str, where: str, expected: Any, found: Any) -> bool:
        """Add a finding unless both are equal; return whether they are."""
        if expected != found:
            self.add(kind, meter, where, expected, found)
        return bool(expected == found)

    def count(self, name: str, number: int = 1) -> None:
        """Count what was looked at."""
        self.counts[name] = self.counts.get(name, 0) + number

    def merge(self, other: "Report") -> None:
        """Take over counts and findings."""
        for name, number in other.counts.items():
            self.count(name, number)
        self.findings += other.findings

    def as_dict(self) -> dict[str, Any]:
        """Return what --json prints."""
        return {
            "ok": not self.findings and not self.before,
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
            "before": [asdict(finding) for finding in self.before],
            "trusted": self.trusted,
            "again": self.again,
        }
