"""What was given → a picture, and what it is taken to have gone through: enlargement, kernel, noise and JPEG."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.degrade import Degradation, Sampling, sampled
from mzsr.imaging.jpeg import Jpeg
from mzsr.imaging.picture import Picture, from_array, from_pil, untaken, visible
from mzsr.inference.compression import compression
from mzsr.inference.enlargement import brought_back, enlargement, scale_from_detail, shrunk
from mzsr.inference.estimate import Estimate, estimate
from mzsr.inference.result import Input
from mzsr.shapes import Images

SMALLEST = 8  # pixels a side of a picture; below it there is more border than picture
KernelInput = str | Path | np.ndarray | Tensor


@dataclass(frozen=True)
class Intake:
    """A picture that is ready to be enlarged.

    Attributes:
        picture: it, at the size whose detail it holds if it was enlarged before.
        rgb: its colours on the device of the work, grey as three, (1, 3, h, w).
        degradation: what it is taken to have gone through, on the same device; it knows the whole scale to work at.
        estimate: where the kernel comes from, or None where it was given.
        before: how many times larger it had been made than its detail; 1: not at all.
        back: whether it was brought back to that.
    """

    picture: Picture
    rgb: Images
    degradation: Degradation
    estimate: Estimate | None
    before: float
    back: bool


def read(image: Input, max_pixels: int) -> Picture:
    """Return the picture in whatever was given, nothing hidden under transparency.

    Raises:
        InputError: it is of another kind or shape, damaged, too large, or smaller than SMALLEST.
    """
    if isinstance(image, str | Path):
        picture = files.read(image, max_pixels=max_pixels)
    elif isinstance(image, np.ndarray):
        picture = from_array(image)
    elif isinstance(image, Image.Image):
        fresh = bool(getattr(image, "tile", ())) and not getattr(image, "decoderconfig", ())
        try:
            picture = from_pil(image)
        except InputError:
            raise
        except files.DAMAGE as error:
            why = " ".join(str(error).split())
            raise InputError(f"the picture cannot be decoded ({why}); a whole one is required") from error
        if not fresh:  # a JPEG that pillow made smaller in place keeps its tables; pixels tell whether they still hold
            picture = replace(picture, metadata=replace(picture.metadata, jpeg_tables=None, jpeg_sampling=None))
    elif not isinstance(image, Tensor):
        raise InputError(f"picture is a {type(image).__name__}; give a path, an array, a PIL image or a tensor")
    elif image.ndim != 4 or image.shape[0] != 1 or image.shape[1] not in (1, 3) or not image.is_floating_point():
        raise InputError(f"tensor is {tuple(image.shape)} of {image.dtype}; floats (1, 3 or 1, H, W) are required")
    else:
        picture = from_array(image.detach().float().cpu()[0].movedim(0, 2).numpy())
    check_sides(*picture.pixels.shape[2:])
    return visible(picture)  # before anything looks at it


def check_sides(height: int, width: int) -> None:
    """Raise InputError for a picture with a side below SMALLEST."""
    if min(height, width) < SMALLEST:
        raise InputError(
            f"picture is {width}x{height}; at least {SMALLEST}x{SMALLEST} pixels are required — choose a larger one"
        )


def take_in(
    picture: Picture, factor: float, *, kernel: KernelInput, subsample: Sampling | None,
    noise: float | int | Literal["auto"], jpeg: Literal["auto", "off"], enlarged: Literal["auto", "off"],
    device: torch.device,
) -> Intake:  # fmt: skip
    """Find out what a picture went through, but for what is given.

    Args:
        picture: as `read` returns it.
        factor: how many times larger it is to become.
        kernel: this and the next four as `Upscaler` has them.
        subsample: how it was made smaller.
        noise: standard deviation in [0, 1] units, or `auto`.
        jpeg: whether JPEG is looked for.
        enlarged: whether an earlier enlargement is.
        device: where the work will be done.

    Raises:
        InputError: a kernel that cannot be read, or that is larger than the enlarged picture.
    """
    before = enlargement(picture.pixels) if enlarged == "auto" else 1.0
    # What is said of the picture as it is does not hold for a smaller one
    back = named(kernel, "auto") and noise == "auto" and brought_back(factor, before, subsample)
    packed = compression(picture) if jpeg == "auto" and not back else None
    picture = shrunk(picture, before) if back else picture
    rgb = picture.pixels.expand(-1, 3, -1, -1)
    scale = scale_from_detail(factor, before) if back else whole_scale(factor)
    d, told = _degradation(picture, scale, kernel, subsample, noise, packed)
    told = told and replace(told, enlarged=before)
    return Intake(picture, rgb.to(device), d.to(device), told, before, back)


def whole_scale(factor: float) -> int:
    """Return the whole scale from which a factor is reached."""
    return max(1, math.ceil(factor - 1e-9))


def _degradation(
    picture: Picture, scale: int, kernel: KernelInput, subsample: Sampling | None,
    noise: float | int | Literal["auto"], jpeg: Jpeg | None,
) -> tuple[Degradation, Estimate | None]:  # fmt: skip
    """Return what the picture went through, and the estimate if the kernel is from it."""
    told = None
    if named(kernel, "auto") or noise == "auto":
        grid = "corner" if subsample == "direct" else "centre"
        told = estimate(picture.pixels, scale, grid=grid, jpeg=jpeg, untaken=untaken(picture))
    level = float(told.noise if noise == "auto" and told else noise)
    if named(kernel, "auto") and told:
        return replace(told.degradation, noise=level), told
    taps = kernel_files.parse(str(kernel)) if isinstance(kernel, str | Path) else kernels.check(_taps(kernel))
    sampling = sampling_of(kernel, subsample)
    rows = min(picture.pixels.shape[2:]) * scale
    if taps.shape[0] > rows:
        raise InputError(
            f"kernel is {taps.shape[0]}x{taps.shape[0]}, larger than the enlarged picture, whose shorter side is "
            f"{rows}; give a smaller kernel or a larger picture"
        )
    return sampled(taps, scale, sampling, level, jpeg), None


def check_kernel(kernel: object) -> None:
    """Raise InputError for what can be no kernel, whatever the picture."""
    if not isinstance(kernel, str | Path | np.ndarray | Tensor):
        raise InputError(f"kernel is {kernel!r}; 'auto', text like gauss:2.0, a file, an array or a tensor is required")


def sampling_of(kernel: KernelInput, subsample: Sampling | None) -> Sampling:
    """Return how a picture was made smaller by a kernel that is given: as is said, or as is usual for it.

    Raises:
        InputError: direct subsampling by bicubic, which shrinks by itself.
    """
    if not named(kernel, "bicubic"):
        return subsample or "direct"
    if subsample == "direct":
        raise InputError(
            "kernel is bicubic, which shrinks by itself and onto the centred grid, and subsampling is direct; leave "
            "one of them out, or give another kernel, like gauss:2.0"
        )
    return "bicubic"


def _taps(kernel: np.ndarray | Tensor) -> Tensor:
    if isinstance(kernel, Tensor):
        return kernel.detach()
    if np.iscomplexobj(kernel):
        raise InputError(f"kernel has values of {kernel.dtype}; real numbers are required")
    try:
        return torch.from_numpy(np.array(kernel, np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"kernel is an array of {kernel.dtype}; numbers are required") from error


def named(kernel: KernelInput, word: str) -> bool:
    """Tell whether a kernel was given as this word, `auto` or `bicubic`; an array cannot be asked."""
    return isinstance(kernel, str | Path) and str(kernel) == word
