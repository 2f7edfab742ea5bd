"""What hangs on the board's pins: contactor, button, LED."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Wiring:
    """GPIO numbers, as the firmware's default configuration has them.

    `contactor` is "latching" (two coils; stays where the last pulse put it, whatever happens to
    the board) or "plain" (closed while its pin is high; a pull-down opens it when the pin floats,
    as it does after a power cut and, unless the pad is held, through a reset). `sense` is an
    auxiliary contact that pulls its pin low while the contactor is closed.
    """

    contactor: str = "latching"
    close: int = 25
    open: int = 26
    sense: int | None = None
    button: int = 33
    led: int = 32
    mains: int | None = None
    tamper: int | None = None

    def pin(self, name: str | int) -> int:
        """Return the GPIO of `name`, e.g. "button". Raises KeyError."""
        number = name if isinstance(name, int) else getattr(self, name, None)
        if not isinstance(number, int):
            raise KeyError(f"{name!r} is not wired to a pin")
        return number


@dataclass
class Contactor:
    """The contactor, with every change that it made."""

    wiring: Wiring
    path: Path
    now: Callable[[], float]
    changed: Callable[[bool], None]
    closed: bool = False
    changes: list[tuple[float, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.wiring.contactor not in ("latching", "plain"):
            raise ValueError('contactor: write "latching" or "plain"')
        if self.wiring.contactor == "latching" and self.path.exists():
            self.closed = self.path.read_text().strip() == "closed"

    def drive(self, pin: int, level: int) -> None:
        """Follow an edge on `pin`: `level` is 0, 1 or FLOATING."""
        if self.wiring.contactor == "plain":
            if pin == self.wiring.close:
                self._move(level == 1)
        elif level == 1 and pin in (self.wiring.close, self.wiring.open):
            self._move(pin == self.wiring.close)

    def _move(self, closed: bool) -> None:
        if closed == self.closed:
            return
        self.closed = closed
        self.changes.append((self.now(), closed))
        self.path.write_text("closed\n" if closed else "open\n")
        self.changed(closed)
