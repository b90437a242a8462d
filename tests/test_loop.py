"""Tests of the training loop: Adam, average and schedules in closed form; nothing that stops a run changes its end."""

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from mzsr.config import PretrainConfig, TrainConfig
from mzsr.errors import InputError
from mzsr.learning import loop
from mzsr.learning.loop import Outcome, learning_rate, silent, train
from mzsr.learning.losses import LOSSES, l1
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.networks import build
from mzsr.learning.objective import Objective
from mzsr.learning.parallel import World
from mzsr.learning.photographs import load_photographs
from mzsr.learning.pretrain import Pretraining
from mzsr.learning.state import load_state, save_state
from mzsr.learning.weights import load_weights
from mzsr.presets import META, PRETRAIN
from mzsr.shapes import Params, Scalar

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
        self.theta, self.still = {name: torch.zeros(2, requires_grad=True) for name in ("a", "b", "fast/a")}, {}

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
    out: Path, folder: Path, *, resume: bool = False,
    loss: dict[int, float] = {}, gradient: dict[int, float] = {}, **changes: Any,  # noqa: B006
) -> dict[str, Params]:  # fmt: skip
    """Descend on a plane, whose loss and slope are other ones in some iterations; return the state."""
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
    return tensors, log, card.model_dump(exclude={"hours", "command", "commit"}) | {"state": facts}


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
    assert facts["data"] == (f"{folder.name} (licence not stated)",)
    assert facts["scales"] == ((2, 3, 4) if stage == "pretrain" else (2,))
    assert type(configured(stage)).parse(facts["recipe"]) == configured(stage)
    assert facts["iterations"] == 8
    assert (facts["state"]["step"], facts["state"]["format"]) == ("8", "1")
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
    there, objective = World(torch.device("cuda")), Pretraining if stage == "pretrain" else MetaTraining
    for limit in (3.0, math.inf):
        train(
            lambda photographs: objective(config, photographs.to(there.device), there.device), config, [folder],
            tmp_path / "cuda", there, resume=True, time_limit=limit, progress=clock.tick,
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
        assert load_weights(outcome.weights)[1].iterations == step
    assert_same(left_behind(tmp_path), wholes[stage])


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
FILES = [Path(loop.__file__).parent / f"{name}.py" for name in ("loop", "state", "journal", "checkpoint", "../atomic")]
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
    loop.train(lambda p: make(config, p, cpu), config, [Path(folder)], Path(out, stage), World(cpu), resume=True)
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


@pytest.mark.parametrize("processes", [2, 1])
def test_a_run_goes_on_with_as_many_processes(folder: Path, tmp_path: Path, processes: int) -> None:
    """Others would see other batches, and the card would tell of the last ones alone."""
    go(configured(), folder, tmp_path, time_limit=0)
    groups, facts = load_state(tmp_path / "state.safetensors")
    save_state(tmp_path / "state.safetensors", groups, facts | {"processes": str(processes)})
    if processes == 1:
        assert go(configured(), folder, tmp_path, resume=True).step == 8
        return
    with pytest.raises(InputError, match=r"made by 2 processes, this is 1.*--nproc-per-node 2"):
        go(configured(), folder, tmp_path, resume=True)


@pytest.mark.parametrize("iteration", [1, 2, 6])
@pytest.mark.parametrize(("what", "said"), [("loss", "loss is nan, gradient norm 2.4"), ("gradient", "norm nan")])
def test_gradient_that_is_no_number_stops(folder: Path, tmp_path: Path, what: str, said: str, iteration: int) -> None:
    """Even where the loss is one; from the first iteration on, with nothing in the optimiser yet."""
    broken: Any = {what: {iteration: math.nan}}
    with pytest.raises(InputError, match=f"{said}.* at iteration {iteration}; "):
        descend_plane(tmp_path, folder, **broken)
    if iteration == 6:
        groups, facts = load_state(tmp_path / "state.safetensors")
        assert facts["step"] == "3"
        assert groups["theta"]["a"].tolist() == pytest.approx([-3 / 64] * 2)
    else:
        assert not (tmp_path / "state.safetensors").exists()
    assert descend_plane(tmp_path, folder, resume=True)["theta"]["a"].tolist() == pytest.approx([-8 / 64] * 2)


def test_adam_and_the_average_on_a_plane(folder: Path, tmp_path: Path) -> None:
    """Adam goes β in every iteration, a tensor of another pace that many times as far.

    The average with weights t / (t + 10) then lies an eleventh of the way behind. Once these reach its decay of 1/2,
    in iteration 10, the lag L becomes (L + β) / 2: it approaches β, halving the difference.
    """
    groups = descend_plane(tmp_path / "short", folder, iterations=7)
    theta, ema = groups["theta"], groups["ema"]
    assert theta["a"].tolist() == pytest.approx([-7 / 64] * 2, rel=1e-5)
    assert theta["fast/a"].tolist() == pytest.approx([-21 / 64] * 2, rel=1e-5)
    assert all(ema[name].tolist() == pytest.approx((theta[name] * 10 / 11).tolist(), rel=1e-5) for name in theta)
    groups = descend_plane(tmp_path / "long", folder, iterations=14, ema=0.5)
    lag = (groups["ema"]["a"] - groups["theta"]["a"]) * 64
    assert lag.tolist() == pytest.approx([1 + (10 / 11 - 1) / 2**4] * 2, rel=1e-4)


def test_what_stays_is_its_own_average(folder: Path, tmp_path: Path) -> None:
    groups = descend_plane(tmp_path, folder, gradient={step: 0.0 for step in range(3, 13)}, ema=0.0)
    assert all(torch.equal(groups["ema"][name], groups["theta"][name]) for name in groups["theta"])


def test_gradient_is_clipped(folder: Path, tmp_path: Path) -> None:
    """What Adam remembers of the first gradient, a tenth, has the norm of the clip; the log has the norm before."""
    groups = descend_plane(tmp_path, folder, iterations=1, clip=0.25)
    moment = torch.cat(list(groups["exp_avg"].values()))
    assert float(moment.norm()) == pytest.approx(0.1 * 0.25, rel=1e-4)
    assert json.loads((tmp_path / "log.jsonl").read_text())["norm"] == pytest.approx(math.sqrt(6))


@given(iterations=st.integers(1, 3000), warmup=st.integers(0, 3000), halve_every=st.integers(1, 2000))
def test_learning_rate(iterations: int, warmup: int, halve_every: int) -> None:
    """Up in equal steps to the peak at the end of the warm-up, then by the schedule."""
    for schedule in ("constant", "halving", "cosine"):
        config = PretrainConfig.parse(
            {"iterations": iterations, "warmup": warmup, "halve_every": halve_every, "learning_rate": 1.0}
            | {"schedule": schedule}
        )
        rates = [learning_rate(config, step) for step in range(iterations)]
        assert rates[:warmup] == pytest.approx([(step + 1) / warmup for step in range(min(warmup, iterations))])
        rest = range(warmup, iterations)
        if schedule == "constant":
            expected = [1.0 for _ in rest]
        elif schedule == "halving":
            expected = [1.0 if n < halve_every else 0.5 if n < 2 * halve_every else 0.25 for n in rest]
        else:  # sin² instead of cos
            expected = [1 - 0.98 * math.sin(math.pi / 2 * (n - warmup) / (iterations - warmup)) ** 2 for n in rest]
        assert rates[warmup:] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch": 3}, r"another configuration \(batch\)"),
        ({"network": {"channels": 8, "stages": 1, "blocks": 0}}, r"another configuration \(network\)"),
        ({"seed": 1, "clip": 1.0}, r"another configuration \(clip, seed\)"),
        ({"iterations": 13}, r"another configuration \(iterations\)"),
        ({"stage": "meta"}, "is a state of PretrainConfig, this is MetaConfig"),
    ],
)
def test_a_state_of_another_run_is_refused(folder: Path, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    go(configured(), folder, tmp_path, time_limit=0)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match=named):
        go(configured(**changes), folder, tmp_path, resume=True)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_shares_in_another_order_are_another_run(folder: Path, tmp_path: Path) -> None:
    """What is drawn goes by the order; equal mappings would give other batches."""
    shares = {"families": {"disk": 0.5, "box": 0.5}}
    go(configured(law=shares), folder, tmp_path, time_limit=0)
    with pytest.raises(InputError, match=r"another configuration \(law\)"):
        go(configured(law={"families": {"box": 0.5, "disk": 0.5}}), folder, tmp_path, resume=True)
    go(configured(law=shares), folder, tmp_path, resume=True, time_limit=0)


def test_a_run_is_overwritten_only_by_itself(folder: Path, tmp_path: Path) -> None:
    """Neither by a new one nor with other data: its end would not be the same, nor its card true."""
    go(configured(), folder, tmp_path / "run", time_limit=0)
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match="run already holds a run; add --resume to go on with it"):
        go(configured(), folder, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(
        InputError, match=r"was made with 2 pictures, \w{16}, this is 1 pictures, \w{16}; give the same"
    ):
        go(configured(), tmp_path / "other", tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def foreign(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, metadata={"format": "pt"})


def changed(
    path: Path, name: Callable[[str], str] = str, tensor: Callable[[Tensor], Tensor] = torch.clone, **fact: str
):
    groups, facts = load_state(path)
    save_file({f"{g}/{name(n)}": tensor(t) for g, m in groups.items() for n, t in m.items()}, path, facts | fact)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "truncated"),
        (foreign, "is no training state of mzsr"),
        (lambda path: changed(path, name=lambda name: name.replace("head", "neck")), "another version of the network"),
        (lambda path: changed(path, tensor=lambda t: t[:1] if t.ndim else t), "another version of the network"),
        (lambda path: changed(path, format="2", novelty="1"), "has format 2, this version reads up to 1; update mzsr"),
        (lambda path: changed(path, config='{"novelty": 1}'), "state.safetensors has an unknown key 'novelty'"),
    ],
)
def test_unusable_state_is_refused(folder: Path, tmp_path: Path, damage: Callable[[Path], None], why: str) -> None:
    go(configured(), folder, tmp_path, time_limit=0)
    state = tmp_path / "state.safetensors"
    damage(state)
    before = state.read_bytes()
    with pytest.raises(InputError, match=why):
        go(configured(), folder, tmp_path, resume=True)
    assert state.read_bytes() == before


def test_weights_without_their_state_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    """A state is written before its weights, so they are of a run that somebody has tidied up."""
    go(configured(), folder, tmp_path)
    (tmp_path / "state.safetensors").unlink()
    before = (tmp_path / "weights.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(InputError, match="holds weights without the state of their run; choose another folder"):
            go(configured(), folder, tmp_path, resume=resume)
    assert (tmp_path / "weights.safetensors").read_bytes() == before


def test_a_head_that_nobody_asks_is_not_silent() -> None:
    gradient = {"variance.0.weight": torch.zeros(4, 1, 1, 1), "body.weight": torch.ones(4, 1, 1, 1)}
    assert silent(gradient) == 0.0
    gradient["variance.2.weight"] = torch.ones(4, 1, 1, 1)
    assert silent(gradient) == pytest.approx(1 / 3, abs=1e-4)


def test_log_is_cut_where_the_state_is(wholes: dict[str, Run], folder: Path, tmp_path: Path, clock: Clock) -> None:
    """Lines of iterations that are done again go, and a line that a crash has cut short."""
    go(configured(), folder, tmp_path, time_limit=4, progress=clock.tick)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "loss": 9, "norm": 9, "seconds": 9}\n{"step": 5, "lo')
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(b"\xff\x00")
    go(configured(), folder, tmp_path, resume=True)
    assert_same(left_behind(tmp_path), wholes["pretrain"])


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
