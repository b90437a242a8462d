"""Tests of which picture goes where: results beside others of their name, outputs that are taken or cannot be had."""

import os
import shutil
from pathlib import Path

import pytest
from commands import listing, refused, run
from PIL import Image

from mzsr.imaging import files


def test_an_output_that_is_not_writable(picture: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs the tests may be allowed everything, so permission is taken away from os.access instead of the folder
    monkeypatch.setattr("mzsr.imaging.files.os.access", lambda path, mode: False)
    before = listing(picture.parent)
    refused(run("upscale", "a.png", "-n", tiny_weights), "a_x2.png is not writable; write permission is required", 2)
    assert listing(picture.parent) == before


def test_outputs_are_replaced_only_on_request(picture: Path, tiny_weights: Path) -> None:
    Path("b.png").write_bytes(b"precious")
    arguments = ["upscale", "a.png", "-o", "b.png", "-n", tiny_weights, "--steps", "0"]
    assert run(*arguments).exit_code == 2
    assert Path("b.png").read_bytes() == b"precious"
    assert run(*arguments, "--overwrite").exit_code == 0
    assert files.read("b.png").pixels.shape[2:] == (120, 152)
    Path("r.html").write_text("precious")
    refused(run(*arguments, "--overwrite", "--report", "b.png"), "report b.png ends in '.png'", 2)
    refused(
        run("upscale", "a.png", "-o", "c.png", "-n", tiny_weights, "--report", "r.html"),
        "r.html exists; add --overwrite",
        2,
    )


def test_an_input_is_never_another_ones_output(picture: Path, tiny_weights: Path) -> None:
    """The second run over a folder finds a_x2.png there: it would be read after it was replaced."""
    shutil.copy(picture, "a_x2.png")
    before = listing(picture.parent)
    refused(
        run("upscale", ".", "-n", tiny_weights, "--overwrite"),
        "a_x2.png is an input itself, or the output of another",
        2,
    )
    assert listing(picture.parent) == before


def test_two_folders_with_the_same_name_inside(picture: Path, tiny_weights: Path) -> None:
    for folder in ("one", "two", "out"):
        Path(folder).mkdir()
    shutil.copy(picture, "one/a.png")
    shutil.copy(picture, "two/a.png")
    both = run("upscale", "one", "two", "-o", "out", "-n", tiny_weights, "--steps", "0")
    assert both.exit_code == 1
    assert "mzsr: two/a.png: out/a_x2.png is an input itself, or the output of another" in both.stderr
    assert "1 of 2 pictures failed" in both.stderr
    assert run("upscale", "one", "two", "-n", tiny_weights, "--steps", "0", "--kernel", "bicubic").exit_code == 0
    assert Path("two/a_x2.png").exists()


def test_two_pictures_that_differ_in_their_suffix_alone(picture: Path, tiny_weights: Path) -> None:
    """The second is called by its whole name; so it is at the next run, which finds both done."""
    Path("in").mkdir()
    shutil.copy(picture, "in/a.png")
    Image.open(picture).convert("RGB").save("in/a.jpg")
    command = ["upscale", "in", "-o", "out", "-n", tiny_weights, "--steps", "0", "--format", "webp"]
    assert run(*command).exit_code == 0
    assert sorted(path.name for path in Path("out").glob("*.webp")) == ["a.png_x2.webp", "a_x2.webp"]
    again = run(*command)
    assert (again.exit_code, again.stdout) == (0, "")


def test_an_output_of_somebody_else_stops_no_other_picture(picture: Path, tiny_weights: Path) -> None:
    for folder in ("in", "out"):
        Path(folder).mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(picture, f"in/{name}")
    Path("out/a_x2.png").write_text("precious")
    result = run("upscale", "in", "-o", "out", "-n", tiny_weights, "--steps", "0")
    assert result.exit_code == 1
    assert "mzsr: in/a.png: out/a_x2.png exists; add --overwrite to replace it" in result.stderr
    assert Path("out/a_x2.png").read_text() == "precious"
    assert files.read("out/b_x2.png").pixels.shape[2:] == (120, 152)


def test_an_empty_folder_stops_no_other(picture: Path, tiny_weights: Path) -> None:
    Path("empty").mkdir()
    Path("in").mkdir()
    shutil.copy(picture, "in/a.png")
    result = run("upscale", "empty", "in", "-o", "out", "-n", tiny_weights, "--steps", "0")
    assert result.exit_code == 1
    assert "empty is a folder without pictures" in result.stderr
    assert result.stderr.endswith("mzsr: 1 of 2 pictures failed, 1 is done: empty\n")
    assert Path("out/a_x2.png").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_stops_no_other(picture: Path, tiny_weights: Path) -> None:
    Path("in/locked").mkdir(parents=True)
    shutil.copy(picture, "in/a.png")
    Path("in/locked").chmod(0)
    result = run("upscale", "in", "-r", "-o", "out", "-n", tiny_weights, "--steps", "0")
    Path("in/locked").chmod(0o700)
    assert result.exit_code == 1
    assert "folder in/locked cannot be read" in result.stderr
    assert Path("out/a_x2.png").exists()


@pytest.mark.parametrize("name", ["a.jfif", "a.JFIF", "a.mpo"])
def test_other_names_of_a_jpeg_become_the_usual_one(picture: Path, tiny_weights: Path, name: str) -> None:
    """As Windows names what it saves from the web, and cameras what holds several views."""
    files.write("a.jpg", files.read(picture))
    Path("a.jpg").rename(name)
    run("upscale", name, "-n", tiny_weights, "--steps", "0")
    assert files.read("a_x2.jpg").pixels.shape[2:] == (120, 152)
