"""The spectrum of a picture as the kernel estimator sees it: a picture of any size → a fixed number of logarithms.

A blur is written into the power spectrum of a picture, whatever the picture shows: power falls off faster, noise lies
below it as a floor, bicubic shrinking and boxes leave zeros. Windows are sorted by their contrast into groups, since
noise is what does not grow with contrast; each group has one mean periodogram.

Knows nothing of kernels. Takes a low-resolution picture, gives its features to `estimator`.

Source: periodograms after Welch (IEEE Transactions on Audio and Electroacoustics, 1967); the groups are ours.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mzsr.imaging.color import rgb_to_y
from mzsr.shapes import Images, Mask

WINDOW = 32  # pixels
BUDGET = 144  # windows of a picture at most, which bounds the cost for any size; training has seen as many
SHARES = (0.125, 0.375, 0.375, 0.125)  # of the windows in each group, the strongest contrast first
HALF = WINDOW // 2 + 1  # columns of a periodogram: the others repeat them
FEATURES = len(SHARES) * WINDOW * HALF + 5
QUIET = 0.05  # quantile of the windows at which there is little but noise
FEWEST = 4  # windows without a pixel that no camera took; where there are fewer, all are looked at
SMALL = 1e-7, 1e-3  # power and standard deviation far below those of 8-bit rounding, so that logarithms stay finite

Planes = Float[Tensor, "count planes n n"]


def features(lr: Images, error: float, untaken: Mask | None = None) -> Float[Tensor, " features"]:
    """Return what can be seen of blur and noise, about 0 ± 1 each.

    Args:
        lr: (1, 3, h, w) in [0, 1], at least WINDOW pixels a side.
        error: standard deviation of what JPEG took, [0, 1] units; 0 for none.
        untaken: see `windows`.

    Returns:
        (FEATURES,): log-periodograms of luma, one group after the other; then the logarithms of the noise of R, G and B
        where they are quietest and of `error`; then whether there was a JPEG at all.
    """
    planes = windows(lr, untaken=untaken)
    powers = periodograms(luma(planes))
    twice = torch.full((HALF,), 2.0).index_fill(0, torch.tensor([0, HALF - 1]), 1.0)  # columns that stand for two
    order = (powers * twice).mean((1, 2)).argsort(descending=True)
    ends = [round(len(order) * sum(SHARES[: group + 1])) for group in range(len(SHARES))]
    groups = [
        powers[order[min(first, len(order) - 1) : max(end, first + 1)]].mean(0)
        for first, end in zip([0, *ends], ends, strict=False)
    ]
    scalars = torch.cat([quietest(planes), torch.tensor([error])])
    told = torch.cat([(scalars + SMALL[1]).log(), torch.tensor([float(error > 0)])])
    return torch.cat([((torch.stack(groups) + SMALL[0]).log().flatten() + 9) / 3, (told + 5) / 2])


def turned(features: Float[Tensor, "*b features"], view: int) -> Float[Tensor, "*b features"]:
    """Return the features of the same picture seen another way: they are the same numbers in another order.

    Args:
        features: as `features` returns them.
        view: 0 as it is, 1 mirrored left to right, 2 transposed, 3 mirrored and then transposed.
    """
    count = len(SHARES) * WINDOW * HALF
    planes, told = features[..., :count].unflatten(-1, (len(SHARES), -1)), features[..., count:]
    return torch.cat([planes[..., _places(view)].flatten(-2), told], -1)


@lru_cache(maxsize=4)
def _places(view: int) -> Int[Tensor, " places"]:
    """Return where each frequency of a turned periodogram stands in the one before."""
    row, column = torch.meshgrid(torch.arange(WINDOW), torch.arange(HALF), indexing="ij")
    if view in (2, 3):
        row, column = column, row
    if view in (1, 3):
        column = -column
    # S(f) = S(-f): what lies in the half that is left out is found on the other side
    over = column % WINDOW >= HALF
    row, column = torch.where(over, -row, row) % WINDOW, torch.where(over, -column, column) % WINDOW
    return (HALF * row + column).flatten()


def windows(lr: Images, budget: int = BUDGET, untaken: Mask | None = None) -> Planes:
    """Cut windows spread evenly over a picture, by thirds of a window or by the budget.

    Args:
        lr: (1, C, h, w), at least WINDOW pixels a side.
        budget: how many at most.
        untaken: pixels that no camera took, and which have no noise: hidden ones, or a frame.
    """
    height, width = lr.shape[2:]
    rows, columns = (max(3 * side // WINDOW - 2, 1) for side in (height, width))
    if rows * columns > budget:
        rows = min(max(round(math.sqrt(budget * height / width)), 1), rows, budget)
        columns = min(max(budget // rows, 1), columns)
    tops = torch.linspace(0, height - WINDOW, rows).round().long().tolist()
    lefts = torch.linspace(0, width - WINDOW, columns).round().long().tolist()
    places = [(y, x) for y in tops for x in lefts]
    if untaken is not None:
        seen = [(y, x) for y, x in places if not untaken[0, 0, y : y + WINDOW, x : x + WINDOW].any()]
        places = seen if len(seen) >= FEWEST else places
    return torch.stack([lr[0, :, y : y + WINDOW, x : x + WINDOW] for y, x in places]).detach().float().cpu()


def luma(planes: Float[Tensor, "count channels rows columns"]) -> Float[Tensor, "count rows columns"]:
    """Return luma on the full range, so that it is in the units of the channels; of one channel, that."""
    if planes.shape[1] == 1:
        return planes[:, 0]
    return ((255 * rgb_to_y(planes) - 16) / 219)[:, 0]


def periodograms(planes: Float[Tensor, "count n n"]) -> Float[Tensor, "count n half"]:
    """Return the power spectra of Hann windows; white noise of variance v has power v at every frequency."""
    hann = torch.hann_window(WINDOW + 2, periodic=False)[1:-1]
    taper = torch.outer(hann, hann)
    mean = (planes * taper).sum((1, 2), keepdim=True) / taper.sum()
    return torch.fft.rfft2((planes - mean) * taper).abs().square() / taper.square().sum()


def quietest(planes: Planes) -> Float[Tensor, " planes"]:
    """Return the standard deviation of the noise of each plane where it is quietest: at most this.

    The finest Haar diagonal (a - b - c + d) / 2 of white noise has the standard deviation of the noise; texture adds
    to it even there.

    Source: Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994, on windows instead
    of the whole picture: the median over a picture full of texture measures the texture.
    """
    diagonal = planes[..., :-1, :-1] - planes[..., 1:, :-1] - planes[..., :-1, 1:] + planes[..., 1:, 1:]
    return torch.quantile((diagonal / 2).square().mean((2, 3)).sqrt(), QUIET, dim=0)
