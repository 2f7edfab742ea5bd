"""Foundry's anvil, a JSON-RPC node that we did not write: found on PATH, or fetched by npm."""

import platform
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from parwana import BUILD
from parwana.chain.errors import ChainError
from parwana.chain.rpc import Rpc
from parwana.world.npm import Package
from parwana.world.runtime import RuntimeMissing

VERSION = "1.7.1"
# of npm's package for linux, by architecture
SHA256 = {"amd64": "5727dd8f08f3bf6dde4ec1d9832e87c43f9315ef824bff1ab18486bf51bc7af3"}


def program(home: Path = BUILD / "runtime") -> Path:
    """Return anvil, fetched once. Raises RuntimeMissing."""
    if on_path := shutil.which("anvil"):
        return Path(on_path)
    architecture = {"x86_64": "amd64"}.get(platform.machine(), platform.machine())
    if architecture not in SHA256:
        raise RuntimeMissing("anvil is missing; put it on PATH")
    name = f"@foundry-rs/anvil-linux-{architecture}"
    found = Package(name, VERSION, SHA256[architecture], ["bin/anvil"]).fetched(home) / "anvil"
    found.chmod(0o755)
    return found


class Anvil:
    """A running anvil, chain 31337: `url`, `ask(method, ...)`, `mine(blocks)`, `stop()`."""

    def __init__(self, log: IO[str], *more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        # Its final block is 64 behind unless an epoch has one slot.
        options = ["--hardfork", "osaka", "--slots-in-an-epoch", "1", *more]
        command = [str(program()), "--port", port, *options]
        self.url = f"http://127.0.0.1:{port}"
        self.rpc = Rpc(self.url, 5)
        self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(100):
            try:
                self.rpc.once("eth_chainId")
                return
            except ChainError:
                time.sleep(0.1)
        self.stop()
        raise AssertionError(f"anvil does not answer; see {log.name}")

    def ask(self, method: str, *params: Any) -> Any:
        """Return a result."""
        return self.rpc.ask(method, *params)

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks now."""
        self.ask("anvil_mine", hex(blocks))

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)
