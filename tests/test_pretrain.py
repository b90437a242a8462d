"""Tests of the large-scale training: it learns, and nothing that stops it changes what it ends with."""

import json
import math
import os
import signal
import subprocess
import sys
import time
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

from mzsr.config import PRESETS, PretrainConfig
from mzsr.errors import InputError
from mzsr.imaging.degrade import upsample
from mzsr.learning import pretrain as module
from mzsr.learning.checkpoint import load_state, load_weights
from mzsr.learning.losses import LOSSES, l1
from mzsr.learning.networks import Network, build
from mzsr.learning.patches import draw_pair, step_generator
from mzsr.learning.photographs import load_photographs
from mzsr.learning.pretrain import learning_rate, pretrain
from mzsr.shapes import Images, Scalar

SOURCE = Path(__file__).resolve().parent.parent / "src"


def configured(**changes: Any) -> PretrainConfig:
    values = PRESETS["smoke"].model_dump() | {"iterations": 12, "patch": 24, "save_every": 3}
    return PretrainConfig.parse(values | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small pictures of overlapping disks, flat areas and edges as photographs have them."""
    folder = tmp_path_factory.mktemp("set")
    generator = torch.Generator().manual_seed(0)
    row, column = torch.meshgrid(torch.arange(48), torch.arange(56), indexing="ij")
    for i in range(3):
        picture = torch.zeros(48, 56, 3)
        for _ in range(150):
            y, x, size, *colour = torch.rand(6, generator=generator).tolist()
            inside = (row - 48 * y) ** 2 + (column - 56 * x) ** 2 < (3 / (0.15 + size)) ** 2
            picture[inside] = torch.tensor(colour)
        Image.fromarray((picture * 255).byte().numpy()).save(folder / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def frequent_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_EVERY", 2)


Run = tuple[dict[str, Tensor], list[dict[str, Any]], dict[str, Any]]


def left_behind(out: Path) -> Run:
    """Return all tensors, the log and the card, without what the clock put there."""
    groups, facts = load_state(out / "state.safetensors")
    tensors = {f"{group}/{name}": tensor for group, members in groups.items() for name, tensor in members.items()}
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for record in log:
        del record["seconds"]
    card: dict[str, Any] = {}
    if (out / "weights.json").exists():
        network, read = load_weights(out / "weights.safetensors")
        tensors |= {f"weights/{name}": tensor.detach() for name, tensor in network.named_parameters()}
        card = read.model_dump(exclude={"hours", "command"})
    return tensors, log, card | {"step": facts["step"], "config": facts["config"]}


def assert_same(run: Run, other: Run) -> None:
    """Not nearly: the same bits."""
    assert run[0].keys() == other[0].keys()
    assert [name for name in run[0] if not torch.equal(run[0][name], other[0][name])] == []
    assert run[1:] == other[1:]


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what a run leaves behind that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "a" / "run"  # folders are made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOG_EVERY", 2)
        outcome = pretrain(configured(), [folder], out)
    assert (outcome.step, outcome.weights, outcome.skipped) == (12, out / "weights.safetensors", [])
    return left_behind(out)


def test_a_run_is_complete(whole: Run, folder: Path) -> None:
    """Log, card and weights agree; the weights are the average."""
    tensors, log, card = whole
    assert [record["step"] for record in log] == [2, 4, 6, 8, 10, 12]
    assert all(0 < record["loss"] < 1 and record["norm"] > 0 for record in log)
    assert card["data"] == (f"{folder.name} (licence not stated)",)
    assert card["scales"] == (2, 3, 4)
    assert PretrainConfig.parse(card["recipe"]) == configured()
    assert card["iterations"] == 12
    weights = [name for name in tensors if name.startswith("weights/")]
    assert len(weights) == len(list(build(configured().network).parameters()))
    assert all(torch.equal(tensors[name], tensors[name.replace("weights", "ema")]) for name in weights)
    assert any(not torch.equal(tensors[name], tensors[name.replace("weights", "theta")]) for name in weights)


def test_a_run_repeats_whatever_the_global_state(whole: Run, folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    pretrain(configured(), [folder], tmp_path)
    assert_same(left_behind(tmp_path), whole)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_differ(whole: Run, folder: Path, tmp_path: Path) -> None:
    pretrain(configured(seed=1), [folder], tmp_path)
    assert all(a["loss"] != b["loss"] for a, b in zip(whole[1], left_behind(tmp_path)[1], strict=True))


# What `mzsr train pretrain` does, and it says every iteration, so that it can be killed in a known one
CHILD = """
import json, os, signal, sys
from pathlib import Path
import torch
from mzsr.config import PretrainConfig
from mzsr.learning import checkpoint, pretrain

folder, out, config, threads, dies_in_save = sys.argv[1:]
torch.set_num_threads(int(threads))
pretrain.LOG_EVERY = 2
saves = 0


def write_and_die(path, write, whole=checkpoint.write_atomically):
    global saves
    saves += 1

    def half(part):
        write(part)
        os.truncate(part, os.path.getsize(part) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    whole(path, half if saves == int(dies_in_save) else write)


checkpoint.write_atomically = write_and_die
config = PretrainConfig.parse(json.loads(config))
progress = lambda step, loss: print(step, flush=True)
pretrain.pretrain(config, [Path(folder)], Path(out), progress=progress)
"""


@pytest.mark.parametrize("dies_in_save", [0, 3])
def test_killed_and_resumed_is_the_same_run(whole: Run, folder: Path, tmp_path: Path, dies_in_save: int) -> None:
    """SIGKILL at whatever moment after the seventh iteration, or with half of the third checkpoint on the disk."""
    arguments = [str(folder), str(tmp_path), configured().model_dump_json(), str(torch.get_num_threads())]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments, str(dies_in_save)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    assert child.stdout is not None
    with child, child.stdout:
        for line in child.stdout:
            if not dies_in_save and line == "7\n":
                time.sleep(0.01 * torch.rand(()).item())
                child.kill()
        assert child.wait() == -signal.SIGKILL
    assert int(load_state(tmp_path / "state.safetensors")[1]["step"]) == 6
    assert not (tmp_path / "weights.safetensors").exists()
    pretrain(configured(), [folder], tmp_path, resume=True)
    assert_same(left_behind(tmp_path), whole)


class Clock:
    """A clock that moves one second with every iteration."""

    now = 100.0

    def tick(self, step: int, loss: float) -> None:
        self.now += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize("limits", [[1] * 12, [0, 5, 0, 99], [11, 1], [2.5, math.inf]])
def test_time_limit_stops_and_resumes(
    whole: Run, folder: Path, tmp_path: Path, clock: Clock, limits: list[float]
) -> None:
    """At once with a limit of nothing, after any number of iterations otherwise; the end is the same."""
    step = 0
    for limit in limits:
        out = pretrain(configured(), [folder], tmp_path, resume=True, time_limit=limit, progress=clock.tick)
        step = min(12, step + math.ceil(limit) if limit < 99 else 12)
        assert out.step == step
        assert (out.weights is not None) == (step == 12)
    assert_same(left_behind(tmp_path), whole)


def test_resuming_a_finished_run_changes_nothing(whole: Run, folder: Path, tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        outcome = pretrain(configured(), [folder], tmp_path, resume=True, progress=clock.tick)
        assert outcome.step == 12
        assert_same(left_behind(tmp_path), whole)


def test_hours_add_up(folder: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over interruptions, and without the time between two runs."""

    def iterate(*arguments: Any, original: Callable[..., tuple[float, float]] = module._iterate) -> Any:
        clock.now += 3600
        return original(*arguments)

    monkeypatch.setattr(module, "_iterate", iterate)
    assert pretrain(configured(iterations=3), [folder], tmp_path, time_limit=3600).step == 1
    clock.now += 1e6
    pretrain(configured(iterations=3), [folder], tmp_path, resume=True)
    assert load_weights(tmp_path / "weights.safetensors")[1].hours == 3.0


def test_existing_run_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    pretrain(configured(), [folder], tmp_path, time_limit=0)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match="already holds a run; add --resume"):
        pretrain(configured(), [folder], tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch": 3}, r"\(batch\)"),
        ({"network": {"channels": 8, "stages": 1, "blocks": 0}}, r"\(network\)"),
        ({"seed": 1, "clip": 1.0}, r"\(clip, seed\)"),
        ({"iterations": 13}, r"\(iterations\)"),
    ],
)
def test_another_configuration_is_named(folder: Path, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    pretrain(configured(), [folder], tmp_path, time_limit=0)
    with pytest.raises(InputError, match=f"another configuration {named}"):
        pretrain(configured(**changes), [folder], tmp_path, resume=True)


def test_other_data_is_named(folder: Path, tmp_path: Path) -> None:
    """Neither would the run end as it would have, nor would the card tell the truth about what it saw."""
    pretrain(configured(), [folder], tmp_path / "run", time_limit=0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(InputError, match=f"was made with {folder.name}: 3 pictures, this is other: 1 pictures"):
        pretrain(configured(), [tmp_path / "other"], tmp_path / "run", resume=True)


def test_state_without_data_goes_on(whole: Run, folder: Path, tmp_path: Path, clock: Clock) -> None:
    """States of before data were noted in them."""
    pretrain(configured(), [folder], tmp_path, time_limit=4, progress=clock.tick)
    path = tmp_path / "state.safetensors"
    groups, facts = load_state(path)
    del facts["data"]
    save_file({f"{g}/{n}": t for g, m in groups.items() for n, t in m.items()}, path, metadata=facts)
    pretrain(configured(), [folder], tmp_path, resume=True)
    assert_same(left_behind(tmp_path), whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def foreign(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path)


def renamed(path: Path) -> None:
    groups, facts = load_state(path)
    tensors = {f"{g}/{n.replace('head', 'neck')}": t for g, m in groups.items() for n, t in m.items()}
    save_file(tensors, path, metadata=facts)


@pytest.mark.parametrize(
    ("damage", "why"),
    [(cut, "truncated"), (foreign, "no training state of mzsr"), (renamed, "another version of the network")],
)
def test_unusable_state_is_refused(folder: Path, tmp_path: Path, damage: Callable[[Path], None], why: str) -> None:
    pretrain(configured(), [folder], tmp_path, time_limit=0)
    state = tmp_path / "state.safetensors"
    damage(state)
    before = state.read_bytes()
    with pytest.raises(InputError, match=why):
        pretrain(configured(), [folder], tmp_path, resume=True)
    assert state.read_bytes() == before


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_no_number_stops(
    whole: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    """In the eighth iteration: the state of the sixth stays as it was, and it is possible to go on from there."""
    calls = 0

    def loss(result: Images, truth: Images) -> Scalar:
        nonlocal calls
        calls += 1
        return l1(result, truth) * (bad if calls == 8 else 1)

    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, "l1", loss)
        with pytest.raises(InputError, match=f"loss is {bad}.* at iteration 8; .*smaller learning_rate"):
            pretrain(configured(), [folder], tmp_path)
    groups, facts = load_state(tmp_path / "state.safetensors")
    assert facts["step"] == "6"
    assert all(bool(torch.isfinite(tensor).all()) for members in groups.values() for tensor in members.values())
    assert not (tmp_path / "weights.safetensors").exists()
    pretrain(configured(), [folder], tmp_path, resume=True)
    assert_same(left_behind(tmp_path), whole)


@pytest.mark.parametrize("tail", ['{"step": 5, "lo', "\n", "5\n", "{}\n", "\0\0\0"])
def test_log_is_cut_where_the_state_is(whole: Run, folder: Path, tmp_path: Path, clock: Clock, tail: str) -> None:
    """Lines of iterations that are done again go, and a line that a crash has cut short."""
    pretrain(configured(), [folder], tmp_path, time_limit=4, progress=clock.tick)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "loss": 9, "norm": 9, "seconds": 9}\n' + tail)
    pretrain(configured(), [folder], tmp_path, resume=True)
    assert_same(left_behind(tmp_path), whole)


def test_log_without_a_state_begins_anew(whole: Run, folder: Path, tmp_path: Path) -> None:
    """Killed before its first checkpoint: nothing to resume, and nothing that a second run would overwrite."""
    (tmp_path / "log.jsonl").write_text('{"step": 2, "loss": 9, "norm": 9, "seconds": 9}\n')
    pretrain(configured(), [folder], tmp_path)
    assert_same(left_behind(tmp_path), whole)


def test_bad_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match=r"cannot be made \(.*\); give a folder for the run"):
            pretrain(configured(), [folder], out)
    with pytest.raises(InputError, match="does not exist"):
        pretrain(configured(), [tmp_path / "none"], tmp_path / "run")
    with pytest.raises(InputError, match="at least 258x258"):
        pretrain(configured(patch=258), [folder], tmp_path / "run")
    assert not (tmp_path / "run").exists(), "nothing is made before the data is known to be usable"


def mean_error(network: Network, config: PretrainConfig, folder: Path) -> float:
    """Return L1 on pairs that training has not drawn."""
    photographs = load_photographs([folder], config.patch).pictures
    errors = []
    with torch.no_grad():
        for step in range(12):
            pair = draw_pair(photographs, config.law, 4, config.patch, step_generator(99, step))
            errors.append(l1(network(pair.lr, pair.degradation), pair.hr).item())
    return sum(errors) / len(errors)


@pytest.mark.parametrize("name", ["unfolded", "paper"])
def test_it_learns(folder: Path, tmp_path: Path, name: str) -> None:
    """The flagship improves on the data step that it starts from, and the paper network on its random residual."""
    network = {"name": name, "channels": 32 if name == "unfolded" else 12, "layers": 3, "stages": 1, "blocks": 0}
    law = {"noise_share": 1.0, "noise": 0.3, "scales": {2: 1.0}}  # much noise: something to learn in no time
    values = {"network": network, "law": law, "iterations": 80, "batch": 4, "warmup": 20, "learning_rate": 3e-3}
    config = configured(**values, save_every=1000)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        before = mean_error(build(config.network), config, folder)
    losses: list[float] = []
    pretrain(config, [folder], tmp_path, progress=lambda step, loss: losses.append(loss))
    after = mean_error(load_weights(tmp_path / "weights.safetensors")[0], config, folder)
    assert after < 0.95 * before
    assert sum(losses[-20:]) < sum(losses[:20])


def test_first_step_of_adam_and_of_the_average(folder: Path, tmp_path: Path) -> None:
    """Adam moves every parameter by the learning rate, up to ε, and the average keeps 1/11 of where it began."""
    config = configured(iterations=1, warmup=4, learning_rate=1e-2)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        start = {name: p.detach() for name, p in build(config.network).named_parameters()}
    pretrain(config, [folder], tmp_path)
    groups, _ = load_state(tmp_path / "state.safetensors")
    rate = learning_rate(config, 0)
    assert rate == pytest.approx(2.5e-3)
    moved = {name: (groups["theta"][name] - start[name]).abs() for name in start}
    assert all(float(m.max()) <= rate * (1 + 1e-4) for m in moved.values())
    tail = moved["stages.0.tail.weight"]
    assert float((tail > 0.99 * rate).float().mean()) > 0.9
    for name, tensor in start.items():
        torch.testing.assert_close(groups["ema"][name], tensor.lerp(groups["theta"][name], 10 / 11))


def test_gradient_is_clipped(folder: Path, tmp_path: Path) -> None:
    """What Adam remembers of the first gradient has the norm of the clip; the log keeps the norm from before."""
    clip = 1e-4
    pretrain(configured(iterations=2, clip=clip), [folder], tmp_path)
    groups, _ = load_state(tmp_path / "state.safetensors")
    moment = torch.cat([tensor.flatten() for tensor in groups["exp_avg"].values()])
    assert float(moment.norm()) <= (1 - 0.9**2) * clip * 1.001
    (record,) = left_behind(tmp_path)[1]
    assert record["norm"] > clip


def test_bfloat16_keeps_float32_weights(whole: Run, folder: Path, tmp_path: Path) -> None:
    """Another precision gives another run, not another file."""
    pretrain(configured(precision="bfloat16"), [folder], tmp_path)
    tensors, log, _ = left_behind(tmp_path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert log != whole[1]
    for record, exact in zip(log, whole[1], strict=True):
        assert record["loss"] == pytest.approx(exact["loss"], rel=0.02)


def test_a_run_starts_from_given_weights(folder: Path, tmp_path: Path) -> None:
    """One iteration of a vanishing learning rate leaves what it was given; resuming does not go back to it."""
    pretrain(configured(), [folder], tmp_path / "first")
    given = tmp_path / "first" / "weights.safetensors"
    still = configured(iterations=1, learning_rate=1e-30, seed=7)
    outcome = pretrain(still, [folder], tmp_path / "second", start_from=given)
    assert outcome.weights is not None
    (first, _), (second, _) = load_weights(given), load_weights(outcome.weights)
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(second.get_parameter(name), parameter, rtol=1e-6, atol=0)
    moved = pretrain(configured(), [folder], tmp_path / "first", start_from=outcome.weights, resume=True)
    assert moved.weights is not None
    torch.testing.assert_close(dict(load_weights(moved.weights)[0].state_dict()), dict(first.state_dict()))


def test_weights_of_another_network_are_no_start(folder: Path, tmp_path: Path) -> None:
    pretrain(configured(), [folder], tmp_path / "first")
    wider = configured(network={"channels": 12, "stages": 1})
    with pytest.raises(InputError, match=r"weights.safetensors is of network .*channels=8.*; this run trains .*=12"):
        pretrain(wider, [folder], tmp_path / "second", start_from=tmp_path / "first" / "weights.safetensors")


def test_licences_stand_on_the_card(folder: Path, tmp_path: Path) -> None:
    pretrain(configured(iterations=1, licences={folder.name: "CC0"}), [folder], tmp_path)
    assert load_weights(tmp_path / "weights.safetensors")[1].data == (f"{folder.name} (CC0)",)


@given(iterations=st.integers(1, 3000), warmup=st.integers(0, 3000))
def test_learning_rate(iterations: int, warmup: int) -> None:
    """Up in equal steps to the peak at the end of the warm-up, then down without a jump, to a fiftieth."""
    config = configured(iterations=iterations, warmup=warmup, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in range(iterations)]
    assert all(0 < rate <= 1 for rate in rates)
    up, down = rates[:warmup], rates[warmup:]
    assert up == pytest.approx([(step + 1) / warmup for step in range(len(up))])
    assert down == sorted(down, reverse=True)
    if down:
        assert down[0] == pytest.approx(1.0)
        assert learning_rate(config, iterations) == pytest.approx(0.02)
        assert max(a - b for a, b in zip(down, [*down[1:], 0.02], strict=True)) <= math.pi / 2 / len(down)


def test_starts_from_bicubic_on_the_right_phase(folder: Path) -> None:
    """The loss at step 0 of the flagship is below that of bicubic: training begins where the data step ends."""
    config = configured(law={"scales": {2: 1.0}, "noise_share": 0.0})
    photographs = load_photographs([folder], config.patch).pictures
    pair = draw_pair(photographs, config.law, 8, 24, step_generator(0, 0))
    start = build(config.network)(pair.lr, pair.degradation)
    assert l1(start, pair.hr) < l1(upsample(pair.lr, pair.degradation), pair.hr)
