"""Which files of a folder are pictures: the one place that says so, for lists, training and benchmarks alike."""

import os
from pathlib import Path

from mzsr.imaging.files import READABLE


def pictures_in(
    folder: Path, *, recursive: bool = True, leave_out: Path | None = None
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """List the pictures of a folder, by their names: what ends as one that can be read.

    Hidden files and folders are passed over (macOS leaves ._a.png beside a.png), and links to folders are not followed.

    Args:
        folder: that is there.
        recursive: look into the folders inside it, too, after its own files.
        leave_out: a folder that is not entered.

    Returns:
        The pictures, and each folder that cannot be entered with a sentence that says why.
    """
    found: list[Path] = []
    closed: list[tuple[Path, str]] = []

    def unreadable(error: OSError) -> None:
        words = f"folder {error.filename} cannot be read ({error.strerror}); read permission is required"
        closed.append((Path(error.filename), words))

    skipped = None if leave_out is None else os.path.realpath(leave_out)
    for place, inner, names in os.walk(folder, onerror=unreadable):
        inner[:] = sorted(
            name for name in inner if recursive and name[0] != "." and os.path.realpath(Path(place, name)) != skipped
        )
        for link in filter(os.path.islink, (Path(place, name) for name in inner)):
            closed.append((link, f"{link} is a link to a folder, which is not followed; give that folder itself"))
        here = sorted(name for name in names if name[0] != "." and Path(name).suffix.lower() in READABLE)
        found += [Path(place, name) for name in here]
    return found, closed
