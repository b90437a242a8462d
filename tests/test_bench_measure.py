"""Measuring: resumable to the unit, the same numbers whatever the number of processes, nothing passed over."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from mzsr.benchmark import measure as module
from mzsr.benchmark.cells import Case, Cell, Source, make, read_set
from mzsr.benchmark.foreign import Results
from mzsr.benchmark.measure import RECORDS, key, measure, plan, run
from mzsr.benchmark.methods import Method, Output, parse
from mzsr.benchmark.rows import Row, read_csv, write_csv
from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.metrics import psnr, ssim
from mzsr.imaging.picture import Picture

CELLS = [Cell(2, "g2.0d"), Cell(2, "bicubic")]
METHODS = [parse("bicubic"), parse("data-step")]


@pytest.fixture
def sources(some: Path) -> list[Source]:
    return read_set(some)[0]


def measured(sources: list[Source], folder: Path, **more: object) -> module.Measured:
    folder.mkdir(exist_ok=True)
    settings = {"cells": CELLS, "methods": METHODS, "protocol": "mzsr"} | more
    return measure(sources, folder=folder, **settings)  # pyright: ignore


def numbers(rows: list[Row]) -> list[tuple[object, ...]]:
    """Return rows without their seconds, the one thing that no two runs share."""
    return [row._replace(seconds=0.0) for row in rows]


def test_a_row_is_what_its_protocol_says(sources: list[Source]) -> None:
    (row,) = run(module.Unit(sources[0], CELLS[0], METHODS[0], "rgb"))
    case = make(sources[0], CELLS[0])
    (output,) = METHODS[0](case, sources[0], CELLS[0])
    expected = [float(f(output.picture.clamp(0, 1), case.truth, protocol="rgb", scale=2)) for f in (psnr, ssim)]
    assert (row.psnr, row.ssim) == (round(expected[0], 4), round(expected[1], 5))
    assert (row.set, row.image, row.cell, row.label, row.protocol) == ("Some", "a.png", "x2 g2.0d", "bicubic", "rgb")
    assert row.sha256 == sources[0].sha256[:12]


def test_every_method_on_every_picture_in_every_cell(sources: list[Source], tmp_path: Path) -> None:
    found = measured(sources, tmp_path / "out")
    assert not found.problems
    assert {(row.image, row.cell, row.method) for row in found.rows} == {
        (name, cell, method) for name in ("a.png", "b.png") for cell in ("x2 g2.0d", "x2 bicubic")
        for method in ("bicubic", "data-step")
    }  # fmt: skip
    assert len(found.rows) == 8


def test_two_processes_measure_what_one_does(sources: list[Source], tmp_path: Path, tiny_weights: Path) -> None:
    methods = [parse("bicubic"), parse(str(tiny_weights), [0, 2]), parse("zssr", iterations=2)]
    one, two = (measured(sources, tmp_path / f"out{n}", cells=CELLS[:1], methods=methods, workers=n) for n in (1, 2))
    assert numbers(one.rows) == numbers(two.rows)


def test_a_run_goes_on_where_it_was(sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in its third unit and with a torn line behind it, it repeats no finished unit and loses none."""
    whole = measured(sources, tmp_path / "whole")
    done, true_run = [], module.run

    def stopping(unit: module.Unit) -> Iterator[Row]:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(key(unit))
        return true_run(unit)

    monkeypatch.setattr(module, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        measured(sources, tmp_path / "out")
    with (tmp_path / "out" / RECORDS).open("a") as file:
        file.write('{"key": "torn')
    again: list[str] = []
    monkeypatch.setattr(module, "run", lambda unit: (again.append(key(unit)), true_run(unit))[1])
    assert numbers(measured(sources, tmp_path / "out").rows) == numbers(whole.rows)
    assert len(again) == 5
    assert not set(again) & set(done)
    again.clear()
    measured(sources, tmp_path / "out")
    assert not again


def test_one_method_more_costs_only_itself(
    sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(sources, tmp_path / "out")
    true_run, again = module.run, []
    monkeypatch.setattr(module, "run", lambda unit: (again.append(unit.method.spec), true_run(unit))[1])
    measured(sources, tmp_path / "out", methods=[*METHODS, parse("back-projection")])
    assert again == ["back-projection"] * 4
    again.clear()
    measured(sources, tmp_path / "out", protocol="rgb")  # another protocol is another number
    assert len(again) == 8


def test_a_changed_picture_and_changed_results_are_measured_again(sources: list[Source], tmp_path: Path) -> None:
    unit = module.Unit(sources[0], CELLS[0], METHODS[0], "mzsr")
    assert key(unit) != key(unit._replace(source=Source("Some", sources[0].path, 0, "other")))
    (tmp_path / "theirs").mkdir()
    theirs = Results("theirs", tmp_path / "theirs", True)
    files.write(tmp_path / "theirs" / "a.png", Picture(make(sources[0], CELLS[0]).truth))
    before = key(unit._replace(method=theirs))
    files.write(tmp_path / "theirs" / "a.png", Picture(make(sources[0], CELLS[0]).truth * 0.5))
    assert key(unit._replace(method=theirs)) != before


def test_pictures_that_are_too_small_are_named_each(sources: list[Source], tmp_path: Path) -> None:
    for name in ("small.png", "tiny.png"):
        files.write(sources[0].path.parent / name, Picture(torch.rand(1, 3, 6, 6)))
    found = measured(read_set(sources[0].path.parent)[0], tmp_path / "out", cells=CELLS[:1])
    assert {row.image for row in found.rows} == {"a.png", "b.png"}
    assert [problem.partition(", x2")[0] for problem in found.problems] == [
        f"{method}, Some {name}" for method in ("bicubic", "data-step") for name in ("small.png", "tiny.png")
    ]


def test_cells_without_a_kernel_and_methods_that_refuse_are_named(sources: list[Source], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    kernel_files.save(tmp_path / "one" / "k1.npy", kernels.gaussian((1.0, 1.0)))
    cells = [Cell(2, str(tmp_path / "one")), Cell(4, "g2.0d")]
    units, problems = plan(sources, cells, [parse("bicubic"), parse("mzsr-x2-direct")], "mzsr")
    assert problems == [
        "Some, x2 one: 1 of 2 pictures have no kernel in the folder",
        "mzsr-x2-direct is left out at x2 one: it knows the paper's grid alone, and this is that of photographs",
        "mzsr-x2-direct is left out at x4 g2.0d: it was trained at x2 alone",
    ]
    assert [(u.source.path.name, str(u.cell), u.method.spec) for u in units] == [
        ("a.png", "x2 one", "bicubic"),
        ("a.png", "x4 g2.0d", "bicubic"),
        ("b.png", "x4 g2.0d", "bicubic"),
    ]


def test_progress_ends_at_the_end(sources: list[Source], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    measured(sources, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 8) for n in range(9)]


def test_rows_read_back_from_csv(tmp_path: Path) -> None:
    rows = [
        Row("Set5", "a, b.png", "ab12", 2, "g2.0d", "clean", "mzsr", 1, "mzsr", 36.5712, 0.95012, 51.2, 1.5),
        Row("Set5", "a, b.png", "ab12", 4, "disks", "noise 5/255", "zssr", None, "rgb", 30.0, 0.9, float("inf"), 2.0),
    ]
    write_csv(tmp_path / "r.csv", rows)
    assert read_csv(tmp_path / "r.csv") == rows
    assert [row.label for row in rows] == ["mzsr, 1 step", "zssr"]
    assert [row.cell for row in rows] == ["x2 g2.0d", "x4 disks, noise 5/255"]


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no CSV of mzsr bench"):
        read_csv(tmp_path / "r.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_csv(tmp_path / "none.csv")


def test_records_are_lines_of_json(sources: list[Source], tmp_path: Path) -> None:
    measured(sources, tmp_path / "out")
    lines = (tmp_path / "out" / RECORDS).read_text().splitlines()
    assert len(lines) == 8
    assert all(json.loads(line)["rows"] for line in lines)


def test_the_key_knows_all_that_a_row_depends_on(sources: list[Source], tmp_path: Path) -> None:
    """The place in the set seeds noise and random kernels, and picks a kernel from a folder; its file may change."""
    unit = module.Unit(sources[0], Cell(2, "disks"), METHODS[0], "mzsr")
    assert key(unit) != key(unit._replace(source=replace(sources[0], index=1)))
    noisy = unit._replace(cell=Cell(2, "g2.0d", 0.02))
    assert key(noisy) != key(noisy._replace(source=replace(sources[0], index=1)))
    (tmp_path / "ks").mkdir()
    kernel_files.save(tmp_path / "ks" / "k1.npy", kernels.gaussian((1.0, 1.0)))
    foldered = unit._replace(cell=Cell(2, str(tmp_path / "ks")))
    before = key(foldered)
    kernel_files.save(tmp_path / "ks" / "k1.npy", kernels.gaussian((2.0, 2.0)))
    assert key(foldered) != before


@dataclass(frozen=True)
class Faulty(Method):
    """A method that does one number of steps, and fails at the next as it is told."""

    fault: str = ""

    def identity(self, source: Source, cell: Cell) -> str:
        return self.fault

    def refuses(self, cell: Cell) -> str:
        return ""

    def __call__(self, case: Case, source: Source, cell: Cell) -> Iterator[Output]:
        yield Output(0, case.truth, 1.0)
        if self.fault == "killed":
            os._exit(1)
        raise {"refused": InputError("take 0 steps"), "memory": MemoryError("no more"), "file": OSError(5, "broken")}[
            self.fault
        ]


@pytest.mark.parametrize(
    ("fault", "told"),
    [("refused", "take 0 steps"), ("memory", "MemoryError: no more"), ("file", "OSError: [Errno 5] broken")],
)
def test_what_was_done_before_a_fault_is_kept_and_the_fault_named_with_its_picture(
    sources: list[Source], tmp_path: Path, fault: str, told: str
) -> None:
    found = measured(sources, tmp_path / "out", methods=[Faulty("faulty", fault=fault), *METHODS])
    assert len(found.rows) == 4 * 1 + 8
    assert sorted(found.problems) == sorted(
        f"faulty, Some {name}, {cell}: {told}" for name in ("a.png", "b.png") for cell in CELLS
    )
    again = (tmp_path / "out" / RECORDS).read_text().count("faulty")
    assert again == 0  # what failed is tried again


def test_a_killed_process_is_one_line_and_what_is_done_stays(sources: list[Source], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a process was killed, perhaps for want of memory"):
        measured(sources, tmp_path / "out", methods=[*METHODS, Faulty("faulty", fault="killed")], workers=2)
    assert len(measured(sources, tmp_path / "out").rows) == 8


def test_a_disk_that_cannot_be_written(sources: list[Source], tmp_path: Path) -> None:
    (tmp_path / "out" / RECORDS).mkdir(parents=True)
    with pytest.raises(InputError, match=r"records\.jsonl cannot be written"):
        measured(sources, tmp_path / "out")
