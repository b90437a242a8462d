"""What a picture went through: its blur kernel and its noise, told from its spectrum; nothing is trained.

Cuts windows, fits the spectra of the kernel families (`spectra`), and decides what to believe: the better family, or,
where the picture does not tell, a mild blur, and says so.

Knows nothing of files and networks. Takes a low-resolution picture, gives `upscale` a Degradation and a confidence.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.color import rgb_to_y
from mzsr.imaging.degrade import MAX_SCALE, Degradation, effective_kernel
from mzsr.inference import spectra
from mzsr.inference.spectra import WINDOW, Family
from mzsr.shapes import Images, Kernel

Grid = Literal["centre", "corner"]
BUDGET = 512  # windows per picture at most, which bounds the cost for any size; 100 score as well as 1024
TRUSTED = (
    0.3  # confidence below which the mild kernel loses less on average, small and noisy pictures of the train pack
)
MILD = 0.12  # x scale², variance of the kernel assumed where nothing is known: about a good lens and sensor
# How much worse the bicubic shrinking may fit and still be believed: missing one costs more than inventing one. Mean
# loss on the train pack at plain | g1.3 b | random Gaussian: 0.42 | 0.16 | 0.13 dB with 0, 0.23 | 0.10 | 0.18 with 10
MARGIN = 10.0
LUMA_POWER = 0.299**2 + 0.587**2 + 0.114**2  # of the luma of independent noise of power 1 in each of R, G, B


@dataclass(frozen=True)
class Estimate:
    """What a picture went through, as far as its spectrum tells.

    Attributes:
        degradation: the kernel on the requested grid, direct subsampling, and the noise.
        confidence: 0 (nothing could be seen) to 1.
        variances: (l1, l2) of the Gaussian part, l1 >= l2, pixels² of the high-resolution grid.
        theta: angle of l1 from the column axis towards the row axis, radians in [0, pi).
        noise: standard deviation per channel, [0, 1] units; what is beyond 8-bit rounding.
        fallback: whether the kernel is the mild one because the picture did not tell.
        note: the same in plain words.
    """

    degradation: Degradation
    confidence: float
    variances: tuple[float, float]
    theta: float
    noise: float
    fallback: bool
    note: str


def estimate(lr: Images, scale: int, *, grid: Grid = "centre") -> Estimate:
    """Estimate the blur kernel and the noise of a picture by a bounded spectral fit.

    Args:
        lr: (1, C, h, w) in [0, 1].
        scale: the factor by which the picture is to be enlarged, 1 to 8.
        grid: `centre`: a pixel sits in the middle of the s x s it stands for, as in photographs. A bicubic shrinking
            is then tried beside the Gaussian, and the better fit taken. `corner`: it sits on the first of them, as in
            the protocol of the MZSR paper.

    Returns:
        Always finite; for a flat, tiny or otherwise mute picture a mild kernel, `fallback` set and said in `note`.

    Raises:
        InputError: several pictures at once, values that are not finite, or a scale or grid that is none.

    >>> estimate(torch.full((1, 3, 64, 64), 0.5), 2).note
    'no trustworthy estimate (the picture is flat); a mild blur of variance 0.48 pixels² is assumed'
    """
    if lr.shape[0] != 1:
        raise InputError(f"{lr.shape[0]} pictures were given; estimate one at a time, for their kernels may differ")
    if grid not in ("centre", "corner"):
        raise InputError(f"grid is '{grid}'; it must be 'centre' or 'corner'")
    if not 1 <= scale <= MAX_SCALE:
        raise InputError(f"scale is {scale}; a degradation needs a whole number from 1 to {MAX_SCALE}")
    planes = _windows(lr)
    if not np.isfinite(planes).all():
        raise InputError("picture has values that are NaN or infinite; every value must be finite")
    if planes.shape[-1] < WINDOW:
        return _unknown(scale, grid, 0.0, 0.0, f"the picture is smaller than {WINDOW} pixels")
    *channels, quiet = spectra.quietest(planes).tolist()
    groups = spectra.contrast_groups(spectra.periodograms(planes[:, -1]))
    if not groups:
        return _unknown(scale, grid, 0.0, 0.0, "the picture is flat")
    rounding = spectra.ROUNDING * (LUMA_POWER if len(channels) == 3 else 1 / len(channels))
    family: Family = "gaussian"
    best = spectra.fit(groups, scale, family, quiet, rounding)
    if grid == "centre" and scale > 1:
        shrunk = spectra.fit(groups, scale, "bicubic", quiet, rounding)
        if shrunk.cost < best.cost + MARGIN:
            family, best = "bicubic", shrunk
    # The fit sees luma, where independent noise averages out and grey noise does not. What a channel has beyond luma in
    # the quietest places is the rest, and no more than independent noise would leave.
    seen = max(best.floor - rounding, 0.0)
    hidden = float(np.square(channels).mean()) - quiet**2 - (spectra.ROUNDING - rounding)
    noise = min(math.sqrt(seen + min(max(hidden, 0.0), seen * (1 / LUMA_POWER - 1))), 1.0)
    textured = sum(len(group) for group in groups)
    confidence = textured / (textured + 8) / (1 + (best.unsure / 0.25) ** 2)
    if confidence < TRUSTED:
        return _unknown(scale, grid, noise, confidence, "too little of the spectrum stands out of the noise")
    (l1, l2), kernel = best.variances, _kernel(best.variances, best.theta, scale, grid, family)
    words = "Gaussian blur and bicubic shrinking" if family == "bicubic" else "Gaussian blur"
    note = f"{words}, variances {l1:.2f} and {l2:.2f} pixels², noise {255 * noise:.1f}/255"
    return Estimate(Degradation(kernel, scale, noise=noise), confidence, (l1, l2), best.theta, noise, False, note)


def mild(scale: int, grid: Grid) -> Kernel:
    """Return the kernel to assume where nothing is known: a little blur, for too much of it does more harm."""
    variance = MILD * scale**2
    return _kernel((variance, variance), 0.0, scale, grid, "gaussian")


def _unknown(scale: int, grid: Grid, noise: float, confidence: float, why: str) -> Estimate:
    variance = MILD * scale**2
    note = f"no trustworthy estimate ({why}); a mild blur of variance {variance:.2f} pixels² is assumed"
    degradation = Degradation(mild(scale, grid), scale, noise=noise)
    return Estimate(degradation, confidence, (variance, variance), 0.0, noise, True, note)


def _kernel(variances: tuple[float, float], theta: float, scale: int, grid: Grid, family: Family) -> Kernel:
    """Build the effective kernel of a family on a grid."""
    # A bicubic shrinking brings the offset of the centre grid itself
    offset = (scale - 1) / 2 if grid == "centre" and family == "gaussian" else 0.0
    size = max(kernels.SIZE, 2 * math.ceil(3 * math.sqrt(max(variances)) + offset) + 1)  # 3 standard deviations
    kernel = kernels.gaussian(variances, theta, size=size, offset=(offset, offset))
    return effective_kernel(Degradation(kernel, scale, "bicubic" if family == "bicubic" else "direct"))


def _windows(lr: Images) -> spectra.Planes:
    """Cut windows spread evenly over the picture, by thirds of a window or by the budget; luma is their last plane."""
    height, width = lr.shape[2:]
    size = min(WINDOW, height, width)
    rows, columns = (max(3 * side // size - 2, 1) for side in (height, width))
    if rows * columns > BUDGET:
        rows = min(max(round(math.sqrt(BUDGET * height / width)), 1), rows, BUDGET)
        columns = min(max(BUDGET // rows, 1), columns)
    tops = np.linspace(0, height - size, rows).round().astype(int).tolist()
    lefts = np.linspace(0, width - size, columns).round().astype(int).tolist()
    cut = torch.stack([lr[0, :, y : y + size, x : x + size] for y in tops for x in lefts]).detach().cpu().double()
    # Luma on the full range, so that it is in the units of the channels
    luma = (255 * rgb_to_y(cut) - 16) / 219 if lr.shape[1] == 3 else cut.mean(1, keepdim=True)
    return torch.cat([cut, luma], dim=1).numpy()
