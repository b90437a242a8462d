"""Colours under transparency: what a picture would show where nobody can see it.

Files put anything there, black mostly. A network that looks across an edge of alpha would carry it into what is seen,
as a dark or coloured seam; so hidden pixels take the colours of the nearest visible ones first.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from mzsr.shapes import Images

_TINY = 1e-6  # of a weight: no 16-bit alpha but 0 lies below it


def bleed(pixels: Images, alpha: Float[Tensor, "b 1 _h _w"] | None) -> Images:
    """Give pixels that are wholly transparent the colours of the visible ones around them.

    Colours are averaged, weighted by alpha, over squares of 2, 4, 8, … pixels, and a hidden pixel takes the mean of the
    smallest square that holds something visible. Visible pixels stay as they are, bit for bit.

    Args:
        pixels: (B, C, H, W).
        alpha: opacity in [0, 1], or None for pictures without.

    Returns:
        (B, C, H, W); the pictures themselves where nothing or everything is hidden.

    Source: the "push-pull" of Gortler et al., "The lumigraph", SIGGRAPH 1996, section 3.4.

    >>> bleed(torch.tensor([[[[0.75, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]]])).tolist()
    [[[[0.75, 0.75]]]]
    """
    if alpha is None or bool((alpha > 0).all()) or not bool((alpha > 0).any()):
        return pixels
    return torch.where(alpha > 0, pixels, _fill(pixels * alpha, alpha))


def settled(large: Images, alpha: Images, scale: int, phase: tuple[float | int, float | int]) -> Images:
    """Return an enlarged alpha that is even where the small one is: in squares of 3x3 pixels of one value.

    What undoes the blur of a photograph leaves rings around a mask that was drawn over it afterwards.

    Args:
        large: (B, 1, s H, s W).
        alpha: what it was made of, (B, 1, H, W).
        scale: s.
        phase: where the first small pixel lies on the large grid, (row, column), see `degrade.phase`.

    >>> settled(torch.rand(1, 1, 8, 8), torch.ones(1, 1, 4, 4), 2, (0.5, 0.5)).unique()
    tensor([1.])
    """
    around = pad(alpha, (1, 1, 1, 1), mode="replicate")
    even = max_pool2d(around, 3, stride=1) == -max_pool2d(-around, 3, stride=1)
    for axis in (2, 3):
        at = (torch.arange(large.shape[axis], device=alpha.device) - phase[axis - 2]) / scale
        below, above, nearest = (
            each.long().clamp(0, alpha.shape[axis] - 1) for each in (at.floor(), at.ceil(), at.round())
        )
        even = even.index_select(axis, below) & even.index_select(axis, above)
        alpha = alpha.index_select(axis, nearest)
    return torch.where(even, alpha, large)


def _fill(weighted: Images, weight: Float[Tensor, "b 1 _h _w"]) -> Images:
    """Return weighted / weight where there is weight, and what coarser squares say where there is none."""
    height, width = weight.shape[2:]
    if bool((weight > _TINY).all()) or max(height, width) == 1:
        return weighted / weight.clamp(min=_TINY)
    even = (0, width % 2, 0, height % 2)
    halved = [avg_pool2d(pad(plane, even), 2) for plane in (weighted, weight)]
    peak = halved[1].clamp(min=_TINY)  # or weights would fade away, a quarter for every halving
    coarse = _fill(halved[0] / peak * (halved[1] > _TINY), (halved[1] > _TINY).to(weight))
    larger = _doubled(_doubled(coarse, 2), 3)[:, :, :height, :width]
    return torch.where(weight > _TINY, weighted / weight.clamp(min=_TINY), larger)


def _doubled(planes: Images, axis: int) -> Images:
    """Return planes with twice as many rows or columns, in between linearly.

    As `interpolate` does, whose last bit depends on the number of threads.
    """
    here = torch.arange(planes.shape[axis], device=planes.device)
    before, after = (planes.index_select(axis, (here + step).clamp(0, len(here) - 1)) for step in (-1, 1))
    return torch.stack([(3 * planes + before) / 4, (3 * planes + after) / 4], axis + 1).flatten(axis, axis + 1)
