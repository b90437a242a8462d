"""Jobs in one SQLite file, pictures in a folder for each.

    DATA/jobs.sqlite      every job, with its progress; in WAL, read over a line of its own, so that reading never waits
    DATA/incoming/…       uploads that nobody has accepted yet; swept when a server starts
    DATA/jobs/ID/input    the picture as it came; beside it thumbnail.jpg, kernel.mat or kernel.npy
    DATA/jobs/ID/out/     what came of it, renamed into place when it is whole

Server and workers open the same file. Who changes a job says what it must have been before: so a worker that comes too
late for a cancelled job changes nothing.
"""

import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mzsr.errors import InputError

VERSION = 1
FINAL = ("done", "failed", "cancelled", "interrupted")
INTERRUPTED = "the server was stopped while it worked on this; send it again"
_JSON = ("input", "options", "record", "words")
_SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, name TEXT NOT NULL, input TEXT NOT NULL, options TEXT NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL, expires REAL,
    stage TEXT, share REAL NOT NULL DEFAULT 0, error TEXT, record TEXT, words TEXT NOT NULL DEFAULT '[]', result TEXT
);
CREATE INDEX by_state ON jobs (state);
"""


@dataclass(frozen=True)
class Job:
    """One job as the database knows it; times in seconds since 1970."""

    id: str
    state: str
    name: str
    input: dict[str, Any]
    options: dict[str, Any]
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    stage: str | None
    share: float
    error: str | None
    record: dict[str, Any] | None
    words: list[str]
    result: str | None
    """Name under which the result is given out; None until there is one."""


class QueueFull(Exception):
    """As many jobs wait as may wait."""


class Store:
    """The jobs of one data folder. One object serves all threads of a process."""

    def __init__(self, data: Path) -> None:
        """Open the database, and make it where there is none.

        Raises:
            InputError: the folder cannot be written to, the file is none of ours, or of a newer version.
        """
        self.data = data
        self._lock, self._reading = threading.Lock(), threading.Lock()
        try:
            for part in ("jobs", "incoming"):
                (data / part).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._base, self._reader = (
                sqlite3.connect(data / "jobs.sqlite", timeout=30, isolation_level=None, check_same_thread=False)
                for _ in range(2)
            )
            self._base.row_factory = self._reader.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")  # what a power cut may cost is said at `done`
            self._prepare()
        except OSError as error:
            raise InputError(
                f"{data} is not writable ({error.strerror}); the data folder must be — choose another with --data"
            ) from error
        except sqlite3.Error as error:
            raise InputError(
                f"{data / 'jobs.sqlite'} cannot be used ({error}); it must be a database of mzsr in a writable folder "
                "— choose another with --data"
            ) from error

    def _prepare(self) -> None:
        # Two processes may come first at the same time
        with self._base:
            self._base.execute("BEGIN IMMEDIATE")
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise InputError(
                    f"{self.data} has format {version}, this version reads up to {VERSION}; update mzsr, or choose "
                    "another folder with --data"
                )
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._base.execute(statement)
                self._base.execute(f"PRAGMA user_version = {VERSION}")

    def folder(self, id: str) -> Path:
        """Return the folder of a job."""
        return self.data / "jobs" / id

    def incoming(self) -> Path:
        """Make a folder for an upload; its name is the id that the job will have: 192 random bits."""
        folder = self.data / "incoming" / secrets.token_urlsafe(24)
        folder.mkdir(mode=0o700)
        return folder

    def add(self, folder: Path, name: str, input: dict[str, Any], options: dict[str, Any], limit: int) -> Job:
        """Queue what lies in a folder made by `incoming`.

        Raises:
            QueueFull: `limit` jobs are waiting.
            sqlite3.Error: the database cannot be written to.
        """
        id, now = folder.name, time.time()
        os.rename(folder, self.folder(id))
        try:
            added = self._change(
                "INSERT INTO jobs (id, state, name, input, options, created) "
                "SELECT ?, 'queued', ?, ?, ?, ? WHERE (SELECT count(*) FROM jobs WHERE state = 'queued') < ?",
                id, name, json.dumps(input), json.dumps(options), now, limit,
            )  # fmt: skip
            if not added:
                raise QueueFull
        except (QueueFull, sqlite3.Error):
            shutil.rmtree(self.folder(id), ignore_errors=True)
            raise
        return self.get(id)

    def get(self, id: str) -> Job:
        """Return a job.

        Raises:
            KeyError: there is none, or none any more.
        """
        row = self._read("SELECT * FROM jobs WHERE id = ?", id)
        if row is None:
            raise KeyError(id)
        return _job(row)

    def position(self, id: str) -> int | None:
        """Return how many jobs will be begun before a waiting one; None if it does not wait."""
        row = self._read(
            "SELECT (SELECT count(*) FROM jobs AS other WHERE other.state = 'queued' AND other.rowid < mine.rowid) "
            "FROM jobs AS mine WHERE id = ? AND state = 'queued'",
            id,
        )
        return None if row is None else row[0]

    def claim(self) -> Job | None:
        """Take the job that has waited longest, and call it running."""
        with self._lock:
            row = self._base.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY rowid LIMIT 1").fetchone()
            if row is None:
                return None
            job = replace(_job(row), state="running", started=time.time())
            self._base.execute("UPDATE jobs SET state = ?, started = ? WHERE id = ?", (job.state, job.started, job.id))
        return job

    def tell(self, id: str, stage: str, share: float) -> bool:
        """Note how far a job has come; False if it is not to go on."""
        return self._change("UPDATE jobs SET stage = ?, share = ? WHERE id = ? AND state = 'running'", stage, share, id)

    def done(self, id: str, result: str, record: dict[str, Any], words: list[str], keep: float) -> bool:
        """Call a job done; False if it was cancelled meanwhile."""
        now = time.time()
        with self._lock:
            self._base.execute("PRAGMA synchronous = FULL")  # what is done stays done, even if the power fails now
        try:
            return self._change(
                "UPDATE jobs SET state = 'done', finished = ?, expires = ?, stage = NULL, share = 1, result = ?, "
                "record = ?, words = ? WHERE id = ? AND state = 'running'",
                now, now + keep, result, json.dumps(record), json.dumps(words), id,
            )  # fmt: skip
        finally:
            with self._lock:
                self._base.execute("PRAGMA synchronous = NORMAL")

    def end(self, id: str, state: str, error: str | None, keep: float, *, before: tuple[str, ...]) -> bool:
        """Call a job failed, cancelled or interrupted, if it was in one of the states `before`."""
        now, marks = time.time(), ", ".join("?" * len(before))
        return self._change(
            f"UPDATE jobs SET state = ?, error = ?, finished = ?, expires = ? WHERE id = ? AND state IN ({marks})",
            state, error, now, now + keep, id, *before,
        )  # fmt: skip

    def again(self, id: str) -> bool:
        """Put a running job back to its place in the queue."""
        return self._change(
            "UPDATE jobs SET state = 'queued', started = NULL, share = 0 WHERE id = ? AND state = 'running'", id
        )

    def remove(self, id: str) -> bool:
        """Remove the pictures of a job, and forget it.

        In this order, since a full disk lets nobody forget: one whose pictures alone are gone is still known, and
        expires.
        """
        shutil.rmtree(self.folder(id), ignore_errors=True)
        return self._change("DELETE FROM jobs WHERE id = ?", id)

    def recover(self, keep: float) -> list[str]:
        """Put the folder in order after whatever ended the last server: called once, before any work.

        Running jobs become interrupted, waiting ones wait on, and what belongs to no job goes.

        Returns:
            The interrupted ones.
        """
        with self._lock:
            running = [id for (id,) in self._base.execute("SELECT id FROM jobs WHERE state = 'running'")]
            known = {id for (id,) in self._base.execute("SELECT id FROM jobs")}
        for id in running:
            self.end(id, "interrupted", INTERRUPTED, keep, before=("running",))
            shutil.rmtree(self.folder(id) / "part", ignore_errors=True)
        for left in (self.data / "incoming").iterdir():
            shutil.rmtree(left, ignore_errors=True)
        for folder in (self.data / "jobs").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        return running

    def expire(self) -> int:
        """Remove what has been kept long enough; return how many."""
        with self._lock:
            old = [id for (id,) in self._base.execute("SELECT id FROM jobs WHERE expires < ?", (time.time(),))]
        return sum(self.remove(id) for id in old)

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._reading:
            return dict(self._reader.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def usual_seconds(self) -> float | None:
        """Return the mean duration of the last twenty jobs that were done; None before the first."""
        mean = self._read(
            "SELECT avg(took) FROM (SELECT finished - started AS took FROM jobs WHERE state = 'done' "
            "ORDER BY finished DESC LIMIT 20)"
        )
        return None if mean is None else mean[0]

    def close(self) -> None:
        """Close the database."""
        self._base.close()
        self._reader.close()

    def _read(self, statement: str, *values: object) -> sqlite3.Row | None:
        with self._reading:
            return self._reader.execute(statement, values).fetchone()

    def _change(self, statement: str, *values: object) -> bool:
        with self._lock:
            return self._base.execute(statement, values).rowcount > 0


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    return Job(**values | {key: json.loads(values[key]) for key in _JSON if values[key] is not None})
