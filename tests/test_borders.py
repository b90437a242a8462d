"""Tests of the symmetric border: numpy as the oracle, and fold as its adjoint."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mzsr.imaging.borders import fold_symmetric, pad_symmetric

sides = st.integers(1, 6)
amounts = st.tuples(*[st.integers(0, 15)] * 4)  # up to several times around a picture of one pixel


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(height=sides, width=sides, amounts=amounts)
def test_pad_is_numpys_symmetric(height: int, width: int, amounts: tuple[int, int, int, int]) -> None:
    images = draw(2, 3, height, width)
    top, bottom, left, right = amounts
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode="symmetric")
    np.testing.assert_array_equal(pad_symmetric(images, amounts).numpy(), expected)


@given(height=sides, width=sides, amounts=amounts)
def test_fold_is_the_adjoint_of_pad(height: int, width: int, amounts: tuple[int, int, int, int]) -> None:
    """⟨P x, y⟩ = ⟨x, Pᵀ y⟩, and the gradient through pad is fold."""
    x = draw(2, 3, height, width).requires_grad_()
    padded = pad_symmetric(x, amounts)
    y = draw(*padded.shape)
    inner = (padded * y).sum()
    torch.testing.assert_close(inner, (x * fold_symmetric(y, amounts)).sum(), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(inner, x)
    torch.testing.assert_close(gradient, fold_symmetric(y, amounts), rtol=1e-12, atol=1e-12)


def test_gradient_of_fold_is_pad() -> None:
    y = draw(1, 2, 9, 8).requires_grad_()
    x = draw(1, 2, 4, 3)
    (gradient,) = torch.autograd.grad((fold_symmetric(y, (3, 2, 1, 4)) * x).sum(), y)
    torch.testing.assert_close(gradient, pad_symmetric(x, (3, 2, 1, 4)))
