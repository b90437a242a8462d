"""MATLAB-compatible bicubic resizing that knows the phase of the grid.

Equals MATLAB's `imresize(…, 'bicubic')`: a = -1/2, the kernel stretched when shrinking, half-sample symmetric borders.
Beyond it, `phase` says where the first input pixel lies on the output grid, which is what an upsampler must know when
the low-resolution picture was made by keeping every s-th pixel.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging.borders import mirrored
from mzsr.shapes import Images

Window = tuple[int, int, int, int]  # top, bottom, left and right: rows and columns of a part, the ends not in it


def resize(
    images: Images,
    *,
    scale: int | float | None = None,
    size: tuple[int, int] | None = None,
    phase: tuple[int | float, int | float] | None = None,
    window: Window | None = None,
) -> Images:
    """Resize by bicubic interpolation, antialiased when shrinking.

    Output pixel j takes its value at input coordinate u = (j - phase) / scale, so input pixel i lies on output pixel
    scale * i + phase. Centre-aligned resizing, MATLAB's, is phase = (scale - 1) / 2, the default.

    Args:
        images: (B, C, H, W).
        scale: output pixels per input pixel, > 0. Left out: the ratio of the sizes, for each axis.
        size: (height, width) of the output. Left out: ceil(scale * H), ceil(scale * W), as MATLAB does.
        phase: (row, column) of input pixel (0, 0) on the output grid, in output pixels.
        window: the part of the output that is wanted, to the bit what it is in the whole; left out: all of it.

    Returns:
        (B, C, *size), or as large as the window.

    Raises:
        InputError: neither scale nor size is given, or one is not positive.

    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981; MATLAB imresize.

    >>> resize(torch.full((1, 1, 3, 5), 0.25), scale=2.0).unique().tolist()
    [0.25]
    """
    if scale is None and size is None:
        raise InputError("resize got neither scale nor size; give one of them")
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}; floats in [0, 1] are required — divide 8-bit ones by 255")
    height, width = images.shape[2:]
    if scale is not None and not 0 < scale < math.inf:
        raise InputError(f"scale is {scale}; it must be a number above 0")
    if size is None:
        assert scale is not None
        # An inexact product such as 1.1 * 50 must not add a row that MATLAB has not
        size = (math.ceil(scale * height - 1e-9), math.ceil(scale * width - 1e-9))
    if min(size) < 1:
        raise InputError(f"output size is {size[0]}x{size[1]}; both sides must be at least 1 pixel")
    top, bottom, left, right = window or (0, size[0], 0, size[1])
    for axis, part in enumerate((slice(top, bottom), slice(left, right))):
        ratio = scale if scale is not None else size[axis] / (height, width)[axis]
        start = phase[axis] if phase is not None else (ratio - 1) / 2
        # Rows are gathered three times faster than columns, so that columns take their turn as rows
        images = _resize_rows(images.contiguous(), size[axis], ratio, start, part).transpose(2, 3)
    return images.contiguous()


def _resize_rows(images: Images, length: int, scale: int | float, phase: int | float, part: slice) -> Images:
    """Make a part of `length` rows as a sum of weighted gathers: as many as the kernel has taps."""
    gathers, weights = _taps(images.shape[2], length, scale, phase, images.dtype, images.device)
    result = images.index_select(2, gathers[0][part]) * weights[0][part]
    for rows, weight in zip(gathers[1:], weights[1:], strict=True):
        result = torch.addcmul(result, images.index_select(2, rows[part]), weight[part])
    return result


@lru_cache(maxsize=64)  # training asks for the same few thousands of times, and an accelerator would wait for each
@torch.inference_mode(False)  # else training could not use what an estimate made
def _taps(
    rows: int, length: int, scale: int | float, phase: int | float, dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return, for every tap, which rows it takes, mirrored where there are none, and its weights, (length, 1)."""
    stretch = min(scale, 1.0)
    taps = math.ceil(4 / stretch)
    position = (torch.arange(length, dtype=torch.float64) - phase) / scale
    first = torch.floor(position - 2 / stretch).long() + 1
    distance = position[:, None] - (first[:, None] + torch.arange(taps))
    weights = _cubic(distance * stretch)
    weights = (weights / weights.sum(1, keepdim=True)).to(device, dtype)[..., None]  # (length, taps, 1)
    return tuple(mirrored(first + tap, rows).to(device) for tap in range(taps)), weights.unbind(1)


def _cubic(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Evaluate Keys' cubic with a = -1/2, of support [-2, 2]."""
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def stretched_cubic(scale: int) -> tuple[Float[Tensor, " taps"], int]:
    """Return bicubic shrinking by an integer scale as a correlation: its 4 s taps and where they begin.

    Output pixel i is the sum over t of taps[t] * input[s * i + first + t], away from the border. This is what turns
    bicubic subsampling into direct subsampling with another kernel.

    Returns:
        The taps, (4 s,), float64, summing to 1, and `first`, the offset of the first of them in input pixels.
    """
    centre = (scale - 1) / 2
    first = math.floor(centre - 2 * scale) + 1
    taps = _cubic((torch.arange(4 * scale, dtype=torch.float64) + first - centre) / scale)
    return taps / taps.sum(), first
