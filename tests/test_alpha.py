"""Tests of colours under transparency: what is seen stays, what is hidden takes the colours beside it."""

import pytest
import torch
from measures import by_threads
from torch import Tensor

from mzsr.imaging.alpha import bleed


def disk(height: int, width: int) -> Tensor:
    rows, columns = torch.arange(height)[:, None] - height // 3, torch.arange(width) - width // 2
    return (rows**2 + columns**2 < 36).float()[None, None]


@pytest.mark.parametrize("size", [(37, 53), (64, 64), (20, 131)])
def test_one_visible_colour_fills_all_that_is_hidden(size: tuple[int, int]) -> None:
    alpha, colour = disk(*size), torch.tensor([0.25, 0.5, 0.875])[None, :, None, None]
    result = bleed(torch.where(alpha > 0, colour, 0.0), alpha)
    assert torch.allclose(result, colour.expand_as(result), atol=1e-5)


def test_what_is_seen_stays_to_the_last_bit(photo: Tensor) -> None:
    alpha = disk(60, 76) * 0.003  # nearly nothing is still something
    result = bleed(photo, alpha)
    assert torch.equal(result * (alpha > 0), photo * (alpha > 0))
    assert not torch.equal(result, photo)


def test_a_hidden_pixel_takes_the_nearer_colour() -> None:
    """Red on the left, blue on the right, nothing between: every row turns from red to blue, once."""
    alpha = torch.zeros(1, 1, 16, 64)
    alpha[..., :8] = alpha[..., 56:] = 1
    pixels = torch.zeros(1, 3, 16, 64)
    pixels[:, 0, :, :8] = pixels[:, 2, :, 56:] = 1
    result = bleed(pixels, alpha)
    assert bool((result[:, 0].diff(dim=2) <= 1e-5).all())
    assert bool((result[:, 2].diff(dim=2) >= -1e-5).all())
    assert torch.allclose(result.sum(1), torch.tensor(1.0), atol=1e-5)


@pytest.mark.parametrize("alpha", [None, torch.ones(1, 1, 60, 76), torch.zeros(1, 1, 60, 76)])
def test_nothing_to_do(photo: Tensor, alpha: Tensor | None) -> None:
    assert bleed(photo, alpha) is photo


def test_the_number_of_threads_changes_no_bit(photo: Tensor) -> None:
    large = photo.repeat(1, 1, 9, 9)
    one, two, four = by_threads(lambda: bleed(large, disk(*large.shape[2:])))
    assert torch.equal(one, two)
    assert torch.equal(one, four)
