"""The command line: each command a few lines over the rooms above.

PyTorch is loaded inside the commands, so that `--help` answers at once. Exit codes: 0 all done; 1 some pictures failed,
each named, the others finished; 2 wrong usage.
"""

import io
import json
import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mzsr.apps.batch import Records, each, reason
from mzsr.apps.bench import bench
from mzsr.apps.jobs import check_recursive, claim, is_several, pair, pictures
from mzsr.apps.serve import serve
from mzsr.apps.training import train
from mzsr.apps.usage import complain, echo, millions, noise_level, usage
from mzsr.commands import command_line
from mzsr.errors import InputError
from mzsr.version import __version__

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Super-resolution that learns your picture.",
)  # fmt: skip
app.add_typer(train, name="train")
app.add_typer(bench, name="bench")
app.command()(serve)

# A path is `readable=False` where files.py shall say, in one line, that it may not be read
KERNELS = "bicubic, gauss:VAR, gauss:VAR,VAR,RADIANS, FILE.mat or FILE.npy"
Kernel = Annotated[
    str, typer.Option(metavar="KERNEL", help=f"auto, {KERNELS}; on the grid of the result, at the next whole scale.")
]
Sampling = Literal["direct", "centre", "bicubic"]
GRIDS = "centre: the grid of photographs; direct: every s-th pixel, the paper's, where results lie up and left."
MaxPixels = Annotated[
    float, typer.Option(metavar="MILLIONS", help="Refuse larger inputs, which could fill the memory.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON record per picture on standard output.")]


def _print(line: str) -> None:
    """Print a line about a picture; where that cannot be, say so, for what became of the picture is not changed."""
    try:
        echo(line)
    except InputError as error:
        complain(str(error))


@dataclass(frozen=True)
class _Failures:
    """Pictures that fail: each is named with its reason on standard error, and with --json as a record."""

    as_json: bool
    refused: list[Path] = field(default_factory=list)
    """Those that failed before any work began."""

    def tell(self, source: Path, words: str) -> None:
        """Name one."""
        complain(words)
        if self.as_json:
            _print(json.dumps({"input": str(source), "error": words}))

    def refuse(self, source: Path, error: InputError) -> None:
        """Name one that will not be begun, and keep it in mind."""
        self.refused.append(source)
        self.tell(source, reason(source, error))


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        echo(__version__)
        raise typer.Exit


@app.command()
def upscale(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", readable=False, help="Pictures, or folders of pictures.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File, or folder for several. Default: NAME_x2.SUFFIX beside.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Folders within folders too; -o OUT gets the same ones.")
    ] = False,
    scale: Annotated[float | None, typer.Option("-s", "--scale", help="1 to 8; 2 if nothing is said.")] = None,
    width: Annotated[int | None, typer.Option(metavar="PX", help="Width instead of a scale.")] = None,
    height: Annotated[int | None, typer.Option(metavar="PX", help="Height instead of a scale.")] = None,
    fit: Annotated[
        Literal["stretch", "inside", "outside"],
        typer.Option(help="Where width and height are not in proportion: stretch to both, or fill or cover that box."),
    ] = "stretch",
    kernel: Kernel = "auto",
    subsample: Annotated[
        Sampling | None,
        typer.Option(help=f"{GRIDS} Left out: bicubic for that kernel, direct for others, centre for auto."),
    ] = None,
    noise: Annotated[str, typer.Option(metavar="STD", help="auto, or like 5/255 or 0.02.")] = "auto",
    jpeg: Annotated[
        Literal["auto", "off"],
        typer.Option(help="auto: undo what JPEG did, in a file or before; off: take it for detail."),
    ] = "auto",
    enlarged: Annotated[
        Literal["auto", "off"],
        typer.Option(help="auto: shrink a picture that was enlarged before to the detail it holds; off: do not."),
    ] = "auto",
    mode: Annotated[
        Literal["fast", "balanced", "best"],
        typer.Option(help="fast: no adaptation; balanced: --steps 1; best: --steps 10 --x8."),
    ] = "balanced",
    steps: Annotated[int | None, typer.Option(help="Gradient steps of adaptation; 0 takes none.")] = None,
    x8: Annotated[
        bool | None, typer.Option("--x8/--no-x8", help="Mean of eight positions: 8 times the time, a little better.")
    ] = None,
    back_projection: Annotated[
        bool,
        typer.Option("--back-projection/--no-back-projection", help="Whether the paper's models end in a data step."),
    ] = True,
    model: Annotated[str, typer.Option("-n", "--model", help="A name of `mzsr models`, or a file.")] = "mzsr",
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a report about one picture.")] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(metavar="MAP.png", help="Draw how far each pixel of one picture is likely to be off."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "-t",
            "--tile",
            metavar="PX",
            help="Tile side; 0: no tiles. Left out: 384 for pictures above 512, less if memory runs out.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, float32 (tiles are exact) or bfloat16 (faster, a grey level off here and there).")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of the noise in the smaller copy that adaptation learns from.")] = 0,
    form: Annotated[
        Literal["png", "jpg", "webp", "tif", "bmp", "avif"] | None,
        typer.Option("--format", help="Of the results. Left out: that of the input, or the suffix of -o FILE."),
    ] = None,
    quality: Annotated[int, typer.Option(help="1 to 100, of JPEG, WebP and AVIF.")] = 95,
    max_pixels: MaxPixels = 100.0,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="On Ray: auto, local, HOST:PORT or ray://HOST:PORT. Needs -o FOLDER."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of a worker of the cluster; 1 if nothing is said.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Super-resolve pictures: JPEG, PNG, WebP, TIFF, BMP, AVIF, still GIF, and HEIC with the extra `heif`.

    The blur and the noise of each picture are estimated, the network adapts to it, and enlarges it. Into a folder (-o),
    what is done is not done again, however the last run ended: give the same command once more.
    """
    with usage():
        from mzsr.apps import cluster as ray
        from mzsr.apps import present
        from mzsr.apps.report import write_report
        from mzsr.apps.work import Done, Order, do
        from mzsr.imaging import files, kernel_files
        from mzsr.inference.intake import sampling_of
        from mzsr.inference.request import check_options
        from mzsr.inference.uncertainty import error_law
        from mzsr.inference.upscale import Upscaler
        from mzsr.learning.devices import precision_name

        # All that does not depend on a picture is checked once, before any work begins
        size = None if width is None and height is None else (height, width)
        check_options(scale, size, steps, fit)
        if not 1 <= quality <= 100:
            raise InputError(f"--quality is {quality}; it must lie between 1 and 100 — 95 is a good choice")
        limit = millions("--max-pixels", max_pixels)
        level = "auto" if noise == "auto" else noise_level(noise)
        taps = kernel if kernel in ("auto", "bicubic") else kernel_files.parse(kernel)
        sampling_of(kernel, subsample)
        ending = f"_x{scale or 2:g}" if size is None else "_large"
        suffix = None if form is None else f".{form}"
        if cluster is not None and (output is None or not is_several(inputs)):
            raise InputError("--cluster is for many pictures; give a folder of them, and -o FOLDER for the results")
        if threads is not None and cluster is None:
            raise InputError("--threads is of --cluster; on this machine alone set OMP_NUM_THREADS")
        failures = _Failures(as_json)
        jobs = pair(
            inputs, output, ending, overwrite, report, uncertainty=uncertainty, recursive=recursive, suffix=suffix,
            refuse=failures.refuse,
        )  # fmt: skip
        upscaler = Upscaler(model, device=device if cluster is None else "cpu", tile=tile, precision=precision)
        asked = True if uncertainty is not None else "auto" if report is not None or as_json else False
        error_law(upscaler.card, asked)
        options: dict[str, Any] = {
            "scale": scale, "size": size, "fit": fit, "kernel": taps, "subsample": subsample, "noise": level,
            "jpeg": jpeg, "enlarged": enlarged, "mode": mode, "steps": steps, "x8": x8, "seed": seed,
            "back_projection": back_projection,
        }  # fmt: skip

    def say(source: Path, done: Done) -> None:
        if done.skipped:
            bar.skip()
        if as_json:
            _print(json.dumps(done.told))
        elif done.line:
            _print(done.line)
        for warning in done.warnings:
            complain(f"{source}: mind: {warning}")

    def work(source: Path, target: Path) -> None:
        done = do(order, upscaler, source, target, bar.stage)
        if uncertainty is not None and done.result is not None:
            files.write(uncertainty, present.error_plot(done.result))
        if report is not None and done.result is not None:
            command = command_line("mzsr", sys.argv[1:])
            write_report(report, present.report_data(source, done.result, command, __version__))
        say(source, done)

    def answered(source: Path, done: Done) -> None:
        if not done.skipped:
            bar.stage(source)("enhance", 1.0)
        say(source, done)

    def missed(source: Path, words: str) -> None:
        bar.stage(source)("enhance", 1.0)
        failures.tell(source, words)

    name = jobs[0][0] if len(jobs) == 1 else f"{len(jobs)} pictures"
    count = len(jobs) + len(failures.refused)
    computing = nullcontext(upscaler.device.type) if cluster is None else ray.connected(cluster, device)
    with usage(), computing as where:
        if cluster is not None and precision == "auto":  # the same on all nodes, or bytes would depend on who did them
            precision = "bfloat16" if where == "cuda" else precision_name(upscaler.network.precision)
        order = Order(model, where, tile, options, asked, limit, quality, precision)
        if output is not None and is_several(inputs):
            order = replace(order, records=(records := Records(output, order.fingerprint(upscaler), overwrite)))
            jobs, suspects = records.left_for_last(jobs)
            for source in suspects:
                complain(f"{source}: another run was at work on this, and was ended or goes on; it comes last now")
        swept = nullcontext() if order.records is None else order.records.swept()
        with swept, present.progress(name, len(jobs)) as tell:
            bar = present.ListProgress(len(jobs), tell)
            if cluster is None:
                turns = jobs if order.records is None else order.records.in_turn(jobs)
                failed = each(turns, work, failures.tell)
            else:
                failed = ray.run(order, jobs, inputs, threads or 1, answered, missed, complain)
    failed = [*failures.refused, *failed]
    if count > 1:
        complain(present.summary(count, bar.skipped, failed))
    if failed:
        raise typer.Exit(1)


@app.command()
def estimate(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", readable=False, help="Pictures, or folders of pictures.")
    ],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders within folders too.")] = False,
    scale: Annotated[int, typer.Option("-s", "--scale", help="Factor by which it is to be enlarged, 1 to 8.")] = 2,
    subsample: Annotated[Sampling, typer.Option(help=f"What the picture lies on; {GRIDS}")] = "centre",
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the kernel, .mat or .npy.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the kernel.")] = None,
    max_pixels: MaxPixels = 100.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Tell what a picture went through: blur kernel, noise, compression, and whether it was enlarged before."""
    from mzsr.apps import present
    from mzsr.imaging import files, kernel_files
    from mzsr.imaging.degrade import MAX_SCALE
    from mzsr.imaging.picture import untaken, visible
    from mzsr.inference.compression import compression
    from mzsr.inference.enlargement import enlargement
    from mzsr.inference.estimate import estimate as estimate_degradation

    failures = _Failures(as_json)
    with usage():
        several = is_several(inputs)
        check_recursive(recursive, [path for path in inputs if os.path.isdir(path)])
        if several and (save is not None or plot is not None):
            raise InputError("--save and --plot are of one picture; run it once for each")
        sources = [source for source, _ in pictures(inputs, recursive, None, failures.refuse)]
        taken = {os.path.realpath(source) for source in sources}
        for path in filter(None, (save, plot)):
            claim(path, taken, overwrite)
        if plot is not None:
            files.check_writable(plot)
        if save is not None:
            kernel_files.check_suffix(save)
        if not 1 <= scale <= MAX_SCALE:
            raise InputError(f"--scale is {scale}; it must lie between 1 and {MAX_SCALE}")
        limit = millions("--max-pixels", max_pixels)

    def look(source: Path) -> None:
        picture = visible(files.read(source, max_pixels=limit))
        grid = "corner" if subsample == "direct" else "centre"
        told = estimate_degradation(
            picture.pixels, scale, grid=grid, jpeg=compression(picture), untaken=untaken(picture)
        )
        told, size = replace(told, enlarged=enlargement(picture.pixels)), picture.pixels.shape[2:]
        if save is not None:
            kernel_files.save(save, told.degradation.kernel)
        if plot is not None:
            files.write(plot, present.kernel_plot(told.degradation.kernel))
        if as_json:
            echo(json.dumps(present.estimate_record(told, source, scale, size)))
        else:
            echo(f"{source}: " + "\n".join(present.estimate_lines(told, scale, size, subsample)))

    looked = each(((source, source) for source in sources), lambda source, _: look(source), failures.tell)
    failed = [*failures.refused, *looked]
    if failed and several:
        complain(present.summary(len(sources) + len(failures.refused), 0, failed))
    if failed:
        raise typer.Exit(1)


@app.command()
def degrade(
    source: Annotated[Path, typer.Argument(metavar="HR", readable=False, help="A high-resolution picture.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="LR", help="The low-resolution picture.")],
    scale: Annotated[int, typer.Option("-s", "--scale", help="1 to 8.")] = 2,
    kernel: Annotated[str, typer.Option(metavar="KERNEL", help=f"{KERNELS}.")] = "bicubic",
    subsample: Annotated[
        Sampling | None,
        typer.Option(help="direct: every s-th pixel; centre: the grid of photographs. Left out: bicubic, else direct."),
    ] = None,
    noise: Annotated[str, typer.Option(metavar="STD", help="Like 5/255 or 0.02.")] = "0",
    jpeg: Annotated[
        int | None, typer.Option(metavar="QUALITY", help="Compress at last, 1 to 100, chroma halved.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    max_pixels: MaxPixels = 100.0,
    overwrite: Overwrite = False,
) -> None:
    """Make test inputs: blur, subsample, add noise and compress, with the rules that the networks assume."""
    import torch

    from mzsr.imaging import degrade as degradation
    from mzsr.imaging import files, kernel_files
    from mzsr.imaging.jpeg import tables
    from mzsr.imaging.picture import visible
    from mzsr.inference.intake import sampling_of

    with usage():
        if kernel == "auto":
            raise InputError("--kernel is auto; degrading needs one: bicubic, gauss:VAR or a file")
        packed = None if jpeg is None else degradation.Jpeg(tables(jpeg))
        sampling = sampling_of(kernel, subsample)
        d = degradation.sampled(kernel_files.parse(kernel), scale, sampling, noise_level(noise), packed)
        files.check_writable(output)
        claim(output, {os.path.realpath(source)}, overwrite)
        limit = millions("--max-pixels", max_pixels)
    with usage(1):
        picture = visible(files.read(source, max_pixels=limit))
        generator = torch.Generator().manual_seed(seed % 2**63)
        small = degradation.degrade(picture.pixels, d, generator).clamp(0, 1)
        alpha = None if picture.alpha is None else degradation.degrade(picture.alpha, replace(d, jpeg=None)).clamp(0, 1)
        for words in files.write(output, replace(picture, pixels=small, alpha=alpha), quality=100):
            complain(f"{source}: mind: {words}")
    echo(f"{source} → {output}, {small.shape[3]}x{small.shape[2]}", err=True)


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one card per line on standard output.")] = False,
) -> None:
    """Show the models that are installed, with their cards."""
    from mzsr.apps.present import model_lines
    from mzsr.learning.weights import ESTIMATOR, card_of, shipped_models

    with usage(1):
        for card in [card_of(name) for name in (*shipped_models(), ESTIMATOR)]:
            echo(card.model_dump_json() if as_json else "\n".join(model_lines(card)))


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no arrows, or a name that is no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if "" in sys.argv[1:]:  # which would be the folder where the command is given
        complain("an argument is empty, as of a variable that is not set; leave it out, or name something")
        raise SystemExit(2)
    app()
