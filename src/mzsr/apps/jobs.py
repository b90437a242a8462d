"""Which picture goes where: inputs and outputs in pairs, and no output in a place that is taken.

All of it is settled before any work begins, so that nobody waits an hour to hear of a folder that cannot be written.
"""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mzsr.apps.batch import read_record
from mzsr.errors import InputError

NAME = 250  # bytes of a name; file systems hold 255, and a done-record adds .json


def pair(
    inputs: list[Path],
    output: Path | None,
    ending: str,
    overwrite: bool,
    report: Path | None,
    *,
    uncertainty: Path | None = None,
    recursive: bool = False,
    suffix: str | None = None,
    refuse: Callable[[Path, InputError], None] | None = None,
) -> list[tuple[Path, Path]]:
    """Pair every input picture with its output.

    Args:
        inputs: pictures, and folders of pictures.
        output: a file for one picture, a folder for several, made when it is needed; None puts each beside its input.
        ending: what is added to the name of an input.
        overwrite: whether outputs may replace what is there; those with a done-record may at any rate.
        report: a page about the one picture.
        uncertainty: a map of how far the one picture is likely to be off.
        recursive: look into folders within folders, and make the same ones in the output.
        suffix: of the outputs; None takes that of the input where it can be written, else .png.
        refuse: of several pictures, is told those that cannot be done and folders that cannot be read; None raises.

    Raises:
        InputError: an output that would overwrite or collide, or that cannot be written.
    """
    from mzsr.imaging.files import JPEGS, SUFFIXES, check_writable  # loads PyTorch, and `--help` must answer at once

    folder_meant = output is not None and (os.path.isdir(output) or output.suffix.lower() not in SUFFIXES)
    if len(inputs) == 1 and folder_meant and not os.path.lexists(inputs[0]):  # what is said of the output would puzzle
        raise InputError(
            f"{inputs[0]} does not exist; a picture or a folder of pictures is required — check the spelling"
        )
    folders = [path for path in inputs if os.path.isdir(path)]
    _check_folders(folders, output, recursive)
    several = is_several(inputs)
    # Beside the inputs, results of an earlier run would be inputs of this one
    refuse = refuse if several and output is not None and refuse is not None else _raise
    found = pictures(inputs, recursive, output, refuse)
    sources = [source for source, _ in found]
    out = output if several else None
    for option, path in (("--report", report), ("--uncertainty", uncertainty)):
        if path is not None and several:
            given = f"{len(sources)} are given; run it once for each"
            if len(sources) == 1:
                given = "a folder is given; name the picture in it"
            raise InputError(f"{option} takes one picture, {given}")
    if out is not None and not os.path.isdir(out) and (os.path.exists(out) or out.suffix.lower() in SUFFIXES):
        raise InputError(f"{len(sources)} pictures go to {out}, which is no folder; create it, or give one picture")
    if output is not None and not several and suffix and SUFFIXES.get(output.suffix.lower()) != SUFFIXES[suffix]:
        raise InputError(f"-o {output} and --format {suffix[1:]} differ; leave one of them out, or make them agree")
    taken = {os.path.realpath(source) for source in sources}
    if out is not None:  # no picture of any name could go there
        check_writable(_existing(out) / f"{sources[0].stem}{ending}.png")
    if twice := [source for source, count in Counter(map(os.path.abspath, sources)).items() if count > 1]:
        raise InputError(f"{twice[0]} is an input twice; give it once")
    jobs, made = [], dict[str, Path]()
    for source, inside in found:
        other_name = ".jpg" if source.suffix.lower() in JPEGS else ".png"
        kept = source.suffix if source.suffix.lower() in SUFFIXES else other_name
        name = f"{source.stem}{ending}{suffix or kept}"
        target = out / inside / name if out is not None else output or source.with_name(name)
        other = made.get(os.path.realpath(target), source)
        record = None if out is None else read_record(out, target)
        if record is not None:
            other = Path(str(record.told.get("input", other)))  # of an earlier run, when other pictures lay there
        if other.name != source.name:  # IMG_1.jpg and IMG_1.png, say
            target = target.with_name(f"{source.name}{ending}{suffix or kept}")
            record = None if out is None else read_record(out, target)
        made[os.path.realpath(target)] = source
        try:
            _settle(target, out, taken, overwrite or record is not None)
        except InputError as error:
            refuse(source, error)
        else:
            jobs.append((source, target))
    if report is not None:
        if report.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"report {report} ends in '{report.suffix}'; it is a page — name it FILE.html")
        claim(report, taken, overwrite)
    if uncertainty is not None:
        check_writable(uncertainty)
        claim(uncertainty, taken, overwrite)
    return jobs


def is_several(inputs: list[Path]) -> bool:
    """Tell whether outputs go into a folder: several inputs, or a folder, however many pictures it holds."""
    return len(inputs) > 1 or os.path.isdir(inputs[0])


def claim(path: Path, taken: set[str], overwrite: bool) -> None:
    """Reserve a place for an output.

    Args:
        path: where it is to go.
        taken: real paths of all inputs, and of the outputs reserved before; this one is added.
        overwrite: whether it may replace what is there.

    Raises:
        InputError: a folder, a place in no folder, an input, another output, or a file that exists.
    """
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder; a file is required — add a name")
    if not os.path.isdir(os.path.dirname(os.path.realpath(path))):
        raise InputError(f"{path} lies in no folder that exists; an existing one is required — create it")
    _reserve(path, taken)
    if os.path.exists(path) and not overwrite:
        raise InputError(f"{path} exists; add --overwrite to replace it, or choose another output")


def _settle(target: Path, out: Path | None, taken: set[str], overwrite: bool) -> None:
    """Check the place of one output and reserve it; folders that are missing in `out` will be made there."""
    from mzsr.imaging.files import check_writable

    folder = target.parent
    if out is not None:
        folder = _existing(folder)
    check_writable(folder / target.name)
    if folder == target.parent:
        claim(target, taken, overwrite)
    else:
        _reserve(target, taken)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))


def _reserve(path: Path, taken: set[str]) -> None:
    if (size := len(os.fsencode(path.name))) > NAME:
        raise InputError(
            f"{path.name[:16]}… is a name of {size} bytes; {NAME} are the most that a result may have — take fewer"
        )
    real = os.path.realpath(path)
    if real in taken:
        raise InputError(f"{path} is an input itself, or the output of another; choose another name or another folder")
    taken.add(real)


def check_recursive(recursive: bool, folders: list[Path]) -> None:
    """Raise InputError where folders are to be looked into and there are none."""
    if recursive and not folders:
        raise InputError("--recursive is given, but no folder among the inputs; name a folder, or leave it out")


def _check_folders(folders: list[Path], output: Path | None, recursive: bool) -> None:
    check_recursive(recursive, folders)
    if recursive and output is None:
        raise InputError("--recursive needs a folder for the results; add -o FOLDER")
    for folder in folders:
        if output is not None and os.path.realpath(folder) == os.path.realpath(output):
            raise InputError(
                f"-o {output} is the folder of the inputs, and results would be inputs the next time; choose another"
            )


def _raise(path: Path, error: InputError) -> None:
    raise error


def pictures(
    inputs: list[Path], recursive: bool, output: Path | None, refuse: Callable[[Path, InputError], None]
) -> list[tuple[Path, Path]]:
    """Return (picture, its folder within an input): files as they are given, of folders the pictures by their names.

    What `pictures_in` passes over is, and the folder of the outputs.

    Raises:
        InputError: there is none at all; of several folders `refuse` is told those that are empty.
    """
    from mzsr.imaging.files import READABLE
    from mzsr.imaging.folders import pictures_in

    remedy = "name another" if recursive else "name another, or add --recursive to look into folders inside"
    found, empty = list[tuple[Path, Path]](), list[tuple[Path, InputError]]()
    for path in inputs:
        if not os.path.isdir(path):
            found.append((path, Path()))
            continue
        inside, closed = pictures_in(path, recursive=recursive, leave_out=output)
        for place, words in closed:
            refuse(place, InputError(words))
        if not inside:
            words = f"{path} is a folder without pictures; {', '.join(READABLE)} are read — {remedy}"
            empty.append((path, InputError(words)))
        found += [(picture, picture.parent.relative_to(path)) for picture in inside]
    if not found:
        raise empty[0][1]
    for path, error in empty:
        refuse(path, error)
    return found
