"""A work list with done-records: whatever stops a run, the same command goes on where it was.

In OUT/.mzsr/ lies a small JSON file for every output: the hashes of the input's bytes, of the settings and of the
output's own bytes. A picture is finished in three steps, each whole or not at all:

    1  the output is written to OUT/.mzsr/parts/    2  its record is written    3  the output is renamed into its place

Killed before 3, a record names an output that is not there, and the picture is done again; after 3 it is done. A file
whose bytes no record names is not ours, and stays. A picture that is at work has a mark in OUT/.mzsr/begun/: one that
ends the process, for want of memory perhaps, still has it when the next run begins, and comes last there. A mark is
locked as long as its process lives: what another run is at work on comes last, too, and is done by then, mostly. Knows
nothing of pictures or models; `jobs` says what goes where.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mzsr.atomic import hold, replace, write_atomically
from mzsr.errors import InputError

Job = tuple[Path, Path]  # a picture, and where its result goes
HIDDEN = ".mzsr"  # in the folder of the outputs; folders with a dot are passed over where pictures are looked for


@dataclass(frozen=True)
class Record:
    """What is known of an output.

    Attributes:
        source: sha256 of the bytes it was made of.
        settings: sha256 of all that its bytes depend on beside them.
        output: sha256 of its bytes.
        before: sha256 of what of ours it replaced, for a run that was killed between steps 2 and 3.
        told: what was said about it, the record of `--json`.
        place: the absolute path of the input; None in records of earlier versions.
    """

    source: str
    settings: str
    output: str
    before: str | None = None
    told: dict[str, Any] = field(default_factory=dict)
    place: str | None = None


@dataclass(frozen=True)
class Task:
    """One picture of the list, looked at.

    Attributes:
        source: the picture.
        target: where its result goes.
        content: sha256 of the picture, as it was before any work.
        present: sha256 of what lies at the target, None for nothing.
        told: what was said about the result, if it is done; else None.
    """

    source: Path
    target: Path
    content: str | None
    present: str | None
    told: dict[str, Any] | None


@dataclass(frozen=True)
class Records:
    """The done-records of one folder of outputs under one set of settings.

    Attributes:
        folder: OUT.
        settings: their `fingerprint`.
        overwrite: whether files that no record names may be replaced.
    """

    folder: Path
    settings: str
    overwrite: bool = False

    def task(self, source: Path, target: Path) -> Task:
        """Look whether a picture is done: the same bytes, the same settings, and the very output that they gave.

        Raises:
            InputError: the output is there, and is not what mzsr wrote, or is what it wrote of another picture.
        """
        content, present, record = sha256_of(source), sha256_of(target), read_record(self.folder, target)
        if present is not None and not self.overwrite:
            if record is None or present not in (record.output, record.before):
                raise InputError(
                    f"{target} exists, and is not what mzsr wrote there; add --overwrite to replace it, or move it away"
                )
            if record.place not in (None, os.path.abspath(source)) and record.source != content:
                raise InputError(
                    f"{target} is the result of {record.place}; add --overwrite to replace it, or choose another folder"
                )
        done = record if record is not None and self._is_of(record, content, present) else None
        return Task(source, target, content, present, done and done.told)

    def finish(self, task: Task, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Put a result in its place, with its record.

        Args:
            task: as it was before the work.
            write: is given a path with the suffix of the target, writes there and returns what is to be told.

        Returns:
            What is to be told; where another run has put the same result there meanwhile, what that told.

        Raises:
            InputError: a folder cannot be made or written to, or somebody else has written to the target meanwhile.
        """
        parts, place = self.folder / HIDDEN / "parts", _place(self.folder, task.target)
        part = parts / (secrets.token_hex(8) + task.target.suffix)
        try:
            for folder in (parts, place.parent, task.target.parent):
                folder.mkdir(parents=True, exist_ok=True)
            told = write(part)
            if not self.overwrite and (present := sha256_of(task.target)) != task.present:
                record = read_record(self.folder, task.target)
                if record is not None and self._is_of(record, task.content, present):
                    return record.told
                raise InputError(f"{task.target} was written by somebody else meanwhile; it stays as it is")
            before = None if self.overwrite else task.present  # what was not ours does not become so
            record = Record(
                str(task.content), self.settings, str(sha256_of(part)), before, told, os.path.abspath(task.source)
            )
            text = json.dumps(asdict(record))
            write_atomically(place, lambda path: path.write_text(text, "utf-8"))
            target = Path(os.path.realpath(task.target))  # a link stays one
            try:
                replace(part, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                write_atomically(target, lambda path: shutil.copyfile(part, path))  # a folder of it is on another disk
            return told
        except OSError as error:
            raise InputError(
                f"{task.target} cannot be written ({error.strerror or error}); its folder must have room and be "
                "writable — choose another place"
            ) from error
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def begun(self, target: Path) -> Iterator[None]:
        """Mark a picture as at work, until it is done or has failed; whatever ends the process leaves the mark."""
        mark = self._mark(target)
        with self._writable():
            mark.parent.mkdir(parents=True, exist_ok=True)
            file = mark.open("w")
        try:
            with file:
                with suppress(OSError):  # a disk without locks, where nobody sees that we live
                    hold(file)
                yield
        finally:
            self.forget(target)

    def forget(self, target: Path) -> None:
        """Take away the mark of a picture, where it has one: the work that an ended run began is done."""
        with self._writable():
            self._mark(target).unlink(missing_ok=True)

    def left_for_last(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Path]]:
        """Put last what a run was ended over, lest it stop the others again; return all, and those sources."""
        marks = set((self.folder / HIDDEN / "begun").glob("*"))
        last = {job for job in jobs if self._mark(job[1]) in marks} if marks else set[Job]()
        ordered = sorted(jobs, key=last.__contains__)
        return ordered, [job[0] for job in ordered if job in last]

    def in_turn(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yield all, last what another run that is alive is at work on when its turn comes."""
        later = list[Job]()
        for job in jobs:
            if self._is_held(job[1]):
                later.append(job)
            else:
                yield job
        yield from later

    def _is_held(self, target: Path) -> bool:
        """Tell whether a run that is alive is at work on a picture; False where that cannot be known."""
        with suppress(OSError), self._mark(target).open("r+") as mark:  # mostly there is none
            return hold(mark) is False
        return False

    def _is_of(self, record: Record, content: str | None, present: str | None) -> bool:
        """Tell whether a record is that of a picture, of these settings and of what lies at the target."""
        asked = (content, self.settings, present)
        return None not in asked and (record.source, record.settings, record.output) == asked

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """Say in one line that nothing can be written."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.folder} is not writable ({error.strerror}); write permission is required — choose another place"
            ) from error

    def _mark(self, target: Path) -> Path:
        name = hashlib.sha256(os.fsencode(target.relative_to(self.folder))).hexdigest()
        return self.folder / HIDDEN / "begun" / name[:16]

    @contextmanager
    def swept(self) -> Iterator[None]:
        """Clear away what killed runs have left half-written, unless another run is at work in the same folder.

        Raises:
            InputError: the folder cannot be made or written to.
        """
        hidden = self.folder / HIDDEN
        with self._writable():
            hidden.mkdir(parents=True, exist_ok=True)
            lock = (hidden / "lock").open("w")
        with lock:
            with suppress(OSError):  # a disk without locks, where leftovers stay, and do no harm
                if hold(lock):  # else others are at work
                    shutil.rmtree(hidden / "parts", ignore_errors=True)
                    for left in hidden.rglob(".*.part"):  # of a record
                        left.unlink(missing_ok=True)
            with suppress(OSError):
                hold(lock, shared=True)
            yield


def read_record(folder: Path, target: Path) -> Record | None:
    """Return the record of an output; None if there is none, or none of this form."""
    try:
        record = Record(**json.loads(_place(folder, target).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record if isinstance(record.told, dict) else None  # pyright: ignore[reportUnnecessaryIsInstance]


def fingerprint(settings: Mapping[str, object]) -> str:
    """Return the sha256 of settings, whatever their order.

    >>> fingerprint({"scale": 2, "steps": 1}) == fingerprint({"steps": 1, "scale": 2})
    True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def sha256_of(path: Path) -> str | None:
    """Return the sha256 of a file's bytes, None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def each(jobs: Iterable[Job], work: Callable[[Path, Path], None], fail: Callable[[Path, str], None]) -> list[Path]:
    """Do every job; one that fails is named, with the reason, and never stops the others.

    Returns:
        The sources that failed.
    """
    failed = []
    for source, target in jobs:
        try:
            work(source, target)
        except Exception as error:
            failed.append(source)
            fail(source, reason(source, error))
    return failed


def reason(source: Path, error: Exception) -> str:
    """Say in one line why a picture failed; what is no InputError is a fault of ours, or memory.

    >>> reason(Path("a.png"), InputError("it is broken"))
    'a.png: it is broken'
    """
    words = str(error)
    if not isinstance(error, InputError):
        words = f"{type(error).__name__}: {' '.join(words.split())}; please report this with the picture"
    return words if str(source) in words else f"{source}: {words}"


def _place(folder: Path, target: Path) -> Path:
    return folder / HIDDEN / "done" / f"{target.relative_to(folder)}.json"
