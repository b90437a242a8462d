"""ZSSR: a network trained from nothing on the one picture that it is to enlarge.

    father = a part of the picture, smaller or as it is, turned;  son = degrade(father)
    θ ← Adam on |f(upsample(son); θ) - father|;  picture = median over turns of f(upsample(lr); θ)

What is small in a photograph recurs in it larger. The kernel is the camera's: a father that is smaller or turned is
another picture, and goes through the same degradation. `f` is the body of `networks.Paper` with its residual, but on
bicubic of the *right phase*: the published code enlarges on a shifted grid, and its weights have to shift back.

No tiles. Source: Shocher, Cohen, Irani, "Zero-shot super-resolution using deep internal learning", CVPR 2018.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import degrade, kernels
from mzsr.imaging.data_step import back_project
from mzsr.imaging.degrade import Degradation, upsample
from mzsr.imaging.resize import resize
from mzsr.inference.adapt import SMALLEST_SON
from mzsr.inference.ensemble import SYMMETRIES, ensemble
from mzsr.learning.losses import l1
from mzsr.learning.networks import Paper
from mzsr.shapes import Images

RATE, LAST_RATE = 1e-3, 9e-6  # Adam begins with the first, and ends where it would fall below the second
RATIO = 1.5  # the "factor" of the learning-rate policy
CHECK = 30  # iterations between two reconstructions of the picture, each of which costs about as much as one iteration
WINDOW = 8  # reconstruction errors in a fit; after each division of the rate it fills anew
COOL = 0.8  # of the iterations, after which a rate that was never divided is: few iterations are better so (ours)
RATIOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # sides of fathers against the picture's
BACK_PROJECTIONS = 10
LOUD = 2 / 255  # noise above which back-projection brings back more noise than detail

Picture = Float[Tensor, "1 3 _h _w"]


@dataclass(frozen=True)
class Zssr:
    """What became of a picture.

    Attributes:
        picture: (1, 3, s h, s w), in [0, 1].
        losses: mean absolute error of the picture rebuilt from its own son, every CHECK iterations, stage after stage.
        iterations: that were done, in all stages together.
        rates: learning rates in the order of their use.
    """

    picture: Picture
    losses: list[float]
    iterations: int
    rates: list[float]


def zssr(
    lr: Picture, d: Degradation, *, seed: int = 0, iterations: int = 3000, crop: int = 128, noise: float = 0.0,
    gradual: Sequence[int] = (), progress: Callable[[float], None] = lambda done: None,
) -> Zssr:  # fmt: skip
    """Train a network on a picture and enlarge the picture with it.

    Args:
        lr: (1, 3, h, w) in [0, 1].
        d: what happened to it, with one kernel.
        seed: of weights, crops and noise.
        iterations: at most, in each stage; fewer where the learning rate ends first.
        crop: side of a crop of a father, pixels; rounded down to a multiple of the scale.
        noise: standard deviation of the noise of sons, [0, 1] units, where it is above that of d. 0.0125 suits
            photographs of unknown noise: what does not recur in the picture is then not sharpened.
        gradual: scales to go through first, growing: (2,) before x4. Each has its own network, and its result is a
            father of the next.
        progress: told the share of the iterations that is done.

    Raises:
        InputError: a picture or a crop too small to have a son, or scales that do not grow.
    """
    scales = [*gradual, d.scale]
    if any(not 1 < low < high for low, high in pairwise(scales)):
        raise InputError(f"gradual scales are {list(gradual)}; they must grow, from 2 to less than {d.scale}")
    if min(*lr.shape[2:], crop) // d.scale < SMALLEST_SON:
        raise InputError(
            f"picture is {lr.shape[3]}x{lr.shape[2]} and crop {crop}; at x{d.scale} at least "
            f"{SMALLEST_SON * d.scale} pixels a side are required of both — choose a larger one"
        )
    generator = torch.Generator().manual_seed(seed)
    pictures, losses, rates, done = [lr], [], [], 0
    for index, scale in enumerate(scales):
        stage = replace(intermediate(d, scale), noise=max(float(d.noise), noise))
        network = _network(seed + index).to(lr.device)
        trained = train(
            network, fathers(pictures, lr, scale), stage, iterations, crop, generator,
            lambda part, index=index: progress((index + part) / len(scales)),
        )  # fmt: skip
        losses, rates, done = losses + trained[0], rates + trained[1], done + trained[2]
        pictures.append(enlarge(network, lr, stage))
    return Zssr(pictures[-1], losses, done, rates)


def train(
    network: Paper, family: Sequence[tuple[Picture, float]], d: Degradation, iterations: int, crop: int,
    generator: torch.Generator, progress: Callable[[float], None],
) -> tuple[list[float], list[float], int]:  # fmt: skip
    """Train a network, in place, on what `fathers` returns; return losses, rates and iterations, as in `Zssr`."""
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    truth = degrade.crop(family[0][0], d.scale)  # the picture itself
    son = degrade.degrade(truth, d)
    weights = torch.tensor([weight for _, weight in family])
    losses, rates, recent, done = [], [RATE], [], 0
    while done < iterations:
        index = int(torch.multinomial(weights, 1, generator=generator))
        father = random_crop(family[index][0], crop, d.scale, generator)
        optimiser.zero_grad()
        l1(forward(network, degrade.degrade(father, d, generator), d), father).backward()
        optimiser.step()
        done += 1
        divide = len(rates) == 1 and done == round(COOL * iterations)
        if done % CHECK == 0:
            with torch.no_grad():
                recent.append(float(l1(forward(network, son, d), truth)))
            losses.append(recent[-1])
            divide = divide or (len(recent) >= WINDOW and stalled(recent[-WINDOW:]))
            progress(done / iterations)
        if divide:
            if rates[-1] / 10 < LAST_RATE:
                break
            rates.append(rates[-1] / 10)
            optimiser.param_groups[0]["lr"], recent = rates[-1], []
    return losses, rates, done


def forward(network: Paper, lr: Images, d: Degradation) -> Images:
    """Return upsample(lr) + body(upsample(lr)), (B, 3, s h, s w), not clamped."""
    start = upsample(lr, d)
    return start + network.body(start.contiguous(memory_format=network.layout))[0]


@torch.no_grad()
def enlarge(network: Paper, lr: Picture, d: Degradation) -> Picture:
    """Enlarge in eight positions, back-project each, take the median, and back-project that; in [0, 1]."""
    steps = BACK_PROJECTIONS if float(d.noise) <= LOUD else 0

    def enhance(lr: Images, d: Degradation) -> Images:
        return back_project(forward(network, lr, d), lr, d, steps)

    return back_project(ensemble(enhance, lr, d, reduce="median"), lr, d, steps).clamp(0, 1)


def stalled(errors: Sequence[float]) -> bool:
    """Return whether errors have stopped falling, as far as their scatter lets one say: std > -RATIO · slope.

    The standard deviation is that of the *slope* of the least-squares line, √(Σ residual² / (n - 2) / Σ(t - t̄)²). The
    paper has "the standard deviation" alone; that of the residuals has other units, and would depend on the interval.

    >>> stalled([5.0, 4.0, 3.1, 2.0]), stalled([5.0, 4.0, 5.0, 4.5]), stalled([4.0, 4.1, 4.2])
    (False, True, True)
    """
    values, time = np.asarray(errors) - np.mean(errors), np.arange(len(errors)) - (len(errors) - 1) / 2
    slope = time @ values / (time @ time)
    residuals = values - slope * time
    deviation = math.sqrt(residuals @ residuals / (len(errors) - 2) / (time @ time))
    return bool(slope >= 0 or deviation > -RATIO * slope)


def fathers(pictures: Sequence[Picture], lr: Picture, scale: int) -> list[tuple[Picture, float]]:
    """Return every picture at every ratio that leaves it a son, with its weight: min(r, 1 / r) for r times lr's side.

    Source: ZSSR, section 3.1: the nearer the ratio is to 1, the more probable a father, being less synthetic.
    """
    found = []
    for picture, ratio in product(pictures, RATIOS):
        size, side = [round(ratio * length) for length in picture.shape[2:]], ratio * picture.shape[2] / lr.shape[2]
        if min(size) // scale >= SMALLEST_SON:
            father = resize(picture, size=(size[0], size[1])) if ratio < 1 else picture
            found.append((father, min(side, 1 / side)))
    return found


def random_crop(father: Picture, side: int, scale: int, generator: torch.Generator) -> Picture:
    """Return a random part of a father in a random one of its eight positions, sides multiples of the scale."""
    height, width = father.shape[2:]
    rows, columns = min(side, height) // scale * scale, min(side, width) // scale * scale
    choices = height - rows + 1, width - columns + 1, len(SYMMETRIES)
    top, left, turn = (int(torch.randint(count, (), generator=generator)) for count in choices)
    return SYMMETRIES[turn].turn(father[:, :, top : top + rows, left : left + columns])


def intermediate(d: Degradation, scale: int) -> Degradation:
    """Return what leads from the scene at a smaller scale to the same low-resolution picture.

    Seen in larger pixels the blur is smaller: a Gaussian of covariance r² Σ and centroid r times k's, r = scale / s.

    >>> half = intermediate(Degradation(kernels.gaussian((4.0, 4.0), size=25), 4), 2)
    >>> half.scale, kernels.covariance(half.kernel).diagonal().round(decimals=2).tolist()
    (2, [1.0, 1.0])
    """
    kernel, ratio = d.kernel.reshape(-1, *d.kernel.shape[-2:])[0], scale / d.scale
    if scale == d.scale:
        return replace(d, kernel=kernel)
    variances, theta = kernels.principal(kernels.covariance(kernel) * ratio**2)
    variances = variances.clamp(min=0.05)  # all but a single tap already
    row, column = (ratio * middle for middle in kernels.centroid(kernel))
    small = kernels.gaussians(variances, theta, size=kernel.shape[-1] + 2, offset=(row, column))
    return replace(d, kernel=small.to(kernel), scale=scale, grid=None)


def _network(seed: int) -> Paper:
    """Return a network with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Paper().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
