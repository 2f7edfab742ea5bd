"""The two commands on a machine that lacks something: one clear line."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from parwana import REPO
from parwana.world import runtime

_NEEDED = ("bash", "cat", "cut", "dirname", "sha256sum", "tr", "mkdir", "rm", "env")


def machine(folder: Path, python3: str) -> dict[str, str]:
    """Make a PATH with the tools of a bare machine and a python3 that is a shell script."""
    folder.mkdir()
    for name in _NEEDED:
        found = next(p for p in os.get_exec_path() if (Path(p) / name).exists())
        (folder / name).symlink_to(Path(found) / name)
    if python3:
        (folder / "python3").write_text(f"#!/bin/bash\n{python3}\n")
        (folder / "python3").chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize("command", ["demo.sh", "test.sh", "flash.sh"])
@pytest.mark.parametrize(
    ("python3", "said"),
    [
        ("", "python3 is missing; on Debian: apt-get install python3 python3-venv"),
        (
            '[ "$1" = -V ] && echo Python 3.9.2 || exit 1',
            "python3 is 3.9.2, 3.11 or newer is needed (Debian 12 or later)",
        ),
        (
            'case "$*" in *ensurepip*) exit 1 ;; -V) echo Python 3.11.2 ;; esac',
            "python3-venv is missing; on Debian: apt-get install python3-venv",
        ),
    ],
    ids=["no python3", "old python3", "no venv"],
)
def test_a_wrong_machine_gets_one_line(
    tmp_path: Path, command: str, python3: str, said: str
) -> None:
    done = subprocess.run(
        [REPO / command],
        env=machine(tmp_path / "bin", python3),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert (done.stdout, done.stderr) == ("", f"parwana: {said}\n")


_VENV = """
[ "$1" = -m ] || { echo Python 3.11.2; exit; }
mkdir -p "$3/bin"
for name in pip uv; do
    echo "#!/bin/bash
    echo $name >>'$3/runs'; sleep 0.5; [ $name != {fails} ]" >"$3/bin/$name"
    chmod +x "$3/bin/$name"
done
"""


@pytest.mark.parametrize(("fails", "runs"), [("none", "pip uv"), ("uv", "pip uv pip")])
def test_two_at_once_install_once(tmp_path: Path, fails: str, runs: str) -> None:
    for name in ("constraints.txt", "pyproject.toml", "host_tools/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    command = ["bash", "-c", f". {tmp_path}/host_tools/setup.sh"]
    bare = machine(tmp_path / "bin", _VENV.replace("{fails}", fails))
    path = bare["PATH"] + os.pathsep + os.environ["PATH"]
    running = [subprocess.Popen(command, env={"PATH": path}) for _ in range(2)]
    assert [process.wait(30) for process in running] == [0, 0]
    assert (tmp_path / "build" / "venv" / "runs").read_text().split() == runs.split()


def sourced(shell: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Source setup.sh as a person does, whose shell goes on afterwards."""
    command = f". {REPO}/host_tools/setup.sh; echo rc $?, still here"
    return subprocess.run(
        [shell, "-c", command], env=env, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_terminal_stays_open_where_setup_fails(tmp_path: Path) -> None:
    done = sourced("/bin/bash", machine(tmp_path / "bin", ""))
    assert done.stdout == "rc 1, still here\n"
    assert done.stderr.startswith("parwana: python3 is missing")


@pytest.mark.skipif(not Path("/bin/dash").exists(), reason="no dash on this machine")
def test_another_shell_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = sourced("/bin/dash", machine(tmp_path / "bin", "exit 1"))
    assert done.stdout == "rc 1, still here\n"
    assert done.stderr == "parwana: this needs bash: type bash, then . host_tools/setup.sh\n"


def test_a_second_set_up_says_that_it_waits_for_the_first() -> None:
    (REPO / "build").mkdir(exist_ok=True)
    with (REPO / "build" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = subprocess.Popen(
            ["bash", "-c", ". host_tools/setup.sh && echo set up"],
            cwd=REPO,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        assert "waiting for another set-up" in program.stdout.readline()
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert program.communicate(timeout=60)[0] == "set up\n"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a machine without Debian's tools and with nothing fetched."""
    monkeypatch.setattr(runtime, "BUILD", tmp_path / "build")
    folder = tmp_path / "bin"
    machine(folder, "")
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.usefixtures("bare")
def test_without_apt_it_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert runtime.main() == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "this is not a Debian system" in said[0]
    assert "put a MicroPython >= 1.24 on PATH" in said[0]


@pytest.mark.parametrize(
    ("version", "wide", "taken"),
    [("1 24", "False", True), ("1 25", "True", True), ("1 22", "False", False)],
    ids=["32 bit", "64 bit", "old"],
)
def test_a_micropython_on_path_is_taken_if_recent(
    bare: Path, version: str, wide: str, taken: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    program = bare / "micropython"
    program.write_text(f"#!/bin/bash\necho {version} {wide}\n")
    program.chmod(0o755)
    if taken:
        assert runtime.micropython() == program
        assert ("memory differs" in capsys.readouterr().err) == (wide == "True")
    else:
        with pytest.raises(runtime.RuntimeMissing, match="put a MicroPython"):
            runtime.micropython()


def test_an_old_mosquitto_is_not_taken(bare: Path) -> None:
    program = bare / "mosquitto"
    program.write_text("#!/bin/bash\necho mosquitto version 1.6.12\n")
    program.chmod(0o755)
    with pytest.raises(runtime.RuntimeMissing, match="install mosquitto >= 2.0"):
        runtime.mosquitto()
    program.write_text("#!/bin/bash\necho mosquitto version 2.0.11\n")
    assert runtime.mosquitto() == program
