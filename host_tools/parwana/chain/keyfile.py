"""`parwana key`: make an encrypted key file, show whose a key is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from parwana.chain import keys

app = typer.Typer(
    help="Make an encrypted key file, or show whose a key is.",
    epilog="Example: parwana key new utility.json",
    no_args_is_help=True,
)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="Where to write it; never overwritten.")],
) -> None:
    """Make a key and write it encrypted; the password: a prompt, or PARWANA_PASSWORD_FILE.

    Example: parwana key new build/signer-1.json
    """
    key = keys.create(file, keys.password(file, confirm=True))
    print(f"{file}: address {key.address}\npublic key {key.public_key.hex()}")


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="Key file, or dev:0 to dev:31.")],
    public: Annotated[bool, typer.Option("--public", help="Only the public key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the address and the public key (for `parwana deploy --signer`), never the secret.

    Example: parwana key show dev:1
    """
    found = keys.resolve(key)
    if public:
        print(found.public_key.hex())
        return
    if as_json:
        print(json.dumps({"address": found.address, "public_key": found.public_key.hex()}))
        return
    print(f"address {found.address}\npublic key {found.public_key.hex()}")
