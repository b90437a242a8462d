"""The one inner loop: gradient steps on a dictionary of parameters. Training and adaptation both call it.

    θ_i = θ_{i-1} - α_i ∇ L(f(lr; θ_{i-1}), hr)

Knows no optimiser, no schedule and no file. MAML needs nothing more than `torch.func.functional_call`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value

from mzsr.learning.losses import Loss, l1
from mzsr.learning.networks import Network
from mzsr.learning.patches import Pair
from mzsr.shapes import Params

Order = Literal["plain", "first", "second"]
StepSize = float | int | Mapping[str, Tensor]


@dataclass(frozen=True)
class Descent:
    """Parameters after 0, 1, …, n steps, and the loss *at* θ_0 … θ_{n-1}."""

    thetas: list[Params]
    losses: list[Tensor]


def descend(
    network: Network,
    theta: Params,
    pair: Pair,
    step_sizes: Sequence[StepSize],
    *,
    order: Order = "plain",
    loss: Loss = l1,
    functional: bool = False,
) -> Descent:
    """Take one gradient step for each step size.

    Args:
        network: called as f(lr, degradation; θ).
        theta: θ_0, name → tensor, as `dict(network.named_parameters())`.
        pair: the support set, the same for every step.
        step_sizes: α of each step: a number, or one tensor for each parameter (a parameter left out stays as it is).
        order: `plain` cuts the graph after every step (adaptation); `first` lets the gradient pass to θ_0 as if every
            step were the identity (first-order MAML); `second` keeps the whole graph.
        loss: L.
        functional: differentiate by `torch.func`, which `torch.func.vmap` can vectorise over tasks; the same numbers.

    Returns:
        n + 1 parameter dictionaries and n losses.

    Source: Finn et al., "Model-agnostic meta-learning", ICML 2017, equation 1; MZSR, equation 5.
    """
    thetas, losses = [theta], []
    for step_size in step_sizes:
        moved = step_size.keys() if isinstance(step_size, Mapping) else thetas[-1].keys()
        value, gradient = loss_and_gradient(
            network, thetas[-1], pair, loss, moved=moved, create_graph=order == "second", functional=functional
        )
        start = detach(thetas[-1]) if order == "plain" else thetas[-1]
        thetas.append(_step(start, gradient, step_size))
        losses.append(value.detach())
    return Descent(thetas, losses)


def loss_and_gradient(
    network: Network,
    theta: Params,
    pair: Pair,
    loss: Loss = l1,
    *,
    moved: Collection[str] | None = None,
    create_graph: bool = False,
    functional: bool = False,
) -> tuple[Tensor, Params]:
    """Return L and ∇L at θ, for the parameters `moved` or for all. Without create_graph the gradient is a constant."""
    moved = theta.keys() if moved is None else moved
    if foreign := sorted(set(moved) - theta.keys()):
        raise ValueError(f"there is a step size for '{foreign[0]}', which is no parameter; leave it out")
    if not create_graph:
        theta = detach(theta)
    if not moved:
        return loss(functional_call(network, theta, (pair.lr, pair.degradation)), pair.hr), {}

    def value_at(moving: Params) -> Tensor:
        return loss(functional_call(network, theta | moving, (pair.lr, pair.degradation)), pair.hr)

    with torch.enable_grad():
        moving = {name: theta[name] for name in moved}
        if functional:
            gradient, value = grad_and_value(value_at)(moving)
            return value, gradient
        moving = {name: t if t.requires_grad else t.detach().requires_grad_() for name, t in moving.items()}
        value = value_at(moving)
        gradients = torch.autograd.grad(
            value, list(moving.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    return value, dict(zip(moving, gradients, strict=True))


def detach(theta: Params) -> Params:
    """Return the same parameters outside any graph."""
    return {name: tensor.detach() for name, tensor in theta.items()}


def schedule(step_sizes: Sequence[float] | Mapping[str, Sequence[float]], steps: int) -> list[StepSize]:
    """Return the step size of each of `steps` steps; the last one given holds for all further ones.

    Args:
        step_sizes: as a card has them: the same for every tensor, or some for each; a tensor left out stays as it is.
        steps: how many.

    >>> schedule([0.02, 0.01], 3)
    [0.02, 0.01, 0.01]
    """
    if isinstance(step_sizes, Mapping):
        return [
            {name: torch.tensor(sizes[min(index, len(sizes) - 1)]) for name, sizes in step_sizes.items()}
            for index in range(steps)
        ]
    return [step_sizes[min(index, len(step_sizes) - 1)] for index in range(steps)]


def _step(theta: Params, gradient: Params, step_size: StepSize) -> Params:
    sizes = step_size if isinstance(step_size, Mapping) else dict.fromkeys(theta, step_size)
    return {n: t - sizes[n] * gradient[n] if n in sizes else t for n, t in theta.items()}
