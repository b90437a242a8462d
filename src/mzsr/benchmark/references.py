"""What is timed: a file enlarged into one twice as large, by a network of ours or by one that we compare with.

The references are here for their *cost*: weights do not change it, so theirs are random, and they are no members of
NETWORKS. They get every advantage that ours have (precision, memory layout, tiles) and one more: their tiles have no
halo. `speed` runs all of them in turn and asks the `Meter` what every stage took.
"""

import difflib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_unshuffle
from torch.utils.flop_counter import FlopCounterMode

from mzsr.errors import InputError
from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation
from mzsr.imaging.picture import Picture
from mzsr.imaging.resize import resize
from mzsr.inference.tiles import TILE
from mzsr.inference.upscale import Upscaler
from mzsr.inference.zssr import zssr
from mzsr.learning.checkpoint import find_weights, read_card, shipped_models
from mzsr.learning.devices import best_precision
from mzsr.shapes import Images

SCALE = 2
KERNEL_VARIANCE = 2.0  # pixels², of the blur that is given where none is estimated: the paper's g2.0
ZSSR_ITERATIONS = 60  # measured: two looks at the error, one in each half
ZSSR_SCHEDULE = 3000  # reported: all that its paper allows

Features = Float[Tensor, "b features rows columns"]


class EdsrS(nn.Module):
    """EDSR's baseline, EDSR-S: 16 residual blocks of 64 channels at low resolution, pixel shuffle at the end.

    1,369,859 parameters at x2. The subtraction of a mean colour is left out.

    Source: Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPRW 2017, table 1;
    residual scaling 0.1 as in UDL.
    """

    def __init__(self, *, blocks: int = 16, channels: int = 64) -> None:
        """Build it with PyTorch's initialisation."""
        super().__init__()
        self.head = _conv(3, channels)
        self.blocks = nn.ModuleList(
            [nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels)) for _ in range(blocks)]
        )
        self.last = _conv(channels, channels)
        self.tail = nn.Sequential(_conv(channels, channels * SCALE**2), nn.PixelShuffle(SCALE), _conv(channels, 3))

    def forward(self, lr: Images) -> Images:
        """Enlarge (B, 3, h, w) to (B, 3, 2 h, 2 w)."""
        head = hidden = self.head(lr)
        for block in self.blocks:
            hidden = hidden + 0.1 * block(hidden)
        return self.tail(head + self.last(hidden))


class RrdbNet(nn.Module):
    """ESRGAN's generator: 23 residual-in-residual dense blocks, two nearest-neighbour enlargements by 2.

    16,697,987 parameters at x4. At x2 it is what Real-ESRGAN made of it: the input goes through a 2x2 space-to-depth
    first, all else stays (16,703,171 parameters). So the blocks run on a quarter of the output's side at either scale,
    and a pixel of output costs the same; with the blocks at the input's resolution x2 would cost four times as much.

    Source: Wang et al., "ESRGAN", ECCVW 2018, section 3.1; Wang et al., "Real-ESRGAN", ICCVW 2021, section 3.3.
    """

    def __init__(self, *, scale: int = SCALE, blocks: int = 23, channels: int = 64, growth: int = 32) -> None:
        """Build it for x2 or x4 with PyTorch's initialisation."""
        super().__init__()
        self.fold = 4 // scale
        self.head = _conv(3 * self.fold**2, channels)
        self.blocks = nn.ModuleList(
            [nn.ModuleList([_DenseBlock(channels, growth) for _ in range(3)]) for _ in range(blocks)]
        )
        self.last = _conv(channels, channels)
        self.larger = nn.ModuleList([_conv(channels, channels) for _ in range(2)])
        self.tail = nn.Sequential(_conv(channels, channels), nn.LeakyReLU(0.2), _conv(channels, 3))

    def forward(self, lr: Images) -> Images:
        """Enlarge; at x2 the sides must be even."""
        head = hidden = self.head(pixel_unshuffle(lr, self.fold))
        for block in self.blocks:
            inner = hidden
            for dense in block.children():
                inner = dense(inner)
            hidden = hidden + 0.2 * inner
        hidden = head + self.last(hidden)
        for conv in self.larger:
            hidden = leaky_relu(conv(interpolate(hidden, scale_factor=2.0)), 0.2)
        return self.tail(hidden)


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it saw and made."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [growth] * 4 + [channels]
        self.convs = nn.ModuleList([_conv(channels + i * growth, width) for i, width in enumerate(widths)])

    def forward(self, hidden: Features) -> Features:
        seen = [hidden]
        for conv in self.convs:
            seen.append(leaky_relu(conv(torch.cat(seen, 1)), 0.2) if len(seen) < 5 else conv(torch.cat(seen, 1)))
        return hidden + 0.2 * seen[-1]


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


REFERENCES: dict[str, Callable[[], nn.Module]] = {"edsr-s": EdsrS, "rrdbnet": RrdbNet}


def check_network(network: str) -> None:
    """Raise InputError, with the nearest valid name, for a network that cannot be timed."""
    known = [*shipped_models(), "zssr", *REFERENCES]
    if network.endswith(".safetensors"):
        read_card(find_weights(network).with_suffix(".json"))
    elif network not in known:
        near = difflib.get_close_matches(network, known, n=1, cutoff=0.0)[0]
        raise InputError(
            f"network is '{network}'; it must be one of {', '.join(known)}, or a .safetensors file — "
            f"did you mean '{near}'?"
        )


def counter() -> FlopCounterMode:
    """Return PyTorch's counter of arithmetic, taught to count Fourier transforms of real numbers; see `arithmetic`."""
    aten = torch.ops.aten
    return FlopCounterMode(display=False, custom_mapping={aten._fft_r2c: _fft_flops, aten._fft_c2r: _fft_flops})


def _fft_flops(x: Sequence[int], axes: Sequence[int], *rest: object, out_shape: Sequence[int]) -> int:
    """Count 2.5 N log2 N for each transform between N real numbers and half of their spectrum, either way."""
    real = max(x, out_shape, key=math.prod)
    points = math.prod(real[axis] for axis in axes)
    return round(2.5 * math.prod(real) * math.log2(points))


def arithmetic(call: Callable[[], object]) -> int:
    """Count the floating-point operations of a call: 2 for a multiply-accumulate.

    Convolutions and matrix products with their gradients, and Fourier transforms of N real numbers as 2.5 N log2 N.
    Interpolation, activations and other work on single numbers is not counted.

    >>> arithmetic(lambda: torch.ones(3, 5) @ torch.ones(5, 7))
    210
    """
    with counter() as counting:
        call()
    return counting.get_total_flops()


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

    Models go through `Upscaler` as `mzsr upscale` does. A model with the paper's network is given the kernel, as
    published; others estimate it. `steps` are theirs; ZSSR has a schedule of its own, references do not adapt.

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
    published = upscaler.card.network.name == "paper"
    kernel, noise = (f"gauss:{KERNEL_VARIANCE}", 0.0) if published else ("auto", "auto")
    result = upscaler(source, scale=SCALE, kernel=kernel, noise=noise, steps=steps, progress=meter.told)
    if published:
        del meter.seconds["estimate"]  # there was nothing to estimate
    with meter.stage("write"):
        result.save(target)


def _reference(network: nn.Module, device: torch.device, source: Path, target: Path, meter: Meter) -> None:
    with meter.stage("read"):
        lr = files.read(source).pixels.to(device)
    precision = best_precision(device)
    with meter.stage("enhance"), torch.no_grad():
        hr = lr.new_empty(1, 3, SCALE * lr.shape[2], SCALE * lr.shape[3])
        for top in range(0, lr.shape[2], TILE):
            for left in range(0, lr.shape[3], TILE):
                part = lr[:, :, top : top + TILE, left : left + TILE].contiguous(memory_format=torch.channels_last)
                rows, columns = (slice(SCALE * first, SCALE * (first + TILE)) for first in (top, left))
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    hr[:, :, rows, columns] = network(part).to(hr.dtype)
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
    picture = zssr(lr, d, iterations=ZSSR_ITERATIONS, progress=lambda done: marks.append((done, meter.now()))).picture
    result, end = picture.cpu(), meter.now()
    for kind, spent in enumerate((meter.seconds, meter.flops)):
        spent["adapt"] = full_schedule([(done, now[kind]) for done, now in marks], ZSSR_SCHEDULE / ZSSR_ITERATIONS)
        spent["enhance"] = end[kind] - marks[-1][1][kind]
    with meter.stage("write"):
        files.write(target, Picture(result))
