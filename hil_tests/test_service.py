"""systemd units: what they run, what is lent to it, and that systemd takes them."""

import configparser
import json
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hil_tests.meter.test_pairing import DEPLOYMENT
from parwana import cli
from parwana.service import Service, ServiceError, unit
from parwana.world.programs import Program


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Make a deployment file, a key file and a password file; their folder has odd letters."""
    folder = tmp_path / 'a 100% "b"'
    folder.mkdir()
    paths = folder / "town.json", folder / "relay.json", folder / "password"
    replace(DEPLOYMENT, store=f"sqlite:///{tmp_path}/s.db").save(paths[0])
    for path in paths[1:]:
        path.write_text("sesame")
        path.chmod(0o600)
    return paths


def read(text: str) -> dict[str, list[str]]:
    """Return the [Service] section: systemd's keys may repeat."""
    found: dict[str, list[str]] = {}
    for line in text.split("[Service]\n")[1].split("\n\n")[0].splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found


def test_a_unit_runs_the_command_with_lent_files(files: tuple[Path, Path, Path]) -> None:
    town, key, password = files
    options = ["--deployment", str(town), f"--key={key}", "--fee-cap", "a$b"]
    service = read(unit(Service.RELAY, options, password))
    [line] = service["ExecStart"]
    words = shlex.split(line)
    assert Path(words[0]).name == "parwana"
    assert words[1:] == [
        *("relay", "--deployment", "%d/deployment-0", "--key", "%d/key-1"),
        *("--fee-cap", "a$$b"),
    ]
    shown = str(town.parent).replace("%", "%%")
    assert service["LoadCredential"] == [
        f"deployment-0:{shown}/town.json",
        f"key-1:{shown}/relay.json",
        f"password:{shown}/password",
    ]
    assert "PARWANA_PASSWORD_FILE=%d/password" in service["Environment"]
    assert service["DynamicUser"] == ["yes"]


def test_signers_run(files: tuple[Path, Path, Path]) -> None:
    service = read(unit(Service.PERMITS, [f"--deployment={files[0]}"], None))
    assert shlex.split(service["ExecStart"][0])[1:4] == ["permits", "run", "--deployment"]
    assert not [line for line in service["Environment"] if "PASSWORD" in line]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--deployment", "none.json"], "--deployment none.json: there is no such file"),
        (["--key", "dev:1"], "a service takes a key file"),
        (["--log\n", "x"], "line break"),
    ],
)
def test_what_cannot_run_is_refused(options: list[str], words: str) -> None:
    with pytest.raises(ServiceError, match=words):
        unit(Service.RELAY, options, None)


def install(folder: Path, *words: object) -> int:
    line = ("service", "install", "relay", "--folder", folder, *words)
    return cli.main([str(word) for word in line])


def test_it_is_installed_and_overwrites_its_own_alone(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("--", "--deployment", files[0])
    assert install(tmp_path, "--name", "east", *own) == 0
    assert "systemctl enable --now parwana-east" in capsys.readouterr().out
    path = tmp_path / "parwana-east.service"
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.read_string(path.read_text())
    assert parsed["Install"]["WantedBy"] == "multi-user.target"
    assert install(tmp_path, "--name", "east", *own) == 0
    path.write_text("[Unit]\n")
    assert install(tmp_path, "--name", "east", *own) == 1
    assert install(tmp_path, "--name", "a/b", *own) == 1
    assert install(tmp_path) == 1
    said = capsys.readouterr().err
    for words in ("written by somebody else", "write letters", "--deployment among them"):
        assert words in said
    assert path.read_text() == "[Unit]\n"


def test_systemd_takes_it(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    assert install(tmp_path, "--password-file", files[2], "--", "--deployment", files[0]) == 0
    done = subprocess.run(
        [analyze, "verify", "--man=no", tmp_path / "parwana-relay.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "parwana-relay" in line] == []


def test_what_the_unit_says_is_a_service_that_starts_and_ends(
    files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    options = ["--deployment", str(files[0]), "--log", "json"]
    [line] = read(unit(Service.RELAY, options, None))["ExecStart"]
    lent = tmp_path / "lent"
    lent.mkdir()
    shutil.copy(files[0], lent / "deployment-0")
    (lent / "deployment-0").chmod(0o600)
    words = shlex.split(line.replace("%d", str(lent)).replace("%%", "%"))
    with Program("relay", words, tmp_path / "log") as relay:
        relay.wait_for("takes no connection", 60)
        assert relay.stop() == 0
    first = json.loads(relay.log.read_text().splitlines()[0])
    assert set(first) == {"time", "level", "name", "text"}
