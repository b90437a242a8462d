"""Tests of the training loop: Adam, average and schedules in closed form; nothing that stops a run changes its end."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from mzsr.config import META, PRETRAIN, PretrainConfig, TrainConfig
from mzsr.errors import InputError
from mzsr.learning import loop
from mzsr.learning.checkpoint import load_state, load_weights
from mzsr.learning.loop import Objective, Outcome, learning_rate, train
from mzsr.learning.losses import LOSSES, l1
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.networks import build
from mzsr.learning.parallel import World
from mzsr.learning.pretrain import Pretraining
from mzsr.shapes import Images, Params, Scalar

SOURCE = Path(__file__).resolve().parent.parent / "src"
CPU = torch.device("cpu")
STAGES = ["pretrain", "meta"]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def configured(stage: str = "pretrain", **changes: Any) -> TrainConfig:
    preset = (PRETRAIN if stage == "pretrain" else META)["smoke"]
    values = {"iterations": 8, "save_every": 3, "tasks": 1, "precision": "float32"}
    return type(preset).parse(preset.model_dump() | values | changes)


def go(config: TrainConfig, folder: Path, out: Path, **options: Any) -> Outcome:
    objective: Any = Pretraining if isinstance(config, PretrainConfig) else MetaTraining
    return train(lambda p: objective(config, p, CPU), config, [folder], out, World(CPU), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    pixels = torch.randint(256, (2, 40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for name, picture in zip("ab", pixels, strict=True):
        Image.fromarray(picture.numpy()).save(folder / f"{name}.png")
    return folder


@pytest.fixture(autouse=True, scope="module")
def a_line_for_every_iteration() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        yield


class Clock:
    """A clock that moves a second with every iteration, and a little whenever it is looked at."""

    now = 100.0

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now

    def tick(self, step: int, loss: float) -> None:
        self.now += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


class Plane(Objective):
    """An objective with the same gradient everywhere, unless it is told otherwise."""

    def __init__(self, config: TrainConfig, loss: dict[int, float], gradient: dict[int, float]) -> None:
        self._config, self.loss, self.slope = config, loss, gradient
        self.theta = {name: torch.zeros(2, requires_grad=True) for name in ("a", "b", "fast/a")}

    @property
    def config(self) -> TrainConfig:
        return self._config

    def pace(self, name: str) -> float:
        return 3.0 if name.startswith("fast/") else 1.0

    def gradient(self, step: int, tasks: range) -> tuple[Scalar, Params]:
        slope = self.slope.get(step + 1, 1.0)
        return torch.tensor(self.loss.get(step + 1, 0.5)), {n: torch.full((2,), slope) for n in self.theta}

    def about(self, theta: Params) -> dict[str, Any]:
        return {"summary": "plane", "step_sizes": (0.1,), "crops": 0}


def descend_plane(
    out: Path, folder: Path, *, loss: dict[int, float] = {}, gradient: dict[int, float] = {}, resume: bool = False,
    **changes: Any,
) -> dict[str, Params]:  # fmt: skip
    config = configured(**({"warmup": 0, "schedule": "constant", "learning_rate": 2**-6, "clip": 1e9} | changes))
    train(lambda p: Plane(config, loss, gradient), config, [folder], out, World(CPU), resume=resume)
    return load_state(out / "state.safetensors")[0]


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
    return tensors, log, card.model_dump(exclude={"hours", "command"}) | facts


def assert_same(run: Run, other: Run) -> None:
    """Not nearly: the same bits, and every iteration once in the log."""
    assert run[0].keys() == other[0].keys()
    assert [name for name in run[0] if not torch.equal(run[0][name], other[0][name])] == []
    assert run[1:] == other[1:]


@pytest.fixture(scope="module")
def wholes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Return what runs leave behind that nothing stopped."""
    runs = {}
    for stage in STAGES:
        out = tmp_path_factory.mktemp(stage) / "a" / "run"  # folders are made
        outcome = go(configured(stage), folder, out)
        assert (outcome.step, outcome.iterations, outcome.weights) == (8, 8, out / "weights.safetensors")
        runs[stage] = left_behind(out)
    return runs


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_is_complete(wholes: dict[str, Run], folder: Path, stage: str) -> None:
    """Log, card and weights agree; the weights are the average, without what is no parameter."""
    tensors, log, facts = wholes[stage]
    assert [record["step"] for record in log] == [*range(1, 9)]
    assert all(0 < record["loss"] < 1 and record["norm"] > 0 for record in log)
    assert facts["data"] == f"2 pictures, {loop.load_photographs([folder], 32).digest}"
    assert type(configured(stage)).parse(facts["recipe"]) == configured(stage)
    assert (facts["iterations"], facts["step"], facts["format"]) == (8, "8", "1")
    weights = [name for name in tensors if name.startswith("weights/")]
    assert len(weights) == len(list(build(configured(stage).network).parameters()))
    assert all(torch.equal(tensors[name], tensors[name.replace("weights", "ema", 1)]) for name in weights)
    assert any(not torch.equal(tensors[name], tensors[name.replace("weights", "theta", 1)]) for name in weights)
    learned = [name for name in tensors if name.startswith("ema/log_alpha/")]
    assert len(learned) == (0 if stage == "pretrain" else len(weights))


def test_a_run_repeats_whatever_the_global_state(wholes: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    go(configured(), folder, tmp_path / "same")
    assert_same(left_behind(tmp_path / "same"), wholes["pretrain"])
    assert torch.equal(torch.get_rng_state(), state)
    go(configured(seed=1), folder, tmp_path / "other")
    other = left_behind(tmp_path / "other")[1]
    assert all(a["loss"] != b["loss"] for a, b in zip(wholes["pretrain"][1], other, strict=True))


@pytest.mark.parametrize("limits", [[1] * 8, [0, 5, 0, 99], [7, 1], [2.5, math.inf]])
@pytest.mark.parametrize("stage", STAGES)
def test_time_limit_stops_and_resumes(
    wholes: dict[str, Run], folder: Path, tmp_path: Path, clock: Clock, stage: str, limits: list[float]
) -> None:
    """At once with a limit of nothing, after any number of iterations otherwise; the end is the same."""
    step = 0
    for limit in limits:
        outcome = go(configured(stage), folder, tmp_path, resume=True, time_limit=limit, progress=clock.tick)
        step = 8 if limit > 8 else min(8, step + math.ceil(limit))
        assert outcome.step == step
        assert load_weights(outcome.weights)[1].iterations == step
    assert_same(left_behind(tmp_path), wholes[stage])


# Every attempt dies, by its own hand as by kill -9, at a random line of Python in a file that has to do with disks:
# before, between and after all that a checkpoint writes. A fork of a process that has PyTorch loaded starts at once.
KILLED = """
import json, os, random, signal, sys
from pathlib import Path
import torch
from mzsr.config import MetaConfig, PretrainConfig
from mzsr.learning import atomic_parts as _ if False else loop
"""
KILLED = """
import json, os, random, signal, sys
from pathlib import Path
import torch
from mzsr.config import MetaConfig, PretrainConfig
from mzsr.learning import loop
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.parallel import World
from mzsr.learning.pretrain import Pretraining

stage, folder, out, values, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
loop.LOG_EVERY = 1
make, recipe = {"pretrain": (Pretraining, PretrainConfig), "meta": (MetaTraining, MetaConfig)}[stage]
config, cpu = recipe.parse(json.loads(values)), torch.device("cpu")
WATCHED = ("loop.py", "journal.py", "checkpoint.py", "atomic.py")


def attempt(lines):
    left = lines

    def trace(frame, event, argument):
        nonlocal left
        if os.path.basename(frame.f_code.co_filename) not in WATCHED:
            return None
        left -= event == "line"
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def half(path, data, whole=Path.write_bytes):
        whole(path, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    if lines is None:
        Path.write_bytes = half
    else:
        sys.settrace(trace)
    loop.train(lambda p: make(config, p, cpu), config, [Path(folder)], Path(out), World(cpu), resume=True)


draw = random.Random(0)
signals = []
while not signals or signals[-1]:
    # The second dies with half of a checkpoint on the disk
    lines = None if len(signals) == 1 else draw.randrange(1, 1500)
    child = os.fork()
    if child == 0:
        attempt(lines)
        os._exit(0)
    signals.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(signals[-1], lines, (Path(out) / "state.safetensors").exists(), flush=True)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_killed_and_resumed_is_the_same_run(
    wholes: dict[str, Run], folder: Path, tmp_path: Path, stage: str
) -> None:
    """SIGKILL at many moments, until the run is done."""
    arguments = [str(folder), str(tmp_path), configured(stage).model_dump_json(), str(torch.get_num_threads())]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, stage, *arguments],
        env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert_same(left_behind(tmp_path), wholes[stage])
