"""Tests of the weights that the outer loss of meta-training gives to what comes before, between and after the steps."""

import pytest
import torch
from tasks import configured, made, same

from mzsr.learning.losses import LOSSES
from mzsr.learning.metatrain import LOG_ALPHA, step_weights
from mzsr.learning.photographs import Photographs


@pytest.mark.parametrize("zero_weight", [0.0, 0.5])
@pytest.mark.parametrize("weighting", ["annealed", "uniform", "last"])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_weights_sum_to_one(weighting: str, steps: int, zero_weight: float) -> None:
    """Beside w_0; at every iteration, none negative, one for θ and one for each step."""
    config = configured(weighting=weighting, steps=steps, zero_weight=zero_weight)
    for step in (0, 1, 1000, 3333, 10**6):
        first, *rest = step_weights(config, step)
        assert first == zero_weight
        assert len(rest) == steps
        assert sum(rest) == pytest.approx(1)
        assert min(rest) >= 0


def test_weights_are_annealed() -> None:
    """All but the last go from 1/K to 0.03/K on a line; MZSR does 97 % of it in 0.97 · 10000/3 iterations."""
    config = configured(weighting="annealed", steps=5)
    for step, first in [(0, 0.2), (1000, 0.2 - 0.06), (2000, 0.2 - 0.12), (3233, 0.00602), (3234, 0.006)]:
        assert step_weights(config, step) == pytest.approx([0, *[first] * 4, 1 - 4 * first])
    assert step_weights(config, 10**6) == pytest.approx([0, *[0.006] * 4, 0.976])
    faster = configured(weighting="annealed", steps=4, anneal=100)
    assert step_weights(faster, 50) == pytest.approx([0, 0.125, 0.125, 0.125, 0.625])
    assert step_weights(configured(weighting="annealed", steps=1), 0) == [0, 1]


def test_weights_uniform_and_last() -> None:
    assert step_weights(configured(weighting="uniform", steps=4), 999) == [0, 0.25, 0.25, 0.25, 0.25]
    assert step_weights(configured(weighting="last", steps=3, zero_weight=0.1), 999) == [0.1, 0, 0, 1]


def test_one_step_is_drawn_and_none_is_taken_after_it(photographs: Photographs) -> None:
    """Every step as often as another one; the same one for all tasks and processes; the mean is `uniform`."""
    config = configured(weighting="drawn", steps=4, zero_weight=0.1)
    drawn = [step_weights(config, step) for step in range(4000)]
    assert all(weights == [0.1, *[0.0] * (len(weights) - 2), 1.0] for weights in drawn)
    lengths = [len(weights) - 1 for weights in drawn]
    assert [lengths.count(count) / 4000 for count in (1, 2, 3, 4)] == pytest.approx([0.25] * 4, abs=0.03)
    assert drawn == [step_weights(config, step) for step in range(4000)]
    objective = made(configured(weighting="drawn", steps=4), photographs)
    step = lengths.index(2)
    shorter = made(configured(weighting="last", steps=2), photographs)
    with torch.no_grad():
        for name, tensor in shorter.theta.items():
            tensor.copy_(objective.theta[name][:2] if name.startswith(LOG_ALPHA) else objective.theta[name])
    (loss, gradient), (expected, rest) = (each.gradient(step, range(2)) for each in (objective, shorter))
    assert float(loss) == pytest.approx(float(expected), rel=1e-12)
    names = [name for name, _ in objective.network.named_parameters()]
    same({name: gradient[name] for name in names}, {name: rest[name] for name in names})
    for name in names:
        assert gradient[LOG_ALPHA + name][2:].abs().max() == 0


def test_zero_weight_adds_the_loss_before_any_step(photographs: Photographs) -> None:
    with_it, without = (made(configured(zero_weight=weight), photographs) for weight in (0.5, 0.0))
    task = without._draw(0, 0)
    before = LOSSES["l1"](without.network(task.query.lr, task.query.degradation), task.query.hr)
    slope = torch.autograd.grad(before, list(without.network.parameters()))
    (loss, gradient), (rest_loss, rest) = (objective.gradient(0, range(1)) for objective in (with_it, without))
    assert float(loss) == pytest.approx(float(rest_loss) + 0.5 * before.item(), rel=1e-12)
    names = [name for name, _ in without.network.named_parameters()]
    added = {name: 0.5 * each for name, each in zip(names, slope, strict=True)}
    same(gradient, {name: rest[name] + added.get(name, 0) for name in rest})
