"""Enhance a picture of any size in tiles that fit together exactly.

Every tile is enhanced together with a halo, which is cut away. The halo is everything that one output pixel can see:
the finite reach of bicubic and of convolutions (`network.reach`), and, for the data steps, whose filters decay but
never end, the distance at which all of them together have decayed below `TAIL`.

What is finished of a large picture lies in a file, not in memory.
"""

import ctypes
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch.func import functional_call

from mzsr.card import ErrorLaw
from mzsr.errors import InputError
from mzsr.imaging.data_step import inverse_filter
from mzsr.imaging.degrade import Degradation, adjoint, effective_kernel
from mzsr.inference.uncertainty import expected_error
from mzsr.learning.devices import out_of_memory
from mzsr.learning.networks import Network
from mzsr.shapes import Images, Layers, Params

TILE = 384  # low-resolution pixels; of a large picture tiles of 512 take as long, and 230 MB more
WHOLE = 512  # sides up to this need no tiles: 1024x1024 results take 1.65 s instead of 2.24, and 270 MB more
SMALLEST_TILE = 32
LARGE = 512 << 20  # bytes of a result, 45 megapixels, from which it lies in a file
TAIL = 3e-4  # of the weight may lie beyond the halo; what it acts on there is a residual, itself below 0.1


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
        tile: side of a tile without halo, low-resolution pixels; 0: the whole picture at once; None: TILE, or the
            whole picture up to WHOLE, halved as long as memory runs out.
        error_law: of `uncertainty`, to be told how far each pixel is likely to be off; the network has a head.
        progress: told the share that is done, 0 to 1.

    Returns:
        (1, 3, s h, s w), not clamped; with error_law (1, 4, s h, s w), below it the expected absolute error in 8-bit
        grey levels.

    Raises:
        InputError: memory ran out in tiles of the given side, or of the smallest.
    """
    largest = max(lr.shape[2:])
    side = (largest if largest <= WHOLE else TILE) if tile is None else tile
    while True:
        try:
            return _enhance(network, theta, lr, d, side or largest, error_law, progress)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if tile is not None or side <= SMALLEST_TILE:
                tried = f"tiles of {side} pixels" if side else "the whole picture at once"
                remedy = "close other programs" if side == SMALLEST_TILE else f"take tiles of {SMALLEST_TILE} pixels"
                raise InputError(
                    f"picture is {lr.shape[3]}x{lr.shape[2]}, and memory ran out with {tried}; {remedy} or crop it"
                ) from error
        side = max(side // 2, SMALLEST_TILE)


def halo(network: Network, d: Degradation, *, log_var: bool = False) -> int:
    """Return how many low-resolution pixels around a tile its result depends on, a multiple of the network's grain."""
    pixels = network.reach(d, log_var=log_var) + steps_reach(d, network.alphas(d))
    return pixels + -pixels % network.grain


def steps_reach(d: Degradation, alphas: Sequence[float]) -> int:
    """Return the radius, low-resolution pixels, within which data steps in a row keep all but TAIL of their weight.

    A data step hands on a change of its prior by A, then (A Aᵀ + α)⁻¹, then Aᵀ. How far that goes along an axis is told
    by the absolute values of these, summed over the other axis, and of several steps in a row by the convolution of
    theirs. (The sum of their radii is two to four times as much: the farthest of each hardly ever come together.)

    Args:
        d: the degradation, measured anew for every one.
        alphas: the trust in the prior of every data step.
    """
    if not alphas:
        return 0
    single = Degradation(d.kernel.reshape(-1, *d.kernel.shape[-2:])[0].float().cpu(), d.scale, d.subsample)
    blur = effective_kernel(single).abs()
    responses = [torch.fft.fftshift(inverse_filter(single, alpha)).float() for alpha in alphas]
    spreads = [adjoint(response[None, None], single)[0, 0].abs() for response in responses]
    radii = []
    for axis in (0, 1):
        together = np.ones(1)
        for spread in spreads:
            for weights in (blur.sum(axis), spread.sum(axis)):
                together = np.convolve(together, (weights / weights.sum()).numpy())
        places = np.arange(len(together))
        distance = np.abs(places - round(float((places * together).sum())))
        beyond = np.bincount(distance, together)[::-1].cumsum()[::-1]  # beyond[r]: share at distance r and more
        radii.append(int((beyond > TAIL).sum()))
    return -(-max(radii) // d.scale)


def _enhance(
    network: Network, theta: Params, lr: Images, d: Degradation, tile: int, error_law: ErrorLaw | None,
    progress: Callable[[float], None],
) -> Layers:  # fmt: skip
    height, width = lr.shape[2:]
    tile += -tile % network.grain
    margin = 0 if tile >= max(height, width) else halo(network, d, log_var=error_law is not None)
    planes = lr.shape[1] + (error_law is not None)
    result = _room(lr, (lr.shape[0], planes, height * d.scale, width * d.scale))
    boxes = list(_boxes(height, width, tile, network.grain))
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


def _room(lr: Images, shape: tuple[int, ...]) -> Layers:
    """Return room for a result, as large as a file if it is LARGE: the system writes it out as it is filled.

    The file has no name and ends with the last who uses it, whatever ends the process. Where none can be had, on a full
    disk or another system, the result lies in memory.
    """
    size = 4 * math.prod(shape)
    if lr.device.type == "cpu" and lr.dtype == torch.float32 and size >= LARGE and hasattr(os, "posix_fallocate"):
        with suppress(OSError), tempfile.TemporaryFile(prefix="mzsr-") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a disk that is full later would end the process
            return torch.from_numpy(np.memmap(file, np.float32, "r+", shape=shape))
    return lr.new_empty(shape)


def _larger(network: Network, theta: Params, lr: Images, d: Degradation, error_law: ErrorLaw | None) -> Layers:
    if error_law is None:
        return functional_call(network, theta, (lr, d))
    hr, log_var = network.with_log_var(lr, d, theta)
    return torch.cat([hr, expected_error(log_var, error_law)], 1)


def _boxes(height: int, width: int, tile: int, grain: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield top, bottom, left and right of tiles that are nearly alike: slivers would be nothing but halo."""
    rows, columns = (_even(side, tile, grain) for side in (height, width))
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield top, min(top + rows, height), left, min(left + columns, width)


def _even(side: int, tile: int, grain: int) -> int:
    """Return the length, a multiple of the grain, of as many equal parts of a side as tiles of that size would need.

    >>> _even(400, 384, 2), _even(384, 384, 2), _even(101, 50, 2)
    (200, 384, 34)
    """
    length = -(-side // -(-side // tile))
    return length + -length % grain


def _give_back() -> None:
    """Hand freed memory back to the system; glibc keeps what lies between pieces in use, half a gigabyte in time."""
    with suppress(OSError, AttributeError, TypeError):  # other systems have no such function, and no such habit
        ctypes.CDLL(None).malloc_trim(0)
