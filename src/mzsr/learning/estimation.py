"""Training of the kernel estimator: photographs → degraded samples → weights.

    minimise  mean ln(min(lost, 12) + 0.1) + 0.3 mean |ln noise error| + 0.1 mean |ln doubt error|

`lost` are the decibels of `estimator.decibels_lost`; their logarithm, since what counts is that most pictures lose
little, not that the hopeless ones lose a bit less. Samples are made once and kept, for a picture takes longer to
degrade than a network to learn from it; each is seen in all four ways of `spectrum.turned`.

Samples depend on (seed, index) alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade, effective_kernel, informed
from mzsr.imaging.jpeg import Chroma, Jpeg, tables
from mzsr.imaging.random_kernels import random_kernels
from mzsr.imaging.resize import resize
from mzsr.learning.estimator import HEADS, NOISE_FLOOR, Estimator, Grid, decibels_lost, response, turned_response
from mzsr.learning.patches import step_generator
from mzsr.learning.photographs import Photograph
from mzsr.learning.spectrum import WINDOW, features, turned
from mzsr.shapes import Kernel, Params, Scalar

SHARES = (0.06, 0.46, 0.14, 0.08, 0.02, 0.16, 0.08)  # of the samples at each of HEADS: photographs at x2 above all
FAMILIES = {"gaussian": 0.42, "perturbed": 0.22, "disk": 0.12, "box": 0.1, "motion": 0.14}
VARIANCE = 0.02, 1.25  # x scale², of kernels, log-uniform; half of it where bicubic shrinking blurs as well
BICUBIC, PLAIN = 0.35, 0.4  # share of bicubic shrinking on the centre grid, and of those that were not blurred before
NOISY, NOISE = 0.4, 12 / 255  # share with noise, and its largest standard deviation
PACKED, QUALITY = 0.35, (40, 97)  # share of JPEG, and its lowest and highest quality
SHRUNK, SMALLEST = 0.35, 0.5  # share of pictures that are made smaller first, for sharper ones, and how far
LEAST = math.ceil(WINDOW * max(scale for scale, _ in HEADS) / SMALLEST)  # pixels a side of a photograph
SIDES = 64, 96, 128, 160, 192  # of the degraded pictures, pixels
RATE, WARMUP, BATCH = 3e-3, 100, 128


@dataclass(frozen=True)
class Sample:
    """One degraded picture as the estimator sees it, and the truth.

    Attributes:
        head: its scale and grid, an index of HEADS.
        features: of `spectrum.features`.
        response: of the effective kernel, around the centre of the grid.
        noise: standard deviation, [0, 1] units.
        error: what JPEG took, estimated as it will be.
    """

    head: int
    features: Float[Tensor, " features"]
    response: Complex[Tensor, "f f"]
    noise: float
    error: float


def draw_sample(pictures: Sequence[Photograph], seed: int, index: int) -> Sample:
    """Cut a part of a photograph, turn it, degrade it, and look at its spectrum.

    Args:
        pictures: photographs of at least LEAST pixels a side; a smaller one would be enlarged, and blurred by that.
        seed: of all samples.
        index: of this one.
    """
    generator = step_generator(seed, index)

    def uniform(low: int | float, high: int | float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    def choose(shares: Sequence[float]) -> int:
        return int(torch.multinomial(torch.tensor(shares), 1, generator=generator))

    head = choose(SHARES)
    scale, grid = HEADS[head]
    photograph = pictures[choose([1.0] * len(pictures))]
    share = uniform(SMALLEST, 0.95) if uniform(0, 1) < SHRUNK else 1.0
    side = scale * SIDES[choose([1.0] * len(SIDES))]
    height, width = (max(min(side, int(length * share)) // scale, WINDOW) * scale for length in photograph.shape[1:])
    rows, columns = (
        min(math.ceil(length / share), limit)
        for length, limit in zip((height, width), photograph.shape[1:], strict=True)
    )
    top, left = round(uniform(0, photograph.shape[1] - rows)), round(uniform(0, photograph.shape[2] - columns))
    hr = photograph[None, :, top : top + rows, left : left + columns].float() / 255
    hr = hr if hr.shape[2:] == (height, width) else resize(hr, size=(height, width)).clamp(0, 1)
    hr = torch.rot90(hr, choose([1.0] * 4), (2, 3))
    hr = hr.flip(3) if uniform(0, 1) < 0.5 else hr
    shrinking = grid == "centre" and scale > 1 and uniform(0, 1) < BICUBIC
    kernel = _draw_kernel(scale, grid, shrinking, list(FAMILIES)[choose(list(FAMILIES.values()))], uniform, generator)
    noise = uniform(0, NOISE) if uniform(0, 1) < NOISY else 0.0
    jpeg = None
    if uniform(0, 1) < PACKED:
        chroma: Chroma = "4:2:0" if uniform(0, 1) < 2 / 3 else "4:4:4"
        jpeg = Jpeg(tables(round(uniform(*QUALITY))), chroma, (choose([1.0] * 16), choose([1.0] * 16)))
    d = Degradation(kernel, scale, "bicubic" if shrinking else "direct", noise, jpeg)
    lr = (degrade(hr, d, generator if noise else None).clamp(0, 1) * 255).round() / 255
    told = informed(d, lr).jpeg
    error = 0.0 if told is None else float(told.error)
    true = response(effective_kernel(d)[None], (scale - 1) / 2 * (grid == "centre"))[0]
    return Sample(head, features(lr, error), true, noise, error)


def _draw_kernel(
    scale: int, grid: Grid, shrinking: bool, family: str, uniform: Callable[[float, float], float],
    generator: torch.Generator,
) -> Kernel:  # fmt: skip
    if shrinking and uniform(0, 1) < PLAIN:
        return kernels.delta()
    offset = 0.0 if shrinking or grid == "corner" else (scale - 1) / 2
    low, high = (bound * scale**2 / (2 if shrinking else 1) for bound in VARIANCE)
    size = 12 * scale + 1  # five standard deviations of the widest and more
    return random_kernels(family, 1, variance=(low, high), size=size, offset=(offset, offset), generator=generator)[0]


@dataclass(frozen=True)
class Samples:
    """Samples of one head, stacked."""

    features: Float[Tensor, "n features"]
    responses: Complex[Tensor, "n f f"]
    noise: Float[Tensor, " n"]
    error: Float[Tensor, " n"]

    def __getitem__(self, chosen: Int[Tensor, " m"]) -> "Samples":
        """Return some of them."""
        return Samples(self.features[chosen], self.responses[chosen], self.noise[chosen], self.error[chosen])


def stack(samples: Sequence[Sample]) -> dict[int, Samples]:
    """Sort samples by their heads."""
    return {
        head: Samples(
            torch.stack([s.features for s in mine]),
            torch.stack([s.response for s in mine]),
            torch.tensor([s.noise for s in mine]),
            torch.tensor([s.error for s in mine]),
        )
        for head in sorted({s.head for s in samples})
        if (mine := [s for s in samples if s.head == head])
    }


def losses(
    network: Estimator, samples: Samples, head: int, view: int = 0, level: Callable[[Tensor], Tensor] = lambda x: x
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return decibels lost, and how far off the logarithms of noise and doubt are, of samples seen one way."""
    scale, grid = HEADS[head]
    found, noise, doubt = network(level(turned(samples.features, view)), scale, grid)
    together = torch.hypot(samples.noise, samples.error)
    lost = decibels_lost(found, turned_response(samples.responses, view), scale, together)
    wanted = (samples.noise + NOISE_FLOOR).log(), (lost.detach() + 0.05).log()
    return lost, (noise - wanted[0]).abs(), (doubt - wanted[1]).abs()


def fit(
    network: Estimator, samples: dict[int, Samples], steps: int, seed: int,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Params:  # fmt: skip
    """Train a network on samples; return the moving average of its parameters.

    Features are brought to mean 0 and standard deviation 1 while it learns, and the first layers take that over.
    """
    generator = step_generator(seed, -1)
    everything = torch.cat([part.features for part in samples.values()])
    mean, deviation = everything.mean(0), everything.std(0) + 1e-2
    del everything
    heads, shares = list(samples), torch.tensor([float(len(part.noise)) for part in samples.values()])
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    average = {name: p.detach().clone() for name, p in network.named_parameters()}
    for step in range(steps):
        rate = 0.02 + 0.49 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * rate
        total: Scalar = torch.zeros(())
        for head in (heads[i] for i in torch.multinomial(shares, 2, True, generator=generator).tolist()):
            chosen = torch.randint(len(samples[head].noise), (BATCH,), generator=generator)
            view = int(torch.randint(4, (), generator=generator))
            batch = samples[head][chosen]
            lost, noise, doubt = losses(network, batch, head, view, lambda x: (x - mean) / deviation)
            total = total + (lost.clamp(max=12) + 0.1).log().mean() + 0.3 * noise.mean() + 0.1 * doubt.mean()
        optimiser.zero_grad()
        total.backward()
        clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(0.995, step / (step + 10))
        for name, parameter in network.named_parameters():
            average[name].lerp_(parameter.detach(), 1 - decay)
        progress(step + 1, float(total.detach()))
    for name in ("first", "short"):
        average[f"{name}.weight"] = average[f"{name}.weight"] / deviation
    average["first.bias"] = average["first.bias"] - average["first.weight"] @ mean
    average["covariance.bias"] = average["covariance.bias"] - average["short.weight"] @ mean
    return average
