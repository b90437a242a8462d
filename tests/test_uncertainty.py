"""Tests of what a result says of its errors: closed forms of the map, through tiles, adaptation, turns and any size."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mzsr.card import Card
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation
from mzsr.inference.adapt import adapt
from mzsr.inference.uncertainty import CENTRAL, error_law, expected_error, expected_psnr
from mzsr.inference.upscale import Upscaler
from mzsr.learning.weights import read_card
from mzsr.shapes import Params

BLUR = kernels.gaussian((2.0, 2.0))
D = Degradation(BLUR)


@pytest.fixture
def upscaler(doubting_weights: Path) -> Upscaler:
    return Upscaler(doubting_weights, device="cpu", precision="float32")


def told(upscaler: Upscaler, lr: Tensor, **options: Any) -> np.ndarray:
    given: dict[str, Any] = {"kernel": BLUR, "noise": 0.0, "steps": 0, "uncertainty": True}
    error = upscaler(lr, **given | options).uncertainty
    assert error is not None
    return error


def by_hand(upscaler: Upscaler, lr: Tensor, theta: Params) -> np.ndarray:
    """Twice e^s, since the card says ESU, the mean over the colours, and at most 255."""
    with torch.no_grad():
        s = upscaler.network.with_log_var(lr, D, theta)[1]
    return (2 * s.exp()).mean(1).clamp(max=255)[0].numpy()


def certain(upscaler: Upscaler, levels: float) -> Upscaler:
    """Let the head say `levels` of every pixel."""
    assert upscaler.network.variance is not None
    last = upscaler.network.variance[-2]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, math.log(levels / 2))
    return upscaler


def test_the_map_is_the_log_variance_in_grey_levels(upscaler: Upscaler, photo: Tensor) -> None:
    error = told(upscaler, photo)
    np.testing.assert_allclose(error, by_hand(upscaler, photo, upscaler.theta), rtol=1e-5)
    assert error.std() > 0.1 * error.mean(), "a flat map would be no test"


def test_the_map_is_that_of_the_adapted_network(upscaler: Upscaler, photo: Tensor) -> None:
    card = upscaler.card
    theta = adapt(
        upscaler.network, upscaler.theta, photo, D, steps=2, step_sizes=card.step_sizes, crops=card.crops
    ).theta
    adapted = told(upscaler, photo, steps=2)
    np.testing.assert_allclose(adapted, by_hand(upscaler, photo, theta), rtol=1e-5)
    assert not np.allclose(adapted, told(upscaler, photo), rtol=1e-5)


def test_tiles_leave_no_seam(upscaler: Upscaler, photo: Tensor) -> None:
    whole = told(upscaler, photo.repeat(1, 1, 2, 1))
    upscaler.tile = 32
    tiled = told(upscaler, photo.repeat(1, 1, 2, 1))
    assert np.abs(tiled / whole - 1).max() < 5e-3  # e^s multiplies what a tail of 1e-3 leaves


@pytest.mark.parametrize("x8", [False, True])
def test_asking_changes_no_pixel(upscaler: Upscaler, photo: Tensor, x8: bool) -> None:
    quiet = upscaler(photo, kernel=BLUR, noise=0.0, x8=x8)
    asked = upscaler(photo, kernel=BLUR, noise=0.0, x8=x8, uncertainty=True)
    assert torch.equal(quiet.picture.pixels, asked.picture.pixels)
    assert (quiet.uncertainty, quiet.expected_psnr) == (None, None)


def test_of_eight_positions_the_maps_are_turned_back(upscaler: Upscaler, photo: Tensor) -> None:
    """Then a picture that is turned has a map that is turned."""
    straight, turned = (told(upscaler, lr, kernel="bicubic", x8=True) for lr in (photo, photo.mT.flip(-1)))
    np.testing.assert_allclose(turned, straight.T[:, ::-1], rtol=1e-3)
    once = told(upscaler, photo, kernel="bicubic")
    assert not np.allclose(once, straight, rtol=0.01)


@pytest.mark.parametrize(
    ("given", "options", "size"),
    [
        (lambda p: p, {"scale": 2}, (120, 152)),
        (lambda p: p, {"scale": 1.5}, (90, 114)),
        (lambda p: p, {"size": (70, 100)}, (70, 100)),
        (lambda p: p[0, 0].numpy(), {"scale": 2}, (120, 152)),
        (lambda p: p[0, [0, 1, 2, 1]].permute(1, 2, 0).numpy(), {"scale": 2}, (120, 152)),
        (lambda p: p, {"scale": 2, "x8": True, "noise": 5 / 255, "steps": 1}, (120, 152)),
    ],
    ids=["rgb", "x1.5", "size", "grey", "alpha", "x8, adapted, noisy"],
)
def test_a_constant_doubt_is_constant_at_any_size(
    upscaler: Upscaler, photo: Tensor, given: Callable[[Tensor], Any], options: dict[str, Any], size: tuple[int, int]
) -> None:
    certain(upscaler, 8.0)
    result = upscaler(given(photo), **{"kernel": BLUR, "noise": 0.0, "steps": 0, "uncertainty": True} | options)
    assert result.uncertainty is not None
    assert result.uncertainty.shape == size
    np.testing.assert_allclose(result.uncertainty, 8.0, rtol=1e-4)
    assert result.expected_psnr == pytest.approx(10 * math.log10(255**2 / (2 * 8**2)), abs=1e-3)


def test_the_record_has_both_figures_or_none(upscaler: Upscaler, photo: Tensor) -> None:
    certain(upscaler, 4.0)
    quiet = upscaler(photo, kernel=BLUR, noise=0.0).record()
    record = upscaler(photo, kernel=BLUR, noise=0.0, uncertainty=True).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["expected_error"], record["expected_psnr_db"]) == (4.0, 33.079)
    assert record.keys() - quiet.keys() == {"expected_error", "expected_psnr_db"}


def test_a_model_that_does_not_know(tiny_weights: Path, doubting_weights: Path, photo: Tensor) -> None:
    upscaler = Upscaler(tiny_weights, device="cpu")
    assert upscaler(photo, kernel=BLUR, noise=0.0, steps=0, uncertainty="auto").uncertainty is None
    with pytest.raises(InputError, match=r"model tiny has no log-variance head.* --loss eu or esu, or do not ask"):
        upscaler(photo, kernel=BLUR, noise=0.0, uncertainty=True)
    untrained = read_card(doubting_weights.with_suffix(".json")).model_copy(update={"recipe": {"loss": "l1"}})
    assert error_law(untrained, "auto") is None
    with pytest.raises(InputError, match="model tiny has a log-variance head that was not trained on it"):
        error_law(untrained)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"recipe": {"loss": "eu"}}, 1.0),
        ({"recipe": {"loss": {"name": "esu"}}}, 2.0),
        ({"recipe": {"loss": {"name": "udl"}}, "earlier": ({"recipe": {"loss": "eu"}},)}, None),
        (
            {"recipe": {"loss": "l1"}, "earlier": ({"recipe": {"loss": "eu"}}, {"recipe": {"loss": {"name": "esu"}}})},
            None,
        ),
        ({"recipe": {"loss": "esu"}, "earlier": ({"recipe": {"loss": "l1"}},)}, 2.0),
        ({"error_law": ((1.0, 1.3, 4.0), (2.0, 2.6, 16.0))}, 1.3),
    ],
)
def test_what_s_means_is_what_trained_it_last_or_what_was_measured(
    doubting_weights: Path, changes: dict[str, Any], factor: float | None
) -> None:
    """A head that stayed behind while the rest moved on means nothing any more."""
    values = read_card(doubting_weights.with_suffix(".json")).model_dump() | changes
    law = Card.parse(values).told_errors()
    assert (law and law[0][1] / law[0][0]) == factor
    headless = values | {"network": {"name": "unfolded"}, "error_law": None}
    assert Card.parse(headless).told_errors() is None


def test_an_estimated_kernel_has_a_law_of_its_own(doubting_weights: Path, photo: Tensor) -> None:
    upscaler = Upscaler(doubting_weights, device="cpu", precision="float32")
    law, larger = (tuple((x, factor * x, 2 * (factor * x) ** 2) for x in (1e-3, 1e3)) for factor in (1.0, 3.0))
    card = upscaler.card.model_copy(update={"error_law": law})
    assert card.told_errors(estimated=True) == card.told_errors() == law
    card = card.model_copy(update={"error_law_estimated": larger})
    assert (card.told_errors(), card.told_errors(estimated=True)) == (law, larger)
    before, upscaler.card = upscaler.card.model_copy(update={"error_law": law}), card
    given, found = (
        told(upscaler, photo, kernel=kernel, noise=noise) for kernel, noise in ((BLUR, "auto"), ("auto", 0.0))
    )
    upscaler.card = before
    np.testing.assert_allclose(given, told(upscaler, photo, kernel=BLUR, noise="auto"), rtol=1e-6)
    np.testing.assert_allclose(found, 3 * told(upscaler, photo, kernel="auto"), rtol=1e-5)


def test_a_law_that_does_not_rise_is_refused(doubting_weights: Path) -> None:
    values = read_card(doubting_weights.with_suffix(".json")).model_dump()
    with pytest.raises(InputError, match="every column of an error law must be above 0 and rise"):
        Card.parse(values | {"error_law": ((1.0, 1.0, 2.0), (2.0, 0.9, 3.0))})


def test_beyond_its_ends_a_law_stays_where_it_is() -> None:
    law = ((1.0, 2.0, 8.0), (4.0, 32.0, 2048.0))
    s = torch.tensor([0.1, 1, 2, 4, 100]).log().reshape(5, 1, 1, 1)
    torch.testing.assert_close(expected_error(s, law).flatten(), torch.tensor([2.0, 2.0, 8.0, 32.0, 32.0]))
    assert expected_psnr(torch.full((1, 1, 2, 2), 8.0), law) == pytest.approx(10 * math.log10(255**2 / 128))


def test_no_error_exceeds_the_scale() -> None:
    assert expected_error(torch.full((1, 3, 1, 1), 1e4), ((1.0, 1.0, 2.0), (1e9, 1e9, 2e18))).item() == 255


def test_laplace_errors_are_as_expected() -> None:
    """90 % of them lie within b ln 10, and the mean of their squares is 2 b²: the two numbers behind the figures."""
    b = torch.tensor([0.5, 2.0, 8.0])
    error = torch.distributions.Exponential(1 / b).sample(torch.Size([200_000])).T  # |e| of a Laplace distribution
    assert ((error <= CENTRAL * b[:, None]).float().mean(1) - 0.9).abs().max() < 3e-3
    psnr = 10 * math.log10(255**2 / float(error.square().mean()))
    assert expected_psnr(b.expand(1, 1, 1, 3), ((0.1, 0.1, 0.02), (10.0, 10.0, 200.0))) == pytest.approx(psnr, abs=0.1)
