"""The data-consistent solution: the picture nearest to a prior among those that explain the low-resolution one.

    x = argmin ‖A x - y‖² + α ‖x - x₀‖²  =  x₀ + Aᵀ (A Aᵀ + α)⁻¹ (y - A x₀)

A Aᵀ is a convolution on the *low-resolution* grid, with the kernel's autocorrelation sampled at every s-th lag. So the
whole solution is a blur, a filter at low resolution, and a transposed blur: no Fourier transform at high resolution,
and nothing is divided by α.

At the border it is the minimiser for kernels that are their own mirror image in rows and in columns. For others (g_ani,
slanting motion) it is near: there the mirrored picture beyond the border went through the mirrored kernel, which no
convolution says. It costs 0.01 to 0.15 dB of a picture of Set5, in the eight pixels around it; LOG.md, 2026-11-30.

Source: Zhao et al., "Fast single image super-resolution using a new analytical solution for ℓ2-ℓ2 problems", TIP
2016 (the same minimiser, under circular borders); the data step of USRNet, CVPR 2020.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from mzsr.imaging.borders import pad_symmetric
from mzsr.imaging.degrade import Degradation, adjoint, effective_kernel, error_map, linear, upsample
from mzsr.shapes import Images

TRUST, GAIN = 3e-3, 400.0  # of a prior, and how it grows with the variance of the noise; see `consistent`
PAD = 16  # low-resolution pixels of symmetric extension that hide the circular borders of the filter, at least


Alpha = int | float | Float[Tensor, ""] | Float[Tensor, "#b 1 1 1"]


def data_step(lr: Images, prior: Images, d: Degradation, alpha: Alpha) -> Images:
    """Pull a prior picture to the one that explains lr: x₀ + Aᵀ (A Aᵀ + α)⁻¹ (y - A x₀).

    Args:
        lr: y, (B, C, h, w).
        prior: x₀, (B, C, s h, s w).
        d: the degradation, A.
        alpha: trust in the prior, > 0; about (noise / error of the prior)², one number or one for each image.

    Returns:
        (B, C, s h, s w), not clamped. As α → 0 its degradation becomes lr, as α → ∞ it becomes the prior.
    """
    return data_steps(lr, prior, d, [alpha])[0]


def data_steps(lr: Images, prior: Images, d: Degradation, alphas: Sequence[Alpha]) -> list[Images]:
    """Return the data step with each of several trusts in the prior, for less than it costs to take them apart.

    Args and every picture of the result: as for `data_step`.
    """
    filtered = _regularised_inverses(lr - linear(prior, d), d, alphas)
    return [prior + adjoint(part, d) for part in filtered]


def consistent(hr: Images, lr: Images, d: Degradation, trust: float = TRUST) -> Images:
    """Bring a result back to what explains lr, less so the noisier that is: back-projection in closed form.

    For networks that look at no degradation; the flagship ends in such a step. α = 3e-3 + 400 σ², σ noise and what JPEG
    took together, is where its data steps begin to learn, the prior being off by about 0.05.

    Args:
        hr: the result, (B, C, s h, s w).
        lr: y, (B, C, h, w).
        d: the degradation.
        trust: α without noise; the larger it is, the more of `hr` stays.
    """
    return data_step(lr, hr, d, trust + GAIN * error_map(d, lr) ** 2)


def back_project(hr: Images, lr: Images, d: Degradation, steps: int) -> Images:
    """Repeat x ← x + U (y - A x), U the phase-correct bicubic enlargement.

    On a shifted grid, that of the reference code, it diverges at x4; on the right one it does not.

    Args:
        hr: the picture to correct, (B, C, s h, s w).
        lr: y, (B, C, h, w).
        d: the degradation.
        steps: how often; 0 returns hr.

    Source: Irani and Peleg, "Improving resolution by image registration", 1991.
    """
    for _ in range(steps):
        hr = hr + upsample(lr - linear(hr, d), d)
    return hr


def inverse_filter(d: Degradation, alpha: int | float, size: int = 128) -> Float[Tensor, "{size} {size}"]:
    """Return the impulse response of (A Aᵀ + α)⁻¹ on the low-resolution grid, its centre at (0, 0), circular.

    It has no finite support: how fast it decays says how far the data step looks, which tiling has to know.
    """
    first = d.kernel.reshape(-1, *d.kernel.shape[-2:])[:1].double()
    spectrum = _spectrum(Degradation(first[0], d.scale, d.subsample), (size, size))[0]
    return torch.fft.irfft2(1 / (spectrum + alpha), s=(size, size))


def _regularised_inverses(residual: Images, d: Degradation, alphas: Sequence[Alpha]) -> list[Images]:
    """Filter with (A Aᵀ + α)⁻¹, for each α, in the Fourier domain, on a symmetrically extended picture."""
    height, width = residual.shape[2:]
    tall, wide = _margin(d, height), _margin(d, width)
    size = _fast_length(height, tall), _fast_length(width, wide)
    padded = pad_symmetric(residual, (tall, size[0] - height - tall, wide, size[1] - width - wide))
    transformed, spectrum = torch.fft.rfft2(padded), _spectrum(d, size).to(residual)[:, None]
    filtered = [torch.fft.irfft2(transformed / (spectrum + alpha), s=size) for alpha in alphas]
    return [part[:, :, tall : tall + height, wide : wide + width] for part in filtered]


def _margin(d: Degradation, side: int) -> int:
    """Return how far a side is extended at both ends, so that a border does not feel the opposite one.

    Where the spectrum of a kernel has zeros (a lens out of focus, motion), its filter rings over a hundred pixels;
    that of a long kernel reaches twice as far as the kernel.
    """
    reach = d.kernel.shape[-1] // d.scale
    return max(PAD if reach <= PAD else 2 * reach, min(side // 2, 4 * PAD))


def _fast_length(side: int, margin: int) -> int:
    """Return how long a padded side is: room for the margin on both ends, and small prime factors for the FFT."""
    return next_fast_len(side + 2 * margin, real=True)  # pyright: ignore[reportReturnType] - scipy's wrapper says None


def _spectrum(d: Degradation, size: tuple[int, int]) -> Float[Tensor, "b rows columns"]:
    """Return the spectrum of A Aᵀ on a low-resolution grid: real and, being a power spectrum, not negative."""
    lags = _sampled_autocorrelation(d)
    radius = lags.shape[-1] // 2
    index = torch.arange(-radius, radius + 1, device=lags.device)
    grid = torch.zeros((lags.shape[0], *size), dtype=lags.dtype, device=lags.device)
    rows, columns = index.remainder(size[0]), index.remainder(size[1])
    # Lags may wrap onto each other on a small grid, so they are added, not assigned
    wrapped = lags.new_zeros((*lags.shape[:2], size[1])).index_add(2, columns, lags)
    grid = grid.index_add(1, rows, wrapped)
    return torch.fft.rfft2(grid).real.clamp(min=0)


def _sampled_autocorrelation(d: Degradation) -> Float[Tensor, "b lags lags"]:
    """Return the autocorrelation of the effective kernel at lags that are multiples of the scale.

    By Fourier transforms: as a convolution, kernels of 31 taps and more took 10 to 60 ms each time (LOG.md).
    """
    effective = effective_kernel(d)
    taps = effective.reshape(-1, *effective.shape[-2:])
    size = taps.shape[-1]
    side = _fast_length(2 * size - 1, 0)  # room for every lag
    radius = (size - 1) // d.scale
    transformed = torch.fft.rfft2(taps, s=(side, side))
    full = torch.fft.irfft2((transformed * transformed.conj()).real, s=(side, side))
    lags = torch.arange(-radius, radius + 1, device=taps.device).mul(d.scale).remainder(side)
    return full[:, lags][:, :, lags]
