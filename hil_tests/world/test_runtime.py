"""What runs beside us is fetched once, however many processes ask for it at once."""

import subprocess
import sys
from pathlib import Path

# Fetches nothing: it stands for a download that takes a second.
FETCH = """
import sys, time
from pathlib import Path
from parwana.world import runtime
runtime.BUILD = Path(sys.argv[1])
def fetch(*arguments):
    *_, target = arguments
    with (runtime.BUILD / "fetched").open("a") as log:
        log.write(target.name + "\\n")
    time.sleep(1)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("here")
runtime._fetch_umqtt = runtime._fetch_program = fetch
print(runtime.umqtt(), runtime.debian_program("mosquitto", "amd64", "usr/sbin/mosquitto"))
"""


def test_several_processes_wait_for_one_fetch(tmp_path: Path) -> None:
    build = tmp_path / "build"
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH, str(build)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [program.communicate(timeout=60) for program in programs]
    assert [program.returncode for program in programs] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
    assert (build / "fetched").read_text().split() == ["simple.py", "mosquitto"]
    waits = [line for _, err in said for line in err.splitlines()]
    assert waits
    for line in waits:
        assert line.startswith("parwana: waiting for ")
        assert line.endswith(": another process is fetching (build/runtime.lock)")
