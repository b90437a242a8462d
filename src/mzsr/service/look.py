"""A first look at an upload, in a process of its own: what is it, how large, and how does it look when small?

An upload may be anything, so not even its header is read in the server's process. Nothing here loads a network.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mzsr.errors import InputError
from mzsr.imaging import kernel_files, preview
from mzsr.imaging.files import NoPicture
from mzsr.service import processes

THUMBNAIL = 480  # pixels of the longer side


@dataclass(frozen=True)
class Refused:
    """Why an upload is not taken: an HTTP status, and one line."""

    status: int
    reason: str


def begin(memory: int) -> None:
    """Prepare the process that looks: it may allocate so many bytes."""
    processes.end_with_parent()
    processes.limit_memory(memory)


def look(folder: Path, kernel: str | None, max_pixels: int) -> dict[str, Any] | Refused:
    """Read the header of an upload, and its kernel whole.

    Args:
        folder: of the job; the picture is its file `input`.
        kernel: the file of the kernel there, if there is one.
        max_pixels: the most that a picture may have.

    Returns:
        width, height (upright), bytes and format.
    """
    path = folder / "input"
    try:
        found = preview.header(path)
        if kernel is not None:
            kernel_files.load(folder / kernel)
    except NoPicture as error:
        return Refused(415, _plain(error, folder))
    except InputError as error:
        return Refused(422, _plain(error, folder))
    if found.width * found.height > max_pixels:
        return Refused(
            413,
            f"the picture has {found.width} x {found.height} pixels, {found.width * found.height / 1e6:.1f} million; "
            f"the limit here is {max_pixels / 1e6:g} million — make it smaller, or crop it",
        )
    return {"width": found.width, "height": found.height, "bytes": path.stat().st_size, "format": found.format}


def thumbnail(folder: Path) -> None:
    """Write thumbnail.jpg beside an upload; of what cannot be decoded there is none, and its job will say why."""
    with suppress(InputError):
        preview.write_thumbnail(folder / "input", folder / "thumbnail.jpg", THUMBNAIL)


def _plain(error: InputError, folder: Path) -> str:
    """Leave out where a file lies on the server."""
    return str(error).replace(f"{folder / 'input'}", "the picture").replace(f"{folder}/", "")
