"""Fetch files out of a package of npm's registry, by version and SHA-256; no Node runs them."""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parwana.world.runtime import RuntimeMissing, alone, say

_TIMEOUT_S = 300


@dataclass(frozen=True)
class Package:
    """A package and the `files` of it that are wanted, as paths in its archive."""

    name: str
    version: str
    sha256: str
    files: Sequence[str]

    def fetched(self, folder: Path) -> Path:
        """Return the folder of its files, one named after it in `folder`; fetched once.

        Raises RuntimeMissing.
        """
        home = folder / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}"
        if home.is_dir():
            return home
        with alone(self.name):
            if not home.is_dir():
                self._fetch(home)
        return home

    def _fetch(self, home: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeMissing(f"npm is missing, which fetches {self.name}; install npm")
        aside = home.with_name(home.name + ".new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        say(f"fetching {self.name} {self.version} from npm")
        command = [npm, "pack", "--silent", "--pack-destination", str(aside)]
        done = subprocess.run(
            [*command, f"{self.name}@{self.version}"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        packed = done.stdout.split()
        if done.returncode or not packed:
            raise RuntimeMissing(f"npm did not fetch {self.name} ({done.stderr.strip()[-200:]})")
        archive = aside / packed[-1]
        if hashlib.sha256(archive.read_bytes()).hexdigest() != self.sha256:
            shutil.rmtree(aside)
            raise RuntimeMissing(f"{self.name} from npm has the wrong SHA-256; it was not used")
        with tarfile.open(archive) as tar:
            for path in self.files:
                member = tar.extractfile(f"package/{path}")
                assert member is not None, path
                (aside / Path(path).name).write_bytes(member.read())
        archive.unlink()
        aside.rename(home)
