"""Tests of the degradation: the definition as oracle, the adjoint, one kernel for blur and resize, grids that stay."""

import math
from dataclasses import replace

import jaxtyping
import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.degrade import (
    Degradation,
    Subsample,
    adjoint,
    check_scale,
    crop,
    degrade,
    effective_kernel,
    linear,
    noise_map,
    phase,
    upsample,
)
from mzsr.imaging.jpeg import Jpeg, compress, tables
from mzsr.imaging.resize import resize

SUBSAMPLES: tuple[Subsample, ...] = ("direct", "bicubic")
scales = st.integers(1, 5)
sides = st.integers(1, 4)  # of the low-resolution picture: less than most kernels reach


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_kernel(*shape: int, seed: int = 1) -> Tensor:
    """Draw kernels without any symmetry; some taps are negative."""
    taps = draw(*shape, seed=seed) - 0.1
    return taps / taps.sum((-2, -1), keepdim=True)


@given(height=sides, width=sides, scale=scales, radius=st.integers(0, 3))
def test_direct_is_its_definition(height: int, width: int, scale: int, radius: int) -> None:
    """Correlation around the middle tap, symmetric borders, then [::s, ::s]."""
    hr, kernel = draw(1, 1, height * scale, width * scale), random_kernel(2 * radius + 1, 2 * radius + 1)
    expected = oracles.correlate(hr[0, 0].numpy(), kernel.numpy(), scale)
    np.testing.assert_allclose(linear(hr, Degradation(kernel, scale))[0, 0].numpy(), expected, atol=1e-12)


@given(
    height=sides,
    width=sides,
    scale=scales,
    radius=st.integers(0, 3),
    subsample=st.sampled_from(SUBSAMPLES),
    batched=st.booleans(),
)
def test_adjoint(height: int, width: int, scale: int, radius: int, subsample: Subsample, batched: bool) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩, borders included."""
    size = 2 * radius + 1
    kernel = random_kernel(2, size, size) if batched else random_kernel(size, size)
    d = Degradation(kernel, scale, subsample)
    x, y = draw(2, 3, height * scale, width * scale), draw(2, 3, height, width, seed=2)
    torch.testing.assert_close((linear(x, d) * y).sum(), (x * adjoint(y, d)).sum(), rtol=1e-12, atol=1e-12)


def test_adjoint_is_the_gradient() -> None:
    d = Degradation(random_kernel(2, 3, 3), 2, "bicubic")
    x, y = draw(2, 1, 6, 8).requires_grad_(), draw(2, 1, 3, 4, seed=2)
    (gradient,) = torch.autograd.grad((linear(x, d) * y).sum(), x)
    torch.testing.assert_close(gradient, adjoint(y, d), rtol=0, atol=1e-12)


@pytest.mark.parametrize("subsample", SUBSAMPLES)
def test_one_kernel_for_each_image(subsample: Subsample) -> None:
    """A batch of kernels is its kernels one by one, and a batch of one serves every image."""
    several, hr, lr = random_kernel(3, 5, 5), draw(3, 2, 12, 9), draw(3, 2, 4, 3)
    together = Degradation(several, 3, subsample)
    for i in range(3):
        alone = Degradation(several[i], 3, subsample)
        torch.testing.assert_close(linear(hr, together)[i : i + 1], linear(hr[i : i + 1], alone), rtol=0, atol=1e-12)
        torch.testing.assert_close(adjoint(lr, together)[i : i + 1], adjoint(lr[i : i + 1], alone), rtol=0, atol=1e-12)
    first, plain = Degradation(several[:1], 3, subsample), Degradation(several[0], 3, subsample)
    assert torch.equal(linear(hr, first), linear(hr, plain))


@pytest.mark.parametrize("scale", range(1, 6))
def test_without_blur_direct_keeps_pixels_and_bicubic_is_matlab(scale: int) -> None:
    hr = draw(1, 3, 7 * scale, 9 * scale)
    assert torch.equal(linear(hr, Degradation(kernels.delta(3), scale)), hr[:, :, ::scale, ::scale])
    matlab = resize(hr, scale=1 / scale, size=(7, 9))
    torch.testing.assert_close(linear(hr, Degradation(kernels.delta().double(), scale, "bicubic")), matlab)


@pytest.mark.parametrize("scale", range(1, 6))
def test_effective_kernel_is_blur_and_resize(scale: int) -> None:
    """Blur, then MATLAB's resize, away from the border; for a kernel that is its own mirror image, everywhere."""
    hr = draw(1, 1, 16 * scale, 15 * scale)

    def both(kernel: Tensor) -> tuple[Tensor, Tensor]:
        d = Degradation(kernel, scale, "bicubic")
        return linear(hr, d), resize(linear(hr, Degradation(kernel, 1)), scale=1 / scale, size=(16, 15))

    once, twice = both(random_kernel(5, 5))
    torch.testing.assert_close(once[..., 5:-5, 5:-5], twice[..., 5:-5, 5:-5], rtol=0, atol=1e-12)
    once, twice = both(kernels.gaussian((2.0, 0.5), size=5).double())
    torch.testing.assert_close(once, twice, rtol=0, atol=1e-7)


@pytest.mark.parametrize("subsample", SUBSAMPLES)
@pytest.mark.parametrize("scale", range(1, 6))
def test_effective_kernel_is_direct_subsampling(scale: int, subsample: Subsample) -> None:
    """Odd, of sum one, its centroid the kernel's and (s - 1) / 2 more if bicubic; direct with it is the same A."""
    kernel = random_kernel(2, 5, 5)
    d = Degradation(kernel, scale, subsample)
    effective = effective_kernel(d)
    assert effective.shape[-1] % 2 == 1
    torch.testing.assert_close(effective.sum((-2, -1)), torch.ones(2, dtype=torch.float64))
    offset = (scale - 1) / 2 if subsample == "bicubic" else 0.0
    for one, whole in zip(kernel, effective, strict=True):
        row, column = kernels.centroid(one)
        assert kernels.centroid(whole) == pytest.approx((row + offset, column + offset))
    hr = draw(2, 3, 6 * scale, 5 * scale)
    torch.testing.assert_close(linear(hr, Degradation(effective, scale)), linear(hr, d), rtol=0, atol=1e-12)


@pytest.mark.parametrize("subsample", SUBSAMPLES)
@pytest.mark.parametrize("grid", ["corner", "centre", "lopsided"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_does_not_move_the_picture(scale: int, grid: str, subsample: Subsample) -> None:
    """Degrade a blob and enlarge it again: its centroid stays, whatever the grid of the kernel."""
    half = (scale - 1) / 2
    row, column = {"corner": (0.0, 0.0), "centre": (half, half), "lopsided": (0.75, -1.5)}[grid]
    d = Degradation(kernels.gaussian((2.0, 1.0), 0.4, size=17, offset=(row, column)).double(), scale, subsample)
    more = 0.0 if subsample == "direct" else half
    assert phase(d) == pytest.approx((row + more, column + more), abs=1e-3)
    hr = oracles.blob((24 * scale, 22 * scale), (11.3 * scale, 10.8 * scale), deviation=2.0 * scale)
    again = upsample(linear(torch.from_numpy(hr)[None, None], d), d)[0, 0].numpy()
    assert again.shape == hr.shape
    np.testing.assert_allclose(oracles.centroid(again), oracles.centroid(hr), atol=0.01)


def test_phase_of_a_batch_and_of_a_kernel_being_fitted() -> None:
    batch = torch.stack([kernels.gaussian((l1, 1.0), size=21, offset=(0.5, -1.0)) for l1 in (1.0, 2.0)])
    assert phase(Degradation(batch)) == (0.5, -1.0)
    assert phase(Degradation(batch.requires_grad_())) == (0.5, -1.0)


def test_a_grid_that_is_told_is_not_worked_out() -> None:
    """It moves what is enlarged, by as much, and nothing that depends on the kernel alone."""
    kernel = kernels.gaussian((2.0, 1.0), size=21, offset=(0.5, 0.5)).double()
    plain = Degradation(kernel)
    assert phase(replace(plain, grid=(0.5, 0.5))) == phase(plain) == (0.5, 0.5)
    other = replace(plain, grid=(1.5, -0.5))
    assert phase(other) == (1.5, -0.5)
    hr = torch.from_numpy(oracles.blob((48, 44), (22.6, 21.6), deviation=4.0))[None, None]
    assert torch.equal(linear(hr, other), linear(hr, plain))
    assert torch.equal(effective_kernel(other), effective_kernel(plain))
    lr = linear(hr, plain)
    middles = [oracles.centroid(upsample(lr, d)[0, 0].numpy()) for d in (plain, other)]
    np.testing.assert_allclose(np.subtract(middles[1], middles[0]), (1.0, -1.0), atol=0.01)


@given(
    height=st.integers(5, 14),
    width=st.integers(5, 14),
    scale=scales,
    subsample=st.sampled_from(SUBSAMPLES),
    value=st.floats(0.0, 1.0),
)
def test_a_constant_stays_constant(height: int, width: int, scale: int, subsample: Subsample, value: float) -> None:
    """Odd sizes too: what is left over at the bottom and on the right is cut off."""
    hr = torch.full((1, 3, height, width), value, dtype=torch.float64)
    d = Degradation(random_kernel(5, 5), scale, subsample)
    lr = degrade(hr, d)
    assert lr.shape == (1, 3, height // scale, width // scale)
    torch.testing.assert_close(lr, torch.full_like(lr, value), rtol=0, atol=1e-12)
    torch.testing.assert_close(upsample(lr, d), hr[:, :, :1, :1].expand_as(upsample(lr, d)), rtol=0, atol=1e-12)


def test_odd_sizes_are_cropped_before_the_blur() -> None:
    hr, d = draw(1, 1, 11, 13), Degradation(random_kernel(3, 3), 4)
    assert torch.equal(degrade(hr, d), linear(hr[:, :, :8, :12], d))
    assert torch.equal(crop(hr, 4), hr[:, :, :8, :12])
    assert torch.equal(crop(hr, 1), hr)


def test_channels_last_is_the_same_picture() -> None:
    hr, d = draw(2, 3, 8, 8), Degradation(random_kernel(2, 3, 3), 2)
    turned = hr.contiguous(memory_format=torch.channels_last)
    assert torch.equal(linear(turned, d), linear(hr, d))
    assert torch.equal(adjoint(turned, d), adjoint(hr, d))


def test_noise_is_the_generators() -> None:
    """Without a generator there is none; with one it is sigma n, one sigma for all images or one for each."""
    hr, kernel = draw(2, 3, 8, 8), random_kernel(3, 3)
    clean = degrade(hr, Degradation(kernel, noise=0.1))
    assert torch.equal(clean, linear(hr, Degradation(kernel)))
    n = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5)).double()
    for noise in (0.1, torch.tensor([0.02, 0.3], dtype=torch.float64), 0):
        d = Degradation(kernel, noise=noise)
        sigma = torch.as_tensor(noise, dtype=torch.float64).reshape(-1, 1, 1, 1)
        found = degrade(hr, d, torch.Generator().manual_seed(5))
        torch.testing.assert_close(found, clean + sigma * n, rtol=0, atol=1e-12)
        torch.testing.assert_close(noise_map(d, hr), sigma)


def test_compression_comes_last(photo: Tensor) -> None:
    """lr = JPEG(A hr + n): the noise goes through it, and the linear part knows nothing of it."""
    hr = photo.double().expand(2, -1, -1, -1)
    plain = Degradation(random_kernel(3, 3), noise=0.1)
    d = replace(plain, jpeg=Jpeg(tables(torch.tensor([20.0, 90.0]))))
    assert d.jpeg is not None
    noisy = degrade(hr, plain, torch.Generator().manual_seed(5)).clamp(0, 1)
    found = degrade(hr, d, torch.Generator().manual_seed(5))
    assert found.dtype == hr.dtype
    for i, quality in enumerate((20, 90)):
        assert torch.equal(found[i : i + 1], compress(noisy[i : i + 1], Jpeg(tables(quality))))
    assert torch.equal(linear(hr, d), linear(hr, plain))
    assert torch.equal(adjoint(noisy, d), adjoint(noisy, plain))


def test_compression_takes_small_noise_away() -> None:
    """In a flat picture it would be n itself if it came after: steps of quality 20 are 40/255 and more."""
    grey = torch.full((1, 1, 64, 64), 128 / 255)
    d = Degradation(kernels.delta(), 2, noise=2 / 255, jpeg=Jpeg(tables(20)))
    assert torch.equal(degrade(grey, d, torch.Generator().manual_seed(0)), grey[:, :, ::2, ::2])


def test_compression_keeps_chroma_and_blocks_as_told(photo: Tensor) -> None:
    """A crop with its offset is the crop of the whole, except in blocks that it cuts."""
    d = Degradation(kernels.delta(), 2, jpeg=Jpeg(tables(30), chroma="4:4:4"))
    assert d.jpeg is not None
    part = replace(d, jpeg=replace(d.jpeg, offset=(3, 5)))
    whole, cut = degrade(photo, d), degrade(photo[:, :, 6:, 10:], part)
    assert torch.equal(cut[:, :, 5:, 3:], whole[:, :, 8:, 8:])  # where the next blocks begin
    assert not torch.equal(degrade(photo[:, :, 6:, 10:], d)[:, :, 5:, 3:], whole[:, :, 8:, 8:])
    assert not torch.equal(degrade(photo, replace(d, jpeg=replace(d.jpeg, chroma="4:2:0"))), whole)


def test_to_keeps_everything() -> None:
    d = Degradation(
        random_kernel(2, 3, 3), 3, "bicubic", torch.tensor([0.1, 0.2]), Jpeg(tables(70), "4:2:2", (1, 2)), (0.5, 1.0)
    )
    moved = d.to("cpu")
    assert d.jpeg is not None
    assert moved.jpeg is not None
    assert torch.equal(moved.kernel, d.kernel)
    assert (moved.scale, moved.subsample, moved.grid) == (3, "bicubic", (0.5, 1.0))
    assert (moved.jpeg.chroma, moved.jpeg.offset) == ("4:2:2", (1, 2))
    assert torch.equal(moved.jpeg.tables, d.jpeg.tables)
    assert torch.equal(noise_map(moved, draw(2, 1, 1, 1)), noise_map(d, draw(2, 1, 1, 1)))
    elsewhere = d.to("meta")
    assert elsewhere.jpeg is not None
    tensors = (elsewhere.kernel, torch.as_tensor(elsewhere.noise), elsewhere.jpeg.tables)
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale is 0; a degradation needs a whole number from 1 to 8"),
        ({"scale": 9}, "scale is 9"),
        ({"scale": 2.5}, "scale is 2.5; a degradation needs a whole number"),
        ({"subsample": "nearest"}, "subsampling is 'nearest'; it must be one of direct, bicubic"),
        ({"kernel": torch.ones(4, 4) / 16}, "kernel is 4x4; it must be square and odd — pad it with kernels.centre()"),
        ({"kernel": torch.ones(2, 3, 5) / 15}, "kernel is 3x5; it must be square and odd"),
        ({"kernel": np.ones((3, 3))}, "kernel is a ndarray; a tensor is required"),
        ({"noise": "x"}, "noise is 'x'; a standard deviation between 0 and 1, or a tensor, is required"),
        ({"noise": np.float32(7)}, "noise is .*7.*; it is a standard deviation between 0 and 1"),
        ({"kernel": torch.ones(3)}, "kernel is 3; give one of n x n, or one for each image, b x n x n"),
        ({"kernel": torch.ones(1, 1, 3, 3)}, "kernel is 1x1x3x3; give one"),
        ({"noise": -0.1}, "noise is -0.1; it is a standard deviation between 0 and 1"),
        ({"noise": 15}, "noise is 15; it is a standard deviation between 0 and 1 .x/255."),
        ({"noise": math.nan}, "noise is nan"),
    ],
)
def test_bad_degradation(monkeypatch: pytest.MonkeyPatch, arguments: dict, message: str) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as everywhere but in these tests
    with pytest.raises(InputError, match=message) as error:
        Degradation(**{"kernel": kernels.delta(3), **arguments})
    assert "\n" not in str(error.value)


def test_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="image is 9x6; both sides must be multiples of 2"):
        linear(draw(1, 1, 6, 9), Degradation(kernels.delta()))
    with pytest.raises(InputError, match="image is 9x3; at x4 it must be at least 4x4"):
        degrade(draw(1, 1, 3, 9), Degradation(kernels.delta(), 4))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for strange in (torch.zeros(3, 8, 8), np.zeros((8, 8, 3))):
        with pytest.raises(InputError, match=r"a tensor .batch, channels, height, width. is required"):
            degrade(strange, Degradation(kernels.delta(), 2))  # pyright: ignore[reportArgumentType]
    for kernel, total in ((torch.ones(3, 3), "9.0"), (torch.full((3, 3), math.nan), "nan")):
        with pytest.raises(InputError, match=f"kernel sums to {total}; 1 is required"):
            degrade(torch.zeros(1, 3, 8, 8), Degradation(kernel, 2))
    with pytest.raises(InputError, match=r"noise is .-1.0, nan.; standard deviations between 0 and 1"):
        degrade(torch.zeros(2, 3, 8, 8), Degradation(kernels.delta(), 2, noise=torch.tensor([-1.0, math.nan])))
    with pytest.raises(InputError, match="there are 3 kernels for 2 images; give one, or one for each"):
        linear(draw(2, 1, 4, 4), Degradation(random_kernel(3, 3, 3)))


def test_numbers_of_numpy_are_scales() -> None:
    assert type(check_scale(np.int64(2))) is int


def test_whole_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whole numbers every tap of a kernel would be 0."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as everywhere but in these tests
    with pytest.raises(InputError, match=r"images are torch.uint8; floats in .0, 1. are required"):
        degrade(torch.ones(1, 3, 20, 20, dtype=torch.uint8), Degradation(kernels.gaussian((2.0, 2.0))))
