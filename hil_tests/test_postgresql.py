"""The PostgreSQL that tests run: found, fetched or told of; gone with its test process."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from hil_tests import postgresql
from hil_tests.services import wait_until
from parwana import REPO
from parwana.world.runtime import RuntimeMissing

LEFT_ALONE = """
import os, sys
from pathlib import Path
from hil_tests.postgresql import Server
print(Server(Path(sys.argv[1])).database(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_without_one_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "AT_LEAST", 99)
    monkeypatch.setattr(postgresql, "_HOME", tmp_path / "postgresql")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeMissing, match="not a Debian system.*install postgresql >= 99"):
        postgresql.programs()


def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEFT_ALONE, str(tmp_path / "server")]
    done = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, timeout=60, check=False
    )
    url = done.stdout.strip()
    assert url.startswith("postgresql://"), done

    def gone() -> bool:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError as error:
            return "refused" in str(error)
        return False

    wait_until(gone, "the end of the server")


@pytest.mark.long
def test_debians_runs_where_there_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "programs", postgresql.fetched)
    server = postgresql.Server(tmp_path)
    try:
        url = server.database()
        [(version,)] = server.execute("SHOW server_version", url)
        assert str(version).startswith("17.")
        subprocess.run(
            [server.programs / "pg_dump", "-f", tmp_path / "dump", url], check=True, timeout=60
        )
        assert "PostgreSQL database dump complete" in (tmp_path / "dump").read_text()
    finally:
        server.stop()
