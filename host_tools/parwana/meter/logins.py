"""Logins of an MQTT broker: one a meter, which reaches its own topics alone, and one for services.

A folder holds what mosquitto reads: `mosquitto.conf`, `rights` (made from docs/protocol.md, 2) and
`passwords`, hashed. Passwords themselves are nowhere: each is derived from the folder's `secret`.
"""

import base64
import fcntl
import hashlib
import hmac
import os
from pathlib import Path
from typing import Annotated

import typer

from parwana.chain.deployment import Deployment
from parwana.world import secretfiles
from parwana.world.broker import parse_url
from parwana.world.options import DeploymentFile
from parwana.world.programs import MOSQUITTO_QUEUES

SERVICES = "services"
_ROUNDS = 101  # mosquitto_passwd's own; these passwords are not to be guessed anyway
_RIGHTS = """# {utility}: a meter's user is its address, which it finds in the place of %u.
user {services}
topic read parwana/1/{utility}/+/up
topic write parwana/1/{utility}/+/down
topic write parwana/1/{utility}/+/permit
topic write parwana/1/{utility}/time

pattern readwrite parwana/1/{utility}/%u/up
pattern write parwana/1/{utility}/%u/status
pattern read parwana/1/{utility}/%u/down
pattern read parwana/1/{utility}/%u/permit
pattern read parwana/1/{utility}/time
"""
_SETTINGS = """listener {port}
{tls}allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/rights
"""

app = typer.Typer(
    no_args_is_help=True,
    help="Make the files that an MQTT broker is guarded by.",
    epilog="Example: parwana broker acl mosquitto --deployment build/town/deployment.json",
)


class LoginError(Exception):
    """A broker's folder cannot be made or used; the text says what to do."""


@app.callback()
def _broker() -> None:
    """Make the files that an MQTT broker is guarded by."""


@app.command()
def acl(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; made if it is not there.")],
    deployment: DeploymentFile,
    certificate: Annotated[
        Path | None, typer.Option(help="The broker's certificate, for mqtts://.")
    ] = None,
    certificate_key: Annotated[
        Path | None, typer.Option(help="The private key of the certificate.")
    ] = None,
) -> None:
    """Write mosquitto's files for a utility: settings, rights, and a login for its services.

    A meter gets its login by `parwana pair --logins FOLDER`. Made again, files keep all logins.

    Example: parwana broker acl /etc/mosquitto/parwana --deployment town.json
    --certificate broker.pem --certificate-key broker.key
    """
    made = Deployment.load(deployment)
    scheme, host, port, _, _ = parse_url(made.broker)
    if (scheme == "mqtts") != bool(certificate and certificate_key):
        needs = "give --certificate and --certificate-key" if scheme == "mqtts" else "takes none"
        raise LoginError(f"the deployment's broker is {scheme}://: {needs}")
    folder = folder.absolute()
    tls = ""
    if certificate and certificate_key:
        tls = f"certfile {certificate.absolute()}\nkeyfile {certificate_key.absolute()}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "secret").exists():
            secretfiles.create(folder / "secret", os.urandom(32))
        rights = _RIGHTS.format(utility=made.utility_id, services=SERVICES)
        secretfiles.replace(folder / "rights", rights.encode())
        settings = _SETTINGS.format(port=port, tls=tls, folder=folder) + MOSQUITTO_QUEUES
        secretfiles.replace(folder / "mosquitto.conf", settings.encode())
        url = login(folder, f"{scheme}://{host}:{port}", SERVICES)
        secretfiles.replace(folder / "services.url", url.encode() + b"\n")
    except OSError as error:
        raise LoginError(f"{folder}: {error.strerror}") from None
    print(f"{folder}: mosquitto.conf, rights, passwords")
    print(f"{folder}/services.url: what relays and signers log in with, the deployment's `broker`")


def login(folder: Path, url: str, user: str) -> str:
    """Return the broker's URL with the login of a user, which is made unless there is one.

    Raises LoginError.
    """
    scheme, host, port, _, _ = parse_url(url)
    if ":" in host:
        host = f"[{host}]"
    try:
        with (folder / "secret").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two installers at once
            if secretfiles.exposed(folder / "secret"):
                raise LoginError(f"{folder}/secret can be read by others: chmod 600 it")
            secret = file.read()
            if len(secret) != 32:
                raise LoginError(f"{folder}/secret has {len(secret)} bytes, not 32: bring it back")
            digest = hmac.digest(secret, user.encode(), "sha256")
            password = base64.urlsafe_b64encode(digest[:18]).decode()
            _keep(folder / "passwords", user, password)
    except OSError as error:
        advice = "make the folder: parwana broker acl"
        raise LoginError(f"{folder}: {error.strerror}; {advice}") from None
    return f"{scheme}://{user}:{password}@{host}:{port}"


def _keep(file: Path, user: str, password: str) -> None:
    lines = file.read_text().splitlines() if file.exists() else []
    if any(_matches(line, user, password) for line in lines):
        return
    lines = [line for line in lines if line.partition(":")[0] != user]
    lines.append(f"{user}:{_hashed(password, os.urandom(12), _ROUNDS)}")
    secretfiles.replace(file, "".join(line + "\n" for line in lines).encode())


def _matches(line: str, user: str, password: str) -> bool:
    name, _, kept = line.partition(":")
    parts = kept.split("$")
    if name != user or len(parts) != 5 or parts[1] != "7" or not parts[2].isdecimal():
        return False
    try:
        return kept == _hashed(password, base64.b64decode(parts[3]), int(parts[2]))
    except (ValueError, OverflowError):
        return False


def _hashed(password: str, salt: bytes, rounds: int) -> str:
    """Return PBKDF2 as mosquitto's password file has it. Source: mosquitto_passwd(1)."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
