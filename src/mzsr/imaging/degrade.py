"""What happened to the picture: blur, subsampling, noise, compression.

    lr = JPEG((hr * k) ↓s + n)

"*" is correlation with half-sample symmetric borders; ↓s keeps every s-th pixel from 0 on (`direct`), or is MATLAB's
bicubic shrinking of the blurred picture (`bicubic`). Both are one thing here: correlate with the *effective kernel*,
then keep every s-th pixel. Its centroid is the phase: low-resolution pixel i sits on high-resolution s i + phase.

Source: MZSR, equation 1. Kernels come from `kernels`; degraded pictures go to training, adaptation and benchmarks.
"""

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from mzsr.errors import InputError, one_of
from mzsr.imaging import kernels
from mzsr.imaging.borders import fold_symmetric, pad_symmetric
from mzsr.imaging.jpeg import Jpeg, compress, compression_error
from mzsr.imaging.resize import resize, stretched_cubic
from mzsr.imaging.strides import correlate, spread
from mzsr.shapes import Images, Kernel, Kernels

Subsample = Literal["direct", "bicubic"]
Sampling = Literal["direct", "centre", "bicubic"]
"""How people say it. `centre` is direct subsampling of a kernel that is moved to where a photograph has its pixels."""
MAX_SCALE = 8


@dataclass(frozen=True)
class Degradation:
    """Everything that turns a high-resolution picture into the low-resolution one.

    Attributes:
        kernel: (n, n) for every image, or (b, n, n), one for each; odd, summing to 1; correlated.
        scale: integer, 1 to 8.
        subsample: `direct` or `bicubic`.
        noise: standard deviation in [0, 1] units, one number or (b,).
        jpeg: the compression at the end; None for none.
        grid: the phase, (row, column), where it is known beforehand; None works it out from the kernel.

    Raises:
        InputError: a scale, a subsampling or a noise level that is none, or an even or non-square kernel.
    """

    kernel: Kernels
    scale: int = 2
    subsample: Subsample = "direct"
    noise: int | float | Float[Tensor, " b"] = 0.0
    jpeg: Jpeg | None = None
    grid: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check everything that does not depend on a picture."""
        object.__setattr__(self, "scale", check_scale(self.scale))
        one_of("subsampling", self.subsample, ("direct", "bicubic"))
        if not isinstance(self.kernel, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance] - anybody may call
            raise InputError(
                f"kernel is a {type(self.kernel).__name__}; a tensor is required — torch.from_numpy makes one"
            )
        if self.kernel.ndim not in (2, 3):
            shape = "x".join(str(side) for side in self.kernel.shape)
            raise InputError(f"kernel is {shape}; give one of n x n, or one for each image, b x n x n")
        rows, columns = self.kernel.shape[-2:]
        if rows != columns or rows % 2 == 0:
            raise InputError(f"kernel is {rows}x{columns}; it must be square and odd — pad it with kernels.centre()")
        single = isinstance(self.noise, Real)
        if not single and not isinstance(self.noise, Tensor):
            raise InputError(f"noise is {self.noise!r}; a standard deviation between 0 and 1, or a tensor, is required")
        if single and not 0 <= float(self.noise) <= 1:
            raise InputError(f"noise is {self.noise}; it is a standard deviation between 0 and 1 (x/255)")

    def to(self, device: torch.device | str) -> "Degradation":
        """Return the same degradation with its tensors on another device."""
        noise = self.noise.to(device) if isinstance(self.noise, Tensor) else self.noise
        return replace(self, kernel=self.kernel.to(device), noise=noise, jpeg=self.jpeg and self.jpeg.to(device))


def check_scale(scale: object) -> int:
    """Return a whole scale, or raise InputError."""
    if not isinstance(scale, Integral) or not 1 <= (whole := int(scale)) <= MAX_SCALE:
        raise InputError(f"scale is {scale}; a degradation needs a whole number from 1 to {MAX_SCALE}")
    return whole


def sampled(
    kernel: Kernel, scale: int, sampling: Sampling, noise: int | float = 0.0, jpeg: Jpeg | None = None
) -> Degradation:
    """Return the degradation by a kernel that is given, on the grid that is asked for.

    Args:
        kernel: (n, n); `centre` moves its centroid to ((s - 1) / 2, (s - 1) / 2), wherever it was.
        scale: s.
        sampling: `direct` keeps every s-th pixel, as the MZSR paper does; low-resolution pixels then sit on the first
            of the s x s that they stand for, and a result lies (s - 1) / 2 pixels up and left of the picture. `centre`
            keeps them in the middle, as in photographs; so does `bicubic`.
        noise: standard deviation in [0, 1] units.
        jpeg: the compression at the end.

    >>> phase(sampled(kernels.gaussian((2.0, 2.0)), 2, "centre"))
    (0.5, 0.5)
    """
    middle = (scale - 1) / 2
    if sampling == "centre":
        return Degradation(kernels.centre(kernel, (middle, middle)), scale, "direct", noise, jpeg, (middle, middle))
    return Degradation(kernel, scale, sampling, noise, jpeg)


def effective_kernel(d: Degradation) -> Kernels:
    """Return the odd kernel with which correlation and `[::s, ::s]` do the whole blur and subsampling.

    For bicubic subsampling it is k convolved with the stretched cubic, which has 4 s taps per axis and is centred
    (s - 1) / 2 off the sample, then padded to put that offset into its centroid.

    Returns:
        (*batch, m, m), m odd.

    >>> effective_kernel(Degradation(kernels.delta(), scale=2, subsample="bicubic")).shape[-1]
    9
    """
    if d.subsample == "direct" or d.scale == 1:
        return d.kernel
    taps, first = stretched_cubic(d.scale)
    size, length = d.kernel.shape[-1], taps.numel()
    weight = torch.outer(taps, taps).to(d.kernel).flip(0, 1)[None, None]
    full = conv2d(d.kernel.reshape(-1, 1, size, size), weight, padding=length - 1)[:, 0]  # conv2d correlates
    start = first - size // 2  # offset of the first tap from high-resolution pixel s i
    end = start + full.shape[-1] - 1
    radius = max(-start, end)
    before, after = radius + start, radius - end
    return pad(full, (before, after, before, after)).reshape(*d.kernel.shape[:-2], 2 * radius + 1, 2 * radius + 1)


def phase(d: Degradation) -> tuple[float, float]:
    """Return where low-resolution pixel (0, 0) sits on the high-resolution grid, (row, column), pixels.

    With one kernel for each image it is their mean; kernels of one batch belong to one grid convention.

    >>> phase(Degradation(kernels.delta(), scale=2, subsample="bicubic"))
    (0.5, 0.5)
    """
    if d.grid is not None:
        return d.grid
    effective = effective_kernel(d)
    row, column = kernels.centroid(effective if effective.ndim == 2 else effective.mean(0))
    # Rounding noise of the taps must not shift a grid
    return round(row, 4) + 0.0, round(column, 4) + 0.0


def linear(hr: Images, d: Degradation) -> Images:
    """Blur and subsample: the linear part A.

    For bicubic subsampling this is one correlation with the effective kernel where MATLAB blurs and then shrinks;
    they differ only near the border, and only for kernels that are not their own mirror image in rows and in columns.

    Args:
        hr: (B, C, H, W), both sides multiples of the scale.
        d: the degradation.

    Returns:
        (B, C, H / s, W / s).
    """
    height, width = hr.shape[2:]
    if height % d.scale or width % d.scale:
        raise InputError(f"image is {width}x{height}; both sides must be multiples of {d.scale} — see degrade.crop()")
    taps = _taps(d, hr)
    radius = taps.shape[-1] // 2
    padded = pad_symmetric(hr, (radius, radius, radius, radius))
    return correlate(padded, taps, d.scale)


def adjoint(lr: Images, d: Degradation) -> Images:
    """Apply Aᵀ, the exact adjoint of `linear`, borders included.

    Args:
        lr: (B, C, h, w).
        d: the degradation.

    Returns:
        (B, C, s h, s w).
    """
    taps = _taps(d, lr)
    radius = taps.shape[-1] // 2
    return fold_symmetric(spread(lr, taps, d.scale), (radius, radius, radius, radius))


def degrade(hr: Images, d: Degradation, generator: torch.Generator | None = None) -> Images:
    """Make the low-resolution picture: crop to a multiple of the scale, blur, subsample, add noise, compress.

    Args:
        hr: (B, C, H, W) in [0, 1].
        d: the degradation.
        generator: source of the noise; without one none is added.

    Returns:
        (B, C, H // s, W // s), neither clamped nor rounded unless it was compressed.

    Raises:
        InputError: the image is smaller than the scale, or kernel or noise of the degradation are none.

    Source: MZSR, equation 1.
    """
    if not isinstance(hr, Tensor) or hr.ndim != 4:  # pyright: ignore[reportUnnecessaryIsInstance] - anybody may call
        found = tuple(hr.shape) if isinstance(hr, Tensor) else type(hr).__name__
        raise InputError(f"images are {found}; a tensor (batch, channels, height, width) is required")
    sums = d.kernel.sum((-2, -1))
    if not bool(((sums - 1).abs() < 1e-3).all()):  # NaN fails too
        raise InputError(f"kernel sums to {sums.tolist()}; 1 is required — kernels.check() normalises one")
    levels = torch.as_tensor(d.noise)
    if not bool(((levels >= 0) & (levels <= 1)).all()):
        raise InputError(f"noise is {levels.tolist()}; standard deviations between 0 and 1 (x/255) are required")
    hr = crop(hr, d.scale)
    lr = linear(hr, d)
    if generator is not None:
        lr = lr + torch.randn(lr.shape, generator=generator, device=generator.device).to(lr) * noise_map(d, lr)
    if d.jpeg is None:
        return lr
    return compress(lr.clamp(0, 1), d.jpeg)


def noise_map(d: Degradation, images: Images) -> Float[Tensor, "#b 1 1 1"]:
    """Return the noise level as a tensor that broadcasts over images."""
    return torch.as_tensor(d.noise, device=images.device, dtype=images.dtype).reshape(-1, 1, 1, 1)


def informed(d: Degradation, lr: Images) -> Degradation:
    """Return a degradation with the error of its JPEG, if it has one, estimated from what came out of it.

    Args:
        d: the degradation.
        lr: (B, C, h, w), low resolution as it was read from the file.
    """
    if d.jpeg is None:
        return d
    return replace(d, jpeg=replace(d.jpeg, error=compression_error(lr, d.jpeg)))


def error_map(d: Degradation, images: Images) -> Float[Tensor, "#b 1 1 1"]:
    """Return the standard deviation of all that is neither blur nor subsampling: noise, and what JPEG took.

    >>> d = Degradation(kernels.delta(), noise=0.03, jpeg=Jpeg(torch.ones(1, 2, 8, 8), error=0.04))
    >>> round(error_map(d, torch.zeros(1, 3, 8, 8)).item(), 6)
    0.05
    """
    noise = noise_map(d, images)
    if d.jpeg is None:
        return noise
    return torch.hypot(noise, torch.as_tensor(d.jpeg.error).to(images).reshape(-1, 1, 1, 1))


def crop(hr: Images, scale: int) -> Images:
    """Cut rows from the bottom and columns from the right until both sides are multiples of the scale.

    >>> crop(torch.zeros(1, 1, 7, 9), 2).shape[2:]
    torch.Size([6, 8])
    """
    height, width = (side - side % scale for side in hr.shape[2:])
    if min(height, width) < 1:
        raise InputError(f"image is {hr.shape[3]}x{hr.shape[2]}; at x{scale} it must be at least {scale}x{scale}")
    return hr[:, :, :height, :width]


def upsample(lr: Images, d: Degradation) -> Images:
    """Enlarge by bicubic interpolation on the right phase, so that nothing moves.

    Args:
        lr: (B, C, h, w).
        d: the degradation; its phase says where the pixels of lr sit.

    Returns:
        (B, C, s h, s w).
    """
    return resize(lr, scale=float(d.scale), phase=phase(d))


def _taps(d: Degradation, images: Images) -> Float[Tensor, "kernels n n"]:
    """Return the effective kernels, one for all images or one for each."""
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}; floats in [0, 1] are required — divide 8-bit ones by 255")
    effective = effective_kernel(d).to(images)
    taps = effective.reshape(-1, *effective.shape[-2:])
    if taps.shape[0] not in (1, images.shape[0]):
        raise InputError(f"there are {taps.shape[0]} kernels for {images.shape[0]} images; give one, or one for each")
    return taps
