"""What may be asked for over HTTP is what `mzsr upscale` takes, and is refused in the same words."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st

from mzsr.errors import InputError
from mzsr.imaging import kernel_files
from mzsr.service.options import Options, cards, check

MODELS = {name: card for name, (_, card) in cards(()).items()}


def test_nothing_said_is_what_the_command_line_does() -> None:
    options = check({}, MODELS)
    assert options == Options(mode="balanced", steps=1, x8=False, model="mzsr", kernel="auto", noise="auto", quality=95)
    assert options.keywords(Path()) == {
        "scale": None, "size": None, "fit": "stretch", "kernel": "auto", "subsample": None, "noise": "auto",
        "jpeg": "auto", "enlarged": "auto", "mode": "balanced", "steps": 1, "x8": False, "seed": 0,
        "back_projection": True,
    }  # fmt: skip


def test_a_mode_says_what_steps_and_x8_are_unless_they_are_said() -> None:
    assert (check({"mode": "best"}, MODELS).steps, check({"mode": "best"}, MODELS).x8) == (10, True)
    assert (check({"mode": "best", "steps": 3, "x8": False}, MODELS).steps, check({"mode": "fast"}, MODELS).steps) == (
        3,
        0,
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scale": 9.0}, "scale is 9; it must lie between 1 and 8"),
        ({"scale": 2.0, "width": 50}, "both a scale, 2, and a size, width 50, are given"),
        ({"width": 0}, "both count pixels"),
        ({"steps": 999}, "steps is 999; it must lie between 0 and"),
        ({"mode": "magic"}, "mode is 'magic'; it must be one of fast, balanced, best"),
        ({"model": "../../weights"}, "model is '../../weights'; it must be one of mzsr, "),
        ({"noise": "loud"}, "noise is 'loud'; a number such as 0.02"),
        ({"noise": "inf"}, "noise is inf; it must lie between 0 and 1"),
        ({"noise": "nan"}, "noise is nan; it must lie between 0 and 1"),
        ({"kernel": "gauss:"}, "kernel is 'gauss:'; write gauss:VARIANCE"),
        ({"kernel": "gauss:nan"}, "every number in it must be finite"),
        ({"kernel": "gauss:1e9"}, "it must be at most 400"),
        ({"kernel_file": "k.pkl"}, "kernel file 'k.pkl' ends in '.pkl'; .mat and .npy files are read"),
        ({"kernel_file": "k.mat", "kernel": "bicubic"}, "give one of them"),
        ({"kernel": "bicubic", "subsample": "direct"}, "kernel is bicubic, which shrinks by itself"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as refusal:
        check(values, MODELS)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_kernel_in_words_is_never_a_file_of_the_server(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.ones((3, 3)) / 9)
    assert kernel_files.parse(str(tmp_path / "k.npy")).shape == (3, 3), "the command line reads it"
    with pytest.raises(InputError, match="write auto, bicubic or gauss:NUMBERS, or send a file as kernel_file"):
        check({"kernel": str(tmp_path / "k.npy")}, MODELS)


def test_an_uploaded_kernel_is_the_one_in_the_folder_of_the_job(tmp_path: Path) -> None:
    np.save(tmp_path / "kernel.npy", np.ones((3, 3)) / 9)
    kernel = check({"kernel_file": "my blur.NPY"}, MODELS).keywords(tmp_path)["kernel"]
    assert torch.equal(kernel, kernel_files.load(tmp_path / "kernel.npy"))


@pytest.mark.parametrize(
    ("options", "limit", "words"),
    [
        (Options(scale=2), 40_000, None),
        (Options(scale=2), 39_999, "the result would have 200 x 200 pixels, 0.0 million"),
        (Options(width=900), 10**9, "900x900 is 9 times the 100x100 of the picture"),
        (Options(width=400, height=200, fit="inside"), 40_000, None),
        (Options(width=400, height=200, fit="outside"), 40_000, "the result would have 400 x 400 pixels"),
        (Options(width=400, height=50, fit="outside"), 160_000, None),
        (Options(width=400, height=50), 10**9, "400x50 is 0.5 times the 100x100 of the picture on one side"),
        (Options(width=800, height=100), 160_000, None),
        (Options(width=800, height=100), 159_999, "800 x 100 pixels are made from x8 of the picture, 0.6 million"),
    ],
)
def test_the_size_of_a_result_is_known_before_any_work(options: Options, limit: int, words: str | None) -> None:
    if words is None:
        options.check_target(100, 100, "PNG", limit)
    else:
        with pytest.raises(InputError, match=words):
            options.check_target(100, 100, "PNG", limit)


@given(width=st.integers(8, 9000), height=st.integers(8, 9000), scale=st.floats(1, 8))
def test_in_proportion_the_next_whole_scale_is_never_too_much(width: int, height: int, scale: float) -> None:
    """Its pixels are (⌈s⌉ / s)² times the result, at most 4 for any s from 1 on."""
    Options(scale=scale).check_target(width, height, "PNG", round(width * scale) * round(height * scale))


@pytest.mark.parametrize(
    ("options", "found", "side"),
    [
        (Options(), "WEBP", 16383),
        (Options(format="webp"), "PNG", 16383),
        (Options(format="jpg"), "PNG", 65500),
        (Options(), "MPO", 65500),
        (Options(format="avif"), "GIF", 65536),
    ],
)
def test_a_side_that_a_format_does_not_hold_is_known_before_any_work(options: Options, found: str, side: int) -> None:
    most = side // 2  # at x2
    options.check_target(most, 8, found, 10**9)
    words = f"the result would have {2 * most + 2} x 16 pixels; [a-z]+ holds at most {side} a side"
    with pytest.raises(InputError, match=words):
        options.check_target(most + 1, 8, found, 10**9)
    replace(options, format="png").check_target(most + 1, 8, found, 10**9)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mode": "best", "x8": False, "kernel": "gauss:2.0,1.0,-0.5", "noise": "5/255"},
        {
            "width": 640,
            "height": 480,
            "fit": "inside",
            "format": "webp",
            "quality": 80,
            "seed": -3,
            "jpeg": "off",
            "enlarged": "off",
        },
        {"scale": 1.5, "subsample": "direct", "steps": 0, "model": "mzsr-meta"},
        {"scale": 2.3456789},
    ],
)
def test_the_command_of_a_report_asks_the_command_line_for_the_same(values: dict[str, object]) -> None:
    from mzsr.apps.cli import app

    options = check(values, MODELS)
    program, command, *rest = shlex.split(options.command("my photo.png", "PNG"))
    assert (program, command) == ("mzsr", "upscale")
    parsed = typer.main.get_command(app).commands["upscale"].make_context("upscale", rest).params  # pyright: ignore
    asked = {("format" if key == "form" else key): value for key, value in parsed.items()}
    assert list(map(str, asked["inputs"])) == ["my photo.png"]
    for key in ("scale", "width", "height", "fit", "kernel", "subsample", "noise", "jpeg", "enlarged", "mode", "model",
                "format", "quality", "seed"):  # fmt: skip
        assert asked[key] == getattr(options, key), key
    again = check({"mode": asked["mode"], "steps": asked["steps"], "x8": asked["x8"]}, MODELS)
    assert (again.steps, again.x8) == (options.steps, options.x8)


@pytest.mark.parametrize(
    ("name", "found", "options", "form"),
    [
        ("photo.jpg", "PNG", Options(), "png"), ("photo.jpeg", "MPO", Options(), None),
        ("scan", "TIFF", Options(), "tif"), ("scan", "PNG", Options(), None), ("a.heic", "HEIF", Options(), None),
        ("photo.jpg", "PNG", Options(format="webp"), "webp"),
    ],
)  # fmt: skip
def test_the_command_of_a_report_makes_the_same_kind_of_file(
    name: str, found: str, options: Options, form: str | None
) -> None:
    """The command line goes by the name of a picture, the service by what is in it."""
    words = shlex.split(options.command(name, found))
    assert (words[words.index("--format") + 1] if "--format" in words else None) == form


@pytest.mark.parametrize(
    ("options", "name", "found", "result"),
    [
        (Options(), "photo.jpeg", "MPO", "photo_x2.jpg"),
        (Options(scale=1.5), "a.b.gif", "GIF", "a.b_x1.5.png"),
        (Options(width=99, format="avif"), "scan.TIFF", "TIFF", "scan_large.avif"),
        (Options(), "picture", "HEIF", "picture_x2.png"),
    ],
)
def test_results_are_named_as_the_command_line_names_them(options, name: str, found: str, result: str) -> None:
    assert options.result_name(name, found) == result


def test_models_may_be_files_and_their_names_stand_for_them(tiny_weights: Path) -> None:
    found = cards((str(tiny_weights), "mzsr"))
    assert {name: model for name, (model, _) in found.items()} == {"tiny": str(tiny_weights), "mzsr": "mzsr"}
    assert check({}, {name: card for name, (_, card) in found.items()}).model == "tiny"
    with pytest.raises(InputError, match="two models are called mzsr"):
        cards(("mzsr", "mzsr"))
    assert next(iter(cards(()))) == "mzsr"
