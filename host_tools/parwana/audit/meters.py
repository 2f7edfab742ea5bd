"""Audit the frames of all meters, on several cores; keep how far it is."""

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from multiprocessing import get_context

from parwana.audit.store import Looked, Seen, look
from parwana.chain.deployment import Deployment
from parwana.store.reader import Store

ALONE = 20_000  # frames that are quicker looked at than processes are begun
_open: tuple[Store, Deployment, bool] | None = None


def look_at_all(
    store: Store, deployment: Deployment, seen: Mapping[bytes, Seen], jobs: int, *, pruned: bool
) -> Iterator[tuple[Looked, int]]:
    """Give what the audit of each meter's frames gave, and of how many meters, as they are done.

    `seen` says how far each was looked at before, `pruned` whether readings were removed since.
    Raises StoreError.
    """
    meters = sorted({row.meter for row in store.meters()} | set(store.framed_meters()) | set(seen))
    if jobs == 1 or store.count_held() - sum(one.frames for one in seen.values()) < ALONE:
        for meter in meters:
            old = seen.get(meter, Seen())
            yield look(store, deployment, meter, old, pruned=pruned), len(meters)
        return
    # Begun anew, not forked: threads of ours may hold locks.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (store.url, deployment, pruned)) as pool:
        rest = iter(meters)
        try:
            waiting = {pool.submit(_look, m, seen.get(m, Seen())) for m in islice(rest, 4 * jobs)}
            while waiting:
                done = next(as_completed(waiting))
                waiting.remove(done)
                waiting.update(pool.submit(_look, m, seen.get(m, Seen())) for m in islice(rest, 1))
                yield done.result(), len(meters)
        finally:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Return how many processes can run at a time."""
    return len(os.sched_getaffinity(0))


def _begin(url: str, deployment: Deployment, pruned: bool) -> None:
    global _open
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this
    _open = Store(url, create=False), deployment, pruned


def _look(meter: bytes, seen: Seen) -> Looked:
    assert _open is not None
    store, deployment, pruned = _open
    return look(store, deployment, meter, seen, pruned=pruned)
