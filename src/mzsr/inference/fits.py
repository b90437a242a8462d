"""A blur and a noise fitted to the spectrum of a picture: which shape, how wide, and how well it explains what is seen.

    minimise  Σ ρ((model(x) - data) / RESIDUAL) + Σ ρ((x - mean) / deviation),   low <= x <= high

ρ(r) = SOFT² (√(1 + r² / SOFT²) - 1), by damped Gauss-Newton steps. Only the blur and the floor are common to all
groups of windows, so a step is a sum of small matrices. Bounds and priors keep every parameter from running away.

Takes groups of periodograms from `spectra`; `estimate` decides what to believe.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from mzsr.inference.families import Family
from mzsr.inference.spectra import OWN, PRIOR, ROUNDING, SHARED, TERMS, Model, Powers

RESIDUAL = 0.4  # of a log-spectrum around the model: twice what fits left, as neighbouring frequencies agree
SOFT = 0.7  # in units of RESIDUAL: beyond it deviations count by their size, not its square; 4 loses 0.01 to 0.04 dB
# Blurs to start from: variance as a multiple of the one that is near, its share along the first axis, number of angles
STARTS: dict[Family, tuple[tuple[float, float, int], ...]] = {
    "disk": ((0.5, 0.5, 1), (1.4, 0.5, 1), (2.0, 0.5, 1)),
    "box": ((0.6, 0.5, 4), (1.0, 0.5, 4), (1.6, 0.5, 4), (1.0, 0.8, 8)),
    "motion": ((1.0, 0.75, 8), (1.0, 0.93, 8), (1.7, 0.9, 8)),
}
BRANCHES = 2
STEPS, ENOUGH = 60, 1e-5  # at most, and the share of the cost that a step has to save for another one


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
    """

    cost: float
    variances: tuple[float, float]
    theta: float
    floor: float
    unsure: float
    rest: np.ndarray


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
        near: where to start; None starts from what is usual. Zeros of a spectrum have to be nearly right to be found,
            so of a shape that has a direction other ones are looked at too, and the best BRANCHES of all are followed.
    """
    problem = _Problem(groups, scale, family, quiet, rounding)
    if near is None:
        return problem.fit(problem.usual())
    total, blurs = sum(near.variances), [(near.variances, near.theta)]
    for width, share, angles in STARTS.get(family, ()):
        both = width * total * share, width * total * (1 - share)
        blurs += [(both, math.pi * step / angles) for step in range(angles)]
    starts = [problem.near(replace(near, variances=variances, theta=theta)) for variances, theta in blurs]
    seen = sorted((problem.settled(start) for start in starts), key=lambda pair: pair[0])
    return min((problem.fit(x) for _, x in seen[:BRANCHES]), key=lambda found: found.cost)


class _Problem:
    """What is minimised: data, weights, bounds and priors of one picture and one shape."""

    def __init__(self, groups: list[Powers], scale: int, family: Family, quiet: float, rounding: float) -> None:
        self.model, self.scale = Model(len(groups), scale, family), scale
        self.data = np.stack([np.log(group.mean(0)[self.model.mask] + 1e-12) for group in groups])
        # The mean of few windows is a noisy one
        self.weight = np.array([min(1.0, len(group) / 8) ** 0.5 / RESIDUAL for group in groups])[:, None]
        # x scale²: a blur of half a low-resolution pixel, within a factor of 7; a shrinking may have no blur beside it
        usual, least = (0.025, 0.0025) if family == "bicubic" else (0.25, 0.0125)
        lowest_floor = math.log(rounding) - 0.3
        self.floor = max(2 * math.log(quiet + 1e-9), math.log(rounding)) + 0.3

        def every(shared: list[float], own: list[float]) -> np.ndarray:
            return np.concatenate([shared, *[own] * len(groups)])

        blur = [math.log(usual * scale**2)] * 2
        self.mean = every([*blur, 0.0, 0.0], [0.0, *PRIOR[:, 0]])
        self.stiff = every([0.25, 0.25, 0.0, 0.0], [0.0, *PRIOR[:, 1] ** -2])  # 1 / deviation², 0 without a prior
        self.low = every([*np.log([least * scale**2] * 2), -10.0, lowest_floor], [-40.0] + [-5.0] * TERMS)
        self.high = every([*np.log([3.0 * scale**2] * 2), 10.0, self.floor], [20.0] + [5.0] * TERMS)

    def usual(self) -> np.ndarray:
        """Return where to start when nothing is known."""
        shared = [*np.log([0.4 * self.scale**2, 0.2 * self.scale**2]), 0.0, self.floor - 0.3]
        return np.concatenate([shared, *([level, *PRIOR[:, 0]] for level in self.data.mean(1))])

    def near(self, other: Fit) -> np.ndarray:
        """Return the parameters of another fit."""
        return np.concatenate([np.log(other.variances), [other.theta, math.log(other.floor)], other.rest])

    def look(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the cost at x, its gradient, and the matrix of a Gauss-Newton step."""
        values, slopes = self.model(x)
        residual = (values - self.data) * self.weight
        apart = (x - self.mean) ** 2 * self.stiff
        bent, bent_prior = np.sqrt(1 + (residual / SOFT) ** 2), np.sqrt(1 + apart / SOFT**2)
        cost = SOFT**2 * float((bent - 1).sum() + (bent_prior - 1).sum())
        # Robust: a deviation pulls with less than its size
        parts = slopes * (self.weight / bent)[:, None] * self.weight[:, None]
        matrices, pulls = parts @ slopes.transpose(0, 2, 1), (parts @ (values - self.data)[..., None])[..., 0]
        matrix = np.diag(self.stiff / bent_prior)
        gradient = (x - self.mean) * self.stiff / bent_prior
        for group, (part, pull) in enumerate(zip(matrices, pulls, strict=True)):
            own = slice(SHARED + OWN * group, SHARED + OWN * (group + 1))
            matrix[:SHARED, :SHARED] += part[:SHARED, :SHARED]
            matrix[:SHARED, own] += part[:SHARED, SHARED:]
            matrix[own, :SHARED] += part[SHARED:, :SHARED]
            matrix[own, own] += part[SHARED:, SHARED:]
            gradient[:SHARED] += pull[:SHARED]
            gradient[own] += pull[SHARED:]
        return cost, gradient, matrix

    def settled(self, start: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the cost of a blur, and x, when all but the blur has taken one step to suit it."""
        x = np.clip(start, self.low + 1e-6, self.high - 1e-6)
        _, gradient, matrix = self.look(x)
        others = np.arange(SHARED - 1, len(x))
        part = matrix[np.ix_(others, others)]
        x[others] -= np.linalg.solve(part + np.diag(0.01 * np.diag(part) + 1e-9), gradient[others])
        x = np.clip(x, self.low + 1e-6, self.high - 1e-6)
        return self.look(x)[0], x

    def fit(self, start: np.ndarray) -> Fit:
        """Walk downhill."""
        x, damping = np.clip(start, self.low + 1e-6, self.high - 1e-6), 1e-3
        cost, gradient, matrix = self.look(x)
        for _ in range(STEPS):
            # What lies on a bound and wants beyond it stays
            free = np.flatnonzero(~((x <= self.low) & (gradient > 0) | (x >= self.high) & (gradient < 0)))
            part = matrix[np.ix_(free, free)]
            step = np.linalg.solve(part + np.diag(damping * np.diag(part) + 1e-9), -gradient[free])
            trial = x.copy()
            trial[free] = np.clip(x[free] + step, self.low[free], self.high[free])
            seen = self.look(trial)
            if seen[0] < cost:
                saved = cost - seen[0]
                x, (cost, gradient, matrix), damping = trial, seen, damping / 5
                if saved < ENOUGH * cost:
                    break
            else:
                damping *= 6
                if damping > 1e6:
                    break
        variances = np.exp(x[:2])
        deviations = np.sqrt(np.abs(np.diag(np.linalg.pinv(matrix))[:2]))
        unsure = float((deviations * variances / (variances + 0.125 * self.scale**2)).max())
        floor, theta = math.exp(x[3]), float(x[2]) % math.pi
        return Fit(cost, tuple(variances.tolist()), theta, floor, unsure, x[SHARED:])
