"""What speed costs: seconds per stage, memory and arithmetic of networks at sizes of output, all in one run.

Every network at every size has a process of its own, so that its peak memory is its own. The networks of a size take
turns, so that a busy moment of the machine meets all of them. Networks and stages are those of `stages`; `timings`
are made into CSV, tables and plots.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from mzsr.benchmark.references import SCALE
from mzsr.benchmark.stages import KERNEL_VARIANCE, Meter, check_network, counter, runner
from mzsr.benchmark.timings import Timing
from mzsr.errors import InputError
from mzsr.imaging import files
from mzsr.imaging.picture import Picture
from mzsr.learning.devices import best_precision, forget_peak, free_mb, peak_mb, pick_device, precision_name
from mzsr.shapes import Images

SMALLEST, LARGEST = 64, 8192  # below, a picture of half the side has no son to adapt on
START_SECONDS = 120.0  # of grace for a process to begin; PyTorch alone takes several


class Cost(NamedTuple):
    """What a smaller size took in all: side in pixels, seconds of the whole measurement, MiB at its peak."""

    size: int
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Measured:
    """Timings, and a sentence for each measurement that was asked for and is missing."""

    timings: tuple[Timing, ...]
    skipped: tuple[str, ...]


def measure_all(
    networks: Sequence[str],
    sizes: Sequence[int],
    *,
    steps: int = 1,
    rounds: int = 3,
    threads: int | None = None,
    device: str = "auto",
    limit: float | int = 600.0,
    progress: Callable[[str, float], None] = lambda what, done: None,
) -> Measured:
    """Time every network at every size, from a file to a file twice as large.

    Args:
        networks: shipped models, .safetensors files, `zssr`, `edsr-s`, `rrdbnet`.
        sizes: sides of the output, multiples of 4 from SMALLEST to LARGEST pixels.
        steps: of adaptation of our models.
        rounds: to take the median of, after one whose arithmetic is counted.
        threads: of PyTorch; None for as many as here.
        device: `auto`, `cpu` or `cuda`.
        limit: seconds that a network may take at a size, all rounds together; what is predicted to take longer, from
            the size before and the number of pixels, is not begun, and what does is stopped. Likewise what is
            predicted to take more than four fifths of the memory that is free.
        progress: told what is being done, and the share of all pixels that is done.

    Raises:
        InputError: an unknown network, an impossible size, or less than one round, thread or second.
    """
    networks, sizes = list(dict.fromkeys(networks)), sorted(set(sizes))
    threads = torch.get_num_threads() if threads is None else threads
    _check(networks, sizes, rounds, threads, limit)
    place = pick_device(device)
    room = 0.8 * free_mb(place)
    timings: list[Timing] = []
    skipped: list[str] = []
    costs: dict[str, Cost] = {}
    rates: dict[str, float] = {}
    whole, done = (rounds + 2) * len(networks) * sum(size**2 for size in sizes), 0
    with TemporaryDirectory(prefix="mzsr-speed-") as folder:
        for size in sizes:
            source = Path(folder, f"{size}.png")
            files.write(source, Picture(picture(size // SCALE)))
            with ExitStack() as stack:
                running: dict[str, _Process] = {}
                for turn in range(-1, rounds + 1):  # -1: all begin; 0: arithmetic is counted
                    for network in networks if turn < 0 else list(running):
                        progress(f"{network} at {size}x{size}", done / whole)
                        done += size**2
                        try:
                            if turn >= 0:
                                running[network].take_turn(counted=turn == 0, limit=limit)
                            elif reason := skip_reason(network, size, costs.get(network), limit=limit, memory_mb=room):
                                skipped.append(reason)
                            else:
                                running[network] = _Process(network, source, steps, threads, place)
                                stack.callback(running[network].stop)
                                running[network].begin()
                        except InputError as error:
                            skipped.append(f"{network} at {size}x{size} was stopped: {error}")
                            costs[network] = Cost(size, math.inf, math.inf)
                            running.pop(network).stop()
                for network, process in running.items():
                    timing = process.timing(network, size, threads, place)
                    rates[timing.precision] = max(rates.get(timing.precision, 0.0), timing.matmul_rate)
                    costs[network] = Cost(size, process.used, timing.peak_memory_mb or 0.0)
                    timings.append(timing)
    best = (timing._replace(matmul_rate=rates[timing.precision]) for timing in timings)
    return Measured(tuple(best), tuple(skipped))


def _check(networks: Sequence[str], sizes: Sequence[int], rounds: int, threads: int, limit: float | int) -> None:
    for network in networks:
        check_network(network)
    for size in sizes:
        if not (SMALLEST <= size <= LARGEST and size % 4 == 0):
            raise InputError(f"size is {size}; it must be a multiple of 4 from {SMALLEST} to {LARGEST} pixels")
    if not (rounds >= 1 and threads >= 1 and limit >= 1):  # NaN fails too
        raise InputError(f"{rounds} rounds, {threads} threads, limit {limit:g} s; each must be at least 1")


def skip_reason(
    network: str, size: int, before: Cost | None, *, limit: float | int, memory_mb: float | int
) -> str | None:
    """Return why a size is not to be measured, a sentence, or None: cost is taken to grow with the number of pixels."""
    if before is None:
        return None
    what, side = f"{network} at {size}x{size} was skipped", f"{before.size}x{before.size}"
    if math.isinf(before.seconds):
        return f"{what}: {side} could not be measured already"
    growth = (size / before.size) ** 2
    if growth * before.seconds > limit:
        told = f"about {growth * before.seconds:.0f} s are predicted from {before.seconds:.3g} s at {side}"
        return f"{what}: {told}, the limit is {limit:g} s"
    if growth * before.memory_mb > memory_mb:
        told = f"about {growth * before.memory_mb:.0f} MiB are predicted from {before.memory_mb:.0f} MiB at {side}"
        return f"{what}: {told}, {memory_mb:.0f} MiB are free"
    return None


def matmul_rate(
    device: torch.device, precision: torch.dtype = torch.float32, *, seconds: float | int = 0.3, side: int | None = None
) -> float:
    """Return the best rate of a square matrix product, floating-point operations per second (2 n³ each).

    Args:
        device: where.
        precision: of the operands.
        seconds: to go on for, three products at least.
        side: n; None for 1024 on a CPU, 8192 on an accelerator, where a small product is all overhead.
    """
    side = side or (1024 if device.type == "cpu" else 8192)
    random = torch.Generator(device).manual_seed(0)
    a, b = (torch.rand(side, side, device=device, generator=random).to(precision) for _ in range(2))
    fastest, spent, count = math.inf, 0.0, 0
    while spent < seconds or count < 3:
        start = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = time.perf_counter() - start
        fastest, spent, count = min(fastest, took), spent + took, count + 1
    return 2 * side**3 / fastest


def picture(side: int) -> Images:
    """Return a picture to enlarge, (1, 3, side, side) in [0, 1]: a spectrum of 1/f as photographs have, and blur."""
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    radius = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None, :])
    blur = torch.exp(-2 * (math.pi * radius) ** 2 * KERNEL_VARIANCE / SCALE**2)
    pixels = torch.fft.irfft2(torch.fft.rfft2(noise) * blur / radius.clamp(min=1 / side), s=(side, side))
    return (0.5 + 0.2 * pixels / pixels.std()).clamp(0, 1)


class _Process:
    """One network at one size, in a process of its own that waits for its turns."""

    def __init__(self, network: str, source: Path, steps: int, threads: int, device: torch.device) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, network, source, steps, threads, device.type))
        self.process.daemon = True  # it ends with this one, whatever happens
        self.process.start()
        theirs.close()
        self.used = 0.0  # seconds of all turns
        self.held_mb: float | None = None
        self.turns: list[_Turn] = []

    def begin(self) -> None:
        """Wait until its network is loaded; InputError if it cannot be."""
        (self.held_mb,) = self._hear(
            START_SECONDS,
            f"its process did not begin within {START_SECONDS:g} s; measure it again when the machine is less busy",
        )

    def take_turn(self, *, counted: bool, limit: float | int) -> None:
        """Let it enlarge the file once; InputError if it fails, ends, or has used more than `limit` seconds in all."""
        start = time.perf_counter()
        with suppress(OSError):  # it has ended, and `_hear` will say so
            self.pipe.send(counted)
        late = "it took longer than the limit; raise the limit"
        self.turns.append(_Turn(*self._hear(max(0.0, limit - self.used), late)))
        self.used += time.perf_counter() - start

    def timing(self, network: str, size: int, threads: int, device: torch.device) -> Timing:
        """Return the medians of all turns but the first, whose arithmetic was counted."""
        first, *rest = self.turns
        seconds = {stage: statistics.median(turn.seconds[stage] for turn in rest) for stage in first.seconds}
        totals = [sum(turn.seconds.values()) for turn in rest]
        macs = {stage: flops / 2 / size**2 for stage, flops in first.flops.items()}
        peaks = [turn.peak_mb - self.held_mb for turn in rest if turn.peak_mb is not None and self.held_mb is not None]
        return Timing(
            network, size, seconds["read"], seconds.get("estimate"), seconds.get("adapt"), seconds["enhance"],
            seconds["write"], (max(totals) - min(totals)) / statistics.median(totals), max(peaks, default=None),
            self.held_mb, macs["enhance"], macs.get("adapt"), max(turn.matmul_rate for turn in self.turns), len(rest),
            threads, device.type, first.precision, network == "zssr",
        )  # fmt: skip

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _hear(self, seconds: float, late: str) -> tuple[Any, ...]:
        if not self.pipe.poll(seconds):
            raise InputError(late)
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            raise InputError(f"its process ended (exit code {code}); -9 most often is want of memory") from None
        if isinstance(answer, InputError):
            raise answer
        return answer


class _Turn(NamedTuple):
    """What a process says after a turn.

    Attributes:
        seconds: stage → seconds.
        flops: stage → floating-point operations, if they were counted.
        peak_mb: MiB.
        matmul_rate: just before the turn, in the precision of the network.
        precision: its name.
    """

    seconds: dict[str, float]
    flops: dict[str, float]
    peak_mb: float | None
    matmul_rate: float
    precision: str


def _serve(pipe: Connection, network: str, source: Path, steps: int, threads: int, device: str) -> None:
    """Be the other end of a `_Process`."""
    torch.set_num_threads(threads)
    place = torch.device(device)
    precision = torch.float32 if network == "zssr" else best_precision(place)  # ZSSR trains in float32
    target = source.with_name(f"{os.getpid()}.png")
    try:
        run = runner(network, place, steps=steps)
        forget_peak(place)
        pipe.send((peak_mb(place),))
        while True:
            counted = pipe.recv()
            rate = matmul_rate(place, precision, seconds=0.1)
            forget_peak(place)
            with counter() if counted else nullcontext() as counting:
                meter = Meter(counting)
                run(source, target, meter)
            pipe.send((meter.seconds, meter.flops, peak_mb(place), rate, precision_name(precision)))
    except EOFError:  # the other end is gone
        return
    except (InputError, RuntimeError) as error:  # RuntimeError: memory ran out
        pipe.send(InputError(str(error).partition("\n")[0]))
