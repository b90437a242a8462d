"""What can be said of an image file without decoding it whole: kind and size, and a small JPEG of how it looks.

The second of the two places that touch image files; kinds, damage and words are those of files.py.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from mzsr.atomic import write_atomically
from mzsr.errors import InputError
from mzsr.imaging.files import DAMAGE, bytes_of, formats_of, quiet_pillow

_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class NoPicture(InputError):
    """A file that is no picture of a kind that can be read."""


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
    with _opened(path) as image:
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{path} is animated or has pages ({frames} frames); one is required — extract it")
        turned = image.getexif().get(0x0112) in _TURNED
        return Header(str(image.format), *(image.size[::-1] if turned else image.size))


def write_thumbnail(path: Path, target: Path, side: int) -> None:
    """Write a JPEG of at most `side` pixels a side, upright, what is transparent laid on white.

    Raises:
        InputError: the file cannot be decoded, or the thumbnail cannot be written.
    """
    with _opened(path) as image:
        image.draft("RGB", (side, side))  # a JPEG is decoded at an eighth of its size, sixty times as fast
        icc = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
        image.thumbnail((side, side), reducing_gap=2.0)
        small = ImageOps.exif_transpose(image)
        if small.has_transparency_data:
            small = small.convert("RGBA")
            small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
        out = io.BytesIO()
        small.convert("RGB").save(out, "JPEG", quality=85, **({} if icc is None else {"icc_profile": icc}))
    write_atomically(target, lambda part: part.write_bytes(out.getvalue()))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    data = bytes_of(path)
    with quiet_pillow():
        try:
            with Image.open(io.BytesIO(data), formats=formats_of(data)) as image:
                yield image
        except UnidentifiedImageError as error:
            known = "JPEG, PNG, WebP, TIFF, BMP, AVIF, GIF or HEIC"
            raise NoPicture(f"{path} is no image that can be read; {known} is required — convert it first") from error
        except InputError:
            raise
        except DAMAGE as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is damaged ({reason}); a whole file is required — copy it again") from error
