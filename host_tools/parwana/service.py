"""`parwana service`: let systemd run a relay, a signer, the pages or the bridge.

The unit runs as a user of its own that may write /var/lib/parwana and nothing else. Files that
hold secrets stay where they are, readable by their owner alone: systemd lends copies
(LoadCredential, systemd 247 or newer).
"""

import os
import re
import shutil
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_FOLDER = Path("/etc/systemd/system")
_MADE = "# Made by `parwana service install`, which overwrites it.\n"
_CREDENTIALS = "\0"  # stands for the folder of lent files until specifiers are escaped
_LENT = ("--deployment", "--key")  # options whose files are lent
_UNIT = """[Unit]
Description=Parwana: {command}
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={line}
{lent}Environment=PARWANA_STATE=%S/parwana
{password}DynamicUser=yes
User=parwana
StateDirectory=parwana
WorkingDirectory=%S/parwana
UMask=0077
Restart=always
RestartSec=5
TimeoutStopSec=60
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""

app = typer.Typer(
    no_args_is_help=True,
    help="Let systemd run relays, signers, pages and bridges.",
    epilog="Example: parwana service install relay -- --deployment town.json --key relay.json",
)


class ServiceError(Exception):
    """The unit cannot be written; the text says what to do."""


class Service(StrEnum):
    """What can be run as a service."""

    RELAY = "relay"
    PERMITS = "permits"
    SERVE = "serve"
    HOMEASSISTANT = "homeassistant"

    @property
    def words(self) -> list[str]:
        """Return the command."""
        return ["permits", "run"] if self is Service.PERMITS else [str(self)]


@app.callback()
def _service() -> None:
    """Let systemd run relays, signers, pages and bridges."""


@app.command()
def install(
    service: Annotated[Service, typer.Argument(help="What to run.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="After --: its options, as on its command line.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="The unit is parwana-NAME; default: the service's name.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password of the service's keys.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the unit is written.")] = _FOLDER,
) -> None:
    """Write a systemd unit, and say how to start it.

    A store that is a file must be in /var/lib/parwana, the only folder that it may write.

    Example: parwana service install permits --name signer-1 --password-file signer-1.password --
    --deployment town.json --key signer-1.json --metrics 9465 --log json
    """
    name = f"parwana-{name or service}"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        raise ServiceError(f"--name {name}: write letters, digits, - and _")
    given = options or []
    if not any(word.partition("=")[0] == "--deployment" for word in given):
        raise ServiceError("give the service's own options after --, --deployment among them")
    text = unit(service, given, password_file)
    path = folder / f"{name}.service"
    if path.exists() and not path.read_text().startswith(_MADE):
        raise ServiceError(f"{path} was written by somebody else; take another --name")
    path.write_text(_MADE + text)
    if folder == _FOLDER and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    print(f"{path}\nstart it:  systemctl enable --now {name}\nits log:   journalctl -u {name} -f")


def unit(service: Service, options: list[str], password_file: Path | None) -> str:
    """Return the text of a unit. Raises ServiceError."""
    lent: list[tuple[str, Path]] = []
    words = _lend(options, lent)
    password = ""
    if password_file:
        lent.append(("password", _there("--password-file", str(password_file))))
        password = "Environment=PARWANA_PASSWORD_FILE=%d/password\n"
    program = shutil.which("parwana", path=str(Path(sys.executable).parent))
    if program is None:
        raise ServiceError(f"there is no parwana beside {sys.executable}; install it there")
    line = " ".join(_quoted(word) for word in [os.path.abspath(program), *service.words, *words])
    return _UNIT.format(
        command=" ".join(service.words),
        line=line,
        lent="".join(f"LoadCredential={called}:{_escaped(path)}\n" for called, path in lent),
        password=password,
    )


def _lend(options: list[str], lent: list[tuple[str, Path]]) -> list[str]:
    """Return the options with the names of lent files in the place of the files'."""
    words, waiting = [], ""
    for option in options:
        flag, equals, value = option.partition("=")
        if waiting:
            flag, value = waiting, option
        elif flag not in _LENT or not equals:
            waiting = flag if flag in _LENT else ""
            words.append(option)
            continue
        if value.startswith("dev:"):
            raise ServiceError(f"{flag} {value} is for rehearsals; a service takes a key file")
        called = f"{flag.strip('-')}-{len(lent)}"
        lent.append((called, _there(flag, value)))
        words += [f"{_CREDENTIALS}{called}"] if waiting else [flag, f"{_CREDENTIALS}{called}"]
        waiting = ""
    return words


def _there(flag: str, text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_file():
        raise ServiceError(f"{flag} {text}: there is no such file")
    return path


def _escaped(text: object) -> str:
    return str(text).replace("%", "%%")


def _quoted(word: str) -> str:
    """Return a word of ExecStart. Source: systemd.service(5), COMMAND LINES."""
    if "\n" in word:
        raise ServiceError("an option has a line break in it; leave that out")
    text = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"'.replace(_CREDENTIALS, "%d/")
