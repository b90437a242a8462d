"""The kernel estimator: features of a spectrum → the kernel that is best to believe in, and the noise.

A network gives the taps of a kernel that is its own mirror image in a point, since a power spectrum knows no phase:

    k = (1 - g) light + g (light * shrinking),   light(p) ∝ exp(-pᵀ Σ⁻¹ p / 2 + t(p))

`light` is positive and sums to 1: a Gaussian, its covariance Σ = s² exp(M) by way of a matrix logarithm, and free taps
t for all that Gaussians are not. `shrinking` is MATLAB's bicubic, g a gate. The network is not trained to come near the
true kernel, but to lose little by what it says: the loss is how many decibels worse a Wiener filter restores when it
believes in k̂ instead of k (`decibels_lost`), in closed form. So it may hedge: where a picture does not tell, the
cheapest belief is a narrow kernel, for too wide a one rings. It says how much it expects to lose, too.

All responses here are those of kernels around their own centre, and so real where the kernel is its own mirror image;
`kernel_of` puts the centre where the grid has it.

Knows nothing of pictures. Takes features from `spectrum`, gives kernels to `inference.estimate`.

Source: ours.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, effective_kernel
from mzsr.learning.spectrum import FEATURES
from mzsr.shapes import Kernel, Kernels

Grid = Literal["centre", "corner"]
HEADS: tuple[tuple[int, Grid], ...] = (
    (1, "centre"), (2, "centre"), (2, "corner"), (3, "centre"), (3, "corner"), (4, "centre"), (4, "corner"),
)  # fmt: skip
"""Scales and grids that have taps of their own; at x1 both grids are one."""
HIDDEN = 256  # of the second and third layer
FREQUENCIES = 48  # per axis of the grid on which kernels are compared: divisible by all scales, larger than any kernel
NOISE_FLOOR = 2e-3  # added to a standard deviation before its logarithm is taken: half a grey level
# Power spectrum of photographs, ∝ (|f|² + 0.01²)^-1.6 with a variance of 0.2², and the noise of a picture without any.
# With these the decibels lost on BSD100 at variance 2.0 by believing 1.5, 2.5 and bicubic are 0.9, 1.6 and 3.8; the
# flagship loses 1.2, 1.9 and 3.8 (five pictures)
BEST = 1e-4  # squared error that nobody gets below, 40 dB; at x1 there would be none, and every belief infinitely bad
EXPONENT, LEVEL, ROUNDING = 1.6, 0.04, 0.15 / 255

Response = Complex[Tensor, "#b f f"] | Float[Tensor, "#b f f"]
"""A kernel at the frequencies of the high-resolution grid, around its own centre."""


class Estimator(nn.Module):
    """Three hidden layers; of the last, a covariance, three numbers, and free taps for every scale and grid."""

    def __init__(self, channels: int = 640) -> None:
        """Build it so that, untrained, it says a Gaussian of variance scale² / 4."""
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, channels), nn.Linear(channels, HIDDEN)
        self.third, self.scalars = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 3)
        # A Gaussian's log-spectrum is linear in its covariance, so there is a short way from the one to the other
        self.covariance, self.short = nn.Linear(HIDDEN, 3), nn.Linear(FEATURES, 3, bias=False)
        self.heads = nn.ModuleDict(
            {f"{s} {grid}": nn.Linear(HIDDEN, (_side(s, grid) ** 2 + 1) // 2) for s, grid in HEADS}
        )
        for layer in (self.covariance, self.short, *self.heads.values()):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        with torch.no_grad():
            self.covariance.bias.copy_(torch.tensor([math.log(0.25), math.log(0.25), 0.0]))

    def forward(
        self, features: Float[Tensor, "b features"], scale: int, grid: Grid
    ) -> tuple[Float[Tensor, "b f f"], Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return responses; the logarithms of noise + NOISE_FLOOR; those of the decibels it expects to lose."""
        grid = "centre" if scale == 1 else grid
        hidden = silu(self.third(silu(self.second(silu(self.first(features))))))
        gate, noise, doubt = self.scalars(hidden).unbind(1)
        logarithm = (self.covariance(hidden) + self.short(features)).clamp(-6, 3)
        free = self.heads[f"{scale} {grid}"](hidden)
        row, column = _places(scale, grid)
        squared = torch.stack([row**2, column**2, 2 * row * column])
        half = free - _inverse(logarithm) @ squared / (2 * scale**2)
        side = _side(scale, grid)
        light = torch.cat([half, half[:, : side**2 // 2].flip(1)], 1).softmax(1).reshape(-1, side, side)
        even = 1 - side % 2  # padded to odd ones, their centre is half a pixel off the middle tap
        found = response(pad(light, (even, 0, even, 0)), even / 2).real
        if grid == "centre" and scale > 1:
            share = gate.sigmoid()[:, None, None]
            found = found * (1 - share + share * shrinking(scale))
        return found, noise, doubt


def turned_response(found: Response, view: int) -> Response:
    """Return the response for a picture seen another way, `view` as in `spectrum.turned`; its own inverse."""
    if view in (1, 3):
        found = found.flip(2).roll(1, 2)
    return found.mT if view in (2, 3) else found


def kernel_of(found: Float[Tensor, "f f"], scale: int, grid: Grid) -> Kernel:
    """Return the odd kernel of a response, its centre where the grid has it, summing to 1."""
    axis = torch.fft.fftfreq(FREQUENCIES, dtype=torch.float64) * (scale - 1) / 2 * (grid == "centre")
    taps = torch.fft.ifft2(found * torch.exp(-2j * math.pi * (axis[:, None] + axis))).real
    radius = min(6 * scale, FREQUENCIES // 2 - 1)
    taps = taps.roll((radius, radius), (0, 1))[: 2 * radius + 1, : 2 * radius + 1]
    return (taps / taps.sum()).to(found.dtype)


def response(taps: Kernels, offset: float | int = 0.0) -> Response:
    """Return the response of odd kernels around `offset`, rows and columns from their middle tap.

    What lies further out than FREQUENCIES is cut off.

    >>> response(kernels.delta()[None])[0, 5, 7].item()
    (1+0j)
    """
    radius = min(taps.shape[-1], FREQUENCIES - 1) // 2
    cut = taps.shape[-1] // 2 - radius
    taps = pad(taps, (-cut, -cut, -cut, -cut))
    room = FREQUENCIES - taps.shape[-1]
    axis = torch.fft.fftfreq(FREQUENCIES, device=taps.device) * offset
    phase = torch.exp(2j * math.pi * (axis[:, None] + axis))
    return torch.fft.fft2(pad(taps, (0, room, 0, room)).roll((-radius, -radius), (-2, -1))) * phase


@lru_cache(maxsize=8)
def shrinking(scale: int) -> Float[Tensor, "1 f f"]:
    """Return the response of bicubic shrinking, which is real; always the same tensor."""
    with torch.inference_mode(False):  # else training could not use what an estimate made
        taps = effective_kernel(Degradation(kernels.delta(), scale, "bicubic"))
        return response(taps[None], (scale - 1) / 2).real


def decibels_lost(believed: Response, true: Response, scale: int, noise: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return how much worse pictures are restored by a Wiener filter that believes in wrong kernels.

        10 log10 E(k̂) / E(k);   E(k̂) = mean over f of  S(f) (1 - 2 Re(W K) / s²) + |W|² (P + σ² / s²)
        W = S K̂* / (Σ S |K̂|² / s² + σ²),   P = Σ S |K|² / s⁴

    Sums are over the s² aliases of a frequency. E is the expected squared error of the linear estimate of a picture
    with power spectrum S from its blurred, subsampled and noisy self.

    Args:
        believed: K̂.
        true: K, of the same grid.
        scale: s, which divides FREQUENCIES.
        noise: σ, standard deviations of noise and compression together, [0, 1] units.

    Source: Wiener filter with aliasing, own derivation.
    """
    power = noise.square() + ROUNDING**2
    wrong, right = (_expected_error(k, true, scale, power) for k in (believed, true))
    return 10 * torch.log10(wrong / right)


def _expected_error(believed: Response, true: Response, scale: int, power: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    spectrum, known, guess = (_aliases(x, scale) for x in (_photographs(FREQUENCIES)[None], true, believed))
    noise, cells = power[:, None, None, None], scale**2
    filtered = guess.conj() * spectrum / ((spectrum * guess.abs().square()).sum(1, keepdim=True) / cells + noise)
    seen = (spectrum * known.abs().square()).sum(1, keepdim=True) / cells**2 + noise / cells
    error = (spectrum * (1 - 2 * (filtered * known).real / cells) + filtered.abs().square() * seen).mean((1, 2, 3))
    return error + BEST


def _aliases(values: Tensor, scale: int) -> Tensor:
    """Sort frequencies (b, f, f) by those that fall onto one another: (b, scale², f / scale, f / scale)."""
    part = values.shape[-1] // scale
    return values.reshape(-1, scale, part, scale, part).transpose(2, 3).flatten(1, 2)


@lru_cache(maxsize=1)
def _photographs(side: int) -> Float[Tensor, "side side"]:
    """Return the mean power spectrum of photographs, their mean left out; always the same tensor."""
    with torch.inference_mode(False):
        axis = torch.fft.fftfreq(side)
        spectrum = (axis[:, None] ** 2 + axis**2 + 0.01**2) ** -EXPONENT
        spectrum[0, 0] = 0
        return LEVEL * spectrum / spectrum.mean()


def _inverse(logarithm: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3"]:
    """Return (row row, column column, row column) of exp(-M) from those of M."""
    mean, half = (logarithm[:, 0] + logarithm[:, 1]) / 2, (logarithm[:, 0] - logarithm[:, 1]) / 2
    size = (half**2 + logarithm[:, 2] ** 2 + 1e-8).sqrt()
    along, across = size.cosh(), size.sinh() / size
    rows = [along - across * half, along + across * half, -across * logarithm[:, 2]]
    return torch.stack(rows, 1) * (-mean).exp()[:, None]


def _side(scale: int, grid: Grid) -> int:
    """Return the taps per axis of a head: even where the centre lies between two taps."""
    return 8 * scale + (0 if grid == "centre" and scale % 2 == 0 else 1)


def _places(scale: int, grid: Grid) -> tuple[Float[Tensor, " taps"], Float[Tensor, " taps"]]:
    """Return row and column, from the centre, of the taps of a head: the first half, the others mirror them."""
    side = _side(scale, grid)
    axis = torch.arange(side) - (side - 1) / 2
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    return row.flatten()[: (side**2 + 1) // 2], column.flatten()[: (side**2 + 1) // 2]
