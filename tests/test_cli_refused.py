"""Tests of what the command line refuses, in one line and with nothing left behind."""

from pathlib import Path

import numpy as np
import pytest
from commands import listing, refused, run
from PIL import Image
from scipy.io import savemat


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
    (["3x2.png"], "3x2.png: picture is 3x2; at least 8x8 pixels are required", 1),
    (["son.png", "--steps", "1"], "picture is 15x15; its son at x2 would be 7x7, at least 8x8 is required", 1),
    (["a.png", "-o", "bare"], "bare is a folder; a file is required — add a name", 2),
    (["nowhere", "-o", "bare"], "nowhere does not exist; a picture or a folder of pictures is required", 2),
    (["a.png", "--fit", "inside"], "fit is 'inside', which is of a box; give both its width and its height", 2),
    (["a.png", "--fit", "outside", "--width", "200"], "fit is 'outside', which is of a box", 2),
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
    (["a.png", "--width", "10"], "10x8 is 0.132 times the 76x60 of the picture", 1),
    (["a.png", "--noise", "loud"], "noise is 'loud'; a number such as 0.02 or a fraction such as 5/255 is required", 2),
    (["a.png", "--noise", "5/0"], "noise is '5/0'; a number", 2),
    (["a.png", "--noise", "nan"], "noise is nan; it must lie between 0 and 1", 2),
    (["a.png", "--noise", "25"], "noise is 25; it must lie between 0 and 1 — 8-bit levels are written as 5/255", 2),
    (["a.png", "--steps", "-1"], "steps is -1; it must lie between 0 and 100", 2),
    (["a.png", "--quality", "0"], "--quality is 0; it must lie between 1 and 100", 2),
    (["a.png", "--tile", "16"], "tile is 16; it must be 0 (no tiles), or from 32 to 4096", 2),
    (["a.png", "--kernel", "bicubic", "--subsample", "direct"], "kernel is bicubic, which shrinks by itself", 2),
    (["a.png", "--device", "abacus"], "device is 'abacus'; it must be one of auto, cpu, cuda", 2),
    (["a.png", "--model", "best"], "model is 'best'; give a .safetensors file or a model that is installed: ", 2),
]


@pytest.mark.parametrize(("arguments", "message", "code"), BAD_INPUT, ids=[" ".join(case[0]) for case in BAD_INPUT])
def test_bad_input_of_upscale(picture: Path, tiny_weights: Path, arguments: list[str], message: str, code: int) -> None:
    write_bad_inputs(picture.parent)
    before = listing(picture.parent)
    model = [] if "--model" in arguments else ["-n", str(tiny_weights)]
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


def test_the_limit_of_pixels_holds_for_every_command(picture: Path) -> None:
    """76x60 are 4560 pixels."""
    commands = (["estimate", "a.png"], ["degrade", "a.png", "-o", "b.png"], ["upscale", "a.png"])
    for command in commands:
        refused(run(*command, "--max-pixels", "0.004"), "raise max_pixels (--max-pixels)", 1)
        refused(run(*command, "--max-pixels", "-1"), "--max-pixels is -1; it must be a number of millions above 0", 2)
    assert run(*commands[0], "--max-pixels", "0.005").exit_code == 0
