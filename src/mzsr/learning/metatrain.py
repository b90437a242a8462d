"""Meta-transfer training, θ_T → θ_M: weights that a few gradient steps on a picture's own son make good for it.

    inner   θ_i = θ_{i-1} - α_i ∇ L_tr(θ_{i-1}),   i = 1 … K, for every task (one kernel each)
    outer   θ ← θ - β ∇_θ Σ_tasks Σ_i w_i L_te(θ_i),   by Adam or Muon

The inner loop is `inner.descend`, the same one that adapts to a user's picture; everything around the outer gradient
is in `loop`. Beyond the paper, each behind one field of `MetaConfig`: same-image episodes, learned step sizes (one for
every tensor and step, trained as logarithms beside θ), a choice of tensors that adapt, a weight on the result before
any step, and all tasks at once by `torch.func.vmap`.

Source: MZSR, algorithm 1 and equations 5-7; multi-step loss and learned step sizes after MAML++ (ICLR 2019);
same-image episodes after MLSR (ECCV 2020).
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, vmap

from mzsr.card import Card
from mzsr.config import MetaConfig
from mzsr.errors import InputError
from mzsr.imaging.degrade import Degradation, error_map, phase
from mzsr.imaging.metrics import psnr
from mzsr.learning.cards import only_subsampling
from mzsr.learning.contract import HEAD, Network
from mzsr.learning.inner import StepSize, descend
from mzsr.learning.losses import LOSSES
from mzsr.learning.objective import Objective, matching
from mzsr.learning.patches import Pair, Task, draw_kind, draw_task, step_generator
from mzsr.learning.photographs import Photographs
from mzsr.shapes import Images, Params, Scalar

CROPS = 2
"""Crops on the card of a flagship: about as many pixels as an episode of training has."""
KEPT = ("scales", "subsample", "error_law", "error_law_estimated")  # of a network that is left as it is
LOG_ALPHA = "log_alpha/"  # prefix of the logarithms of learned step sizes among what the optimiser moves


class MetaTraining(Objective[MetaConfig]):
    """The loss after adaptation, over tasks."""

    def __init__(self, config: MetaConfig, photographs: Photographs, device: torch.device) -> None:
        """Build the network, and its step sizes where they are learned."""
        super().__init__(config, photographs, device)
        told, sizes = f"train is {list(config.train)}", any(name.startswith(LOG_ALPHA) for name in self.theta)
        if config.learn_alpha and not sizes:
            raise InputError(f"{told}, and learn_alpha is true; add {LOG_ALPHA}* to it, or set learn_alpha to false")
        if all(name.startswith(HEAD) for name in self.theta):
            raise InputError(f"{told}, the log-variance head alone, which no step moves; train it by pretrain")
        if config.vectorise:
            self.network.layout = torch.contiguous_format  # vmap knows no other

    def beside(self) -> Params:
        """Return the logarithms of the step sizes where they are learned: one for every tensor that adapts and step."""
        parameters = dict(self.network.named_parameters())
        self.moved = matching("adapt", self.config.adapt, parameters)
        if not self.config.learn_alpha:
            return {}
        device = next(iter(parameters.values())).device
        start = torch.full((self.config.steps,), math.log(self.config.alpha), device=device)
        return {LOG_ALPHA + name: start.clone().requires_grad_() for name in self.moved}

    def begin_from(self, path: str | Path) -> tuple[Network, Card]:
        """Copy the parameters of a weight file, and its step sizes if it was meta-trained with as many."""
        network, card = super().begin_from(path)
        if self.config.network.log_var and self._sizes_alone(self.theta):  # what was measured of the head stays true
            laws = {"error_law": card.told_errors(), "error_law_estimated": card.error_law_estimated}
            self.earlier = (*self.earlier[:-1], self.before | laws)
        sizes = card.step_sizes
        if self.config.learn_alpha and isinstance(sizes, dict):
            alphas = self.still | self.theta
            for name, learned in sizes.items():
                if name in self.moved and len(learned) == self.config.steps:
                    with torch.no_grad():
                        alphas[LOG_ALPHA + name].copy_(torch.tensor(learned).log())
        return network, card

    def pace(self, name: str) -> float:
        """Return the learning rate of a tensor as a multiple of β."""
        return self.config.alpha_rate / self.config.learning_rate if name.startswith(LOG_ALPHA) else 1.0

    def gradient(self, step: int, tasks: range) -> tuple[Scalar, Params]:
        """Return the mean outer loss of some tasks and its gradient with respect to θ and the step sizes."""
        weights = step_weights(self.config, step)
        drawn = (self._draw(step, index) for index in tasks)
        groups = [list(drawn)] if self.config.vectorise else ([task] for task in drawn)
        return self.sums(self._outer(group, weights) * (len(group) / len(tasks)) for group in groups)

    def about(self, theta: Params) -> dict[str, Any]:
        """Return what the card says of weights after this stage."""
        config = self.config
        sizes: Any = config.test_alphas or (config.alpha,) * config.steps
        if config.learn_alpha:
            alphas = self.still | theta
            sizes = {name: tuple(alphas[LOG_ALPHA + name].exp().tolist()) for name in self.moved}
        elif len(self.moved) < len(list(self.network.parameters())):
            sizes = dict.fromkeys(self.moved, sizes)
        told = {
            "summary": f"{config.network.name} network, meta-trained for {config.steps} inner steps",
            "step_sizes": sizes,
            "subsample": only_subsampling(config),
            "crops": 0 if config.network.name == "paper" else CROPS,
        }
        if self._sizes_alone(theta):  # the network is as good as it was, where it was
            told["summary"] = f"{config.network.name} network as it was, with step sizes for {config.steps} inner steps"
            told |= {key: self.before[key] for key in KEPT if key in self.before}
        return told

    @staticmethod
    def _sizes_alone(theta: Params) -> bool:
        return all(name.startswith(LOG_ALPHA) for name in theta)

    def show(self, theta: Params, step: int) -> dict[str, Images]:
        """Return a task that the run does not see: son, low resolution, result before and after, truth."""
        task = self._draw(self.config.iterations + step, 0)
        kinds = ("1 son", "2 low resolution", "3 before adaptation", "4 after adaptation", "5 truth")
        pictures = (task.support.lr, task.query.lr, *self._results(theta, task), task.query.hr)
        return dict(zip(kinds, pictures, strict=True))

    def scores(self, theta: Params, index: int) -> Float[Tensor, " b"]:
        """Return the PSNR, after adaptation, of a task of held-out photographs."""
        task = self._draw(-1, index)
        result = self._results(theta, task)[1].clamp(0, 1)
        return psnr(result, task.query.hr, scale=task.query.degradation.scale)

    def _results(self, theta: Params, task: Task) -> tuple[Images, Images]:
        """Return what becomes of D_te before adaptation and after it."""
        weights, query = self._weights(theta), task.query
        after = descend(self.network, weights, task.support, self._alphas(theta)).thetas[-1]
        with torch.no_grad():
            before, result = (functional_call(self.network, w, (query.lr, query.degradation)) for w in (weights, after))
        return before, result

    def _outer(self, tasks: list[Task], weights: list[float]) -> Scalar:
        """Return the mean over tasks of Σ w_i L_te(θ_i)."""
        if not self.config.vectorise:
            return torch.stack([self._loss_after(task, weights) for task in tasks]).mean()
        # Everything that differs between tasks becomes a tensor with the task as its first axis
        rest = tasks[0].query.degradation
        rest = replace(rest, grid=phase(rest))  # one for all tasks; inside vmap no kernel has numbers to work it out
        stacked = [torch.stack([_tensors(task)[i] for task in tasks]) for i in range(len(_tensors(tasks[0])))]

        def one(*tensors: Tensor) -> Scalar:
            return self._loss_after(_task(tensors, rest), weights, functional=True)

        return vmap(one)(*stacked).mean()

    def _loss_after(self, task: Task, weights: list[float], *, functional: bool = False) -> Scalar:
        """Return Σ w_i L_te(θ_i) of one task; w_0 is that of θ itself."""
        outer, query = LOSSES[self.config.loss], task.query
        thetas = descend(
            self.network, self._weights(self.theta), task.support, self._alphas(self.theta)[: len(weights) - 1],
            order=self.config.order, loss=LOSSES["l1"], functional=functional,
        ).thetas  # fmt: skip
        losses = [
            weight * outer(functional_call(self.network, theta, (query.lr, query.degradation)), query.hr)
            for weight, theta in zip(weights, thetas, strict=True)
            if weight
        ]
        return torch.stack(losses).sum()

    def _alphas(self, theta: Params) -> list[StepSize]:
        """Return α of every step: numbers, or the tensors of every parameter that moves."""
        config = self.config
        if not config.learn_alpha:
            fixed = torch.tensor(config.alpha)
            return [dict.fromkeys(self.moved, fixed) for _ in range(config.steps)]
        alphas = self.still | theta
        return [{name: alphas[LOG_ALPHA + name][i].exp() for name in self.moved} for i in range(config.steps)]

    def _weights(self, theta: Params) -> Params:
        """Return all parameters of the network, those that stay as they are too."""
        return {name: tensor for name, tensor in (self.still | theta).items() if "/" not in name}

    def _draw(self, step: int, index: int) -> Task:
        """Draw a task; those of iteration -1 are of held-out photographs."""
        config = self.config
        generator = step_generator(config.seed, step, index)
        # Tasks that are computed at once must have one shape
        together = config.vectorise and step >= 0
        kind = draw_kind(config.law, step_generator(config.seed, step, -1) if together else generator)
        return draw_task(
            self.pictures if step >= 0 else self.held_out, config.law, config.batch, config.patch, generator,
            kind=kind, same_image=config.episodes == "same-image",
        )  # fmt: skip


def step_weights(config: MetaConfig, step: int) -> list[float]:
    """Return w_0 … w_K: weights of the outer loss before any inner step and after each.

    `annealed`: all start at 1 / K; each but the last falls linearly to 0.03 / K, by 1 / K in `anneal` iterations, and
    the last takes the rest. The authors' code means this and stays at `uniform`, since its step counter is not passed
    on; the paper's text has no numbers. `drawn`: one step by the seed, and no further inner step is taken, so that the
    list may end before K.

    Source: MAML++, section 4 (multi-step loss); repository of MZSR for the numbers.

    >>> [round(w, 3) for w in step_weights(MetaConfig(steps=5, weighting="annealed"), 100_000)]
    [0.0, 0.006, 0.006, 0.006, 0.006, 0.976]
    """
    count = config.steps
    if config.weighting == "last":
        return [config.zero_weight, *[0.0] * (count - 1), 1.0]
    if config.weighting == "drawn":
        drawn = int(torch.randint(count, (), generator=step_generator(config.seed, step, -2)))
        return [config.zero_weight, *[0.0] * drawn, 1.0]
    if config.weighting == "uniform":
        return [config.zero_weight, *[1 / count] * count]
    first = max(0.03 / count, 1 / count - step / config.anneal / count)
    return [config.zero_weight, *[first] * (count - 1), 1 - first * (count - 1)]


def _tensors(task: Task) -> tuple[Tensor, ...]:
    d, lr = task.query.degradation, task.query.lr
    return task.support.lr, task.support.hr, lr, task.query.hr, d.kernel, error_map(d, lr).flatten()


def _task(tensors: tuple[Tensor, ...], rest: Degradation) -> Task:
    son, father, lr, hr, kernel, error = tensors
    d = replace(rest, kernel=kernel, noise=error, jpeg=None)  # the networks see one error, whatever it comes from
    return Task(Pair(son, father, d), Pair(lr, hr, d))
