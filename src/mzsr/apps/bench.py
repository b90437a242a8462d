"""The `mzsr bench` commands: each a few lines over `benchmark`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mzsr.apps.requests import (
    blind_twin,
    finish,
    listed,
    make_folder,
    read_cells,
    read_condition,
    read_methods,
    read_others,
    read_sources,
    unique,
    whole,
)
from mzsr.apps.usage import echo, seconds, usage
from mzsr.commands import command_line
from mzsr.errors import InputError, one_of

if TYPE_CHECKING:
    from mzsr.benchmark.cells import Cell, Source
    from mzsr.benchmark.measure import AnyMethod, Measured

bench = typer.Typer(no_args_is_help=True, help="Measure methods on pictures, every number with its protocol.")

KERNELS = "g0.2d,g2.0d,g_ani-d,g1.3b,bicubic"
METHODS = "bicubic-paper,bicubic,data-step,mzsr"

# Paths are `readable=False` where it shall be said in one line that they may not be read
Data = Annotated[
    list[Path], typer.Option(metavar="DIR", readable=False, help="A set: a folder of ground truth. May be repeated.")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results; what is in it is not measured again.")]
Kernels = Annotated[
    str, typer.Option(metavar="LIST", help=f"{KERNELS}; gaussians, disks, boxes, motions; gauss:VAR; a kernel file, "
                      "taken as it is; or a folder of kernels, one for each picture, moved to the grid of photographs.")
]  # fmt: skip
Scales = Annotated[str, typer.Option("-s", "--scale", metavar="LIST", help="Like 2 or 2,4.")]
Steps = Annotated[str, typer.Option(metavar="LIST", help="Gradient steps to report, for methods that adapt.")]
Noise = Annotated[str, typer.Option(metavar="STD", help="Added to low resolution, like 5/255.")]
Quality = Annotated[int | None, typer.Option(metavar="QUALITY", help="Compress low resolution, 1 to 100.")]
ProtocolName = Annotated[str, typer.Option("--protocol", help="mzsr, edsr, ntire or rgb.")]
Every = Annotated[int, typer.Option(min=1, help="Take every n-th picture of each set.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes, one thread each; 0: as many as there are cores.")]


class Plan(NamedTuple):
    """What is to be measured, where it goes, and what has been found amiss so far."""

    sources: list["Source"]
    cells: list["Cell"]
    methods: list["AnyMethod"]
    protocol: str
    out: Path
    workers: int
    problems: list[str]


@bench.command()
def quality(
    data: Data,
    out: Out,
    kernels: Kernels = KERNELS,
    scale: Scales = "2",
    methods: Annotated[
        str, typer.Option(metavar="LIST", help="bicubic-paper, bicubic, data-step, back-projection, zssr, a model of "
                          "`mzsr models` or a .safetensors; with :blind, :wrong, :clean, :x8 or :bp behind it. "
                          "README says what each is.")
    ] = METHODS,
    results: Annotated[
        list[str], typer.Option(metavar="NAME=DIR", help="Results of another program in DIR/SET/CELL; may be repeated.")
    ] = [],  # noqa: B006
    network: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="A network that spandrel reads; may be repeated.")
    ] = [],  # noqa: B006
    steps: Steps = "0,1,10",
    noise: Noise = "0",
    jpeg: Quality = None,
    protocol: ProtocolName = "mzsr",
    zssr_iterations: Annotated[int, typer.Option(min=1, help="Of ZSSR, at most.")] = 3000,
    every: Every = 1,
    workers: Workers = 0,
    check: Annotated[
        bool, typer.Option("--check", help="Measure the bicubic baseline alone and compare it with what is published.")
    ] = False,
) -> None:  # fmt: skip
    """Measure PSNR and SSIM: the papers' tables, and everyone else's.

    Writes results.csv (a row for every picture), results.md, results.html and about.json into --out; with --check it
    writes none of them.
    """
    with usage():
        from mzsr.benchmark import tables
        from mzsr.benchmark.published import BICUBIC
        from mzsr.learning.devices import cores

        if check and (results or network or methods != METHODS or protocol != "mzsr"):
            raise InputError(
                "--check measures the bicubic baseline alone, by protocol mzsr, as it is published; leave --methods, "
                "--results, --network and --protocol out"
            )
        cells = read_cells(kernels, scale, [read_condition(noise, jpeg)])
        compared, unknown = read_methods(BICUBIC if check else methods, steps, zssr_iterations)
        compared += read_others(results, network, single=len(cells) == 1)
        sources, problems = read_sources(data, every)
        plan = Plan(sources, cells, compared, protocol, out, workers or cores(), unknown + problems)
    measured = _measure(plan)
    if check:
        table, agrees = tables.check(measured.rows)
        echo(table)
        verdict = {
            True: "what is published is reproduced",
            False: "what is published is NOT reproduced",
            None: "nothing is published of any of these, so nothing was checked",
        }
        echo(verdict[agrees])
        finish(measured.problems)
        raise typer.Exit(0 if agrees else 1)
    _publish(plan, measured, {
        "PSNR (dB) / SSIM": tables.quality(measured.rows),
        "What steps of adaptation gain": tables.adaptation(measured.rows),
        "What estimating the degradation costs": tables.estimation(measured.rows),
    })  # fmt: skip


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
    """Measure what estimating kernel and noise costs against knowing them, and that pictures take no harm.

    Every method runs twice, with the known and with the estimated degradation. Writes what `quality` writes.
    """
    with usage():
        from mzsr.benchmark import tables
        from mzsr.learning.devices import cores

        known = {"clean": (0.0, None), "noise": (5 / 255, None), "jpeg": (0.0, 80)}
        cells = read_cells(kernels, scale, [known[one_of("condition", name, known)] for name in listed(conditions)])
        both = [spec for name in listed(methods) for spec in (name, blind_twin(name))]
        compared, unknown = read_methods(",".join(["bicubic", *both]), steps)
        sources, problems = read_sources(data, every)
        plan = Plan(sources, cells, compared, protocol, out, workers or cores(), unknown + problems)
    measured = _measure(plan)
    _publish(plan, measured, {
        "What estimating the degradation costs": tables.estimation(measured.rows),
        "Against bicubic enlargement: no harm?": tables.harm(measured.rows),
        "PSNR (dB) / SSIM": tables.quality(measured.rows),
    })  # fmt: skip


@bench.command()
def inputs(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to fill: DIR/SET/CELL/PICTURE.png.")],
    kernels: Kernels = KERNELS,
    scale: Scales = "2",
    noise: Noise = "0",
    jpeg: Quality = None,
    every: Every = 1,
) -> None:
    """Write the low-resolution pictures, for another program to enlarge and `--results` to score."""
    with usage():
        from mzsr.benchmark.cells import has_kernel, make
        from mzsr.benchmark.measure import plan
        from mzsr.imaging import files
        from mzsr.imaging.picture import Picture

        wanted = read_cells(kernels, scale, [read_condition(noise, jpeg)])
        found, problems = read_sources(data, every)
        unique([f"{source.set} {source.path.stem}" for source in found], "picture")
        problems += plan(found, wanted, [], "mzsr")[1]
        jobs = [
            (source, cell, out / source.set.partition("/")[0] / cell.folder / f"{source.path.stem}.png")
            for cell in wanted
            for source in found
            if has_kernel(cell, source)
        ]
        taken = [target for *_, target in jobs if os.path.exists(target)]
        if taken:
            raise InputError(f"{taken[0]} exists, and {len(taken) - 1} more; name an empty folder")
        for folder in dict.fromkeys(target.parent for *_, target in jobs):
            make_folder(folder)
    for source, cell, target in jobs:
        try:
            files.write(target, Picture(make(source, cell).lr))
        except InputError as error:
            problems.append(f"{source.set} {source.path.name}, {cell}: {error}")
    echo(f"wrote {sum(os.path.exists(target) for *_, target in jobs)} pictures into {out}", err=True)
    finish(problems)


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
        from mzsr.benchmark.methods import ZSSR_ITERATIONS
        from mzsr.benchmark.publication import about_speed, publish_speed
        from mzsr.benchmark.speed import measure_all
        from mzsr.benchmark.stages import ZSSR_TIMED
        from mzsr.benchmark.timings import table
        from mzsr.inference.adapt import check_steps
        from mzsr.learning.devices import cores, pick_device

        check_steps(steps)
        if not (names := listed(networks)):
            raise InputError("--networks names no network; at least one is required")
        sides = whole(sizes, "--sizes", 1, 2**16)
        patience, count = seconds("--limit", limit), threads or cores()
        make_folder(out)
    with usage(2), present.progress(out, 1000) as progress:
        found = measure_all(
            names, sides, steps=steps, rounds=rounds, threads=count, limit=patience, device=device, progress=progress
        )
    with usage(1):
        if not found.timings:
            raise InputError("nothing could be measured: " + "; ".join(found.skipped))
        lines = table(found.timings, names[0])
        if any(timing.extrapolated for timing in found.timings):
            lines += ["", f"\\* {ZSSR_ITERATIONS} iterations, calculated from {ZSSR_TIMED}."]
        heading = f"Seconds, memory and arithmetic, x2, {count} threads"
        told = about_speed(command_line("mzsr", sys.argv[1:]), pick_device(device), count, found.skipped)
        publish_speed(out, found.timings, told, [(heading, "\n".join(lines))])
        echo(f"{heading}\n\n" + "\n".join(lines) + "\n")
        echo(f"wrote {out}/results.csv, results.md, results.html", err=True)
    finish(found.skipped)


def _measure(plan: Plan) -> "Measured":
    with usage():
        from mzsr.apps import present
        from mzsr.benchmark.foreign import Results
        from mzsr.benchmark.measure import measure
        from mzsr.imaging.metrics import PROTOCOLS

        one_of("protocol", plan.protocol, PROTOCOLS)
        unique([method.spec for method in plan.methods], "method")
        make_folder(plan.out)
        for method in plan.methods:
            if isinstance(method, Results):
                extra = method.extra(plan.sources, plan.cells)
                plan.problems.extend(f"{method.spec}: {path} belongs to no picture that is measured" for path in extra)
    with usage(1), present.progress(plan.out, 1000) as progress:
        found = measure(
            plan.sources, plan.cells, plan.methods, protocol=plan.protocol, folder=plan.out, workers=plan.workers,
            progress=lambda done, total: progress(f"{done} of {total}", done / max(total, 1)),
        )  # fmt: skip
    return found._replace(problems=plan.problems + found.problems)


def _publish(plan: Plan, measured: "Measured", tables: dict[str, str]) -> None:
    from mzsr.benchmark.crops import comparisons
    from mzsr.benchmark.publication import about, publish

    with usage(1):
        if not measured.rows:
            raise InputError("nothing could be measured: " + "; ".join(measured.problems))
        made = [(heading, table) for heading, table in tables.items() if table.count("\n") > 1]
        command = command_line("mzsr", sys.argv[1:])
        told = about(command, plan.protocol, plan.sources, plan.workers, measured.problems)
        publish(
            plan.out, measured.rows, told, made,
            lambda: comparisons(measured.rows, plan.sources, plan.cells, plan.methods),
        )  # fmt: skip
        for heading, table in made:
            echo(f"{heading}, protocol {plan.protocol}\n\n{table}\n")
        echo(f"wrote {plan.out}/results.csv, results.md, results.html", err=True)
    finish(measured.problems)
