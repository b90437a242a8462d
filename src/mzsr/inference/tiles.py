"""Enhance a picture of any size in tiles that fit together exactly.

Every tile is enhanced together with a halo, which is cut away. The halo is everything that one output pixel can see:
the finite reach of kernels and convolutions (`network.reach`), and, for the data step's filter, which decays but never
ends, the distance at which it has decayed below `TAIL`.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import suppress

import torch
from torch.func import functional_call

from mzsr.card import ErrorLaw
from mzsr.errors import InputError
from mzsr.imaging.data_step import inverse_filter
from mzsr.imaging.degrade import Degradation, adjoint
from mzsr.inference.uncertainty import expected_error
from mzsr.learning.networks import Network
from mzsr.shapes import Images, Layers, Params

TILE = 384  # low-resolution pixels; larger ones save little halo and cost memory
SMALLEST_TILE = 32
TAIL = 1e-3  # of the filter's weight may lie beyond the halo; what it acts on there is a residual, itself below 0.1


def enhance(
    network: Network,
    theta: Params,
    lr: Images,
    d: Degradation,
    *,
    tile: int | None = None,
    error_law: ErrorLaw | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Layers:
    """Run a network over a picture, tile by tile.

    Args:
        network: f.
        theta: its parameters.
        lr: (1, 3, h, w).
        d: the degradation.
        tile: side of a tile without halo, low-resolution pixels; 0: the whole picture at once; None: TILE, halved as
            long as memory runs out.
        error_law: of `uncertainty`, to be told how far each pixel is likely to be off; the network has a head.
        progress: told the share that is done, 0 to 1.

    Returns:
        (1, 3, s h, s w), not clamped; with error_law (1, 4, s h, s w), below it the expected absolute error in 8-bit
        grey levels.

    Raises:
        InputError: memory ran out in tiles of the given side, or of the smallest.
    """
    side = TILE if tile is None else tile
    while True:
        try:
            return _enhance(network, theta, lr, d, side or max(lr.shape[2:]), error_law, progress)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if tile is not None or side <= SMALLEST_TILE:
                tried = f"tiles of {side} pixels" if side else "the whole picture at once"
                remedy = "close other programs" if side == SMALLEST_TILE else f"take tiles of {SMALLEST_TILE} pixels"
                raise InputError(
                    f"picture is {lr.shape[2]}x{lr.shape[3]}, and memory ran out with {tried}; {remedy} or crop it"
                ) from error
        side = max(side // 2, SMALLEST_TILE)


def halo(network: Network, d: Degradation) -> int:
    """Return how many low-resolution pixels around a tile its result depends on, a multiple of the network's grain."""
    pixels = network.reach(d) + sum(filter_reach(d, alpha) for alpha in network.alphas(d))
    return pixels + -pixels % network.grain


def filter_reach(d: Degradation, alpha: float, tail: float = TAIL) -> int:
    """Return the radius within which the data step's back-projected filter has all but `tail` of its weight.

    Measured for every degradation anew: Aᵀ (A Aᵀ + α)⁻¹ is applied to a single pixel, and the largest distance, in
    low-resolution pixels, is found beyond which the absolute values of a row and of a column sum to less than the tail.
    """
    response = torch.fft.fftshift(inverse_filter(d, alpha)).float()
    single = Degradation(d.kernel.reshape(-1, *d.kernel.shape[-2:])[0].float().cpu(), d.scale, d.subsample)
    spread = adjoint(response[None, None], single)[0, 0].abs()
    half = response.shape[0] // 2
    # Fold high resolution onto low-resolution distances, and both axes onto one
    profile = (spread.sum(0) + spread.sum(1)).reshape(-1, d.scale).sum(1) / 2
    profile = profile[half:] + torch.cat([profile[:1], profile[1:half].flip(0)])
    beyond = profile.flip(0).cumsum(0).flip(0) / profile.sum()  # beyond[r]: share at distance r and more
    return int((beyond > tail).sum())


def _enhance(
    network: Network, theta: Params, lr: Images, d: Degradation, tile: int, error_law: ErrorLaw | None,
    progress: Callable[[float], None],
) -> Layers:  # fmt: skip
    height, width = lr.shape[2:]
    tile += -tile % network.grain
    margin = 0 if tile >= max(height, width) else halo(network, d)
    result = lr.new_empty((lr.shape[0], lr.shape[1] + (error_law is not None), height * d.scale, width * d.scale))
    boxes = list(_boxes(height, width, tile))
    with torch.no_grad():
        for index, (top, bottom, left, right) in enumerate(boxes):
            outer = (
                max(0, top - margin),
                min(height, bottom + margin),
                max(0, left - margin),
                min(width, right + margin),
            )
            part = lr[:, :, outer[0] : outer[1], outer[2] : outer[3]]
            larger = _larger(network, theta, part, d, error_law)
            start_row, start_column = (top - outer[0]) * d.scale, (left - outer[2]) * d.scale
            rows, columns = (bottom - top) * d.scale, (right - left) * d.scale
            result[:, :, top * d.scale : bottom * d.scale, left * d.scale : right * d.scale] = larger[
                :, :, start_row : start_row + rows, start_column : start_column + columns
            ]
            del larger
            _give_back()
            progress((index + 1) / len(boxes))
    return result


def _larger(network: Network, theta: Params, lr: Images, d: Degradation, error_law: ErrorLaw | None) -> Layers:
    if error_law is None:
        return functional_call(network, theta, (lr, d))
    hr, log_var = network.with_log_var(lr, d, theta)
    return torch.cat([hr, expected_error(log_var, error_law)], 1)


def _boxes(height: int, width: int, tile: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield top, min(top + tile, height), left, min(left + tile, width)


def _give_back() -> None:
    """Hand freed memory back to the system; glibc keeps what lies between pieces in use, half a gigabyte in time."""
    with suppress(OSError, AttributeError, TypeError):  # other systems have no such function, and no such habit
        ctypes.CDLL(None).malloc_trim(0)


def _out_of_memory(error: Exception) -> bool:
    """Tell PyTorch's two ways of saying it: a class on accelerators, a sentence on CPUs."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
