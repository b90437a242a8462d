"""The spectrum of a picture, and the model of a blur and a noise that may explain it: arithmetic only.

Sharp photographs have spectra near C |f|^-b; blur bends that down, subsampling folds it, noise adds a floor:

    S(g) = Σ over the s² aliases f of g:  C |f|^-b A(angle of f) R(f) K(f)²   +  floor

K is one of the shapes of `families`, and its covariance Σ (pixels² of the high-resolution grid) is what is wanted. A
takes up the preferred directions of a picture; R is 1, or the response of a bicubic shrinking. Windows are sorted into
groups of similar contrast, each with a C, b and A of its own but one Σ and one floor for all: noise is what does not
grow with contrast.

Knows nothing of pictures as a whole; `estimate` cuts windows, `fits` finds the parameters.

Source: own design. Mean dB lost against the known kernel on 120 photographs of the train pack (random Gaussian kernels,
data step at α = 1e-3): one group 0.19, four 0.13; windows of 24, 32, 40, 48 pixels, with one group, 0.21, 0.21, 0.23,
0.23. The bound on the floor takes Set5 from about 0.8 to 0.13.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, effective_kernel
from mzsr.inference.families import SHAPES, Family
from mzsr.learning.spectrum import WINDOW

Planes = Float[np.ndarray, "count planes n n"]
Powers = Float[np.ndarray, "_ n half"]

ROUNDING = 1 / 12 / 255**2  # power of the noise of 8-bit rounding
FLAT = 4 * ROUNDING  # mean power of a window that holds little but rounding
GROUPS, RATIO = 4, 4.0  # groups of windows, and the ratio of powers from one to the next
# (mean, standard deviation) in log-spectra of the exponent of |f| and of cos 2φ, sin 2φ, cos 4φ, sin 4φ, cos 6φ and
# cos 8φ, from fits to 120 photographs of the train pack under their known kernels; 0.4 to 0.9 for b score alike
PRIOR = np.array([(-2.5, 0.6), (0, 0.4), (0, 0.4), (0.3, 0.33), (0, 0.2), (0, 0.11), (0.08, 0.14)])
TERMS = len(PRIOR)
SHARED, OWN = 4, TERMS + 1  # parameters of all groups, and of each


def contrast_groups(powers: Powers) -> list[Powers]:
    """Sort windows into groups of similar power, the strongest first; flat windows are left out."""
    mean = powers.mean((1, 2))
    steps = np.log(max(mean.max(), 1e-12) / np.maximum(mean, 1e-12)) / math.log(RATIO)
    index = np.minimum(steps.astype(int), GROUPS - 1)
    members = [powers[(index == group) & (mean > FLAT)] for group in range(GROUPS)]
    return [group for group in members if len(group)]


def quiet_levels(planes: Planes) -> Float[np.ndarray, " planes"]:
    """Estimate the noise of each plane where it is quietest: an upper bound, since even there may be texture.

    The finest Haar diagonal (a - b - c + d) / 2 of white noise has the standard deviation of the noise.

    Source: Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994, on blocks instead of
    the whole picture: the median over a picture full of texture measures the texture.
    """
    half = planes.shape[-1] // 2
    diagonal = (planes[..., :-1, :-1] - planes[..., 1:, :-1] - planes[..., :-1, 1:] + planes[..., 1:, 1:]) / 2
    corners = [(slice(y, y + half), slice(x, x + half)) for y in (0, half) for x in (0, half)]
    levels = np.concatenate([np.sqrt((diagonal[:, :, y, x] ** 2).mean((2, 3))) for y, x in corners])
    means = np.concatenate([planes[:, :, y, x].mean((2, 3)) for y, x in corners])
    # Clipped blacks and whites have lost their noise; where there is nothing else they have to do
    seen = (means > 0.05) & (means < 0.95)
    chosen = [level[ok] if ok.sum() >= 4 else level for level, ok in zip(levels.T, seen.T, strict=True)]
    return np.array([np.quantile(level, 0.05) for level in chosen])


@lru_cache(maxsize=16)
def _design(scale: int, shrinking: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the frequencies of a periodogram that are used, and what does not change at each of their aliases.

    Returns:
        mask (n, half); the terms of PRIOR (TERMS, aliases, frequencies); 4 π² (fy², fx², 2 fy fx); ln R.
    """
    fy, fx = np.broadcast_arrays(np.fft.fftfreq(WINDOW)[:, None], np.fft.rfftfreq(WINDOW)[None, :])
    # Off the axes, where the edges of frames and of text lie, and off DC and what leaks from it through the taper
    mask = (fy != 0) & (fx != 0) & (np.hypot(fy, fx) > 1.5 / WINDOW)
    aliases = [(m, n) for m in range(scale) for n in range(scale)]
    fy = np.stack([((fy[mask] + m) / scale + 0.5) % 1 - 0.5 for m, _ in aliases])
    fx = np.stack([((fx[mask] + n) / scale + 0.5) % 1 - 0.5 for _, n in aliases])
    angle = np.arctan2(fy, fx)
    # The logarithm is 0 at a quarter of the sampling rate, so that C and b hardly interact
    waves = [
        np.cos(2 * angle),
        np.sin(2 * angle),
        np.cos(4 * angle),
        np.sin(4 * angle),
        np.cos(6 * angle),
        np.cos(8 * angle),
    ]
    terms = np.stack([np.log(4 * np.hypot(fy, fx)), *waves])
    log_response = np.zeros_like(fy)
    if shrinking:
        taps = effective_kernel(Degradation(kernels.delta(), scale, "bicubic")).sum(0).double().numpy()
        tap = np.arange(len(taps))[:, None, None]
        rows, columns = (np.abs(np.einsum("t,taf", taps, np.exp(-2j * math.pi * tap * f))) ** 2 for f in (fy, fx))
        log_response = np.log(rows * columns + 1e-8)  # the response has zeros
    return mask, terms, 4 * math.pi**2 * np.stack([fy**2, fx**2, 2 * fy * fx]), log_response


class Model:
    """Log-spectra of all groups as a function of x = (ln l1, ln l2, theta, ln floor; then ln C and TERMS per group)."""

    def __init__(self, groups: int, scale: int, family: Family) -> None:
        """Prepare what does not depend on x."""
        self.mask, terms, self.quadratics, self.log_response = _design(scale, family == "bicubic")
        self.family: Family = family
        self.groups, self.shape = groups, self.log_response.shape
        self.terms = np.concatenate([np.ones((1, *self.shape)), terms]).reshape(OWN, -1)  # ln C has a term of ones

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-spectra (groups, frequencies), and their derivatives by the SHARED and OWN parameters."""
        (l1, l2), cos, sin, floor = np.exp(x[:2]), math.cos(x[2]), math.sin(x[2]), math.exp(x[3])
        # (row row, column column, row column) of the two axes of Σ, and of how they turn
        axes = np.array([[sin**2, cos**2, sin * cos], [cos**2, sin**2, -sin * cos], [2 * sin * cos, -2 * sin * cos, 0]])
        axes[2, 2] = cos**2 - sin**2
        q1, q2, turned = (axes @ self.quadratics.reshape(3, -1)).reshape(3, *self.shape)
        q1, q2 = l1 * q1.clip(0), l2 * q2.clip(0)  # rounding may leave a little below 0
        response, by_q1, by_q2 = SHAPES[self.family](q1, q2)
        by_blur = 2 * response * np.stack([by_q1 * q1, by_q2 * q2, (l1 * by_q1 - l2 * by_q2) * turned])
        own = x[SHARED:].reshape(self.groups, OWN)
        # The limit of 50 keeps a bad trial step finite
        sharp = np.exp(np.minimum((own @ self.terms).reshape(self.groups, *self.shape) + self.log_response, 50))
        aliases = sharp * response**2
        total = aliases.sum(1) + floor
        slopes = np.empty((self.groups, SHARED + OWN, self.shape[1]))
        np.einsum("gaf,kaf->gkf", sharp, by_blur, out=slopes[:, : SHARED - 1])
        slopes[:, SHARED - 1] = floor
        np.einsum("gaf,taf->gtf", aliases, self.terms.reshape(OWN, *self.shape), out=slopes[:, SHARED:])
        slopes /= total[:, None]
        return np.log(total), slopes
