"""Tests of what large-scale training minimises: it learns, from where the data step ends."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tasks import disks
from torch.func import functional_call

from mzsr.card import Card
from mzsr.config import LossName, PretrainConfig
from mzsr.errors import InputError
from mzsr.imaging.degrade import upsample
from mzsr.learning.loop import train
from mzsr.learning.losses import l1
from mzsr.learning.networks import Network
from mzsr.learning.parallel import World
from mzsr.learning.patches import Pair, draw_pair, step_generator
from mzsr.learning.photographs import Photographs, load_photographs
from mzsr.learning.pretrain import Pretraining
from mzsr.learning.weights import load_weights, save_weights
from mzsr.presets import PRETRAIN

CPU = torch.device("cpu")


def configured(**changes: Any) -> PretrainConfig:
    values = {"iterations": 12, "patch": 24, "save_every": 1000, "precision": "float32"}
    return PretrainConfig.parse(PRETRAIN["smoke"].model_dump() | values | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three small pictures."""
    folder, generator = tmp_path_factory.mktemp("set"), torch.Generator().manual_seed(0)
    for i in range(3):
        Image.fromarray(disks(48, 56, generator).movedim(0, 2).numpy()).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def photographs(folder: Path) -> Photographs:
    return load_photographs([folder], 24)


def batches(photographs: Photographs, config: PretrainConfig, count: int) -> list[Pair]:
    """Return batches that training has not drawn."""
    generators = [step_generator(99, step) for step in range(count)]
    return [draw_pair(photographs.pictures, config.law, 4, config.patch, generator) for generator in generators]


def mean_error(network: Network, pairs: list[Pair]) -> float:
    with torch.no_grad():
        return sum(l1(network(pair.lr, pair.degradation), pair.hr).item() for pair in pairs) / len(pairs)


def test_it_cuts_from_smaller_sizes_as_well(photographs: Photographs) -> None:
    """Pictures of 48x56 pixels: at 0.5 a patch of 24 still fits, at 0.4 it does not."""
    objective = Pretraining(configured(patch=24, shrink=(0.5, 0.4)), photographs, CPU)
    assert [tuple(p.shape[1:]) for p in objective.pictures] == [(48, 56)] * 3 + [(24, 28)] * 3
    with pytest.raises(InputError, match="shrink"):
        configured(shrink=(1.5,))


@pytest.mark.parametrize("name", ["unfolded", "paper"])
def test_it_learns(folder: Path, photographs: Photographs, tmp_path: Path, name: str) -> None:
    """The flagship improves on the data step that it starts from, and the paper network on its random residual."""
    network = {"name": name, "channels": 32 if name == "unfolded" else 12, "layers": 3, "stages": 1, "blocks": 0}
    law = {"noise_share": 1.0, "noise": 0.3, "scales": {2: 1.0}}  # much noise: something to learn in no time
    values = {"network": network, "law": law, "iterations": 80, "batch": 4, "warmup": 20, "learning_rate": 3e-3}
    config = configured(**values)
    pairs = batches(photographs, config, 12)
    before = mean_error(Pretraining(config, photographs, CPU).network, pairs)
    losses: list[float] = []
    told: Any = {"progress": lambda step, loss: losses.append(loss)}
    outcome = train(Pretraining, config, [folder], tmp_path, World(CPU), **told)
    assert mean_error(load_weights(outcome.weights)[0], pairs) < 0.95 * before
    assert sum(losses[-20:]) < sum(losses[:20])


def test_starts_from_bicubic_on_the_right_phase(photographs: Photographs) -> None:
    """The loss at step 0 of the flagship is below that of bicubic: training begins where the data step ends."""
    config = configured(law={"scales": {2: 1.0}, "noise_share": 0.0}, batch=8)
    loss, _ = Pretraining(config, photographs, CPU).gradient(0, range(1))
    pair = draw_pair(photographs.pictures, config.law, 8, 24, step_generator(config.seed, 0))
    assert loss < l1(upsample(pair.lr, pair.degradation), pair.hr)


def test_the_network_depends_on_the_seed_alone(photographs: Photographs) -> None:
    torch.manual_seed(3)
    one = Pretraining(configured(), photographs, CPU).theta
    torch.manual_seed(4)
    state = torch.get_rng_state()
    two = Pretraining(configured(), photographs, CPU).theta
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = Pretraining(configured(seed=1), photographs, CPU).theta
    assert not torch.equal(one["stages.0.head.weight"], other["stages.0.head.weight"])


def test_gradient_is_that_of_the_mean_over_batches(photographs: Photographs) -> None:
    """Of a loss written out here, on batches that depend on (seed, step, index) alone."""
    config = configured(network={"name": "paper", "layers": 2, "channels": 4}, seed=5)
    objective = Pretraining(config, photographs, CPU)
    loss, gradient = objective.gradient(3, range(1, 4))
    losses = []
    for index in (1, 2, 3):
        generator = step_generator(5, 3, index)
        pair = draw_pair(photographs.pictures, config.law, config.batch, config.patch, generator)
        losses.append((objective.network(pair.lr, pair.degradation) - pair.hr).abs().mean())
    mean = torch.stack(losses).mean()
    expected = torch.autograd.grad(mean, list(objective.theta.values()))
    torch.testing.assert_close(loss, mean.detach())
    torch.testing.assert_close(gradient, dict(zip(objective.theta, expected, strict=True)))
    assert len({loss.item() for loss in losses}) == 3


@pytest.mark.parametrize(("name", "crops"), [("unfolded", 1), ("paper", 0)])
def test_about_says_what_the_weights_are(photographs: Photographs, name: str, crops: int) -> None:
    """Not meta-trained; the paper network adapts on the whole picture, as published."""
    objective = Pretraining(configured(network={"name": name, "channels": 4}), photographs, CPU)
    told = objective.about(objective.theta)
    assert told["summary"] == f"{name} network after large-scale training, not meta-trained"
    assert (told["step_sizes"], told["crops"]) == ((1e-2,), crops)


def test_show_is_of_the_weights_given_on_a_batch_that_the_run_does_not_see(photographs: Photographs) -> None:
    config = configured()
    objective = Pretraining(config, photographs, CPU)
    theta = {name: tensor.detach() + 0.01 for name, tensor in objective.theta.items()}
    shown = objective.show(theta, 6)
    pair = draw_pair(photographs.pictures, config.law, config.batch, config.patch, step_generator(0, 12 + 6))
    assert torch.equal(shown["1 low resolution"], pair.lr)
    assert torch.equal(shown["3 truth"], pair.hr)
    expected = functional_call(objective.network, theta, (pair.lr, pair.degradation))
    torch.testing.assert_close(shown["2 result"], expected.detach())
    assert not shown["2 result"].requires_grad
    seen = [draw_pair(photographs.pictures, config.law, 2, 24, step_generator(0, step)) for step in range(12)]
    assert not any(torch.equal(pair.hr, other.hr) for other in seen)


def test_weights_of_the_same_network_are_taken_whatever_else_its_card_says(
    photographs: Photographs, tmp_path: Path
) -> None:
    """Stages are of the unfolded network alone, so two paper networks that differ there are the same; layers count."""
    small = {"name": "paper", "layers": 2, "channels": 4}
    first = Pretraining(configured(network=small, seed=1), photographs, CPU)
    card = Card(
        name="t", summary="", network=first.config.network, scales=(2,), step_sizes=(0.01,), data=(), recipe={},
        command="", commit="", iterations=0, hours=0, machine="", sha256="",
    )  # fmt: skip
    save_weights(tmp_path / "t.safetensors", first.theta, card)
    second = Pretraining(configured(network=small | {"stages": 7}, seed=2), photographs, CPU)
    second.begin_from(tmp_path / "t.safetensors")
    torch.testing.assert_close(dict(second.theta), dict(first.theta))
    third = Pretraining(configured(network=small | {"layers": 3}), photographs, CPU)
    with pytest.raises(InputError, match="make them the same"):
        third.begin_from(tmp_path / "t.safetensors")


@pytest.mark.parametrize("loss", ["l1", "psnr", "udl", "error-map"])
def test_weights_begin_as_what_they_were_and_so_does_the_frozen_step_1(
    photographs: Photographs, tmp_path: Path, loss: LossName
) -> None:
    small = {"name": "unfolded", "channels": 8, "stages": 2, "blocks": 1, "log_var": True}
    law = {"scales": {2: 1.0}}
    first = Pretraining(configured(network=small, law=law, seed=1), photographs, CPU)
    with torch.no_grad():
        for name, tensor in first.theta.items():  # tails begin at zero, and would hide what is before them
            if ".tail." in name:
                tensor.normal_(std=0.1)
    card = Card(
        name="t", summary="", network=first.config.network, scales=(2,), step_sizes=(0.01,), data=(),
        recipe={"loss": "esu"},
        command="", commit="", iterations=0, hours=0, machine="", sha256="",
    )  # fmt: skip
    save_weights(tmp_path / "t.safetensors", first.theta, card)

    def begun(**changes: object) -> Pretraining:
        network = small | {"log_var": False} | changes
        return Pretraining(configured(network=network, law=law, loss={"name": loss}, seed=2), photographs, CPU)

    second = begun()
    second.begin_from(tmp_path / "t.safetensors")
    pair = second._draw(0, 0)
    before = first.network(pair.lr, pair.degradation)
    torch.testing.assert_close(second.network(pair.lr, pair.degradation), before)
    if second.step1 is not None:
        torch.testing.assert_close(second.step1(pair.lr, pair.degradation), before)
    with pytest.raises(InputError, match=r"is of network .*blocks=1.*this run trains .*blocks=3"):
        begun(blocks=3).begin_from(tmp_path / "t.safetensors")


def test_a_loss_of_the_log_variance_needs_its_head_among_what_is_trained(photographs: Photographs) -> None:
    config = configured(loss="eu", network={"channels": 8, "stages": 1, "log_var": True}, train=["stages.*"])
    with pytest.raises(InputError, match=r"train is \['stages.\*'\], which leaves its head out; add variance"):
        Pretraining(config, photographs, CPU)
