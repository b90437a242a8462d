"""What people read: progress, one line about a result, a report, a table of models. No arithmetic on pictures."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mzsr.apps import error_map
from mzsr.apps.report import ReportData, middle
from mzsr.apps.usage import echo
from mzsr.card import Card
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Sampling
from mzsr.imaging.jpeg import Jpeg
from mzsr.imaging.metadata import profile_for
from mzsr.imaging.picture import Picture, from_array, to_array
from mzsr.inference.compression import jpeg_record, quality_of
from mzsr.inference.enlargement import ADVICE, brought_back, detail, detail_words
from mzsr.inference.estimate import Estimate, explained
from mzsr.inference.result import Result, enlarge
from mzsr.shapes import Images, Kernel

PATIENCE = 20.0  # seconds from which work is long enough to be told of


def one_line(source: str | Path, target: str | Path, result: Result) -> str:
    """Say in one line what became of a picture."""
    before, after = ("x".join(map(str, reversed(result.facts[key]))) for key in ("input_size", "output_size"))
    parts = [f"{source} → {target}", f"{before} → {after}"]
    if result.facts["detail_size"] != result.facts["input_size"]:
        parts.append("detail of {}x{}".format(*reversed(result.facts["detail_size"])))
    parts.append(blur_words(result.degradation.kernel))
    if float(result.degradation.noise) > 0:
        parts.append(f"noise {255 * float(result.degradation.noise):.1f}/255")
    if result.degradation.jpeg is not None:
        parts.append(f"JPEG {quality_of(result.degradation.jpeg)}")
    if result.losses:
        parts.append(f"{result.kept} of {result.facts['steps']} steps kept")
    parts.append(f"re-projection {result.reprojection_psnr:.1f} dB")
    parts.append(f"{sum(result.seconds.values()):.1f} s")
    return ", ".join(parts)


def blur_words(kernel: Kernel) -> str:
    """Describe a kernel by its two standard deviations.

    >>> blur_words(kernels.gaussian((4.0, 1.0), size=25))
    'blur 2.0 x 1.0 pixels'
    """
    major, minor = (math.sqrt(max(float(value), 0.0)) for value in kernels.principal(kernels.covariance(kernel))[0])
    return f"blur {major:.1f} x {minor:.1f} pixels"


def jpeg_words(jpeg: Jpeg | None) -> str:
    """Say how a picture was compressed.

    >>> jpeg_words(None)
    'none'
    """
    if jpeg is None:
        return "none"
    return f"quality {quality_of(jpeg)}, {jpeg.chroma}, took about {255 * float(jpeg.error):.1f} of 255 grey levels"


def unsure_words(told: Estimate) -> str:
    """Say how well a blur is known; empty where it is assumed."""
    if told.fallback:
        return ""
    return (
        f"; the width is known to ±{100 * told.width_error:.0f} %, and {told.loss:.1f} dB may be lost by that "
        "(in four of five pictures)"
    )


def noise_words(level: float, channels: Sequence[float] = ()) -> str:
    """Say how much noise there is, and how much of it in each channel; standard deviations in [0, 1].

    >>> noise_words(0.02)
    '5.10 of 255 grey levels (standard deviation)'
    """
    words = f"{255 * level:.2f} of 255 grey levels (standard deviation)"
    if len(channels) != 3 or not level:
        return words
    return words + ", " + ", ".join(f"{255 * x:.2f} in {c}" for x, c in zip(channels, "RGB", strict=True))


def _noise_of(result: Result) -> str:
    """Say how much noise a result was made with; in each channel, if that is what was estimated."""
    level, told = float(result.degradation.noise), result.estimate
    return noise_words(level, told.channels if told is not None and told.noise == level else ())


def estimate_lines(told: Estimate, scale: int, size: Sequence[int], subsample: Sampling | None = None) -> list[str]:
    """Say in plain words what a picture of a (height, width) went through."""
    major, minor = (math.sqrt(variance) for variance in told.variances)
    real = "as many pixels as the picture has, as far as can be seen"
    if told.enlarged > 1:
        back = brought_back(scale, told.enlarged, subsample)
        real = f"{detail_words(size, told.enlarged)}; {'mzsr upscale shrinks it to that first' if back else ADVICE}"
    return [
        told.note,
        f"blur        {major:.2f} x {minor:.2f} pixels (standard deviations) of the x{scale} picture, "
        f"turned {math.degrees(-told.theta) % 180:.0f}° counter-clockwise",
        f"noise       {noise_words(told.noise, told.channels)}",
        f"JPEG        {jpeg_words(told.degradation.jpeg)}",
        f"detail      {real}",
        f"confidence  {told.confidence:.2f} of 1{unsure_words(told)}",
    ]


def result_lines(result: Result) -> list[str]:
    """Say in plain sentences what a picture is taken to have gone through, and what became of it."""
    d, told = result.degradation, result.estimate
    blur = blur_words(d.kernel).removeprefix("blur ")
    lines = [
        f"Blur: {blur} (standard deviations) of the x{d.scale} picture, {_source_of(told)}.",
        f"Noise: {_noise_of(result)}.",
        f"JPEG: {jpeg_words(d.jpeg)}.",
    ]
    lines += [f"{each[:1].upper()}{each[1:]}." for each in result.facts["warnings"]]
    if result.losses and result.facts["steps"]:
        lines.append(f"Adaptation: {result.kept} of {result.facts['steps']} steps kept.")
    if math.isfinite(result.reprojection_psnr):
        lines.append(
            f"Blurred and shrunk again, the result agrees with the picture to {result.reprojection_psnr:.1f} dB: "
            f"{agreement_words(result)}."
        )
    if result.uncertainty is not None:
        lines.append(error_words(result))
    return lines


def _source_of(told: Estimate | None) -> str:
    """Say where a kernel comes from."""
    if told is None:
        return "given"
    return "assumed" if told.fallback else f"estimated, confidence {told.confidence:.2f} of 1"


def agreement_words(result: Result) -> str:
    """Say what it means how well a result, degraded again, agrees with its picture; `fits` in findings.js does, too."""
    d, agreement = result.degradation, result.reprojection_psnr
    if agreement >= 40:
        return "nobody could tell them apart"
    removed = ["the grain that was taken away"] if 255 * float(d.noise) >= 1 else []
    removed += ["what JPEG had left"] if d.jpeg is not None else []
    if removed and agreement >= explained(d):
        return f"what differs is mostly {' and '.join(removed)}"
    if agreement >= 25:
        return "they differ a little, and not all of it could be explained"
    origin, other = ("given", "auto") if result.estimate is None else ("found", "bicubic")
    return (
        f"they do not agree, and the blur {origin} is probably wrong; try --kernel {other}, or another like gauss:1.5"
    )


def estimate_record(told: Estimate, source: str | Path, scale: int, size: Sequence[int]) -> dict[str, object]:
    """Return the same as plain values, for `--json`."""
    return {
        "input": str(source),
        "scale": scale,
        "variances_px2": [round(value, 4) for value in told.variances],
        "theta_rad": round(told.theta, 4),
        "noise": round(told.noise, 6),
        "jpeg": jpeg_record(told.degradation.jpeg),
        "detail_size": list(detail(size, told.enlarged)),
        "width_px": round(told.width, 4),
        **told.record(),
    }


def kernel_plot(kernel: Kernel) -> Picture:
    """Draw a kernel as a grey picture, 16 pixels for a tap: its largest tap is white, negative taps are black."""
    taps = kernel.clamp(min=0) / kernel.max()
    return Picture(taps.repeat_interleave(16, 0).repeat_interleave(16, 1)[None, None])


def error_plot(result: Result) -> Picture:
    """Draw how far each pixel is likely to be off, with a legend; of a result that knows."""
    assert result.uncertainty is not None
    return from_array(error_map.drawing(result.uncertainty, error_words(result)))


def error_words(result: Result) -> str:
    """Say how far a picture is likely to be off; empty where nobody asked."""
    if result.uncertainty is None:
        return ""
    return (
        f"On average {float(result.uncertainty.mean()):.1f} grey levels. "
        f"Expected PSNR {result.expected_psnr:.1f} dB (RGB)."
    )


def report_data(source: str | Path, result: Result, command: str, version: str) -> ReportData:
    """Gather what the HTML report shows."""
    told = result.estimate
    facts, memory = result.facts, result.facts["peak_memory_mb"]
    shown = {
        "Model": str(facts["model"]),
        "Scale": f"{facts['scale']:g}",
        "Steps": f"{result.kept} of {facts['steps']} kept" if facts["steps"] else "0",
        "Noise": _noise_of(result),
        "JPEG": jpeg_words(result.degradation.jpeg),
        "Re-projection PSNR": f"{result.reprojection_psnr:.2f} dB (RGB): {agreement_words(result)}",
        **({} if result.expected_psnr is None else {"Expected PSNR": f"{result.expected_psnr:.1f} dB (RGB)"}),
        "Device": str(facts["device"]) + ("" if memory is None else f", {memory} MB at most"),
        "Seed": str(facts["seed"]),
        "Version": version,
    }
    for warning in facts["warnings"]:
        shown["Mind"] = f"{shown['Mind']}; {warning}" if "Mind" in shown else warning
    d, grid = result.degradation, "Pixels are those of the enlarged picture."
    if d.scale != facts["scale"]:
        grid = f"Pixels are those of the x{d.scale} picture, of which this one was made."
    rows, columns = result.picture.pixels.shape[2:]
    window = top, bottom, left, right = middle(rows, columns)
    part = slice(top, bottom), slice(left, right)
    return ReportData(
        name=Path(source).name,
        size=(rows, columns),
        before=_rgb8(enlarge(result.lr, result.degradation, (rows, columns), window)),
        after=_rgb8(result.picture.pixels[..., *part]),
        kernel=result.degradation.kernel.double().numpy(),
        kernel_source=_source_of(told),
        note=grid if told is None else f"{told.note[:1].upper()}{told.note[1:]}. {grid}",
        losses=result.losses,
        kept=result.kept,
        seconds=result.seconds,
        facts=shown,
        command=command,
        error=None if result.uncertainty is None else result.uncertainty[part],
        error_top=0.0 if result.uncertainty is None else error_map.top(result.uncertainty),
        error_words=error_words(result),
        icc=profile_for(result.picture.metadata, 3),  # the page shows RGB
    )


def model_lines(card: Card) -> list[str]:
    """Say what a model is and where it comes from."""
    hours = sum(float(run["hours"]) for run in card.earlier)
    after = f", after {len(card.earlier)} earlier run{'s' * (len(card.earlier) > 1)} of {hours:.3g} h" if hours else ""
    scores = [f"{name}: {value}" for name, value in card.score.items()] or ["not measured"]
    return [
        f"{card.name}",
        f"  {card.summary}",
        f"  scales   {', '.join(f'x{scale}' for scale in card.scales)}",
        f"  data     {'; '.join(card.data)}",
        f"  trained  {card.iterations} iterations, {card.hours:g} h{after}, {card.machine}, commit {card.commit}",
        *(["  doubt    it tells how far it is off (--uncertainty)"] if card.told_errors() is not None else []),
        *(f"  {'score' if not index else '':8} {score}" for index, score in enumerate(scores)),
    ]


def summary(total: int, skipped: int, failed: Sequence[Path]) -> str:
    """Say in one line what became of a list of pictures.

    >>> summary(3, 1, [Path("in/b.jpg")])
    '1 of 3 pictures failed, 2 are done, 1 of them before: in/b.jpg'
    """
    before = f", {skipped} of them before" if skipped else ""
    if not failed:
        return f"{total} pictures are done{before}"
    done, names = total - len(failed), ", ".join(map(str, failed))
    return f"{len(failed)} of {total} pictures failed, {done} {'is' if done == 1 else 'are'} done{before}: {names}"


class ListProgress:
    """Where a list of pictures stands; what was done before is left out of the share, and so of the time left.

    >>> said = []
    >>> bar = ListProgress(3, lambda stage, done: said.append((stage, done)))
    >>> bar.skip()
    >>> bar.stage(Path("in/b.png"))("enhance", 0.5)
    >>> said
    [('2 of 3, b.png, enhance', 0.25)]
    """

    def __init__(self, total: int, tell: Callable[[str, float], None]) -> None:
        """Begin before the first of `total` pictures; `tell` is what `progress` yields."""
        self.total, self.begun, self.skipped = total, 0, 0
        self._tell = tell

    def skip(self) -> None:
        """Count a picture that was done before."""
        self.skipped += 1

    def stage(self, source: Path) -> Callable[[str, float], None]:
        """Begin a picture, and return what its stages are told to."""
        if self.total == 1:
            return self._tell
        self.begun += 1
        place, before, left = f"{self.begun + self.skipped} of {self.total}", self.begun - 1, self.total - self.skipped

        def tell(stage: str, done: float) -> None:
            within = done if stage == "enhance" else 0.0  # the others take next to no time
            self._tell(f"{place}, {source.name}, {stage}", (before + within) / left)

        return tell


@contextmanager
def progress(name: str | Path, total: int = 100) -> Iterator[Callable[[str, float], None]]:
    """Show a bar with the time left on a terminal; elsewhere a line for every tenth of long work.

    Long is what has more than a hundred parts, and what takes longer than PATIENCE.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # pyright: ignore[reportUnnecessaryComparison] `2>&-`
        told, start = -1, time.monotonic()

        def plain(stage: str, done: float) -> None:
            nonlocal told
            told = told if 10 * done >= told else -1  # the stages of one picture begin at 0, each
            if int(10 * done) > told and (total > 100 or time.monotonic() - start > PATIENCE):
                told = int(10 * done)
                echo(f"{name}: {100 * done:.0f} %, {stage}", err=True)

        yield plain
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[stage]}", markup=False),
        TimeRemainingColumn(),
    )
    # What is printed is kept above the bar, unless it goes into a file, or nowhere
    both = sys.stdout is not None and sys.stdout.isatty()  # pyright: ignore[reportUnnecessaryComparison]
    # The time left is judged by the last hour, since one piece of long work may take minutes
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, speed_estimate_period=3600, redirect_stdout=both) as bars:
        task = bars.add_task("", total=1.0, name=str(name), stage="")
        yield lambda stage, done: bars.update(task, completed=done, stage=stage)


def _rgb8(images: Images) -> np.ndarray:
    array = to_array(Picture(images))
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
