"""Tests of the gradient of meta-transfer training: on paper, by finite differences, by vmap.

On paper means a "network" that returns its parameters and a loss ½ ‖θ − d‖²: with every gradient θ − d,

    θ_i − d_s = Π_{j≤i} (1 − α_j) (θ_0 − d_s)
"""

from typing import Any

import pytest
import torch
from tasks import configured, made, same
from torch import nn
from training import CPU

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation
from mzsr.learning.losses import LOSSES
from mzsr.learning.metatrain import LOG_ALPHA, MetaTraining, step_weights
from mzsr.learning.networks import Network
from mzsr.learning.patches import Pair, Task
from mzsr.learning.photographs import Photographs
from mzsr.shapes import Images, Params, Scalar

# The network that returns its parameters


class Points(Network):
    """f = θ, whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.b = nn.Parameter(torch.tensor([3.0, 0.5]))

    def forward(self, lr: Images, d: Degradation) -> Images:
        return torch.cat([self.a, self.b]).reshape(1, 1, 1, -1)


def quadratic(result: Images, truth: Images) -> Scalar:
    return 0.5 * (result - truth).square().sum()


def points(monkeypatch: pytest.MonkeyPatch, photographs: Photographs, **changes: Any) -> MetaTraining:
    """Return meta-training of Points, every task with random goals of its own."""
    monkeypatch.setattr("mzsr.learning.objective.build", lambda config: Points())
    monkeypatch.setitem(LOSSES, "l1", quadratic)

    def draw(step: int, index: int) -> Task:
        goals = torch.randn(2, 1, 1, 1, 4, generator=torch.Generator().manual_seed(10 * step + index))
        return Task(*(Pair(goal, goal, Degradation(kernels.delta(), 1)) for goal in goals))

    return made(configured(steps=3, **changes), photographs, draw)


def on_paper(objective: MetaTraining, step: int, tasks: range) -> tuple[float, Params]:
    """Return outer loss and gradient of Points, worked out by hand."""
    config, start = objective.config, {n: t.detach() for n, t in objective.theta.items() if "/" not in n}
    log_alpha = {n: objective.theta.get(LOG_ALPHA + n) for n in objective.moved}
    weights = step_weights(config, step)
    total, sums = 0.0, {name: torch.zeros_like(tensor) for name, tensor in objective.theta.items()}
    for index in tasks:
        task = objective._draw(step, index)
        goals = zip(start, task.support.hr.split(2, 3), task.query.hr.split(2, 3), strict=True)
        for name, goal, query_goal in goals:
            d_s, d_q, logarithms = goal.flatten(), query_goal.flatten(), log_alpha.get(name)
            alpha = torch.full((config.steps,), config.alpha) if logarithms is None else logarithms.detach().exp()
            keep = 1 - alpha.double() if name in objective.moved else torch.ones(config.steps).double()
            theta = [d_s + keep[:i].prod() * (start[name] - d_s) for i in range(config.steps + 1)]
            for i, weight in enumerate(weights):
                total += weight * float((theta[i] - d_q).square().sum()) / 2
                power = keep[:i].prod() if config.order == "second" else 1.0
                sums[name] += weight * power * (theta[i] - d_q)
                for j in range(i if logarithms is not None else 0):
                    # ∂θ_i / ∂α_j is the gradient of step j, shrunk by the steps after it or, first order, not
                    later = keep[j + 1 : i].prod() if config.order == "second" else 1.0
                    slope = -later * (theta[j] - d_s) @ (theta[i] - d_q)
                    sums[LOG_ALPHA + name][j] += weight * alpha[j] * slope
    return total / len(tasks), {name: tensor / len(tasks) for name, tensor in sums.items()}


@pytest.mark.parametrize("vectorise", [False, True])
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize(
    "changes",
    [
        {"weighting": "last", "learn_alpha": False},
        {"weighting": "last"},
        {"weighting": "uniform", "zero_weight": 0.5},
        {"weighting": "annealed", "adapt": ["b"]},
        {"weighting": "last", "adapt": ["a"], "learn_alpha": False, "zero_weight": 2.0},
    ],
)
def test_meta_gradient_of_a_quadratic(
    monkeypatch: pytest.MonkeyPatch, photographs: Photographs, order: str, vectorise: bool, changes: dict[str, Any]
) -> None:
    """With respect to θ_0 and to the logarithm of every step size."""
    objective = points(monkeypatch, photographs, order=order, vectorise=vectorise, alpha=0.3, **changes)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in objective.theta.items():
            if name.startswith(LOG_ALPHA):
                tensor += torch.randn(3, generator=generator)  # unlike each other
    expected_loss, expected = on_paper(objective, 1000, range(2, 5))
    loss, gradient = objective.gradient(1000, range(2, 5))
    # A step size that is not learned is a number of float32
    assert float(loss) == pytest.approx(expected_loss, rel=1e-6)
    same(gradient, expected, rtol=1e-6)


def test_the_outer_loss_is_another_than_that_of_the_steps(
    monkeypatch: pytest.MonkeyPatch, photographs: Photographs
) -> None:
    monkeypatch.setitem(LOSSES, "psnr", lambda result, truth: 3 * quadratic(result, truth))
    one, three = (points(monkeypatch, photographs, loss=loss).gradient(0, range(1)) for loss in ("l1", "psnr"))
    torch.testing.assert_close(three[0], 3 * one[0])
    assert three[1].keys() == one[1].keys()
    for name, gradient in three[1].items():
        torch.testing.assert_close(gradient, 3 * one[1][name])


def test_meta_gradient_in_letters(monkeypatch: pytest.MonkeyPatch, photographs: Photographs) -> None:
    """One task, K steps of the same α: second order (1 − α)^K (θ_K − d), first order θ_K − d."""
    alpha, found = 0.25, {}
    for order in ("first", "second"):
        objective = points(
            monkeypatch, photographs, order=order, alpha=alpha, learn_alpha=False, weighting="last"
        )  # fmt: skip
        task = objective._draw(0, 0)
        theta = torch.cat([t.detach() for t in objective.theta.values()])
        last = task.support.hr.flatten() + (1 - alpha) ** 3 * (theta - task.support.hr.flatten())
        found[order] = torch.cat(list(objective.gradient(0, range(1))[1].values())), last - task.query.hr.flatten()
    torch.testing.assert_close(*found["first"])
    torch.testing.assert_close(found["second"][0], (1 - alpha) ** 3 * found["second"][1])


# The real networks


def slopes(objective: MetaTraining, names: list[str]) -> tuple[float, float]:
    """Return the derivative of the outer loss along a random direction of tensors: by `gradient`, by difference."""
    generator = torch.Generator().manual_seed(2)
    way = {n: torch.randn(objective.theta[n].shape, generator=generator, dtype=torch.float64) for n in names}
    gradient = objective.gradient(0, range(2))[1]
    step, losses = 1e-7, []  # small, for a ReLU has kinks
    for sign in (1, -2):  # to one side, and from there to the other
        with torch.no_grad():
            for name in names:
                objective.theta[name] += sign * step * way[name]
        losses.append(float(objective.gradient(0, range(2))[0]))
    return sum(float((gradient[n] * way[n]).sum()) for n in names), (losses[0] - losses[1]) / (2 * step)


@pytest.mark.parametrize("network", ["paper", "unfolded"])
def test_meta_gradient_is_the_difference_quotient(
    monkeypatch: pytest.MonkeyPatch, photographs: Photographs, network: str
) -> None:
    """Second order, for θ and for the step sizes; first order is something else."""
    monkeypatch.setitem(LOSSES, "l1", lambda result, truth: (result - truth).square().mean())  # without kinks
    config = configured(network=network, weighting="last", alpha=1.0)
    objective = made(config, photographs)
    names = [[n for n in objective.theta if ("/" in n) == learned] for learned in (False, True)]
    for group in names:
        slope, quotient = slopes(objective, group)
        assert slope == pytest.approx(quotient, rel=1e-5)
    slope, quotient = slopes(made(config.model_copy(update={"order": "first"}), photographs), names[0])
    assert abs(slope - quotient) > 1e-3 * abs(quotient)


@pytest.mark.parametrize("network", ["paper", "unfolded"])
@pytest.mark.parametrize(
    ("kind", "scale", "changes"),
    [
        ("direct", 2, {}),
        ("direct", 2, {"order": "first"}),
        ("direct", 3, {"episodes": "published"}),
        ("centred", 2, {"order": "first", "adapt": ["*weight"]}),
        ("centred", 3, {"learn_alpha": False}),
        ("bicubic", 2, {"zero_weight": 0.5}),
        ("bicubic", 3, {"order": "first"}),
        ("plain bicubic", 2, {}),
        ("misjudged", 2, {}),
    ],
)
def test_all_at_once_is_one_after_another(
    photographs: Photographs, network: str, kind: str, scale: int, changes: dict[str, Any]
) -> None:
    """Loss and every gradient, by vmap and by a loop over the same tasks."""
    config = configured(kind=kind, scale=scale, network=network, vectorise=True, **changes)
    together = made(config, photographs)
    alone = made(config.model_copy(update={"vectorise": False}), photographs, together._draw)
    (loss, gradient), (expected_loss, expected) = (o.gradient(3, range(3)) for o in (together, alone))
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-9)
    same(gradient, expected)
    assert all(bool(t.any()) for n, t in gradient.items() if "log_gain" not in n)  # plain bicubic has no noise


@pytest.mark.parametrize("network", ["paper", "unfolded"])
def test_all_at_once_in_float32(photographs: Photographs, network: str) -> None:
    """As a run computes it; a scalar such as the α of a data step is a sum that cancels, so all tensors as one."""
    config = configured(network=network, vectorise=True)
    together = MetaTraining(config, photographs, CPU)
    alone = MetaTraining(config.model_copy(update={"vectorise": False}), photographs, CPU)
    alone._draw = together._draw
    (loss, gradient), (expected_loss, expected) = (o.gradient(0, range(3)) for o in (together, alone))
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-5)
    found, wanted = (torch.cat([t.flatten() for t in group.values()]) for group in (gradient, expected))
    assert float((found - wanted).norm()) < 1e-5 * float(wanted.norm())


def test_tasks_of_one_vmap_share_their_kind(photographs: Photographs) -> None:
    """Or their shapes would differ; from one iteration to the next it changes."""
    law = {"scales": {2: 0.5, 3: 0.5}, "bicubic_share": 0.5, "centred_share": 0.5}
    objective = MetaTraining(configured(law=law, vectorise=True, patch=36), photographs, CPU)
    drawn = [[objective._draw(step, index).query for index in range(4)] for step in range(12)]
    kinds = [{(q.degradation.scale, q.degradation.subsample, q.degradation.grid) for q in each} for each in drawn]
    assert all(len(each) == 1 for each in kinds)
    assert len(set.union(*kinds)) == 4
    assert all(not torch.equal(each[0].degradation.kernel, each[1].degradation.kernel) for each in drawn)


def test_gradient_of_many_tasks_is_the_mean(photographs: Photographs) -> None:
    """So that processes, which share them out, find what one finds alone; the tasks differ."""
    objective = made(configured(), photographs)
    loss, gradient = objective.gradient(7, range(4))
    halves = [objective.gradient(7, part) for part in (range(2), range(2, 4))]
    assert float(loss) == pytest.approx(float(halves[0][0] + halves[1][0]) / 2, rel=1e-12)
    same(gradient, {name: (halves[0][1][name] + halves[1][1][name]) / 2 for name in gradient})
    assert float(halves[0][0]) != float(halves[1][0])


def test_validation_is_of_all_kinds_even_where_tasks_are_computed_at_once(photographs: Photographs) -> None:
    """Tasks of an iteration share a kind; those of validation are drawn one by one, always the same."""
    law = configured().law.model_dump() | {"scales": {1: 0.5, 2: 0.5}}
    objective = MetaTraining(configured(law=law, vectorise=True, hold_out=2), photographs, CPU)
    scales = [objective._draw(-1, index).query.degradation.scale for index in range(8)]
    assert set(scales) == {1, 2}
    assert scales == [objective._draw(-1, index).query.degradation.scale for index in range(8)]
    assert len({objective._draw(0, index).query.degradation.scale for index in range(8)}) == 1
