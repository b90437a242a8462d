"""Tests of several processes that train together: they do what one would do with as many times the tasks."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import begun, command
from training import go, train_with_another

from mzsr.config import PretrainConfig, TrainConfig
from mzsr.errors import InputError
from mzsr.learning.parallel import World, join
from mzsr.learning.state import load_state
from mzsr.learning.weights import load_weights
from mzsr.presets import META, PRETRAIN
from mzsr.shapes import Params

SOURCE = Path(__file__).resolve().parent.parent / "src"
CPU = torch.device("cpu")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}


def configured(preset: TrainConfig, **changes: Any) -> TrainConfig:
    values = {"iterations": 3, "save_every": 2, "tasks": 1, "precision": "float32", "learning_rate": 1e-3}
    return type(preset).parse(preset.model_dump() | values | changes)


RECIPES = {
    "pretrain": configured(PRETRAIN["smoke"]),
    "likelihood": configured(
        PRETRAIN["smoke"], loss="eu", network={"channels": 8, "stages": 1, "log_var": True}, train=["variance.*"]
    ),
    "meta": configured(META["smoke"]),
    "vectorised": configured(META["smoke"], tasks=2, vectorise=True, network={"name": "paper", "channels": 4}),
}


@given(size=st.integers(1, 9), tasks=st.integers(1, 9))
def test_every_task_is_done_by_one_process(size: int, tasks: int) -> None:
    shares = [World(CPU, rank, size).share(tasks) for rank in range(size)]
    assert [task for share in shares for task in share] == [*range(size * tasks)]
    assert {len(share) for share in shares} == {tasks}


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun, or with one process of it, nothing is joined and nothing is sent."""
    for environment in ({}, {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}):
        for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with join(CPU) as world:
            assert world == World(CPU, rank=0, size=1)
            assert not torch.distributed.is_initialized()
            tensor = torch.tensor([1.0, -2.0])
            assert world.mean_(tensor) is tensor
            assert tensor.tolist() == [1.0, -2.0]
            assert (world.any(True), world.any(False)) == (True, False)


def test_more_processes_than_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="process 2 of this machine has no CUDA device, there are 2"):
        with join(torch.device("cuda")):
            pass


def start_two(target: Callable[..., None], *arguments: object, errors: Path) -> list[BaseProcess]:
    """Begin two processes as torchrun does; errors are in "error 0" and "error 1" of that folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    return [begun(target, *arguments, errors=errors / f"error {rank}", **place, RANK=str(rank)) for rank in range(2)]


@pytest.fixture(scope="module")
def together(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what two processes leave behind."""
    out = tmp_path_factory.mktemp("together")
    processes = start_two(train_with_another, RECIPES, folder, out, errors=out)
    try:
        for process in processes:
            process.join(300)
    finally:
        for process in processes:
            process.kill()
    errors = [(out / f"error {rank}").read_text() for rank in range(2)]
    assert [process.exitcode for process in processes] == [0, 0], "\n".join(errors)
    return out


def tensors(out: Path) -> Params:
    groups, _ = load_state(out / "state.safetensors")
    return {f"{group}/{name}": tensor for group, members in groups.items() for name, tensor in members.items()}


def far(one: Params, other: Params) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def alone(config: TrainConfig, folder: Path, out: Path) -> Params:
    go(config, folder, out)
    return tensors(out)


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_do_what_one_does_with_twice_the_tasks(
    together: Path, folder: Path, tmp_path: Path, name: str
) -> None:
    """And nothing like what one does with as many tasks as each of them."""
    config = RECIPES[name]
    found = tensors(together / f"{name} 0")
    twice = alone(config.model_copy(update={"tasks": 2 * config.tasks}), folder, tmp_path / "twice")
    once = alone(config, folder, tmp_path / "once")
    assert found.keys() == twice.keys()
    assert far(found, twice) < 1e-5
    assert far(found, once) > 3e-4
    machine = load_weights(together / f"{name} 0" / "weights.safetensors")[1].machine
    assert machine.startswith("2 processes, ")


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_process_alone_writes(together: Path, name: str) -> None:
    assert list((together / f"{name} 1").iterdir()) == []


def test_a_time_limit_stops_both_and_they_go_on(together: Path) -> None:
    """The clock of one has run out, both stop after the same iteration, and end with the bits of the whole run."""
    for rank in range(2):
        assert json.loads((together / f"steps {rank}").read_text()) == [3, 3, 3, 3, 2, 3, 2, 3]
    for name in ("pretrain", "meta"):
        stopped, whole = tensors(together / f"{name} stopped"), tensors(together / f"{name} 0")
        assert [key for key in whole if not torch.equal(whole[key], stopped[key])] == []


def test_torchrun(folder: Path, tmp_path: Path) -> None:
    """The command as people give it: one process speaks and writes, both train."""
    changes = ["iterations=2", "warmup=0", "precision=float32", "tasks=1", "law.scales={2: 1.0}"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
         "--nproc-per-node", "2", "-m", "mzsr", "train",
         "pretrain", "--preset", "smoke", "--data", str(folder), "--out", str(tmp_path / "run"), "--device", "cpu",
         *(word for change in changes for word in ("--set", change))],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("iteration 2 of 2") == 1
    assert done.stderr.count("total: 2 photographs") == 1
    card = load_weights(tmp_path / "run" / "weights.safetensors")[1]
    assert card.machine.startswith("2 processes, ")
    config = PretrainConfig.parse(card.recipe | {"tasks": 2})
    assert far(tensors(tmp_path / "run"), alone(config, folder, tmp_path / "alone")) < 1e-5


def test_a_process_that_is_killed_ends_the_others_in_one_line(folder: Path, tmp_path: Path) -> None:
    """What was saved last stays whole, and one process less does not go on with it unasked."""
    changes = ["iterations=100000", "warmup=0", "precision=float32", "tasks=1", "law.scales={2: 1.0}", "save_every=1"]
    words = [
        "train", "pretrain", "--preset", "smoke", "--data", str(folder), "--out", str(tmp_path / "run"),
        "--device", "cpu", *(word for change in changes for word in ("--set", change)),
    ]  # fmt: skip
    first, second = processes = start_two(command, *words, errors=tmp_path)
    try:
        while not (tmp_path / "run" / "weights.json").exists():
            assert first.is_alive(), (tmp_path / "error 0").read_text()
            time.sleep(0.05)
        second.kill()
        first.join(120)
    finally:
        for process in processes:
            process.kill()
    said = (tmp_path / "error 0").read_text()
    assert first.exitcode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        "mzsr: another process of this run has ended; the last good state is kept, go on with the same command and "
        "--resume"
    )
    assert load_state(tmp_path / "run" / "state.safetensors")[1]["processes"] == "2"
