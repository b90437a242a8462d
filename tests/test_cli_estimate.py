"""Tests of `mzsr estimate`: its words, its records, and a kernel that goes to a file and back."""

import json
from pathlib import Path

import pytest
from commands import refused, run
from PIL import Image
from scipy.io import loadmat

from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files


def test_an_estimated_kernel_goes_to_a_file_and_back(picture: Path, tiny_weights: Path) -> None:
    told = run("estimate", "a.png", "--save", "k.mat", "--plot", "k.png", "--json")
    assert told.exit_code == 0, told.stderr
    record = json.loads(told.stdout)
    assert (record["input"], record["scale"]) == ("a.png", 2)
    assert [name for name in loadmat("k.mat") if name[0] != "_"] == ["Kernel"]
    side = kernel_files.load("k.mat").shape[0]
    assert files.read("k.png").pixels.shape == (1, 1, 16 * side, 16 * side)
    # The kernel lies on the centre-aligned grid, its centroid says so: nothing but --kernel is needed
    for name, options in {"auto.png": [], "file.png": ["--kernel", "k.mat"]}.items():
        assert run("upscale", "a.png", "-o", name, "-n", tiny_weights, *options).exit_code == 0
    auto, file = (files.read(name).pixels for name in ("auto.png", "file.png"))
    assert float((auto - file).abs().max()) <= 1 / 255 + 1e-6  # rounding to 8 bits may fall either way
    assert float((auto != file).float().mean()) < 1e-3


def test_estimate_says_it_in_words(picture: Path) -> None:
    told = run("estimate", "a.png", "--subsample", "direct")
    assert told.exit_code == 0
    assert told.stdout.startswith("a.png: ")
    for word in ("blur", "noise", "confidence"):
        assert f"\n{word} " in told.stdout


def test_an_estimate_that_cannot_be_told_has_failed(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(text: str) -> None:
        raise InputError("standard output cannot be written")

    monkeypatch.setattr("mzsr.apps.cli.echo", full)
    refused(run("estimate", "a.png"), "a.png: standard output cannot be written", 1)


def test_estimates_of_a_folder_and_what_fails_as_records(here: Path) -> None:
    """A line for every picture, whatever becomes of it."""
    Path("in").mkdir()
    for name in ("a", "c"):
        Image.effect_noise((96, 96), 50).convert("RGB").save(f"in/{name}.png")
    Path("in/b.png").write_bytes(b"no picture")
    told = run("estimate", "in", "--json")
    assert told.exit_code == 1
    records = [json.loads(line) for line in told.stdout.splitlines()]
    assert [record["input"] for record in records] == ["in/a.png", "in/b.png", "in/c.png"]
    assert [("error" in record) for record in records] == [False, True, False]
    assert "1 of 3 pictures failed" in told.stderr
    assert run("estimate", "in", "--save", "k.mat").exit_code == 2
    done = run("upscale", "in", "-o", "out", "--json", "--steps", "0", "--kernel", "bicubic")
    errors = [record for record in map(json.loads, done.stdout.splitlines()) if "error" in record]
    assert [(record["input"], "no image" in record["error"]) for record in errors] == [("in/b.png", True)]
