"""Tests of `mzsr upscale`: pictures, records, reports and maps that it makes of one picture or a folder."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import listing, refused, run
from PIL import Image
from scipy.io import savemat
from torch import Tensor

import mzsr
from mzsr import __version__
from mzsr.apps import error_map
from mzsr.errors import InputError
from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation
from mzsr.inference.upscale import Upscaler
from mzsr.learning.networks import Unfolded


def test_upscale_makes_a_picture_of_twice_the_size(picture: Path, tiny_weights: Path) -> None:
    result = run("upscale", "a.png", "-n", tiny_weights, "--device", "cpu")
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
def test_options_of_upscale(
    picture: Path, tiny_weights: Path, options: list[str], name: str, size: tuple[int, int]
) -> None:
    result = run("upscale", "a.png", "-n", tiny_weights, "--kernel", "bicubic", "--steps", "0", *options)
    assert result.exit_code == 0, result.stderr
    with Image.open(name) as image:
        assert image.size == size


def test_json_is_one_record_per_picture_and_nothing_else(picture: Path, tiny_weights: Path) -> None:
    shutil.copy(picture, "b.png")
    Path("c.png").write_bytes(b"no picture")
    Path("out").mkdir()
    result = run("upscale", "a.png", "c.png", "b.png", "-o", "out", "-n", tiny_weights, "-s", "2", "--json")
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


def test_a_folder_with_one_bad_file_is_done_but_for_that(picture: Path, tiny_weights: Path) -> None:
    Path("in").mkdir()
    for name in ("a.png", "b.JPG", "c.bmp"):
        Image.open(picture).save(Path("in") / name, "JPEG" if name == "b.JPG" else None)
    Path("in/b.JPG").write_bytes(Path("in/b.JPG").read_bytes()[:500])
    Path("in/notes.txt").write_text("not a picture")
    Path("out").mkdir()
    result = run("upscale", "in", "-o", "out", "-n", tiny_weights, "--steps", "0", "--kernel", "bicubic")
    assert result.exit_code == 1
    assert sorted(name for name in listing(Path("out")) if not name.startswith(".mzsr")) == ["a_x2.png", "c_x2.bmp"]
    # On a slow machine it is told beside them how far the work is
    lines = [line for line in result.stderr.splitlines() if line.startswith("mzsr: ")]
    assert len(lines) == 2
    assert lines[0].startswith("mzsr: in/b.JPG is damaged or cut short")
    assert lines[1] == "mzsr: 1 of 3 pictures failed, 2 are done: in/b.JPG"
    assert sorted(listing(Path("in"))) == ["a.png", "b.JPG", "c.bmp", "notes.txt"]


def test_the_report_shows_the_picture(picture: Path, tiny_weights: Path) -> None:
    result = run("upscale", "a.png", "-n", tiny_weights, "--report", "r.html")
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


def test_a_record_and_a_report_leave_out_what_no_model_knows(picture: Path, tiny_weights: Path) -> None:
    result = run("upscale", "a.png", "-n", tiny_weights, "--report", "r.html", "--json")
    assert result.exit_code == 0, result.stderr
    assert not {"expected_error", "expected_psnr_db"} & json.loads(result.stdout).keys()
    assert "Expected PSNR" not in Path("r.html").read_text("utf-8")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is always full")
def test_what_is_done_is_done_wherever_it_cannot_be_told(picture: Path, tiny_weights: Path) -> None:
    """Standard output is full; nobody reads either stream, as of `… | head`; no arrows, standard error closed."""
    shutil.copy(picture, "b.png")
    Path("c.png").write_text("")
    model = ["-n", str(tiny_weights), "--kernel", "bicubic", "--noise", "0", "--steps", "0", "--scale", "3"]
    command = [sys.executable, "-m", "mzsr", "upscale", "a.png", "b.png", *model, "-o"]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, "one", "c.png"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "standard output cannot be written (No space left on device)" in done.stderr
    assert done.stderr.endswith("mzsr: 1 of 3 pictures failed, 2 are done: c.png\n")
    with subprocess.Popen([*command, "two"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for stream in (process.stdout, process.stderr):  # where it is told that the network knows no x3
            assert stream is not None
            stream.close()
        assert process.wait() == 0
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    closed = f"{shlex.join(command)} three 2>&-"
    said = subprocess.run(closed, shell=True, env=environment, capture_output=True, encoding="latin-1")
    assert said.returncode == 0
    assert "a.png \\u2192 three/a_x3.png, 76x60 \\u2192 228x180" in said.stdout
    assert all(Path(folder, f"{name}_x3.png").exists() for folder in ("one", "two", "three") for name in "ab")


def test_ctrl_c_leaves_nothing(picture: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Unfolded, lr: Tensor, d: Degradation) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(Unfolded, "forward", interrupted)
    before = listing(picture.parent)
    result = run("upscale", "a.png", "-n", tiny_weights, "--steps", "0")
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert listing(picture.parent) == before


def test_a_kernel_as_matlab_writes_it(picture: Path, tiny_weights: Path) -> None:
    """A variable of any name, double, any sum, with 1x1 numbers beside it, compressed."""
    taps = kernels.gaussian((2.0, 1.0), 0.5).double().numpy()
    savemat("k.mat", {"k": 3 * np.asfortranarray(taps), "scale": 2.0}, do_compression=True)
    np.save("k.npy", taps)
    for name in ("mat", "npy"):
        done = run(
            "upscale",
            "a.png",
            "-o",
            f"{name}.png",
            "--kernel",
            f"k.{name}",
            "-n",
            tiny_weights,
            "--noise",
            "0",
            "--json",
        )
        assert json.loads(done.stdout)["degradation"]["covariance_px2"][0][0] < 1.4  # of rows: the smaller one mostly
    assert Path("mat.png").read_bytes() == Path("npy.png").read_bytes()


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
