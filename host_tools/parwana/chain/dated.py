"""Logs with the times of their blocks."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from web3.contract import Contract

from parwana.chain.node import Chain

READERS = 8  # requests for blocks at a time


def dated(
    chain: Chain, of: Iterable[Contract], first: int, last: int
) -> Iterator[tuple[int, list[tuple[Any, int]]]]:
    """Give (next block, [(log, time_s)]) of all events of contracts in blocks first … last.

    Logs come in their order, range by range. Raises ChainError.
    """
    with ThreadPoolExecutor(READERS) as pool:
        for after, entries in chain.every(of, first, last):
            blocks = sorted({entry["blockNumber"] for entry in entries})
            times = dict(zip(blocks, pool.map(chain.block_time_s, blocks), strict=True))
            yield after, [(entry, times[entry["blockNumber"]]) for entry in entries]
