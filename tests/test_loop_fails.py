"""Tests of the training loop where something breaks: killed, a full disk, losses that are no number; the last
good state stays."""

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from training import STAGES, Run, assert_same, configured, go, left_behind

from mzsr.errors import InputError
from mzsr.learning import loop
from mzsr.learning.losses import LOSSES, l1
from mzsr.learning.parallel import World
from mzsr.learning.state import load_state
from mzsr.learning.weights import load_weights

SOURCE = Path(__file__).resolve().parent.parent / "src"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Every attempt dies, by its own hand as by kill -9, at a random line of Python of what has to do with the disk: before,
# between and after all that a checkpoint writes. A fork of a process that has loaded PyTorch starts at once.
KILLED = """
import json, os, random, signal, sys
from pathlib import Path
import torch
from mzsr.config import MetaConfig, PretrainConfig
from mzsr.learning import loop
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.parallel import World
from mzsr.learning.pretrain import Pretraining

# With how many lines to die: more than a checkpoint takes, fewer than the whole run
KINDS = {"pretrain": (Pretraining, PretrainConfig, 1500), "meta": (MetaTraining, MetaConfig, 3000)}
FILES = [Path(loop.__file__).parent / f"{name}.py" for name in ("loop", "state", "journal", "weights", "../atomic")]
NAMES = {os.path.realpath(file) for file in FILES}
folder, out, threads, configs = sys.argv[1:]
loop.LOG_EVERY = 1
torch.optim.Adam([torch.zeros(1)])  # loads the rest of PyTorch
draw = random.Random(0)


def attempt(stage, lines):
    make, recipe, _ = KINDS[stage]
    torch.set_num_threads(int(threads))

    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename not in NAMES:
            return None
        lines -= event == "line"
        if lines == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def half(path, data, whole=Path.write_bytes):
        whole(path, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    if lines:
        sys.settrace(trace)
    else:
        Path.write_bytes = half
    config, cpu = recipe.parse(json.loads(configs)[stage]), torch.device("cpu")
    loop.train(make, config, [Path(folder)], Path(out, stage), World(cpu), resume=True)
    os._exit(0)


for stage in KINDS:
    ends = []
    while 0 not in ends:
        lines = draw.randrange(1, KINDS[stage][2]) if len(ends) != 1 else 0  # the second leaves half of a file
        child = os.fork()
        if child == 0:
            attempt(stage, lines)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(*ends)
"""


def test_killed_and_resumed_is_the_same_run(wholes: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    """SIGKILL at one random moment after the other, until the run is done."""
    configs = json.dumps({stage: configured(stage).model_dump(mode="json") for stage in STAGES})
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path), str(torch.get_num_threads()), configs],
        env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for stage, ends in zip(STAGES, done.stdout.splitlines(), strict=True):
        *killed, last = map(int, ends.split())
        assert last == 0
        assert len(killed) >= 3
        assert set(killed) == {-signal.SIGKILL}
        assert_same(left_behind(tmp_path / stage), wholes[stage])
        # A crash may leave what was half written, under a name that nothing reads
        names = {file.name for file in (tmp_path / stage).iterdir() if file.suffix != ".part"}
        assert names == {"state.safetensors", "log.jsonl", "weights.safetensors", "weights.json"}


@pytest.mark.parametrize(
    ("file", "good", "method"),
    [("state.safetensors", 3, "fsync"), ("weights.safetensors", 6, "replace"), ("weights.json", 6, "replace")],
)
def test_full_disk(
    wholes: dict[str, Run], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, good: int,
    method: str,
) -> None:  # fmt: skip
    """At the second checkpoint: file, reason and last good state are named; that one loads, and leads to the end."""
    order = ["state.safetensors", "weights.safetensors", "weights.json"]
    calls, whole = 0, getattr(os, method)

    def full(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3 + order.index(file) + 1:
            raise FULL
        whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, method, full)
        message = (
            rf"{file} cannot be written \(No space left on device\).*last good state is of iteration {good}, go on"
        )
        with pytest.raises(InputError, match=message):
            go(configured(), folder, tmp_path)
    assert load_state(tmp_path / "state.safetensors")[1]["step"] == str(good)
    assert list(tmp_path.glob(".*")) == []
    go(configured(), folder, tmp_path, resume=True)
    assert_same(left_behind(tmp_path), wholes["pretrain"])


def test_full_disk_in_earnest(wholes: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    """The kernel refuses to write more than 8 kB of a file, in the middle of the second checkpoint."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int, loss: float) -> None:
        if step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))

    try:
        with pytest.raises(
            InputError, match=r"state.safetensors cannot be written \(File too large\).*iteration 3, go"
        ):
            go(configured(), folder, tmp_path, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_weights(tmp_path / "weights.safetensors")[1].iterations == 3
    go(configured(), folder, tmp_path, resume=True)
    assert_same(left_behind(tmp_path), wholes["pretrain"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_of_the_log(wholes: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    log, aside = tmp_path / "log.jsonl", tmp_path / "aside"

    def fill(step: int, loss: float) -> None:
        if step == 5:
            log.rename(aside).with_name(log.name).symlink_to("/dev/full")

    with pytest.raises(
        InputError, match=r"log.jsonl cannot be written \(No space left on device\); make room and go on"
    ):
        go(configured(), folder, tmp_path, progress=fill)
    aside.replace(log)
    go(configured(), folder, tmp_path, resume=True)
    assert_same(left_behind(tmp_path), wholes["pretrain"])


@pytest.mark.parametrize(("stage", "bad"), [("pretrain", math.nan), ("pretrain", math.inf), ("meta", math.nan)])
def test_loss_that_is_no_number_stops(
    wholes: dict[str, Run], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, bad: float
) -> None:
    """In the fifth iteration: the checkpoint of the third stays, and it is possible to go on from there."""
    step = 0

    def progress(done: int, loss: float) -> None:
        nonlocal step
        step = done

    waited: list[bool] = []
    with monkeypatch.context() as patch:
        # Every process waits before it ends, and by then the first has written
        patch.setattr(World, "wait", lambda world: waited.append((tmp_path / "weights.safetensors").exists()))
        patch.setitem(LOSSES, "l1", lambda result, truth: l1(result, truth) * (bad if step == 4 else 1))
        with pytest.raises(InputError, match=f"loss is {bad}.* at iteration 5; .*of iteration 3, is kept"):
            go(configured(stage), folder, tmp_path, progress=progress)
    assert waited == [True]
    groups, facts = load_state(tmp_path / "state.safetensors")
    assert facts["step"] == "3"
    assert all(bool(torch.isfinite(tensor).all()) for members in groups.values() for tensor in members.values())
    assert load_weights(tmp_path / "weights.safetensors")[1].iterations == 3
    go(configured(stage), folder, tmp_path, resume=True)
    assert_same(left_behind(tmp_path), wholes[stage])


@pytest.mark.parametrize(("update", "kept"), [(3, None), (5, 3), (6, 3), (8, 6)])
def test_an_update_that_ruins_the_weights_is_never_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: int, kept: int | None
) -> None:
    """Not even where a checkpoint is due right after it, every third iteration here, or where it is the last one."""
    usual = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda config, step: 1e30 if step + 1 == update else usual(config, step))
    said = "nothing was saved yet" if kept is None else f"of iteration {kept}, is kept"
    with pytest.raises(InputError, match=f"at iteration {update + 1}; .*{said}"):
        go(configured(), folder, tmp_path)
    assert (tmp_path / "state.safetensors").exists() == (kept is not None)
    if kept is not None:
        groups, facts = load_state(tmp_path / "state.safetensors")
        assert facts["step"] == str(kept)
        assert max(float(tensor.abs().max()) for tensor in groups["theta"].values()) < 100
        assert load_weights(tmp_path / "weights.safetensors")[1].iterations == kept
