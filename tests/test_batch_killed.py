"""Tests of long lists whose runs are killed: nothing is lost, nothing half done is left, the others are done."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from albums import FAST, outputs, write
from commands import run
from PIL import Image
from processes import begun, command, deadly

from mzsr.apps.batch import HIDDEN, Records


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_picture_that_ends_the_process_stops_the_others_only_once(
    album: Path, tiny_weights: Path, worked_on: list[str]
) -> None:
    """As one does for which the system has no memory left: it comes last from then on, and is named."""
    words = ["upscale", "in", "-o", "out", "-r", "-n", str(tiny_weights), *FAST]
    for done in (["a_x2.png"], ["a_x2.png", "one/two/c_x2.webp"]):
        process = begun(deadly, "b.jpg", *words, errors=album / "said")
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        assert sorted(outputs(album / "out")) == done
    said = (album / "said").read_text()
    assert "in/one/b.jpg: another run was at work on this, and was ended or goes on; it comes last now" in said
    run(*words)
    assert worked_on == ["d.png", "b.jpg"]
    assert list((album / "out" / HIDDEN / "begun").iterdir()) == []
    worked_on.clear()
    assert "comes last" not in run(*words).stderr


def test_the_mark_of_a_picture_that_is_done_goes(album: Path, tiny_weights: Path) -> None:
    """As is left where a run is ended between the result and the removal of its mark, or with other settings."""
    command = ["upscale", "in", "-o", "out", "-r", "-n", str(tiny_weights), *FAST]
    run(*command)
    Records(Path("out"), "any")._mark(Path("out/a_x2.png")).touch()
    assert "a.png: another run was at work on this" in run(*command).stderr
    assert list((album / "out" / HIDDEN / "begun").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of this kind")
def test_what_another_run_is_at_work_on_comes_last(tmp_path: Path) -> None:
    """As long as that lives; that is asked when the turn of a picture comes."""
    jobs = [(tmp_path / name, tmp_path / "out" / name) for name in "abc"]
    records, other = Records(tmp_path / "out", ""), Records(tmp_path / "out", "")
    turns = records.in_turn(jobs)
    assert next(turns) == jobs[0]
    with other.begun(jobs[1][1]):
        assert list(turns) == [jobs[2], jobs[1]]
    records._mark(jobs[1][1]).touch()  # of one that was killed
    assert list(records.in_turn(jobs)) == jobs


class Killed(BaseException):
    """What kill -9 is to a process: nothing is caught, nothing is said."""


@pytest.mark.parametrize("at", [0, 1, 2])
def test_killed_between_any_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Renames are the steps: of the record, then of the output; an older output of ours is there, of other settings."""
    (tmp_path / "a").write_text("input")
    source, target = tmp_path / "a", tmp_path / "out/a_x2"
    older, records = (Records(tmp_path / "out", settings) for settings in ("older", "newer"))
    older.finish(older.task(source, target), write("old"))
    original, calls = os.replace, []

    def replace(this: Any, that: Any) -> None:
        if len(calls) == at:
            raise Killed
        calls.append(this)
        original(this, that)

    task = records.task(source, target)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        if at < 2:
            with pytest.raises(Killed):
                records.finish(task, write("new"))
        else:
            records.finish(task, write("new"))
    assert target.read_text() == ("new" if at == 2 else "old")
    task = records.task(source, target)  # it is ours: nothing is refused
    assert task.told == ({"said": "new"} if at == 2 else None)
    records.finish(task, write("new"))
    assert records.task(source, target).told == {"said": "new"}
    assert older.task(source, target).told is None


def test_leftovers_are_cleared_away_unless_others_are_at_work(tmp_path: Path) -> None:
    records = Records(tmp_path / "out", "")
    left = [tmp_path / "out" / HIDDEN / name for name in ("parts/x.png", "done/sub/.0123456789abcdef.part")]

    def leave() -> None:
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")

    leave()
    with records.swept():
        assert not any(path.exists() for path in left)
        leave()
        with records.swept():
            assert all(path.exists() for path in left)
    with records.swept():
        assert not any(path.exists() for path in left)


def test_killed_at_random_moments(album: Path, tiny_weights: Path) -> None:
    """The short form of runs/kill_batch.py: twelve pictures, three kills, and the bytes of a run left in peace."""
    folder = album / "many"
    folder.mkdir()
    for index in range(12):
        Image.open("in/a.png").rotate(30 * index).save(folder / f"{index}.png")
    (folder / "6.png").write_bytes(b"broken")
    words = ["upscale", "many", "-n", str(tiny_weights), *FAST, "-o"]
    assert run(*words, "peace").exit_code == 1
    shuffled = random.Random(0)
    for kill in range(3):
        process = begun(command, *words, "war")
        # Kill after so many results that it is in the middle of the work, and a little later
        while process.is_alive() and len(outputs(album / "war")) < 3 * (kill + 1):
            time.sleep(0.001)
        time.sleep(shuffled.uniform(0, 0.02))
        process.kill()
        process.join()
        done = outputs(album / "war")
        assert done.items() <= outputs(album / "peace").items()
    last = run(*words, "war", "--json")
    assert last.exit_code == 1
    assert outputs(album / "war") == outputs(album / "peace")
    assert sum("skipped" in json.loads(line) for line in last.stdout.splitlines()) >= 9
    assert not list((album / "war" / HIDDEN / "parts").glob("*"))
