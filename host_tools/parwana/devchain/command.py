"""`parwana devchain`: run the development chain until interrupted."""

from pathlib import Path
from typing import Annotated

import typer

from parwana.chain import keys
from parwana.devchain.evm import EvmError
from parwana.devchain.server import CHAIN_ID, DevChain
from parwana.world.clock import WorldClock


def command(
    port: Annotated[int, typer.Option(help="TCP port on 127.0.0.1; 0 takes a free one.")] = 8545,
    state: Annotated[
        Path | None, typer.Option(help="File that keeps the chain between starts.")
    ] = None,
    genesis_time: Annotated[
        int | None, typer.Option(help="Unix time of block 0 (default: the world's now).")
    ] = None,
    block_interval: Annotated[
        float, typer.Option(min=0.05, help="Real seconds between empty blocks.")
    ] = 1.0,
    finality: Annotated[int, typer.Option(min=0, help="Blocks until a block is final.")] = 2,
    chain_id: Annotated[
        int, typer.Option(help="31337, or 31338 for a rehearsal with two chains.")
    ] = CHAIN_ID,
    accounts: Annotated[
        bool, typer.Option("--accounts", help="List the funded development accounts and stop.")
    ] = False,
) -> None:
    """Run an Ethereum chain for development: py-evm behind JSON-RPC on 127.0.0.1.

    Its accounts are public test keys (--key dev:0 … dev:31). Time follows PARWANA_CLOCK.

    Example: parwana devchain --port 8545 --state build/devchain.state
    """
    if accounts:
        print(f"DEVELOPMENT ONLY, public keys of the mnemonic: {keys.DEV_MNEMONIC}")
        for number in range(keys.DEV_KEYS):
            print(f"dev:{number:<3} {keys.dev_key(number).address}")
        return
    if chain_id not in keys.DEV_CHAIN_IDS:
        raise EvmError(f"--chain-id {chain_id}: write 31337 or 31338, where dev keys are taken")
    chain = DevChain(
        port,
        WorldClock.from_environment(),
        state=state,
        genesis_time_s=genesis_time,
        block_interval_s=block_interval,
        finality_depth=finality,
        chain_id=chain_id,
    )
    with chain:
        print(f"devchain: chain {chain_id} at {chain.url}, development only", flush=True)
        print("devchain: keys dev:0 to dev:31 are funded and public (--accounts)", flush=True)
        chain.wait()
