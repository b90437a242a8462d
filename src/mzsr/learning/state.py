"""The moving parts of a run, and their checkpoint: everything that the next iteration depends on, in one file."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as packed

from mzsr.atomic import write_atomically
from mzsr.card import FORMAT, check_format
from mzsr.errors import InputError
from mzsr.learning.devices import precision_name, precision_of
from mzsr.learning.objective import Objective
from mzsr.learning.optimiser import Optimiser
from mzsr.learning.photographs import Photographs
from mzsr.learning.weights import like, load_tensors
from mzsr.shapes import Params

FREE = {"save_every", "licences"}
"""Keys in which a run that goes on may differ from what it was: no batch and no update goes by them."""


@dataclass
class Run:
    """The moving parts; everything that a checkpoint has to hold.

    Attributes:
        objective: with all that the optimiser moves.
        optimiser: and its memory.
        ema: the moving average of what it moves.
        data: the photographs, in words.
        processes: that train together.
        step: iterations done.
        saved: those of them that are in the last checkpoint.
        seconds: spent so far, by all calls.
    """

    objective: Objective
    optimiser: Optimiser
    ema: Params
    data: str
    processes: int = 1
    step: int = 0
    saved: int = 0
    seconds: float = 0.0


def begin(objective: Objective, photographs: Photographs, processes: int) -> Run:
    """Return a run at iteration 0: an optimiser of all that moves, and the average where the parameters are."""
    optimiser = Optimiser(objective.theta, objective.config.optimiser, objective.pace)
    data = f"{len(photographs.pictures)} pictures, {photographs.digest}"
    return Run(objective, optimiser, copy(objective.theta), data, processes)


def save(run: Run, path: Path) -> None:
    """Write the state of a run, whole or not at all."""
    theta, config = run.objective.theta, run.objective.config
    groups: dict[str, Params] = {"theta": theta, "ema": run.ema, **run.optimiser.memory()}
    groups |= run.objective.fixed()
    facts = {"step": str(run.step), "seconds": repr(run.seconds), "config": config.model_dump_json()}
    facts |= {
        "format": str(FORMAT),
        "stage": type(config).__name__,
        "data": run.data,
        "processes": str(run.processes),
        "precision": precision_name(run.objective.network.precision),
        "earlier": json.dumps(run.objective.earlier),
    }
    save_state(path, groups, facts)
    run.saved = run.step


def restore(run: Run, path: Path) -> None:
    """Put a run where a state was saved, in the precision in which it began, whatever `auto` is on this machine.

    Raises:
        InputError: the file is damaged, of another format, stage, configuration, network or data.
    """
    groups, facts = load_state(path)
    theta, config = run.objective.theta, run.objective.config
    if (given := facts.get("format", "")).isdecimal():
        check_format(path, int(given), "begin anew")
    if not {"step", "seconds", "config", "data", "stage", "earlier"} <= facts.keys():
        raise InputError(f"{path} is no training state of mzsr {type(config).__name__}; choose another folder")
    if facts["stage"] != type(config).__name__:
        raise InputError(
            f"{path} is a state of {facts['stage']}, this is {type(config).__name__}; choose another folder"
        )
    made = type(config).parse(json.loads(facts["config"]), str(path))
    if made.model_dump_json(exclude=FREE) != config.model_dump_json(exclude=FREE):  # in order, too: draws go by it
        now, was = ({k: json.dumps(v) for k, v in c.model_dump(mode="json").items()} for c in (config, made))
        keys = ", ".join(key for key in now if now[key] != was[key] and key not in FREE)
        weights = path.with_name("weights.safetensors")
        other = f"begin another run with --from {weights} --out ANOTHER" if weights.exists() else "choose a folder"
        raise InputError(f"{path} was made with another configuration ({keys}); repeat that one, or {other}")
    if facts["data"] != run.data:
        raise InputError(f"{path} was made with {facts['data']}, this is {run.data}; give the same data, or a folder")
    if (then := facts.get("processes", str(run.processes))) != str(run.processes):
        raise InputError(
            f"{path} was made by {then} processes, this is {run.processes}, which would see other batches; "
            f"go on with torchrun --nproc-per-node {then}"
        )
    if (precision := facts.get("precision")) is not None:  # `auto` may be another one on this machine
        run.objective.network.precision = precision_of(precision, torch.device("cpu"))
    run.step, run.seconds = int(facts["step"]), float(facts["seconds"])
    run.saved = run.step
    strange = f"{path} is of another version of the network; finish the run with the version that began it"
    if any(_shapes(groups.get(group, {})) != _shapes(theta) for group in ("theta", "ema")):
        raise InputError(strange)
    try:
        run.objective.recall(groups, tuple(json.loads(facts["earlier"])))
        if run.step:
            run.optimiser.recall(groups, run.step)
    except (KeyError, ValueError) as error:
        raise InputError(strange) from error
    run.ema = {name: like(groups["ema"][name], tensor) for name, tensor in theta.items()}
    with torch.no_grad():
        for name, parameter in theta.items():
            parameter.copy_(groups["theta"][name])


def _shapes(theta: Params) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in theta.items()}


def copy(theta: Params) -> Params:
    """Return the same values in tensors of their own."""
    return {name: tensor.detach().clone() for name, tensor in theta.items()}


def save_state(path: Path, groups: dict[str, Params], facts: dict[str, str]) -> None:
    """Write a training state: groups of tensors by name, and facts as text.

    Args:
        path: the state file.
        groups: for instance {"theta": …, "ema": …}; a tensor is stored as group/name.
        facts: step, configuration and the like.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    data = packed(tensors, metadata=facts)
    write_atomically(path, lambda part: part.write_bytes(data))


def load_state(path: Path) -> tuple[dict[str, Params], dict[str, str]]:
    """Read a training state back; the inverse of `save_state`.

    Raises:
        InputError: the file is missing or damaged.
    """
    groups: dict[str, Params] = {}
    for key, tensor in load_tensors(path).items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    with safe_open(path, "pt") as file:
        return groups, dict(file.metadata() or {})
