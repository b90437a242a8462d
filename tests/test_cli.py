"""Tests of the command line: what it makes, what it says, how it refuses, and what it leaves behind."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import listing, refused, run
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.io import loadmat, savemat
from torch import Tensor

import mzsr
from mzsr import __version__
from mzsr.apps import error_map
from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.degrade import Degradation, degrade
from mzsr.imaging.jpeg import Jpeg, tables
from mzsr.inference.upscale import Upscaler
from mzsr.learning.networks import Unfolded


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(tiny_weights: Path) -> Path:
    return tiny_weights


@pytest.fixture
def picture(here: Path, photo: Tensor) -> Path:
    Image.fromarray((photo[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(here / "a.png")
    return here / "a.png"


def test_upscale_makes_a_picture_of_twice_the_size(picture: Path, tiny: Path) -> None:
    result = run("upscale", "a.png", "-n", tiny, "--device", "cpu")
    assert result.exit_code == 0
    assert result.stdout.startswith("a.png → a_x2.png, 76x60 → 152x120, blur ")
    assert result.stdout.count("\n") == 1
    assert files.read("a_x2.png").pixels.shape == (1, 3, 120, 152)
    assert sorted(listing(picture.parent)) == ["a.png", "a_x2.png"]


@pytest.mark.parametrize(
    ("options", "name", "size"),
    [
        (["-s", "1.5"], "a_x1.5.png", (114, 90)),
        (["-s", "3", "-o", "b.tif"], "b.tif", (228, 180)),
        (["--width", "100"], "a_large.png", (100, 79)),
        (["--height", "120", "--width", "76", "-o", "c.jpg", "--quality", "80"], "c.jpg", (76, 120)),
        (["--tile", "32", "--seed", "3", "--steps", "2", "--noise", "5/255", "-o", "d.webp"], "d.webp", (152, 120)),
    ],
)
def test_options_of_upscale(picture: Path, tiny: Path, options: list[str], name: str, size: tuple[int, int]) -> None:
    result = run("upscale", "a.png", "-n", tiny, "--kernel", "bicubic", "--steps", "0", *options)
    assert result.exit_code == 0, result.stderr
    with Image.open(name) as image:
        assert image.size == size


def test_json_is_one_record_per_picture_and_nothing_else(picture: Path, tiny: Path) -> None:
    shutil.copy(picture, "b.png")
    Path("c.png").write_bytes(b"no picture")
    Path("out").mkdir()
    result = run("upscale", "a.png", "c.png", "b.png", "-o", "out", "-n", tiny, "-s", "2", "--json")
    assert result.exit_code == 1
    records = [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]
    assert [record["input"] for record in records] == ["a.png", "c.png", "b.png"]
    missing = records.pop(1)
    assert missing.keys() == {"input", "error"}
    assert missing["error"].startswith("c.png is no image")
    assert [record["output"] for record in records] == ["out/a_x2.png", "out/b_x2.png"]
    for record in records:
        assert record["version"] == __version__
        assert set(record["seconds"]) == {"read", "estimate", "adapt", "enhance", "write"}
        assert len(record["losses"]) == 2
    assert records[0]["losses"] == records[1]["losses"]
    assert "mzsr: c.png is no image" in result.stderr
    assert "1 of 3 pictures failed, 2 are done" in result.stderr


def test_a_folder_with_one_bad_file_is_done_but_for_that(picture: Path, tiny: Path) -> None:
    Path("in").mkdir()
    for name in ("a.png", "b.JPG", "c.bmp"):
        Image.open(picture).save(Path("in") / name, "JPEG" if name == "b.JPG" else None)
    Path("in/b.JPG").write_bytes(Path("in/b.JPG").read_bytes()[:500])
    Path("in/notes.txt").write_text("not a picture")
    Path("out").mkdir()
    result = run("upscale", "in", "-o", "out", "-n", tiny, "--steps", "0", "--kernel", "bicubic")
    assert result.exit_code == 1
    assert sorted(name for name in listing(Path("out")) if not name.startswith(".mzsr")) == ["a_x2.png", "c_x2.bmp"]
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("mzsr: in/b.JPG is damaged or cut short")
    assert lines[1] == "mzsr: 1 of 3 pictures failed, 2 are done: in/b.JPG"
    assert sorted(listing(Path("in"))) == ["a.png", "b.JPG", "c.bmp", "notes.txt"]


def test_the_report_shows_the_picture(picture: Path, tiny: Path) -> None:
    result = run("upscale", "a.png", "-n", tiny, "--report", "r.html")
    assert result.exit_code == 0, result.stderr
    page = Path("r.html").read_text("utf-8")
    assert "a.png" in page
    assert page.count("data:image/") >= 2
    assert sorted(listing(picture.parent)) == ["a.png", "a_x2.png", "r.html"]


def test_the_map_of_doubt(picture: Path, doubting_weights: Path) -> None:
    options = ["a.png", "-n", doubting_weights, "--device", "cpu", "--uncertainty", "m.png"]
    result = run("upscale", *options, "--report", "r.html", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    told = mzsr.upscale("a.png", model=doubting_weights, device="cpu", uncertainty=True)
    assert told.uncertainty is not None
    assert record["expected_error"] == pytest.approx(float(told.uncertainty.mean()), abs=1e-3)
    assert record["expected_psnr_db"] == pytest.approx(told.expected_psnr, abs=1e-3)
    with Image.open("m.png") as image:
        drawn = np.asarray(image)[:120, :152]
    np.testing.assert_array_equal(drawn, error_map.coloured(told.uncertainty, error_map.top(told.uncertainty)))
    page = Path("r.html").read_text("utf-8")
    assert f"Expected PSNR {told.expected_psnr:.1f} dB" in page
    assert f">{told.expected_psnr:.1f} dB (RGB)<" in page
    refused(run("upscale", *options, "-o", "b.png"), "m.png exists; add --overwrite", 2)
    assert run("upscale", *options, "--overwrite").exit_code == 0


def test_a_record_and_a_report_leave_out_what_no_model_knows(picture: Path, tiny: Path) -> None:
    result = run("upscale", "a.png", "-n", tiny, "--report", "r.html", "--json")
    assert result.exit_code == 0, result.stderr
    assert not {"expected_error", "expected_psnr_db"} & json.loads(result.stdout).keys()
    assert "Expected PSNR" not in Path("r.html").read_text("utf-8")


def write_bad_inputs(folder: Path) -> None:
    whole = (folder / "a.png").read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("I am no image\n" * 50)
    (folder / "folder.png").mkdir()
    (folder / "bare").mkdir()
    (folder / "several").mkdir()
    for name in ("1.png", "2.png"):
        (folder / "several" / name).write_bytes(whole)
    (folder / "single").mkdir()
    (folder / "single" / "1.png").write_bytes(whole)
    Image.new("RGB", (1, 1)).save(folder / "1x1.png")
    Image.new("RGB", (3, 2)).save(folder / "3x2.png")
    Image.new("RGB", (15, 15)).save(folder / "son.png")
    taps = {
        "even": np.ones((4, 4)), "wide": np.ones((3, 5)), "nan": np.full((3, 3), np.nan), "minus": -np.ones((3, 3)),
        "large": np.ones((121, 121)), "cube": np.ones((3, 3, 3)),
    }  # fmt: skip
    for name, array in taps.items():
        np.save(folder / f"{name}.npy", array)
    savemat(folder / "two.mat", {"k1": np.ones((3, 3)), "k2": np.ones((5, 5))})
    (folder / "broken.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))


BAD_INPUT = [
    # arguments, what the line says, exit code
    (["none.png"], "none.png does not exist", 1),
    (["empty.png"], "empty.png is empty (0 bytes); a picture file is required — copy it again", 1),
    (["cut.png"], "cut.png is damaged or cut short", 1),
    (["text.png"], "text.png is no image that can be read", 1),
    (["bare"], "bare is a folder without pictures", 2),
    (["1x1.png"], "1x1.png: picture is 1x1; at least 8x8 pixels are required", 1),
    (["3x2.png"], "3x2.png: picture is 2x3; at least 8x8 pixels are required", 1),
    (["son.png", "--steps", "1"], "picture is 15x15; its son at x2 would be 7x7, at least 8x8 is required", 1),
    (["a.png", "-o", "bare"], "bare is a folder; a file is required — add a name", 2),
    (["nowhere", "-o", "bare"], "nowhere does not exist; a picture or a folder of pictures is required", 2),
    (["a.png", "--fit", "inside"], "fit is 'inside', which is of a box; give both its width and its height", 2),
    (["a.png", "--fit", "outside", "--width", "200"], "fit is 'outside', which is of a box", 2),
    (["a.png", "--kernel", "bicubic", "--subsample", "direct"], "kernel is bicubic, which shrinks by itself", 1),
    (["a.png", "-o", "é" * 124 + ".png"], "é" * 16 + "… is a name of 252 bytes; 250 are the most that a result", 2),
    (["a.png", "-o", "folder.png"], "folder.png is a folder; a file is required", 2),
    (["a.png", "-o", "nowhere/b.png"], "which is no folder; an existing one is required — create it", 2),
    (["a.png", "-o", "b.txt"], "b.txt has suffix '.txt'; the format is chosen by one of .png", 2),
    (["a.png", "-o", "a.png"], "a.png is an input itself", 2),
    (["a.png", "-o", "a.png", "--overwrite"], "a.png is an input itself", 2),
    (["a.png", "-o", "bare/../a.png", "--overwrite"], "a.png is an input itself", 2),
    (["a.png", "-o", "cut.png"], "cut.png exists; add --overwrite to replace it", 2),
    (["several", "-o", "b.png"], "2 pictures go to b.png, which is no folder; create it", 2),
    (
        ["several/1.png", "a.png", "several/../several/1.png"],
        "several/1.png is an input twice; give it once",
        2,
    ),
    (["several", "--report", "r.html"], "--report takes one picture, 2 are given", 2),
    (["several", "-o", "several"], "-o several is the folder of the inputs", 2),
    (["several", "-o", "cut.png/x"], "cut.png, which is no folder", 2),
    (["several", "--recursive"], "--recursive needs a folder for the results; add -o FOLDER", 2),
    (["a.png", "-r", "-o", "bare"], "--recursive is given, but no folder among the inputs", 2),
    (["several", "a.png", "-o", "a.png"], "a.png, which is no folder", 2),
    (["a.png", "-o", "b.png", "--format", "jpg"], "-o b.png and --format jpg differ", 2),
    (["a.png", "--max-pixels", "nan"], "--max-pixels is nan; it must be a number of millions above 0", 2),
    (["a.png", "--max-pixels", "0.001"], "a.png: it has 76 x 60 pixels, 0.0 million; the limit is 0.001 million", 1),
    (["a.png", "--report", "bare"], "report bare ends in ''; it is a page — name it FILE.html", 2),
    (["a.png", "--report", "a.png"], "report a.png ends in '.png'", 2),
    (["a.png", "--report", "nowhere/r.html"], "nowhere/r.html lies in no folder that exists", 2),
    (["several", "--uncertainty", "m.png"], "--uncertainty takes one picture, 2 are given; run it once for each", 2),
    (["single", "--report", "r.html"], "--report takes one picture, a folder is given; name the picture in it", 2),
    (["a.png", "--uncertainty", "a.png"], "a.png is an input itself", 2),
    (["a.png", "--uncertainty", "m.gif"], "m.gif has suffix '.gif'", 2),
    (["a.png", "--uncertainty", "nowhere/m.png"], "nowhere", 2),
    (["a.png", "--uncertainty", "m.png"], "model tiny has no log-variance head and cannot tell how far it is off", 2),
    (["a.png", "--kernel", "none.mat"], "kernel file none.mat does not exist; give a .mat or .npy file", 2),
    (["a.png", "--kernel", "bare"], "kernel file bare is a folder", 2),
    (["a.png", "--kernel", "a.png"], "kernel file a.png ends in '.png'", 2),
    (["a.png", "--kernel", "even.npy"], "is 4x4; it must be square and odd — pad it", 2),
    (["a.png", "--kernel", "wide.npy"], "is 3x5; it must be square and odd", 2),
    (["a.png", "--kernel", "cube.npy"], "is 3x3x3; it must be square and odd", 2),
    (["a.png", "--kernel", "nan.npy"], "has 9 values that are NaN or infinite", 2),
    (["a.png", "--kernel", "minus.npy"], "sums to -9; the sum must be above 0", 2),
    (["a.png", "--kernel", "large.npy"], "a.png: kernel is 121x121, larger than the enlarged picture", 1),
    (["a.png", "--kernel", "two.mat"], "two.mat has 2 2-D variables (k1, k2); exactly one is required", 2),
    (["a.png", "--kernel", "broken.mat"], "broken.mat cannot be read", 2),
    (["a.png", "--kernel", "gauss:-1"], "both must be above 0", 2),
    (["a.png", "--kernel", "gauss:wide"], "kernel is 'gauss:wide'; write gauss:VARIANCE", 2),
    (["a.png", "--scale", "0.5"], "scale is 0.5; it must lie between 1 and 8", 2),
    (["a.png", "--scale", "0"], "scale is 0; it must lie between 1 and 8", 2),
    (["a.png", "--scale", "9"], "scale is 9; it must lie between 1 and 8", 2),
    (["a.png", "--scale", "nan"], "scale is nan; it must lie between 1 and 8", 2),
    (["a.png", "--scale", "2", "--width", "90"], "both a scale, 2, and a size, width 90, are given", 2),
    (["a.png", "--width", "0"], "the size is width 0; both count pixels", 2),
    (["a.png", "--width", "9" * 400], f"the size is width {'9' * 400}; no side of a picture is longer than", 2),
    (["a.png", "--width", "10"], "8x10 is 0.132 times the 60x76 of the picture", 1),
    (["a.png", "--noise", "loud"], "noise is 'loud'; a number such as 0.02 or a fraction such as 5/255 is required", 2),
    (["a.png", "--noise", "5/0"], "noise is '5/0'; a number", 2),
    (["a.png", "--noise", "nan"], "noise is nan; it must lie between 0 and 1", 2),
    (["a.png", "--noise", "25"], "noise is 25; it must lie between 0 and 1 — 8-bit levels are written as 5/255", 2),
    (["a.png", "--steps", "-1"], "steps is -1; it must lie between 0 and 100", 2),
    (["a.png", "--quality", "0"], "--quality is 0; it must lie between 1 and 100", 2),
    (["a.png", "--tile", "16"], "tile is 16; it must be 0 (no tiles), or from 32 to 4096", 2),
    (["a.png", "--device", "abacus"], "device is 'abacus'; it must be auto, cpu or cuda", 2),
    (["a.png", "--model", "best"], "model is 'best'; give a .safetensors file or a model that is installed: ", 2),
]


@pytest.mark.parametrize(("arguments", "message", "code"), BAD_INPUT, ids=[" ".join(case[0]) for case in BAD_INPUT])
def test_bad_input_of_upscale(picture: Path, tiny: Path, arguments: list[str], message: str, code: int) -> None:
    write_bad_inputs(picture.parent)
    before = listing(picture.parent)
    model = [] if "--model" in arguments else ["-n", str(tiny)]
    refused(run("upscale", *arguments, *model), message, code)
    assert listing(picture.parent) == before


BAD_INPUT_ELSEWHERE = [
    (["estimate", "none.png"], "none.png does not exist", 1),
    (["estimate", "several", "--save", "k.mat"], "--save and --plot are of one picture", 2),
    (["estimate", "a.png", "-s", "9"], "--scale is 9; it must lie between 1 and 8", 2),
    (["estimate", "a.png", "--save", "k.txt"], "kernel output k.txt ends in '.txt'; use .mat or .npy", 2),
    (["estimate", "a.png", "--save", "even.npy"], "even.npy exists; add --overwrite", 2),
    (["estimate", "a.png", "--save", "bare"], "bare is a folder; a file is required", 2),
    (["estimate", "a.png", "--save", "k.mat", "--plot", "nowhere/k.png"], "nowhere/k.png lies in no folder", 2),
    (["estimate", "a.png", "--save", "k.mat", "--plot", "k.gif"], "k.gif has suffix '.gif'", 2),
    (["estimate", "a.png", "--plot", "a.png", "--overwrite"], "a.png is an input itself", 2),
    (["degrade", "a.png", "-o", "b.png", "--subsample", "direct"], "kernel is bicubic, which shrinks by itself", 2),
    (["degrade", "several", "-o", "bare"], "bare is a folder; a file is required", 2),
    (["degrade", "several", "-o", "b.png"], "several is a folder; a file is required", 1),
    (["degrade", "1x1.png", "-o", "b.png"], "image is 1x1; at x2 it must be at least 2x2", 1),
    (["degrade", "a.png", "-o", "a.png", "--overwrite"], "a.png is an input itself", 2),
    (["degrade", "a.png", "-o", "cut.png"], "cut.png exists; add --overwrite", 2),
    (["degrade", "a.png", "-o", "b.png", "--kernel", "auto"], "--kernel is auto; degrading needs one", 2),
    (["degrade", "a.png", "-o", "b.png", "--kernel", "even.npy"], "4x4; it must be square and odd", 2),
    (["degrade", "a.png", "-o", "b.png", "--noise", "auto"], "noise is 'auto'; a number such as 0.02 or", 2),
    (["degrade", "a.png", "-o", "b.png", "-s", "0"], "scale is 0", 2),
]


@pytest.mark.parametrize(
    ("arguments", "message", "code"), BAD_INPUT_ELSEWHERE, ids=[" ".join(case[0]) for case in BAD_INPUT_ELSEWHERE]
)
def test_bad_input_elsewhere(picture: Path, arguments: list[str], message: str, code: int) -> None:
    write_bad_inputs(picture.parent)
    before = listing(picture.parent)
    refused(run(*arguments), message, code)
    assert listing(picture.parent) == before


def test_an_output_that_is_not_writable(picture: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs the tests may be allowed everything, so permission is taken away from os.access instead of the folder
    monkeypatch.setattr("mzsr.imaging.files.os.access", lambda path, mode: False)
    before = listing(picture.parent)
    refused(run("upscale", "a.png", "-n", tiny), "a_x2.png is not writable; write permission is required", 2)
    assert listing(picture.parent) == before


def test_outputs_are_replaced_only_on_request(picture: Path, tiny: Path) -> None:
    Path("b.png").write_bytes(b"precious")
    arguments = ["upscale", "a.png", "-o", "b.png", "-n", tiny, "--steps", "0"]
    assert run(*arguments).exit_code == 2
    assert Path("b.png").read_bytes() == b"precious"
    assert run(*arguments, "--overwrite").exit_code == 0
    assert files.read("b.png").pixels.shape[2:] == (120, 152)
    Path("r.html").write_text("precious")
    refused(run(*arguments, "--overwrite", "--report", "b.png"), "report b.png ends in '.png'", 2)
    refused(
        run("upscale", "a.png", "-o", "c.png", "-n", tiny, "--report", "r.html"), "r.html exists; add --overwrite", 2
    )


def test_an_input_is_never_another_ones_output(picture: Path, tiny: Path) -> None:
    """The second run over a folder finds a_x2.png there: it would be read after it was replaced."""
    shutil.copy(picture, "a_x2.png")
    before = listing(picture.parent)
    refused(run("upscale", ".", "-n", tiny, "--overwrite"), "a_x2.png is an input itself, or the output of another", 2)
    assert listing(picture.parent) == before


def test_two_folders_with_the_same_name_inside(picture: Path, tiny: Path) -> None:
    for folder in ("one", "two", "out"):
        Path(folder).mkdir()
    shutil.copy(picture, "one/a.png")
    shutil.copy(picture, "two/a.png")
    both = run("upscale", "one", "two", "-o", "out", "-n", tiny, "--steps", "0")
    assert both.exit_code == 1
    assert "mzsr: two/a.png: out/a_x2.png is an input itself, or the output of another" in both.stderr
    assert "1 of 2 pictures failed" in both.stderr
    assert run("upscale", "one", "two", "-n", tiny, "--steps", "0", "--kernel", "bicubic").exit_code == 0
    assert Path("two/a_x2.png").exists()


def test_two_pictures_that_differ_in_their_suffix_alone(picture: Path, tiny: Path) -> None:
    """The second is called by its whole name; so it is at the next run, which finds both done."""
    Path("in").mkdir()
    shutil.copy(picture, "in/a.png")
    Image.open(picture).convert("RGB").save("in/a.jpg")
    command = ["upscale", "in", "-o", "out", "-n", tiny, "--steps", "0", "--format", "webp"]
    assert run(*command).exit_code == 0
    assert sorted(path.name for path in Path("out").glob("*.webp")) == ["a.png_x2.webp", "a_x2.webp"]
    again = run(*command)
    assert (again.exit_code, again.stdout) == (0, "")


def test_an_output_of_somebody_else_stops_no_other_picture(picture: Path, tiny: Path) -> None:
    for folder in ("in", "out"):
        Path(folder).mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(picture, f"in/{name}")
    Path("out/a_x2.png").write_text("precious")
    result = run("upscale", "in", "-o", "out", "-n", tiny, "--steps", "0")
    assert result.exit_code == 1
    assert "mzsr: in/a.png: out/a_x2.png exists; add --overwrite to replace it" in result.stderr
    assert Path("out/a_x2.png").read_text() == "precious"
    assert files.read("out/b_x2.png").pixels.shape[2:] == (120, 152)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_stops_no_other(picture: Path, tiny: Path) -> None:
    Path("in/locked").mkdir(parents=True)
    shutil.copy(picture, "in/a.png")
    Path("in/locked").chmod(0)
    result = run("upscale", "in", "-r", "-o", "out", "-n", tiny, "--steps", "0")
    Path("in/locked").chmod(0o700)
    assert result.exit_code == 1
    assert "folder in/locked cannot be read" in result.stderr
    assert Path("out/a_x2.png").exists()


def test_what_cannot_be_printed_is_no_failure(picture: Path, tiny: Path) -> None:
    """A terminal that knows no arrows; then `mzsr upscale … | head`, which stops to listen."""
    shutil.copy(picture, "b.png")
    command = [sys.executable, "-m", "mzsr", "upscale", "a.png", "b.png", "-n", str(tiny), "--steps", "0", "-o"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*command, "one"], env=environment, capture_output=True, encoding="latin-1")
    assert done.returncode == 0, done.stderr
    assert "a.png \\u2192 one/a_x2.png, 76x60 \\u2192 152x120" in done.stdout
    with subprocess.Popen([*command, "two"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=120) == 0, process.stderr and process.stderr.read()
    assert sorted(path.name for path in Path("two").glob("*.png")) == ["a_x2.png", "b_x2.png"]


def test_hidden_colours_change_no_estimate_and_no_smaller_picture(here: Path, photo: Tensor) -> None:
    """What lies under an alpha of 0 is not seen by `estimate` and `degrade`, as it is not by `upscale`."""
    shown = (photo[0, :, :96, :96].movedim(0, 2).numpy() * 255).astype(np.uint8)
    alpha = np.full((*shown.shape[:2], 1), 255, np.uint8)
    alpha[:, 64:] = 0
    told = []
    for name, hidden in (("black", 0), ("white", 255)):
        colours = np.where(alpha > 0, shown, np.uint8(hidden))
        Image.fromarray(np.concatenate([colours, alpha], 2)).save(f"{name}.png")
        record = json.loads(run("estimate", f"{name}.png", "--json").stdout)
        told.append({key: record[key] for key in record if key != "input"})
        assert run("degrade", f"{name}.png", "-o", f"{name} small.png", "--kernel", "gauss:2").exit_code == 0
    assert told[0] == told[1]
    assert Path("black small.png").read_bytes() == Path("white small.png").read_bytes()


def test_the_limit_of_pixels_holds_for_every_command(picture: Path) -> None:
    """76x60 are 4560 pixels."""
    commands = (["estimate", "a.png"], ["degrade", "a.png", "-o", "b.png"], ["upscale", "a.png"])
    for command in commands:
        refused(run(*command, "--max-pixels", "0.004"), "raise max_pixels (--max-pixels)", 1)
        refused(run(*command, "--max-pixels", "-1"), "--max-pixels is -1; it must be a number of millions above 0", 2)
    assert run(*commands[0], "--max-pixels", "0.005").exit_code == 0


def test_ctrl_c_leaves_nothing(picture: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Unfolded, lr: Tensor, d: Degradation) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(Unfolded, "forward", interrupted)
    before = listing(picture.parent)
    result = run("upscale", "a.png", "-n", tiny, "--steps", "0")
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert listing(picture.parent) == before


def test_an_estimated_kernel_goes_to_a_file_and_back(picture: Path, tiny: Path) -> None:
    told = run("estimate", "a.png", "--save", "k.mat", "--plot", "k.png", "--json")
    assert told.exit_code == 0, told.stderr
    record = json.loads(told.stdout)
    assert (record["input"], record["scale"]) == ("a.png", 2)
    assert [name for name in loadmat("k.mat") if name[0] != "_"] == ["Kernel"]
    side = kernel_files.load("k.mat").shape[0]
    assert files.read("k.png").pixels.shape == (1, 1, 16 * side, 16 * side)
    # The kernel lies on the centre-aligned grid, its centroid says so: nothing but --kernel is needed
    for name, options in {"auto.png": [], "file.png": ["--kernel", "k.mat"]}.items():
        assert run("upscale", "a.png", "-o", name, "-n", tiny, *options).exit_code == 0
    auto, file = (files.read(name).pixels for name in ("auto.png", "file.png"))
    assert float((auto - file).abs().max()) <= 1 / 255 + 1e-6  # rounding to 8 bits may fall either way
    assert float((auto != file).float().mean()) < 1e-3


def test_a_kernel_as_matlab_writes_it(picture: Path, tiny: Path) -> None:
    """A variable of any name, double, any sum, with 1x1 numbers beside it, compressed."""
    taps = kernels.gaussian((2.0, 1.0), 0.5).double().numpy()
    savemat("k.mat", {"k": 3 * np.asfortranarray(taps), "scale": 2.0}, do_compression=True)
    np.save("k.npy", taps)
    for name in ("mat", "npy"):
        done = run(
            "upscale", "a.png", "-o", f"{name}.png", "--kernel", f"k.{name}", "-n", tiny, "--noise", "0", "--json"
        )
        assert json.loads(done.stdout)["degradation"]["covariance_px2"][0][0] < 1.4  # of rows: the smaller one mostly
    assert Path("mat.png").read_bytes() == Path("npy.png").read_bytes()


def test_estimate_says_it_in_words(picture: Path) -> None:
    told = run("estimate", "a.png", "--subsample", "direct")
    assert told.exit_code == 0
    assert told.stdout.startswith("a.png: ")
    for word in ("blur", "noise", "confidence"):
        assert f"\n{word} " in told.stdout


@pytest.mark.parametrize(
    ("options", "d"),
    [
        ([], Degradation(kernels.delta(), 2, "bicubic")),
        (["--kernel", "gauss:2.0"], Degradation(kernels.gaussian((2.0, 2.0)), 2)),
        (["--kernel", "gauss:4,1,-0.5", "-s", "3"], Degradation(kernels.gaussian((4.0, 1.0), -0.5), 3)),
        (["--kernel", "gauss:1.3", "--subsample", "bicubic"], Degradation(kernels.gaussian((1.3, 1.3)), 2, "bicubic")),
        (["--noise", "5/255", "--seed", "7"], Degradation(kernels.delta(), 2, "bicubic", 5 / 255)),
        (["--jpeg", "60"], Degradation(kernels.delta(), 2, "bicubic", jpeg=Jpeg(tables(60)))),
        (
            ["--kernel", "gauss:2.0", "--subsample", "centre"],
            Degradation(kernels.centre(kernels.gaussian((2.0, 2.0)), (0.5, 0.5))),
        ),
    ],
)
def test_degrade_is_the_degradation(picture: Path, options: list[str], d: Degradation) -> None:
    result = run("degrade", "a.png", "-o", "b.png", *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    generator = torch.Generator().manual_seed(7)
    expected = (degrade(files.read("a.png").pixels, d, generator).clamp(0, 1) * 255).round()
    assert torch.equal((files.read("b.png").pixels * 255).round(), expected)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--width", "80", "--height", "90", "--fit", "inside"], "fit", "inside"),
        (["--jpeg", "off"], "jpeg", "off"),
        (["--enlarged", "off"], "enlarged", "off"),
        (["--x8"], "x8", True),
        (["--mode", "best"], "mode", "best"),
        (["--subsample", "centre"], "subsample", "centre"),
        (["--no-back-projection"], "back_projection", False),
    ],
)
def test_an_option_reaches_the_upscaler(
    picture: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str, value: object
) -> None:
    asked: list[dict[str, object]] = []

    def call(self: Upscaler, image: object, **options: object) -> None:
        asked.append(options)
        raise InputError("enough")

    monkeypatch.setattr(Upscaler, "__call__", call)
    run("upscale", "a.png", "-o", "b.png", "-n", tiny_weights, *words)
    assert asked[0][name] == value


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


def test_degrade_takes_alpha_along(here: Path) -> None:
    Image.fromarray(np.full((16, 20, 4), 51, np.uint8)).save("a.png")
    assert run("degrade", "a.png", "-o", "b.png").exit_code == 0
    with Image.open("b.png") as image:
        assert (image.mode, image.size) == ("RGBA", (10, 8))
        assert np.array_equal(np.asarray(image), np.full((8, 10, 4), 51))


def test_degrade_says_what_it_leaves_out(here: Path) -> None:
    info = PngInfo()
    info.add_text("Title", "a hill")
    Image.new("RGB", (16, 8)).save("a.png", pnginfo=info)
    said = run("degrade", "a.png", "-o", "b.jpg").stderr
    assert "mzsr: a.png: mind: JPEG does not hold these texts of the input: Title" in said


def test_models_shows_the_cards() -> None:
    assert "mzsr\n" in run("models").stdout
    cards = [json.loads(line) for line in run("models", "--json").stdout.splitlines()]
    assert "mzsr" in [card["name"] for card in cards]
    assert all(card["sha256"] and card["data"] for card in cards)


def test_progress_on_a_terminal_is_a_bar(picture: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mzsr.apps import present

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with present.progress(Path("photo [final][/x].png")) as progress:
        progress("enhance [1]", 0.5)
    assert "photo [final][/x].png" in terminal.getvalue()


def test_help_and_version(here: Path) -> None:
    assert run("--version").stdout == f"{__version__}\n"
    for command in ("upscale", "estimate", "degrade", "models", "train"):
        assert command in run("--help").stdout
        assert run(command, "--help").exit_code == 0
    assert run("upscale").exit_code == 2
    assert run("upscale", "a.png", "--no-such-flag").exit_code == 2


def test_the_module_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "mzsr", "--version"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")
