"""The command line's own duties: quick help, one line for a known error, clean stops."""

import json
import re
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from hil_tests.meter.test_pairing import DEPLOYMENT
from hil_tests.services import wait_until
from parwana import REPO, cli
from parwana.chain import keys
from parwana.world.clock import WorldClock
from parwana.world.programs import Program, parwana

SLOW = ("web3", "vyper", "eth", "sqlalchemy", "paho")


def run(*arguments):
    return subprocess.run(
        parwana(*arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )


def test_help_lists_the_commands_without_importing_them():
    script = (
        "import sys; from parwana import cli; cli.main(['--help']); "
        f"print('LOADED', [m for m in {SLOW!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "devchain" in done.stdout
    assert "LOADED []" in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    assert cli.main([name, "--help"]) == 0
    assert "Example" in capsys.readouterr().out


def test_a_wrong_command_is_refused_with_a_suggestion():
    done = run("dvchain")
    assert done.returncode == 2
    assert "devchain" in done.stderr


def test_a_known_error_is_one_line():
    done = run("key", "show", "nowhere.json")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "parwana: nowhere.json does not exist; make it: parwana key new nowhere.json"
    ]
    assert done.stdout == ""


def test_a_bug_shows_its_traceback(monkeypatch):
    def build(_name):
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.command()
        def broken():
            raise ZeroDivisionError

        return app

    monkeypatch.setattr(cli, "build", build)
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def test_a_missing_file_is_one_line(monkeypatch, capsys):
    def build(_name):
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.command()
        def reader():
            Path("/nowhere/at/all").read_text()

        return app

    monkeypatch.setattr(cli, "build", build)
    assert cli.main([]) == 1
    said = capsys.readouterr().err
    assert said == "parwana: /nowhere/at/all: No such file or directory; check it\n"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit(130)])
def test_ctrl_c_is_one_line(monkeypatch, capsys, stop):
    def build(_name):
        raise stop

    monkeypatch.setattr(cli, "build", build)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "parwana: stopped; run the same line again to go on\n"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit(130)])
def test_ctrl_c_is_json_too_where_json_is_asked_for(monkeypatch, capsys, stop):
    def build(_name):
        raise stop

    monkeypatch.setattr(cli, "build", build)
    assert cli.main(["permits", "show", "--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "error": "stopped; run the same line again to go on",
    }


def test_a_known_error_is_json_too_where_json_is_asked_for(tmp_path, capsys):
    assert cli.main(["flash", "--json", "--port", str(tmp_path / "none")]) == 1
    said = capsys.readouterr()
    error = json.loads(said.out)
    assert said.err == f"parwana: {error['error']}\n"
    assert error["ok"] is False
    assert "there is no port" in error["error"]


def test_no_help_shows_a_path_of_this_machine(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "500")  # no path is broken
    for name in cli.COMMANDS:
        cli.main([name, "--help"])
    assert str(REPO) not in capsys.readouterr().out


def test_keys_are_shown_without_the_secret():
    done = run("key", "show", "dev:1", "--json")
    shown = json.loads(done.stdout)
    assert shown["address"] == keys.dev_key(1).address
    assert len(shown["public_key"]) == 128
    assert keys.dev_key(1).secret.hex() not in done.stdout


def test_the_devchain_serves_other_processes_and_stops_cleanly(tmp_path):
    clock = WorldClock.starting(1_800_000_000, 1000)
    command = parwana("devchain", "--port", "0", "--state", tmp_path / "chain")
    with Program("devchain", command, tmp_path / "log", {"PARWANA_CLOCK": str(clock)}) as program:
        url = program.wait_for(r"(http://127.0.0.1:\d+)", 30)[1]
        body = b'{"id": 1, "method": "eth_getBlockByNumber", "params": ["latest", false]}'
        with urllib.request.urlopen(url, data=body, timeout=10) as reply:
            block = json.loads(reply.read())["result"]
        assert abs(int(block["timestamp"], 16) - clock.now()) < 20_000
        assert program.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_service_ends_well_on_sigterm_while_it_starts_and_while_all_it_needs_is_away(tmp_path):
    path = tmp_path / "deployment.json"
    replace(DEPLOYMENT, store=f"sqlite:///{tmp_path}/s.db").save(path)
    run = parwana("permits", "run", "--deployment", path, "--key", "dev:1")
    with Program("signer", run, tmp_path / "log") as signer:
        signer.wait_for("does not answer", 60)
        assert signer.stop() == 0
    said = (tmp_path / "log").read_text()
    lines = [line.split(" ", 3) for line in said.splitlines()]
    assert [line[1:3] for line in lines] == [["INFO", "parwana.permits:"]] + [
        ["WARNING", "parwana.permits:"]
    ] * (len(lines) - 1), said
    assert all(re.fullmatch(r"[-\d]{10}T[:\d]{8}\.\d{3}Z", line[0]) for line in lines)
    assert "sesame" not in said
    with Program("early", run, tmp_path / "early.log") as early:
        wait_until(lambda: _imports(early), "an import of the command's", 30)
        assert early.stop() == 0
    assert (tmp_path / "early.log").read_text() == ""


def _imports(program: Program) -> bool:
    """Say whether the process has come to importing its command, which takes a second or two."""
    maps = Path(f"/proc/{program._process.pid}/maps").read_text()
    return "coincurve" in maps or "pydantic_core" in maps


@pytest.mark.parametrize("service", [["relay"], ["devchain"], ["permits", "run"]])
def test_a_service_that_is_told_to_end_did_not_fail(monkeypatch, capsys, service):
    monkeypatch.setattr(cli, "build", lambda _name: _told_to_end)
    assert cli.main([*service, "--deployment", "x"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main([*service[:1], "show"]) == (130 if service[0] == "permits" else 0)


@pytest.mark.parametrize(("words", "code"), [(["relay"], 0), (["audit"], 130)])
def test_an_interrupt_in_code_made_of_text_is_one_as_elsewhere(tmp_path, words, code):
    text = f"""
import sys
from parwana import cli

cli.build = lambda _name: lambda *_, **__: exec("raise KeyboardInterrupt")
sys.exit(cli.main({words}))
"""
    (tmp_path / "interrupted.py").write_text(text)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr


def _told_to_end(*_, **__):
    raise KeyboardInterrupt


def test_the_devchain_names_its_accounts():
    done = run("devchain", "--accounts")
    assert "DEVELOPMENT ONLY" in done.stdout
    assert f"dev:31  {keys.dev_key(31).address}" in done.stdout


def test_the_relays_help_needs_no_chain():
    """What is slow to import is imported when a chain is asked."""
    code = "import sys, parwana.relay.command; print({'web3', 'eth_account'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr
