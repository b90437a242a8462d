"""Tests of the log of a run: what is kept of it on resuming, TensorBoard beside it, full disks."""

import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mzsr.errors import InputError
from mzsr.learning.journal import Journal

GRADIENT = {"a": torch.tensor([3.0, 4.0]), "b/c": torch.tensor(-2.0)}
numbers = st.floats(allow_nan=False, allow_infinity=False)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def steps(folder: Path) -> list[int]:
    return [line["step"] for line in lines(folder)]


def write(folder: Path, count: int) -> None:
    journal = Journal(folder, 0)
    for step in range(1, count + 1):
        journal.record(step, {"loss": 1 / step}, {})
    journal.close()


@given(facts=st.dictionaries(st.text(max_size=5).filter(lambda name: name != "step"), numbers, max_size=4))
def test_a_line_tells_the_numbers_exactly(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, float]) -> None:
    """In whatever script their names are, one line for one record."""
    folder = tmp_path_factory.mktemp("run")
    journal = Journal(folder, 0)
    for step in (1, 2):
        journal.record(step, facts, GRADIENT)
    assert lines(folder) == [{"step": 1} | facts, {"step": 2} | facts]


@pytest.mark.parametrize("step", [0, 1, 3, 5, 9])
def test_what_is_done_again_is_forgotten(tmp_path: Path, step: int) -> None:
    write(tmp_path, 5)
    Journal(tmp_path, step)
    assert steps(tmp_path) == list(range(1, min(step, 5) + 1))
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize(
    "tail", ['{"step": 4, "lo', '{"step": 4}\n{"st', "\n", "4\n", "[4]\n", "{}\n", '{"step": "4"}\n', "\0\0\0", "null"]
)
def test_a_line_cut_short_is_forgotten(tmp_path: Path, tail: str) -> None:
    """And the next one stands on a line of its own, not behind the rest of the old one."""
    write(tmp_path, 3)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write(tail)
    Journal(tmp_path, 3).record(4, {"loss": 0.5}, {})
    assert steps(tmp_path) == [1, 2, 3, 4]
    assert lines(tmp_path)[-1] == {"step": 4, "loss": 0.5}


def test_every_length_of_a_log_cut_short_can_be_gone_on_with(tmp_path: Path) -> None:
    """Wherever a crash cuts the file, whole lines stay."""
    write(tmp_path, 3)
    path = tmp_path / "log.jsonl"
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        Journal(tmp_path, 3)
        kept = path.read_bytes()
        assert data.startswith(kept)
        # A line that lacks nothing but its line break is whole
        assert steps(tmp_path) == list(range(1, (data[:length] + b"\n").count(b"}\n") + 1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(InputError) as caught:
        journal.record(1, {"loss": 0.5}, {})
    reason = f"{tmp_path}/log.jsonl cannot be written (No space left on device); make room and go on with --resume"
    assert str(caught.value) == reason


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run/log.jsonl cannot be written \(No such file or directory\)"):
        Journal(tmp_path / "run", 0).record(1, {"loss": 0.5}, {})


def test_tensorboard_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without it does not need it."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r'TensorBoard is not installed; pip install "\.\[train\]", or leave it out'):
        Journal(tmp_path, 0, tensorboard=True)
    write(tmp_path, 1)
    assert steps(tmp_path) == [1]


class Board:
    """Stands for the SummaryWriter of TensorBoard: what was written, and what of it is on the disk."""

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step = Path(folder), purge_step
        self.queued: list[tuple[str, int, Any]] = []
        self.written: list[tuple[str, int, Any]] = []
        self.closed = self.full = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.queued.append((name, step, value))

    add_image = add_scalar

    def flush(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written, self.queued = self.written + self.queued, []

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Journal, Board]:
    """Return the journal of a run that goes on after its seventh iteration, and its board."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    journal = Journal(tmp_path, 7, tensorboard=True)
    stand_in: Any = journal.board
    return journal, stand_in


def test_tensorboard_is_told_what_the_log_is_told_and_more(tmp_path: Path, board: tuple[Journal, Board]) -> None:
    """At once, since a run may be killed; from the iteration on that a resumed run does again."""
    journal, told = board
    assert (told.folder, told.purge_step) == (tmp_path / "tensorboard", 8)
    journal.record(8, {"loss": 0.25}, GRADIENT)
    assert told.written == [("loss", 8, 0.25), ("gradient norm/a", 8, 5.0), ("gradient norm/b/c", 8, 2.0)]
    assert lines(tmp_path) == [{"step": 8, "loss": 0.25}]
    journal.close()
    assert told.closed


def test_pictures_stand_in_a_row(board: tuple[Journal, Board]) -> None:
    """At most four, side by side, with values that can be shown."""
    journal, told = board
    images = torch.linspace(-1, 2, 6 * 3 * 2 * 5).reshape(6, 3, 2, 5)
    journal.show(9, {"result": images, "one": images[:1]})
    (name, step, row), (_, _, one) = told.written
    assert (name, step) == ("result", 9)
    expected = images.clamp(0, 1)
    for i in range(4):
        assert torch.equal(row[:, :, 5 * i : 5 * (i + 1)], expected[i])
    assert row.shape == (3, 2, 20)
    assert torch.equal(one, expected[0])


def test_a_full_disk_of_tensorboard_is_one_line(tmp_path: Path, board: tuple[Journal, Board]) -> None:
    journal, told = board
    told.full = True
    for tell in (lambda: journal.record(8, {"loss": 0.5}, {}), lambda: journal.show(8, {})):
        with pytest.raises(InputError, match=r"tensorboard cannot be written \(No space left on device\); make room"):
            tell()


def test_events_can_be_read_by_tensorboard(tmp_path: Path) -> None:
    """Of two runs in one folder, the second of which goes on from the first iteration."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, value in ((0, 1.0), (1, 2.0)):
        journal = Journal(tmp_path, start, tensorboard=True)
        for step in range(start + 1, 4):
            journal.record(step, {"loss": value}, GRADIENT)
        journal.show(3, {"result": torch.rand(2, 3, 8, 8)})
        journal.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0, "scalars": 0})
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 2.0)]
    assert events.Scalars("gradient norm/a")[0].value == 5.0
    assert (events.Images("result")[-1].width, events.Images("result")[-1].height) == (16, 8)
