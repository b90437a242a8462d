"""Tests of the losses: closed forms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mzsr.learning.losses import LOSSES, l1


@given(level=st.floats(0, 1), error=st.floats(-1, 1))
def test_l1_of_an_offset_is_its_size(level: float, error: float) -> None:
    truth = torch.full((2, 3, 4, 5), level, dtype=torch.float64)
    assert l1(truth + error, truth).item() == pytest.approx(abs(error), abs=1e-12)


def test_l1_gradient_is_the_sign_of_the_error() -> None:
    """One gradient step of size α moves every pixel by α / N towards the truth, however large its error."""
    truth = torch.zeros(1, 1, 2, 3)
    result = torch.tensor([[[[3.0, -0.1, 0.0], [1e-6, -7.0, 2.0]]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(l1(result, truth), result)
    torch.testing.assert_close(gradient * 6, torch.tensor([[[[1.0, -1, 0], [1, -1, 1]]]]))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_a_mean_and_zero_at_the_truth(name: str, photo: torch.Tensor) -> None:
    """Zero at the truth, above it elsewhere, and as large on four copies of a picture as on one."""
    loss, wrong = LOSSES[name], photo.roll(1, -1)
    assert loss(photo, photo).item() == 0
    assert loss(wrong, photo).item() > 0
    copies = loss(wrong.repeat(4, 1, 1, 1), photo.repeat(4, 1, 1, 1))
    torch.testing.assert_close(copies, loss(wrong, photo))
