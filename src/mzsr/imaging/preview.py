"""What can be said of an image file without decoding it whole: kind and size, and a small JPEG of how it looks.

The second of the two places that touch image files; kinds, damage and words are those of files.py.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image

from mzsr.atomic import write_atomically
from mzsr.imaging.files import NoPicture, bytes_of, formats_of, frames_of, plainly, require_one_frame
from mzsr.imaging.metadata import ORIENTATION, TRANSPOSED, orientation_of, tags_of
from mzsr.imaging.picture import upright


@dataclass(frozen=True)
class Header:
    """Kind and size of a picture, upright."""

    format: str
    width: int
    height: int


def header(path: Path) -> Header:
    """Read the header of a file.

    Raises:
        NoPicture: it is no picture of a kind that can be read.
        InputError: it is empty, damaged, or animated.
    """
    try:
        with _opened(path) as image:
            require_one_frame(frames_of(image))
            # Of a TIFF pillow says the size as it is when upright, by its tag, and not by what XMP says
            said = image.format == "TIFF" and ORIENTATION in getattr(image, "tag_v2", {})
            turned = not said and orientation_of(tags_of(image)) in TRANSPOSED
            return Header(str(image.format), *(image.size[::-1] if turned else image.size))
    except NoPicture:
        if (deep := _deep_tiff(path)) is None:
            raise
        return Header("TIFF", deep.width, deep.height)


def write_thumbnail(path: Path, target: Path, side: int) -> None:
    """Write a JPEG of at most `side` pixels a side, upright, what is transparent laid on white.

    Raises:
        InputError: the file cannot be decoded, or the thumbnail cannot be written.
    """
    out = io.BytesIO()
    small, icc = _small(path, side)
    small.save(out, "JPEG", quality=85, **({} if icc is None else {"icc_profile": icc}))
    write_atomically(target, lambda part: part.write_bytes(out.getvalue()))


def _small(path: Path, side: int) -> tuple[Image.Image, bytes | None]:
    """Return a small picture, upright and opaque, and its RGB profile."""
    try:
        with _opened(path) as image:
            image.draft("RGB", (side, side))  # a JPEG is decoded at an eighth of its size, sixty times as fast
            icc = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
            image.thumbnail((side, side), reducing_gap=2.0)
            small, orientation = image.copy(), orientation_of(tags_of(image))  # decoded while its file is open
    except NoPicture:
        if (deep := _deep_tiff(path)) is None:
            raise
        small = deep.thumbnail_image(side, height=side, size="down").flatten(background=[65535])
        return Image.fromarray(small.colourspace("srgb").cast("uchar").numpy()), None
    if small.has_transparency_data:
        small = small.convert("RGBA")
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
    elif small.mode.startswith("I;16"):  # pillow would cut off what is brighter than 255
        small = Image.fromarray((np.asarray(small) >> 8).astype(np.uint8))
    return Image.fromarray(upright(np.asarray(small.convert("RGB")), orientation)), icc


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    data = bytes_of(path)
    with plainly(path, data), Image.open(io.BytesIO(data), formats=formats_of(data)) as image:
        yield image


def _deep_tiff(path: Path) -> pyvips.Image | None:
    """Open a 16-bit TIFF of a kind that pillow does not know, and libvips does; None for all else."""
    if not (data := bytes_of(path)).startswith((b"II*\0", b"MM\0*")):
        return None
    try:
        return pyvips.Image.tiffload_buffer(data).autorot()  # only its header is read here
    except pyvips.Error:
        return None
