"""The card of a training run: data, recipe, commit, machine and hours, and what the objective says of its weights."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from mzsr.card import Card
from mzsr.commands import command_line
from mzsr.config import TrainConfig
from mzsr.learning.devices import name_of, precision_name
from mzsr.learning.parallel import World
from mzsr.learning.photographs import Photographs

INHERITED = ("step_sizes", "crops", "scales", "subsample")  # by a run that trains a head and leaves the body as it is


def make_card(
    config: TrainConfig,
    photographs: Photographs,
    world: World,
    *,
    about: dict[str, Any],
    iterations: int,
    hours: float,
    earlier: tuple[dict[str, Any], ...],
    precision: torch.dtype,
) -> Card:
    """Gather what is known of weights that a run has trained.

    Args:
        config: its recipe.
        photographs: its data.
        world: the processes that it ran on.
        about: summary, step_sizes, subsample and crops, which the objective knows.
        iterations: done so far.
        hours: they took.
        earlier: the runs before it, see `as_earlier`.
        precision: what hidden convolutions ran in.
    """
    return Card(
        name=config.network.name,
        network=config.network,
        data=tuple(f"{f.name} ({config.licences.get(f.name) or f.licence or 'licence not stated'})"
                   for f in photographs.folders),
        recipe=config.model_dump(mode="json"),
        command=command_line("mzsr", sys.argv[1:]),
        commit=commit(),
        iterations=iterations,
        hours=round(hours, 3),
        machine=f"{machine(world, len(photographs.pictures))}, {precision_name(precision)}",
        earlier=earlier,
        sha256="",
        **{"scales": seen(config), **about},
    )  # fmt: skip


def as_earlier(card: Card) -> tuple[dict[str, Any], ...]:
    """Return the runs that led to a weight file, its own last, for the card of a run that starts from it."""
    kept = {"recipe", "command", "commit", "iterations", "hours", "machine", *INHERITED}
    own = card.model_dump(mode="json", include=kept)
    return (*card.earlier, own)


def seen(config: TrainConfig) -> tuple[int, ...]:
    """Return the scales that a run draws."""
    return tuple(sorted(scale for scale, share in config.law.scales.items() if share))


def only_subsampling(config: TrainConfig) -> Literal["direct", "bicubic"] | None:
    """Return the subsampling that a network without data steps was trained for, if it was only one.

    It has learned the shift of that grid; the flagship is told the grid and knows all.
    """
    law = config.law
    if config.network.told:
        return None
    if law.name == "bicubic" or law.bicubic_share == 1:
        return "bicubic"
    return "direct" if law.bicubic_share == law.centred_share == 0 else None


@cache
def commit() -> str:
    """Return the commit of the source tree, with a + if it was changed; `unknown` outside a checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here.parent, capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", here.name)  # or it is installed inside of somebody's repository
        return git("describe", "--always", "--dirty=+", "--exclude=*").strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine(world: World, pictures: int) -> str:
    """Return what a run ran on: processor, threads, version of PyTorch, and how many pictures it held."""
    processes = f"{world.size} processes, " if world.size > 1 else ""
    threads = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    return f"{processes}{name_of(world.device)}, {threads}, {pictures} pictures"
