"""Foundry's anvil, a JSON-RPC node that we did not write: found on PATH, or fetched by npm."""

import hashlib
import platform
import shutil
import socket
import subprocess
import tarfile
import time
from pathlib import Path
from typing import IO, Any

from parwana import BUILD
from parwana.chain.errors import ChainError
from parwana.chain.rpc import Rpc

VERSION = "1.7.1"
# of npm's package for linux, by architecture
SHA256 = {"amd64": "5727dd8f08f3bf6dde4ec1d9832e87c43f9315ef824bff1ab18486bf51bc7af3"}


class AnvilMissing(Exception):
    """There is no anvil; the text says what to install."""


def program(home: Path = BUILD / "runtime" / f"anvil-{VERSION}") -> Path:
    """Return anvil, fetched once. Raises AnvilMissing."""
    on_path, npm = shutil.which("anvil"), shutil.which("npm")
    if on_path:
        return Path(on_path)
    found = home / "anvil"
    if found.exists():
        return found
    architecture = {"x86_64": "amd64"}.get(platform.machine(), platform.machine())
    if npm is None or architecture not in SHA256:
        raise AnvilMissing("anvil is missing; put it, or npm to fetch it, on PATH")
    home.mkdir(parents=True, exist_ok=True)
    name = f"@foundry-rs/anvil-linux-{architecture}@{VERSION}"
    command = [npm, "pack", "--silent", "--pack-destination", str(home), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    packed = done.stdout.split()
    if done.returncode or not packed:
        raise AnvilMissing(f"npm did not fetch anvil ({done.stderr.strip()[-200:]})")
    archive = home / packed[-1]
    data = archive.read_bytes()
    archive.unlink()
    if hashlib.sha256(data).hexdigest() != SHA256[architecture]:
        raise AnvilMissing("anvil from npm has the wrong SHA-256; it was not used")
    archive.write_bytes(data)
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/bin/anvil")
        assert member is not None
        aside = found.with_name("anvil.new")
        aside.write_bytes(member.read())
    aside.chmod(0o755)
    aside.replace(found)
    archive.unlink()
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
