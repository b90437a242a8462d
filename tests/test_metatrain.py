"""Tests of runs of meta-transfer training: what they learn, what they take over, what they leave as it was."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tasks import NETWORKS, configured
from training import CPU

from mzsr.config import MetaConfig, NetworkConfig
from mzsr.errors import InputError
from mzsr.learning import loop
from mzsr.learning.cards import make_card
from mzsr.learning.metatrain import LOG_ALPHA, MetaTraining
from mzsr.learning.parallel import World
from mzsr.learning.photographs import Photographs
from mzsr.learning.weights import load_weights


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
            earlier=earlier, precision=torch.float32,
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
