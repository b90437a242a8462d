"""A server from its start to its stop: settings, store, pool and counters, and whether it can take one more job."""

import asyncio
import logging
import math
import shutil
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from mzsr.service import options
from mzsr.service.counters import Counters
from mzsr.service.pool import Pool
from mzsr.service.settings import FREE_BYTES, Settings
from mzsr.service.store import Store

log = logging.getLogger("mzsr.service")

SWEEP = 30.0  # seconds between two looks for what has expired


class Server:
    """What the routes share: settings, store, pool and counters, from start to stop."""

    def __init__(self, settings: Settings, make_pool: Callable[..., Pool]) -> None:
        """Check the models; nothing else is begun yet.

        Raises:
            InputError: a model that is not there.
        """
        self.settings = settings
        self.models = options.cards(settings.models)
        self.closing = False
        self.streams = 0
        self._make_pool = make_pool

    def start(self) -> None:
        """Open the store, put it in order and start the workers.

        Raises:
            InputError: the data folder cannot be used.
        """
        self.store = Store(self.settings.data)
        self.store.recover(self.settings.keep)
        self.counters = Counters(self.store, self.settings.workers, self.settings.queue)
        paths = {name: model for name, (model, _) in self.models.items()}
        self.pool = self._make_pool(self.settings, self.store, paths, ended=self.counters.ended)
        self.pool.fill()

    def stop(self) -> None:
        """Stop the workers and close the store."""
        self.closing = True
        self.pool.stop(self.settings.grace)
        self.store.close()

    def refused(self, status: int) -> None:
        """Count a request that was refused."""
        self.counters.refused.labels(str(status)).inc()

    async def keep_house(self) -> None:
        """Replace idle workers that died, and remove what has expired, until cancelled; what fails comes again."""
        swept = -math.inf
        while True:
            went = await _tried(self.pool.keep_alive)
            if time.monotonic() - swept > SWEEP:
                went &= await _tried(self.store.expire)  # which may be what makes room for the other
                swept = time.monotonic()
            await asyncio.sleep(1 if went else SWEEP)  # a full disk is not worth a line each second

    def admit(self) -> None:
        """Raise HTTPException where no job can be taken now: 429 if too many wait, 503 if the disk is full."""
        if self.closing:
            raise HTTPException(503, "the server is stopping; try again in a minute", {"Retry-After": "60"})
        if self.store.counts().get("queued", 0) >= self.settings.queue:
            raise self.busy()
        if shutil.disk_usage(self.settings.data).free < FREE_BYTES:
            raise HTTPException(503, "the disk of the server is nearly full; try again later", {"Retry-After": "600"})

    def busy(self) -> HTTPException:
        """Return the refusal of a job that finds the queue full; it tells when a place may be free."""
        seconds = math.ceil((self.store.usual_seconds() or 5.0) / self.settings.workers)
        seconds = min(max(seconds, 1), 3600)
        return HTTPException(
            429, f"{self.settings.queue} pictures are waiting, which is the limit; try again in {seconds} s",
            {"Retry-After": str(seconds)},
        )  # fmt: skip


async def _tried(task: Callable[[], object]) -> bool:
    """Do a part of the housework; False, and a word in the log, if it failed."""
    try:
        await run_in_threadpool(task)
    except Exception:  # a full disk or a locked database passes, and the house is to be kept then too
        log.exception("a part of the housework failed; it is tried again")
        return False
    return True
