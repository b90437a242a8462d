"""Meta-test: learn from the picture itself, θ_M → θ_image.

    son = degrade(father);  θ_i = θ_{i-1} - α_i ∇ |f(son; θ_{i-1}) - father|;  n times

The father is the given picture, the son what the same degradation makes of it. The descent is `inner.descend`; what
this file adds is which parts of the father to look at, so that the cost does not grow with the picture, and a guard.

Source: MZSR, algorithm 2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from mzsr.errors import InputError
from mzsr.imaging.color import is_grey
from mzsr.imaging.degrade import Degradation, crop, degrade
from mzsr.learning.devices import out_of_memory
from mzsr.learning.inner import descend, detach, schedule
from mzsr.learning.losses import l1
from mzsr.learning.networks import Network
from mzsr.learning.patches import Pair
from mzsr.shapes import Images, Params

CROP = 96  # side of a crop of the father, pixels: about as many as an episode of training has
SMALLEST_SON = 8  # pixels a side; below it a son is all border
MAX_STEPS = 100


@dataclass(frozen=True)
class Adapted:
    """What adaptation came to.

    Attributes:
        theta: the parameters to use.
        losses: mean absolute error on the son after 0, 1, …, n steps, in [0, 1] units.
        kept: how many of the steps `theta` has taken; less than n where the later ones did harm.
    """

    theta: Params
    losses: list[float]
    kept: int


def adapt(
    network: Network,
    theta: Params,
    lr: Images,
    d: Degradation,
    *,
    steps: int,
    step_sizes: Sequence[float] | Mapping[str, Sequence[float]],
    crops: int = 0,
    generator: torch.Generator | None = None,
) -> Adapted:
    """Descend on (son, father) and keep the parameters that explain the father best.

    Args:
        network: f.
        theta: θ_M.
        lr: the father, (1, 3, h, w).
        d: what happened to it, and happens to its son.
        steps: n, 0 to MAX_STEPS.
        step_sizes: α_1, α_2, …, for all tensors or for each; the last holds for all further steps.
        crops: how many of the most textured squares of the father to look at; 0 takes all of it, as published.
        generator: source of the noise of the son; without one the son is clean.

    Raises:
        InputError: a number of steps that is none, a picture too small to have a son, or too large for the memory.
    """
    check_steps(steps)
    theta = detach(theta)
    if steps == 0:
        return Adapted(theta, [], 0)
    pair = support(lr, d, crops, generator)
    try:
        descent = descend(network, theta, pair, schedule(step_sizes, steps))
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        whole = "the picture as a whole" if crops == 0 else f"{crops} squares of the picture"
        raise InputError(
            f"picture is {lr.shape[3]}x{lr.shape[2]}, and memory ran out while {whole} was learned from; take 0 steps, "
            "crop it, or take a model that looks at less, like mzsr"
        ) from error
    with torch.no_grad():
        last = l1(functional_call(network, descent.thetas[-1], (pair.lr, pair.degradation)), pair.hr)
    losses = [float(loss) for loss in (*descent.losses, last)]
    # The guard: a descent that ran away to NaN is never kept
    kept = min(range(steps + 1), key=lambda index: math.inf if math.isnan(losses[index]) else losses[index])
    return Adapted(descent.thetas[kept], losses, kept)


def check_steps(steps: int) -> None:
    """Raise InputError for a number of steps that nobody can want."""
    if not 0 <= steps <= MAX_STEPS:
        raise InputError(f"steps is {steps}; it must lie between 0 and {MAX_STEPS} — 1 is a good choice")


def support(lr: Images, d: Degradation, crops: int, generator: torch.Generator | None = None) -> Pair:
    """Return (son, father) for a picture, or for its most textured crops as a batch.

    Raises:
        InputError: the son would be smaller than SMALLEST_SON.
    """
    height, width = lr.shape[2:]
    if not has_son(lr, d.scale):
        raise InputError(
            f"picture is {width}x{height}; its son at x{d.scale} would be {width // d.scale}x{height // d.scale}, "
            f"at least {SMALLEST_SON}x{SMALLEST_SON} is required — take 0 steps (--mode fast)"
        )
    father = crop(textured_crops(lr, crops) if crops else lr, d.scale)
    if is_grey(father):  # then the noise of its son is grey, too
        return Pair(degrade(father[:, :1], d, generator).expand(-1, father.shape[1], -1, -1), father, d)
    return Pair(degrade(father, d, generator), father, d)


def has_son(lr: Images, scale: int) -> bool:
    """Tell whether a picture is large enough to be degraded once more at this scale."""
    return min(lr.shape[2:]) // scale >= SMALLEST_SON


def textured_crops(images: Images, count: int, side: int = CROP) -> Float[Tensor, "_n c _rows _columns"]:
    """Return the squares of a regular grid with the largest mean gradient, as a batch.

    Args:
        images: (1, C, H, W).
        count: how many; fewer where the grid has fewer.
        side: of a square, pixels; less where the picture is smaller.

    Returns:
        (n, C, rows, columns), the most textured first.
    """
    rows, columns = min(side, images.shape[2]), min(side, images.shape[3])
    tops = range(0, images.shape[2] - rows + 1, rows)
    lefts = range(0, images.shape[3] - columns + 1, columns)
    squares = [images[:, :, top : top + rows, left : left + columns] for top in tops for left in lefts]
    texture = [float(s.diff(dim=2).abs().mean() + s.diff(dim=3).abs().mean()) for s in squares]
    order = sorted(range(len(squares)), key=lambda index: -texture[index])
    return torch.cat([squares[index] for index in order[:count]])
