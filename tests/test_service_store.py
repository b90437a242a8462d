"""Jobs outlive servers and workers: what the store keeps, in which order, and who may still change what."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from mzsr.errors import InputError
from mzsr.service.store import Job, QueueFull, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def added(store: Store, name: str = "a.png", limit: int = 99) -> Job:
    folder = store.incoming()
    (folder / "input").write_text(name)
    return store.add(folder, name, {"width": 8}, {"scale": 2}, limit)


def claimed(store: Store) -> str:
    job = store.claim()
    assert job is not None
    return job.id


def test_jobs_are_begun_in_the_order_in_which_they_came(store) -> None:
    jobs = [added(store, name) for name in "abc"]
    assert [store.position(job.id) for job in jobs] == [0, 1, 2]
    assert claimed(store) == jobs[0].id
    assert store.get(jobs[0].id).state == "running"
    assert [store.position(job.id) for job in jobs] == [None, 0, 1]
    store.remove(jobs[1].id)
    assert claimed(store) == jobs[2].id
    assert store.claim() is None


def test_ids_cannot_be_guessed_and_are_safe_in_a_path(store) -> None:
    ids = {added(store).id for _ in range(20)}
    assert len(ids) == 20
    assert all(
        len(id) == 32 and set(id) <= set(map(chr, b"-_0123456789")) | set(map(chr, range(65, 123))) for id in ids
    )


def test_a_worker_that_comes_too_late_changes_nothing(store) -> None:
    job = added(store)
    store.claim()
    assert store.tell(job.id, "adapt", 0.5)
    assert store.end(job.id, "cancelled", None, 60.0, before=("queued", "running"))
    cancelled = store.get(job.id)
    assert not store.tell(job.id, "enhance", 0.9)
    assert not store.done(job.id, "a_x2.png", {}, [], 60.0)
    assert not store.end(job.id, "failed", "late", 60.0, before=("running",))
    assert store.get(job.id) == cancelled


def test_what_a_job_came_to_is_kept_as_it_was(store) -> None:
    job = added(store)
    store.claim()
    record = {"losses": [0.1, None], "degradation": {"noise": 0.0}}
    assert store.done(job.id, "a_x2.png", record, ["Blur: none."], keep=60.0)
    again = Store(store.data).get(job.id)
    assert (again.state, again.result, again.record, again.words) == ("done", "a_x2.png", record, ["Blur: none."])
    assert (again.input, again.options, again.share, again.error) == ({"width": 8}, {"scale": 2}, 1.0, None)
    assert again.started is not None
    assert again.finished is not None
    assert again.created <= again.started <= again.finished
    assert again.expires == again.finished + 60


def test_a_full_queue_takes_nothing_and_leaves_nothing(store) -> None:
    kept = added(store, limit=1)
    with pytest.raises(QueueFull):
        added(store, limit=1)
    assert [folder.name for folder in (store.data / "jobs").iterdir()] == [kept.id]
    store.claim()  # a running one does not wait
    added(store, limit=1)


def test_a_server_that_comes_back_finds_everything_in_order(store) -> None:
    done, running, waiting = (added(store, name) for name in "abc")
    store.claim()
    (store.folder(done.id) / "out").mkdir()
    store.done(done.id, "a_x2.png", {}, [], 60.0)
    store.claim()
    (store.folder(running.id) / "part").mkdir()
    half_received, stray = store.incoming(), store.data / "jobs" / "nobody"
    stray.mkdir()
    again = Store(store.data)  # nobody has closed the first, as after kill -9
    assert again.recover(keep=60.0) == [running.id]
    assert (again.get(done.id).state, (again.folder(done.id) / "out").is_dir()) == ("done", True)
    interrupted = again.get(running.id)
    assert (interrupted.state, interrupted.error) == (
        "interrupted",
        "the server was stopped while it worked on this; send it again",
    )
    assert not (again.folder(running.id) / "part").exists()
    assert (again.position(waiting.id), claimed(again)) == (0, waiting.id)
    assert not half_received.exists()
    assert not stray.exists()


def test_what_has_been_kept_long_enough_goes_with_its_pictures(store) -> None:
    old, fresh, waiting = (added(store, name) for name in "abc")
    for job, keep in ((old, -1.0), (fresh, 60.0)):
        store.claim()
        store.done(job.id, "x.png", {}, [], keep)
    assert store.expire() == 1
    assert not store.folder(old.id).exists()
    with pytest.raises(KeyError):
        store.get(old.id)
    assert store.counts() == {"done": 1, "queued": 1}
    assert store.folder(fresh.id).exists()
    assert store.folder(waiting.id).exists()


def test_a_full_disk_is_freed_before_anything_is_written(store, monkeypatch) -> None:
    def full(*_: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    old = added(store)
    store.claim()
    store.done(old.id, "x.png", {}, [], -1.0)
    with monkeypatch.context() as disk:
        disk.setattr(store, "_change", full)
        with pytest.raises(sqlite3.OperationalError):
            store.expire()
    assert not store.folder(old.id).exists()
    assert store.get(old.id).state == "done", "it must be found again"
    assert store.expire() == 1
    assert store.counts() == {}


def test_a_job_put_back_keeps_its_place(store) -> None:
    first, second = added(store), added(store)
    store.claim()
    assert store.again(first.id)
    assert [store.position(job.id) for job in (first, second)] == [0, 1]


def test_usual_seconds_are_those_of_the_last_twenty(store) -> None:
    assert store.usual_seconds() is None
    base = sqlite3.connect(store.data / "jobs.sqlite", isolation_level=None)
    for index in range(25):
        job = added(store)
        store.claim()
        store.done(job.id, "x.png", {}, [], 60.0)
        took = 1000.0 if index < 5 else float(index % 2) * 2 + 1
        base.execute("UPDATE jobs SET started = ?, finished = ? WHERE id = ?", (index, index + took, job.id))
    base.execute("UPDATE jobs SET finished = finished - 5000 WHERE finished - started = 1000")
    assert store.usual_seconds() == 2.0


def test_two_processes_see_what_the_other_does(store) -> None:
    other, job = Store(store.data), added(store)
    assert claimed(other) == job.id
    assert store.get(job.id).state == "running"
    assert store.claim() is None


def test_a_job_is_reckoned_in_seconds_since_1970(store) -> None:
    assert abs(added(store).created - time.time()) < 3600


def test_a_newer_database_is_refused(store) -> None:
    sqlite3.connect(store.data / "jobs.sqlite").execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="has format 99, this version reads up to 1; update mzsr"):
        Store(store.data)


def test_a_folder_that_is_none_or_a_base_that_is_none_is_said_in_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is not writable \(.*; the data folder must be — choose another"):
        Store(tmp_path / "file")
    (tmp_path / "jobs.sqlite").write_text("no database at all, but long enough to look like one" * 20)
    with pytest.raises(InputError, match=r"jobs.sqlite cannot be used \(file is not a database\)"):
        Store(tmp_path)


def test_a_base_that_cannot_be_written_to_keeps_no_picture(store, monkeypatch) -> None:
    def full(*_: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "_change", full)
    with pytest.raises(sqlite3.OperationalError):
        added(store)
    assert list((store.data / "jobs").iterdir()) == []
    assert list((store.data / "incoming").iterdir()) == []


def test_only_the_end_of_a_job_waits_for_the_disk(store) -> None:
    job, said = added(store), list[str]()
    store._base.set_trace_callback(said.append)
    store.claim()
    assert not any("synchronous" in statement for statement in said)
    assert store.done(job.id, "x.png", {}, [], 9.0)
    pragmas = [statement for statement in said if "synchronous" in statement or "state = 'done'" in statement]
    assert [statement.split(" = ")[-1] for statement in (pragmas[0], pragmas[-1])] == ["FULL", "NORMAL"]
    assert len(pragmas) == 3, "the change lies between the two"
    assert store._base.execute("PRAGMA synchronous").fetchone()[0] == 1  # NORMAL


def test_reading_never_waits_for_who_writes(store) -> None:
    job = added(store)
    store.claim()
    with closing(sqlite3.connect(store.data / "jobs.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=store.tell, args=(job.id, "adapt", 0.5))
        writer.start()
        assert (store.get(job.id).stage, store.counts(), store.position(job.id)) == (None, {"running": 1}, None)
        assert writer.is_alive(), "it was waited for"
        other.execute("ROLLBACK")
        writer.join()
    assert store.get(job.id).stage == "adapt"
