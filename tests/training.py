"""Runs of training as tests make them, and what they leave behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mzsr.config import PretrainConfig, TrainConfig
from mzsr.learning import loop
from mzsr.learning.loop import Outcome, train
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.objective import Objective
from mzsr.learning.parallel import World, join
from mzsr.learning.pretrain import Pretraining
from mzsr.learning.state import load_state
from mzsr.learning.weights import load_weights
from mzsr.presets import META, PRETRAIN

CPU = torch.device("cpu")
STAGES = ["pretrain", "meta"]


def configured(stage: str = "pretrain", **changes: Any) -> TrainConfig:
    preset = (PRETRAIN if stage == "pretrain" else META)["smoke"]
    values = {"iterations": 8, "save_every": 3, "tasks": 1, "precision": "float32"}
    return type(preset).parse(preset.model_dump() | values | changes)


def stage_of(config: TrainConfig) -> Callable[..., Objective]:
    return Pretraining if isinstance(config, PretrainConfig) else MetaTraining


def go(
    config: TrainConfig, folder: Path, out: Path, *, device: torch.device = CPU,
    objective: Callable[..., Objective] | None = None, log_every: int = 1, **options: Any,
) -> Outcome:  # fmt: skip
    """Run either stage, or another objective, with a line in the log for every iteration if not said otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", log_every)
        return train(objective or stage_of(config), config, [folder], out, World(device), **options)


class Clock:
    """A clock that moves a second with every iteration, and a little whenever it is looked at."""

    now = 100.0

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now

    def tick(self, step: int, loss: float) -> None:
        self.now += 1


def train_with_another(recipes: dict[str, TrainConfig], folder: Path, out: Path) -> None:
    """Be one of two processes that train by every recipe, and then by two of them with a stop.

    Each has folders of its own to write to, but where it has to find a state. What stops them is the clock of the
    second one, after the second iteration.
    """
    with join(CPU) as world:

        def run(name: str, out: Path, **options: Any) -> int:
            return train(stage_of(recipes[name]), recipes[name], [folder], out, world, **options).step

        steps = [run(name, out / f"{name} {world.rank}") for name in recipes]
        loop.time = clock = Clock()  # pyright: ignore[reportAttributeAccessIssue]
        ticking: dict[str, Any] = {"progress": clock.tick} if world.rank == 1 else {}
        for name in ("pretrain", "meta"):
            steps.append(run(name, out / f"{name} stopped", time_limit=1.5, **ticking))
            steps.append(run(name, out / f"{name} stopped", time_limit=1.5, resume=True))
    (out / f"steps {world.rank}").write_text(json.dumps(steps))


Run = tuple[dict[str, Tensor], list[dict[str, Any]], dict[str, Any]]


def left_behind(out: Path) -> Run:
    """Return all tensors, the log and the card, without what the clock put there."""
    groups, facts = load_state(out / "state.safetensors")
    network, card = load_weights(out / "weights.safetensors")
    tensors = {f"{group}/{name}": tensor for group, members in groups.items() for name, tensor in members.items()}
    tensors |= {f"weights/{name}": tensor.detach() for name, tensor in network.named_parameters()}
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    log = [{key: record[key] for key in ("step", "loss", "norm")} for record in log]
    facts = {key: facts[key] for key in facts if key != "seconds"}
    return tensors, log, card.model_dump(exclude={"hours", "command", "commit"}) | {"state": facts}


def assert_same(run: Run, other: Run) -> None:
    """Not nearly: the same bits, and every iteration once in the log."""
    assert run[0].keys() == other[0].keys()
    assert [name for name in run[0] if not torch.equal(run[0][name], other[0][name])] == []
    assert run[1:] == other[1:]
