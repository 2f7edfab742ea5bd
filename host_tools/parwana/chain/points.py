"""Which meter a command means: its address, or the number of the point that it serves."""

from collections.abc import Callable

from eth_utils import is_hex_address, to_checksum_address

from parwana.chain.node import Chain, Ledgers

FEEDERS = {2: "transformer", 3: "plant"}  # by their kind in the registry
NOBODY = "0x" + "00" * 20


class PointError(ValueError):
    """No meter is meant, or two; the text says what to write."""


def read_address(text: str, option: str = "--meter") -> str:
    """Return an address with its checksum. Raises PointError."""
    if not is_hex_address(text):
        where = " on the meter's label" if option == "--meter" else " of the account"
        raise PointError(f"{option} {text}: write the 40 hex digits{where}")
    return to_checksum_address("0x" + text.lower().removeprefix("0x"))


def serving(chain: Chain, ledgers: Ledgers, number: int) -> str:
    """Return the address of the meter that serves a point. Raises PointError, ChainError."""
    meter = str(chain.call(ledgers.registry.functions.meter_of(number)))
    if meter == NOBODY:
        raise PointError(f"number {number} was never enrolled; check it")
    return meter


def chosen(meter: str, number: int | None, connect: Callable[[], tuple[Chain, Ledgers]]) -> str:
    """Return the address that --meter or --number gives; only a number needs the chain.

    Raises PointError, ChainError.
    """
    if bool(meter) == (number is not None):
        raise PointError("give --meter or --number, one of them")
    return read_address(meter) if number is None else serving(*connect(), number)


def feeders(chain: Chain, ledgers: Ledgers, first_block: int) -> dict[int, str]:
    """Return the number and kind of every feeder that was enrolled. Raises ChainError."""
    return {
        log["args"]["number"]: FEEDERS[log["args"]["kind"]]
        for log in chain.logs(ledgers.registry.events.Enrolled, first_block)
        if log["args"]["kind"] in FEEDERS
    }
