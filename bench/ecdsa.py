"""Compare ecdsa with what else signs on a 32-bit MicroPython: python bench/ecdsa.py [--json FILE]

Instructions by callgrind, as the difference of two runs; without callgrind, times of runs that
take turns. Peers are embit and starkbank-ecdsa, patched to run, and libsecp256k1 as the limit.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
# Run as a script, this file's folder comes first on the path, where `ecdsa` would be this file.
sys.path[0:1] = [str(REPO), str(REPO / "firmware" / "lib")]

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from bench import ecdsa_peers as peers  # noqa: E402
from bench import mpy  # noqa: E402
from hil_tests import ecdsakit  # noqa: E402
from parwana.image import ecdsa_build  # noqa: E402
from parwana.world import runtime  # noqa: E402

SCRIPTS = Path(__file__).parent / "ecdsa_scripts"
HEAP_KB = 1024
GARBAGE_HEAP_KB = 65_536
TIMEOUT_S = 600
OPERATIONS = ("sign", "verify", "prepared")
MORE = ("public_key", "decompress", "recover", "prepare")
# (ours, operation, peer, its operation, the peer's cost by ours at least)
GOALS = [
    ("fast", "sign", "embit", "sign", 20.0),
    ("fast", "verify", "embit", "verify", 12.0),
    ("fast", "prepared", "embit", "verify", 22.0),
    ("fast", "sign", "starkbank", "sign", 5.5),
    ("fast", "verify", "starkbank", "verify", 7.0),
    ("portable", "sign", "embit", "sign", 5.0),
    ("portable", "verify", "embit", "verify", 3.0),
    ("fast", "sign", "libsecp256k1", "sign", 1 / 3.9),
    ("fast", "verify", "libsecp256k1", "verify", 1 / 5.4),
]


@dataclass
class Subject:
    """One implementation, and what was measured of it."""

    name: str
    library: Path
    operations: tuple[str, ...]
    cost: dict[str, float] = field(default_factory=dict)
    time_ms: dict[str, float] = field(default_factory=dict)
    least_heap_kb: dict[str, int] = field(default_factory=dict)
    garbage: dict[str, int] = field(default_factory=dict)
    code: str = ""


class Machine:
    """A MicroPython, with or without callgrind around it."""

    def __init__(self, folder: Path) -> None:
        self.scripts = folder / "scripts"
        for source in SCRIPTS.glob("*.py"):
            # compiled, so that compiling them takes no heap
            target = self.scripts / f"{source.stem}.mpy"
            ecdsa_build.compile_source(source.read_text(), source.name, "x86", target)
        self.micropython = runtime.micropython()
        self.arch = ecdsakit.architecture(self.micropython)
        self.valgrind: Path | None = None
        self.environment = dict(os.environ)
        self.unit = "ms"
        try:
            self.valgrind, self.environment = peers.valgrind()
            self.unit = "M instructions"
        except peers.PeerMissing as error:
            print(f"no callgrind ({error}): times instead", file=sys.stderr)
        self.environment["MICROPYPATH"] = str(self.scripts)

    def command(
        self, subject: Subject, operation: str, times: "int | str", heap_kb: int
    ) -> list[str]:
        """Return the command without a shell around it, which callgrind would count."""
        program = [str(self.micropython)]
        root = self.micropython.parent / "root"
        if root.is_dir():
            library = next(root.glob("usr/lib/*-linux-gnu*"))
            loader = next(library.glob("ld-linux*.so.*"))
            program = [str(loader), "--library-path", str(library)]
            program.append(str(root / "usr" / "bin" / "micropython"))
        script = "own" if subject.name in ("fast", "portable") else subject.name
        arguments = ["-m", script, str(subject.library), operation, str(times)]
        return [*program, "-X", f"heapsize={heap_kb}k", *arguments]

    def run(
        self, subject: Subject, operation: str, times: "int | str", heap_kb: int = HEAP_KB
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(subject, operation, times, heap_kb),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def instructions(self, subject: Subject, operation: str) -> float:
        """Return millions of instructions of one operation."""
        few, many = (1, 3) if subject.name in ("embit", "starkbank") else (4, 14)
        counts = []
        for times in (few, many):
            with tempfile.NamedTemporaryFile("r") as log:
                options = ["--callgrind-out-file=/dev/null", f"--log-file={log.name}"]
                options += ["--tool=callgrind", "--smc-check=all-non-file"]
                command = self.command(subject, operation, times, HEAP_KB)
                subprocess.run(
                    ["nice", "-n", "15", str(self.valgrind), *options, *command],
                    env=self.environment,
                    capture_output=True,
                    timeout=TIMEOUT_S,
                    check=True,
                )
                found = re.search(r"Collected : (\d+)", log.read())
                if not found:
                    raise RuntimeError(f"callgrind counted nothing for {subject.name}")
                counts.append(int(found[1]))
        return (counts[1] - counts[0]) / (many - few) / 1e6

    def time_ms(self, subject: Subject, operation: str, times: int) -> float:
        start = time.perf_counter()
        done = self.run(subject, operation, times)
        if done.returncode:
            raise RuntimeError(f"{subject.name} {operation}: {done.stderr.strip()[-300:]}")
        return (time.perf_counter() - start) * 1000

    def least_heap_kb(self, subject: Subject, operation: str) -> int:
        low, high = 4, HEAP_KB
        while high - low > 1:
            middle = (low + high) // 2
            if self.run(subject, operation, 3, middle).returncode == 0:
                high = middle
            else:
                low = middle
        return high


def subjects(folder: Path, arch: "str | None") -> Iterator[Subject]:
    """Yield ours and the peers that can be had."""
    fast = ecdsakit.place(folder / "fast", arch, compiled=True)
    portable = ecdsakit.place(folder / "portable", None, compiled=True)
    yield Subject("fast", fast, OPERATIONS + MORE, code=_code_of(fast, arch))
    yield Subject("portable", portable, OPERATIONS + MORE, code=_code_of(portable, None))
    for name, fetch in (
        ("embit", peers.embit),
        ("starkbank", peers.starkbank),
        ("libsecp256k1", lambda: peers.libsecp256k1("i386" if arch == "x86" else "amd64")),
    ):
        try:
            library = fetch()
        except peers.PeerMissing as error:
            print(f"without {name}: {error}", file=sys.stderr)
            continue
        sources = sorted(library.rglob("*.py")) if library.is_dir() else []
        code = ""
        if sources:
            size = 0
            for source in sources:
                target = folder / name / "compiled.mpy"
                ecdsa_build.compile_source(source.read_text(), source.name, "x86", target)
                size += target.stat().st_size
            code = f"{size / 1024:.1f} KB"
        yield Subject(name, library, ("sign", "verify"), code=code)


def _code_of(library: Path, arch: "str | None") -> str:
    files = {path.stem: path.stat().st_size for path in (library / "ecdsa").glob("*.mpy")}
    if arch is None:
        return f"{sum(files.values()) / 1024:.1f} KB"
    machine = sum(
        len(function.code)
        for function in mpy.functions(library / "ecdsa" / "native.mpy")
        if function.kind != "bytecode"
    )
    rest = sum(files[name] for name in ("__init__", "curve", "fast"))
    sizes = [f"{size / 1024:.1f} KB" for size in (machine, rest, files["table"])]
    return f"{sizes[0]} {arch} + {sizes[1]} + table {sizes[2]}"


def measure(machine: Machine, everything: list[Subject], rounds: int) -> None:
    """Fill in what the subjects cost."""
    for subject in everything:
        for operation in subject.operations:
            print(f"{subject.name}: {operation}", file=sys.stderr)
            if machine.valgrind:
                subject.cost[operation] = machine.instructions(subject, operation)
            if subject.name != "libsecp256k1" and operation in OPERATIONS:
                subject.least_heap_kb[operation] = machine.least_heap_kb(subject, operation)
                said = machine.run(subject, operation, "garbage", GARBAGE_HEAP_KB).stdout
                subject.garbage[operation] = int(said)
    # turns, so that a busy machine is busy for all
    for _ in range(rounds):
        for subject in everything:
            few, many = (1, 11) if subject.name in ("embit", "starkbank") else (5, 105)
            for operation in subject.operations:
                some = machine.time_ms(subject, operation, few)
                each = (machine.time_ms(subject, operation, many) - some) / (many - few)
                subject.time_ms[operation] = min(each, subject.time_ms.get(operation, each))
    if not machine.valgrind:
        for subject in everything:
            subject.cost = dict(subject.time_ms)


def coincurve_ms() -> dict[str, float]:
    """Time libsecp256k1 as this machine's own Python has it, 64-bit: what the hardware can do."""
    import coincurve

    key = coincurve.PrivateKey(bytes(range(1, 33)))
    digest = bytes(range(32))
    signature = key.sign(digest, hasher=None)
    result = {}
    for name, operation in (
        ("sign", lambda: key.sign(digest, hasher=None)),
        ("verify", lambda: key.public_key.verify(signature, digest, hasher=None)),
    ):
        best = 1e9
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(50):
                operation()
            best = min(best, (time.perf_counter() - start) * 1000 / 50)
        result[name] = best
    return result


def xtensa_instructions(folder: Path) -> dict[str, float]:
    """Return millions of instructions of the ESP32's code in an operation, by simulation.

    What MicroPython itself executes around it is not in them.
    """
    library = ecdsakit.place_simulated(folder / "xtensawin")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import ecdsa\nfrom ecdsa import native\n"
        "parts = [f for f in vars(native).values() if type(f).__name__ == 'Function']\n"
        "key, digest = bytes(range(1, 33)), bytes(range(32))\n"
        "signature = ecdsa.sign(digest, key)[0]\n"
        "public_key = ecdsa.public_key(key)\nprepared = ecdsa.prepare(public_key)\n"
        "for call in (lambda: ecdsa.sign(digest, key),\n"
        "             lambda: ecdsa.verify(digest, signature, public_key),\n"
        "             lambda: ecdsa.verify(digest, signature, prepared)):\n"
        "    before = sum(f.executed for f in parts)\n"
        "    assert call()\n"
        "    print((sum(f.executed for f in parts) - before) / 1e6)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, library],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return dict(zip(OPERATIONS, map(float, done.stdout.split()), strict=True))


def report(
    machine: Machine, everything: list[Subject], console: Console
) -> list[dict[str, object]]:
    """Print the table and what became of the goals; return the latter."""
    table = Table(title=f"secp256k1 on MicroPython {machine.arch}: {machine.unit} (ms)")
    for column in ("", *OPERATIONS, "least heap KB", "garbage B", "code"):
        table.add_column(column)
    for subject in everything:
        costs = [
            f"{subject.cost[name]:.2f} ({subject.time_ms[name]:.2f})"
            if name in subject.cost
            else ""
            for name in OPERATIONS
        ]
        heap = " ".join(str(kb) for kb in subject.least_heap_kb.values())
        garbage = " ".join(str(size) for size in subject.garbage.values())
        table.add_row(subject.name, *costs, heap, garbage, subject.code)
    console.print(table)
    by_name = {subject.name: subject for subject in everything}
    for name in MORE:
        costs = [f"{n} {by_name[n].cost[name]:.2f}" for n in ("fast", "portable")]
        console.print(f"{name}: {', '.join(costs)} {machine.unit}")
    results: list[dict[str, object]] = []
    for ours, operation, peer, other, goal in GOALS:
        if peer not in by_name:
            continue
        ratio = by_name[peer].cost[other] / by_name[ours].cost[operation]
        met = ratio >= goal
        shown = f"{ratio:.1f} x" if goal >= 1 else f"1 / {1 / ratio:.2f}"
        wanted = f"{goal:g} x" if goal >= 1 else f"1 / {1 / goal:.1f}"
        console.print(
            f"{'met   ' if met else 'MISSED'} {ours} {operation}: {shown} {peer} (goal {wanted})"
        )
        results.append(
            {"ours": ours, "operation": operation, "peer": peer, "ratio": ratio, "goal": goal}
        )
    return results


def main() -> int:
    """Measure, print, and return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    parser.add_argument("--rounds", type=int, default=3, help="turns of timing (default 3)")
    options = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        machine = Machine(folder)
        everything = list(subjects(folder, machine.arch))
        measure(machine, everything, options.rounds)
        xtensa = xtensa_instructions(folder)
    results = report(machine, everything, console)
    limit = coincurve_ms()
    console.print("coincurve, 64-bit C, ms:", {name: round(ms, 4) for name, ms in limit.items()})
    console.print("ESP32's machine code, simulated, M instructions:", xtensa)
    if options.json:
        figures = {
            "unit": machine.unit,
            "subjects": {
                s.name: {
                    "cost": s.cost, "time_ms": s.time_ms, "least_heap_kb": s.least_heap_kb,
                    "garbage": s.garbage, "code": s.code,
                }
                for s in everything
            },
            "goals": results,
            "coincurve_ms": limit,
            "xtensawin": xtensa,
        }  # fmt: skip
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(float(str(r["ratio"])) >= float(str(r["goal"])) for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
