"""Tests of the training pairs: what they depend on, that patches are lossless crops, the law by its statistics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mzsr.config import PRESETS, KernelLaw
from mzsr.imaging import kernels
from mzsr.imaging.degrade import degrade, phase
from mzsr.learning.patches import (
    Pair,
    draw_degradation,
    draw_pair,
    draw_patches,
    step_generator,
)

LAW = PRESETS["flagship"].law


def coded(height: int, width: int, red: int) -> Tensor:
    """Return a picture whose pixels say which picture they are of, and their row and column."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.full_like(row, red), row, column]).to(torch.uint8)


PICTURES = [coded(11, 17, 0), coded(14, 9, 1)]


def pair(seed: int, step: int) -> Pair:
    return draw_pair(PICTURES, LAW, 2, 8, step_generator(seed, step))


def same(a: Pair, b: Pair) -> bool:
    return (
        torch.equal(a.lr, b.lr)
        and torch.equal(a.hr, b.hr)
        and torch.equal(a.degradation.kernel, b.degradation.kernel)
        and torch.equal(torch.as_tensor(a.degradation.noise), torch.as_tensor(b.degradation.noise))
        and (a.degradation.scale, a.degradation.subsample) == (b.degradation.scale, b.degradation.subsample)
    )


@given(order=st.permutations(range(5)), global_seed=st.integers(0, 100))
def test_a_batch_depends_on_seed_and_step_alone(order: list[int], global_seed: int) -> None:
    """Not on what was drawn before it, nor on the global random state, nor does drawing move that."""
    expected = [pair(3, step) for step in range(5)]
    torch.manual_seed(global_seed)
    state = torch.get_rng_state()
    assert all(same(pair(3, step), expected[step]) for step in order)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_and_steps_do_not_repeat_each_other() -> None:
    """Neither step + 1 of one seed nor (1, 11) and (11, 1) share their numbers."""
    first = {
        (seed, step): int(torch.randint(2**60, (), generator=step_generator(seed, step)))
        for seed in range(12)
        for step in range(12)
    }
    assert len(set(first.values())) == len(first)


def test_generator_is_the_same_for_good() -> None:
    """A run that was started with this version must go on with the same patches under the next.

    Golden: `torch.randint(10**6, (3,), generator=step_generator(0, 7))`, torch 2.13.0, mzsr 0.1.0.
    """
    assert torch.randint(10**6, (3,), generator=step_generator(0, 7)).tolist() == [576094, 91250, 873808]


def orientation(patch: Tensor) -> tuple[int, int, int, bool, bool, bool]:
    """Return (picture, top, left, transposed, rows run backwards, columns run backwards); fails if it is no crop."""
    codes = (patch * 255).round().long()
    assert torch.equal(codes.float() / 255, patch), "a patch must hold 8-bit values exactly"
    red, row, column = codes
    assert int(red.min()) == int(red.max()), "a patch must be of one picture"
    transposed = bool(row[0, 0] == row[1, 0])
    down, across = (column, row) if transposed else (row, column)
    backwards = bool(down[0, 0] > down[1, 0]), bool(across[0, 0] > across[0, 1])
    top, left = int(row.min()), int(column.min())
    source = PICTURES[int(red[0, 0])][:, top : top + patch.shape[1], left : left + patch.shape[2]].long()
    restored = codes.flip([1 + i for i in (0, 1) if backwards[i]])
    assert torch.equal(restored.transpose(1, 2) if transposed else restored, source)
    return int(red[0, 0]), top, left, transposed, *backwards


def test_patches_are_crops_in_all_eight_orientations(generator: torch.Generator) -> None:
    """Lossless, from every place of every picture, each of the eight ways equally often."""
    count, side = 4000, 8
    found = [orientation(patch) for patch in draw_patches(PICTURES, count, side, generator)]
    ways = [sum(f[3:] == way for f in found) for way in {f[3:] for f in found}]
    assert len(ways) == 8
    assert max(abs(way - count / 8) for way in ways) < 5 * math.sqrt(count / 8)
    places = {f[:3] for f in found}
    expected = {
        (i, top, left)
        for i, picture in enumerate(PICTURES)
        for top in range(picture.shape[1] - side + 1)
        for left in range(picture.shape[2] - side + 1)
    }
    assert places == expected


def test_a_picture_of_the_size_of_a_patch_will_do(generator: torch.Generator) -> None:
    picture = coded(8, 8, 5)
    for patch in draw_patches([picture], 20, 8, generator):
        assert sorted((patch * 255).round().int().flatten().tolist()) == sorted(picture.int().flatten().tolist())


def test_law_bicubic_is_plain_bicubic(generator: torch.Generator) -> None:
    law = KernelLaw(name="bicubic", scales={2: 1, 3: 1})
    drawn = [draw_degradation(law, 3, generator) for _ in range(40)]
    assert {d.scale for d in drawn} == {2, 3}
    assert all(d.subsample == "bicubic" and d.noise == 0 and torch.equal(d.kernel, kernels.delta()) for d in drawn)


def test_law_random_keeps_its_shares(generator: torch.Generator) -> None:
    """Scales, subsampling and grid of a batch, noise of a patch: each within four standard errors."""
    count = 1500
    drawn = [draw_degradation(LAW, 2, generator) for _ in range(count)]

    def share(of: list[bool], expected: float) -> None:
        assert sum(of) / len(of) == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(of)))

    for scale, expected in LAW.scales.items():
        share([d.scale == scale for d in drawn], expected)
    share([d.subsample == "bicubic" for d in drawn], LAW.bicubic_share)
    direct = [d for d in drawn if d.subsample == "direct"]
    middles = [kernels.centroid(d.kernel.mean(0)) for d in direct]
    centred = [max(middle) > 0.25 for middle in middles]
    share(centred, LAW.centred_share / (1 - LAW.bicubic_share))
    for d, middle, is_centred in zip(direct, middles, centred, strict=True):
        # A wide Gaussian off the middle loses a little more of its tail on one side
        assert middle == pytest.approx(((d.scale - 1) / 2 if is_centred else 0,) * 2, abs=0.1)
    noise = torch.cat([torch.as_tensor(d.noise) for d in drawn])
    share((noise > 0).tolist(), LAW.noise_share)
    assert float(noise.max()) <= LAW.noise
    assert float(noise[noise > 0].mean()) == pytest.approx(LAW.noise / 2, rel=0.1)


@pytest.mark.parametrize("scale", [2, 4])
def test_variances_are_log_uniform(scale: int, generator: torch.Generator) -> None:
    """Half of them lie below the geometric mean; bicubic subsampling, which blurs by itself, gets half of each."""
    for bicubic in (0.0, 1.0):
        law = KernelLaw(scales={scale: 1}, bicubic_share=bicubic, centred_share=0, variance=(0.3, 1.0))
        drawn = draw_degradation(law, 1000, generator).kernel
        found = torch.stack([torch.linalg.eigvalsh(kernels.covariance(kernel)) for kernel in drawn])
        low, high = (0.3, scale) if not bicubic else (0.15, scale / 2)
        assert float(found.max()) < high * 1.01
        # Sampling a Gaussian narrower than a pixel changes its variance: only the wider half is exact
        for quantile in (0.6, 0.8):
            expected = low * (high / low) ** quantile
            assert float(found.flatten().quantile(quantile)) == pytest.approx(expected, rel=0.12)


def test_kernels_of_a_batch_differ_and_share_a_grid(generator: torch.Generator) -> None:
    """Each patch has its own kernel, and the phase, one for all, is that of each."""
    for _ in range(20):
        d = draw_degradation(LAW, 4, generator)
        assert d.kernel.shape[0] == 4
        assert float((d.kernel[0] - d.kernel[1]).abs().max()) > 1e-4
        shift = (d.scale - 1) / 2 if d.subsample == "bicubic" else phase(d)[0]
        assert phase(d) == pytest.approx((shift, shift), abs=0.1)


def test_low_resolution_is_the_degraded_patch_in_8_bits() -> None:
    for step in range(30):
        drawn = draw_pair(PICTURES, LAW, 2, 8, step_generator(0, step))
        scale = drawn.degradation.scale
        assert drawn.hr.shape[2] == 8 - 8 % scale == scale * drawn.lr.shape[2]
        codes = drawn.lr * 255
        torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)
        assert 0 <= float(drawn.lr.min()) <= float(drawn.lr.max()) <= 1
        clean = torch.as_tensor(drawn.degradation.noise).expand(2) == 0
        error = (drawn.lr - degrade(drawn.hr, drawn.degradation).clamp(0, 1))[clean]
        assert bool((error.abs() <= 0.5 / 255 + 1e-6).all())


def test_noise_has_the_level_that_is_told(generator: torch.Generator) -> None:
    """A grey picture shows the noise alone; rounding adds 1/12 of a step squared."""
    grey = [torch.full((3, 64, 64), 128, dtype=torch.uint8)]
    law = KernelLaw(scales={2: 1}, noise_share=1, noise=0.1)
    drawn = draw_pair(grey, law, 16, 64, generator)
    assert isinstance(drawn.degradation.noise, Tensor)
    found = (drawn.lr - 128 / 255).square().mean((1, 2, 3)).sqrt()
    expected = (drawn.degradation.noise.square() + 1 / 12 / 255**2).sqrt()
    torch.testing.assert_close(found, expected, rtol=0.06, atol=0)  # 3072 samples: 1.3 % standard error
