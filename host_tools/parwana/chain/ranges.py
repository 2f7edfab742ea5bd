"""How many blocks to ask a node for at once: what it says that it reads, and more later."""

from collections.abc import Callable, Iterator
from typing import Any

from parwana.chain.errors import RangeTooLarge

RANGE_BLOCKS = 2000
GROW_AFTER = 8  # ranges that were read: the next is twice as long, if it was shortened before
_REFUSED_MOST = (
    6  # each time that a longer one was refused, twice as many are read before the next
)


class Ranges:
    """The length of a range at one node, as it was last found to do."""

    def __init__(self) -> None:
        self._blocks = RANGE_BLOCKS
        self._read = self._refused = 0
        self._grown = False

    def over(
        self, first: int, last: int, read: Callable[[int, int], list[Any]]
    ) -> Iterator[tuple[int, list[Any]]]:
        """Give (next block, what `read` found) for blocks first … last, range by range.

        Raises RangeTooLarge when a single block is too much, and what `read` raises.
        """
        at = first
        while at <= last:
            stop = min(at + min(self._blocks, RANGE_BLOCKS) - 1, last)
            try:
                found = read(at, stop)
            except RangeTooLarge as error:
                if stop == at:
                    raise
                self._shrink(stop - at + 1, error.blocks)
                continue
            self._grow()
            yield stop + 1, found
            at = stop + 1

    def _grow(self) -> None:
        self._read += 1
        if self._grown:
            self._grown, self._refused = False, 0
        if self._blocks < RANGE_BLOCKS and self._read >= GROW_AFTER << self._refused:
            self._blocks, self._read = min(RANGE_BLOCKS, 2 * self._blocks), 0
            self._grown = True

    def _shrink(self, asked: int, told: int | None) -> None:
        if self._grown:
            self._refused = min(_REFUSED_MOST, self._refused + 1)
        self._grown = False
        self._blocks = told if told is not None and told < asked else asked // 2
        self._read = 0
