"""The outer optimiser: Adam for everything, or Muon for the convolutions that it suits and Adam for the rest.

Muon moves a matrix by its momentum made orthogonal, so that all of its directions move alike. On a few hours of two
cores it needs a third of Adam's iterations (LOG.md).

Source: Adam, ICLR 2015; Muon, K. Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", by
`torch.optim`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from mzsr.config import OptimiserName
from mzsr.learning.weights import like
from mzsr.shapes import Params

FEWEST_OUTPUTS = 16
"""Muon is for hidden layers; a convolution with fewer outputs makes pixels and stays with Adam. Those that read pixels,
which its source leaves to Adam as well, go with the hidden ones here."""
MUON_PACE = 2.0
"""Muon's learning rate as a multiple of Adam's, the step being scaled to the size of Adam's (match_rms_adamw)."""
MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")


class Optimiser:
    """Moves θ in place, one gradient at a time."""

    def __init__(self, theta: Params, kind: OptimiserName, pace: Callable[[str], float]) -> None:
        """Sort the tensors.

        Args:
            theta: what to move, by name.
            kind: adam or muon.
            pace: the learning rate of a tensor as a multiple of that of the run.
        """
        self._theta = theta
        adam: dict[float, list[Tensor]] = {}
        muon: dict[float, list[Tensor]] = {}
        self._matrices: dict[str, Tensor] = {}
        for name, tensor in theta.items():
            if kind == "muon" and tensor.ndim == 4 and tensor.shape[0] >= FEWEST_OUTPUTS:
                self._matrices[name] = _matrix(tensor)
                muon.setdefault(MUON_PACE * pace(name), []).append(self._matrices[name])
            else:
                adam.setdefault(pace(name), []).append(tensor)
        self._adam = torch.optim.Adam(_groups(adam), lr=1.0) if adam else None
        settings = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
        self._muon = torch.optim.Muon(_groups(muon), lr=1.0, **settings) if muon else None

    def step(self, gradient: Params, rate: float, clip: float) -> None:
        """Move θ by a gradient, scaled down to the norm `clip` where it is larger."""
        for name, tensor in self._theta.items():
            tensor.grad = gradient[name].clone()  # clipped in place, and what is logged is as it was
        clip_grad_norm_(self._theta.values(), clip)
        for name, matrix in self._matrices.items():
            matrix.grad = _as_matrix(self._theta[name].grad, self._theta[name])
        for optimiser in filter(None, (self._adam, self._muon)):
            for group in optimiser.param_groups:
                group["lr"] = group["pace"] * rate
            optimiser.step()

    def memory(self) -> dict[str, Params]:
        """Return what a checkpoint has to hold, by kind and name of the tensor; nothing before the first step."""
        held: dict[str, Params] = {}
        for name, optimiser, tensor in self._moved():
            for key, value in optimiser.state.get(tensor, {}).items():
                if key in MOMENTS:
                    held.setdefault(key, {})[name] = value
        return held

    def recall(self, held: dict[str, Params], step: int) -> None:
        """Go on from a memory; the inverse of `memory` after `step` steps.

        Raises:
            KeyError: something is missing.
            ValueError: something has another shape.
        """
        for name, optimiser, tensor in self._moved():
            if isinstance(optimiser, torch.optim.Adam):
                moments = {key: like(held[key][name], tensor) for key in ("exp_avg", "exp_avg_sq")}
                optimiser.state[tensor] = {"step": torch.tensor(float(step)), **moments}
            else:
                optimiser.state[tensor] = {"momentum_buffer": like(held["momentum_buffer"][name], tensor)}

    def _moved(self) -> Iterator[tuple[str, torch.optim.Optimizer, Tensor]]:
        for name, tensor in self._theta.items():
            matrix = self._matrices.get(name)
            optimiser, moved = (self._adam, tensor) if matrix is None else (self._muon, matrix)
            assert optimiser is not None
            yield name, optimiser, moved


def _groups(members: dict[float, list[Tensor]]) -> list[dict[str, object]]:
    return [{"params": tensors, "pace": pace} for pace, tensors in members.items()]


def _matrix(tensor: Tensor) -> Tensor:
    """Return the weight of a convolution as (outputs, inputs x taps), sharing its memory."""
    return _as_matrix(tensor.detach(), tensor).requires_grad_()


def _as_matrix(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Flatten in the order in which another lies in memory; what order that is makes no difference to Muon."""
    assert tensor is not None
    if other.is_contiguous():
        return tensor.flatten(1)
    return tensor.permute(0, 2, 3, 1).flatten(1)
