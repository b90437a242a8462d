"""The spectrum of a picture, and the blur and the noise that explain it: arithmetic only, no decisions.

Sharp photographs have spectra near C |f|^-b; blur bends that down, subsampling folds it, noise adds a floor:

    S(g) = Σ over the s² aliases f of g:  C |f|^-b A(angle of f) R(f) K(f)²   +  floor

K is one of the shapes of `families`, and its covariance Σ (pixels² of the high-resolution grid) is what is wanted. A
takes up the preferred directions of a picture; R is 1, or the response of a bicubic shrinking. Windows are sorted into
groups of similar contrast, each with a C, b and A of its own but one Σ and one floor for all: noise is what does not
grow with contrast. Box bounds and priors keep every parameter from running away.

Knows nothing of pictures as a whole; `estimate` cuts windows, calls `fit`, and decides what to believe.

Source: own design. Mean dB lost against the known kernel on 120 photographs of the train pack (random Gaussian kernels,
data step at α = 1e-3): one group 0.19, four 0.13; windows of 24, 32, 40, 48 pixels, with one group, 0.21, 0.21, 0.23,
0.23. The bound on the floor takes Set5 from about 0.8 to 0.13.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

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
RESIDUAL = 0.4  # of a log-spectrum around the model: twice what those fits left, as neighbouring frequencies agree
SOFT = 0.7  # in units of RESIDUAL: beyond it deviations count by their size, not its square; 4 loses 0.01 to 0.04 dB


@dataclass(frozen=True)
class Fit:
    """What a family of kernels makes of a picture.

    Attributes:
        cost: robust sum of squares, priors included: the smaller, the better the family explains the spectrum.
        variances: (l1, l2), in any order, pixels² of the high-resolution grid.
        theta: angle of the axis of l1 from the column axis towards the row axis, radians in [0, pi).
        floor: power of the noise of luma, rounding included.
        unsure: standard deviation of the worse log-variance, less for a narrow blur, whose exact width hardly matters.
        rest: all other parameters, for a fit that starts from this one.
        count: values that were fitted.
    """

    cost: float
    variances: tuple[float, float]
    theta: float
    floor: float
    unsure: float
    rest: np.ndarray
    count: int


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


class _Model:
    """Log-spectra of all groups as a function of x = (ln l1, ln l2, theta, ln floor; then ln C and TERMS per group)."""

    def __init__(self, groups: int, scale: int, family: Family) -> None:
        self.mask, self.terms, self.quadratics, self.log_response = _design(scale, family == "bicubic")
        self.family: Family = family
        self.count = int(self.mask.sum())
        self.first = 4 + (TERMS + 1) * np.arange(groups)  # where the parameters of a group begin

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-spectra, one group after the other, and their derivatives."""
        (l1, l2), cos, sin, floor = np.exp(x[:2]), math.cos(x[2]), math.sin(x[2]), math.exp(x[3])
        # (row row, column column, row column) of the two axes of Σ, and of how they turn
        axes = np.array([[sin**2, cos**2, sin * cos], [cos**2, sin**2, -sin * cos]])
        turning = np.array([2 * sin * cos, -2 * sin * cos, cos**2 - sin**2])
        (q1, q2), turned = np.tensordot(axes, self.quadratics, 1), np.tensordot(turning, self.quadratics, 1)
        q1, q2 = l1 * q1, l2 * q2
        response, by_q1, by_q2 = SHAPES[self.family](q1, q2)
        by_blur = [2 * response * slope for slope in (by_q1 * q1, by_q2 * q2, (l1 * by_q1 - l2 * by_q2) * turned)]
        values = np.empty(len(self.first) * self.count)
        slopes = np.zeros((len(values), len(x)))
        for group, first in enumerate(self.first):
            rows, own = slice(group * self.count, (group + 1) * self.count), slice(first + 1, first + 1 + TERMS)
            # The limit of 50 keeps a bad trial step finite
            sharp = np.exp(np.minimum(x[first] + self.log_response + np.tensordot(x[own], self.terms, 1), 50))
            aliases = sharp * response**2
            total = aliases.sum(0) + floor
            values[rows] = np.log(total)
            slopes[rows, :3] = np.stack([(sharp * slope).sum(0) / total for slope in by_blur], 1)
            slopes[rows, 3] = floor / total
            slopes[rows, first] = 1 - floor / total
            slopes[rows, own] = ((self.terms * aliases).sum(1) / total).T
        return values, slopes


def fit(
    groups: list[Powers], scale: int, family: Family, quiet: float, rounding: float = ROUNDING, near: Fit | None = None
) -> Fit:
    """Fit one Σ and one floor to the mean periodograms of all groups: robust least squares, bounded, with priors.

    Args:
        groups: periodograms of luma, see `contrast_groups`.
        scale: the subsampling whose aliases are modelled.
        family: the shape of the kernel.
        quiet: noise of luma where it is quietest; a higher floor would be texture.
        rounding: power of the rounding noise of luma; a lower floor cannot be.
        near: where to start; None starts from what is usual. Zeros of a spectrum have to be nearly right to be found.
    """
    model = _Model(len(groups), scale, family)
    data = np.concatenate([np.log(group.mean(0)[model.mask] + 1e-12) for group in groups])
    # The mean of few windows is a noisy one
    weight = np.repeat([min(1.0, len(group) / 8) ** 0.5 / RESIDUAL for group in groups], model.count)
    bent = np.concatenate([[0, 1], *(first + 1 + np.arange(TERMS) for first in model.first)])
    # x scale²: a blur of half a low-resolution pixel, within a factor of 7; a shrinking may have no blur beside it
    usual, least = (0.025, 0.0025) if family == "bicubic" else (0.25, 0.0125)
    means = np.concatenate([np.log([usual * scale**2] * 2), *[PRIOR[:, 0]] * len(groups)])
    widths = np.concatenate([[2.0, 2.0], *[PRIOR[:, 1]] * len(groups)])
    prior = np.zeros((len(bent), 4 + len(groups) * (TERMS + 1)))
    prior[np.arange(len(bent)), bent] = 1 / widths

    lowest_floor, highest_floor = math.log(rounding) - 0.3, max(2 * math.log(quiet + 1e-9), math.log(rounding)) + 0.3
    low = np.concatenate(
        [np.log([least * scale**2] * 2), [-10.0, lowest_floor], *[[-40.0] + [-5.0] * TERMS] * len(groups)]
    )
    high = np.concatenate(
        [np.log([3.0 * scale**2] * 2), [10.0, highest_floor], *[[20.0] + [5.0] * TERMS] * len(groups)]
    )
    steps = np.concatenate([[0.5, 0.5, 0.5, 1.0], *[[1.0] + [0.2] * TERMS] * len(groups)])
    levels = data.reshape(len(groups), -1).mean(1)
    start = np.concatenate([np.log([0.4 * scale**2, 0.2 * scale**2]), [0.0, highest_floor - 0.3]])
    start = np.concatenate([start, *([level, *PRIOR[:, 0]] for level in levels)])
    if near is not None:
        start = np.concatenate([np.log(near.variances), [near.theta, math.log(near.floor)], near.rest])

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.concatenate([(model(x)[0] - data) * weight, (x[bent] - means) / widths])

    def derivatives(x: np.ndarray) -> np.ndarray:
        return np.vstack([model(x)[1] * weight[:, None], prior])

    start = np.clip(start, low + 1e-6, high - 1e-6)
    found = least_squares(
        residuals,
        start,
        jac=derivatives,  # pyright: ignore[reportArgumentType] (typed by its default, a string)
        bounds=(low, high),
        x_scale=steps,
        loss="soft_l1",
        f_scale=SOFT,
        max_nfev=60,
    )
    variances = np.exp(found.x[:2])
    deviations = np.sqrt(np.abs(np.diag(np.linalg.pinv(found.jac.T @ found.jac))[:2]))
    unsure = float((deviations * variances / (variances + 0.125 * scale**2)).max())
    return Fit(
        float(found.cost),
        tuple(variances.tolist()),
        float(found.x[2]) % math.pi,
        math.exp(found.x[3]),
        unsure,
        found.x[4:],
        len(data),
    )
