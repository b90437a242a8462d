"""Tests of which tensors meta-training moves, and by how much."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tasks import configured, made
from training import CPU

from mzsr.errors import InputError
from mzsr.learning import metatrain
from mzsr.learning.inner import Descent
from mzsr.learning.metatrain import CROPS, LOG_ALPHA, MetaTraining
from mzsr.learning.photographs import Photographs
from mzsr.presets import META


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
