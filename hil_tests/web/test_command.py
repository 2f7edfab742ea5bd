"""`parwana serve` as a process."""

import socket
import time
from pathlib import Path

import requests

from hil_tests.rights.conftest import Run
from hil_tests.services import wait_until
from hil_tests.town import FEEDER, Town
from parwana.web import service
from parwana.world.programs import Program, parwana


def test_it_serves_and_ends_cleanly(lived: Town, folder: Path, tmp_path: Path) -> None:
    del lived
    file = folder / "deployment.json"
    command = parwana("serve", "--deployment", file, "--port", "0", "--state", tmp_path / "web")
    with Program("serve", command, tmp_path / "log") as program:
        url = program.wait_for(r"serve: (http://127.0.0.1:\d+)", 60)[1]
        wait_until(lambda: requests.get(url + "/readyz", timeout=60).ok, "both to be read", 60)
        link = f"/feeder/{FEEDER}"  # once its balances are read as well

        def shown() -> bool:
            time.sleep(0.5)  # a page takes the processor from what it waits for
            return link in requests.get(url + "/", timeout=60).text

        wait_until(shown, "the feeder", 60)
        assert program.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert oct((tmp_path / "web").stat().st_mode)[-3:] == "700"


def test_a_port_in_use_is_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", port)
    assert done.code == 1
    assert f"127.0.0.1:{port} cannot be listened at" in done.err
    assert "--port" in done.err


def test_a_body_does_not_wait_for_its_headers() -> None:
    with (
        service.listening("127.0.0.1", 0) as sock,
        socket.create_connection(sock.getsockname()),
        sock.accept()[0] as taken,
    ):
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
