"""What a stage of training has to provide: parameters, a gradient, and what to say of them. `loop` does the rest."""

from pathlib import Path
from typing import Any

import torch

from mzsr.config import TrainConfig
from mzsr.errors import InputError
from mzsr.learning.cards import as_earlier
from mzsr.learning.checkpoint import load_weights
from mzsr.learning.devices import best_precision
from mzsr.learning.networks import Network, build
from mzsr.learning.photographs import Photographs
from mzsr.shapes import Images, Params, Scalar


class Objective:
    """What a stage of training minimises.

    Attributes:
        theta: all that the optimiser moves, by name; what is no parameter of the network has a `/` in its name.
    """

    def __init__(self, config: TrainConfig, photographs: Photographs, device: torch.device) -> None:
        """Build the network of a configuration, from its seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = build(config.network)
        self.network: Network = network.to(device, memory_format=torch.channels_last)  # pyright: ignore
        self.network.precision = _precision(config, device)
        self.theta: Params = dict(self.network.named_parameters())
        self.pictures = photographs.pictures

    def begin_from(self, path: str | Path) -> tuple[dict[str, Any], ...]:
        """Copy the parameters of a weight file; return the runs that led to it."""
        network, card = load_weights(path)
        # Not the configurations: those of one network may differ in what only the other one uses
        found, needed = ({name: p.shape for name, p in net.named_parameters()} for net in (network, self.network))
        if found != needed:
            wanted = self.config.network
            raise InputError(f"{path} is of network {card.network}; this run trains {wanted} — make them the same")
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                self.theta[name].copy_(parameter)
        return as_earlier(card)

    @property
    def config(self) -> TrainConfig:
        """Return the configuration."""
        raise NotImplementedError

    def gradient(self, step: int, tasks: range) -> tuple[Scalar, Params]:
        """Return the mean loss of some tasks of an iteration and its gradient."""
        raise NotImplementedError

    def pace(self, name: str) -> float:
        """Return the learning rate of a tensor as a multiple of the configured one."""
        return 1.0

    def about(self, theta: Params) -> dict[str, Any]:
        """Return summary, step_sizes and crops for the card of `theta`."""
        raise NotImplementedError

    def show(self, theta: Params, step: int) -> dict[str, Images]:
        """Return pictures that show what `theta` does."""
        raise NotImplementedError


def _precision(config: TrainConfig, device: torch.device) -> torch.dtype:
    if config.precision == "auto":
        return best_precision(device)
    return torch.float32 if config.precision == "float32" else torch.bfloat16
