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
from mzsr.learning.parallel import World
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


def go(
    config: TrainConfig, folder: Path, out: Path, *, device: torch.device = CPU,
    objective: Callable[..., Objective] | None = None, log_every: int = 1, **options: Any,
) -> Outcome:  # fmt: skip
    """Run either stage, or another objective, with a line in the log for every iteration if not said otherwise."""
    stage: Any = Pretraining if isinstance(config, PretrainConfig) else MetaTraining
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", log_every)
        return train(objective or stage, config, [folder], out, World(device), **options)


class Clock:
    """A clock that moves a second with every iteration, and a little whenever it is looked at."""

    now = 100.0

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now

    def tick(self, step: int, loss: float) -> None:
        self.now += 1


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
