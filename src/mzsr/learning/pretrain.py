"""Large-scale training, θ_0 → θ_T: plain supervised learning over a law of degradations.

    minimise L(f(lr; θ), hr)

Everything around this line — optimiser, schedule, checkpoints, several processes — is in `loop`.

Source: MZSR, section 4.1; the law of random kernels and the flagship's recipe are ours (LOG.md).
"""

from typing import Any

import torch
from torch.func import functional_call

from mzsr.config import PretrainConfig
from mzsr.learning.cards import only_subsampling
from mzsr.learning.losses import LOSSES
from mzsr.learning.objective import Objective
from mzsr.learning.patches import Pair, draw_pair, step_generator
from mzsr.learning.photographs import Photographs
from mzsr.shapes import Images, Params, Scalar

STEP_SIZES = (1e-2,)
"""Inner step sizes on the card of weights that were not meta-trained: the published first step of most models."""
CROPS = 1
"""Crops on the card of the flagship: before meta-training more of them gained nothing to speak of (LOG.md)."""


class Pretraining(Objective):
    """The loss of a network on batches of the law."""

    def __init__(self, config: PretrainConfig, photographs: Photographs, device: torch.device) -> None:
        """Build the network of a configuration, from its seed alone."""
        self._config = config
        super().__init__(config, photographs, device)
        if config.compile:  # data steps have complex numbers, and a Fourier transform is one call already
            for body in self.network.bodies():
                body.compile()

    @property
    def config(self) -> PretrainConfig:
        """Return the configuration."""
        return self._config

    def gradient(self, step: int, tasks: range) -> tuple[Scalar, Params]:
        """Return the mean loss of some batches and its gradient."""
        total, sums = torch.zeros((), device=next(iter(self.theta.values())).device), []
        for index in tasks:
            pair = self._draw(step, index)
            loss = LOSSES[self.config.loss](self.network(pair.lr, pair.degradation), pair.hr) / len(tasks)
            gradient = torch.autograd.grad(loss, list(self.theta.values()))
            sums = [a + b for a, b in zip(sums, gradient, strict=True)] if sums else list(gradient)
            total += loss.detach()
        return total, dict(zip(self.theta, sums, strict=True))

    def about(self, theta: Params) -> dict[str, Any]:
        """Return what the card says of weights after this stage."""
        return {
            "summary": f"{self.config.network.name} network after large-scale training, not meta-trained",
            "step_sizes": STEP_SIZES,
            "subsample": only_subsampling(self.config),
            "crops": 0 if self.config.network.name == "paper" else CROPS,
        }

    def show(self, theta: Params, step: int) -> dict[str, Images]:
        """Return a batch that the run does not see: low resolution, result and truth."""
        pair = self._draw(self.config.iterations + step, 0)
        with torch.no_grad():
            result = functional_call(self.network, theta, (pair.lr, pair.degradation))
        return {"1 low resolution": pair.lr, "2 result": result, "3 truth": pair.hr}

    def _draw(self, step: int, index: int) -> Pair:
        generator = step_generator(self.config.seed, step, index)
        return draw_pair(self.pictures, self.config.law, self.config.batch, self.config.patch, generator)
