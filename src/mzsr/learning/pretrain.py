"""Large-scale training, θ_0 → θ_T: plain supervised learning over a law of degradations.

    minimise L(f(lr; θ), hr)

L is L1, what PSNR counts, or one of the losses of UDL in two steps. Step 1 (`eu`, `esu`) trains result and
log-variance s together. Step 2 (`udl`) starts from its weights and weighs every pixel by s of the *frozen* step 1,
which a state holds too, so that nothing but the state is needed to go on. Its ablations weigh by the error of the
frozen network or by the gradient of the truth.

Everything around this — optimiser, schedule, checkpoints, several processes — is in `loop`.

Source: MZSR, section 4.1; UDL for the two steps; the law of random kernels and the flagship's recipe are ours (LOG.md).
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from mzsr.card import Card
from mzsr.config import LossConfig, PretrainConfig
from mzsr.errors import InputError
from mzsr.imaging.metrics import psnr
from mzsr.learning.cards import INHERITED, only_subsampling, seen
from mzsr.learning.contract import HEAD, Network
from mzsr.learning.devices import check_compiler
from mzsr.learning.losses import LIKELIHOODS, LOSSES, gradient_map, relative, udl, uncertainty, weights
from mzsr.learning.networks import build
from mzsr.learning.objective import Objective
from mzsr.learning.patches import Pair, draw_pair, step_generator
from mzsr.learning.photographs import Photographs
from mzsr.learning.weights import like
from mzsr.shapes import Images, Params, Scalar

STEP_SIZES = (1e-2,)
"""Inner step sizes on the card of weights that were not meta-trained: the published first step of most models."""
CROPS = 1
"""Crops on the card of the flagship: before meta-training more of them gained nothing to speak of (LOG.md)."""


def step1_missing(loss: LossConfig) -> str:
    """Return what to say of a step 2 without its step 1.

    >>> step1_missing(LossConfig(name="error-map"))
    'loss error-map weighs by a network trained before; give --from FILE.safetensors'
    """
    if loss.name == "udl":
        return "loss udl weighs by the log-variance of step 1; give --from FILE.safetensors, trained with --loss esu"
    return f"loss {loss.name} weighs by a network trained before; give --from FILE.safetensors"


class Pretraining(Objective[PretrainConfig]):
    """The loss of a network on batches of the law.

    Attributes:
        step1: the frozen network that the weights of the loss come from; None where there is none.
    """

    def __init__(self, config: PretrainConfig, photographs: Photographs, device: torch.device) -> None:
        """Build the network of a configuration, from its seed alone."""
        super().__init__(config, photographs, device)
        self.step1: Network | None = None
        self._as_given: Params = {}
        self._notes: dict[str, Scalar] = {}
        heads = [name.startswith(HEAD) for name in self.theta]
        self._head_alone = all(heads)
        if config.loss.learns_log_var and not any(heads):
            raise InputError(
                f"loss {config.loss.name} trains a log-variance, and train is {list(config.train)}, which leaves its "
                f"head out; add {HEAD}*"
            )
        if self._head_alone and not config.loss.learns_log_var:
            raise InputError(
                f"train is {list(config.train)}, the log-variance head alone, which loss {config.loss.name} does not "
                "move; take --loss eu or esu"
            )
        if config.compile:  # data steps have complex numbers, and a Fourier transform is one call already
            check_compiler()
            for body in self.network.bodies():
                body.compile()

    def begin_from(self, path: str | Path) -> tuple[Network, Card]:
        """Copy the parameters of a weight file, and keep it as step 1 where the loss has one.

        Raises:
            InputError: another network or scale, or a step 1 without log-variance.
        """
        network, card = super().begin_from(path)
        if self.config.loss.needs_step1:
            if self.config.loss.name == "udl" and card.told_errors() is None:
                has = "no log-variance head" if network.variance is None else "a head that was not trained last"
                raise InputError(f"{path} has {has}; train step 1 with --loss esu")
            if strange := set(seen(self.config)) - set(card.scales):
                raise InputError(
                    f"{path} was trained at {', '.join(f'x{s}' for s in card.scales)}, this run needs its "
                    f"{'log-variance' if self.config.loss.name == 'udl' else 'error'} at x{min(strange)} too; "
                    "train step 1 at the same scales"
                )
            self._freeze({**dict(self.network.named_parameters()), **dict(network.named_parameters())})
        return network, card

    def fixed(self) -> dict[str, Params]:
        """Return what is not trained, and step 1, after a look whether it is still what was given.

        Raises:
            RuntimeError: somebody moved step 1.
        """
        if self.step1 is None:
            return super().fixed()
        frozen: Params = dict(self.step1.named_parameters())
        if moved := [name for name, tensor in frozen.items() if not torch.equal(tensor, self._as_given[name])]:
            raise RuntimeError(f"step 1 is frozen, and {moved[0]} has changed")
        return super().fixed() | {"step1": frozen}

    def recall(self, groups: dict[str, Params], earlier: tuple[dict[str, Any], ...]) -> None:
        """Take back what is not trained, and step 1."""
        super().recall(groups, earlier)
        if self.config.loss.needs_step1:
            self._freeze(groups["step1"])

    def notes(self) -> dict[str, Scalar]:
        """Return the mean log-variance, and the mean weight, by which the loss rescales the learning rate."""
        return self._notes

    def gradient(self, step: int, tasks: range) -> tuple[Scalar, Params]:
        """Return the mean loss of some batches and its gradient."""
        self._notes = {}

        def share(index: int) -> Scalar:
            loss, notes = self._loss(self._draw(step, index))
            for name, value in notes.items():
                self._notes[name] = self._notes.get(name, 0.0) + value.detach().mean() / len(tasks)
            return loss / len(tasks)

        return self.sums(map(share, tasks))

    def about(self, theta: Params) -> dict[str, Any]:
        """Return what the card says of weights after this stage."""
        name, loss = self.config.network.name, self.config.loss.name
        summary = f"{name} network after large-scale training{'' if loss == 'l1' else f' by {loss}'}, not meta-trained"
        crops = 0 if name == "paper" else CROPS
        told = {
            "summary": summary,
            "step_sizes": STEP_SIZES,
            "subsample": only_subsampling(self.config),
            "crops": crops,
        }
        if self._head_alone and "step_sizes" in self.before:  # the body adapts as it did, and is as good where it was
            told |= {key: self.before[key] for key in INHERITED if key in self.before}
            told["summary"] = f"{name} network as it was, with a head for the log-variance trained by {loss}"
        return told

    def show(self, theta: Params, step: int) -> dict[str, Images]:
        """Return a batch that the run does not see: low resolution, result and truth."""
        pair = self._draw(self.config.iterations + step, 0)
        return {"1 low resolution": pair.lr, "2 result": self._result(theta, pair), "3 truth": pair.hr}

    def scores(self, theta: Params, index: int) -> Float[Tensor, " b"]:
        """Return the PSNR of a batch of held-out photographs."""
        pair = self._draw(-1, index)
        return psnr(self._result(theta, pair).clamp(0, 1), pair.hr, scale=pair.degradation.scale)

    @torch.no_grad()
    def _result(self, theta: Params, pair: Pair) -> Images:
        return functional_call(self.network, theta, (pair.lr, pair.degradation))

    def _loss(self, pair: Pair) -> tuple[Scalar, dict[str, Images]]:
        """Return L of a batch, and the maps whose means are noted."""
        loss, lr, d = self.config.loss, pair.lr, pair.degradation
        if loss.learns_log_var:
            result, log_var = self.network.with_log_var(lr, d)
            return LIKELIHOODS[loss.name](result, pair.hr, log_var), {"log_var": log_var}
        result = self.network(lr, d)
        if loss.name in LOSSES:
            return LOSSES[loss.name](result, pair.hr), {}
        hardness, notes = self._hardness(pair)
        weight = weights(hardness, scaling=loss.scaling, offset=loss.offset, normalise=loss.normalise)
        return udl(result, pair.hr, weight), {**notes, "weight": weight}

    @torch.no_grad()
    def _hardness(self, pair: Pair) -> tuple[Images, dict[str, Images]]:
        """Return how hard every pixel is, by step 1 or by the truth."""
        if self.config.loss.name == "gradient-map":
            return relative(gradient_map(pair.hr)), {}
        if self.step1 is None:
            raise InputError(step1_missing(self.config.loss))
        if self.config.loss.name == "error-map":
            return relative((self.step1(pair.lr, pair.degradation) - pair.hr).abs()), {}
        log_var = self.step1.with_log_var(pair.lr, pair.degradation)[1]
        return uncertainty(log_var), {"log_var": log_var}

    @torch.no_grad()
    def _freeze(self, theta: Params) -> None:
        """Build step 1 with these parameters, of which a head that nobody asks for is left out."""
        with torch.random.fork_rng(devices=[]):
            step1 = build(self.config.network.model_copy(update={"log_var": self.config.loss.name == "udl"}))
        step1.requires_grad_(False).to(next(self.network.parameters()).device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        for name, parameter in step1.named_parameters():
            parameter.copy_(like(theta[name], parameter))
        step1.precision = self.network.precision
        self.step1 = step1
        self._as_given = {name: parameter.clone() for name, parameter in step1.named_parameters()}

    def _draw(self, step: int, index: int) -> Pair:
        """Draw a batch; those of iteration -1 are of held-out photographs."""
        generator = step_generator(self.config.seed, step, index)
        pictures = self.pictures if step >= 0 else self.held_out
        return draw_pair(pictures, self.config.law, self.config.batch, self.config.patch, generator)
