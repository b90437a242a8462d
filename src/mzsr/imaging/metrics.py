"""PSNR and SSIM, each number under a named protocol.

The same pair of images differs by up to 1.3 dB between the conventions in use, so a protocol is part of every number.
Results and truths come in as sRGB floats in [0, 1] (from a network or from a file; they are rounded to 8 bits here, as
the files that papers measure are); one float64 number per image goes out, to tests, benchmarks and reports.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.errors import InputError, one_of
from mzsr.imaging.color import rgb_to_y
from mzsr.imaging.degrade import Degradation, effective_kernel, linear
from mzsr.shapes import Images

_Any = Float[Tensor, "..."]  # sizes are compared below, so that a plain sentence tells what differs
_BAND = 128  # rows of a low-resolution picture that are degraded again at a time, so that copies stay small
_WINDOW, _SIGMA = 11, 1.5  # the window of Wang et al. 2004; scikit-image's truncate=3.5 gives the same 11 taps
_PEAK = 255.0  # of PSNR, and the data range of SSIM, in 8-bit code values
_K1, _K2 = 0.01, 0.03  # their stabilising constants, as fractions of the peak


@dataclass(frozen=True)
class Protocol:
    """How two images become comparable numbers.

    Attributes:
        channels: "y" (BT.601 studio-range luma) or "rgb".
        round_y: Whether luma is rounded to integers, as MATLAB's `rgb2ycbcr` does for 8-bit images.
        extra: Pixels cut off at every border beyond the scale.
    """

    channels: Literal["y", "rgb"]
    round_y: bool
    extra: int

    def shave(self, scale: int | float) -> int:
        """Count the pixels cut off at every border, ceil(scale) + extra."""
        return math.ceil(scale) + self.extra


PROTOCOLS = {
    # MZSR (CVPR 2020) and most papers measured with MATLAB
    "mzsr": Protocol("y", round_y=True, extra=0),
    # EDSR-PyTorch `calc_psnr` on Set5, Set14, BSD100 and Urban100, and UDL's (NeurIPS 2021) copy of it on every set.
    # Their luma weights, 65.738/256 and so on, are these to 4e-6, and the offset of 16 cancels in the difference.
    "edsr": Protocol("y", round_y=False, extra=0),
    # NTIRE 2017 challenge; EDSR-PyTorch on DIV2K
    "ntire": Protocol("rgb", round_y=False, extra=6),
    # Shaved by the scale alone, as MMagic reports EDSR
    "rgb": Protocol("rgb", round_y=False, extra=0),
}


def psnr(result: Images, truth: _Any, *, protocol: str = "mzsr", scale: int | float) -> Float[Tensor, " b"]:
    """Measure PSNR = 10 log10(peak² / mean((result - truth)²)) in dB, one number per image.

    Args:
        result: Images in [0, 1] (values outside are clamped), 3 channels, or 1 that counts as an RGB grey.
        truth: As many images of the same size.
        protocol: A key of PROTOCOLS.
        scale: The factor of the super-resolution, which sets the border that is cut off.

    Returns:
        dB; +inf where the images are identical after rounding.

    Raises:
        InputError: If the protocol is unknown, sizes differ, values are not finite, or the border leaves nothing over.

    >>> truth = torch.zeros(1, 3, 8, 8)
    >>> psnr(truth + 1 / 255, truth, protocol="rgb", scale=2).item()  # 20 log10(255)
    48.1308...
    """
    rules = _rules(protocol)
    first, second = _comparable(result, truth, rules, scale)
    error = (first - second).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(_PEAK**2 / error)


def ssim(result: Images, truth: _Any, *, protocol: str = "mzsr", scale: int | float) -> Float[Tensor, " b"]:
    """Measure the mean structural similarity, in [-1, 1], one number per image (and mean over the channels).

    SSIM = (2 μx μy + C1)(2 cov + C2) / ((μx² + μy² + C1)(var_x + var_y + C2)) in a Gaussian window of 11 taps and
    sigma = 1.5, biased covariances, C1 = (0.01 peak)², C2 = (0.03 peak)², over the windows wholly inside the image.

    Args are those of `psnr`.

    Raises:
        InputError: As for `psnr`, and if less than one window is left.

    Source: Wang et al., "Image quality assessment", IEEE TIP 2004, equation 13. Equals scikit-image with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255`.

    >>> black, white = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    >>> round(ssim(white, black, protocol="rgb", scale=2).item(), 6)  # C1 / (1 + C1) with C1 = 1e-4
    0.0001
    """
    rules = _rules(protocol)
    x, y = _comparable(result, truth, rules, scale)
    if min(x.shape[-2:]) < _WINDOW:
        raise InputError(
            f"images keep {x.shape[-1]}x{x.shape[-2]} pixels after the border is cut off; SSIM needs at least "
            f"{_WINDOW}x{_WINDOW} — measure a larger image"
        )
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x = _smooth(x * x) - mean_x.square()
    var_y = _smooth(y * y) - mean_y.square()
    cov = _smooth(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    denominator = (mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2)
    return (numerator / denominator).mean(dim=(1, 2, 3))


def reprojection_psnr(hr: Images, lr: Images, d: Degradation) -> float:
    """Return how well a result explains its input: PSNR of its blurred and subsampled self against lr.

    Args:
        hr: the result, (B, C, s h, s w) in [0, 1].
        lr: the input, (B, C, h, w) in [0, 1].
        d: what leads from the one to the other.

    Returns:
        dB, all colours, peak 1, nothing rounded and nothing cut off; infinite for equals.
    """
    margin = math.ceil(effective_kernel(d).shape[-1] / 2 / d.scale)  # rows of lr that a row of it shares pixels with
    error, height = 0.0, lr.shape[2]
    for top in range(0, height, _BAND):
        first, last = max(top - margin, 0), min(top + _BAND + margin, height)
        again = linear(hr[:, :, first * d.scale : last * d.scale], d)[:, :, top - first :][:, :, :_BAND]
        error += float((again.double() - lr[:, :, top : top + _BAND].double()).square().sum())
    return math.inf if error == 0 else -10 * math.log10(error / lr.numel())


def _rules(protocol: str) -> Protocol:
    return PROTOCOLS[one_of("protocol", protocol, PROTOCOLS)]


def _comparable(result: Tensor, truth: Tensor, rules: Protocol, scale: int | float) -> tuple[Tensor, Tensor]:
    """Bring both to 8-bit code values of the protocol's channels, in float64, with the border cut off."""
    if result.shape != truth.shape:
        raise InputError(
            f"result is {_size(result)} and truth {_size(truth)}; both must have the same size — crop the larger one"
        )
    if result.ndim != 4 or result.shape[1] not in (1, 3):
        raise InputError(f"images are {_size(result)}; batch x 1 or 3 x height x width is required — leave alpha out")
    high = max(float(images.max()) if images.numel() else 0.0 for images in (result, truth))
    if not (result.is_floating_point() and truth.is_floating_point()) or high > 2:  # a result may overshoot
        raise InputError(f"images have values up to {high:g}; floats in [0, 1] are required — divide 8-bit ones by 255")
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale is {scale}; it must be a positive number — give the factor of the super-resolution")
    border = rules.shave(scale)
    height, width = result.shape[-2:]
    if min(height, width) <= 2 * border:
        raise InputError(
            f"images are {width}x{height}; the protocol cuts {border} pixels off every side and needs more than "
            f"{2 * border} — measure a larger image"
        )
    return _codes(result, rules, border), _codes(truth, rules, border)


def _codes(images: Images, rules: Protocol, border: int) -> Tensor:
    if not torch.isfinite(images).all():
        raise InputError("images hold NaN or infinity; every value must be finite — look for a step that diverged")
    rounded = images.to(torch.float64).clamp(0, 1).mul(255).round()
    if rules.channels == "y":
        luma = rgb_to_y(rounded.div(255).expand(-1, 3, -1, -1)).mul(255)
        rounded = luma.round() if rules.round_y else luma
    return rounded[..., border : images.shape[-2] - border, border : images.shape[-1] - border]


def _smooth(images: Tensor) -> Tensor:
    """Average under the Gaussian window, only where it lies wholly inside (scikit-image crops its mean to the same)."""
    tap = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    window = torch.exp(-tap.square() / (2 * _SIGMA**2))
    window = window / window.sum()
    for axis in (2, 3):  # sums of shifted pictures, three to five times as fast as a convolution of double precision
        inside = images.shape[axis] - _WINDOW + 1
        images = sum(
            (weight * images.narrow(axis, start, inside) for start, weight in enumerate(window)),
            torch.zeros((), dtype=images.dtype, device=images.device),
        )
    return images


def _size(images: Tensor) -> str:
    return "x".join(str(n) for n in images.shape)
