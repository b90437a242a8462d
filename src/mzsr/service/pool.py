"""Worker processes, and who does what: waiting jobs go to idle workers, in their order.

Every worker is a pool of one process: pebble ends and replaces a process whose time is up or whose job is cancelled,
and one that dies takes nothing with it but its own job. Who waits is known to the store alone.
"""

import logging
import multiprocessing
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from mzsr.errors import InputError
from mzsr.service import look, work
from mzsr.service.settings import Settings
from mzsr.service.store import INTERRUPTED, Job, Store

log = logging.getLogger("mzsr.service")

LOOK_SECONDS = 20.0  # for a header or a thumbnail; a healthy picture takes less than one
LOOK_MEMORY = 3 * 2**30  # bytes: one picture of 100 million pixels, decoded, and the libraries
MERCY = 3.0  # seconds that a cancelled job gets to notice it, before its process is ended and another must warm up


class Slot:
    """One worker in a process of its own, begun afresh so that it inherits nothing of the server."""

    def __init__(self, begin: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Start the process; `begin` prepares it."""
        self._begin, self._args = begin, args
        self._lock = threading.Lock()
        self._pool = self._start()

    def schedule(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> Future[Any]:
        """Let the worker do something; the future tells how it ended."""
        with self._lock:
            self._replace_broken()
            return self._pool.schedule(function, args=args, timeout=timeout)

    def keep_alive(self) -> None:
        """Replace a worker that died while it had nothing to do."""
        with self._lock:
            self._replace_broken()

    def stop(self) -> None:
        """End the worker, whatever it does."""
        with self._lock:
            _end(self._pool)

    def _start(self) -> ProcessPool:
        pool = ProcessPool(
            1, initializer=self._begin, initargs=self._args, context=multiprocessing.get_context("spawn")
        )
        pool.schedule(_nothing)  # the process starts with the first task
        return pool

    def _replace_broken(self) -> None:
        if not self._pool.active:
            # From another thread, since pebble tells of its end in a thread of the pool, which cannot wait for itself
            threading.Thread(target=_end, args=(self._pool,), daemon=True).start()
            self._pool = self._start()


class Pool:
    """The workers of a server."""

    def __init__(
        self, settings: Settings, store: Store, models: dict[str, str],
        slot: type[Slot] = Slot,
        ended: Callable[[Job], None] = lambda job: None,
    ) -> None:  # fmt: skip
        """Start the workers.

        Args:
            settings: how many, and their limits.
            store: where the jobs are.
            models: name → what an `Upscaler` loads, the default first.
            slot: one worker.
            ended: told every job that ended, with its last state.
        """
        self.settings, self.store, self.models, self.ended = settings, store, models, ended
        begin = (settings.memory, settings.threads, next(iter(models.values())), settings.device)
        self._idle = [slot(work.begin, begin) for _ in range(settings.workers)]
        self._slots = tuple(self._idle)
        self._looker = slot(look.begin, (LOOK_MEMORY,))
        self._running: dict[str, Future[Any]] = {}
        self._tried: set[str] = set()
        self._unnoted: dict[str, BaseException | None] = {}  # how jobs ended that the store does not know of yet
        self._lock = threading.RLock()
        self._closing = False
        self._all_idle = threading.Condition(self._lock)

    def look(self, folder: Path, kernel: str | None) -> dict[str, Any] | look.Refused:
        """Look at an upload; see `look.look`. Waits for it."""
        args = folder, kernel, self.settings.max_pixels
        for _ in range(2):
            try:
                return self._looker.schedule(look.look, args, LOOK_SECONDS).result()
            except (TimeoutError, MemoryError, ProcessExpired):
                return look.Refused(
                    422, "the picture takes too much time or memory to be read; save it again, and send that"
                )
            except RuntimeError as error:  # BrokenProcessPool is one: it died before it began; another takes its place
                log.warning("an upload could not be looked at: %r", error)
        return look.Refused(503, "no process could be started to look at the picture; try again later")

    def thumbnail(self, folder: Path) -> None:
        """Have the thumbnail of an upload made, soon."""
        with suppress(RuntimeError):  # it died this very moment; a job goes on without a thumbnail
            self._looker.schedule(look.thumbnail, (folder,), LOOK_SECONDS)

    def fill(self) -> None:
        """Give waiting jobs to idle workers."""
        with self._lock:
            while self._idle and not self._closing and (job := self.store.claim()):
                slot = self._idle.pop()
                settings = self.settings
                args = (
                    settings.data, job.id, self.models.get(job.options["model"], job.options["model"]),
                    settings.device, settings.max_pixels, settings.keep,
                )  # fmt: skip
                try:
                    future = slot.schedule(work.run, args, settings.seconds)
                except RuntimeError:  # its process died this very moment; `keep_alive` replaces it
                    self._idle.append(slot)
                    self._note(job.id, BrokenProcessPool())
                    return
                self._running[job.id] = future
                future.add_done_callback(partial(self._ended, job.id, slot))

    def cancel(self, id: str) -> bool:
        """Cancel a job that waits or runs; False if it does neither."""
        with self._lock:  # or it could be between the queue and its worker
            if not self.store.end(id, "cancelled", None, self.settings.keep, before=("queued", "running")):
                return False
            self.ended(self.store.get(id))  # now, since it may be removed before its worker notices
            if (future := self._running.get(id)) is not None:
                timer = threading.Timer(MERCY, future.cancel)
                timer.daemon = True
                timer.start()
        return True

    def keep_alive(self) -> None:
        """Replace workers that died while they had nothing to do, note what could not be; called now and then."""
        for id, error in list(self._unnoted.items()):
            self._note(id, error)
        with self._lock:
            if not self._closing:
                for slot in (*self._idle, self._looker):
                    slot.keep_alive()
                self.fill()

    def stop(self, grace: float) -> None:
        """Begin nothing more, let running jobs finish for some seconds, and end the workers."""
        with self._lock:
            self._closing = True
            self._all_idle.wait_for(lambda: not self._running, grace)
            for id in self._running:
                self.store.end(id, "interrupted", INTERRUPTED, self.settings.keep, before=("running",))
        for slot in (*self._slots, self._looker):
            slot.stop()

    def _ended(self, id: str, slot: Slot, future: Future[Any]) -> None:
        try:
            self._note(id, CancelledError() if future.cancelled() else future.exception())
        finally:  # the worker is free even if the disk is full and nobody can note how its job ended
            with self._lock:
                if self._running.get(id) is future:  # else it was put back, and another worker has it already
                    del self._running[id]
                self._idle.append(slot)
                self._all_idle.notify_all()
        self.fill()

    def _note(self, id: str, error: BaseException | None) -> None:
        """Note how a job ended; where the store cannot be written to, `keep_alive` tries again."""
        broken = isinstance(error, BrokenProcessPool)  # it died before it began
        try:
            if broken and id not in self._tried and self.store.again(id):
                self._tried.add(id)
            else:
                if error is not None and not isinstance(error, CancelledError | work.Stopped):
                    self.store.end(id, "failed", self._reason(error, id), self.settings.keep, before=("running",))
                self._tried.discard(id)
                self._tell(id)
        except sqlite3.Error:
            self._unnoted[id] = error
            raise
        self._unnoted.pop(id, None)

    def _tell(self, id: str) -> None:
        try:
            job = self.store.get(id)
        except KeyError:  # removed while it ran: what the worker wrote meanwhile goes too
            self.store.remove(id)
            return
        if job.state != "cancelled":  # which `cancel` has told already
            self.ended(job)

    def _reason(self, error: BaseException, id: str) -> str:
        """Say in one line why a job failed."""
        if isinstance(error, InputError):
            return str(error).replace(f"{self.store.folder(id) / 'input'}", "the picture")
        if isinstance(error, TimeoutError):
            return f"it took longer than the {self.settings.seconds:g} seconds that a job may take here; {LESS}"
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return f"it needs more memory than a job may take here; {LESS}"
        if isinstance(error, ProcessExpired):
            how = f"by signal {-error.exitcode}" if error.exitcode < 0 else f"with code {error.exitcode}"
            return f"its worker process was ended {how}, most likely because memory ran out; {LESS}"
        if isinstance(error, BrokenProcessPool):
            return "no worker process could be started; the operator finds the reason in the server's log"
        if isinstance(error, OSError):  # what pebble raises is one too: it comes last
            return f"the server could not read or write its files ({error.strerror or error}); try again later"
        log.error("a job failed: %s", getattr(error, "traceback", error))
        return f"{type(error).__name__}: {' '.join(str(error).split())}; please report this with the picture"


LESS = "ask for a smaller scale or fewer steps, or send a smaller picture"


def _nothing() -> None:
    """Do nothing: pebble starts a process only when it has a task."""


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()
