"""Keep a signer at work: poll, report, back off from what is out of reach, start again."""

import logging
import math
import time
from collections.abc import Callable

from parwana.chain.deployment import Deployment
from parwana.chain.keys import Key
from parwana.chain.limits import Limits
from parwana.chain.node import Chain, ChainError
from parwana.permits.bundle import PermitError, indexed
from parwana.permits.publisher import Publisher
from parwana.permits.signer import PermitSigner, Progress, TimeSigner
from parwana.store.reader import Store, StoreError
from parwana.world.broker import BrokerError
from parwana.world.clock import WorldClock
from parwana.world.logs import Trouble

_BACK_OFF_S = (1.0, 30.0)
_LOOKS = 4  # that each signer takes at an instant of signed time
log = logging.getLogger("parwana.permits")


class Chore:
    """Run one part of a signer again and again; what fails waits longer each time."""

    def __init__(self, name: str, step: Callable[[], Progress]) -> None:
        self.name = name
        self.done = Progress()  # in all
        self._step = step
        self.trouble = Trouble(log, name)
        self._pause_s = _BACK_OFF_S[0]
        self._not_before = 0.0

    def run(self, *, fatal: bool) -> Progress:
        """Do one step, unless one failed a moment ago; `fatal` raises what failed."""
        if time.monotonic() < self._not_before:
            return Progress()
        try:
            done = self._step()
        except (ChainError, StoreError, BrokerError) as error:
            if fatal:
                raise
            self.trouble.failed(str(error))
            return self._later()
        except PermitError:  # the deployment file or the keys are wrong
            raise
        except Exception as error:  # a bug, or a node's oddity: it must not stop the other chore
            if fatal:
                raise
            self.trouble.failed(f"this is a bug, please report it: {error!r}", bug=error)
            return self._later()
        self.trouble.over()
        self._pause_s = _BACK_OFF_S[0]
        self.done = self.done.then(done)
        return done

    def _later(self) -> Progress:
        self._not_before = time.monotonic() + self._pause_s
        self._pause_s = min(_BACK_OFF_S[1], self._pause_s * 2)
        return Progress()


def serve(
    deployment: Deployment,
    keys: list[Key],
    rpc: list[str] | None,
    limits: Limits,
    *,
    time_step_s: int,
    poll_s: float,
    once: bool,
    report: Callable[[Progress], None],
    watch: Callable[[list[Chore]], None] = lambda _chores: None,
) -> None:
    """Sign permits and time until interrupted, or once; report what was done.

    `watch` gets the parts, once. `time_step_s` 0 signs no time. Raises PermitError, and with
    `once` whatever failed.
    """
    mine = indexed(keys, deployment.signers)
    store = Store(deployment.store, patient=not once)
    publisher = Publisher(deployment)
    clock = WorldClock.from_environment()
    permits = PermitSigner(
        deployment,
        store,
        keys,
        lambda: Chain.of(deployment, keys[0], rpc, limits),
        patient=not once,
    )
    chores = [Chore("permits", permits.step)]
    if time_step_s:
        # In a fast world the signers would otherwise never look at the same instant.
        steps = max(1, math.ceil(_LOOKS * poll_s * clock.factor / time_step_s))
        step_s = steps * time_step_s
        times = TimeSigner(deployment, store, keys, clock.now, step_s, publisher.publish)
        chores.append(Chore("time", times.step))
    watch(chores)
    numbers = " and ".join(str(number) for number in mine)
    log.info("signer %s of %d at work", numbers, len(deployment.signers))
    said = ""
    try:
        while True:
            for chore in chores:
                done = chore.run(fatal=once)
                if once or done.signed or done.claimed or done.failure not in ("", said):
                    report(done)
                said = done.failure or said
            if once:
                return
            time.sleep(poll_s)
    finally:
        publisher.close()
        store.close()
