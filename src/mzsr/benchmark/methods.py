"""What is compared: low resolution and what is known of its degradation in, larger pictures out.

A method is written `NAME`, or `NAME:OPTION:OPTION`:

    bicubic         bicubic enlargement on the right phase
    bicubic-paper   the same on the centre-aligned grid, as the paper measured it
    data-step       the closed-form data-consistent solution, nothing learned
    back-projection ten steps of it from bicubic
    zssr            zero-shot super-resolution: a network trained on the picture alone
    MODEL           a shipped model or a .safetensors file, adapted by each of the asked-for numbers of steps

    :blind          kernel and noise are estimated, not given
    :wrong          the kernel that is given is an isotropic Gaussian of variance scale² / 2
    :clean          nothing is told of noise and JPEG: what taking them for detail costs
    :x8             self-ensemble over the eight symmetries of the square (models only), as `mzsr upscale --x8`
    :bp             back-projection at last, as `mzsr upscale` does with the paper's models

Networks and results of other programs are in `foreign`. Cases come from `cells`, results go to `measure`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from mzsr.benchmark.cells import Case, Cell, Source, centred
from mzsr.card import Card
from mzsr.errors import InputError, one_of
from mzsr.imaging import kernels
from mzsr.imaging.data_step import back_project, consistent
from mzsr.imaging.degrade import Degradation, upsample
from mzsr.imaging.picture import Picture, untaken
from mzsr.imaging.resize import resize
from mzsr.inference.estimate import estimate
from mzsr.inference.upscale import Upscaler
from mzsr.inference.zssr import zssr
from mzsr.learning.devices import best_precision
from mzsr.learning.weights import ESTIMATOR, card_of, find_weights, model_at, shipped_models
from mzsr.shapes import Images, Kernel

OPTIONS = ("blind", "wrong", "clean", "x8", "bp")
BACK_PROJECTIONS = 10
ZSSR_ITERATIONS = 3000  # at most, as published
DEVICE = torch.device("cpu")  # where everybody's numbers can be repeated
ALPHA = 1e-3  # trust in bicubic of the data step alone: best on Set5 (LOG.md); noise adds its own


@dataclass(frozen=True)
class Output:
    """What a method makes of a case: the larger picture, (1, 3, s h, s w), after so many steps, and its seconds."""

    steps: int | None
    picture: Images
    seconds: float


@dataclass(frozen=True)
class Method:
    """A method with its options, cheap to make and to send to another process.

    Attributes:
        spec: as the user wrote it.
        steps: gradient steps to report, for methods that adapt.
        iterations: of ZSSR at most.
    """

    spec: str
    steps: tuple[int, ...] = (0, 1, 10)
    iterations: int = ZSSR_ITERATIONS

    @property
    def name(self) -> str:
        """Return the spec without options."""
        return self._parts[0]

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, tuple[str, ...]]:
        path, found, rest = self.spec.rpartition(".safetensors")
        name, *options = rest.split(":")
        return path + found + name, tuple(options)

    @property
    def label(self) -> str:
        """Return its name in every table: the spec, and the iterations of ZSSR where they are not the published."""
        short = self.name == "zssr" and self.iterations != ZSSR_ITERATIONS
        return f"{self.spec}, {self.iterations} iterations" if short else self.spec

    @property
    def adapts(self) -> bool:
        """Return whether its result depends on the number of steps."""
        return self.name not in CLASSICAL

    def identity(self, source: Source, cell: Cell) -> str:
        """Return what a record must agree in to be this method's: settings, and the weights by their hash."""
        estimator = f" {card_of(ESTIMATOR).identity}" if "blind" in self.options else ""
        if not self.adapts:
            iterations = f" {self.iterations}" if self.name == "zssr" else ""
            return f"{self.spec}{iterations}{estimator}"
        packed = cell.jpeg is not None and "clean" not in self.options
        shas = [_card(self.name, cell.scale, jpeg).identity for jpeg in (False, True)[: 1 + packed]]
        return f"{self.spec} {' '.join(dict.fromkeys(shas))} {best_precision(DEVICE)}{estimator}"

    def outputs(self) -> tuple[int | None, ...]:
        """Return the numbers of steps that it reports."""
        return self.steps if self.adapts else (None,)

    def refuses(self, cell: Cell) -> str:
        """Return why it cannot do a cell; empty where it can."""
        if not self.adapts:
            return ""
        card = _card(self.name, cell.scale, False)
        if not card.network.told and cell.scale not in card.scales:
            return f"it was trained at {', '.join(f'x{scale}' for scale in card.scales)} alone"
        if card.subsample == "direct" and centred(cell):
            return "it knows the paper's grid alone, and this is that of photographs"
        if card.subsample not in (None, cell.subsample):
            return f"it knows {card.subsample} subsampling alone"
        return ""

    def __call__(self, case: Case, source: Source, cell: Cell) -> Iterator[Output]:
        """Enlarge; see `Output`.

        Raises:
            InputError: the picture is too small, or its kernel too large.
        """
        packed = None if "clean" in self.options else case.degradation.jpeg
        # In memory before the clock runs
        upscaler = _upscaler(self.name).at(cell.scale, packed) if self.adapts else None
        start = time.perf_counter()
        d = told(case, self.options)
        if upscaler is None:
            picture = CLASSICAL[self.name](case.lr, d, self, source)
            yield Output(None, picture, time.perf_counter() - start)
            return
        before = time.perf_counter() - start
        for steps in self.steps:
            start = time.perf_counter()
            theta = upscaler.adapt(case.lr, d, steps).theta
            picture = upscaler.enlarge(
                theta, case.lr, d, x8="x8" in self.options, back_projection="bp" in self.options
            )  # fmt: skip
            yield Output(steps, picture, before + time.perf_counter() - start)


def with_option(spec: str, option: str) -> str:
    """Return a method with one more option, in front of those that it has.

    >>> with_option("mzsr:x8", "blind")
    'mzsr:blind:x8'
    """
    method = Method(spec)
    return ":".join([method.name, option, *method.options])


def parse(spec: str, steps: Sequence[int] = (0, 1, 10), iterations: int = ZSSR_ITERATIONS) -> Method:
    """Read the name of a method; what stands before `:blind` and the like may be a path with a colon in it.

    Raises:
        InputError: an unknown name or option, or options that contradict each other, with the nearest valid name.
    """
    method = Method(spec, tuple(sorted(set(steps))), iterations)
    known = [*CLASSICAL, *shipped_models()]
    if not method.name.endswith(".safetensors"):
        one_of("method", method.name, known, ", or a .safetensors file")
    for option in method.options:
        one_of(f"the option of method {spec}", option, OPTIONS)
    twice = len(set(method.options)) < len(method.options) or len({"blind", "wrong", "clean"} & set(method.options)) > 1
    if twice or ({"x8", "bp"} & set(method.options) and not method.adapts):
        raise InputError(
            f"method {spec} has options that do not go together; each may stand once, one of blind, wrong and clean, "
            "and x8 and bp are for models"
        )
    if method.adapts:
        find_weights(method.name)
    return method


def told(case: Case, options: Sequence[str]) -> Degradation:
    """Return what a method is told of the degradation: all, an estimate, or a wrong kernel; the grid in any case."""
    d = case.degradation
    if "blind" in options:
        grid, unseen = "corner" if case.on_corner else "centre", untaken(Picture(case.lr))
        return estimate(case.lr, d.scale, grid=grid, jpeg=d.jpeg, untaken=unseen).degradation
    if "clean" in options:
        return replace(d, noise=0.0, jpeg=None)
    if "wrong" in options:
        return replace(d, kernel=wrong_kernel(d.scale, case.on_corner), subsample="direct")
    return d


def wrong_kernel(scale: int, on_corner: bool) -> Kernel:
    """Return the Gaussian of variance scale² / 2 on a grid."""
    variance, shift = scale**2 / 2, 0.0 if on_corner else (scale - 1) / 2
    # Cut off nearer than four standard deviations, its far side would be missed and its centroid be off the grid
    size = 2 * math.ceil(4 * math.sqrt(variance) + shift) + 1
    return kernels.gaussian((variance, variance), size=size, offset=(shift, shift))


CLASSICAL: dict[str, Callable[[Images, Degradation, Method, Source], Images]] = {
    "bicubic": lambda lr, d, *_: upsample(lr, d),
    "bicubic-paper": lambda lr, d, *_: resize(lr, scale=float(d.scale)),
    "data-step": lambda lr, d, *_: consistent(upsample(lr, d), lr, d, ALPHA),
    "back-projection": lambda lr, d, *_: back_project(upsample(lr, d), lr, d, BACK_PROJECTIONS),
    "zssr": lambda lr, d, method, source: (
        zssr(lr, d, seed=source.index, iterations=method.iterations, noise=float(d.noise)).picture
    ),
}
"""Methods without weights."""


@lru_cache(maxsize=16)
def _upscaler(model: str) -> Upscaler:
    return Upscaler(model, device=DEVICE.type)


@lru_cache(maxsize=16)
def _card(model: str, scale: int, jpeg: bool) -> Card:
    return card_of(model_at(model, scale, jpeg))
