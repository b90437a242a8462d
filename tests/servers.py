"""Servers for tests: the whole app, its workers as threads of this process instead of processes of their own,
and a real port on the loopback."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from mzsr.service.api import create
from mzsr.service.listen import Listener
from mzsr.service.pool import Pool, Slot
from mzsr.service.settings import Settings

FINAL = ("done", "failed", "cancelled", "interrupted")


class Thread(Slot):
    """A worker that is a thread: the same work without a process, its limits and its seconds of starting."""

    def __init__(self, begin: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._threads = ThreadPoolExecutor(1)

    def schedule(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> Future[Any]:
        return self._threads.submit(function, *args)

    def keep_alive(self) -> None:
        pass

    def stop(self) -> None:
        self._threads.shutdown()


class Asleep(Thread):
    """A worker that never comes to its first job; what looks at uploads is awake."""

    def schedule(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> Future[Any]:
        return super().schedule(function, args, timeout) if function.__name__ != "run" else Future()


@contextmanager
def running(data: Path, weights: Path | str, slot: type[Slot] = Thread, **options: Any) -> Iterator[httpx.Client]:
    """Run a server in this process, and give a client of it."""
    settings = Settings(**{"data": data, "models": (str(weights),), "grace": 0.0} | options)
    app = create(settings, partial(Pool, slot=slot))
    with socket.create_server(("127.0.0.1", 0)) as door:
        listener = Listener(app)
        thread = threading.Thread(target=listener.run, args=([door],))
        thread.start()
        try:
            while thread.is_alive() and not listener.started:
                time.sleep(0.01)
            with httpx.Client(base_url=f"http://127.0.0.1:{door.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            listener.stop()
            thread.join()


def png(width: int = 24, height: int = 16, seed: int = 0) -> bytes:
    """Return the bytes of a small PNG."""
    out = BytesIO()
    colours = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(colours).resize((width, height)).save(out, "PNG")
    return out.getvalue()


def post(client: httpx.Client, content: bytes | None = None, name: str = "photo.png", **fields: Any) -> httpx.Response:
    """Ask for a job."""
    files = {"file": (name, png() if content is None else content, "application/octet-stream")}
    return client.post("/api/jobs", files=files, data={"steps": "0"} | fields)


def events(client: httpx.Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all that the stream of a job tells, the last being final."""
    with client.stream("GET", job["links"]["events"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    assert [line for line in lines if line and not line.startswith(("event: job", "data: ", ":"))] == []
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def finished(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job has ended, and return it."""
    last = events(client, job)[-1]
    assert last["state"] in FINAL
    return last
