"""Folders of photographs → 8-bit pictures in memory, and what a person should know of them before a long run.

Files that cannot be used are named and passed over. What is written beside the images about their licence is found
and repeated, not judged. Pictures go to `patches`, which cuts training pairs from them.
"""

import codecs
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from mzsr.errors import InputError, printable
from mzsr.imaging.files import read
from mzsr.imaging.folders import pictures_in
from mzsr.imaging.resize import resize

Photograph = UInt8[Tensor, "3 _h _w"]
Size = tuple[int, int]

_LIMIT = 65536  # bytes read of a file that may tell the licence; the longest licences in use have 35 kB
_LINE = 120  # characters repeated of it
# Which files tell a licence, and in which of their lines; a folder's READMEs count where there is no file of its own
_SOURCES = (
    (re.compile("licen[sc]e|copying", re.IGNORECASE), re.compile("")),
    (re.compile("readme", re.IGNORECASE), re.compile(r"licen[sc]|\bCC[ -]?(BY|0)\b|public.domain", re.IGNORECASE)),
)
_HEADING = re.compile(r"(the )?(licen[sc](e|es|ing)|copying)|creative commons legal code", re.IGNORECASE)


@dataclass(frozen=True)
class FolderSummary:
    """What one data folder holds.

    Attributes:
        name: of the folder, without what leads to it.
        count: pictures used.
        smallest: height and width of the picture with the fewest pixels.
        largest: height and width of the one with the most.
        megapixels: of all of them together.
        licence: what is written beside the images, and in which files; None where nothing is.
    """

    name: str
    count: int
    smallest: Size
    largest: Size
    megapixels: float
    licence: str | None


@dataclass(frozen=True)
class Photographs:
    """Decoded pictures and where they come from.

    Attributes:
        pictures: 8-bit RGB.
        skipped: one line for each file that could not be used, with the reason.
        folders: one for each data folder, in the order given.
        digest: 16 hexadecimal digits that change with any size or pixel, and with the order.
    """

    pictures: list[Photograph]
    skipped: list[str]
    folders: list[FolderSummary]
    digest: str

    def to(self, device: torch.device) -> "Photographs":
        """Return the same with the pictures on a device."""
        return replace(self, pictures=[picture.to(device) for picture in self.pictures])


def load_photographs(folders: Sequence[Path], smallest: int, *, empty: bool = False) -> Photographs:
    """Decode every picture below some folders, in the order of their names.

    Args:
        folders: searched recursively; links to other folders are named, not followed.
        smallest: least height and width, pixels.
        empty: whether a folder may hold no usable picture.

    Returns:
        The pictures, what they are, and what was passed over.

    Raises:
        InputError: a folder that does not exist, that is given twice or, unless it may, that holds no usable picture.
    """
    _check(folders)
    pictures: list[Photograph] = []
    skipped: list[str] = []
    summaries = []
    digest = hashlib.sha256()
    for folder in folders:
        paths, closed = pictures_in(folder)
        passed = sorted(words for _, words in closed)
        sizes: list[Size] = []
        for path in sorted(paths):
            found = _decode(path, smallest)
            if isinstance(found, str):
                passed.append(found)
                continue
            height, width = found.shape[1:]
            digest.update(f"{height}x{width};".encode())
            digest.update(found.numpy().data)
            sizes.append((height, width))
            pictures.append(found)
        if not sizes and not empty:
            first = f", the first: {passed[0]}" if passed else ""
            raise InputError(
                f"no usable picture in {folder} ({len(passed)} passed over{first}); "
                f"photographs of at least {smallest}x{smallest} pixels are required"
            )
        count = len(sizes)
        sizes = sorted(sizes, key=lambda size: (size[0] * size[1], size)) or [(0, 0)]
        megapixels = sum(height * width for height, width in sizes) / 1e6
        name = os.path.basename(os.path.realpath(folder)) or str(folder)
        licence = find_licence(folder, paths)
        summaries.append(FolderSummary(name, count, sizes[0], sizes[-1], megapixels, licence))
        skipped += passed
    return Photographs(pictures, skipped, summaries, digest.hexdigest()[:16])


def shrunk(pictures: Sequence[Photograph], factors: Sequence[float], smallest: int) -> list[Photograph]:
    """Return pictures made smaller: what is smooth at one size is texture at another (scale augmentation).

    Args:
        pictures: in their own size.
        factors: of both sides, each between 0 and 1.
        smallest: least height and width, pixels; what would be smaller is left out.

    Source: Dong et al., "Accelerating the super-resolution convolutional neural network", ECCV 2016, section 4.2.
    """
    smaller = []
    for factor in factors:
        for picture in pictures:
            if factor * min(picture.shape[1:]) >= smallest:
                pixels = resize(picture[None].float(), scale=factor)[0]
                smaller.append(pixels.round().clamp(0, 255).to(torch.uint8))
    return smaller


def find_licence(folder: Path, pictures: Iterable[Path]) -> str | None:
    """Find what is written beside pictures about their licence.

    That is the first line with words of a LICENSE, LICENCE or COPYING file, else the first line of a README that
    mentions a licence; a mere heading gives way to the line after it.

    Args:
        folder: looked into, and so is every folder between it and a picture; no file outside is read.
        pictures: files below it.

    Returns:
        Each different line with its file, such as `CC BY 4.0 (LICENSE.txt)`; None if there is none.
    """
    parents = {path.parent for path in pictures}
    below = {above for parent in parents for above in (parent, *parent.parents) if above.is_relative_to(folder)}
    told: dict[str, str] = {}
    for place in sorted({folder, *below}):
        for line, file in _told_in(place, folder):
            told.setdefault(line, file.relative_to(folder).as_posix())
    return "; ".join(f"{line} ({file})" for line, file in told.items()) or None


def _check(folders: Sequence[Path]) -> None:
    taken: dict[Path, Path] = {}
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError(f"data folder {folder} does not exist or is a file; give a folder of photographs")
        real = Path(os.path.realpath(folder))
        for other, given in taken.items():
            if real.is_relative_to(other) or other.is_relative_to(real):
                both = "are the same" if real == other else "lie one in the other"
                raise InputError(
                    f"data folders {given} and {folder} {both}; a picture must be given once — leave out one of them"
                )
        taken[real] = folder


def _decode(path: Path, smallest: int) -> Photograph | str:
    """Return a picture, or why there is none."""
    try:
        pixels = read(path).pixels
    except InputError as error:
        return str(error)
    height, width = pixels.shape[2:]
    if min(height, width) < smallest:
        return f"{path} is {width}x{height}; at least {smallest}x{smallest} is required"
    return (pixels[0].expand(3, -1, -1) * 255).round().to(torch.uint8).contiguous()


def _told_in(place: Path, folder: Path) -> list[tuple[str, Path]]:
    """Return (line, file) for every file of one place that tells the licence."""
    names = [name for name in sorted(os.listdir(place)) if _is_text(Path(name).suffix.lower())]
    inside = os.path.realpath(folder)
    for kind, telling in _SOURCES:
        files = [Path(place, name) for name in names if kind.match(name)]
        # Neither a pipe, which may never end, nor what lies outside behind a link
        files = [f for f in files if os.path.isfile(f) and Path(os.path.realpath(f)).is_relative_to(inside)]
        if found := [(line, file) for file in files if (line := _statement(file, telling))]:
            return found
    return []


def _is_text(suffix: str) -> bool:
    return suffix in ("", ".txt", ".md") or suffix[1:].isdigit()  # LICENSE-CC-BY-4.0


def _statement(file: Path, telling: re.Pattern[str]) -> str | None:
    """Return the first line with words that matches; `unreadable` if the file is no UTF-8 text."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_LIMIT)
        # A character that the limit cuts in two is no fault of the file
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=len(data) < _LIMIT)
    except (OSError, UnicodeDecodeError):
        return "unreadable"
    if "\0" in text:
        return "unreadable"
    lines = [printable(" ".join(line.split())).strip(" #*_=>|-:.") for line in text.splitlines()]
    lines = [line for line in lines if re.search(r"[^\W_]", line)]
    for line, following in zip_longest(lines, lines[1:]):
        if telling.search(line):
            told = following if following and _HEADING.fullmatch(line) else line
            return told if len(told) <= _LINE else f"{told[: _LINE - 1].rstrip()}…"
    return None
