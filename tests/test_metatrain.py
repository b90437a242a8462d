"""Tests of meta-transfer training: meta-gradients on paper and by finite differences, vmap, step sizes, a run.

On paper means a "network" that returns its parameters and a loss ½ ‖θ − d‖²: with every gradient θ − d,

    θ_i − d_s = Π_{j≤i} (1 − α_j) (θ_0 − d_s)
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mzsr.config import MetaConfig, NetworkConfig
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation
from mzsr.learning import loop, metatrain
from mzsr.learning.cards import make_card
from mzsr.learning.inner import Descent
from mzsr.learning.losses import LOSSES
from mzsr.learning.metatrain import CROPS, LOG_ALPHA, MetaTraining, step_weights
from mzsr.learning.networks import Network
from mzsr.learning.parallel import World
from mzsr.learning.patches import Pair, Task
from mzsr.learning.photographs import Photographs
from mzsr.learning.weights import load_weights
from mzsr.presets import META
from mzsr.shapes import Images, Params, Scalar

CPU = torch.device("cpu")
NETWORKS = {
    "paper": {"name": "paper", "layers": 3, "channels": 4},
    "unfolded": {"channels": 4, "stages": 1, "blocks": 1},
}
KINDS: dict[str, dict[str, Any]] = {
    "direct": {"bicubic_share": 0, "centred_share": 0},
    "centred": {"bicubic_share": 0, "centred_share": 1},
    "bicubic": {"bicubic_share": 1, "centred_share": 0},
    "plain bicubic": {"name": "bicubic"},  # no kernel to speak of, and a noise level that is no tensor
    "misjudged": {"jpeg_share": 1, "error_share": 1},
}


def configured(*, kind: str = "direct", scale: int = 2, network: str = "unfolded", **changes: Any) -> MetaConfig:
    """Return a small problem of one kind of degradation, all of it with noise."""
    values: dict[str, Any] = {
        "network": NETWORKS[network], "law": {"scales": {scale: 1.0}, "noise_share": 1.0} | KINDS[kind],
        "steps": 2, "tasks": 3, "batch": 2, "patch": 4 * scale**2, "alpha": 0.1, "precision": "float32",
    }  # fmt: skip
    return MetaConfig.parse(values | changes)


def disks(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return a picture of overlapping disks: flat areas and edges, as photographs have them."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.zeros(3, height, width)
    for _ in range(150):
        y, x, size, *colour = torch.rand(6, generator=generator).tolist()
        inside = (row - height * y) ** 2 + (column - width * x) ** 2 < (3 / (0.15 + size)) ** 2
        picture[:, inside] = torch.tensor(colour)[:, None]
    return (picture * 255).byte()


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    generator = torch.Generator().manual_seed(0)
    return Photographs([disks(48, 56, generator) for _ in range(3)], [], [], "")


def made(config: MetaConfig, photographs: Photographs, draw: Callable[[int, int], Task] | None = None) -> MetaTraining:
    """Return an objective in float64 whose tails are not zero, with tasks of its own or given ones."""
    objective = MetaTraining(config, photographs, CPU)
    objective.network.double()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in objective.theta.items():
        if "tail" in name:
            nn.init.normal_(tensor, std=0.1, generator=generator)
        if name.startswith(LOG_ALPHA):
            objective.theta[name] = tensor.detach().double().requires_grad_()
    drawn = draw or objective._draw

    def exact(_: MetaTraining, step: int, index: int) -> Task:
        task = drawn(step, index)
        d = task.query.degradation
        noise = d.noise.double() if isinstance(d.noise, Tensor) else d.noise
        told = Degradation(d.kernel.double(), d.scale, d.subsample, noise, d.jpeg, d.grid)
        return Task(*(Pair(pair.lr.double(), pair.hr.double(), told) for pair in (task.support, task.query)))

    objective._draw = MethodType(exact, objective)
    return objective


def same(found: Params, expected: Params, rtol: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = float((found[name] - tensor).norm())
        assert error <= rtol * float(tensor.norm()), (name, error)


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


# Weights of the outer loss


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


# Which tensors move, and by how much


@pytest.mark.parametrize("learn_alpha", [False, True])
@pytest.mark.parametrize(
    ("adapt", "expected"),
    [
        (["*"], lambda name: True),
        (["*.tail.*"], lambda name: ".tail." in name),
        (["*bias", "stages.0.head.*"], lambda name: name.endswith("bias") or "head" in name),
        (["stages.0.trust.log_alpha"], lambda name: name == "stages.0.trust.log_alpha"),
    ],
)
def test_only_matching_tensors_move(
    monkeypatch: pytest.MonkeyPatch,
    photographs: Photographs,
    adapt: list[str],
    expected: Callable[[str], bool],
    learn_alpha: bool,
) -> None:
    """In the inner loop; the outer one trains all of them."""
    descents: list[Descent] = []

    def spy(*arguments: Any, original: Callable[..., Descent] = metatrain.descend, **options: Any) -> Descent:
        descents.append(original(*arguments, **options))
        return descents[-1]

    monkeypatch.setattr(metatrain, "descend", spy)
    objective = made(configured(adapt=adapt, learn_alpha=learn_alpha), photographs)
    names = [name for name in objective.theta if "/" not in name]
    assert objective.moved == [name for name in names if expected(name)]
    learned = [LOG_ALPHA + name for name in objective.moved] if learn_alpha else []
    assert list(objective.theta) == names + learned
    gradient = objective.gradient(0, range(1))[1]
    assert all(bool(tensor.any()) for tensor in gradient.values())
    (start, *later) = descents[0].thetas
    for theta in later:
        assert [name for name in names if not torch.equal(theta[name], start[name])] == objective.moved


def test_a_pattern_without_a_match_is_refused(photographs: Photographs) -> None:
    """Even where another one has its match: a slip of the pen would be trained for hours."""
    with pytest.raises(
        InputError, match=r"\['\*\.head\*', 'neck\*'\], and 'neck\*' matches no tensor.*stages\.0\.head"
    ):
        MetaTraining(configured(adapt=["*.head*", "neck*"]), photographs, CPU)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"learn_alpha": False}, (0.1, 0.1)),
        ({"learn_alpha": False, "test_alphas": [0.02, 0.01, 0.005]}, (0.02, 0.01, 0.005)),
        ({"learn_alpha": False, "adapt": ["*head.bias"]}, {"stages.0.head.bias": (0.1, 0.1)}),
        (
            {"learn_alpha": False, "adapt": ["*head.bias"], "test_alphas": [0.02]},
            {"stages.0.head.bias": (0.02,)},
        ),
    ],
)
def test_fixed_step_sizes_on_the_card(photographs: Photographs, changes: dict[str, Any], expected: Any) -> None:
    """Those of the configuration to the last digit."""
    objective = MetaTraining(configured(**changes), photographs, CPU)
    assert objective.about(objective.theta)["step_sizes"] == expected


def test_published_step_sizes_on_the_card(photographs: Photographs) -> None:
    """Those of MZSR at meta-test, though training took 0.01 for every step; and the whole picture is adapted to."""
    config = META["paper"].model_copy(update={"network": configured(network="paper").network})
    told = MetaTraining(config, photographs, CPU).about({})
    assert told["step_sizes"] == (0.02, 0.01, 0.01, 0.01, 0.005)
    assert told["crops"] == 0
    assert "5 inner steps" in told["summary"]


@pytest.mark.parametrize("adapt", [["*"], ["*tail*"]])
def test_learned_step_sizes_on_the_card(photographs: Photographs, adapt: list[str]) -> None:
    """Of the parameters asked about, which are the average, and of the tensors that move alone."""
    objective = MetaTraining(configured(adapt=adapt), photographs, CPU)
    average = {name: tensor.detach().clone() for name, tensor in objective.theta.items()}
    for index, name in enumerate(objective.moved):
        average[LOG_ALPHA + name] = torch.tensor([math.log(0.01 + index), math.log(0.5)])
    told = objective.about(average)
    assert told["crops"] == CROPS
    assert list(told["step_sizes"]) == objective.moved
    for index, sizes in enumerate(told["step_sizes"].values()):
        assert sizes == pytest.approx((0.01 + index, 0.5), rel=1e-5)


def test_step_sizes_are_learned_at_their_own_pace(photographs: Photographs) -> None:
    """`alpha_rate` is theirs, whatever β is."""
    objective = MetaTraining(configured(learning_rate=1e-3, alpha_rate=5e-2), photographs, CPU)
    rates = {name: 1e-3 * objective.pace(name) for name in objective.theta}
    for name, rate in rates.items():
        assert rate == pytest.approx(5e-2 if "/" in name else 1e-3)
    # The α of a data step is a parameter like any other
    assert rates["stages.0.trust.log_alpha"] == pytest.approx(1e-3)


def test_show_adapts_with_the_weights_it_is_given(photographs: Photographs) -> None:
    """Before and after; with step sizes of nearly nothing both are the same."""
    objective = MetaTraining(configured(), photographs, CPU)
    theta = {name: tensor.detach().clone() for name, tensor in objective.theta.items()}
    shown = objective.show(theta, 3)
    before, after = shown["3 before adaptation"], shown["4 after adaptation"]
    assert before.shape == after.shape == shown["5 truth"].shape
    assert not torch.equal(before, after)
    tiny = {name: torch.full_like(t, -99.0) if "/" in name else t for name, t in theta.items()}
    shown = objective.show(tiny, 3)
    assert torch.equal(shown["3 before adaptation"], before)
    assert torch.equal(shown["4 after adaptation"], before)
    assert not any(tensor.requires_grad for tensor in shown.values())


# A run


@pytest.fixture(scope="module")
def run(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> tuple[MetaConfig, MetaTraining, Path]:
    """Return what a short meta-training from scratch comes to: its configuration, its objective and its folder."""
    folder, out = tmp_path_factory.mktemp("set"), tmp_path_factory.mktemp("run")
    for index, picture in enumerate(photographs.pictures):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    config = configured(
        network="paper", iterations=20, tasks=2, patch=24, warmup=2, learning_rate=1e-2, alpha_rate=0.1, ema=0.5
    )
    objectives: list[MetaTraining] = []

    def make(*arguments: Any) -> MetaTraining:
        objectives.append(MetaTraining(*arguments))
        return objectives[-1]

    loop.train(make, config, [folder], out, World(CPU))
    return config, objectives[0], out


def test_training_lowers_the_loss_after_adaptation(
    run: tuple[MetaConfig, MetaTraining, Path], photographs: Photographs
) -> None:
    """On tasks that it has not seen; and no step size stays where it began."""
    config, trained, _ = run
    fresh = MetaTraining(config, photographs, CPU)
    before, after = (float(objective.gradient(10**6, range(6))[0]) for objective in (fresh, trained))
    assert after < 0.95 * before
    for name in trained.moved:
        learned = trained.theta[LOG_ALPHA + name].detach() - math.log(config.alpha)
        assert float(learned.abs().min()) > 1e-3


def test_the_card_has_the_learned_step_sizes(run: tuple[MetaConfig, MetaTraining, Path]) -> None:
    """The weight file has the parameters alone, its card a step size for each of them and each step."""
    config, trained, out = run
    network, card = load_weights(out / "weights.safetensors")
    assert isinstance(card.step_sizes, dict)
    assert list(card.step_sizes) == trained.moved == [name for name, _ in network.named_parameters()]
    assert all(len(sizes) == config.steps and min(sizes) > 0 for sizes in card.step_sizes.values())
    assert MetaConfig.parse(card.recipe) == config


@pytest.mark.parametrize(
    ("changes", "taken"), [({}, 6), ({"adapt": ("body.4.*",)}, 2), ({"steps": 3}, 0), ({"alpha": 0.7}, 6)]
)
def test_a_run_takes_over_weights_and_step_sizes(
    run: tuple[MetaConfig, MetaTraining, Path], photographs: Photographs, changes: dict[str, Any], taken: int
) -> None:
    """Of the tensors that move here too; for another number of steps all begin anew."""
    config, _, out = run
    network, card = load_weights(out / "weights.safetensors")
    assert isinstance(card.step_sizes, dict)
    objective = MetaTraining(config.model_copy(update=changes), photographs, CPU)
    objective.begin_from(out / "weights.safetensors")
    assert objective.earlier[-1]["iterations"] == 20
    for name, parameter in network.named_parameters():
        assert torch.equal(objective.theta[name], parameter)
    assert len(objective.moved) == (taken or 6)
    for name in objective.moved:
        tensor = objective.theta[LOG_ALPHA + name]
        assert tensor.requires_grad
        expected = card.step_sizes[name] if taken else (objective.config.alpha,) * 3
        assert tensor.exp().tolist() == pytest.approx(expected, rel=1e-5)


def test_step_sizes_can_be_learned_for_weights_that_stay(
    run: tuple[MetaConfig, MetaTraining, Path], photographs: Photographs, tmp_path: Path
) -> None:
    """Stopped at once and gone on with: all weights are those given, to the bit, and no step size where it began."""
    config, _, before = run
    law = config.law.model_copy(update={"scales": {3: 1.0}})
    config = config.model_copy(
        update={"train": (f"{LOG_ALPHA}*",), "law": law, "patch": 36, "iterations": 8, "seed": 1}
    )
    start = before / "weights.safetensors"
    for index, picture in enumerate(photographs.pictures):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")

    def go(**options: Any) -> Path:
        return loop.train(MetaTraining, config, [tmp_path], tmp_path / "run", World(CPU), **options).weights

    go(start_from=start, time_limit=0)
    network, card = load_weights(go(resume=True))
    given, old = load_weights(start)
    for (name, tensor), there in zip(network.named_parameters(), given.parameters(), strict=True):
        assert torch.equal(tensor, there), name
    assert isinstance(card.step_sizes, dict)
    assert isinstance(old.step_sizes, dict)
    for name, sizes in card.step_sizes.items():
        assert all(new != was for new, was in zip(sizes, old.step_sizes[name], strict=True))
    assert card.scales == old.scales == (2,)  # the weights are as good where they were
    assert "as it was" in card.summary


def test_what_was_measured_of_a_head_stays_where_step_sizes_alone_are_trained(photographs: Photographs) -> None:
    card = load_weights("mzsr")[1]
    for train, kept in ((["log_alpha/*"], True), (["log_alpha/*", "last.*"], False)):
        config = configured(train=train).model_copy(update={"network": card.network})
        objective = MetaTraining(config, photographs, CPU)
        objective.begin_from("mzsr")
        earlier = tuple(json.loads(json.dumps(objective.earlier)))  # as a run that is resumed does
        objective.recall(objective.fixed(), earlier)
        made = make_card(
            config, photographs, World(CPU), about=objective.about(objective.theta), iterations=1, hours=0.0,
            earlier=earlier,
        )  # fmt: skip
        for estimated in (False, True):
            assert (made.told_errors(estimated=estimated) == card.told_errors(estimated=estimated)) is kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learn_alpha": False, "train": ["log_alpha/*"]}, "'log_alpha/*' matches no tensor"),
        ({"train": ["stages.*"]}, "learn_alpha is true; add log_alpha/* to it, or set learn_alpha to false"),
        ({"learn_alpha": False, "train": ["variance.*"]}, "the log-variance head alone, which no step moves"),
    ],
)
def test_what_meta_training_cannot_train(photographs: Photographs, changes: dict[str, Any], message: str) -> None:
    network = NETWORKS["unfolded"] | {"log_var": True}
    with pytest.raises(InputError, match=re.escape(f"train is {changes['train']}, ") + ".*" + re.escape(message)):
        MetaTraining(configured(**changes).model_copy(update={"network": NetworkConfig(**network)}), photographs, CPU)


def test_fixed_step_sizes_ignore_the_card(run: tuple[MetaConfig, MetaTraining, Path], photographs: Photographs) -> None:
    config, _, out = run
    objective = MetaTraining(config.model_copy(update={"learn_alpha": False}), photographs, CPU)
    objective.begin_from(out / "weights.safetensors")
    assert not any("/" in name for name in objective.theta)
    assert objective.about(objective.theta)["step_sizes"] == (config.alpha,) * 2
