"""What a picture went through: blur, noise, compression, told from its spectrum.

Two ways to a kernel meet here. A network has learned which kernel loses least for a spectrum (`estimator`): it has a
word for every blur, and is seldom far off. A fit of a handful of numbers (`fits`) is exact where one of its shapes
is the right one, and lost where none is, or where it starts at the wrong one. So the fit starts from what the network
says, every shape is judged by how well it explains the spectrum and by how much it contradicts the network, and where
JPEG has bent the spectrum the network, which has met that, decides alone (up to x4, where it has a word).

Knows nothing of files. Takes a low-resolution picture, gives `upscale` a Degradation and a confidence.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from mzsr.errors import InputError, one_of
from mzsr.imaging import kernels
from mzsr.imaging.color import is_grey
from mzsr.imaging.data_step import consistent
from mzsr.imaging.degrade import Degradation, check_scale, upsample
from mzsr.imaging.jpeg import Jpeg
from mzsr.imaging.metrics import reprojection_psnr
from mzsr.inference import spectra
from mzsr.inference.compression import LUMA
from mzsr.inference.families import WORDS, Family, kernel_from, response_of
from mzsr.inference.fits import Fit, fit
from mzsr.learning import spectrum
from mzsr.learning.devices import one_thread
from mzsr.learning.estimator import HEADS, NOISE_FLOOR, Estimator, Grid, decibels_lost, kernel_of, turned_response
from mzsr.learning.weights import load_estimator
from mzsr.shapes import Images, Kernel, Mask

BUDGET = 512  # windows per picture at most, which bounds the cost for any size; 100 score as well as 1024
TRUSTED = 0.3  # confidence below which the mild kernel is taken
MILD = 0.12  # x scale², variance of the kernel assumed where nothing is known: about a good lens and sensor
OTHERS: tuple[Family, ...] = ("disk", "box", "motion")
# What they have to be ahead by to be believed, in units of the cost of a fit: shapes with zeros explain by chance what
# others do not. This and the next two were chosen on degraded pictures of the train pack; LOG.md
HANDICAP = 10.0
CONTRADICTION = 4.0  # cost of a decibel between a shape and the network
LEARNED = 0.25  # share of the network in the kernel that is believed at last: two half-truths err in different ways
# A shrinking with a wide blur before it explains most Gaussians as well, and is rarer: what it has to be ahead by, from
# nothing to all of it between these sums of variances, x scale². This and the next were chosen on Kodak24 and Set14
BLURRED, WIDE = 20.0, (0.1, 0.4)
# A Gaussian that is fitted to more windows than so many is surer, and the share is less. For each decibel beyond the
# first by which the network contradicts it is more, up to a limit: the network comes within 2.5 dB of true Gaussians,
# and knows better what is none
FEW, OFF, MOST = 100, 0.08, 0.6
# What is said to hold in four of five pictures, from 295 pictures of the train pack; `runs/kernel_uncertainty.py`
SPREAD, NARROW = 1.5, 0.025  # of a width: what the fit says, and what a narrow one is off, x scale² / width²
UNFITTED = 0.1  # what a fit would say, where there is none
LOSS = 1.5  # times the decibels that the network expects to lose
# An estimate is refuted where no picture, degraded like this, agrees better with the one that is given, dB, and noise
# and compression do not explain it. LOG.md tells how near right ones come
REFUTED, SLACK = 30.0, 4.0
WINDOW = 192  # pixels a side, enlarged, of each of nine parts of a picture that are asked, from corner to corner
LUMA_POWER = sum(weight**2 for weight in LUMA)  # of the luma of independent noise of power 1 in each of them


RECORD: tuple[str, ...] = (
    "noise_channels",
    "confidence",
    "width_error",
    "expected_loss_db",
    "fallback",
    "enlarged",
    "note",
)
"""What JSON says of an estimate beside its kernel; nulls where the kernel was given."""


@dataclass(frozen=True)
class Estimate:
    """What a picture went through, as far as its spectrum tells.

    Attributes:
        degradation: the kernel on the requested grid, direct subsampling, the noise, and the compression as given.
        confidence: 0 (nothing could be seen) to 1.
        variances: (l1, l2) of the kernel, shrinking included, l1 >= l2, pixels² of the high-resolution grid.
        theta: angle of l1 from the column axis towards the row axis, radians in [0, pi).
        noise: standard deviation of a channel, [0, 1] units, the RMS over channels; what is beyond 8-bit rounding.
            Sons get it in all channels, since networks are told one number.
        channels: the same of R, G and B, or of grey, each.
        fallback: whether the kernel is the mild one because the picture did not tell.
        note: the same in plain words.
        width: of the kernel, the root of the mean of its variances, pixels as above.
        width_error: share of the width by which it may be off, in four of five pictures; infinite for a fallback.
        loss: decibels that a result may lose against the true kernel, in four of five pictures; infinite likewise.
        enlarged: factor by which it had been enlarged before, see `enlargement`; 1 for not at all.
    """

    degradation: Degradation
    confidence: float
    variances: tuple[float, float]
    theta: float
    noise: float
    channels: tuple[float, ...]
    fallback: bool
    note: str
    width: float
    width_error: float
    loss: float
    enlarged: float = 1.0

    def record(self) -> dict[str, object]:
        """Return what is said of an estimate beside its kernel, as plain values for JSON; the keys are RECORD."""
        return {
            "noise_channels": [round(level, 6) for level in self.channels],
            "confidence": round(self.confidence, 4),
            "width_error": None if self.fallback else round(self.width_error, 4),
            "expected_loss_db": None if self.fallback else round(self.loss, 3),
            "fallback": self.fallback,
            "enlarged": round(self.enlarged, 3),
            "note": self.note,
        }


def estimate(
    lr: Images, scale: int, *, grid: Grid = "centre", jpeg: Jpeg | None = None, untaken: Mask | None = None
) -> Estimate:
    """Estimate the blur kernel and the noise of a picture.

    Args:
        lr: (1, C, h, w) in [0, 1]; three channels that are equal count as one of grey.
        scale: the factor by which the picture is to be enlarged, 1 to 8.
        grid: `centre`: a pixel sits in the middle of the s x s it stands for, as in photographs. `corner`: it sits on
            the first of them, as in the protocol of the MZSR paper.
        jpeg: how it was compressed, if it was, see `compression`.
        untaken: (1, 1, h, w), pixels that no camera took, which tell nothing: `picture.untaken`.

    Returns:
        Always finite; for a flat, tiny or otherwise mute picture a mild kernel, `fallback` set and said in `note`.

    Raises:
        InputError: several pictures at once, values that are not finite, or a scale or grid that is none.

    >>> estimate(torch.full((1, 3, 64, 64), 0.5), 2).note
    'no trustworthy estimate (the picture is flat); a mild blur of variance 0.48 pixels² is assumed'
    """
    _check(lr, grid)
    scale = check_scale(scale)
    if is_grey(lr):  # else rounding would count as noise of its own in every channel
        lr = lr[:, :1]
    none = (0.0,) * lr.shape[1]
    if min(lr.shape[2:]) < spectrum.WINDOW:
        return _unknown(scale, grid, 0.0, none, 0.0, f"the picture is smaller than {spectrum.WINDOW} pixels", jpeg)
    seen = _look(lr, untaken)
    if not seen.groups:
        return _unknown(scale, grid, 0.0, none, 0.0, "the picture is flat", jpeg)
    learned = _learned(lr, scale, grid, jpeg, untaken)
    textured = sum(len(group) for group in seen.groups)
    confidence = textured / (textured + 8) * learned.trust
    if jpeg is not None and learned.kernel is not None:
        kernel, noise = learned.kernel, learned.noise
        words, unsure = "blur", UNFITTED
    else:
        family, best, contradiction = _explain(seen, scale, grid, learned)
        kernel, noise = kernel_from(family, best.variances, best.theta, scale, grid), seen.noise(best.floor)
        if learned.kernel is not None:
            share = LEARNED
            if family == "gaussian":
                share = min(LEARNED * min(FEW / textured, 1.0) + OFF * max(contradiction - 1.0, 0.0), MOST)
            kernel = _mean(learned.kernel, kernel, share)
        words, unsure = WORDS[family], best.unsure
        confidence /= 1 + (unsure / 0.25) ** 2
    if confidence < TRUSTED:
        why = "too little of the spectrum stands out of the noise"
        return _unknown(scale, grid, noise, seen.noises(noise), confidence, why, jpeg)
    d = Degradation(kernel, scale, noise=noise, jpeg=jpeg)
    if _refuted(lr, d):
        why = f"its spectrum tells of {words}, and no picture becomes this one that way"
        return _unknown(scale, grid, noise, seen.noises(noise), 0.0, why, jpeg)
    variances, theta = _of_light(kernel)
    note = f"{words}, variances {variances[0]:.2f} and {variances[1]:.2f} pixels², noise {255 * noise:.1f}/255"
    width = _width(kernel)
    error, loss = SPREAD * (unsure + NARROW * (scale / width) ** 2), -10 * LOSS * math.log10(learned.trust)
    return Estimate(
        d, confidence, variances, theta, noise, seen.noises(noise), False, note, width, min(error, 1.0), loss
    )


def _refuted(lr: Images, d: Degradation) -> bool:
    """Tell whether the picture speaks against what it is taken to have gone through: nothing becomes it that way.

    So do charts, printed screens and the like, whose spectrum no photograph has. Asked is what a data step, which does
    all that can be done, leaves over. What noise and compression took is no argument.
    """
    height, width = (min(WINDOW // d.scale, side) for side in lr.shape[2:])
    rows, columns = ([(whole - part) * place // 2 for place in range(3)]
                     for whole, part in zip(lr.shape[2:], (height, width), strict=True))  # fmt: skip
    parts = torch.cat([lr[:, :, y : y + height, x : x + width] for y in rows for x in columns])
    with torch.inference_mode(), one_thread():
        hr = consistent(upsample(parts, d), parts, d).clamp(0, 1)
    return reprojection_psnr(hr, parts, d) < min(REFUTED, explained(d))


def explained(d: Degradation) -> float:
    """Return down to how many dB noise and compression explain that a result, degraded again, is not the picture.

    >>> round(explained(Degradation(kernels.delta(), noise=0.1)))
    16
    """
    taken = math.hypot(float(d.noise), 0.0 if d.jpeg is None else float(d.jpeg.error))
    return -20 * math.log10(max(taken, 1e-9)) - SLACK


def mild(scale: int, grid: Grid) -> Kernel:
    """Return the kernel to assume where nothing is known: a little blur, for too much of it does more harm."""
    variance = MILD * scale**2
    return kernel_from("gaussian", (variance, variance), 0.0, scale, grid)


@dataclass(frozen=True)
class _Look:
    """The spectrum of a picture, ready to be explained.

    Attributes:
        groups: periodograms of luma, see `spectra.contrast_groups`.
        channels: noise of R, G and B, or of grey, where it is quietest.
        quiet: the same of luma.
        rounding: power of the noise of luma that rounding to 8 bits leaves.
    """

    groups: list[spectra.Powers]
    channels: list[float]
    quiet: float
    rounding: float

    def noise(self, floor: float) -> float:
        """Return the noise of a channel, [0, 1] units, from the floor of the spectrum of luma.

        Independent noise averages out in luma, grey noise does not. What a channel has beyond luma in the quietest
        places is the rest, and no more than independent noise would leave.
        """
        seen = max(floor - self.rounding, 0.0)
        hidden = max(self.mean - self.quiet**2 - (spectra.ROUNDING - self.rounding), 0.0)
        in_luma = sum(w**2 * level**2 for w, level in zip(LUMA, self.channels, strict=False))
        share = self.mean / in_luma if len(self.channels) == len(LUMA) and in_luma else 1 / LUMA_POWER
        return min(math.sqrt(seen + min(hidden, seen * (share - 1))), 1.0)

    def noises(self, noise: float) -> tuple[float, ...]:
        """Return the noise of each channel: the mean of their powers as told, their differences as in quiet places."""
        powers = [max(level**2 - self.mean + noise**2, 0.0) for level in self.channels]
        total = sum(powers)  # more than is told where a channel would have had less than none
        share = len(powers) * noise**2 / total if total else 0.0
        return tuple(min(math.sqrt(power * share), 1.0) for power in powers)

    @property
    def mean(self) -> float:
        """Return the mean power of the channels where they are quietest."""
        return sum(level**2 for level in self.channels) / len(self.channels)


@dataclass(frozen=True)
class _Learned:
    """What the network says: a response and its kernel (None beyond the scales it knows), moments, noise, and trust."""

    response: Float[Tensor, "f f"] | None
    kernel: Kernel | None
    variances: tuple[float, float]
    theta: float
    noise: float
    trust: float


def _look(lr: Images, untaken: Mask | None) -> _Look:
    planes = spectrum.windows(lr, BUDGET, untaken)
    grey = spectrum.luma(planes)
    *channels, quiet = spectra.quiet_levels(torch.cat([planes, grey[:, None]], 1).double().numpy()).tolist()
    rounding = spectra.ROUNDING * (LUMA_POWER if lr.shape[1] == 3 else 1 / lr.shape[1])
    groups = spectra.contrast_groups(spectrum.periodograms(grey).double().numpy())
    return _Look(groups, channels, quiet, rounding)


def _learned(lr: Images, scale: int, grid: Grid, jpeg: Jpeg | None, untaken: Mask | None) -> _Learned:
    """Ask the network about the picture seen in four ways, and take the mean."""
    error = 0.0 if jpeg is None else float(jpeg.error)
    known = min(scale, max(s for s, _ in HEADS))
    seen = spectrum.features(lr.expand(-1, 3, -1, -1) if lr.shape[1] == 1 else lr, error, untaken)
    with torch.inference_mode(), one_thread():  # the same kernel, to the bit, with any number of threads
        found, noise, doubt = _network()(torch.stack([spectrum.turned(seen, view) for view in range(4)]), known, grid)
        mean = torch.stack([turned_response(found[view : view + 1], view)[0] for view in range(4)]).mean(0)
    kernel = kernel_of(mean, known, grid)
    variances, theta = _of_light(kernel)
    l1, l2 = (variance * (scale / known) ** 2 for variance in variances)
    level = max(float(noise.mean().exp()) - NOISE_FLOOR, 0.0)
    trust = 10 ** (-float(doubt.mean().exp()) / 10)
    said = (mean, kernel) if known == scale else (None, None)
    return _Learned(*said, (l1, l2), theta, level, trust)


def _explain(seen: _Look, scale: int, grid: Grid, learned: _Learned) -> tuple[Family, Fit, float]:
    """Fit the shapes of blur, and choose among them; return by how many decibels the network contradicts, too."""

    def fitted(family: Family, near: Fit | None = None) -> Fit:
        return fit(seen.groups, scale, family, seen.quiet, seen.rounding, near)

    fits: dict[Family, Fit] = {"gaussian": fitted("gaussian")}
    if grid == "centre" and scale > 1:
        fits["bicubic"] = fitted("bicubic")
    if learned.response is not None:
        start = replace(fits["gaussian"], variances=learned.variances, theta=learned.theta)
        fits |= {family: fitted(family, start) for family in OTHERS}

    def lost(family: Family) -> float:
        if learned.response is None:
            return 0.0
        ours = response_of(family, fits[family].variances, fits[family].theta, scale)[None]
        return float(decibels_lost(ours, learned.response[None], scale, torch.tensor([learned.noise])))

    contradictions = {family: lost(family) for family in fits}

    def price(family: Family) -> float:
        known = fits[family].cost + CONTRADICTION * contradictions[family] + HANDICAP * (family in OTHERS)
        wide = (sum(fits[family].variances) / scale**2 - WIDE[0]) / (WIDE[1] - WIDE[0])
        return known + BLURRED * min(max(wide, 0.0), 1.0) * (family == "bicubic")

    family = min(fits, key=price)
    return family, fits[family], contradictions[family]


def _mean(first: Float[Tensor, "a a"], second: Float[Tensor, "b b"], share: float) -> Kernel:
    """Return share · first + (1 - share) · second, on the larger of their squares."""
    size = max(first.shape[0], second.shape[0])
    large = [pad(kernel, [(size - kernel.shape[0]) // 2] * 4) for kernel in (first, second)]
    return share * large[0] + (1 - share) * large[1]


@lru_cache(maxsize=1)
def _network() -> Estimator:
    return load_estimator().requires_grad_(False)


def _of_light(kernel: Kernel) -> tuple[tuple[float, float], float]:
    """Return the variances of a kernel, at least those of no blur, and the angle of the larger."""
    (l1, l2), theta = kernels.principal(kernels.covariance(kernel.double()))
    return (max(float(l1), 0.02), max(float(l2), 0.02)), float(theta) % math.pi


def _width(kernel: Kernel) -> float:
    return math.sqrt(max(float(kernels.covariance(kernel.double()).trace()) / 2, 0.02))


def _check(lr: Any, grid: str) -> None:
    if not isinstance(lr, Tensor) or lr.ndim != 4 or lr.shape[1] not in (1, 3):
        found = tuple(lr.shape) if isinstance(lr, Tensor) else type(lr).__name__
        raise InputError(
            f"picture is {found}; a tensor (1, 1 or 3, height, width) is required — `mzsr estimate` reads files"
        )
    if lr.shape[0] != 1:
        raise InputError(f"{lr.shape[0]} pictures were given; estimate one at a time, for their kernels may differ")
    one_of("grid", grid, ("centre", "corner"))
    if not lr.is_floating_point():
        raise InputError(f"picture is of {lr.dtype}; floats in [0, 1] are required — divide 8-bit ones by 255")
    if not bool(torch.isfinite(lr).all()):
        raise InputError("picture has values that are NaN or infinite; every value must be finite")
    low, high = float(lr.min()), float(lr.max())
    if low < -1 or high > 2:  # noise may go a little beyond
        raise InputError(f"picture has values from {low:g} to {high:g}; they must lie in [0, 1] — divide by 255")


def _unknown(
    scale: int, grid: Grid, noise: float, channels: tuple[float, ...], confidence: float, why: str, jpeg: Jpeg | None
) -> Estimate:
    variance = MILD * scale**2
    note = f"no trustworthy estimate ({why}); a mild blur of variance {variance:.2f} pixels² is assumed"
    degradation = Degradation(mild(scale, grid), scale, noise=noise, jpeg=jpeg)
    return Estimate(
        degradation, confidence, (variance, variance), 0.0, noise, channels, True, note,
        math.sqrt(variance), math.inf, math.inf,
    )  # fmt: skip
