"""Tests of what a model says of itself and the Upscaler heeds: its grid, its scales, the steps that it lives by."""

from pathlib import Path
from typing import Any

import pytest
import torch
from measures import psnr
from samples import BLUR, rgb8
from torch import Tensor

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade, phase
from mzsr.inference.upscale import Upscaler
from mzsr.learning.weights import load_weights, save_weights


def test_eight_positions_of_a_model_that_has_learned_one_grid(photo: Tensor) -> None:
    """In a mirror its grid is another: only positions that keep it count, and the mean of those is no worse."""
    upscaler = Upscaler("mzsr-x2-direct", device="cpu")
    lr = degrade(photo, Degradation(kernels.gaussian((2.0, 2.0))))
    alone, together = (
        psnr(upscaler(lr, kernel="gauss:2.0", noise=0.0, steps=1, x8=x8).picture.pixels, photo) for x8 in (False, True)
    )
    assert together > alone - 0.05


def test_a_network_that_lives_by_steps_says_so_where_it_takes_none(photo: Tensor) -> None:
    small = photo[:, :, :32, :32]
    kernel, upscaler = kernels.gaussian((2.0, 2.0)), Upscaler("mzsr-x2-direct", device="cpu")
    words = "the network was meta-trained to find out the blur in steps, and took none"
    told = [upscaler(small, kernel=kernel, noise=0, steps=steps).facts["warnings"] for steps in (0, 1)]
    assert told == [[words], []]


def test_a_network_of_the_papers_grid_says_where_its_result_lies(photo: Tensor) -> None:
    direct = Upscaler("mzsr-x2-direct", device="cpu")
    grids: tuple[tuple[Any, int], ...] = ((None, 1), ("direct", 0))
    for grid, told in grids:
        warnings = direct(rgb8(photo), scale=2, subsample=grid, steps=1).facts["warnings"]
        assert sum("0.5 pixels up and left" in words for words in warnings) == told


@pytest.mark.parametrize(
    ("known", "kernel", "asked", "taken", "warned"),
    [
        ("direct", "auto", None, "direct", False),
        ("bicubic", "auto", None, "direct", False),
        ("direct", BLUR, None, "direct", False),
        ("bicubic", BLUR, None, "bicubic", False),
        ("direct", "bicubic", None, "bicubic", True),
        ("bicubic", BLUR, "direct", "direct", True),
        (None, BLUR, None, "direct", False),
    ],
)
def test_a_network_of_one_grid_is_given_that_grid(
    tiny_weights: Path,
    photo: Tensor,
    tmp_path: Path,
    known: str | None,
    kernel: Any,
    asked: Any,
    taken: str,
    warned: bool,
) -> None:
    network, card = load_weights(tiny_weights)
    path = tmp_path / "one.safetensors"
    save_weights(path, dict(network.named_parameters()), card.model_copy(update={"subsample": known}))
    result = Upscaler(path, device="cpu")(photo, kernel=kernel, subsample=asked, steps=0, noise=0.0)
    assert result.degradation.subsample == taken
    if taken == "direct":  # the paper's grid, low-resolution pixels on every second pixel, or that of photographs
        place = 0.5 if (known, kernel) == ("bicubic", "auto") else 0.0
        assert phase(result.degradation) == pytest.approx((place, place), abs=0.05)
    assert any("subsampling only" in warning for warning in result.facts["warnings"]) is warned


def test_weights_for_one_scale_take_its_place(
    tiny_weights: Path, photo: Tensor, tmp_path: Path, monkeypatch: Any
) -> None:
    """NAME-x4 does the work of NAME wherever x4 is the whole scale, and nowhere else."""
    network, card = load_weights(tiny_weights)
    theta = dict(network.named_parameters())
    other = {name: tensor + 0.01 for name, tensor in theta.items()}
    for name, tensors in {"one": theta, "one-x4": other}.items():
        save_weights(
            tmp_path / f"{name}.safetensors", tensors, card.model_copy(update={"name": name, "scales": (2, 4)})
        )
    monkeypatch.setattr("mzsr.learning.weights._weights_folder", lambda: tmp_path)
    one, small = Upscaler("one", device="cpu"), photo[:, :, :36, :40]
    known = {"one": Upscaler(tiny_weights, device="cpu"), "one-x4": Upscaler("one-x4", device="cpu")}
    for scale, model in ((2, "one"), (4, "one-x4"), (3.5, "one-x4")):
        result = one(small, scale=scale, kernel="gauss:1.0", noise=0.0, steps=1)
        assert result.facts["model"] == model
        expected, others = (
            known[name](small, scale=scale, kernel="gauss:1.0", noise=0.0, steps=1).picture.pixels
            for name in (model, *({*known} - {model}))
        )
        assert torch.equal(result.picture.pixels, expected)
        assert not torch.equal(result.picture.pixels, others)
    assert one.at(4) is one.at(4)
    assert one.at(2) is one
