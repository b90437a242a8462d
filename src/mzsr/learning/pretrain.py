"""Large-scale training, θ_0 → θ_T: plain supervised learning over a law of degradations.

One function, `pretrain`. What it leaves in its folder:

    state.safetensors    parameters, average and optimiser at the last checkpoint; `--resume` starts from it
    log.jsonl            one line for every LOG_EVERY iterations
    weights.safetensors  the averaged parameters, and weights.json, their card; written when the last iteration is done

A batch depends on (seed, step) alone and the state is complete, so a run that was killed and resumed ends, on the same
machine, with the same bits as one that was not.
"""

import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from mzsr.atomic import write_atomically
from mzsr.config import Card, PretrainConfig
from mzsr.errors import InputError
from mzsr.imaging.degrade import Degradation
from mzsr.learning.checkpoint import load_state, load_weights, save_state, save_weights
from mzsr.learning.losses import LOSSES
from mzsr.learning.networks import Network, Unfolded, best_precision, build
from mzsr.learning.patches import Pair, Photographs, draw_pair, load_photographs, step_generator
from mzsr.shapes import Params

LOG_EVERY = 50
STEP_SIZES = (1e-2,)
"""Inner step sizes on the card of weights that were not meta-trained: the published first step of most models."""
CROPS = 1
"""Crops on the card of the flagship: before meta-training more of them gained nothing to speak of (LOG.md)."""


@dataclass(frozen=True)
class Outcome:
    """What a call of `pretrain` came to."""

    step: int
    iterations: int
    loss: float
    weights: Path | None
    skipped: list[str]


@dataclass
class _Run:
    """The moving parts; everything that a checkpoint has to hold."""

    network: Network
    optimiser: torch.optim.Adam
    ema: Params
    data: str
    step: int = 0
    seconds: float = 0.0


def pretrain(
    config: PretrainConfig,
    folders: Sequence[Path],
    out: Path,
    *,
    start_from: Path | None = None,
    resume: bool = False,
    time_limit: float | int = math.inf,
    device: str | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Outcome:
    """Train a network from scratch, or go on where a run stopped.

    Args:
        config: network, law, schedule.
        folders: of photographs.
        out: folder of the run; made if it does not exist.
        start_from: weights of the same network to start from, θ_0; None starts from random ones.
        resume: go on from `state.safetensors` if there is one.
        time_limit: seconds after which to save and stop; the next call with `resume` goes on.
        device: `cpu`, `cuda`; None takes the accelerator where there is one.
        progress: told the iteration and its loss.

    Returns:
        How far it came; the weight file if the last iteration is done.

    Raises:
        InputError: unusable data, a run in `out` that is not resumed or is of another configuration, a loss that is no
            number (the last good state stays).
    """
    start = time.monotonic()
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    state_file = out / "state.safetensors"
    if state_file.exists() and not resume:
        raise InputError(f"{out} already holds a run; add --resume to go on with it, or choose another folder")
    photographs = load_photographs(folders, config.patch)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made ({error.strerror}); give a folder for the run") from error
    data = f"{', '.join(_names(folders))}: {len(photographs.pictures)} pictures"
    run = _start(config, where, data)
    if state_file.exists():
        _restore(run, config, state_file)
    elif start_from is not None:
        _begin_from(start_from, run, config, photographs)
    _truncate_log(out / "log.jsonl", run.step)
    before, loss = run.seconds, math.nan
    while run.step < config.iterations and time.monotonic() - start < time_limit:
        loss, norm = _iterate(run, config, photographs, where)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise InputError(
                f"loss is {loss}, gradient norm {norm} at iteration {run.step}; both must be finite — start anew with "
                "a smaller learning_rate; what the last checkpoint wrote is intact"
            )
        run.seconds = before + time.monotonic() - start
        progress(run.step, loss)
        if run.step % LOG_EVERY == 0:
            record = {"step": run.step, "loss": loss, "norm": norm, "seconds": round(run.seconds, 1)}
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
        if run.step % config.save_every == 0:
            _save(run, config, state_file)
    _save(run, config, state_file)
    weights = None
    if run.step == config.iterations:
        weights = out / "weights.safetensors"
        save_weights(weights, run.ema, _card(run, config, folders, photographs, where))
    return Outcome(run.step, config.iterations, loss, weights, photographs.skipped)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Return the learning rate of iteration `step` (from 0): a linear warm-up, then half a cosine down to a fiftieth.

    >>> learning_rate(PretrainConfig(iterations=1000, warmup=100, learning_rate=1.0), 49)
    0.5
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.iterations - config.warmup)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _start(config: PretrainConfig, device: torch.device, data: str) -> _Run:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build(config.network)
    network = network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network.precision = _precision(config, device)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    return _Run(network, optimiser, {name: p.detach().clone() for name, p in network.named_parameters()}, data)


def _begin_from(path: Path, run: _Run, config: PretrainConfig, data: Photographs) -> None:
    """Copy the parameters of a weight file into a run that has not begun."""
    network, card = load_weights(path)
    if card.network != config.network:
        raise InputError(f"{path} is of network {card.network}; this run trains {config.network} — make them the same")
    if config.revive and isinstance(network, Unfolded):
        # A batch that the run itself will not see
        generator = step_generator(config.seed, config.iterations)
        pair = draw_pair(data.pictures, config.law, config.batch, config.patch, generator)
        network.revive(pair.lr, pair.degradation)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            run.ema[name].copy_(parameter)
            run.network.get_parameter(name).copy_(parameter)


def _iterate(run: _Run, config: PretrainConfig, data: Photographs, device: torch.device) -> tuple[float, float]:
    generator = step_generator(config.seed, run.step)
    pair = _move(draw_pair(data.pictures, config.law, config.batch, config.patch, generator), device)
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(config, run.step)
    run.optimiser.zero_grad()
    loss = LOSSES[config.loss](run.network(pair.lr, pair.degradation), pair.hr)
    loss.backward()
    norm = clip_grad_norm_(run.network.parameters(), config.clip)
    run.optimiser.step()
    run.step += 1
    # The average starts short, or the first weights, which are noise, would weigh on it for long
    decay = min(config.ema, run.step / (run.step + 10))
    for name, parameter in run.network.named_parameters():
        run.ema[name].lerp_(parameter.detach(), 1 - decay)
    return loss.item(), norm.item()


def _move(pair: Pair, device: torch.device) -> Pair:
    d: Degradation = pair.degradation.to(device)
    return Pair(pair.lr.to(device), pair.hr.to(device), d)


def _save(run: _Run, config: PretrainConfig, path: Path) -> None:
    groups: dict[str, Params] = {"theta": dict(run.network.named_parameters()), "ema": run.ema}
    for key in ("exp_avg", "exp_avg_sq"):
        groups[key] = {
            name: run.optimiser.state[parameter][key]
            for name, parameter in run.network.named_parameters()
            if parameter in run.optimiser.state
        }
    facts = {"step": str(run.step), "seconds": repr(run.seconds), "config": config.model_dump_json()}
    save_state(path, groups, facts | {"data": run.data})


def _restore(run: _Run, config: PretrainConfig, path: Path) -> None:
    groups, facts = load_state(path)
    names = {name for name, _ in run.network.named_parameters()}
    if not {"step", "seconds", "config"} <= facts.keys():
        raise InputError(f"{path} is no training state of mzsr; choose another folder")
    if (then := PretrainConfig.parse(json.loads(facts["config"]), str(path))) != config:
        now, was = config.model_dump(), then.model_dump()
        keys = ", ".join(key for key in now if now[key] != was[key])
        raise InputError(f"{path} was made with another configuration ({keys}); repeat that one, or choose a folder")
    if (data := facts.get("data", run.data)) != run.data:
        raise InputError(f"{path} was made with {data}, this is {run.data}; give the same data, or another folder")
    run.step, run.seconds = int(facts["step"]), float(facts["seconds"])
    needed = ("theta", "ema", "exp_avg", "exp_avg_sq") if run.step else ("theta", "ema")
    if any(groups.get(group, {}).keys() != names for group in needed):
        raise InputError(f"{path} is of another version of the network; finish the run with the version that began it")
    run.ema = {name: tensor.to(run.ema[name]) for name, tensor in groups["ema"].items()}
    with torch.no_grad():
        for name, parameter in run.network.named_parameters():
            parameter.copy_(groups["theta"][name])
            if run.step:
                run.optimiser.state[parameter] = {
                    "step": torch.tensor(float(run.step)),
                    "exp_avg": _like(groups["exp_avg"][name], parameter),
                    "exp_avg_sq": _like(groups["exp_avg_sq"][name], parameter),
                }


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    return torch.empty_like(parameter).copy_(tensor)


def _truncate_log(path: Path, step: int) -> None:
    """Forget the lines of iterations that will be done again, and a last line cut short by a crash."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, TypeError, LookupError):
            break
    write_atomically(path, lambda partial: partial.write_text("".join(kept), "utf-8"))


def _card(
    run: _Run, config: PretrainConfig, folders: Sequence[Path], photographs: Photographs, device: torch.device
) -> Card:
    return Card(
        name=config.network.name,
        summary=f"{config.network.name} network after large-scale training, not meta-trained",
        network=config.network,
        scales=tuple(sorted(config.law.scales)),
        step_sizes=STEP_SIZES,
        crops=0 if config.network.name == "paper" else CROPS,
        data=tuple(f"{name} ({config.licences.get(name, 'licence not stated')})" for name in _names(folders)),
        recipe=config.model_dump(),
        command=" ".join(["mzsr", *sys.argv[1:]]),
        commit=_commit(),
        iterations=run.step,
        hours=round(run.seconds / 3600, 3),
        machine=_machine(device, len(photographs.pictures)),
        sha256="",
    )


def _names(folders: Sequence[Path]) -> list[str]:
    return [folder.resolve().name for folder in folders]


def _commit() -> str:
    """Return the commit of the source tree, with a + if it was changed; `unknown` outside a checkout."""
    folder = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def _machine(device: torch.device, pictures: int) -> str:
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, {pictures} pictures"


def _precision(config: PretrainConfig, device: torch.device) -> torch.dtype:
    if config.precision == "auto":
        return best_precision(device)
    return torch.float32 if config.precision == "float32" else torch.bfloat16
