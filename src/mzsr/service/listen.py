"""A listening server: uvicorn, with time limits on the head of a request and on reading its answer, and a folder."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from mzsr.atomic import hold
from mzsr.errors import InputError

HEAD_SECONDS = 15.0  # in which the head of a request must have come in
READ_SECONDS = 60.0  # that a client may read nothing of an answer, or its line would be held for ever
CONNECTIONS = 512  # at a time; beyond, uvicorn answers 503


class PromptProtocol(H11Protocol):
    """HTTP/1.1 that waits only so long for a head to come, and for an answer to go; uvicorn itself waits for ever."""

    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on for the rest of a head, or no longer."""
        super().data_received(data)
        if self._busy():
            self._late = _cancelled(self._late)
        elif self._late is None:
            self._wait()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stuck = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Write on."""
        self._stuck = _cancelled(self._stuck)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._late, self._stuck = _cancelled(self._late), _cancelled(self._stuck)
        super().connection_lost(exc)

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if not self._busy():
            self.transport.close()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class Listener(uvicorn.Server):
    """A server that answers requests until SIGINT, SIGTERM or `stop`."""

    def __init__(self, app: FastAPI, ready: Callable[[], None] = lambda: None) -> None:
        """Prepare to serve an app made by `api.create`; `ready` is called when it can be asked."""
        self._app, self._ready = app, ready
        config = uvicorn.Config(
            app, http=PromptProtocol, ws="none", log_level="warning", access_log=False, server_header=False,
            limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=5, lifespan="on",
        )  # fmt: skip
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop when a signal comes; uvicorn takes one that comes while it stops for an order to break off."""
        super().handle_exit(sig, frame)
        self.stop()

    def stop(self) -> None:
        """Begin to stop."""
        self._app.state.server.closing = True  # event streams would go on as long as somebody listens
        self.should_exit = True


def serve(app: FastAPI, door: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; `ready` is called when it can be asked."""
    with suppress(KeyboardInterrupt):
        Listener(app, ready).run([door])


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Keep a data folder to this server, and what it writes there to its user.

    Raises:
        InputError: it cannot be written to, or another server has it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise InputError(
            f"{data} is not writable ({error.strerror}); the data folder must be — choose another with --data"
        ) from error
    with lock:
        try:
            if hold(lock) is False:
                raise InputError(f"{data} belongs to a server that runs; stop it, or choose another folder with --data")
        except OSError as error:
            raise InputError(
                f"{data} is on a file system without locks ({error.strerror}); choose another folder with --data"
            ) from error
        before = os.umask(0o077)  # of the workers, too; a database that others read would tell them all jobs
        try:
            yield
        finally:
            os.umask(before)
