"""Was a picture enlarged before? How much real resolution does it hold?

Whoever enlarges f times takes new pixels at 1/f of the distance of the old ones: some fall on an old pixel and stay
sharp, others fall between two and are a mean. So the strength of the finest detail rises and falls 1/f times a pixel,
along rows and along columns alike, and a blur, which treats all pixels alike, leaves no such line. Beyond half of 1/f
the spectrum is empty, too; both together are believed. A fabric or a screen, whose own line is in the picture, is no
enlargement, nor is a camera's mosaic, which has its line in red and blue alone.

Knows nothing of kernels. Takes a picture, gives `upscale` a factor and a smaller picture: what was between the old
pixels was made up, and to work without them gains 0.8 to 1.9 dB (`runs/enlargement.py`).

Source: Gallagher, "Detection of linear and cubic interpolation in JPEG compressed images", CRV 2005, for second
differences; third differences, which see a centred doubling, and the spectrum beside them, are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import maximum_filter1d

from mzsr.imaging.degrade import MAX_SCALE, Sampling
from mzsr.imaging.picture import Picture
from mzsr.imaging.resize import resize
from mzsr.learning import spectrum
from mzsr.shapes import Images

SMALLEST = 96  # pixels a side; below it lines are too broad to be told from one another
LINES, LONGEST = 512, 2048  # rows or columns looked at, spread out, and pixels of each from the middle: bounds the cost
BINS = 4096  # of a discrete Fourier transform
LOWEST, HIGHEST = 1.25, 4.5  # factors looked for
NEAR = 5  # bins by which the lines of rows and columns may differ, as sides are rounded to whole pixels
BLOCK = BINS // 8  # the line of the blocks of JPEG, which are strongest there and weaker at its multiples
OVERTONE = 0.4  # of that line at most, which they have at 1/2 (60 pictures at qualities 50 to 90)
# Strength of a line, in medians of all, which plain pictures reach by chance in regular patterns alone: 10.8 at most
# in Set5, Set14, BSD100, Kodak24 and DIV2K_valid, where the spectrum is not empty; of others 5.6
CHANCE, CERTAIN = 6.0, 12.0
# Strength of a line in the mean of rows and of columns, in medians of this many frequencies around on either side, from
# which it is of a pattern: 486 of 490 enlarged pictures have less, 259 of 289 fabrics of 3.7 to 8 pixels more (LOG.md)
PATTERN, AROUND = 8.0, 8
EXPONENT = 2.5  # of the spectra of photographs
# dB missing beyond a cutoff, at a factor of 1.3 and from 1.9 on; one less for each doubling of the line beyond CERTAIN.
# Bicubic has as much after JPEG 80
EMPTY = 8.0, 11.5
BETWEEN = 9.0  # dB missing between two cutoffs, from which the lower one is possible
TOLD = 0.3  # cosine of the phase of a line from which it says which factor it belongs to
# To whoever said something about the picture as it is, or asked for more than there is a network for
ADVICE = "to work from that detail, leave out --kernel, --noise and --subsample direct, or ask for a smaller picture"


def enlargement(images: Images) -> float:
    """Return the factor by which a picture was enlarged before; 1.0 where nothing tells of it.

    Args:
        images: (1, C, h, w) in [0, 1].

    Returns:
        1.0, or LOWEST to HIGHEST; both sides by the same.

    >>> import torch
    >>> enlargement(torch.full((1, 3, 128, 128), 0.5))
    1.0
    """
    if min(images.shape[2:]) < SMALLEST:
        return 1.0
    luma = spectrum.luma(images)[0].double().cpu().numpy()
    repeated = _repeated(luma), _repeated(luma.T)
    if min(repeated) >= LOWEST and max(repeated) < 1.03 * min(repeated):
        factor = sum(repeated) / 2
        return factor if _sampled(images, round(factor)) is None else float(round(factor))
    strength, line, blocks = _line(luma)
    if strength < CHANCE or min(_pattern(luma, line), _pattern(luma.T, line)) > PATTERN:
        return 1.0
    power = _power(images)
    if line > 0.49:
        # In a mosaic, green lies on every row and every column
        if images.shape[1] == 3 and _line(images[0, 1].double().cpu().numpy())[0] < CHANCE:
            return 1.0
        # Blocks hide the line of an enlargement by 4, and leave its overtone
        factor = 2.0 if blocks < CHANCE or not _reaches(power, 2.0, 4.0) else 1.0
    else:
        # The line of an enlargement by f lies at 1/f, which is the same as at 1 - 1/f
        side = (_side(luma, line) + _side(luma.T, line)) / 2
        factor = 1.0 if abs(side) < TOLD else 1 / (1 - line) if side > 0 else 1 / line
    wanted = float(np.interp(factor, (1.3, 1.9), EMPTY)) - max(math.log2(strength / CERTAIN), 0.0)
    return factor if _missing(power, factor) > wanted else 1.0


def scale_from_detail(factor: float | int, before: float) -> int:
    """Return the whole scale from which a factor is reached by what a picture holds that was enlarged before.

    What is left of half a pixel, as sides are whole numbers, is no reason for the next scale.

    >>> scale_from_detail(2.0, 2.02), scale_from_detail(2.0, 1.0)
    (4, 2)
    """
    return max(1, math.ceil(factor * before - 0.05))


def brought_back(factor: float | int, before: float, subsample: Sampling | None) -> bool:
    """Return whether a picture is brought back to its detail before it is enlarged, where its kernel is not given."""
    return before > 1 and subsample != "direct" and scale_from_detail(factor, before) <= MAX_SCALE


def detail(size: Sequence[int], factor: float) -> tuple[int, int]:
    """Return the (height, width) whose detail a picture of this (height, width) holds, enlarged by a factor before.

    >>> detail((1280, 1920), 2.0)
    (640, 960)
    """
    return round(size[0] / factor), round(size[1] / factor)


def detail_words(size: Sequence[int], factor: float) -> str:
    """Say how much detail a picture of a (height, width) holds.

    >>> detail_words((1280, 1920), 2.0)
    'this picture holds about 960x640 pixels of detail, though it has 1920x1280: it was enlarged 2.00 times before'
    """
    (rows, columns), (height, width) = detail(size, factor), size
    return (
        f"this picture holds about {columns}x{rows} pixels of detail, though it has {width}x{height}: "
        f"it was enlarged {factor:.2f} times before"
    )


def shrunk(picture: Picture, factor: float) -> Picture:
    """Return a picture at the size whose detail it holds: the very pixels, where nearest neighbours enlarged them."""
    size = detail(picture.pixels.shape[2:], factor)

    def smaller(images: Images) -> Images:
        same = _sampled(images, round(factor)) if factor == round(factor) else None
        return resize(images, size=size).clamp_(0, 1) if same is None else same

    return replace(
        picture, pixels=smaller(picture.pixels), alpha=None if picture.alpha is None else smaller(picture.alpha)
    )


def _sampled(images: Images, factor: int) -> Images | None:
    """Return every n-th pixel if all others are one of these once more; else None."""
    few = images[:, :, ::factor, ::factor]
    again = few.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return few.contiguous() if factor > 1 and torch.equal(again, images) else None


def _line(luma: Float[np.ndarray, "rows columns"]) -> tuple[float, float, float]:
    """Return the strongest line that rows and columns share: how strong, at how many cycles per pixel; and blocks."""
    found, blocks = [], 1.0
    frequency = np.arange(BINS // 2 + 1) / BINS
    sought = (frequency >= 1 / HIGHEST) & (frequency <= 0.5)
    for along_rows, along_columns in zip(_strengths(luma), _strengths(luma.T), strict=True):
        both = np.ones(len(frequency))
        for profile in (along_rows, along_columns):
            lines = _lines(profile)
            both *= maximum_filter1d(lines / max(np.median(lines[sought]), 1e-9), 2 * NEAR + 1, mode="mirror")
        both = np.sqrt(both)
        broad = 2 * BINS // min(len(along_rows), len(along_columns)) + 2
        blocky = max(1.0, both[BLOCK])
        blocks = max(blocks, blocky)
        for multiple in (2, 3, 4):
            exact = both[multiple * BLOCK]
            both[multiple * BLOCK - broad : multiple * BLOCK + broad + 1] = 0
            both[multiple * BLOCK] = exact - OVERTONE * blocky if multiple == 4 else exact / blocky
        found.append(both * sought)
    strengths = np.maximum(*found)
    best = int(strengths.argmax())
    # Two cycles where there is one as well are an overtone
    below = strengths[max(best // 2 - NEAR, 0) : best // 2 + NEAR + 1]
    if below.max() > CHANCE:
        best = max(best // 2 - NEAR, 0) + int(below.argmax())
    return float(strengths.max()), float(frequency[best]), float(blocks)


def _pattern(luma: Float[np.ndarray, "rows columns"], line: float) -> float:
    """Return how strongly the picture itself repeats along rows as a line of its differences tells.

    In medians of the frequencies around, for a spectrum falls, and ends where the old picture did.

    Differences are rectified, so a pattern of frequency p has its line at 2 p, or at 1 - 2 p.
    """
    amplitudes, around = _lines(255 * luma.mean(0)), AROUND * BINS // luma.shape[1]
    found = []
    for at in (round(BINS * each) for each in (line, line / 2, (1 - line) / 2)):
        usual = np.median(amplitudes[max(at - around, 0) : at + around + 1])
        found.append(float(amplitudes[max(at - 2 * NEAR, 0) : at + 2 * NEAR + 1].max()) / max(float(usual), 1e-9))
    return max(found)


def _repeated(luma: Float[np.ndarray, "rows columns"]) -> float:
    """Return places per place that is not the one before it once more, as enlarging by nearest neighbours leaves them.

    Margins, which are long runs, are no enlargement.
    """
    changes = np.flatnonzero((luma[:, 1:] != luma[:, :-1]).any(0))
    if len(changes) < 2 or max(np.diff(changes, prepend=-1, append=luma.shape[1] - 1)) > math.ceil(HIGHEST):
        return 1.0
    return luma.shape[1] / (len(changes) + 1)


def _side(luma: Float[np.ndarray, "rows columns"], line: float) -> float:
    """Return 1 where a line belongs to the factor below 2, -1 where to the one above; near 0 where that is not told.

    Both edges of an enlarged picture are edges of old pixels. Around the first of them, x pixels from it, detail goes
    with -cos(2π x / f); for lines at 1 - 1/f that is +cos, at the places x of second differences.
    """
    profile, length = _strengths(luma)[0], luma.shape[1]
    if length > LONGEST:
        return 0.0
    place = np.arange(len(profile)) + 1.5
    quick = _quick(profile)
    # The old side was a whole number of pixels, too
    cycles = round(line * length) + np.arange(-4, 5)
    waves = np.exp(-2j * np.pi * cycles[:, None] * place / length) @ quick
    strongest = waves[np.abs(waves).argmax()]
    return float(strongest.real / max(abs(strongest), 1e-9))


def _strengths(luma: Float[np.ndarray, "rows columns"]) -> list[Float[np.ndarray, " _places"]]:
    """Return the logarithm of the mean second and third differences along rows, at each place."""
    step, rest = -(-luma.shape[0] // LINES), max(luma.shape[1] - LONGEST, 0) // 2
    some = 255 * luma[::step, rest : rest + LONGEST]
    first = np.diff(some)
    second = np.diff(first)
    return [np.log(np.abs(each).mean(0) + 0.02) for each in (second, np.diff(second))]


def _lines(profile: Float[np.ndarray, " places"]) -> Float[np.ndarray, " frequencies"]:
    """Return the amplitudes of what repeats in a profile."""
    return np.abs(np.fft.rfft(_quick(profile), BINS))


def _quick(profile: Float[np.ndarray, " places"]) -> Float[np.ndarray, " places"]:
    """Return a profile without its slow changes, tapered."""
    taper = np.hanning(35)[1:-1]
    quick = profile - np.convolve(np.pad(profile, 16, mode="reflect"), taper / taper.sum(), "valid")
    limit = 3 * quick.std() + 1e-9  # frames and lettering are no line
    return quick.clip(-limit, limit) * np.hanning(len(quick) + 2)[1:-1]


def _power(images: Images) -> Float[np.ndarray, "n half"]:
    """Return decibels of the mean spectrum above |f|^-EXPONENT, in the half of the windows that has most contrast."""
    planes = spectrum.windows(images)
    powers = spectrum.periodograms(spectrum.luma(planes)).double()
    order = powers.mean((1, 2)).argsort(descending=True)
    rows, columns = _axes()
    radius = np.hypot(rows, columns).clip(1 / spectrum.WINDOW)
    mean = powers[order[: max(len(order) // 2, 1)]].mean(0).numpy()
    return 10 * np.log10(mean + 1e-8) + 10 * EXPONENT * np.log10(radius)


def _missing(power: Float[np.ndarray, "n half"], factor: float) -> float:
    """Return the decibels by which a spectrum is lower beyond the cutoff of a factor, 0.5 / factor, than before it."""
    cutoff = 0.5 / factor
    return _level(power, 0.3 * cutoff, 0.8 * cutoff) - _level(power, min(1.15 * cutoff, 0.47), 1.0)


def _reaches(power: Float[np.ndarray, "n half"], low: float, high: float) -> bool:
    """Return whether a spectrum ends at the cutoff of the higher of two factors, and not at that of the lower."""
    first, second = 0.5 / high, 0.5 / low
    between = _level(power, 1.15 * first, 0.95 * second)
    lost = _level(power, 0.3 * first, 0.8 * first) - between
    return lost > max(BETWEEN, between - _level(power, min(1.15 * second, 0.47), 1.0))


def _level(power: Float[np.ndarray, "n half"], low: float, high: float) -> float:
    """Return the mean of a spectrum off the axes, at frequencies whose larger part lies between two bounds, dB."""
    rows, columns = _axes()
    larger = np.maximum(abs(rows), columns)
    chosen = (rows != 0) & (columns != 0) & (larger > low) & (larger < high)
    return float(power[chosen].mean()) if chosen.any() else 0.0


def _axes() -> tuple[np.ndarray, np.ndarray]:
    """Return the row and column frequencies of a periodogram."""
    rows, columns = np.meshgrid(np.fft.fftfreq(spectrum.WINDOW), np.fft.rfftfreq(spectrum.WINDOW), indexing="ij")
    return rows, columns
