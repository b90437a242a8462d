"""Tests of the losses: closed forms, gradients, and that nothing but the result is moved by a weight."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mzsr.errors import InputError
from mzsr.learning.losses import (
    LIKELIHOODS,
    LOSSES,
    SCALINGS,
    esu,
    eu,
    gradient_map,
    l1,
    psnr,
    relative,
    udl,
    uncertainty,
    weights,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


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


@given(near=st.floats(0.02, 0.5), far=st.floats(0.02, 0.5))
def test_the_loss_of_psnr_counts_decibels(near: float, far: float) -> None:
    """Of errors well above the floor: a decibel is ln(10) / 200, in whichever of the pictures it is."""
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    off = torch.tensor([near, far], dtype=torch.float64).view(2, 1, 1, 1).expand_as(truth)
    gained = psnr(off, truth) - psnr(off * 10 ** (-1 / 20), truth)
    share = torch.tensor([near**2, far**2]) / (torch.tensor([near**2, far**2]) + 1e-4)  # what the floor leaves of it
    assert gained.item() == pytest.approx(math.log(10) / 200 * float(share.mean()), rel=0.06)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_a_mean_and_zero_at_the_truth(name: str, photo: Tensor) -> None:
    """Zero at the truth, above it elsewhere, and as large on four copies of a picture as on one."""
    loss, wrong = LOSSES[name], photo.roll(1, -1)
    assert loss(photo, photo).item() == 0
    assert loss(wrong, photo).item() > 0
    copies = loss(wrong.repeat(4, 1, 1, 1), photo.repeat(4, 1, 1, 1))
    torch.testing.assert_close(copies, loss(wrong, photo))


@given(level=st.floats(0, 1), error=st.floats(0.01, 1), off=st.floats(-3, 3))
@pytest.mark.parametrize(("name", "half"), [("eu", 1.0), ("esu", 2.0)])
def test_likelihoods_are_smallest_where_s_is_the_error(
    name: str, half: float, level: float, error: float, off: float
) -> None:
    """At s = ln(|e| / c) the loss is c (1 + s), e in grey levels, c = 1 or 2; anywhere else it is more."""
    truth = torch.full((1, 3, 2, 2), level, dtype=torch.float64)
    best = math.log(255 * error / half)

    def at(s: float) -> float:
        return LIKELIHOODS[name](truth + error, truth, torch.full_like(truth, s)).item()

    assert at(best) == pytest.approx(half * (1 + best), abs=1e-9)
    assert at(best + off) >= at(best) - 1e-9
    slope = at(best + 1e-5) - at(best - 1e-5)
    assert slope == pytest.approx(0, abs=1e-9)


def test_grey_levels_keep_the_optimum_where_an_elu_can_reach_it() -> None:
    """The trap: for an error of five grey levels s is 0.9, and would be -4.6 for the same residual in [0, 1]."""
    assert math.log(5 / 2) > -1 > math.log(5 / 255 / 2)
    truth = torch.zeros(1, 1, 1, 1)
    s = torch.zeros(1, 1, 1, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(esu(truth + 5 / 255, truth, s), s)
    assert slope.item() == pytest.approx(2 - 5), "s must rise from 0, not fall"


@pytest.mark.parametrize("loss", [eu, esu, udl])
def test_gradients_are_right(loss: object) -> None:
    """Of result and s or weight, against differences, in float64."""
    truth, result = random(2, 3, 4, 3), random(2, 3, 4, 3, seed=1).requires_grad_()
    other = (2 * random(2, 3, 4, 3, seed=2) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda f, s: loss(f, truth, s), (result, other))  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("loss", LIKELIHOODS.values())
@pytest.mark.parametrize("truth", [[0.0, 255.0], [-0.5, 0.5], [0.0, math.nan]])
def test_another_range_is_refused(loss: object, truth: list[float]) -> None:
    picture = torch.tensor(truth).reshape(1, 1, 1, 2)
    with pytest.raises(InputError, match=r"s is in grey levels of \[0, 1\], divide by 255"):
        loss(torch.zeros_like(picture), picture, torch.zeros_like(picture))  # pyright: ignore[reportCallIssue]


def test_weights_of_one_are_l1(photo: Tensor) -> None:
    wrong = photo.roll(1, -1)
    torch.testing.assert_close(udl(wrong, photo, torch.ones_like(photo)), l1(wrong, photo))


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_most_certain_pixel_weighs_the_offset(scaling: str, offset: float) -> None:
    """0 by the paper, 1 by its code, in every patch and channel; more uncertain pixels weigh more, in any scaling."""
    log_var = 6 * random(3, 3, 5, 4) - 1
    weight = weights(uncertainty(log_var), scaling=scaling, offset=offset)
    torch.testing.assert_close(weight.amin((2, 3)), torch.full((3, 3), offset, dtype=torch.float64))
    order = log_var.flatten(2).argsort(2)
    assert bool((weight.flatten(2).gather(2, order).diff(dim=2) > 0).all())


def test_scalings_in_closed_form() -> None:
    """Of u = ln 3: exponential is the ratio of the σ less 1, sigmoid 2 / (1 + 1/3) - 1."""
    u = torch.full((1, 1, 1, 1), math.log(3), dtype=torch.float64)
    found = {name: weights(u, scaling=name, offset=0).item() for name in SCALINGS}
    expected = {"linear": math.log(3), "log": math.log1p(math.log(3)), "exponential": 2.0, "sigmoid": 0.5}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_normalised_weights_have_mean_one(scaling: str) -> None:
    """Over each patch and channel, so that the learning rate is that of L1; where all are alike, each weighs 1."""
    u = uncertainty(4 * random(2, 3, 6, 5))
    u[1, 2] = 0
    weight = weights(u, scaling=scaling, offset=0, normalise=True)
    torch.testing.assert_close(weight.mean((2, 3)), torch.ones(2, 3, dtype=torch.float64))
    assert bool((weight[1, 2] == 1).all())


def test_the_linear_weight_does_not_depend_on_the_unit_of_s() -> None:
    """σ in other units adds a constant to s, which ŝ = s - min s takes away again."""
    log_var = random(1, 3, 4, 4)
    torch.testing.assert_close(uncertainty(log_var + math.log(255)), uncertainty(log_var))


def test_maps_do_not_depend_on_contrast() -> None:
    """Twice the error everywhere is the same weight everywhere; a patch without any error has none."""
    error = random(2, 3, 4, 5)
    torch.testing.assert_close(relative(2 * error), relative(error))
    torch.testing.assert_close(relative(error).mean((2, 3)), torch.ones(2, 3, dtype=torch.float64))
    assert bool((relative(torch.zeros(1, 3, 4, 4)) == 0).all())


@given(down=st.floats(-0.05, 0.05), right=st.floats(-0.05, 0.05))
def test_gradient_map_of_a_plane(down: float, right: float) -> None:
    """Its slope, but in the last row and column, where there is no next pixel."""
    row, column = torch.arange(5, dtype=torch.float64)[:, None], torch.arange(6, dtype=torch.float64)[None, :]
    found = gradient_map((down * row + right * column).expand(1, 2, 5, 6))
    slope = torch.full((1, 2, 4, 5), math.hypot(down, right), dtype=torch.float64)
    torch.testing.assert_close(found[:, :, :-1, :-1], slope, atol=1e-12, rtol=0)
    assert found[0, 0, -1, -1].item() == 0


def test_a_weight_is_a_constant() -> None:
    """Even where s carries a gradient, none comes back to it."""
    log_var = random(1, 1, 3, 3).requires_grad_()
    result = random(1, 1, 3, 3, seed=1).requires_grad_()
    weight = weights(uncertainty(log_var))
    assert not weight.requires_grad
    (gradient,) = torch.autograd.grad(udl(result, torch.zeros(1, 1, 3, 3, dtype=torch.float64), weight), result)
    torch.testing.assert_close(gradient, weight / 9)
