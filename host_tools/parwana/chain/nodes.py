"""The nodes of one chain: which is asked first, which lies behind, which is another chain's."""

import logging
import time

from parwana.chain.errors import place

AWAY_S = (5.0, 300.0)  # for how long a node that failed is asked last, at first and at most
log = logging.getLogger("parwana.chain")


class Node:
    """One URL, and until when it is asked last.

    `right`: it is of the chain that is meant; None while nobody could ask it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.right: bool | None = None
        self._until_s = 0.0
        self._away_s = AWAY_S[0]

    @property
    def away(self) -> bool:
        """Say whether it failed a short while ago."""
        return time.monotonic() < self._until_s

    def leave(self, why: str, at_least_s: float = 0.0) -> None:
        """Ask it last, for longer each time that it fails again."""
        if self.away:
            return
        away_s = max(self._away_s, at_least_s)
        self._until_s = time.monotonic() + away_s
        self._away_s = min(AWAY_S[1], 2 * self._away_s)
        log.info("%s is asked last for %.0f s: %s", place(self.url), away_s, why)

    def well(self) -> None:
        """Note that it answered as it should."""
        if not self.away:
            self._away_s = AWAY_S[0]


def in_turn(nodes: list[Node]) -> list[Node]:
    """Return the nodes to ask, in this order: as given, those that failed a while ago last."""
    return sorted(nodes, key=lambda node: (node.right is False, node.away))
