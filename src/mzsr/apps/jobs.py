"""Which picture goes where: inputs and outputs in pairs, and no output in a place that is taken.

All of it is settled before any work begins, so that nobody waits an hour to hear of a folder that does not exist.
"""

import os
from pathlib import Path

from mzsr.errors import InputError


def pair(
    inputs: list[Path], output: Path | None, ending: str, overwrite: bool, report: Path | None
) -> list[tuple[Path, Path]]:
    """Pair every input picture with its output.

    Args:
        inputs: pictures, and folders of pictures.
        output: a file for one picture, a folder for several; None puts each beside its input.
        ending: what is added to the name of an input.
        overwrite: whether outputs may replace what is there.
        report: a page about the one picture.

    Raises:
        InputError: an output that would overwrite or collide, or that cannot be written.
    """
    from mzsr.imaging.files import SUFFIXES, check_writable  # loads PyTorch, and `--help` must answer at once

    sources = [source for path in inputs for source in _pictures(path)]
    several = len(sources) > 1 or os.path.isdir(inputs[0])
    if report is not None and several:
        raise InputError(f"--report takes one picture, {len(sources)} are given; run it once for each")
    if several and output is not None and not os.path.isdir(output):
        raise InputError(f"{len(sources)} pictures go to {output}, which is no folder; create it, or give one picture")
    taken = {os.path.realpath(source) for source in sources}
    jobs = []
    for source in sources:
        suffix = source.suffix if source.suffix.lower() in SUFFIXES else ".png"
        name = f"{source.stem}{ending}{suffix}"
        target = source.with_name(name) if output is None else output / name if several else output
        check_writable(target)
        claim(target, taken, overwrite)
        jobs.append((source, target))
    if report is not None:
        if report.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"report {report} ends in '{report.suffix}'; it is a page — name it FILE.html")
        claim(report, taken, overwrite)
    return jobs


def claim(path: Path, taken: set[str], overwrite: bool) -> None:
    """Reserve a place for an output.

    Args:
        path: where it is to go.
        taken: real paths of all inputs, and of the outputs reserved before; this one is added.
        overwrite: whether it may replace what is there.

    Raises:
        InputError: a folder, a place in no folder, an input, another output, or a file that exists.
    """
    real = os.path.realpath(path)
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder; a file is required — add a name")
    if not os.path.isdir(os.path.dirname(real)):
        raise InputError(f"{path} lies in no folder that exists; an existing one is required — create it")
    if real in taken:
        raise InputError(f"{path} is an input itself, or the output of another; choose another name or another folder")
    if os.path.exists(path) and not overwrite:
        raise InputError(f"{path} exists; add --overwrite to replace it, or choose another output")
    taken.add(real)


def _pictures(path: Path) -> list[Path]:
    """Return a file as it is given, and of a folder the pictures in it, in the order of their names."""
    from mzsr.imaging.files import SUFFIXES

    if not os.path.isdir(path):
        return [path]
    try:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"folder {path} cannot be read ({error.strerror}); read permission is required") from error
    if not inside:
        raise InputError(f"{path} is a folder without pictures; {', '.join(SUFFIXES)} are read — name another")
    return inside
