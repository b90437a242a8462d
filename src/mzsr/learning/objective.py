"""What a stage of training has to provide: parameters, a gradient, and what to say of them. `loop` does the rest."""

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.card import Card
from mzsr.config import TrainConfig
from mzsr.errors import InputError
from mzsr.learning.cards import as_earlier
from mzsr.learning.contract import HEAD, Network
from mzsr.learning.devices import precision_of
from mzsr.learning.networks import build
from mzsr.learning.photographs import Photograph, Photographs, shrunk
from mzsr.learning.weights import like, load_weights
from mzsr.shapes import Images, Params, Scalar

C = TypeVar("C", bound=TrainConfig)

VALIDATIONS = 8
"""Batches by which a checkpoint is validated."""
HIGHEST = 60.0
"""PSNR that counts for more; a patch of nothing but sky may be right to the last bit."""


def matching(option: str, patterns: Sequence[str], tensors: Iterable[str]) -> list[str]:
    """Return the names that one of the patterns matches, in their order.

    Raises:
        InputError: a pattern that matches none.

    >>> matching("train", ["*.bias"], ["a.weight", "a.bias"])
    ['a.bias']
    """
    names = list(tensors)
    for pattern in patterns or ("",):
        if not fnmatch.filter(names, pattern):
            raise InputError(
                f"{option} is {list(patterns)}, and '{pattern}' matches no tensor of the network; it has "
                f"{', '.join(names)}"
            )
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


class Objective(Generic[C]):
    """What a stage of training minimises.

    Attributes:
        config: its configuration.
        theta: all that the optimiser moves, by name; what is no parameter of the network has a `/` in its name.
        still: what it could move and does not, by name.
        earlier: the runs that led to the weights this one started from, see `as_earlier`; empty where there were none.
        pictures: to train on.
        held_out: for validation; other files, of other photographs unless photographs are cut into several.
    """

    def __init__(self, config: C, photographs: Photographs, device: torch.device) -> None:
        """Build the network of a configuration, from its seed alone."""
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = build(config.network)
        self.network: Network = network.to(device, memory_format=torch.channels_last)  # pyright: ignore
        self.network.precision = precision_of(config.precision, device)
        movable = dict(self.network.named_parameters()) | self.beside()
        self.theta: Params = {name: movable[name] for name in matching("train", config.train, movable)}
        self.still: Params = {n: t.requires_grad_(False) for n, t in movable.items() if n not in self.theta}
        self.earlier: tuple[dict[str, Any], ...] = ()
        self.held_out: list[Photograph] = photographs.pictures[:: config.hold_out] if config.hold_out else []
        kept = [p for i, p in enumerate(photographs.pictures) if not config.hold_out or i % config.hold_out]
        if not kept:
            raise InputError(
                f"hold_out is {config.hold_out}, which leaves none of the photographs to train on, "
                f"{len(self.held_out)} of them; take 0, or at least 2 and more photographs"
            )
        self.pictures = [*kept, *shrunk(kept, config.shrink, config.patch)]

    @property
    def before(self) -> dict[str, Any]:
        """Return the last of the earlier runs; empty where there was none."""
        return self.earlier[-1] if self.earlier else {}

    def begin_from(self, path: str | Path) -> tuple[Network, Card]:
        """Copy the parameters of a weight file; return what it holds.

        Of the log-variance head, what only the file has is left out, and what only the run has begins anew.

        Raises:
            InputError: the file is of another network, or scale.
        """
        network, card = load_weights(path)
        # Not the configurations: those of one network may differ in what only another one uses
        found, needed = (dict(net.named_parameters()) for net in (network, self.network))
        before, now = ({n: p.shape for n, p in net.items() if not n.startswith(HEAD)} for net in (found, needed))
        wanted = self.config.network
        if before != now or card.network.scale != wanted.scale:
            raise InputError(f"{path} is of network {card.network}; this run trains {wanted} — make them the same")
        with torch.no_grad():
            for name in found.keys() & needed.keys():
                needed[name].copy_(found[name])
        self.earlier = as_earlier(card)
        return network, card

    def beside(self) -> Params:
        """Return what the optimiser may move beside the parameters of the network."""
        return {}

    def fixed(self) -> dict[str, Params]:
        """Return what nothing moves and a state has to hold all the same, in groups."""
        return {"still": self.still}

    def recall(self, groups: dict[str, Params], earlier: tuple[dict[str, Any], ...]) -> None:
        """Take back the groups of `fixed`, and the runs before this one.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        self.earlier = earlier
        with torch.no_grad():
            for name, tensor in self.still.items():
                tensor.copy_(like(groups["still"][name], tensor))

    def notes(self) -> dict[str, Scalar]:
        """Return what to log of the last gradient beside its loss: its mean over the tasks."""
        return {}

    def gradient(self, step: int, tasks: range) -> tuple[Scalar, Params]:
        """Return the mean loss of some tasks of an iteration and its gradient."""
        raise NotImplementedError

    def sums(self, losses: Iterable[Scalar]) -> tuple[Scalar, Params]:
        """Return the sum of losses and its gradient; each is made when the one before it is done with."""
        total, gradients = torch.zeros((), device=next(iter(self.theta.values())).device), list[Tensor]()
        for loss in losses:
            gradient = torch.autograd.grad(loss, list(self.theta.values()), allow_unused=True, materialize_grads=True)
            gradients = [a + b for a, b in zip(gradients, gradient, strict=True)] if gradients else list(gradient)
            total = total + loss.detach()
        return total, dict(zip(self.theta, gradients, strict=True))

    def validation(self, theta: Params) -> dict[str, float]:
        """Return what to log of `theta` at a checkpoint: its mean PSNR on photographs that are held out, if any are.

        It is of VALIDATIONS batches, drawn by the law, the same ones every time.
        """
        batches = range(VALIDATIONS if self.held_out else 0)
        scores = [self.scores(theta, index).clamp(max=HIGHEST) for index in batches]
        return {"validation": round(float(torch.cat(scores).mean()), 4)} if scores else {}

    def scores(self, theta: Params, index: int) -> Float[Tensor, " b"]:
        """Return the PSNR of what `theta` makes of each patch of a batch of held-out photographs, protocol mzsr, dB."""
        raise NotImplementedError

    def pace(self, name: str) -> float:
        """Return the learning rate of a tensor as a multiple of the configured one."""
        return 1.0

    def about(self, theta: Params) -> dict[str, Any]:
        """Return what the card of `theta` says beside the configuration: summary, step_sizes, subsample, crops."""
        raise NotImplementedError

    def show(self, theta: Params, step: int) -> dict[str, Images]:
        """Return pictures that show what `theta` does."""
        raise NotImplementedError
