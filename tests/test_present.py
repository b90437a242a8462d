"""Tests of what people read about a result."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mzsr.apps import error_map, present, report
from mzsr.apps.report import render
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation
from mzsr.imaging.jpeg import Jpeg, tables
from mzsr.imaging.picture import Picture
from mzsr.inference.enlargement import ADVICE
from mzsr.inference.estimate import Estimate, estimate
from mzsr.inference.upscale import Result
from mzsr.learning.weights import card_of

D = Degradation(kernels.gaussian((4.0, 1.0), size=25), noise=5 / 255)
TOLD = Estimate(
    D, 0.83, (4.0, 1.0), math.pi / 2, 5 / 255, (3 / 255, 5 / 255, 6.4 / 255), False, "Gaussian blur", 1.6, 0.08, 0.3
)
RESULT = Result(
    picture=Picture(torch.full((1, 3, 20, 32), 0.5)),
    lr=torch.full((1, 3, 10, 16), 0.25),
    degradation=D,
    estimate=None,
    losses=[0.02, 0.01, 0.03],
    kept=1,
    reprojection_psnr=41.25,
    seconds={"read": 0.25, "enhance": 1.0},
    facts={
        "model": "mzsr", "scale": 2.0, "input_size": [10, 16], "detail_size": [10, 16], "output_size": [20, 32],
        "steps": 2, "seed": 3,
        "device": "cpu", "peak_memory_mb": 400, "warnings": [],
    },
    given="a.png",
)  # fmt: skip


def test_a_blur_that_nothing_tells_is_assumed() -> None:
    mild = replace(RESULT, estimate=replace(TOLD, fallback=True, note="no trustworthy estimate"))
    data = present.report_data("a.png", mild, "", "1")
    assert (data.kernel_source, data.note[:24]) == ("assumed", "No trustworthy estimate.")
    assert "x2 picture, assumed." in present.result_lines(mild)[0]


def test_the_report_says_in_which_pixels_a_blur_is_told() -> None:
    """At a scale between two whole ones the kernel is that of the next."""
    whole = present.report_data("a.png", replace(RESULT, estimate=TOLD), "", "1")
    assert whole.note == "Gaussian blur. Pixels are those of the enlarged picture."
    between = replace(RESULT, facts=RESULT.facts | {"scale": 1.5})
    assert present.report_data("a.png", between, "", "1").note.startswith("Pixels are those of the x2 picture")


def test_one_line_says_it_all() -> None:
    assert present.one_line("a.png", "b.png", RESULT) == (
        "a.png → b.png, 16x10 → 32x20, blur 2.0 x 1.0 pixels, noise 5.0/255, 1 of 2 steps kept, "
        "re-projection 41.2 dB, 1.2 s"
    )


def test_one_line_leaves_out_what_there_is_not() -> None:
    quiet = replace(RESULT, degradation=Degradation(kernels.delta()), losses=[], reprojection_psnr=math.inf)
    line = present.one_line("a", "b", quiet)
    assert "noise" not in line
    assert "steps" not in line
    assert "blur 0.0 x 0.0 pixels, re-projection inf dB" in line


def test_a_jpeg_is_told_by_its_quality() -> None:
    packed = replace(D, jpeg=Jpeg(tables(70), error=5 / 255))
    assert ", JPEG 70, " in present.one_line("a", "b", replace(RESULT, degradation=packed))
    assert present.jpeg_words(packed.jpeg) == "quality 70, 4:2:0, took about 5.0 of 255 grey levels"
    assert present.jpeg_record(packed.jpeg) == {
        "quality": 70, "chroma": "4:2:0", "offset": [0, 0], "error": round(5 / 255, 6),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("agreement", "noise", "packed", "told", "words"),
    [
        (40.0, 5.0, True, None, "nobody could tell them apart"),
        (31.0, 5.0, False, None, "what differs is mostly the grain that was taken away"),
        (29.0, 5.0, False, None, "they differ a little, and not all of it could be explained"),
        (20.0, 0.0, True, TOLD, "they do not agree, and the blur found is probably wrong; try --kernel bicubic, or"),
        (39.9, 0.9, True, None, "what differs is mostly what JPEG had left"),
        (30.0, 5.0, True, None, "what differs is mostly the grain that was taken away and what JPEG had left"),
        (25.0, 0.9, False, None, "they differ a little, and not all of it could be explained"),
        (24.9, 0.9, False, TOLD, "they do not agree, and the blur found is probably wrong; try --kernel bicubic, or"),
        (24.9, 0.0, False, None, "they do not agree, and the blur given is probably wrong; try --kernel auto, or"),
    ],
)
def test_an_agreement_is_explained(
    agreement: float, noise: float, packed: bool, told: Estimate | None, words: str
) -> None:
    d = replace(D, noise=noise / 255, jpeg=Jpeg(tables(70), error=5 / 255) if packed else None)
    result = replace(RESULT, degradation=d, estimate=told, reprojection_psnr=agreement)
    assert present.agreement_words(result).startswith(words)
    assert f"picture to {agreement:.1f} dB: {words}" in "\n".join(present.result_lines(result))
    fact = present.report_data("a.png", result, "", "1").facts["Re-projection PSNR"]
    assert fact.startswith(f"{agreement:.2f} dB (RGB): {words}")


def test_estimates_in_words_and_as_values() -> None:
    text = "\n".join(present.estimate_lines(TOLD, 2, (10, 16)))
    for word in (
        "2.00 x 1.00 pixels",
        "of the x2 picture",
        "turned 90°",
        "5.00 of 255",
        "3.00 in R, 5.00 in G, 6.40 in B",
        "0.83 of 1",
        "known to ±8 %",
        "0.3 dB may be lost",
    ):
        assert word in text
    record = present.estimate_record(TOLD, "a.png", 2, (10, 16))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["variances_px2"] == [4.0, 1.0]
    assert (record["width_error"], record["expected_loss_db"]) == (0.08, 0.3)
    assert record["theta_rad"] == pytest.approx(math.pi / 2, abs=1e-3)


def test_what_becomes_of_an_enlarged_picture_is_said_as_it_is() -> None:
    twice = replace(TOLD, enlarged=2.0)
    assert "mzsr upscale shrinks it to that first" in "\n".join(present.estimate_lines(twice, 2, (10, 16)))
    for lines in (present.estimate_lines(twice, 8, (10, 16)), present.estimate_lines(twice, 2, (10, 16), "direct")):
        assert f"before; {ADVICE}" in "\n".join(lines)  # there is no network for x16, and it was asked not to


def test_a_kernel_is_drawn_tap_by_tap() -> None:
    taps = torch.tensor([[0.0, 0.1, 0.0], [0.2, 0.4, -0.1], [0.0, 0.4, 0.0]])
    drawn = present.kernel_plot(taps).pixels
    assert drawn.shape == (1, 1, 48, 48)
    assert torch.allclose(drawn[0, 0, ::16, ::16], torch.tensor([[0, 0.25, 0], [0.5, 1, 0], [0, 1, 0]]))
    assert torch.equal(drawn[0, 0, 15::16, 15::16], drawn[0, 0, ::16, ::16])


def test_the_report_has_what_the_result_has() -> None:
    data = present.report_data("folder/a.png", RESULT, "mzsr upscale a.png", "1.2.3")
    assert data.name == "a.png"
    assert (data.before.shape, data.before.dtype, int(data.before.max())) == ((20, 32, 3), np.uint8, 64)
    assert int(data.after.max()) == 128
    assert data.kernel_source == "given"
    assert data.losses == RESULT.losses
    assert data.facts["Steps"] == "1 of 2 kept"
    assert data.facts["Device"] == "cpu, 400 MB at most"
    assert "Mind" not in data.facts
    assert "mzsr upscale a.png" in render(data).replace("<span>", "").replace("</span>", "")


def test_of_a_large_picture_the_report_has_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    lr, hr = torch.rand(1, 3, 10, 16), torch.rand(1, 3, 15, 24)  # x1.5, from twice the size
    error = np.random.default_rng(0).gamma(2.0, 2.0, (15, 24)).astype(np.float32)
    result = replace(RESULT, lr=lr, picture=Picture(hr), uncertainty=error, expected_psnr=30.0)
    monkeypatch.setattr(report, "PICTURE_PIXELS", 15 * 24 // 4)
    data = present.report_data("a.png", result, "", "1")
    for shown, whole in ((data.after, hr), (data.before, result.bicubic)):
        expected = (whole[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        np.testing.assert_array_equal(shown, expected[4:11, 6:18])
    assert data.error is not None
    np.testing.assert_array_equal(data.error, error[4:11, 6:18])
    assert data.error_top == error_map.top(error)  # colours mean the same whatever is cut off
    assert "12 × 7 of its 24 × 15 pixels" in render(data)


def test_the_report_of_a_grey_picture_with_warnings() -> None:
    grey = replace(
        RESULT,
        picture=Picture(torch.full((1, 1, 20, 32), 0.5), bits=16),
        lr=torch.full((1, 1, 10, 16), 0.25),
        estimate=TOLD,
        losses=[0.02, math.nan],
        facts={**RESULT.facts, "warnings": ["one", "two"], "peak_memory_mb": None, "steps": 0},
    )
    data = present.report_data("a.png", grey, "", "1")
    assert data.before.shape == data.after.shape == (20, 32, 3)
    assert data.after.dtype == np.uint8
    assert data.facts["Mind"] == "one; two"
    assert data.facts["Device"] == "cpu"
    assert data.facts["Steps"] == "0"
    assert data.kernel_source == "estimated, confidence 0.83 of 1"
    render(data)


def test_a_card_in_words() -> None:
    card = card_of("mzsr")
    lines = present.model_lines(card.model_copy(update={"score": {}, "scales": (2, 3)}))
    assert lines[0] == "mzsr"
    assert "  scales   x2, x3" in lines
    assert lines[-1] == "  score    not measured"
    runs = ({"hours": 1.0}, {"hours": 0.25})
    longer = card.model_copy(update={"score": {"a": "1", "b": "2"}, "earlier": runs, "hours": 0.5, "iterations": 7})
    told = present.model_lines(longer)
    assert "7 iterations, 0.5 h, after 2 earlier runs of 1.25 h" in told[-4]
    assert told[-3] == "  doubt    it tells how far it is off (--uncertainty)"
    assert told[-2:] == ["  score    a: 1", "           b: 2"]
    assert lines[1:] == [line for line in lines[1:] if line.startswith("  ")]


def test_a_mute_picture_is_said_to_be_mute() -> None:
    told = estimate(torch.full((1, 3, 32, 32), 0.5), 2)
    assert present.estimate_lines(told, 2, (10, 16))[0].startswith("no trustworthy estimate")
    assert present.estimate_record(told, "a", 2, (10, 16))["fallback"] is True


def test_blur_of_a_kernel_that_is_no_blur() -> None:
    """A sharpening kernel has a negative variance; its standard deviation is said to be 0."""
    taps = torch.tensor([[0.0, -0.5, 0.0], [-0.5, 3.0, -0.5], [0.0, -0.5, 0.0]])
    assert present.blur_words(taps) == "blur 0.0 x 0.0 pixels"


@pytest.mark.parametrize(("total", "lines"), [(100, 0), (1000, 11)])
def test_progress_without_a_terminal(capsys: pytest.CaptureFixture[str], total: int, lines: int) -> None:
    """A line for every tenth of long work, none where it is done at once."""
    with present.progress(Path("run"), total) as progress:
        for step in range(total + 1):
            progress(f"loss {step}", step / total)
    written = capsys.readouterr()
    assert written.out == ""
    told = written.err.splitlines()
    assert len(told) == lines
    assert told[-1:] == ["run: 100 %, loss 1000"][:lines]


def test_progress_of_one_picture_that_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its stages begins at 0 again."""
    monkeypatch.setattr(present, "PATIENCE", -1.0)
    with present.progress("a.png", 1) as progress:
        for stage, share in (("read", 0.0), ("read", 1.0), ("enhance", 0.0), ("enhance", 0.05), ("enhance", 0.5)):
            progress(stage, share)
    assert capsys.readouterr().err.splitlines() == [
        "a.png: 0 %, read", "a.png: 100 %, read", "a.png: 0 %, enhance", "a.png: 50 %, enhance",
    ]  # fmt: skip
