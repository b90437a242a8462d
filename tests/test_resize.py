"""Tests of bicubic resizing: the textbook definition and torch as oracles, closed forms, centroids, bad input."""

import math

import jaxtyping
import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from mzsr.errors import InputError
from mzsr.imaging.borders import pad_symmetric
from mzsr.imaging.resize import resize, stretched_cubic

scales = st.floats(0.2, 4.0)
phases = st.tuples(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@given(height=st.integers(1, 9), width=st.integers(1, 9), scale=scales, phase=phases)
def test_equals_the_textbook(height: int, width: int, scale: float, phase: tuple[float, float]) -> None:
    """Any scale, any phase, odd sizes, pictures smaller than the kernel."""
    image = draw(1, 1, height, width)
    result = resize(image, scale=scale, phase=phase)
    size = (math.ceil(scale * height - 1e-9), math.ceil(scale * width - 1e-9))
    expected = oracles.imresize(image[0, 0].numpy(), size, (scale, scale), phase)
    np.testing.assert_allclose(result[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(5, 13), (7, 4), (22, 31), (11, 9)])
def test_a_size_alone_is_a_scale_for_each_axis(size: tuple[int, int]) -> None:
    images = draw(2, 3, 11, 9)
    rows, columns = size[0] / 11, size[1] / 9
    centred = ((rows - 1) / 2, (columns - 1) / 2)
    expected = [oracles.imresize(plane, size, (rows, columns), centred) for plane in images.flatten(0, 1).numpy()]
    np.testing.assert_allclose(resize(images, size=size).flatten(0, 1).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.5, 2.0, 2.5, 3.0, 4.0])
def test_equals_torch_on_a_mirrored_picture(scale: float) -> None:
    """torch's antialiased bicubic has MATLAB's kernel but not its border; with the border it is the same."""
    images = draw(2, 3, 24, 20)
    border = 16  # of the input, and a whole number of output pixels at every scale above
    cut = int(border * scale)
    wide = pad_symmetric(images, (border, border, border, border))
    expected = interpolate(wide, scale_factor=scale, mode="bicubic", antialias=True)[:, :, cut:-cut, cut:-cut]
    torch.testing.assert_close(resize(images, scale=scale), expected, rtol=0, atol=3e-7)


@given(height=st.integers(1, 9), width=st.integers(1, 9), scale=scales, phase=phases, data=st.data())
def test_a_window_is_what_it_is_in_the_whole(
    height: int, width: int, scale: float, phase: tuple[float, float], data: st.DataObject
) -> None:
    images = draw(2, 1, height, width)
    whole = resize(images, scale=scale, phase=phase)
    ends = [data.draw(st.tuples(st.integers(0, side), st.integers(0, side)).map(sorted)) for side in whole.shape[2:]]
    (top, bottom), (left, right) = ends
    part = resize(images, scale=scale, phase=phase, window=(top, bottom, left, right))
    assert torch.equal(part, whole[:, :, top:bottom, left:right])


def test_halving_has_the_known_taps() -> None:
    """MATLAB halves with (-3 -9 29 111 111 29 -9 -3) / 256: output pixel 5 lies between input pixels 10 and 11."""
    impulses = 256 * torch.eye(20, dtype=torch.float64)[:, None, None, :]
    found = resize(impulses, scale=0.5, size=(1, 10))[:, 0, 0, 5]
    assert found.tolist() == pytest.approx([0] * 7 + [-3, -9, 29, 111, 111, 29, -9, -3] + [0] * 5)


@given(scale=scales, phase=phases, value=st.floats(0.0, 1.0))
def test_a_constant_stays_constant(scale: float, phase: tuple[float, float], value: float) -> None:
    images = torch.full((1, 2, 5, 7), value, dtype=torch.float64)
    result = resize(images, scale=scale, phase=phase)
    torch.testing.assert_close(result, torch.full_like(result, value), rtol=0, atol=1e-14)


@given(scale=st.floats(1.0, 4.0), phase=phases)
def test_enlarging_keeps_a_parabola(scale: float, phase: tuple[float, float]) -> None:
    """Keys' cubic is of third order: away from the border it reproduces polynomials of degree two."""
    polynomial = [0.3, -0.02, 0.007]

    def parabola(axis: torch.Tensor) -> torch.Tensor:
        return polynomial[0] + polynomial[1] * axis + polynomial[2] * axis**2

    place = torch.arange(math.ceil(scale * 12 - 1e-9), dtype=torch.float64)
    column = (place - phase[1]) / scale
    row = resize(parabola(torch.arange(12.0, dtype=torch.float64)).expand(1, 1, 12, 12), scale=scale, phase=phase)
    inside = (column >= 1) & (column <= 10)
    torch.testing.assert_close(row[0, 0, 0, inside], parabola(column[inside]), rtol=0, atol=1e-12)


@given(scale=st.floats(0.35, 4.0), phase=phases)
def test_a_blob_lands_where_the_phase_says(scale: float, phase: tuple[float, float]) -> None:
    """A centroid at c comes out at scale * c + phase.

    A cubic that is stretched to shrink, its weights summing to 1, keeps no line: at 0.88 a blob moves by 0.004 pixels.
    """
    image = torch.from_numpy(oracles.blob((72, 64), (36.3, 31.8), deviation=max(2.0, 2.0 / scale)))
    result = resize(image[None, None], scale=scale, phase=phase)[0, 0].numpy()
    expected = scale * oracles.centroid(image.numpy()) + np.array(phase)
    np.testing.assert_allclose(oracles.centroid(result), expected, atol=2e-3 if scale >= 1 else 5e-3)


@given(height=st.integers(1, 12), width=st.integers(1, 12), rows=st.integers(1, 20), columns=st.integers(1, 20))
def test_a_mirrored_picture_gives_a_mirrored_result(height: int, width: int, rows: int, columns: int) -> None:
    images = draw(1, 1, height, width)
    flipped = resize(images.flip(2, 3), size=(rows, columns)).flip(2, 3)
    torch.testing.assert_close(resize(images, size=(rows, columns)), flipped, rtol=0, atol=1e-12)


def test_scale_one_is_the_identity_and_a_whole_phase_a_shift() -> None:
    images = draw(1, 2, 5, 6)
    assert torch.equal(resize(images, scale=1), images)
    moved = resize(images, scale=1, phase=(2, 0))
    assert torch.equal(moved, pad_symmetric(images, (2, 0, 0, 0))[:, :, :5])


@pytest.mark.parametrize(
    ("side", "scale", "expected"), [(50, 1.1, 55), (10, 0.7, 7), (5, 0.5, 3), (3, 1.4, 5), (7, 3, 21)]
)
def test_the_size_is_rounded_up_but_not_for_an_inexact_product(side: int, scale: float, expected: int) -> None:
    """1.1 * 50 is 55.00000000000001 in binary and must give 55 rows, as in MATLAB."""
    assert resize(draw(1, 1, side, side), scale=scale).shape == (1, 1, expected, expected)


@pytest.mark.parametrize("scale", range(1, 6))
def test_stretched_cubic_is_shrinking_as_a_correlation(scale: int) -> None:
    taps, first = stretched_cubic(scale)
    offsets = torch.arange(len(taps), dtype=torch.float64) + first
    assert float(taps.sum()) == pytest.approx(1)
    assert float((taps * offsets).sum()) == pytest.approx((scale - 1) / 2)  # where the centre-aligned pixel sits
    signal = draw(1, 1, 1, 12 * scale)
    reach = 2 * scale
    wide = pad_symmetric(signal, (0, 0, reach, reach))[0, 0, 0]
    begin = reach + first
    rows = torch.stack([taps @ wide[begin + scale * i : begin + scale * i + len(taps)] for i in range(12)])
    torch.testing.assert_close(resize(signal, scale=1 / scale, size=(1, 12))[0, 0, 0], rows, rtol=0, atol=1e-12)


def test_gradient() -> None:
    images = draw(1, 1, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resize(x, scale=1.7, phase=(0.2, -0.4)), images)
    assert torch.autograd.gradcheck(lambda x: resize(x, size=(2, 5)), images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither scale nor size; give one"),
        ({"scale": 0.0}, "scale is 0.0; it must be a number above 0"),
        ({"scale": -2}, "scale is -2; it must"),
        ({"scale": math.nan}, "scale is nan; it must"),
        ({"scale": math.inf}, "scale is inf; it must"),
        ({"size": (0, 4)}, "output size is 0x4; both sides must be at least 1 pixel"),
        ({"scale": 2.0, "size": (4, -1)}, "output size is 4x-1"),
    ],
)
def test_bad_input(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        resize(torch.zeros(1, 1, 3, 3), **arguments)
    assert "\n" not in str(error.value)


def test_whole_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights made whole would give a black picture."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=r"images are torch.uint8; floats in .0, 1. are required"):
        resize(torch.zeros(1, 1, 3, 3, dtype=torch.uint8), scale=2.0)
