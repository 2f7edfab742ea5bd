"""Brokers as a utility runs them, with passwords, rights and TLS; and one that is a stranger."""

import base64
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hil_tests.services import Broker
from parwana import REPO
from parwana.world import runtime
from parwana.world.programs import free_port

PASSWORD = "sesame, open"
URL_PASSWORD = "sesame%2C%20open"


class GuardedBroker(Broker):
    """A mosquitto with users (all of them with PASSWORD), their rights and, with `tls`, TLS.

    `rights` by user: lines of mosquitto's ACL; `tls`: files of certificate and key.
    """

    def __init__(
        self,
        folder: Path,
        rights: Mapping[str, str],
        tls: tuple[Path, Path] | None = None,
        more: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._acl, self._rights = folder / "acl", dict(rights)
        (folder / "passwords").write_text("".join(map(_password_line, rights)))
        self._write_acl()
        # mosquitto gives up root's rights, and then cannot read what pytest keeps to itself.
        self.settings = (
            f"user root\nallow_anonymous false\npassword_file {folder}/passwords\n"
            f"acl_file {self._acl}\n{more}"
        )
        if tls:
            self.settings += "certfile {}\nkeyfile {}\n".format(*tls)
        super().__init__(folder)
        self._scheme = "mqtts" if tls else "mqtt"

    def of(self, user: str, password: str = URL_PASSWORD, host: str = "127.0.0.1") -> str:
        """Return the URL of a user."""
        return f"{self._scheme}://{user}:{password}@{host}:{self.port}"

    def allow(self, user: str, rights: str) -> None:
        """Change the rights of a user while it runs."""
        self._rights[user] = rights
        self._write_acl()
        self._program._process.send_signal(signal.SIGHUP)  # it reads its files again

    def _write_acl(self) -> None:
        users = [f"user {user}\n{lines}\n" for user, lines in self._rights.items()]
        self._acl.write_text("\n".join(users))
        self._acl.chmod(0o600)


class FolderBroker(Broker):
    """A mosquitto with the rights and passwords that `parwana broker acl` wrote."""

    def __init__(self, folder: Path, files: Path, port: int = 0) -> None:
        lines = (files / "mosquitto.conf").read_text().splitlines(keepends=True)
        assert lines[0].startswith("listener ")
        self.settings = "user root\n" + "".join(lines[1:])
        super().__init__(folder, port=port)

    def read_again(self) -> None:
        """Have it read its passwords again, as systemctl reload does."""
        self._program._process.send_signal(signal.SIGHUP)


class SealedBroker(Broker):
    """A mosquitto that has a second port for TLS, whose certificate can be exchanged."""

    def __init__(self, folder: Path, tls: tuple[Path, Path]) -> None:
        folder.mkdir(parents=True)
        self._files = folder / "tls.pem", folder / "tls.key"
        self.tls_port = free_port()
        self.settings = (
            f"user root\nallow_anonymous true\nlistener {self.tls_port} 127.0.0.1\n"
            "certfile {}\nkeyfile {}\n".format(*self._files)
        )
        self._place(tls)
        super().__init__(folder)

    def show(self, tls: tuple[Path, Path]) -> None:
        """Show new connections another certificate, as after a renewal."""
        self._place(tls)
        self._program._process.send_signal(signal.SIGHUP)

    def _place(self, tls: tuple[Path, Path]) -> None:
        for source, place in zip(tls, self._files, strict=True):
            shutil.copy(source, place)


def rights_of_the_guide(utility_id: str) -> dict[str, str]:
    """Return the rights by user that docs/deploying.md shows, for another utility."""
    text = (REPO / "docs/deploying.md").read_text()
    found = re.findall(r"^  user (\w+)\n((?:  topic .*\n)+)", text, re.M)
    return {
        user: lines.replace("kalpa", utility_id).replace("  topic", "topic")
        for user, lines in found
    }


def _password_line(user: str) -> str:
    """Return a line of mosquitto's password file. Source: mosquitto_passwd(1), PBKDF2."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


_CONFIGURATION = """
[req]
distinguished_name = name
x509_extensions = authority
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
"""


class Authority:
    """A CA that makes certificates, by openssl."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        (folder / "openssl.cnf").write_text(_CONFIGURATION)
        self.certificate = folder / "ca.pem"
        self._openssl(
            "req", "-x509", *self._key("ca"), "-out", self.certificate, "-subj", "/CN=CA"
        )

    def issue(self, name: str, subject: str, days: int = 30) -> tuple[Path, Path]:
        """Make a certificate for `subject`, as `DNS:localhost`; 0 `days`: for a second."""
        request, made = self._folder / f"{name}.csr", self._folder / f"{name}.pem"
        self._openssl(
            *("req", *self._key(name), "-out", request, "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={subject}"),
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-out", made),
            *("-CAkey", self._folder / "ca.key", "-CAcreateserial", "-days", str(days)),
            *("-copy_extensions", "copy"),
        )
        return made, self._folder / f"{name}.key"

    def _key(self, name: str) -> list[str | Path]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        return [*curve, "-keyout", self._folder / f"{name}.key"]

    def _openssl(self, *words: str | Path) -> None:
        program = shutil.which("openssl") or runtime.debian_program(
            "openssl", runtime.native_architecture(), "usr/bin/openssl"
        )
        subprocess.run(
            [program, *words],
            check=True,
            capture_output=True,
            timeout=60,
            env={**os.environ, "OPENSSL_CONF": str(self._folder / "openssl.cnf")},
        )


class Stranger:
    """Answers as some other broker might, one client at a time, with the reason codes it is told.

    `connack` None: it hangs up unanswered; `old`: it answers as MQTT 3.1.1 does. `goodbye`: the
    reason of a DISCONNECT right after its SUBACK. `properties` are the CONNACK's.
    """

    def __init__(
        self,
        connack: int | None = 0,
        *,
        suback: int = 1,
        puback: int = 0,
        goodbye: int | None = None,
        properties: bytes = b"",
        old: bool = False,
    ) -> None:
        self.connack, self.suback, self.puback, self.goodbye = connack, suback, puback, goodbye
        self._properties = b"" if old else bytes([len(properties)]) + properties
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.url = f"mqtt://someone:{URL_PASSWORD}@127.0.0.1:{self.port}"
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                with client, suppress(OSError), client.makefile("rb") as stream:
                    for kind, body in _packets(stream):
                        if not self._answer(client, kind, body):
                            break

    def _answer(self, client: socket.socket, kind: int, body: bytes) -> bool:
        if kind == 0x10:
            if self.connack is None:
                return False
            client.sendall(_packet(0x20, bytes([0, self.connack]) + self._properties))
            return self.connack == 0
        if kind == 0x82:
            client.sendall(_packet(0x90, body[:2] + b"\0" + bytes([self.suback])))
            if self.goodbye is not None:
                client.sendall(_packet(0xE0, bytes([self.goodbye, 0])))
                return False
        elif kind & 0xF0 == 0x30:
            at = 2 + int.from_bytes(body[:2], "big")
            client.sendall(_packet(0x40, body[at : at + 2] + bytes([self.puback, 0])))
        return True


def _packet(kind: int, body: bytes) -> bytes:
    return bytes([kind, len(body)]) + body


def _packets(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Read (first byte, body) of each packet until the client hangs up."""
    while head := stream.read(1):
        length = shift = 0
        while True:
            byte = stream.read(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield head[0], stream.read(length)


@contextmanager
def stranger(*codes: int | None, **answers: Any) -> Iterator[Stranger]:
    """Lend a Stranger."""
    made = Stranger(*codes, **answers)
    try:
        yield made
    finally:
        made.close()
