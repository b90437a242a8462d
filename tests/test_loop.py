"""Tests of the training loop: what a run leaves behind, and that one that is stopped and resumed is the same run."""

import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training import STAGES, Clock, Run, assert_same, configured, go, left_behind

from mzsr.errors import InputError
from mzsr.imaging.metrics import psnr
from mzsr.learning import devices
from mzsr.learning.loop import learning_rate
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.networks import build
from mzsr.learning.patches import draw_pair, step_generator
from mzsr.learning.photographs import load_photographs
from mzsr.learning.pretrain import Pretraining
from mzsr.learning.weights import load_weights


def logged_in(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_is_complete(wholes: dict[str, Run], folder: Path, stage: str) -> None:
    """Log, card and weights agree; the weights are the average, without what is no parameter."""
    tensors, log, facts = wholes[stage]
    assert [record["step"] for record in log] == [*range(1, 9)]
    assert all(0 < record["loss"] < 1 and record["norm"] > 0 for record in log)
    assert facts["data"] == (f"{folder.name} (licence not stated)",)
    assert facts["scales"] == ((2, 3, 4) if stage == "pretrain" else (2,))
    assert type(configured(stage)).parse(facts["recipe"]) == configured(stage)
    assert facts["iterations"] == 8
    assert (facts["state"]["step"], facts["state"]["format"]) == ("8", "3")
    assert facts["state"]["data"] == f"2 pictures, {load_photographs([folder], 32).digest}"
    weights = [name for name in tensors if name.startswith("weights/")]
    assert len(weights) == len(list(build(configured(stage).network).parameters()))
    assert all(torch.equal(tensors[name], tensors[name.replace("weights", "ema", 1)]) for name in weights)
    assert any(not torch.equal(tensors[name], tensors[name.replace("weights", "theta", 1)]) for name in weights)
    learned = [name for name in tensors if name.startswith("ema/log_alpha/")]
    assert len(learned) == (0 if stage == "pretrain" else len(weights))


@pytest.mark.parametrize(
    ("stage", "kinds"),
    [
        ("pretrain", ["1 low resolution", "2 result", "3 truth"]),
        ("meta", ["1 son", "2 low resolution", "3 before adaptation", "4 after adaptation", "5 truth"]),
    ],
)
def test_tensorboard_sees_the_pictures_and_gradients_of_a_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, kinds: list[str]
) -> None:
    """Pictures with every state that is saved, the last one too."""
    told: list[tuple[str, int]] = []

    class Board:
        def __init__(self, folder: str, purge_step: int) -> None: ...

        def add_scalar(self, name: str, value: Any, step: int) -> None:
            told.append((name, step))

        add_image = add_scalar

        def flush(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    go(configured(stage, iterations=4), folder, tmp_path, tensorboard=True)
    assert [found for found in told if found[0][0].isdigit()] == [(kind, step) for step in (3, 4) for kind in kinds]
    weights = dict(build(configured(stage).network).named_parameters())
    assert {(f"gradient norm/{name}", step) for name in weights for step in range(1, 5)} <= set(told)


@pytest.mark.gpu
@pytest.mark.parametrize("stage", STAGES)
def test_an_accelerator_learns_the_same_and_goes_on(folder: Path, tmp_path: Path, clock: Clock, stage: str) -> None:
    """Stopped after three iterations and resumed, as on the CPU, but for rounding. Noise is drawn where it is added."""
    law = configured(stage).law.model_dump() | {"noise_share": 0.0, "jpeg_share": 0.0}
    config: Any = configured(stage, law=law)
    go(config, folder, tmp_path / "cpu")
    for limit in (3.0, math.inf):
        go(
            config, folder, tmp_path / "cuda", device=torch.device("cuda"), resume=True, time_limit=limit,
            progress=clock.tick,
        )  # fmt: skip
    found, expected = left_behind(tmp_path / "cuda"), left_behind(tmp_path / "cpu")
    assert [line["step"] for line in found[1]] == [*range(1, 9)]
    for ours, theirs in zip(found[1], expected[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2)


def test_a_run_repeats_whatever_the_global_state(wholes: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    go(configured(), folder, tmp_path / "same")
    assert_same(left_behind(tmp_path / "same"), wholes["pretrain"])
    assert torch.equal(torch.get_rng_state(), state)
    go(configured(seed=1), folder, tmp_path / "other")
    other = left_behind(tmp_path / "other")[1]
    assert all(a["loss"] != b["loss"] for a, b in zip(wholes["pretrain"][1], other, strict=True))


@pytest.mark.parametrize(
    ("stage", "limits"),
    [("pretrain", [1] * 8), ("pretrain", [0, 5, 0, 99]), ("meta", [0, 4.5, 99]), ("meta", [7, 1])],
)
def test_time_limit_stops_and_resumes(
    wholes: dict[str, Run], folder: Path, tmp_path: Path, clock: Clock, stage: str, limits: list[float]
) -> None:
    """At once with a limit of nothing, after any number of iterations otherwise; the end is the same."""
    step = 0
    for limit in limits:
        outcome = go(configured(stage), folder, tmp_path, resume=True, time_limit=limit, progress=clock.tick)
        step = 8 if limit > 8 else min(8, step + math.ceil(limit))
        assert outcome.step == step
        if step == 0:
            assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"], (
                "untrained weights are no result"
            )
        else:
            assert load_weights(outcome.weights)[1].iterations == step
    assert_same(left_behind(tmp_path), wholes[stage])


def test_resuming_a_finished_run_changes_nothing(
    wholes: dict[str, Run], folder: Path, tmp_path: Path, clock: Clock
) -> None:
    for _ in range(2):
        assert go(configured(), folder, tmp_path, resume=True, progress=clock.tick).step == 8
        assert_same(left_behind(tmp_path), wholes["pretrain"])


def test_hours_add_up(folder: Path, tmp_path: Path, clock: Clock) -> None:
    """Over interruptions, and without the time between two runs."""

    def hour(self: Pretraining, *arguments: Any) -> Any:
        clock.now += 3600
        return gradient(self, *arguments)

    gradient = Pretraining.gradient
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretraining, "gradient", hour)
        assert go(configured(iterations=3), folder, tmp_path, time_limit=3600).step == 1
        clock.now += 1e6
        outcome = go(configured(iterations=3), folder, tmp_path, resume=True)
    assert load_weights(outcome.weights)[1].hours == 3.0
    assert outcome.rate == pytest.approx(2 / 7200)


def test_log_is_cut_where_the_state_is(wholes: dict[str, Run], folder: Path, tmp_path: Path, clock: Clock) -> None:
    """Lines of iterations that are done again go, and a line that a crash has cut short."""
    go(configured(), folder, tmp_path, time_limit=4, progress=clock.tick)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "loss": 9, "norm": 9, "seconds": 9}\n{"step": 5, "lo')
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(b"\xff\x00")
    go(configured(), folder, tmp_path, resume=True)
    assert_same(left_behind(tmp_path), wholes["pretrain"])


@pytest.mark.parametrize(("limits", "logged"), [([99], [1, 4, 8]), ([2, 1, 99], [1, 2, 3, 4, 8]), ([0, 99], [1, 4, 8])])
def test_the_first_and_the_last_iteration_are_logged(
    folder: Path, tmp_path: Path, clock: Clock, limits: list[int], logged: list[int]
) -> None:
    """However short a run is, and the last before a stop; each with the learning rate of its update."""
    config = configured()
    for limit in limits:
        go(config, folder, tmp_path, log_every=4, resume=True, time_limit=limit, progress=clock.tick)
    lines = logged_in(tmp_path)
    assert [line["step"] for line in lines] == logged
    assert [line["learning_rate"] for line in lines] == [learning_rate(config, step - 1) for step in logged]


@pytest.mark.parametrize("stage", STAGES)
def test_held_out_photographs_are_not_trained_on(folder: Path, tmp_path: Path, stage: str) -> None:
    """The first of two, by hold_out 2: weights are as if it were not there, and their PSNR on it is in the log."""
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "b.png").write_bytes((folder / "b.png").read_bytes())
    outcome = go(configured(stage, hold_out=2), folder, tmp_path / "held")
    other = go(configured(stage), alone, tmp_path / "other")
    network, without = (dict(load_weights(each.weights)[0].named_parameters()) for each in (outcome, other))
    assert all(torch.equal(network[name], without[name]) for name in network)
    told = [line for line in logged_in(tmp_path / "held") if "validation" in line]
    assert [line["step"] for line in told] == [3, 6, 8]
    assert len({line["validation"] for line in told}) == 3
    assert not any("validation" in line for line in logged_in(tmp_path / "other"))


def test_validation_is_the_psnr_of_the_weights_beside_it(folder: Path, tmp_path: Path, clock: Clock) -> None:
    """On eight batches of the held-out photograph, the same every time; and a run that is resumed tells the same."""
    config = configured(hold_out=2)
    outcome = go(config, folder, tmp_path / "run")
    network, _ = load_weights(outcome.weights)
    held, scores = load_photographs([folder], 32).pictures[:1], []
    for index in range(8):
        pair = draw_pair(held, config.law, config.batch, config.patch, step_generator(config.seed, -1, index))
        with torch.no_grad():
            scores += psnr(network(pair.lr, pair.degradation), pair.hr, scale=pair.degradation.scale).tolist()
    told = [line for line in logged_in(tmp_path / "run") if "validation" in line]
    assert told[-1]["validation"] == pytest.approx(sum(scores) / len(scores), abs=1e-4)
    go(config, folder, tmp_path / "parts", time_limit=6, progress=clock.tick)
    go(config, folder, tmp_path / "parts", resume=True)
    assert [line for line in logged_in(tmp_path / "parts") if "validation" in line] == told


def test_results_far_beyond_white_are_no_reason_to_stop(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an unsteady run has them, whose checkpoint must be written all the same."""
    monkeypatch.setattr(Pretraining, "_result", lambda self, theta, pair: pair.hr + 5)
    monkeypatch.setattr(MetaTraining, "_results", lambda self, theta, task: (task.query.hr, task.query.hr - 5))
    for stage in STAGES:
        assert go(configured(stage, hold_out=2, iterations=1), folder, tmp_path / stage).step == 1
        assert 0 < logged_in(tmp_path / stage)[-1]["validation"] < 20


def test_something_is_left_to_train_on(folder: Path, tmp_path: Path) -> None:
    reason = "hold_out is 1, which leaves none of the photographs to train on, 2 of them; take 0, or at least 2 and"
    with pytest.raises(InputError, match=reason):
        go(configured(hold_out=1), folder, tmp_path)
    reason = "hold_out measures patches without their borders; patch is 15, and at least 16 is required"
    with pytest.raises(InputError, match=reason):
        configured(hold_out=2, patch=15)


def test_log_without_a_state_begins_anew(wholes: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    """Killed before its first checkpoint: nothing to resume, and nothing that a second run would overwrite."""
    (tmp_path / "log.jsonl").write_text('{"step": 2, "loss": 9, "norm": 9, "seconds": 9}\n')
    go(configured(), folder, tmp_path)
    assert_same(left_behind(tmp_path), wholes["pretrain"])


def test_bad_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match=r"cannot be made \(.*\); give a folder for the run"):
            go(configured(), folder, out)
    with pytest.raises(InputError, match="does not exist"):
        go(configured(), tmp_path / "none", tmp_path / "run")
    with pytest.raises(InputError, match="at least 258x258"):
        go(configured(patch=258), folder, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "nothing is made before the data is known to be usable"


def test_bfloat16_keeps_float32_weights(wholes: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    """Another precision gives another run, not another file."""
    go(configured(precision="bfloat16"), folder, tmp_path)
    tensors, log, _ = left_behind(tmp_path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert log != wholes["pretrain"][1]
    for record, exact in zip(log, wholes["pretrain"][1], strict=True):
        assert record["loss"] == pytest.approx(exact["loss"], rel=0.02)


def test_a_run_keeps_its_precision(folder: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `auto` was where it began, on whatever machine it goes on; its card says which."""
    best = torch.bfloat16
    monkeypatch.setattr(devices, "best_precision", lambda device: best)
    for out, limit in ((tmp_path / "whole", 99), (tmp_path / "parts", 3)):
        go(configured(precision="auto"), folder, out, time_limit=limit, progress=clock.tick)
    best = torch.float32
    go(configured(precision="auto"), folder, tmp_path / "parts", resume=True)
    whole, parts = (left_behind(tmp_path / name) for name in ("whole", "parts"))
    assert_same(parts, whole)
    assert load_weights(tmp_path / "parts" / "weights.safetensors")[1].machine.endswith(", bfloat16")


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of this kind")
def test_two_runs_in_one_folder(folder: Path, tmp_path: Path) -> None:
    """The second one is refused, and what the first is writing stays."""
    import fcntl

    (tmp_path / ".0123.part").write_text("half")
    first = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with pytest.raises(InputError, match=r"another run is at work in .*; wait for it, or choose another folder"):
        go(configured(), folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".0123.part"]
    os.close(first)
    assert go(configured(), folder, tmp_path).step == 8
    assert not (tmp_path / ".0123.part").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_starts_from_given_weights(folder: Path, tmp_path: Path, tiny_weights: Path, stage: str) -> None:
    """One iteration of a vanishing learning rate leaves what it was given; resuming does not go back to it."""
    still = configured(stage, iterations=1, learning_rate=1e-30, seed=7)
    second = load_weights(go(still, folder, tmp_path / "still", start_from=tiny_weights).weights)[0].state_dict()
    torch.testing.assert_close(second, load_weights(tiny_weights)[0].state_dict(), rtol=1e-6, atol=1e-20)
    done = go(configured(stage), folder, tmp_path / "run", start_from=tiny_weights)
    before = left_behind(tmp_path / "run")
    assert go(configured(stage), folder, tmp_path / "run", start_from=tiny_weights, resume=True).step == done.step
    assert_same(left_behind(tmp_path / "run"), before)


def test_weights_of_another_network_are_no_start(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    wider = configured(network={"channels": 12, "stages": 1})
    with pytest.raises(InputError, match=r"tiny.safetensors is of network .*channels=8.*; this run trains .*=12"):
        go(wider, folder, tmp_path / "run", start_from=tiny_weights)
    assert not (tmp_path / "run").exists()
