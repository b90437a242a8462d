"""`mzsr bench` as people use it: files written, tables printed, bad input named, exit codes."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from commands import run
from typer.testing import Result

from mzsr.apps.requests import listed
from mzsr.benchmark.rows import read_csv
from mzsr.benchmark.timings import read_timings
from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.picture import Picture


def bench(*arguments: object) -> Result:
    return run("bench", *arguments)


def test_quality_from_pictures_to_page(some: Path, tiny_weights: Path, tmp_path: Path) -> None:
    """What the terminal shows is what the files hold, and a second run measures nothing and changes nothing."""
    out = tmp_path / "out"
    words = [
        "quality",
        "--data",
        some,
        "--kernels",
        "g2.0d,gauss:1.0,2.0,0.5",
        "--workers",
        1,
        "--out",
        out,
        "--steps",
        "0,1",
    ]
    result = bench(*words, "--methods", f"bicubic,{tiny_weights}")
    assert result.exit_code == 0, result.stderr
    rows = read_csv(out / "results.csv")
    assert len(rows) == 2 * 2 * (1 + 2)
    assert {row.cell for row in rows} == {"x2 g2.0d", "x2 gauss:1.0,2.0,0.5"}
    markdown = (out / "results.md").read_text()
    tables = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert tables == [line for line in markdown.splitlines() if line.startswith("|")]
    about = json.loads((out / "about.json").read_text())
    assert about["protocol"] == "mzsr"
    assert "2 pictures, sha256" in about["data"]["Some"]
    page = (out / "results.html").read_text()
    assert all(text in page for text in ("Some", "x2 g2.0d", "bicubic", about["data"]["Some"].split()[-1]))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert bench(*words, "--methods", f"bicubic,{tiny_weights}").exit_code == 0
    assert (out / "results.csv").read_bytes() == before["results.csv"]
    assert (out / "records.jsonl").read_bytes() == before["records.jsonl"]


def test_what_cannot_be_printed_is_written(some: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(text: str, err: bool = False) -> None:
        raise InputError("standard output cannot be written")

    monkeypatch.setattr("mzsr.apps.bench.echo", full)
    words = ("--data", some, "--kernels", "bicubic", "--methods", "bicubic", "--workers", 1)
    assert bench("quality", *words, "--out", tmp_path / "out").exit_code == 1
    assert {"results.csv", "results.md", "results.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("words", [("quality", "--data", "{some}"), ("speed",)], ids=lambda words: words[0])
def test_results_of_somebody_else_stay(some: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "results.md").write_text("my notes")
    result = bench(*(word.format(some=some) for word in words), "--out", tmp_path)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "holds results.md, which mzsr bench did not write; name another folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["results.md"]


def test_blind_runs_every_method_twice(some: Path, tmp_path: Path) -> None:
    result = bench(
        "blind", "--data", some, "--kernels", "gaussians,bicubic", "--methods", "data-step", "--workers", 1,
        "--conditions", "clean,noise,jpeg", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    rows = read_csv(tmp_path / "out" / "results.csv")
    assert {row.method for row in rows} == {"bicubic", "data-step", "data-step:blind"}
    assert {row.condition for row in rows} == {"clean", "noise 5/255", "JPEG 80"}
    assert "What estimating the degradation costs" in result.stdout
    assert "Against bicubic enlargement: no harm?" in result.stdout


def test_results_of_others_are_scored_by_the_same_rules(some: Path, tmp_path: Path) -> None:
    """Low resolution written by us, enlarged by "another program", found again and scored as our own bicubic."""
    assert bench("inputs", "--data", some, "--kernels", "g2.0d", "--out", tmp_path / "lr").exit_code == 0
    for path in sorted((tmp_path / "lr" / "Some" / "x2_g2.0d").iterdir()):
        lr = files.read(path).pixels
        target = tmp_path / "theirs" / "Some" / "x2_g2.0d" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(target, Picture(torch.nn.functional.interpolate(lr, scale_factor=2.0, mode="nearest")))
    words = ["quality", "--data", some, "--kernels", "g2.0d", "--methods", "bicubic", "--workers", 1]
    result = bench(*words, "--results", f"theirs={tmp_path / 'theirs'}", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    rows = {(row.image, row.method): row for row in read_csv(tmp_path / "out" / "results.csv")}
    assert rows["a.png", "bicubic"].psnr > rows["a.png", "theirs"].psnr > 15
    (tmp_path / "theirs" / "Some" / "x2_g2.0d" / "b.png").rename(tmp_path / "theirs" / "Some" / "x2_g2.0d" / "c.png")
    result = bench(*words, "--results", f"theirs={tmp_path / 'theirs'}", "--out", tmp_path / "out2")
    assert result.exit_code == 1
    assert "no result for b.png" in result.stderr
    assert "c.png belongs to no picture that is measured" in result.stderr
    assert "2 things could not be measured; the rest is done" in result.stderr
    with (tmp_path / "out2" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


def test_missing_sets_are_named_and_the_rest_goes_on(some: Path, tmp_path: Path) -> None:
    words = ["--kernels", "bicubic", "--methods", "bicubic", "--workers", 1, "--out", tmp_path / "out"]
    result = bench("quality", "--data", some, "--data", tmp_path / "Set99", *words)
    assert result.exit_code == 1
    assert "Set99 is no folder" in result.stderr
    assert "Set99 is no folder" in (tmp_path / "out" / "results.md").read_text()
    assert len(read_csv(tmp_path / "out" / "results.csv")) == 2


def test_speed_from_sizes_to_page(tiny_weights: Path, tmp_path: Path) -> None:
    words = ["speed", "--networks", f"{tiny_weights},edsr-s", "--sizes", "64", "--rounds", 1, "--threads", 1]
    result = bench(*words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert [timing.network for timing in read_timings(tmp_path / "out" / "results.csv")] == [
        str(tiny_weights),
        "edsr-s",
    ]
    tables = [line for line in result.stdout.splitlines() if line.startswith("|")]
    markdown = (tmp_path / "out" / "results.md").read_text()
    assert tables == [line for line in markdown.splitlines() if line.startswith("|")]
    page = (tmp_path / "out" / "results.html").read_text()
    assert "Cost against size" in page
    assert "2 networks at 1 sizes of output" in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--networks", "edsr"], "did you mean 'edsr-s'"),
        (["--sizes", "63"], "size is 63; it must be a multiple of 4"),
        (["--limit", "long"], "--limit is 'long'"),
        (["--steps", "1000"], "steps is 1000"),
    ],
)
def test_wrong_usage_of_speed_is_one_line(tmp_path: Path, words: list[str], told: str) -> None:
    result = bench("speed", "--out", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert told in result.stderr


def test_names_that_are_there_twice(some: Path, tmp_path: Path) -> None:
    """Two folders, kernels or methods of one name would end up in one mean."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "Some").symlink_to(some)
    common = ["quality", "--data", some, "--out", tmp_path / "out", "--workers", 1]
    twice = bench(*common, "--data", tmp_path / "other" / "Some")
    assert (twice.exit_code, "set 'Some' is there twice" in twice.stderr) == (2, True)
    theirs = bench(*common, "--methods", "bicubic", "--results", f"bicubic={some}", "--kernels", "bicubic")
    assert (theirs.exit_code, "method 'bicubic' is there twice" in theirs.stderr) == (2, True)
    for name in ("one", "two"):
        (tmp_path / name / "k").mkdir(parents=True)
        kernel_files.save(tmp_path / name / "k" / "1.npy", kernels.gaussian((1.0, 1.0)))
    folders = bench(*common, "--kernels", f"{tmp_path / 'one' / 'k'},{tmp_path / 'two' / 'k'}")
    assert (folders.exit_code, "kernel 'x2 k' is there twice" in folders.stderr) == (2, True)


def test_unknown_methods_are_named_and_the_rest_goes_on(some: Path, tmp_path: Path) -> None:
    words = ["quality", "--data", some, "--kernels", "bicubic", "--workers", 1, "--out", tmp_path / "out"]
    result = bench(*words, "--methods", "bicubik,bicubic")
    assert result.exit_code == 1
    assert "did you mean 'bicubic'" in result.stderr
    assert {row.method for row in read_csv(tmp_path / "out" / "results.csv")} == {"bicubic"}


def test_a_network_that_cannot_be_read_does_not_stop_the_others(some: Path, tmp_path: Path) -> None:
    (tmp_path / "n.pth").write_bytes(b"no network")
    words = ["quality", "--data", some, "--kernels", "bicubic", "--methods", "bicubic", "--workers", 1]
    result = bench(*words, "--network", f"theirs={tmp_path / 'n.pth'}", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "theirs is left out at x2 bicubic" in result.stderr
    assert len(read_csv(tmp_path / "out" / "results.csv")) == 2


def test_inputs_overwrite_nothing(some: Path, tmp_path: Path) -> None:
    words = ["inputs", "--data", some, "--kernels", "bicubic", "--out", tmp_path / "lr"]
    assert bench(*words).exit_code == 0
    result = bench(*words)
    assert result.exit_code == 2
    assert "exists, and 1 more; name an empty folder" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--kernels", "g2d"], "did you mean 'g2.0d'"),
        (["--methods", "mzrs"], "did you mean 'mzsr'"),
        (["--methods", ","], "names no method"),
        (["--kernels", ","], "names no kernel"),
        (["--methods", "bicubic", "--check"], "leave --methods"),
        (["--scale", "²"], "whole numbers from 1 to 8"),
        (["--protocol", "mzrs"], "protocol is 'mzrs'; did you mean 'mzsr'"),
        (["--scale", "2,x"], "--scale is '2,x'; whole numbers from 1 to 8"),
        (["--steps", "-1"], "--steps is '-1'; whole numbers from 0 to"),
        (["--jpeg", "0"], "a quality from 1 to 100 is required"),
        (["--results", "theirs"], "it must read NAME=PATH"),
        (["--results", "theirs=nowhere"], "which is no folder"),
        (["--network", "theirs=nowhere"], "which is no file"),
    ],
)
def test_wrong_usage_is_one_line(some: Path, tmp_path: Path, words: list[str], told: str) -> None:
    result = bench("quality", "--data", some, "--out", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert told in result.stderr
    assert not (tmp_path / "out" / "results.csv").exists()


def test_no_set_at_all(tmp_path: Path) -> None:
    result = bench("quality", "--data", tmp_path / "Set99", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "Set99 is no folder" in result.stderr


def test_the_check_says_whether_data_and_protocol_are_the_published_ones(
    data: Path, some: Path, tmp_path: Path
) -> None:
    good = bench("quality", "--check", "--data", data / "bench" / "Set5", "--workers", 1, "--out", tmp_path / "good")
    assert good.exit_code == 0, good.stdout
    assert good.stdout.count("| yes |") == 4
    assert "what is published is reproduced" in good.stdout
    one = ["--kernels", "g0.2d", "--workers", 1]
    shutil.copytree(some, tmp_path / "Set5")
    other = bench("quality", "--check", "--data", tmp_path / "Set5", *one, "--out", tmp_path / "other")
    assert other.exit_code == 1
    assert "what is published is NOT reproduced" in other.stdout
    unknown = bench("quality", "--check", "--data", some, *one, "--out", tmp_path / "some")
    assert unknown.exit_code == 1
    assert "nothing is published of any of these, so nothing was checked" in unknown.stdout
    loose = bench("quality", "--check", "--data", some, *one, "--protocol", "edsr", "--out", tmp_path / "loose")
    assert loose.exit_code == 2
    assert "by protocol mzsr, as it is published" in loose.stderr


def test_a_list_keeps_the_numbers_of_a_gaussian_together() -> None:
    assert listed("g2.0d,gauss:1.0,2.0,-0.5,bicubic, disks") == ["g2.0d", "gauss:1.0,2.0,-0.5", "bicubic", "disks"]
