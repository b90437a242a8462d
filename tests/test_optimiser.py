"""Tests of the outer optimiser: what Muon does to a matrix, which tensors it takes, and that a memory is complete."""

import math

import pytest
import torch
from torch import Tensor

from mzsr.config import OptimiserName
from mzsr.learning.optimiser import MUON_PACE, Optimiser
from mzsr.shapes import Params


def parameters(*, channels_last: bool = False) -> Params:
    """Return a hidden convolution, one that makes pixels, a bias and a number."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden": (16, 4, 3, 3), "tail": (12, 16, 3, 3), "bias": (16,), "number": ()}
    theta = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if channels_last:
        theta = {n: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in theta.items()}
    return {name: tensor.requires_grad_() for name, tensor in theta.items()}


def gradients(theta: Params, seed: int) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in theta.items()}


def after(
    kind: OptimiserName, steps: int = 1, *, channels_last: bool = False, clip: float = 1e9
) -> tuple[Params, Params]:
    """Return what some steps moved, and where it was before."""
    theta = parameters(channels_last=channels_last)
    before = {name: tensor.detach().clone() for name, tensor in theta.items()}
    optimiser = Optimiser(theta, kind, lambda name: 3.0 if name == "bias" else 1.0)
    for step in range(steps):
        optimiser.step(gradients(theta, step), 1e-3, clip)
    return {name: tensor.detach() for name, tensor in theta.items()}, before


def test_first_step_of_muon_is_nearly_orthogonal() -> None:
    """All singular values alike, and the step as large as Adam's: 0.2 √(longer side) times an orthogonal matrix."""
    theta, before = after("muon")
    moved = (theta["hidden"] - before["hidden"]).flatten(1)
    singular = torch.linalg.svdvals(moved) / (MUON_PACE * 1e-3 * 0.2 * math.sqrt(36))
    gradient = torch.linalg.svdvals(gradients(theta, 0)["hidden"].flatten(1))
    assert float(gradient.max() / gradient.min()) > 3
    assert 0.6 < float(singular.min()) <= float(singular.max()) < 1.3  # five iterations of Newton-Schulz in bfloat16


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_first_step_of_adam_is_the_sign(kind: OptimiserName) -> None:
    """Of everything but what Muon takes, at the pace of each tensor."""
    theta, before = after(kind)
    gradient = gradients(theta, 0)
    for name in ("tail", "bias", "number", *(["hidden"] if kind == "adam" else [])):
        expected = -1e-3 * (3 if name == "bias" else 1) * gradient[name].sign()
        torch.testing.assert_close(theta[name] - before[name], expected, rtol=1e-3, atol=1e-7)


def test_layout_in_memory_makes_no_difference() -> None:
    one, other = (after("muon", 3, channels_last=flag)[0] for flag in (False, True))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=2e-4)  # sums in bfloat16, in another order
    assert not torch.equal(one["hidden"], after("muon", 2)[0]["hidden"])


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_memory_is_complete(kind: OptimiserName, channels_last: bool) -> None:
    """Five steps are three, a memory, and two; bit by bit."""
    whole, _ = after(kind, 5, channels_last=channels_last)
    theta = parameters(channels_last=channels_last)
    first = Optimiser(theta, kind, lambda name: 3.0 if name == "bias" else 1.0)
    assert first.memory() == {}
    for step in range(3):
        first.step(gradients(theta, step), 1e-3, 1e9)
    held = {key: {n: t.clone() for n, t in tensors.items()} for key, tensors in first.memory().items()}
    second = Optimiser(theta, kind, lambda name: 3.0 if name == "bias" else 1.0)
    second.recall(held, 3)
    for step in range(3, 5):
        second.step(gradients(theta, step), 1e-3, 1e9)
    assert all(torch.equal(theta[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("kind", "key", "name"),
    [("adam", "exp_avg", "bias"), ("muon", "exp_avg_sq", "tail"), ("muon", "momentum_buffer", "hidden")],
)
def test_a_memory_of_something_else(kind: OptimiserName, key: str, name: str) -> None:
    theta = parameters()
    optimiser = Optimiser(theta, kind, lambda name: 1.0)
    optimiser.step(gradients(theta, 0), 1e-3, 1.0)
    held: dict[str, dict[str, Tensor]] = optimiser.memory()
    wrong = {**held, key: {**held[key], name: torch.zeros(2, 3)}}
    with pytest.raises(ValueError, match=r"has shape \[2, 3\], its parameter"):
        Optimiser(theta, kind, lambda name: 1.0).recall(wrong, 1)
    del wrong[key]
    with pytest.raises(KeyError):
        Optimiser(theta, kind, lambda name: 1.0).recall(wrong, 1)


def test_clip_bounds_the_norm_of_all_tensors_together() -> None:
    """Adam remembers a tenth of the first gradient."""
    theta = parameters()
    optimiser = Optimiser(theta, "adam", lambda name: 1.0)
    gradient = gradients(theta, 0)
    optimiser.step(gradient, 1e-3, 0.25)
    assert all(torch.equal(gradient[name], tensor) for name, tensor in gradients(theta, 0).items()), "it is logged"
    norm = torch.cat([tensor.flatten() for tensor in optimiser.memory()["exp_avg"].values()]).norm()
    assert float(norm) == pytest.approx(0.1 * 0.25, rel=1e-4)


def test_muon_alone() -> None:
    """Where only hidden convolutions are trained, Adam has nothing to do."""
    theta: Params = {"hidden": parameters()["hidden"]}
    before = theta["hidden"].detach().clone()
    optimiser = Optimiser(theta, "muon", lambda name: 1.0)
    optimiser.step(gradients(theta, 0), 1e-3, 1e9)
    assert not torch.equal(theta["hidden"].detach(), before)
    assert list(optimiser.memory()) == ["momentum_buffer"]
