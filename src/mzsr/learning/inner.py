"""The one inner loop: gradient steps on a dictionary of parameters. Training and adaptation both call it.

    θ_i = θ_{i-1} - α_i ∇ L(f(lr; θ_{i-1}), hr)

Knows no optimiser, no schedule and no file. MAML needs nothing more than `torch.func.functional_call`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call

from mzsr.learning.losses import Loss, l1
from mzsr.learning.networks import Network
from mzsr.learning.patches import Pair
from mzsr.shapes import Params

Order = Literal["plain", "first", "second"]
StepSize = float | int | Mapping[str, Tensor]


@dataclass(frozen=True)
class Descent:
    """Parameters after 0, 1, …, n steps, and the loss *at* θ_0 … θ_{n-1} on the pair of that step."""

    thetas: list[Params]
    losses: list[Tensor]


def descend(
    network: Network,
    theta: Params,
    pairs: Sequence[Pair],
    step_sizes: Sequence[StepSize],
    *,
    order: Order = "plain",
    loss: Loss = l1,
) -> Descent:
    """Take one gradient step for each step size.

    Args:
        network: called as f(lr, degradation; θ).
        theta: θ_0, name → tensor, as `dict(network.named_parameters())`.
        pairs: the support set of each step; one pair serves every step.
        step_sizes: α of each step: a number, or one tensor for each parameter (a parameter left out stays as it is).
        order: `plain` cuts the graph after every step (adaptation); `first` lets the gradient pass to θ_0 as if every
            step were the identity (first-order MAML); `second` keeps the whole graph.
        loss: L.

    Returns:
        n + 1 parameter dictionaries and n losses.

    Source: Finn et al., "Model-agnostic meta-learning", ICML 2017, equation 1; MZSR, equation 5.
    """
    if len(pairs) not in (1, len(step_sizes)) and step_sizes:
        raise ValueError(f"{len(pairs)} pairs for {len(step_sizes)} steps; give one pair, or one for each step")
    thetas, losses = [theta], []
    for index, step_size in enumerate(step_sizes):
        pair = pairs[index if len(pairs) > 1 else 0]
        value, gradient = loss_and_gradient(network, thetas[-1], pair, loss, create_graph=order == "second")
        start = detach(thetas[-1]) if order == "plain" else thetas[-1]
        thetas.append(_step(start, gradient, step_size))
        losses.append(value.detach())
    return Descent(thetas, losses)


def loss_and_gradient(
    network: Network, theta: Params, pair: Pair, loss: Loss = l1, *, create_graph: bool = False
) -> tuple[Tensor, Params]:
    """Return L and ∇L at θ. Without create_graph the gradient is a constant."""
    if not create_graph:
        theta = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    with torch.enable_grad():
        theta = {name: t if t.requires_grad else t.clone().requires_grad_() for name, t in theta.items()}
        value = loss(functional_call(network, theta, (pair.lr, pair.degradation)), pair.hr)
        gradients = torch.autograd.grad(
            value, list(theta.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    return value, dict(zip(theta, gradients, strict=True))


def detach(theta: Params) -> Params:
    """Return the same parameters outside any graph."""
    return {name: tensor.detach() for name, tensor in theta.items()}


def _step(theta: Params, gradient: Params, step_size: StepSize) -> Params:
    if isinstance(step_size, Mapping):
        if foreign := sorted(step_size.keys() - theta.keys()):
            raise ValueError(f"there is a step size for '{foreign[0]}', which is no parameter; leave it out")
        return {n: t - step_size[n] * gradient[n] if n in step_size else t for n, t in theta.items()}
    return {name: tensor - step_size * gradient[name] for name, tensor in theta.items()}
