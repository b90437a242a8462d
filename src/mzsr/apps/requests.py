"""What people ask of `mzsr bench`, in words → sets, cells and methods; and what could not be done, in words."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mzsr.apps.usage import complain, noise_level, several
from mzsr.errors import InputError

if TYPE_CHECKING:
    from mzsr.benchmark.cells import Cell, Source
    from mzsr.benchmark.measure import AnyMethod

Condition = tuple[float, int | None]  # standard deviation of the noise, quality of JPEG


def read_condition(noise: str, jpeg: int | None) -> Condition:
    """Read what is done to low resolution beyond the blur."""
    if jpeg is not None and not 1 <= jpeg <= 100:
        raise InputError(f"--jpeg is {jpeg}; a quality from 1 to 100 is required")
    return noise_level(noise), jpeg


def blind_twin(spec: str) -> str:
    """Return a method with its kernel estimated; refuse one that was told no kernel anyway."""
    from mzsr.benchmark.methods import parse, with_option

    method = parse(spec)
    if method.name.startswith("bicubic") or {"blind", "wrong", "clean"} & set(method.options):
        raise InputError(f"method {spec} is not given the kernel; name one that is, for instance data-step or mzsr")
    return with_option(spec, "blind")


def unique(names: Sequence[str], what: str) -> None:
    """Refuse names that are there twice: their rows would be taken for one."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{what} '{name}' is there twice; every {what} needs a name of its own")


def make_folder(out: Path) -> None:
    """Make the folder of the results before the work: what cannot be written, or is not ours, is said at once."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in out.iterdir()}
    except OSError as error:
        raise InputError(f"--out {out} cannot be made ({error.strerror}); name another folder") from error
    taken = sorted(there & {"results.csv", "results.md", "results.html"})
    if taken and not there & {"about.json", "records.jsonl"}:
        raise InputError(f"--out {out} holds {taken[0]}, which mzsr bench did not write; name another folder")


def read_cells(kernels: str, scale: str, conditions: Sequence[Condition]) -> list["Cell"]:
    """Return a cell for every scale, condition and kernel, all of which exist."""
    from mzsr.benchmark.cells import Cell, check
    from mzsr.imaging.degrade import MAX_SCALE

    scales, asked = whole(scale, "--scale", 1, MAX_SCALE), dict.fromkeys(listed(kernels))
    cells = [Cell(s, kernel, *condition) for s in scales for condition in dict.fromkeys(conditions) for kernel in asked]
    if not cells:
        what = "--kernels names no kernel" if conditions else "--conditions names no condition"
        raise InputError(f"{what}; at least one is required")
    for cell in cells:
        check(cell)
    unique([str(cell) for cell in cells], "kernel")
    return cells


def read_methods(specs: str, steps: str, iterations: int = 3000) -> tuple[list["AnyMethod"], list[str]]:
    """Return the methods that there are, and a sentence about every other.

    Raises:
        InputError: there are none.
    """
    from mzsr.benchmark.methods import parse
    from mzsr.inference.adapt import MAX_STEPS

    asked = whole(steps, "--steps", 0, MAX_STEPS)
    if not listed(specs):
        raise InputError("--methods names no method; at least one is required")
    found, problems = [], []
    for spec in dict.fromkeys(listed(specs)):
        try:
            found.append(parse(spec, asked, iterations))
        except InputError as error:
            problems.append(str(error))
    if not found:
        raise InputError("; ".join(problems))
    return found, problems


def read_others(results: list[str], network: list[str], *, single: bool) -> list["AnyMethod"]:
    """Return results and networks of others, all of which exist."""
    from mzsr.benchmark.foreign import Foreign, Results

    found: list[AnyMethod] = []
    for text in results:
        name, path = _named(text, "--results")
        if not os.path.isdir(path):
            raise InputError(f"--results {name} is {path}, which is no folder; a folder of pictures is required")
        found.append(Results(name, path, single))
    for text in network:
        name, path = _named(text, "--network")
        if not os.path.isfile(path):
            raise InputError(f"--network {name} is {path}, which is no file; a network that spandrel reads is required")
        found.append(Foreign(name, path))
    return found


def read_sources(data: list[Path], every: int) -> tuple[list["Source"], list[str]]:
    """Return the pictures of all sets, and a sentence about what cannot be read.

    Raises:
        InputError: there are none, or two sets of one name.
    """
    from mzsr.benchmark.cells import read_set

    sets = [read_set(folder, every) for folder in dict.fromkeys(data)]
    sources, problems = ([item for part in parts for item in part] for parts in zip(*sets, strict=True))
    if not sources:
        raise InputError("; ".join(problems))
    unique([part[0][0].set for part in sets if part[0]], "set")
    return sources, problems


def finish(problems: Sequence[str]) -> None:
    """Name what could not be done; exit code 1 where there is anything."""
    for sentence in problems:
        complain(sentence)
    if problems:
        complain(f"{several(len(problems), 'thing')} could not be measured; the rest is done")
        raise typer.Exit(1)


def listed(text: str) -> list[str]:
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


def whole(text: str, name: str, low: int, high: int) -> list[int]:
    """Read whole numbers with commas between."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and len(part) < 20 and low <= int(part) <= high for part in parts):
        raise InputError(f"{name} is '{text}'; whole numbers from {low} to {high}, with commas between, are required")
    return list(dict.fromkeys(int(part) for part in parts))


def _named(text: str, option: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(f"{option} received '{text}'; it must read NAME=PATH, for instance CARN=results/carn")
    return name, Path(path)
