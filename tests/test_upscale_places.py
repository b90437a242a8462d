"""Tests of the sizes that the Upscaler makes, and of where things lie in them."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from measures import psnr
from samples import rgb8
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.resize import resize
from mzsr.inference import result as results
from mzsr.inference.upscale import Upscaler


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.5, 3, 4, 8])
def test_any_scale(tiny_upscaler: Upscaler, photo: Tensor, scale: float) -> None:
    result = tiny_upscaler(photo[:, :, :17, :23], scale=scale, kernel="gauss:0.6", steps=0)
    assert result.picture.pixels.shape == result.bicubic.shape == (1, 3, round(17 * scale), round(23 * scale))
    assert result.degradation.scale == math.ceil(scale)
    assert psnr(result.picture.pixels, result.bicubic) > 12  # elsewhere, or upside down: below 10
    assert result.facts["scale"] == scale
    warned = any("trained at x2, not at" in warning for warning in result.facts["warnings"])
    assert warned == (math.ceil(scale) != 2)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((30, None), (30, 41)),
        ((None, 46), (34, 46)),
        ((30, 46), (30, 46)),
        ((40, 24), (40, 24)),
        ((17, None), (17, 23)),
    ],
)
def test_a_size_instead_of_a_scale(
    tiny_upscaler: Upscaler, photo: Tensor, size: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    """The missing side follows: 30 / 17 x 23 = 40.6; what is not in proportion is squeezed from the larger scale."""
    result = tiny_upscaler(photo[:, :, :17, :23], size=size, kernel="bicubic", steps=0)
    assert tuple(result.picture.pixels.shape[2:]) == expected
    assert result.facts["scale"] == pytest.approx(max(expected[0] / 17, expected[1] / 23), abs=0.03)


@pytest.mark.parametrize(("fit", "expected"), [("stretch", (60, 40)), ("inside", (30, 40)), ("outside", (60, 80))])
def test_a_box_is_stretched_to_filled_or_covered(
    tiny_upscaler: Upscaler, photo: Tensor, fit: Literal["stretch", "inside", "outside"], expected: tuple[int, int]
) -> None:
    result = tiny_upscaler(photo[:, :, :24, :32], size=(60, 40), fit=fit, kernel="bicubic", steps=0)
    assert tuple(result.picture.pixels.shape[2:]) == expected


def test_half_a_pixel_is_no_reason_for_the_next_scale(tiny_upscaler: Upscaler) -> None:
    result = tiny_upscaler(np.zeros((33, 50), np.uint8), size=(67, 100), steps=0)
    assert (result.degradation.scale, np.asarray(result.image).shape) == (2, (67, 100))


def test_bicubic_is_what_it_was_enlarged_from(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    result = tiny_upscaler(photo[:, :1], scale=1.5, kernel="bicubic", steps=0)
    assert torch.allclose(result.bicubic, resize(photo[:, :1], scale=1.5).clamp(0, 1), atol=1e-6)


def centroid(images: Tensor) -> tuple[float, float]:
    """Return (row, column) of what stands out of the background of 0.2."""
    weight = (images.mean((0, 1)) - 0.2).double()
    rows, columns = torch.arange(weight.shape[0]).double(), torch.arange(weight.shape[1]).double()
    return float(weight.sum(1) @ rows / weight.sum()), float(weight.sum(0) @ columns / weight.sum())


def test_rows_and_columns_have_a_phase_each(tiny_upscaler: Upscaler) -> None:
    row, column = torch.arange(48.0)[:, None] - 20.3, torch.arange(56.0) - 30.8
    blob = (0.2 + 0.6 * torch.exp(-(row**2 + column**2) / (2 * 3.0**2))).expand(1, 3, -1, -1)
    cut_out = torch.cat([torch.full_like(blob, 0.5), blob[:, :1] - 0.2], 1)[0].permute(1, 2, 0).numpy()
    for rows, columns in ((0.5, 0.0), (0.0, 0.5)):
        kernel = kernels.gaussian((1.0, 1.0), offset=(rows, columns))
        result, cut = (tiny_upscaler(p, scale=2, noise=0.0, steps=0, kernel=kernel) for p in (blob, cut_out))
        assert cut.picture.alpha is not None
        for picture in (result.picture.pixels, result.bicubic, cut.picture.alpha + 0.2):
            assert centroid(picture) == pytest.approx((40.6 + rows, 61.6 + columns), abs=0.05)


@pytest.mark.parametrize(
    ("offset", "said"),
    [
        ((0.0, 0.0), "0.5 pixels up and left"), ((0.5, 0.0), "0.5 pixels left"), ((0.0, 0.5), "0.5 pixels up"),
        ((1.5, 1.5), "1 pixels down and right"), ((0.0, 1.5), "0.5 pixels up and 1 right"), ((0.5, 0.5), None),
    ],
)  # fmt: skip
def test_what_lies_elsewhere_is_told(
    tiny_upscaler: Upscaler, photo: Tensor, offset: tuple[float, float], said: str | None
) -> None:
    result = tiny_upscaler(photo, scale=2, noise=0.0, steps=0, kernel=kernels.gaussian((1.0, 1.0), offset=offset))
    found = [warning for warning in result.facts["warnings"] if "the result lies" in warning]
    assert len(found) == (said is not None)
    assert said is None or f"lies {said} of the picture" in found[0]


@pytest.mark.parametrize(
    ("options", "offset"),
    [
        ({"kernel": "auto"}, 0.5),  # photographs: a pixel is the middle of the 2x2 it stands for
        ({"kernel": "auto", "subsample": "direct"}, 0.0),
        ({"kernel": "bicubic"}, 0.5),
        ({"kernel": "gauss:1.0"}, 0.0),  # the paper's grid: pixel i lies on 2 i
        ({"kernel": "gauss:1.0", "subsample": "bicubic"}, 0.5),
        ({"kernel": kernels.gaussian((1.0, 1.0), offset=(0.5, 0.5))}, 0.5),
    ],
)
@pytest.mark.parametrize("scale", [2, 3])
def test_nothing_moves(tiny_upscaler: Upscaler, options: dict[str, Any], offset: float, scale: int) -> None:
    row, column = torch.arange(48.0)[:, None] - 20.3, torch.arange(56.0) - 30.8
    blob = (0.2 + 0.6 * torch.exp(-(row**2 + column**2) / (2 * 3.0**2))).expand(1, 3, -1, -1)
    if scale == 3:
        offset *= 2  # (s - 1) / 2
        if isinstance(options["kernel"], Tensor):
            options = {"kernel": kernels.gaussian((1.0, 1.0), offset=(1.0, 1.0))}
    result = tiny_upscaler(blob, scale=scale, noise=0.0, steps=0, **options)
    expected = 20.3 * scale + offset, 30.8 * scale + offset
    assert centroid(result.picture.pixels) == pytest.approx(expected, abs=0.03)
    assert centroid(result.bicubic) == pytest.approx(expected, abs=0.03)


def test_a_size_between_two_scales_moves_nothing_and_is_made_in_bands(
    tiny_upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, column = torch.arange(48.0)[:, None] - 20.3, torch.arange(56.0) - 30.8
    blob = (0.2 + 0.6 * torch.exp(-(row**2 + column**2) / (2 * 3.0**2))).expand(1, 3, -1, -1)
    options: dict[str, Any] = {"scale": 1.5, "noise": 0.0, "steps": 0, "kernel": "gauss:2", "subsample": "direct"}
    whole = tiny_upscaler(blob, **options)
    # x2 lies at 2 p, and x1.5 has its pixel j at 4/3 (j + 1/2) - 1/2 of x2
    expected = 1.5 * 20.3 - 0.125, 1.5 * 30.8 - 0.125
    assert centroid(whole.picture.pixels) == pytest.approx(expected, abs=0.03)
    assert centroid(whole.bicubic) == pytest.approx(expected, abs=0.03)
    monkeypatch.setattr(results, "BAND", 10)
    assert torch.equal(tiny_upscaler(blob, **options).picture.pixels, whole.picture.pixels)


def test_a_centred_grid_stays_centred_at_an_odd_scale(tiny_upscaler: Upscaler) -> None:
    row, column = torch.arange(48.0)[:, None] - 20.3, torch.arange(56.0) - 30.8
    blob = (0.2 + 0.6 * torch.exp(-(row**2 + column**2) / (2 * 3.0**2))).expand(1, 3, -1, -1)
    result = tiny_upscaler(blob, scale=1.5, kernel="bicubic", noise=0.0, steps=0)
    assert centroid(result.picture.pixels) == pytest.approx((1.5 * 20.3 + 0.25, 1.5 * 30.8 + 0.25), abs=0.03)


def test_a_bicubic_kernel_is_on_the_grid_of_photographs(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    array = rgb8(photo)
    usual = tiny_upscaler(array, kernel="bicubic", steps=0)
    same_thing: tuple[tuple[Any, Any], ...] = (("bicubic", "centre"), ("bicubic", "bicubic"), (Path("bicubic"), None))
    for kernel, grid in same_thing:
        same = tiny_upscaler(array, kernel=kernel, subsample=grid, steps=0)
        assert torch.equal(same.picture.pixels, usual.picture.pixels)
    with pytest.raises(InputError, match="kernel is bicubic, which shrinks by itself"):
        tiny_upscaler(array, kernel="bicubic", subsample="direct", steps=0)
