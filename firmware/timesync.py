"""Ask the network for the time: at the start, after a failure soon again, then once an hour."""

import asyncio

import sntp

_HOUR_MS = 3600000
_FIRST_MS = 5000
_LAST_MS = 300000
_STEP_MS = 50
_STEPS = 40  # a server has two seconds
_SIZE = 128


async def network_time(link, random, address):
    """Return Unix seconds from the server at `address`, letting others run. Raises OSError.

    `random(size)` returns random bytes.
    """
    query = sntp.pack_query(random(8))
    sock = link.dial_udp(address, sntp.PORT)
    try:
        sock.write(query)
        for _ in range(_STEPS):
            await asyncio.sleep_ms(_STEP_MS)
            data = sock.read(_SIZE)
            time_s = sntp.parse_answer(data, query) if data else None
            if time_s is not None:
                return time_s
    finally:
        sock.close()
    raise OSError("the time server gives none")


class TimeSync:
    """Feed network time to `clock`; `host` is "" for none.

    `resolve(host)` is a coroutine that returns an address, `network_time(address)` one that asks
    once. Both raise OSError.
    """

    def __init__(self, host, link, resolve, network_time, clock, events, log):
        self._host = host
        self._link = link
        self._resolve = resolve
        self._network_time = network_time
        self._clock = clock
        self._events = events
        self._log = log

    async def run(self):
        """Synchronise for ever; without a server there is nothing to do."""
        retry_ms = _FIRST_MS
        while True:
            while not self._host:
                await asyncio.sleep_ms(_HOUR_MS)
            while not self._link.up:
                await asyncio.sleep_ms(1000)
            try:
                await self._synchronise()
                pause_ms, retry_ms = _HOUR_MS, _FIRST_MS
            except OSError as error:
                self._log.warn("no network time: %s", error)
                pause_ms, retry_ms = retry_ms, min(2 * retry_ms, _LAST_MS)
            await asyncio.sleep_ms(pause_ms)

    async def _synchronise(self):
        try:
            address = await self._resolve(self._host)
        except OSError:
            # Routers often keep time, and are there when the world behind them is not.
            address = self._link.gateway()
        time_s = await self._network_time(address)
        believed = self._clock.believes(time_s)
        event = self._clock.network(time_s)
        if event:
            self._events.record(*event)
            self._log.info("network time is %d", time_s)
        if not believed:
            raise OSError("%d cannot be believed (docs/protocol.md 6.1)" % time_s)
