"""The `mzsr bench` commands: each a few lines over `benchmark`."""

import difflib
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mzsr.apps.usage import noise_level, seconds, usage
from mzsr.errors import InputError

if TYPE_CHECKING:
    from mzsr.benchmark.cells import Cell, Source
    from mzsr.benchmark.measure import AnyMethod, Measured

bench = typer.Typer(no_args_is_help=True, help="Measure methods on pictures, every number with its protocol.")

KERNELS = "g0.2d,g2.0d,g_ani-d,g1.3b,bicubic"
METHODS = "bicubic-paper,bicubic,data-step,mzsr"

Data = Annotated[list[Path], typer.Option(metavar="DIR", help="A set: a folder of ground truth. May be repeated.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results; what is in it is not measured again.")]
Kernels = Annotated[
    str, typer.Option(metavar="LIST", help=f"{KERNELS}; gaussians, disks, boxes, motions; gauss:VAR; a kernel file; "
                      "or a folder of kernels, one for each picture.")
]  # fmt: skip
Scales = Annotated[str, typer.Option("-s", "--scale", metavar="LIST", help="Like 2 or 2,4.")]
Steps = Annotated[str, typer.Option(metavar="LIST", help="Gradient steps to report, for methods that adapt.")]
ProtocolName = Annotated[str, typer.Option("--protocol", help="mzsr, edsr, ntire or rgb.")]
Every = Annotated[int, typer.Option(min=1, help="Take every n-th picture of each set.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes, one thread each; 0: as many as there are cores.")]


@bench.command()
def quality(
    data: Data,
    out: Out,
    kernels: Kernels = KERNELS,
    scale: Scales = "2",
    methods: Annotated[
        str, typer.Option(metavar="LIST", help="bicubic-paper, bicubic, data-step, back-projection, zssr, a model of "
                          "`mzsr models` or a .safetensors; with :blind, :wrong or :x8 behind it.")
    ] = METHODS,
    results: Annotated[
        list[str], typer.Option(metavar="NAME=DIR", help="Results of another program; may be repeated.")
    ] = [],  # noqa: B006
    network: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="A network that spandrel reads; may be repeated.")
    ] = [],  # noqa: B006
    steps: Steps = "0,1,10",
    noise: Annotated[str, typer.Option(metavar="STD", help="Added to low resolution, like 5/255.")] = "0",
    jpeg: Annotated[int | None, typer.Option(metavar="QUALITY", help="Compress low resolution, 1 to 100.")] = None,
    protocol: ProtocolName = "mzsr",
    zssr_iterations: Annotated[int, typer.Option(min=1, help="Of ZSSR, at most.")] = 3000,
    every: Every = 1,
    workers: Workers = 0,
    check: Annotated[
        bool, typer.Option("--check", help="Measure the bicubic baseline alone and compare it with what is published.")
    ] = False,
) -> None:  # fmt: skip
    """Measure PSNR and SSIM: the papers' tables, and everyone else's.

    Writes results.csv (a row for every picture), results.md, results.html and about.json into --out.
    """
    with usage():
        from mzsr.benchmark import tables
        from mzsr.benchmark.published import BICUBIC

        level = noise_level(noise)
        if jpeg is not None and not 1 <= jpeg <= 100:
            raise InputError(f"--jpeg is {jpeg}; a quality from 1 to 100 is required")
        cells = _cells(kernels, scale, [(level, jpeg)])
        compared = _methods(BICUBIC if check else methods, steps, zssr_iterations)
        if not check:
            compared += _others(results, network, single=len(cells) == 1)
        sources, problems = _sources(data, every)
    measured = _measure(sources, cells, compared, protocol, out, workers, problems)
    if check:
        table, agrees = tables.check(measured.rows)
        typer.echo(table)
        typer.echo("data and protocol are the published ones" if agrees else "NOT the published data or protocol")
        raise typer.Exit(0 if agrees and not measured.problems else 1)
    made = [("PSNR (dB) / SSIM", tables.quality(measured.rows))]
    for heading, table in (
        ("What steps of adaptation gain", tables.adaptation(measured.rows)),
        ("What estimating the degradation costs", tables.estimation(measured.rows)),
    ):
        made += [(heading, table)] if table.count("\n") > 1 else []
    _publish(out, made, measured, sources, cells, compared, protocol, workers)


@bench.command()
def blind(
    data: Data,
    out: Out,
    kernels: Kernels = "gaussians,disks,boxes,motions,bicubic",
    scale: Scales = "2",
    methods: Annotated[str, typer.Option(metavar="LIST", help="Methods that are told a kernel.")] = "data-step,mzsr",
    steps: Steps = "1",
    conditions: Annotated[str, typer.Option(metavar="LIST", help="clean, noise (5/255), jpeg (quality 80).")] = "clean",
    protocol: ProtocolName = "mzsr",
    every: Every = 1,
    workers: Workers = 0,
) -> None:
    """Measure what estimating kernel and noise costs against knowing them, and that plain pictures take no harm.

    Every method runs twice, with the known and with the estimated degradation.
    """
    with usage():
        from mzsr.benchmark import tables

        known = {"clean": (0.0, None), "noise": (5 / 255, None), "jpeg": (0.0, 80)}
        chosen = [_nearest(name, known, "condition") for name in conditions.split(",")]
        cells = _cells(kernels, scale, [known[name] for name in chosen])
        both = [spec for name in methods.split(",") for spec in (name, f"{name}:blind")]
        compared = _methods(",".join(["bicubic", *both]), steps)
        sources, problems = _sources(data, every)
    measured = _measure(sources, cells, compared, protocol, out, workers, problems)
    made = [
        ("What estimating the degradation costs", tables.estimation(measured.rows)),
        ("Plain bicubic input: no harm?", tables.harm(measured.rows)),
        ("PSNR (dB) / SSIM", tables.quality(measured.rows)),
    ]
    made = [(heading, table) for heading, table in made if table.count("\n") > 1]
    _publish(out, made, measured, sources, cells, compared, protocol, workers)


@bench.command()
def inputs(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to fill: DIR/SET/CELL/PICTURE.png.")],
    kernels: Kernels = KERNELS,
    scale: Scales = "2",
    every: Every = 1,
) -> None:
    """Write the low-resolution pictures, for another program to enlarge and `--results` to score."""
    with usage():
        from mzsr.benchmark.cells import has_kernel, make
        from mzsr.imaging import files
        from mzsr.imaging.picture import Picture

        cells = _cells(kernels, scale, [(0.0, None)])
        sources, problems = _sources(data, every)
        jobs = [
            (source, cell, out / source.set.partition("/")[0] / cell.folder / f"{source.path.stem}.png")
            for cell in cells
            for source in sources
            if has_kernel(cell, source)
        ]
        taken = [target for *_, target in jobs if target.exists()]
        if taken:
            raise InputError(f"{taken[0]} exists, and {len(taken) - 1} more; name an empty folder")
    with usage(1):
        for source, cell, target in jobs:
            target.parent.mkdir(parents=True, exist_ok=True)
            files.write(target, Picture(make(source, cell).lr))
    typer.echo(f"wrote {len(jobs)} pictures into {out}", err=True)
    _complain(problems)


@bench.command()
def speed(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")],
    networks: Annotated[
        str, typer.Option(metavar="LIST", help="Models of `mzsr models`, .safetensors files, zssr, edsr-s, rrdbnet; "
                          "the others are compared with the first.")
    ] = "mzsr,mzsr-x2-direct,zssr,edsr-s,rrdbnet",
    sizes: Annotated[
        str, typer.Option(metavar="LIST", help="Sides of the output, pixels.")
    ] = "64,128,256,512,1024,2048,4096",
    steps: Annotated[int, typer.Option(min=0, help="Gradient steps of adaptation.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="To take the median of.")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="Of PyTorch; 0: as many as there are cores.")] = 0,
    limit: Annotated[
        str, typer.Option(metavar="TIME", help="What would take a network longer at a size is named and left out.")
    ] = "5m",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:  # fmt: skip
    """Measure seconds of every stage, memory and arithmetic, from a file to one twice as large; all in one run."""
    with usage():
        from mzsr.apps import present
        from mzsr.benchmark.publication import about_speed, publish_speed
        from mzsr.benchmark.speed import measure_all
        from mzsr.benchmark.stages import ZSSR_ITERATIONS, ZSSR_SCHEDULE
        from mzsr.benchmark.timings import table
        from mzsr.inference.adapt import check_steps

        check_steps(steps)
        names, sides = _list(networks), _whole(sizes, "--sizes", 1, 2**16)
        patience, count = seconds(limit), threads or os.cpu_count() or 1
        _make(out)
    with usage(2), present.progress(out, 1000) as progress:
        found = measure_all(
            names, sides, steps=steps, rounds=rounds, threads=count, limit=patience, device=device, progress=progress
        )
    with usage(1):
        if not found.timings:
            raise InputError("nothing could be measured: " + "; ".join(found.skipped))
        lines = table(found.timings, names[0])
        if any(timing.extrapolated for timing in found.timings):
            lines += ["", f"\\* {ZSSR_SCHEDULE} iterations, calculated from {ZSSR_ITERATIONS}."]
        heading = f"Seconds, memory and arithmetic, x2, {count} threads"
        typer.echo(f"{heading}\n\n" + "\n".join(lines) + "\n")
        told = about_speed(shlex.join(["mzsr", *sys.argv[1:]]), count, found.skipped)
        publish_speed(out, found.timings, told, [(heading, "\n".join(lines))])
        typer.echo(f"wrote {out}/results.csv, results.md, results.html", err=True)
    _complain(found.skipped)


def _make(out: Path) -> None:
    """Make the folder of the results before the work: what cannot be written is said at once."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be made ({error.strerror}); name another folder") from error


def _cells(kernels: str, scale: str, conditions: Sequence[tuple[float, int | None]]) -> list["Cell"]:
    from mzsr.benchmark.cells import Cell, check
    from mzsr.imaging.degrade import MAX_SCALE

    scales = _whole(scale, "--scale", 1, MAX_SCALE)
    cells = [Cell(s, kernel, *condition) for s in scales for condition in conditions for kernel in _list(kernels)]
    for cell in cells:
        check(cell)
    return cells


def _methods(specs: str, steps: str, iterations: int = 3000) -> list["AnyMethod"]:
    from mzsr.benchmark.methods import parse
    from mzsr.inference.adapt import MAX_STEPS

    asked = _whole(steps, "--steps", 0, MAX_STEPS)
    return [parse(spec, asked, iterations) for spec in dict.fromkeys(_list(specs))]


def _others(results: list[str], network: list[str], *, single: bool) -> list["AnyMethod"]:
    from mzsr.benchmark.foreign import Foreign, Results

    found: list[AnyMethod] = []
    for text in results:
        name, path = _named(text, "--results")
        if not path.is_dir():
            raise InputError(f"--results {name} is {path}, which is no folder; a folder of pictures is required")
        found.append(Results(name, path, single))
    for text in network:
        name, path = _named(text, "--network")
        if not path.is_file():
            raise InputError(f"--network {name} is {path}, which is no file; a network that spandrel reads is required")
        found.append(Foreign(name, path))
    return found


def _sources(data: list[Path], every: int) -> tuple[list["Source"], list[str]]:
    from mzsr.benchmark.cells import read_set

    sets = [read_set(folder, every) for folder in dict.fromkeys(data)]
    sources, problems = ([item for part in parts for item in part] for parts in zip(*sets, strict=True))
    if not sources:
        raise InputError("; ".join(problems))
    return sources, problems


def _measure(
    sources: list["Source"], cells: list["Cell"], compared: list["AnyMethod"], protocol: str, out: Path, workers: int,
    problems: list[str],
) -> "Measured":  # fmt: skip
    with usage():
        from mzsr.apps import present
        from mzsr.benchmark.foreign import Results
        from mzsr.benchmark.measure import measure
        from mzsr.imaging.metrics import PROTOCOLS

        _nearest(protocol, PROTOCOLS, "protocol")
        _make(out)
        for method in compared:
            if isinstance(method, Results):
                extra = method.extra(sources, cells)
                problems += [f"{method.spec}: {path} belongs to no picture that is measured" for path in extra]
    with usage(1), present.progress(out, 1000) as progress:
        found = measure(
            sources, cells, compared, protocol=protocol, folder=out, workers=workers or os.cpu_count() or 1,
            progress=lambda done, total: progress(f"{done} of {total}", done / max(total, 1)),
        )  # fmt: skip
    return found._replace(problems=problems + found.problems)


def _publish(
    out: Path, made: list[tuple[str, str]], measured: "Measured", sources: list["Source"], cells: list["Cell"],
    compared: list["AnyMethod"], protocol: str, workers: int,
) -> None:  # fmt: skip
    from mzsr.benchmark.crops import comparisons
    from mzsr.benchmark.publication import about, publish

    with usage(1):
        if not measured.rows:
            raise InputError("nothing could be measured: " + "; ".join(measured.problems))
        command = shlex.join(["mzsr", *sys.argv[1:]])
        told = about(command, protocol, sources, workers or os.cpu_count() or 1, measured.problems)
        for heading, table in made:
            typer.echo(f"{heading}, protocol {protocol}\n\n{table}\n")
        publish(out, measured.rows, told, made, comparisons(measured.rows, sources, cells, compared))
        typer.echo(f"wrote {out}/results.csv, results.md, results.html", err=True)
    _complain(measured.problems)


def _complain(problems: Sequence[str]) -> None:
    """Name what could not be done; exit code 1 where there is anything."""
    for sentence in problems:
        typer.echo(f"mzsr: {sentence}", err=True)
    if problems:
        typer.echo(f"mzsr: {len(problems)} things could not be measured; the rest is done", err=True)
        raise typer.Exit(1)


def _list(text: str) -> list[str]:
    """Split at commas, but for those of gauss:VAR,VAR,ANGLE, whose parts are numbers."""
    parts: list[str] = []
    for part in text.split(","):
        if parts and parts[-1].startswith("gauss:") and _is_number(part):
            parts[-1] += f",{part}"
        elif part.strip():
            parts.append(part.strip())
    return parts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(text: str, name: str, low: int, high: int) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdigit() and low <= int(part) <= high for part in parts):
        raise InputError(f"{name} is '{text}'; whole numbers from {low} to {high}, with commas between, are required")
    return list(dict.fromkeys(int(part) for part in parts))


def _named(text: str, option: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(f"{option} received '{text}'; it must read NAME=PATH, for instance CARN=results/carn")
    return name, Path(path)


def _nearest(name: str, known: Iterable[str], kind: str) -> str:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise InputError(f"{kind} is '{name}'; did you mean '{near}'? known: {', '.join(names)}")
    return name
