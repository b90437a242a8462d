"""Worker processes that die, dawdle or take too much: the job says why, and the next one is done."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from servers import Asleep, png

from mzsr.service import pool, work
from mzsr.service.look import Refused
from mzsr.service.options import cards, check
from mzsr.service.pool import LESS, Pool
from mzsr.service.settings import Settings
from mzsr.service.store import Job, Store


class Workshop:
    """A store and a pool of one real worker, and pictures for it."""

    def __init__(self, data: Path, weights: Path, **options: object) -> None:
        settings = Settings(**{"data": data, "workers": 1, "seconds": 600.0, "memory": 8 * 10**9} | options)  # pyright: ignore
        self.store = Store(data)
        self.pool = Pool(settings, self.store, {"tiny": str(weights)})
        self.worker()  # has started

    def add(self, content: bytes, **options: object) -> str:
        """Queue a picture."""
        folder = self.store.incoming()
        (folder / "input").write_bytes(content)
        found = self.pool.look(folder, None)
        assert isinstance(found, dict)
        wanted = check({"model": "tiny", "steps": 0} | options, {"tiny": next(iter(cards(("mzsr",)).values()))[1]})
        job = self.store.add(folder, "a.png", found, asdict(wanted), 99)
        self.pool.fill()
        return job.id

    def worker(self) -> int:
        """Return the process of the worker, when it has time."""
        return self.pool._slots[0].schedule(os.getpid, (), 60.0).result()

    def wait(self, id: str, true: Callable[[Job], bool]) -> Job:
        """Wait until something is true of a job."""
        while not true(job := self.store.get(id)):
            time.sleep(0.01)
        return job

    def ended(self, id: str) -> Job:
        return self.wait(id, lambda job: job.finished is not None)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path_factory.mktemp("data"), tiny_weights)
    yield shop
    shop.pool.stop(0.0)


def large() -> bytes:
    """Return a picture that takes seconds."""
    out = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


SLOW = {"steps": 50, "x8": True, "kernel": "gauss:1.0", "noise": "0"}


def test_a_worker_that_is_killed_fails_its_job_and_the_next_is_done_by_another(workshop) -> None:
    first = workshop.worker()
    struck, waiting = workshop.add(large(), **SLOW), workshop.add(png())
    workshop.wait(struck, lambda job: job.stage is not None)
    os.kill(first, signal.SIGKILL)
    told, done = workshop.ended(struck), workshop.ended(waiting)
    assert (told.state, told.error) == (
        "failed",
        f"its worker process was ended by signal 9, most likely because memory ran out; {LESS}",
    )  # fmt: skip
    assert (done.state, done.error) == ("done", None)
    assert workshop.worker() != first
    assert not (workshop.store.folder(struck) / "out").exists()


def test_a_job_that_is_cancelled_while_it_runs_ends_and_keeps_its_worker(workshop, monkeypatch) -> None:
    monkeypatch.setattr(pool, "MERCY", 3600.0)
    worker = workshop.worker()
    stopped, waiting = workshop.add(large(), **SLOW), workshop.add(png())
    workshop.wait(stopped, lambda job: job.stage == "enhance")
    assert workshop.pool.cancel(stopped)
    assert workshop.store.get(stopped).state == "cancelled"
    assert workshop.ended(waiting).state == "done"
    assert workshop.store.get(stopped).state == "cancelled"
    assert [path.name for path in workshop.store.folder(stopped).iterdir()] == ["input"]
    assert workshop.worker() == worker, "it noticed by itself, and its models stay loaded"


@pytest.mark.slow
def test_a_cancelled_job_that_does_not_notice_loses_its_worker(workshop, monkeypatch) -> None:
    monkeypatch.setattr(pool, "MERCY", 0.0)
    worker = workshop.worker()
    stopped, waiting = workshop.add(large(), **SLOW), workshop.add(png())
    workshop.wait(stopped, lambda job: job.stage == "adapt")  # which tells nothing of its fifty steps
    assert workshop.pool.cancel(stopped)
    assert workshop.ended(waiting).state == "done"
    assert workshop.store.get(stopped).state == "cancelled"
    assert workshop.worker() != worker


@pytest.mark.slow
def test_a_worker_that_dies_while_idle_is_replaced_before_anybody_asks(workshop) -> None:
    first = workshop.worker()
    os.kill(first, signal.SIGKILL)
    while not workshop.pool._slots[0]._pool._context.status.name == "ERROR":
        time.sleep(0.01)
    workshop.pool.keep_alive()
    assert workshop.worker() != first
    assert workshop.ended(workshop.add(png())).state == "done"


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_ended(tmp_path, tiny_weights) -> None:
    shop = Workshop(tmp_path, tiny_weights, seconds=1.0)
    slow, waiting = shop.add(large(), **SLOW), shop.add(png())
    told = shop.ended(slow)
    assert (told.state, told.error) == (
        "failed",
        f"it took longer than the 1 seconds that a job may take here; {LESS}",
    )  # fmt: skip
    assert shop.ended(waiting).state == "done"
    shop.pool.stop(0.0)


@pytest.mark.slow
def test_a_job_that_takes_too_much_memory_is_ended_and_its_worker_lives(tmp_path, tiny_weights) -> None:
    shop = Workshop(tmp_path, tiny_weights, memory=900 * 10**6)
    worker = shop.worker()
    out = BytesIO()
    Image.new("RGB", (4800, 4800)).save(out, "PNG")
    greedy, waiting = shop.add(out.getvalue(), **SLOW), shop.add(png())
    told = shop.ended(greedy)
    assert (told.state, told.error) == (
        "failed",
        f"it needs more memory than a job may take here; {LESS}",
    )  # fmt: skip
    assert shop.ended(waiting).state == "done"
    assert shop.worker() == worker
    shop.pool.stop(0.0)


@pytest.mark.slow
def test_what_still_runs_when_the_server_stops_is_interrupted(tmp_path, tiny_weights) -> None:
    shop = Workshop(tmp_path, tiny_weights)
    running, waiting = shop.add(large(), **SLOW), shop.add(png())
    shop.wait(running, lambda job: job.stage is not None)
    shop.pool.stop(0.0)
    assert shop.store.get(running).state == "interrupted"
    assert shop.store.get(waiting).state == "queued", "it is done when the server comes back"


def full(*_: object, **__: object) -> bool:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_worker_is_free_though_nobody_can_note_how_its_job_ended_and_it_is_noted_later(tmp_path, monkeypatch) -> None:
    store = Store(tmp_path)
    crew = Pool(Settings(data=tmp_path), store, {"tiny": "tiny"}, Asleep)
    job = store.add(store.incoming(), "a.png", {}, {"model": "tiny"}, 9)
    crew.fill()
    with monkeypatch.context() as disk:
        disk.setattr(store, "end", full)
        crew._running[job.id].set_exception(MemoryError())
        with pytest.raises(sqlite3.OperationalError):
            crew.keep_alive()
    assert (crew._running, crew._idle) == ({}, list(crew._slots))
    assert store.get(job.id).state == "running"
    crew.keep_alive()
    assert store.get(job.id).state == "failed"
    assert not crew._unnoted
    crew.stop(0.0)


@pytest.mark.parametrize("removed", [False, True])
def test_a_job_that_is_cancelled_while_it_runs_is_counted_once(tmp_path, removed: bool) -> None:
    told: list[str] = []
    store = Store(tmp_path)
    crew = Pool(Settings(data=tmp_path), store, {"tiny": "tiny"}, Asleep, lambda job: told.append(job.state))
    job = store.add(store.incoming(), "a.png", {}, {"model": "tiny"}, 9)
    crew.fill()
    future = crew._running[job.id]
    assert crew.cancel(job.id)
    if removed:
        store.remove(job.id)
    future.set_exception(work.Stopped())
    assert crew._idle == list(crew._slots)
    assert told == ["cancelled"]
    crew.stop(0.0)


class Dead(Asleep):
    """A worker that died the moment before it got its job."""

    def schedule(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> Future[Any]:
        raise RuntimeError


class DeadLater(Asleep):
    """A worker that died the moment after it got its job."""

    def schedule(self, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> Future[Any]:
        future = Future()
        future.set_exception(BrokenProcessPool())
        return future


@pytest.mark.parametrize("slot", [Dead, DeadLater])
def test_that_nobody_can_look_at_a_picture_is_no_fault_of_the_picture(tmp_path, slot: type[Asleep]) -> None:
    crew = Pool(Settings(data=tmp_path), Store(tmp_path), {"tiny": "tiny"}, slot)
    found = crew.look(tmp_path, None)
    assert isinstance(found, Refused)
    assert (found.status, found.reason[:36]) == (503, "no process could be started to look ")
    crew.stop(0.0)


def test_a_worker_that_died_is_not_lost_though_nobody_can_put_its_job_back(tmp_path, monkeypatch) -> None:
    store = Store(tmp_path)
    crew = Pool(Settings(data=tmp_path), store, {"tiny": "tiny"}, Dead)
    job = store.add(store.incoming(), "a.png", {}, {"model": "tiny"}, 9)
    with monkeypatch.context() as disk:
        disk.setattr(store, "again", full)
        with pytest.raises(sqlite3.OperationalError):
            crew.fill()
    assert crew._idle == list(crew._slots)
    monkeypatch.setattr(Dead, "schedule", Asleep.schedule)
    crew.keep_alive()
    assert list(crew._running) == [job.id], "it was put back, and begun anew"
    crew.stop(0.0)
