"""The one training loop: optimiser, schedule, average, checkpoints. Both stages of training are an `Objective` in it.

What a run leaves in its folder:

    state.safetensors    parameters, average and optimiser at the last checkpoint; `--resume` starts from it
    log.jsonl            a line for every LOG_EVERY iterations, for the first, and for the last before an end or a stop;
                         where photographs are held out, one with `validation` for every checkpoint
    weights.safetensors  the averaged parameters, and weights.json, their card; written with every checkpoint but one
                         of iteration 0, where nothing was trained yet

A batch depends on (seed, step, index) alone and the state is complete and written atomically, so a run that was killed
at any moment and resumed ends, on the same machine, with the same bits as one that was not.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mzsr.atomic import hold
from mzsr.config import TrainConfig
from mzsr.errors import InputError
from mzsr.learning import state
from mzsr.learning.cards import commit, make_card
from mzsr.learning.contract import HEAD
from mzsr.learning.journal import Journal
from mzsr.learning.objective import C, Objective
from mzsr.learning.parallel import World
from mzsr.learning.photographs import Photographs, load_photographs
from mzsr.learning.weights import load_weights, save_weights
from mzsr.shapes import Params

LOG_EVERY = 50


@dataclass(frozen=True)
class Outcome:
    """What a call of `train` came to.

    Attributes:
        step: iterations done.
        weights: the file of the averaged parameters; there is none at iteration 0.
        rate: iterations per second of this call.
        silent: share of the filters of convolutions whose last gradient was zero: their units answered to nothing.
    """

    step: int
    weights: Path
    rate: float
    silent: float


def train(
    objective: Callable[[C, Photographs, torch.device], Objective[C]],
    config: C,
    folders: Sequence[Path],
    out: Path,
    world: World,
    *,
    start_from: str | Path | None = None,
    resume: bool = False,
    time_limit: float | int = math.inf,
    tensorboard: bool = False,
    told: Callable[[Photographs], None] = lambda photographs: None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Outcome:
    """Train from scratch or from given weights, or go on where a run stopped.

    Args:
        objective: what is trained: `Pretraining`, `MetaTraining`.
        config: network, law, schedule.
        folders: of photographs.
        out: folder of the run; made if it does not exist.
        world: the processes that train together.
        start_from: weights of the same network to start from; None starts from random ones.
        resume: go on from `state.safetensors` if there is one.
        time_limit: seconds, loading among them, after which to save and stop; the next call with `resume` goes on.
        tensorboard: write events for TensorBoard too.
        told: is given the photographs before training begins.
        progress: told the iteration and its loss.

    Raises:
        InputError: unusable data, a run in `out` that is at work, is not resumed or is of another configuration, a
            full disk, a loss or log-variance that is no number (the state of the last checkpoint, which had one,
            stays).
    """
    start = time.monotonic()
    commit()  # of the code that runs, whatever is checked out meanwhile
    state_file = out / "state.safetensors"
    _check_folder(out, resume=resume)
    photographs = load_photographs(folders, config.patch)
    told(photographs)
    run = state.begin(objective(config, photographs.to(world.device), world.device), photographs, world.size)
    if state_file.exists():
        state.restore(run, state_file)
    elif start_from is not None:
        run.objective.begin_from(start_from)
        run.ema = state.copy(run.objective.theta)
    with _folder(out, world):
        first, before, gradient = run.step, run.seconds, dict[str, Tensor]()
        journal = Journal(out, run.step, tensorboard=tensorboard) if world.rank == 0 else None
        begun = time.monotonic()  # loading does not count in what is told of iterations a second

        def over() -> bool:
            return run.step >= config.iterations or world.any(time.monotonic() - start >= time_limit)

        def speed() -> float:
            return (run.step - first) / max(time.monotonic() - begun, 1e-9)

        ends = over()
        while not ends:
            facts, gradient = _good_gradient(run, world, state_file)
            if run.step > run.saved and run.step % config.save_every == 0:  # its loss is a number, so it is good
                _save(run, photographs, world, out, journal)
            _update(run, gradient)
            run.seconds = before + time.monotonic() - start
            progress(run.step, facts["loss"])
            ends = over()
            if journal is not None and (ends or run.step == 1 or run.step % LOG_EVERY == 0):
                facts |= {"learning_rate": learning_rate(config, run.step - 1), "silent": silent(gradient)}
                facts |= {"seconds": round(run.seconds, 1), "rate": round(speed(), 3)}
                journal.record(run.step, facts, gradient)
        weights, rate = out / "weights.safetensors", speed()
        if run.step > first:
            _, gradient = _good_gradient(run, world, state_file)  # no loss has seen the last update yet
        if run.step > first or not _is_published(weights, run.step):  # a finished run that is resumed keeps its card
            _save(run, photographs, world, out, journal)
        world.wait()  # who reads the state next must find the one that the first process has just written
        if journal is not None:
            journal.close()
        return Outcome(run.step, weights, rate, silent(gradient))


def _check_folder(out: Path, *, resume: bool) -> None:
    """Refuse a folder that holds what a run would overwrite, before anything is loaded."""
    state_file = out / "state.safetensors"
    begun = os.path.exists(state_file)  # which `Path.exists` does not answer where it may not look
    if os.path.exists(out / "weights.safetensors") and not begun:
        raise InputError(f"{out} holds weights without the state of their run; choose another folder, or delete them")
    if begun and not resume:
        raise InputError(f"{out} already holds a run; add --resume to go on with it, or choose another folder")


@contextmanager
def _folder(out: Path, world: World) -> Iterator[None]:
    """Make the folder of a run, keep it to this one, and clear away what a killed one was writing.

    Raises:
        InputError: it cannot be made, or another run is at work in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made ({error.strerror}); give a folder for the run") from error
    with ExitStack() as stack:
        if world.rank == 0:
            with suppress(OSError):  # a system that opens no folders, or a disk without locks
                folder = os.open(out, os.O_RDONLY)
                stack.callback(os.close, folder)
                if hold(folder) is False:
                    raise InputError(f"another run is at work in {out}; wait for it, or choose another folder")
            for part in out.glob(".*.part"):
                part.unlink(missing_ok=True)
        yield


def _save(run: state.Run, photographs: Photographs, world: World, out: Path, journal: Journal | None) -> None:
    """Write state, weights, validation and sample pictures; the first process does it for all."""
    if world.rank:
        run.saved = run.step
        return
    try:
        if journal is not None and (found := run.objective.validation(run.ema)):
            journal.record(run.step, found, {})
        state.save(run, out / "state.safetensors")
        if run.step:  # or they are untrained
            _publish(run, photographs, world, out)
        if journal is not None and journal.board is not None:
            journal.show(run.step, run.objective.show(run.ema, run.step))
    except InputError as error:
        raise InputError(f"{error}; the last good state is of iteration {run.saved}, go on with --resume") from error


def _good_gradient(run: state.Run, world: World, state_file: Path) -> tuple[dict[str, float], Params]:
    """Return what is told of an iteration, its loss and the norm of its gradient among it, and the gradient.

    Raises:
        InputError: one of them is no number.
    """
    facts, gradient = _gradient(run.objective, run.step, world)
    facts["norm"] = _norm(gradient)
    if not all(map(math.isfinite, facts.values())):
        world.wait()  # torchrun ends all processes where one ends
        others = {"gradient norm": facts["norm"], **{n: v for n, v in facts.items() if n not in ("loss", "norm")}}
        found = ", ".join(f"{name} {value}" for name, value in others.items())
        kept = f"the last good state, of iteration {run.saved}, is kept: start anew from its weights"
        raise InputError(
            f"loss is {facts['loss']}, {found} at iteration {run.step + 1}; all must be finite — "
            f"{kept if state_file.exists() else 'nothing was saved yet: start anew'} with a smaller learning_rate"
        )
    return facts, gradient


def silent(gradient: Params) -> float:
    """Return the share of the filters of convolutions whose gradient is zero.

    A unit that a ReLU lets through nowhere has none, and without a gradient it stays so. A head that the loss does not
    ask has none either, and does not count.

    >>> silent({"weight": torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1, 1), "bias": torch.zeros(4)})
    0.25
    """
    body = {name: tensor for name, tensor in gradient.items() if not name.startswith(HEAD)}
    unasked = not any(bool(gradient[name].any()) for name in gradient.keys() - body.keys())
    asked = body if unasked else gradient
    filters = [tensor.flatten(1).abs().amax(1) == 0 for tensor in asked.values() if tensor.ndim == 4]
    return round(float(torch.cat(filters).float().mean()), 4) if filters else 0.0


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of iteration `step` (from 0): a linear warm-up, then the schedule.

    `cosine` goes down half a period to a fiftieth; `halving` halves every `halve_every` iterations, twice.

    >>> from mzsr.config import PretrainConfig
    >>> learning_rate(PretrainConfig(iterations=1000, warmup=100, learning_rate=1.0), 49)
    0.5
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "halving":
        return config.learning_rate / 2 ** min(2, step // config.halve_every)
    done = (step - config.warmup) / max(1, config.iterations - config.warmup)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _gradient(objective: Objective, step: int, world: World) -> tuple[dict[str, float], Params]:
    """Return the loss with what is noted beside it, and the gradient, over the tasks of all processes."""
    loss, gradient = objective.gradient(step, world.share(objective.config.tasks))
    facts = {"loss": loss.detach(), **objective.notes()}
    if world.size > 1:
        flat = torch.cat([tensor.reshape(-1) for tensor in (*gradient.values(), *facts.values())])
        parts = iter(world.mean_(flat).split([tensor.numel() for tensor in (*gradient.values(), *facts.values())]))
        gradient = {name: next(parts).view_as(old) for name, old in gradient.items()}
        facts = {name: next(parts) for name in facts}
    return {name: float(value) for name, value in facts.items()}, gradient


def _norm(gradient: Params) -> float:
    return float(torch.linalg.vector_norm(torch.stack([tensor.norm() for tensor in gradient.values()])))


def _update(run: state.Run, gradient: Params) -> None:
    """Take one step, and move the average."""
    config = run.objective.config
    run.optimiser.step(gradient, learning_rate(config, run.step), config.clip)
    run.step += 1
    # The average starts short, or the first weights, which are noise, would weigh on it for long
    decay = min(config.ema, run.step / (run.step + 10))
    for name, tensor in run.objective.theta.items():
        run.ema[name].lerp_(tensor.detach(), 1 - decay)


def _publish(run: state.Run, photographs: Photographs, world: World, out: Path) -> None:
    objective = run.objective
    card = make_card(
        objective.config, photographs, world, about=objective.about(run.ema), iterations=run.step,
        hours=run.seconds / 3600, earlier=objective.earlier, precision=objective.network.precision,
    )  # fmt: skip
    weights = {name: tensor for name, tensor in (run.ema | run.objective.still).items() if "/" not in name}
    save_weights(out / "weights.safetensors", weights, card)


def _is_published(path: Path, step: int) -> bool:
    """Return whether the weights of an iteration are on the disk, whole and with their card."""
    try:
        return load_weights(path)[1].iterations == step
    except InputError:
        return False
