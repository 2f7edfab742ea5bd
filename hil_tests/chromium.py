"""Fetch Chromium for tests: the one that is there, else Debian's, without root.

Its processes start themselves again by /proc/self/exe, so it runs with the machine's own C
library: it is fetched from the machine's own Debian release, with what else it needs.
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from parwana import BUILD
from parwana.world import runtime
from parwana.world.runtime import RuntimeMissing

_PACKAGES = ("chromium", "fonts-noto-core")
# What a headless browser never loads, and what the machine has: its own C library.
_UNUSED = re.compile(
    r"^(libc6|libgcc-s1|gcc-.*-base|libllvm.*|libgl1-mesa-dri|mesa-.*|debconf.*|perl.*|dbus.*|"
    r"adduser|passwd|dpkg|tar|libicu-dev|systemd.*|xdg-utils|x11-utils|init-system-helpers|"
    r"adwaita-icon-theme|hicolor-icon-theme|chromium-sandbox)$"
)
_WRAPPER = """#!/bin/sh
# Runs Chromium with the libraries that were fetched with it.
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)/root
lib=$root/usr/lib/{triplet}
export LD_LIBRARY_PATH="$lib:$root/lib/{triplet}:$lib/pulseaudio"
export FONTCONFIG_FILE="$root/../fonts.conf"
exec "$root/usr/lib/chromium/chromium" "$@"
"""
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{root}/usr/share/fonts</dir><dir>/usr/share/fonts</dir>
<match><edit name="family" mode="append_last"><string>Noto Sans</string></edit></match>
<cachedir>{root}/../fontcache</cachedir></fontconfig>
"""


def program() -> Path:
    """Return a Chromium. Raises RuntimeMissing."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    try:
        return _fetched()
    except RuntimeMissing as error:
        raise RuntimeMissing(f"Chromium is missing ({error}); install chromium") from None


def _fetched() -> Path:
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", runtime.SUITE)
    home = BUILD / "runtime" / f"chromium-{suite}"
    wrapper = home / "chromium"
    with runtime.alone("Chromium"):
        if not wrapper.exists():
            _fetch(suite, home, wrapper)
    return wrapper


def _fetch(suite: str, home: Path, wrapper: Path) -> None:
    architecture = runtime.native_architecture()
    if architecture not in runtime.ARCHITECTURES:
        raise RuntimeMissing(f"no Debian packages are known for {architecture}")
    shutil.rmtree(home, ignore_errors=True)
    options = runtime.apt_state(home / "apt", architecture, suite=suite)
    runtime.say(f"fetching Chromium ({architecture}) from Debian {suite}")
    depends = ["apt-cache", *options, "depends", "--important", "--recurse", *_PACKAGES]
    names = {line for line in runtime.apt(depends).splitlines() if re.match(r"[a-z]", line)}
    wanted = sorted(name for name in names if not _UNUSED.match(name))
    runtime.unpack(options, wanted, home / "root")
    shutil.rmtree(home / "apt")
    for name in ("doc", "man", "help", "icons", "texmf"):  # a third of it
        shutil.rmtree(home / "root/usr/share" / name, ignore_errors=True)
    (home / "fonts.conf").write_text(_FONTS.format(root=home / "root"))
    wrapper.write_text(_WRAPPER.format(triplet=runtime.ARCHITECTURES[architecture][0]))
    wrapper.chmod(0o755)
    done = subprocess.run([wrapper, "--version"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        wrapper.unlink()
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise RuntimeMissing(f"Debian's does not run here: {said}")


if __name__ == "__main__":
    try:
        print(program())
    except RuntimeMissing as missing:
        sys.exit(f"parwana: {missing}")
