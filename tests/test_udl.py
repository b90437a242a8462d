"""Tests of training in the two steps of UDL: what is frozen stays so, nothing that stops a run changes its end."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mzsr.config import PretrainConfig
from mzsr.errors import InputError
from mzsr.learning import loop
from mzsr.learning.contract import HEAD
from mzsr.learning.loop import train
from mzsr.learning.parallel import World
from mzsr.learning.patches import draw_pair, step_generator
from mzsr.learning.photographs import Photographs, load_photographs
from mzsr.learning.pretrain import Pretraining
from mzsr.learning.state import load_state
from mzsr.learning.weights import load_weights, save_weights
from mzsr.presets import PRETRAIN
from mzsr.shapes import Params

CPU = torch.device("cpu")
PAPER = {"name": "paper", "layers": 3, "channels": 6}
X2 = {"name": "bicubic", "scales": {2: 1.0}}
SECOND = ["udl", "error-map", "gradient-map"]


def configured(loss: Any = "l1", **changes: Any) -> PretrainConfig:
    """Return a small recipe; a likelihood gets a head."""
    network = {**PAPER, "log_var": loss in ("eu", "esu")}
    values = {"iterations": 6, "patch": 24, "save_every": 2, "precision": "float32", "network": network, "law": X2}
    return PretrainConfig.parse(PRETRAIN["smoke"].model_dump() | values | {"loss": loss} | changes)


def go(config: PretrainConfig, folder: Path, out: Path, **options: Any) -> Path:
    return train(Pretraining, config, [folder], out, World(CPU), **options).weights


def tensors(path: Path) -> Params:
    return {name: tensor.detach() for name, tensor in load_weights(path)[0].named_parameters()}


@pytest.fixture(scope="module", autouse=True)
def a_line_for_every_iteration() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        yield


@pytest.fixture(scope="module")
def photographs(folder: Path) -> Photographs:
    return load_photographs([folder], 24)


@pytest.fixture(scope="module")
def step1(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the weights of a step 1."""
    return go(configured("esu"), folder, tmp_path_factory.mktemp("step1"))


@pytest.mark.parametrize("name", ["eu", "esu"])
def test_step1_descends_on_its_equation(photographs: Photographs, name: str) -> None:
    """The gradient is that of the equation written out here, on the same batch, of the head's parameters too."""
    config = configured(name, seed=3)
    objective = Pretraining(config, photographs, CPU)
    loss, gradient = objective.gradient(2, range(1))
    pair = draw_pair(photographs.pictures, config.law, config.batch, config.patch, step_generator(3, 2))
    hr, s = objective.network.with_log_var(pair.lr, pair.degradation)
    expected = ((-s).exp() * (255 * (pair.hr - hr)).abs() + {"eu": 1, "esu": 2}[name] * s).mean()
    torch.testing.assert_close(loss, expected.detach())
    moved = torch.autograd.grad(expected, list(objective.theta.values()))
    torch.testing.assert_close(gradient, dict(zip(objective.theta, moved, strict=True)))
    torch.testing.assert_close(objective.notes()["log_var"], s.mean().detach())


@pytest.mark.parametrize("options", [{}, {"offset": 0.0}, {"scaling": "log", "normalise": True}], ids=str)
def test_step2_weighs_by_the_frozen_step1(photographs: Photographs, step1: Path, options: dict[str, Any]) -> None:
    """mean(w |x - f|) with w of the file's own network, whatever f has become; no gradient reaches that network."""
    objective = Pretraining(configured({"name": "udl", **options}), photographs, CPU)
    objective.begin_from(step1)
    first = objective.gradient(0, range(2))[0]
    with torch.no_grad():
        for parameter in objective.theta.values():
            parameter.mul_(1.5)
    loss, gradient = objective.gradient(0, range(2))
    assert loss != first
    frozen, config = load_weights(step1)[0].requires_grad_(False), objective.config
    losses, means = [], []
    for index in range(2):
        pair = draw_pair(photographs.pictures, config.law, config.batch, config.patch, step_generator(0, 0, index))
        s = frozen.with_log_var(pair.lr, pair.degradation)[1]
        u = s - s.amin((2, 3), keepdim=True)
        w = (u.log1p() if "scaling" in options else u) + options.get("offset", 1.0)
        w = w / w.mean((2, 3), keepdim=True) if "normalise" in options else w
        losses.append((w * (objective.network(pair.lr, pair.degradation) - pair.hr).abs()).mean() / 2)
        means.append(w.mean() / 2)
    torch.testing.assert_close(loss, torch.stack(losses).sum().detach())
    moved = torch.autograd.grad(torch.stack(losses).sum(), list(objective.theta.values()))
    torch.testing.assert_close(gradient, dict(zip(objective.theta, moved, strict=True)))
    torch.testing.assert_close(objective.notes()["weight"], torch.stack(means).sum())
    assert objective.step1 is not None
    assert not any(p.requires_grad or p.grad is not None for p in objective.step1.parameters())
    assert all(torch.equal(p, dict(frozen.named_parameters())[name]) for name, p in objective.step1.named_parameters())


def test_weights_of_maps(photographs: Photographs, step1: Path) -> None:
    """The error of the frozen network, and the gradient of the truth, as multiples of their means, and 1 more."""
    frozen, losses = load_weights(step1)[0].requires_grad_(False), {}
    for name in ("error-map", "gradient-map"):
        objective = Pretraining(configured(name), photographs, CPU)
        objective.begin_from(step1)
        losses[name] = objective.gradient(0, range(1))[0]
        assert objective.notes()["weight"].item() == pytest.approx(2, abs=1e-5)
    pair = draw_pair(photographs.pictures, configured().law, 2, 24, step_generator(0, 0))
    error = (frozen(pair.lr, pair.degradation) - pair.hr).abs()
    expected = (error * (1 + error / error.mean((2, 3), keepdim=True))).mean()  # f is still the frozen network
    torch.testing.assert_close(losses["error-map"], expected)
    assert losses["gradient-map"] != losses["error-map"]


@pytest.mark.parametrize("loss", SECOND)
def test_step2_starts_from_step1_and_leaves_it_alone(folder: Path, tmp_path: Path, step1: Path, loss: str) -> None:
    """θ_0 is the body of the file; the state holds step 1 to the bit; the result has no head."""
    config = configured(loss)
    start = Pretraining(config, load_photographs([folder], 24), CPU)
    start.begin_from(step1)
    given = tensors(step1)
    body = {name: tensor for name, tensor in given.items() if not name.startswith(HEAD)}
    assert start.theta.keys() == body.keys()
    assert all(torch.equal(start.theta[name], tensor) for name, tensor in body.items())
    weights = go(config, folder, tmp_path, start_from=step1)
    groups, _ = load_state(tmp_path / "state.safetensors")
    kept = {"udl": given, "error-map": body, "gradient-map": {}}[loss]
    assert groups.get("step1", {}).keys() == kept.keys()
    assert all(torch.equal(groups["step1"][name], tensor) for name, tensor in kept.items())
    network, card = load_weights(weights)
    assert (network.variance, card.network.log_var) == (None, False)
    assert card.summary == f"paper network after large-scale training by {loss}, not meta-trained"
    assert [run["recipe"]["loss"]["name"] for run in card.earlier] == ["esu"]
    assert not torch.equal(tensors(weights)["body.0.weight"], body["body.0.weight"])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(record["weight"] >= 1 for record in log)
    assert all(("log_var" in record) == (loss == "udl") for record in log)


@pytest.mark.parametrize("loss", ["esu", "udl", "error-map"])
def test_a_run_that_is_resumed_needs_no_step1(folder: Path, tmp_path: Path, step1: Path, loss: str) -> None:
    """It was stopped after two iterations, and step 1 is gone: the same bits as in one go."""
    config = configured(loss)
    copy = tmp_path / "step1.safetensors"
    for suffix in (".safetensors", ".json"):
        copy.with_suffix(suffix).write_bytes(step1.with_suffix(suffix).read_bytes())
    start = None if loss == "esu" else copy
    go(config, folder, tmp_path / "whole", start_from=start)

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(config, folder, tmp_path / "parts", start_from=start, progress=stop)
    copy.unlink()
    go(config, folder, tmp_path / "parts", resume=True)
    whole, parts = (load_state(tmp_path / name / "state.safetensors")[0] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for group, members in whole.items():
        assert [name for name, tensor in members.items() if not torch.equal(parts[group][name], tensor)] == []
    logs = [
        [json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("whole", "parts")
    ]
    for one, other in zip(*logs, strict=True):
        assert {**one, "seconds": 0, "rate": 0} == {**other, "seconds": 0, "rate": 0}


def test_step1_that_is_moved_is_noticed(photographs: Photographs, step1: Path) -> None:
    objective = Pretraining(configured("udl"), photographs, CPU)
    objective.begin_from(step1)
    objective.fixed()
    assert objective.step1 is not None
    with torch.no_grad():
        next(objective.step1.parameters())[0, 0, 0, 0] += 1e-3
    with pytest.raises(RuntimeError, match=r"step 1 is frozen, and body\.0\.weight has changed"):
        objective.fixed()


@pytest.mark.parametrize(
    ("network", "loss"), [(PAPER, "eu"), ({"name": "unfolded", "channels": 8, "stages": 1, "blocks": 1}, "esu")]
)
def test_a_head_is_trained_on_a_body_that_had_none(
    folder: Path, tmp_path: Path, network: dict[str, Any], loss: str
) -> None:
    """From weights without a head: the body stays as it is, to the bit, through a stop too; the head moves."""
    body = tensors(go(configured(network=network), folder, tmp_path / "body"))
    config = configured(loss, network=network | {"log_var": True}, train=["variance.*"])
    fresh = Pretraining(config, load_photographs([folder], 24), CPU)
    fresh.begin_from(tmp_path / "body" / "weights.safetensors")
    begin = {name: tensor.detach().clone() for name, tensor in fresh.theta.items()}
    assert begin.keys() == {name for name in dict(fresh.network.named_parameters()) if name.startswith(HEAD)}
    out = tmp_path / "head"
    go(config, folder, out, start_from=tmp_path / "body" / "weights.safetensors", time_limit=0)
    after = tensors(go(config, folder, out, resume=True))
    assert after.keys() == body.keys() | begin.keys()
    assert [name for name in body if not torch.equal(after[name], body[name])] == []
    assert not torch.equal(after["variance.0.weight"], begin["variance.0.weight"])
    assert load_state(out / "state.safetensors")[0]["theta"].keys() == begin.keys()


def test_a_body_that_is_left_alone_adapts_as_it_did(folder: Path, tmp_path: Path) -> None:
    """A head for meta-trained weights: their learned step sizes are on the new card, after a stop too."""
    network, card = load_weights(go(configured(iterations=1), folder, tmp_path / "body"))
    learned = {"body.0.weight": (0.5, 0.25)}
    theta: Params = {name: tensor.detach() for name, tensor in network.named_parameters()}
    save_weights(
        tmp_path / "meta.safetensors",
        theta,
        card.model_copy(update={"step_sizes": learned, "crops": 2, "scales": (3,), "subsample": "bicubic"}),
    )
    config = configured("eu", train=["variance.*"])
    go(config, folder, tmp_path / "head", start_from=tmp_path / "meta.safetensors", time_limit=0)
    told = load_weights(go(config, folder, tmp_path / "head", resume=True))[1]
    assert (told.step_sizes, told.crops) == (learned, 2)
    assert (told.scales, told.subsample) == ((3,), "bicubic")  # whatever the head has seen
    assert told.summary == "paper network as it was, with a head for the log-variance trained by eu"
    whole = load_weights(go(configured("eu"), folder, tmp_path / "all", start_from=tmp_path / "meta.safetensors"))[1]
    assert (whole.step_sizes, whole.crops) == ((0.01,), 0)


def test_log_variance_that_is_no_number_stops(folder: Path, tmp_path: Path, step1: Path) -> None:
    """It says where; of the first iteration there is nothing to keep."""
    network, card = load_weights(step1)
    theta: Params = {name: tensor.detach() for name, tensor in network.named_parameters()}
    theta["variance.4.bias"] = torch.full((3,), math.inf)
    broken = tmp_path / "broken.safetensors"
    save_weights(broken, theta, card)
    with pytest.raises(InputError, match=r"variance\.4\.bias holds values that are not finite"):
        go(configured("udl"), folder, tmp_path / "run", start_from=broken)
    # Finite weights whose sum is not
    theta["variance.4.bias"] = torch.full((3,), 3e38)
    theta["variance.4.weight"] = torch.full_like(theta["variance.4.weight"], 3e38)
    theta["variance.2.bias"] = torch.full_like(theta["variance.2.bias"], 3e5)
    save_weights(broken, theta, card)
    with pytest.raises(InputError, match=r"loss is nan, .*log_var inf, .*at iteration 1; .*nothing was saved yet"):
        go(configured("udl"), folder, tmp_path / "run", start_from=broken)
    assert not (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"network": PAPER | {"channels": 7}}, "is of network name='paper' channels=6"),
        ({"network": {"name": "dpdnn", "channels": 4}}, "this run trains name='dpdnn'"),
        (
            {"law": {"name": "bicubic", "scales": {2: 1, 4: 1}}},
            "was trained at x2, this run needs its log-variance at x4",
        ),
    ],
    ids=["width", "backbone", "scale"],
)
def test_another_step1_is_refused(photographs: Photographs, step1: Path, config: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError) as caught:
        Pretraining(configured("udl", **config), photographs, CPU).begin_from(step1)
    assert why in str(caught.value)


def test_step1_of_another_scale_of_edsr_is_refused(photographs: Photographs, folder: Path, tmp_path: Path) -> None:
    """Their tails differ; and where they did not, their scales would."""
    recipe = {"network": {"name": "edsr-s", "scale": 4, "log_var": True}, "law": {"name": "bicubic", "scales": {4: 1}}}
    weights = go(configured("esu", iterations=1, **recipe), folder, tmp_path)
    objective = Pretraining(configured("udl", network={"name": "edsr-s", "scale": 2}), photographs, CPU)
    with pytest.raises(InputError, match=r"is of network name='edsr-s'.* scale=4 .*make them the same"):
        objective.begin_from(weights)


def test_step1_without_a_head_is_refused(photographs: Photographs, folder: Path, tmp_path: Path) -> None:
    """By UDL; its error can be asked for all the same."""
    weights = go(configured(iterations=1), folder, tmp_path)
    with pytest.raises(InputError, match="has no log-variance head; train step 1 with --loss esu"):
        Pretraining(configured("udl"), photographs, CPU).begin_from(weights)
    objective = Pretraining(configured("error-map"), photographs, CPU)
    objective.begin_from(weights)
    assert math.isfinite(objective.gradient(0, range(1))[0].item())


def test_step2_without_step1_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give --from FILE\.safetensors, trained with --loss esu"):
        go(configured("udl"), folder, tmp_path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"train": ["head.*"]},
            r"train is \['head.\*'\], and 'head.\*' matches no tensor of the network; it has body\.0\.weight",
        ),
        ({"train": ["variance.*"]}, r"the log-variance head alone, which loss l1 does not move; take --loss eu or esu"),
    ],
    ids=["nothing", "head"],
)
def test_training_nothing_is_refused(photographs: Photographs, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Pretraining(configured(network=PAPER | {"log_var": True}, **changes), photographs, CPU)


def test_a_head_without_a_likelihood_stays_as_it_is(folder: Path, tmp_path: Path, step1: Path) -> None:
    """Neither L1 nor UDL moves it; and what it says then of a moved body nobody has trained."""
    after = tensors(go(configured("udl", network=PAPER | {"log_var": True}), folder, tmp_path, start_from=step1))
    given: dict[str, Tensor] = tensors(step1)
    for name, tensor in given.items():
        if name.startswith(HEAD):
            torch.testing.assert_close(after[name], tensor, atol=1e-7, rtol=0)
