"""What is timed: a file enlarged into one twice as large, stage by stage, by a network of ours or a reference.

References get every advantage that ours have (precision, memory layout, tiles) and one more: their tiles have no halo.
`speed` runs all of them in turn and asks the `Meter` what every stage took.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from mzsr.benchmark.methods import ZSSR_ITERATIONS
from mzsr.benchmark.references import REFERENCES, SCALE
from mzsr.errors import one_of
from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation
from mzsr.imaging.picture import Picture
from mzsr.imaging.resize import resize
from mzsr.inference.tiles import TILE
from mzsr.inference.upscale import Upscaler
from mzsr.inference.zssr import zssr
from mzsr.learning.contract import Network
from mzsr.learning.devices import best_precision
from mzsr.learning.weights import card_of, shipped_models

KERNEL_VARIANCE = 2.0  # pixels², of the blur that is given where none is estimated: the paper's g2.0
ZSSR_TIMED = 60  # of ZSSR's iterations: two looks at the error, one in each half


def check_network(network: str) -> None:
    """Raise InputError, with the nearest valid name, for a network that cannot be timed."""
    known = [*shipped_models(), "zssr", *REFERENCES]
    if network.endswith(".safetensors"):
        card_of(network)
    else:
        one_of("network", network, known, ", or a .safetensors file")


def counter() -> FlopCounterMode:
    """Return PyTorch's counter of floating-point operations, taught to count Fourier transforms of real numbers.

    2 for each multiply-accumulate of convolutions and matrix products, with their gradients. Interpolation, activations
    and other work on single numbers is not counted.
    """
    aten = torch.ops.aten
    return FlopCounterMode(display=False, custom_mapping={aten._fft_r2c: _fft_flops, aten._fft_c2r: _fft_flops})


def _fft_flops(x: Sequence[int], axes: Sequence[int], *rest: object, out_shape: Sequence[int]) -> int:
    """Count 2.5 N log2 N for each transform between N real numbers and half of their spectrum, either way."""
    real = max(x, out_shape, key=math.prod)
    points = math.prod(real[axis] for axis in axes)
    return round(2.5 * math.prod(real) * math.log2(points))


class Meter:
    """Tells the seconds, and the arithmetic where it is counted, of every stage that it is told of.

    Attributes:
        seconds: stage → seconds.
        flops: stage → floating-point operations; all 0 without a counter.
    """

    def __init__(self, counting: FlopCounterMode | None = None) -> None:
        """Begin with nothing; the counter is to be entered by the caller."""
        self.seconds: dict[str, float] = {}
        self.flops: dict[str, float] = {}
        self._counting = counting
        self._starts: dict[str, tuple[float, float]] = {}

    def now(self) -> tuple[float, float]:
        """Return the clock and the counter."""
        return time.perf_counter(), float(self._counting.get_total_flops()) if self._counting else 0.0

    def told(self, stage: str, done: float) -> None:
        """Take what `Upscaler` tells its progress: a stage ends where it is last heard of."""
        now = self.now()
        start = self._starts.setdefault(stage, now)
        self.seconds[stage], self.flops[stage] = now[0] - start[0], now[1] - start[1]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        self.told(name, 0.0)
        yield
        self.told(name, 1.0)


Run = Callable[[Path, Path, Meter], None]
"""Enlarge the first file into the second and tell the meter the stages."""


def runner(network: str, device: torch.device, *, steps: int = 1) -> Run:
    """Load a network and return what enlarges a file by 2 with it.

    Models go through `Upscaler` as `mzsr upscale` does. A model whose network makes no use of the kernel is given it,
    as published; others estimate it. `steps` are theirs; ZSSR has a schedule of its own, references do not adapt.

    Raises:
        InputError: an unknown network, or weights that cannot be read.
    """
    check_network(network)
    if network == "zssr":
        return partial(_zssr, device)
    if network not in REFERENCES:
        return partial(_model, Upscaler(network, device=device.type), steps)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = REFERENCES[network]().requires_grad_(False)
    built.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    built.precision = best_precision(device)
    return partial(_reference, built, device)


def full_schedule(marks: Sequence[tuple[float, float]], schedule: float | int) -> float:
    """Return what a whole schedule costs, from a clock read in a part of it.

    Args:
        marks: (share of the part that is done, clock), in order; of two that tell the last share the first counts.
        schedule: its length, in parts.

    >>> full_schedule([(0.5, 7.0), (1.0, 9.0), (1.0, 9.5)], 50)  # 2 for half a part
    200.0
    """
    (first, start), (last, end) = marks[0], next(mark for mark in marks if mark[0] == marks[-1][0])
    return schedule * (end - start) / (last - first) if last > first else math.nan


def _model(upscaler: Upscaler, steps: int, source: Path, target: Path, meter: Meter) -> None:
    published = not upscaler.card.network.told
    known = {"kernel": f"gauss:{KERNEL_VARIANCE}", "noise": 0.0, "jpeg": "off", "enlarged": "off"} if published else {}
    result = upscaler(source, scale=SCALE, steps=steps, progress=meter.told, **known)
    if published:
        del meter.seconds["estimate"]  # there was nothing to estimate
    with meter.stage("write"):
        result.save(target)


def _reference(network: Network, device: torch.device, source: Path, target: Path, meter: Meter) -> None:
    with meter.stage("read"):
        lr = files.read(source).pixels.to(device)
    d = Degradation(kernels.delta(), SCALE)
    with meter.stage("enhance"), torch.no_grad():
        hr = lr.new_empty(1, 3, SCALE * lr.shape[2], SCALE * lr.shape[3])
        for top in range(0, lr.shape[2], TILE):
            for left in range(0, lr.shape[3], TILE):
                part = lr[:, :, top : top + TILE, left : left + TILE]
                rows, columns = (slice(SCALE * first, SCALE * (first + TILE)) for first in (top, left))
                hr[:, :, rows, columns] = network(part, d)
        hr = hr.clamp(0, 1).cpu()
    # Random weights make no photograph, and one takes longer to compress: the bicubic enlargement is written
    shown = Picture(resize(lr.cpu(), scale=float(SCALE)).clamp(0, 1))
    with meter.stage("write"):
        files.write(target, shown)


def _zssr(device: torch.device, source: Path, target: Path, meter: Meter) -> None:
    with meter.stage("read"):
        lr = files.read(source).pixels.to(device)
    d = Degradation(kernels.gaussian((KERNEL_VARIANCE, KERNEL_VARIANCE)), SCALE).to(device)
    marks: list[tuple[float, tuple[float, float]]] = []
    picture = zssr(lr, d, iterations=ZSSR_TIMED, progress=lambda done: marks.append((done, meter.now()))).picture
    result, end = picture.cpu(), meter.now()
    for kind, spent in enumerate((meter.seconds, meter.flops)):
        spent["adapt"] = full_schedule([(done, now[kind]) for done, now in marks], ZSSR_ITERATIONS / ZSSR_TIMED)
        spent["enhance"] = end[kind] - marks[-1][1][kind]
    with meter.stage("write"):
        files.write(target, Picture(result))
