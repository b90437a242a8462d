"""Tests of what the kernel estimator sees: known spectra, and the symmetries of a picture."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mzsr.learning import spectrum
from mzsr.learning.spectrum import HALF, SHARES, SMALL, WINDOW

COUNT = len(SHARES) * WINDOW * HALF  # of log-periodograms; five numbers follow
# What is done to a picture, for every view of `turned`
VIEWS = [lambda x: x, lambda x: x.flip(3), lambda x: x.mT, lambda x: x.flip(3).mT]
views = pytest.mark.parametrize("view", range(4))


def luma_powers(features: Tensor) -> Tensor:
    """Undo the logarithms: (groups, n, half)."""
    return (3 * features[:COUNT] - 9).exp().view(len(SHARES), WINDOW, HALF) - SMALL[0]


def deviations(features: Tensor) -> Tensor:
    """Undo the logarithms of the noise of R, G and B, and of what JPEG took."""
    return (2 * features[COUNT:-1] - 5).exp() - SMALL[1]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def full(powers: Tensor) -> Tensor:
    """Return all columns of periodograms, by S(f) = S(-f) written as a loop."""
    whole = torch.empty(*powers.shape[:-1], WINDOW)
    for row in range(WINDOW):
        for column in range(WINDOW):
            there = (row, column) if column < HALF else (-row % WINDOW, -column % WINDOW)
            whole[..., row, column] = powers[..., there[0], there[1]]
    return whole


@views
def test_features_of_a_turned_picture_are_the_features_turned(photo: Tensor, view: int) -> None:
    turned = spectrum.features(VIEWS[view](photo).contiguous(), 0.01)
    torch.testing.assert_close(turned, spectrum.turned(spectrum.features(photo, 0.01), view), rtol=0, atol=1e-5)


@given(view=st.integers(0, 3), batch=st.integers(0, 3), seed=st.integers(0, 99))
def test_turning_twice_is_not_turning(view: int, batch: int, seed: int) -> None:
    """A mirror and a transpose are their own inverses; both, done twice, turn by 180 degrees, and S(f) = S(-f)."""
    planes = noise(*[2] * batch, len(SHARES), WINDOW, WINDOW, seed=seed)
    planes = torch.fft.rfft2(planes).abs().flatten(-3)
    features = torch.cat([planes, noise(*[2] * batch, 5, seed=seed)], -1)
    again = spectrum.turned(spectrum.turned(features, view), view)
    torch.testing.assert_close(again, features, rtol=0, atol=1e-4)


@views
def test_turning_turns_frequencies(view: int) -> None:
    """By loops over all frequencies: mirrored is S(fy, -fx), transposed S(fx, fy), both S(-fx, fy) = S(fx, -fy)."""
    features = torch.cat([torch.fft.rfft2(noise(len(SHARES), WINDOW, WINDOW)).abs().flatten(), noise(5)])
    before = full(features[:COUNT].view(len(SHARES), WINDOW, HALF))
    after = full(spectrum.turned(features, view)[:COUNT].view(len(SHARES), WINDOW, HALF))
    for row in range(WINDOW):
        for column in range(WINDOW):
            y, x = [(row, column), (row, -column), (column, row), (column, -row)][view]
            difference = after[:, row, column] - before[:, y % WINDOW, x % WINDOW]
            assert float(difference.abs().max()) < 1e-4


@pytest.mark.parametrize("variance", [1e-4, 0.04])
def test_white_noise_of_variance_v_has_periodogram_v(variance: float) -> None:
    """At every frequency but the lowest, from which the mean is taken.

    A periodogram of Gaussian noise is exponential, as uncertain as it is large: six standard errors of 4000 windows.
    """
    powers = spectrum.periodograms(0.5 + math.sqrt(variance) * noise(4000, WINDOW, WINDOW)).mean(0) / variance
    inner = powers[3:-2, 3:-3]
    assert float(inner.mean()) == pytest.approx(1, abs=0.005)
    assert float((inner - 1).abs().max()) < 6 / math.sqrt(4000)
    assert float(powers[0, 0]) < 0.1


def test_the_power_of_a_wave_lies_at_its_frequency() -> None:
    """A cos(2π f x) has A² / 4 times (Σ taper)² / Σ taper² there, and a thousandth of it from three bins on."""
    axis = torch.arange(WINDOW) / WINDOW
    wave = 0.2 * torch.cos(2 * math.pi * (5 * axis[:, None] + 9 * axis[None, :]))
    powers = spectrum.periodograms(wave[None])[0]
    hann = torch.sin(math.pi * torch.arange(1, WINDOW + 1) / (WINDOW + 1)) ** 2
    assert float(powers[5, 9]) == pytest.approx(0.01 * float((hann.sum() ** 2 / hann.square().sum()) ** 2), rel=1e-3)
    powers[2:9, 6:13] = 0
    assert float(powers.max()) < 1e-3 * 0.01 * WINDOW**2


def test_features_of_white_noise_are_its_level_everywhere() -> None:
    """Every group, in units of the channels: luma of grey noise has the power of its channels."""
    level = 0.05
    grey = (0.5 + level * noise(1, 1, 416, 416)).expand(1, 3, -1, -1)
    found = spectrum.features(grey, 0.02)
    powers = luma_powers(found)[:, 3:-2, 3:-3].mean((1, 2)) / level**2
    # 144 windows, an eighth of them in the extreme groups, where contrast is what it is by chance
    assert bool((powers.diff() < 0).all())
    shares = torch.tensor(SHARES)
    assert float((powers * shares).sum()) == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(powers, torch.ones(len(SHARES)), rtol=0, atol=0.2)
    *channels, error = deviations(found).tolist()
    # A window knows a level to 1 / √(2 · 961 / 2.25), for Haar diagonals overlap: the 5 % quantile is 6 % too low
    assert channels == pytest.approx([level] * 3, rel=0.1)
    assert error == pytest.approx(0.02, abs=1e-6)


def test_without_jpeg_it_says_so() -> None:
    picture = torch.full((1, 3, WINDOW, WINDOW), 0.5)
    assert float(spectrum.features(picture, 0.0)[-1]) == pytest.approx(2.5)
    assert float(spectrum.features(picture, 1e-6)[-1]) == pytest.approx(3.0)


def test_groups_are_sorted_by_contrast() -> None:
    """Blocks of noise of four levels, the shares of the groups: each group sees its own power."""
    levels = torch.tensor([0.08, 0.04, 0.02, 0.01])
    planes = noise(1600, 1, WINDOW, WINDOW).expand(-1, 3, -1, -1)
    owner = torch.repeat_interleave(torch.arange(4), (1600 * torch.tensor(SHARES)).long())
    planes = 0.5 + planes * levels[owner, None, None, None]
    shuffled = planes[torch.randperm(1600, generator=torch.Generator().manual_seed(1))]
    powers = _features_of(shuffled)
    for group, level in enumerate(levels.tolist()):
        assert float(powers[group, 3:-2, 3:-3].mean()) == pytest.approx(level**2, rel=0.02)


def _features_of(planes: Tensor) -> Tensor:
    """Return the powers in the features of a picture that falls into just these windows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectrum, "windows", lambda lr, **_: planes)
        return luma_powers(spectrum.features(planes[:1], 0.0))


def test_the_contrast_of_a_window_is_its_variance_under_the_taper() -> None:
    """Parseval: the mean over all frequencies, the left-out ones counted, so that views do not sort differently."""
    planes = noise(5, WINDOW, WINDOW)
    powers = spectrum.periodograms(planes)
    hann = torch.sin(math.pi * torch.arange(1, WINDOW + 1) / (WINDOW + 1)) ** 2
    taper = torch.outer(hann, hann)
    mean = (planes * taper).sum((1, 2), keepdim=True) / taper.sum()
    expected = ((planes - mean) * taper).square().sum((1, 2)) / taper.square().sum()
    torch.testing.assert_close(full(powers).mean((1, 2)), expected)


def test_features_of_the_smallest_picture_repeat_its_one_window() -> None:
    picture = 0.5 + 0.1 * noise(1, 3, WINDOW, WINDOW)
    powers = luma_powers(spectrum.features(picture, 0.0))
    expected = spectrum.periodograms(spectrum.luma(picture))
    torch.testing.assert_close(powers, expected.expand(4, -1, -1), rtol=1e-4, atol=1e-7)


@given(height=st.integers(WINDOW, 900), width=st.integers(WINDOW, 900), budget=st.integers(1, 200))
def test_windows_are_parts_of_the_picture_from_edge_to_edge(height: int, width: int, budget: int) -> None:
    """Pixels that are their own coordinates tell where a window was cut."""
    rows, columns = torch.arange(height).float(), torch.arange(width).float()
    picture = torch.stack([rows[:, None].expand(-1, width), columns.expand(height, -1)])[None]
    planes = spectrum.windows(picture, budget)
    assert 1 <= len(planes) <= budget
    steps = torch.arange(WINDOW).float()
    torch.testing.assert_close(planes[:, 0], planes[:, 0, :1, :1] + steps[:, None].expand(len(planes), -1, WINDOW))
    torch.testing.assert_close(planes[:, 1], planes[:, 1, :1, :1] + steps.expand(len(planes), WINDOW, -1))
    for corner, side in ((planes[:, 0, 0, 0], height), (planes[:, 1, 0, 0], width)):
        places = corner.unique()
        assert float(places[0]) == 0
        assert len(places) == 1 or float(places[-1]) == side - WINDOW


def test_luma_has_the_range_of_the_channels() -> None:
    """White is 1 and black 0; the weights are those of BT.601."""
    primaries = torch.eye(3).view(3, 3, 1, 1).expand(-1, -1, WINDOW, WINDOW)
    found = spectrum.luma(torch.cat([primaries, torch.zeros_like(primaries[:1]), torch.ones_like(primaries[:1])]))
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.299, 0.587, 0.114, 0.0, 1.0]), rtol=0, atol=2e-5)
