"""How much of an ESP32's heap and stack the firmware takes: python -m bench.memory

And whether anything makes a poll wait, which is no matter of the processor's speed.

The firmware, as it is flashed, runs on a virtual board whose MicroPython is an ESP32's in word
size, floats, heap and stack (bench/lookalike). It lives through days that are hard on memory
(bench/meterlife.py) twice: to be measured, and again with less heap and stack than there is, which
shows that what is free can be used. docs/memory.md tells what the figures mean.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import imports, lookalike
from bench.lookalike.gauge import Gauge, Reading
from bench.meterlife import Life, OutOfMemory
from boards.virtual.board import VirtualBoard
from hil_tests import meterkit
from parwana import BUILD
from parwana.world import runtime
from parwana.world.runtime import RuntimeMissing

HEAP = 145 * 1024
CALLS = 50  # nested calls that an ESP32 allows
HEAP_TO_SPARE = 30 * 1024
CALLS_TO_SPARE = 8
LATE_MOST_MS = 300  # a poll
HEAP_TAKEN = 20 * 1024  # from the second life
FACTOR = 2880.0
_PROBE = """import gc, micropython
gc.collect()
print("probe", gc.mem_alloc(), micropython.stack_use(), "end")
"""


class OverBudget(Exception):
    """The firmware takes more than it may; the message says where, and how much."""


@dataclass(frozen=True)
class Shims:
    """What the stand-ins for an ESP32's built-in modules take, in bytes."""

    heap: int
    stack: int


@dataclass(frozen=True)
class Phase:
    """One phase of a life, in bytes; the shims' share is taken off."""

    name: str
    live: int
    live_most: int
    free_least: int
    block_least: int
    garbage: int  # a second
    calls_most: float
    calls_left: float
    late_ms: int = 0  # the longest that a poll waited, from the start to the end of this phase


class Bench:
    """An interpreter, and what the virtual board costs it. `exact` says it is the look-alike."""

    def __init__(self, folder: Path, may_build: bool = True) -> None:
        self._folder = folder
        try:
            self.micropython = lookalike.build() if may_build else lookalike.built()
            self.exact = True
        except RuntimeMissing as error:
            self.micropython = runtime.micropython()
            self.exact = False
            print(f"no look-alike of an ESP32 ({error}): only what fits is shown, without figures")
        self.shims = self._measure_shims()

    def _measure_shims(self) -> Shims:
        probe = self._folder / "probe.py"
        probe.write_text(_PROBE)
        command = [str(self.micropython), "-X", f"heapsize={HEAP}", str(probe)]
        bare = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        with self._board("probe", {"/boot.py": _PROBE.encode()}, HEAP) as board:
            heap, stack = _probed(board.wait_console(" end", 30))
        heap_bare, stack_bare = _probed(bare.stdout)
        return Shims(heap - heap_bare, stack - stack_bare)

    @contextmanager
    def _board(self, name: str, files: dict[str, bytes], heap: int) -> Iterator[VirtualBoard]:
        folder = self._folder / name
        folder.mkdir()
        (folder / "flash.img").write_bytes(meterkit.make_image(files))
        with VirtualBoard(folder, heap=str(heap), micropython=self.micropython) as board:
            board.power_on()
            yield board

    def import_costs(self) -> tuple[list[tuple[str, int]], int]:
        """Return (module, bytes of heap that it keeps), the largest first, and the names kept."""
        files = {**meterkit.firmware_files("x86"), "/main.py": imports.program()}
        with self._board("imports", files, 3 * HEAP) as board:
            said = board.wait_console(imports.END, 60).replace("\r", "")
            return imports.costs(said), imports.names(said)

    def live(
        self, name: str, days: float, heap: int = HEAP, calls: int = CALLS, brief: bool = False
    ) -> Iterator[Phase]:
        """Live with so much heap and stack; yield the phases. Raises TimeoutError, OutOfMemory."""
        gauge = Gauge(self._folder / f"{name}.gauge")
        heap += self.shims.heap * 131 // 128  # with the collector's 3 bits a block of 16 bytes
        stack = lookalike.STACK * calls // CALLS + self.shims.stack
        life = Life(self._folder / name, self.micropython, heap, stack, gauge.path, FACTOR)
        with life:
            began_s, freed = time.monotonic(), 0
            for phase in life.phases(days, brief):
                life.check()
                reading, now_s = gauge.read(), time.monotonic()
                garbage = int((reading.freed - freed) / (now_s - began_s))
                yield self._phase(phase, reading, garbage, life.late_ms)
                gauge.clear()
                began_s, freed = now_s, reading.freed

    def _phase(self, name: str, reading: Reading, garbage: int, late_ms: int) -> Phase:
        calls = max(0, reading.stack_peak - self.shims.stack) * CALLS / lookalike.STACK
        return Phase(
            name,
            live=reading.live - self.shims.heap,
            live_most=reading.live_peak - self.shims.heap,
            free_least=reading.heap_total - reading.live_peak,
            block_least=reading.block_least,
            garbage=garbage,
            calls_most=round(calls, 1),
            calls_left=round(CALLS - calls, 1),
            late_ms=late_ms,
        )


def _probed(text: str) -> tuple[int, int]:
    found = re.search(r"probe (\d+) (\d+) end", text)
    if not found:
        raise OverBudget(f"MicroPython does not start; it says {text!r}")
    return int(found[1]), int(found[2])


def check(phases: list[Phase]) -> None:
    """Compare with the budget. Raises OverBudget."""
    least = min(phases, key=lambda phase: phase.free_least)
    if least.free_least < HEAP_TO_SPARE:
        raise OverBudget(f"{least.name}: {least.free_least} B free, {HEAP_TO_SPARE} must be")
    deepest = min(phases, key=lambda phase: phase.calls_left)
    if deepest.calls_left < CALLS_TO_SPARE:
        raise OverBudget(f"{deepest.name}: {deepest.calls_left} calls are left")
    latest = next((phase for phase in phases if phase.late_ms >= LATE_MOST_MS), None)
    if latest:
        raise OverBudget(f"{latest.name}: a poll waited {latest.late_ms} ms")


def _report(bench: Bench, days: float, say: Callable[[str], None]) -> dict[str, object]:
    """Measure; return everything. Raises TimeoutError, OutOfMemory, OverBudget."""
    say(f"stand-ins for what an ESP32 has built in: {bench.shims.heap} B of heap, taken off below")
    costs, names = bench.import_costs()
    say(f"\n{'module':<20}bytes of heap that it keeps; all: {sum(cost for _, cost in costs)}")
    for name, cost in costs:
        say(f"{name:<20}{cost:>6}")
    say(f"{names} names; the table of names doubles past {imports.NAMES}")
    report: dict[str, object] = {"shims": asdict(bench.shims), "imports": dict(costs)}
    report["names"] = names
    if bench.exact:
        say(f"\n{days:g} days with {HEAP} B of heap and {CALLS} nested calls")
        say(f"{'':<23}in use  at most    free   block  garbage/s  calls late")
        phases = []
        for phase in bench.live("measured", days):
            phases.append(phase)
            say(
                f"{phase.name:<21}{phase.live:>8}{phase.live_most:>9}{phase.free_least:>8}"
                f"{phase.block_least:>8}{phase.garbage:>11}{phase.calls_most:>7}{phase.late_ms:>5}"
            )
        check(phases)
        report["phases"] = [asdict(phase) for phase in phases]
    heap, calls = HEAP - HEAP_TAKEN, CALLS - CALLS_TO_SPARE
    say(f"\nthe same with {HEAP_TAKEN} B and {CALLS_TO_SPARE} calls less")
    for phase in bench.live("squeezed", days, heap, calls):
        say(f"{phase.name:<21}lives")
    return report


def main() -> int:
    """Print the figures; exit 1 when the firmware takes more than it may."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory",
        description="Measure the heap and the stack of the firmware as on an ESP32.",
        epilog="example: python -m bench.memory --days 3",
    )
    parser.add_argument("--days", type=float, default=3.0, help="simulated days, 30 s each")
    parser.add_argument("--out", type=Path, default=BUILD / "memory.json", help="the figures")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        try:
            report = _report(Bench(Path(folder)), options.days, say)
        except (OverBudget, OutOfMemory, RuntimeMissing, TimeoutError) as error:
            print(f"parwana: {error}", file=sys.stderr)
            return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    say(f"fits; the figures are in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
