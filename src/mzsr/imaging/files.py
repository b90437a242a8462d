"""Files ↔ pictures: the only place that decodes image files whole.

`read` gives a Picture, upright, 8 or 16 bits, with all that the file said beside its pixels; `write` puts one back
whole or not at all. Whatever is wrong with a file becomes one line of InputError; no warning leaks out.
8-bit files go through pillow; 16-bit PNG and TIFF are read through libvips, because pillow drops their lower 8 bits.
"""

import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from mzsr.atomic import write_atomically
from mzsr.errors import InputError
from mzsr.imaging.code_points import code_points, profile_of
from mzsr.imaging.encode import FAILURES, SIDE, encode
from mzsr.imaging.metadata import metadata_of, metadata_of_tiff, orientation_of, profile_for, tags_of
from mzsr.imaging.picture import Picture, from_array, from_pil, upright

BESIDE, PER_PIXEL = 1 << 26, 8  # bytes of a file: at most for what lies beside pixels, and for each (16 bits, alpha)
MAX_PIXELS = 100_000_000  # read by default; ten thousand square is 1.2 GB of floats before any network runs
SUFFIXES = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
    ".avif": "AVIF",
}  # fmt: skip
JPEGS = (".jfif", ".mpo")  # other names of JPEGs, which are read
READABLE = (*SUFFIXES, ".gif", ".heic", ".heif", *JPEGS)
_FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"]
# How files begin that are no strangers, whatever follows; a TIFF that pillow does not know is left to libvips
_KNOWN = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|....ftypavi[fs]", re.DOTALL)
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands at byte 8
# What pillow's decoders and libvips raise on damaged bytes.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, struct.error, zlib.error,
    pyvips.Error,
)  # fmt: skip
_SUBFILE, _BITS, _EXTRA_SAMPLES = 254, 258, 338  # tags of a TIFF
_quiet_lock = threading.Lock()
Image.init()  # registers every format; on its own, pillow does so only after the common ones have failed


def read(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one picture from a JPEG, PNG, WebP, TIFF, BMP, AVIF, still GIF or, with pillow-heif, HEIC file.

    Args:
        path: The file.
        max_pixels: Refuse a picture with more pixels before any of it is decoded.

    Raises:
        InputError: If the file is missing, empty, damaged, no image, animated, too large or of another depth.
    """
    data = bytes_of(Path(path), BESIDE + PER_PIXEL * max_pixels)
    with plainly(path, data):
        return _decode(data, max_pixels)


class NoPicture(InputError):
    """A file that is no picture of a kind that can be read."""


@contextmanager
def plainly(path: str | os.PathLike[str], data: bytes) -> Iterator[None]:
    """Decode the bytes of a file in silence, and say what is wrong with it in one line that names it.

    Raises:
        NoPicture: it is no picture of a kind that can be read.
        InputError: it is damaged, or what decoding said of it.
    """
    with quiet_pillow():
        try:
            yield
        except UnidentifiedImageError as error:
            if _KNOWN.match(data):
                raise InputError(f"{path} is damaged or cut short; a whole file is required — copy it again") from error
            known = "JPEG, PNG, WebP, TIFF, BMP, AVIF, GIF or HEIC"
            raise NoPicture(f"{path} is no image that can be read; {known} is required — convert it first") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except DAMAGE as error:
            reason = " ".join(str(error).split())  # libvips reports on several lines
            raise InputError(
                f"{path} is damaged or cut short ({reason}); a whole file is required — copy it again"
            ) from error


def write(path: str | os.PathLike[str], picture: Picture, *, quality: int = 95) -> list[str]:
    """Write one picture, whole or not at all, in the format that the suffix names.

    The picture is rounded to its 8 or 16 bits here. PNG and TIFF hold both depths, AVIF 12 of the 16, the others 8.
    JPEG and BMP have no alpha: the picture is laid on white. ICC, EXIF (with the new pixel dimensions), XMP, IPTC,
    texts and resolution are kept where the format holds them: BMP keeps the resolution only and is sRGB, WebP and AVIF
    keep ICC (of colours), EXIF and XMP, TIFF all but texts, JPEG the comment alone of those, and 64 kB of each block.

    Args:
        path: The file. What is there is replaced in one step, when the new bytes are safely on the disk.
        picture: What to write.
        quality: 1 … 100 for JPEG, AVIF (both with full-resolution chroma) and WebP; at 100 WebP is lossless.

    Returns:
        What was left out, since the format cannot hold it, in words.

    Raises:
        InputError: If `check_writable` does, if a value is not finite or if the format cannot hold the picture.
    """
    target = check_writable(path)
    if not isinstance(quality, Integral) or not 1 <= quality <= 100:
        raise InputError(f"quality is {quality!r}; a whole number from 1 to 100 is required — 95 is a good choice")
    kind = SUFFIXES[Path(path).suffix.lower()]  # of the name that was given, wherever a link of that name leads
    try:
        with quiet_pillow():
            data, without = encode(picture, kind, int(quality))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except FAILURES as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: {kind} cannot hold this picture ({reason}); write a .png or .tif instead") from error
    write_atomically(target, lambda part: part.write_bytes(data))
    return without


def largest_side(path: str | os.PathLike[str]) -> int | None:
    """Return the most pixels that a side of a picture may have in the format of a suffix; None for any."""
    return SIDE.get(SUFFIXES[Path(path).suffix.lower()])


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Check that `write` could write there, before the long work begins.

    Returns:
        The path, with symbolic links followed, so that a link stays a link when its file is replaced.

    Raises:
        InputError: If the suffix names no format, the folder is missing or not writable, or the path is a folder.
    """
    given = Path(path)
    if os.path.isdir(given):
        raise InputError(f"{given} is a folder; a file is required — add a name such as {given / 'result.png'}")
    if given.suffix.lower() not in SUFFIXES:
        found = f"suffix {given.suffix!r}" if given.suffix else "no suffix"
        raise InputError(f"{given} has {found}; the format is chosen by one of {', '.join(SUFFIXES)} — use one of them")
    target = Path(os.path.realpath(given))
    if not os.path.isdir(target.parent):
        raise InputError(
            f"{given} lies in {target.parent}, which is no folder; an existing one is required — create it"
        )
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"{given} is a device or a pipe; an ordinary file is required — choose another name")
    if not os.access(target.parent, os.W_OK | os.X_OK) or (os.path.exists(target) and not os.access(target, os.W_OK)):
        raise InputError(f"{given} is not writable; write permission is required — choose another place or change it")
    return target


def bytes_of(path: Path, most: int = BESIDE + PER_PIXEL * MAX_PIXELS) -> bytes:
    """Return the bytes of an ordinary file that is not empty and has no more than `most`, or raise InputError."""
    # os.path answers False where pathlib raises: a folder that may not be entered, a name too long.
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder; a file is required — name a picture in it")
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist or lies out of reach; a picture file is required — check the spelling")
    if not os.path.isfile(path):
        raise InputError(
            f"{path} is a device or a pipe; an ordinary file is required — save the picture to a file first"
        )
    try:
        if (size := path.stat().st_size) > most:
            raise InputError(
                f"{path} has {size / 1e6:.0f} MB; a picture within the limit of pixels has {most / 1e6:.0f} MB at most "
                "— if it is one, raise max_pixels (--max-pixels)"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); read permission is required — change it"
        ) from error
    if not data:
        raise InputError(f"{path} is empty (0 bytes); a picture file is required — copy it again")
    return data


def _decode(data: bytes, max_pixels: int) -> Picture:
    try:
        image = Image.open(io.BytesIO(data), formats=formats_of(data))
    except UnidentifiedImageError:
        # Pillow knows few kinds of 16-bit TIFF (none of grey with alpha), libvips nearly all.
        if not data.startswith((b"II*\0", b"MM\0*")):
            raise
        require_one_frame(pyvips.Image.new_from_buffer(data, "").get_n_pages())
        if (array := _sixteen_bits(data, max_pixels)) is None:
            raise
        picture = from_array(array, metadata=metadata_of_tiff(data))
        icc = profile_for(picture.metadata, picture.pixels.shape[1])  # that of CMYK, whose pixels are sRGB now, is none
        return replace(picture, metadata=replace(picture.metadata, icc=icc))
    with image:
        _require_within(max_pixels, *image.size)
        require_one_frame(frames_of(image))
        named = None if image.info.get("icc_profile") else profile_of(code_points(data, image.info.get("nclx_profile")))
        array = None
        if image.format in ("PNG", "AVIF") or (image.format == "TIFF" and _is_deep(image)):
            array = _sixteen_bits(data, max_pixels, turned=image.format == "AVIF")
        elif image.format == "HEIF" and image.info.get("bit_depth", 8) > 8:
            array = _deep_heic(data, image.info["bit_depth"])
        if array is None:
            return _in_space(from_pil(image), named)
        # Pillow turns the pixels of a TIFF as it loads them; a PNG may keep metadata behind its pixels
        orientation = orientation_of(tags_of(image)) if image.format == "TIFF" else None
        image.load()
        metadata = metadata_of(image)
        if image.format in ("PNG", "TIFF"):  # where libvips looks for the orientation in fewer places than pillow
            array = upright(array, metadata.orientation if orientation is None else orientation)
        if image.mode in ("CMYK", "LAB"):
            metadata = replace(metadata, icc=None)  # the pixels are sRGB now
        return _in_space(from_array(array, metadata=metadata), named)


def _in_space(picture: Picture, icc: bytes | None) -> Picture:
    if icc is None or picture.pixels.shape[1] == 1:
        return picture
    return replace(picture, metadata=replace(picture.metadata, icc=icc))


def formats_of(data: bytes) -> list[str]:
    """Return what pillow may try; HEIC needs an extra, since its decoder has a licence of its own."""
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIC or b"avif" in data[12:32]:
        return _FORMATS
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "it is a HEIC picture, and pillow-heif is not installed; pip install '.[heif]', or convert it to JPEG"
        ) from error
    register_heif_opener(thumbnails=False)
    return ["HEIF"]


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence pillow's warnings, and its limits of pixels and texts; all are global: one thread at a time may do it."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours is checked instead, with a plain sentence
        text, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, BESIDE
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = limit, text


def frames_of(image: Image.Image) -> int:
    """Return how many pictures a file holds; smaller copies of itself in a TIFF do not count.

    A phone's JPEG may have previews and depth behind the one (MPO).
    """
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if image.format != "TIFF" or frames == 1:
        return frames
    whole = 0
    for frame in range(frames):
        image.seek(frame)
        whole += not image.tag_v2.get(_SUBFILE, 0) & 1  # pyright: ignore[reportAttributeAccessIssue]
    image.seek(0)
    return whole


def _is_deep(image: Image.Image) -> bool:
    """Tell whether a TIFF has more than 8 bits a channel; InputError where they are neither 8 nor whole bytes."""
    bits = max(image.tag_v2.get(_BITS, (1,)))  # pyright: ignore[reportAttributeAccessIssue]
    if bits > 8 and bits % 8:
        raise InputError(f"its samples have {bits} bits; 8 or 16 bits per channel are required — convert it")
    return bits > 8


def require_one_frame(frames: int) -> None:
    """Refuse animations and documents."""
    if frames > 1:
        raise InputError(f"it is animated or has pages ({frames} frames); one is required — extract the one you want")


def _require_within(max_pixels: int, width: int, height: int) -> None:
    if width * height > max_pixels:
        raise InputError(
            f"it has {width} x {height} pixels, {width * height / 1e6:.1f} million; the limit is "
            f"{max_pixels / 1e6:g} million — crop it, or raise max_pixels (--max-pixels)"
        )


def _sixteen_bits(data: bytes, max_pixels: int, *, turned: bool = True) -> np.ndarray | None:
    """Decode a 16-bit PNG or TIFF to RGB or grey; None if it has 8 bits, which pillow reads as well."""
    image = pyvips.Image.new_from_buffer(data, "", fail_on="truncated")  # lazy: only the header is read here
    _require_within(max_pixels, image.width, image.height)
    if image.format == "uchar":
        return None
    if image.format != "ushort":
        raise InputError(f"its samples are of type {image.format}; 8 or 16 bits per channel are required — convert it")
    image = image.autorot() if turned else image
    if image.interpretation == "cmyk":
        image = image.icc_transform(
            "srgb", embedded=True, input_profile="cmyk", depth=16, black_point_compensation=True
        )
    elif image.interpretation not in ("rgb16", "grey16"):
        image = image.colourspace("rgb16")
    if str(image.get("vips-loader")).startswith("heifload"):
        return _spread(image.numpy(), int(str(image.get("bits-per-sample"))))
    colors = 1 if image.interpretation == "grey16" else 3
    if image.bands == 1:
        return np.atleast_2d(image.numpy())  # of a single pixel it is a number
    return image.numpy()[..., : colors + _has_alpha(data, image.bands - colors)]


def _has_alpha(data: bytes, extra: int) -> bool:
    """Tell whether the first of the channels beside the colours is alpha; in a TIFF it may be anything.

    Source: TIFF 6.0, ExtraSamples: 1 and 2 are alpha; as pillow does, one that is not named is taken for it.
    """
    if extra < 1 or not data.startswith((b"II*\0", b"MM\0*")):
        return extra > 0
    tags = Image.Exif()
    tags.load(data)
    said = tags.get(_EXTRA_SAMPLES)
    first = said[0] if isinstance(said, tuple) and said else said
    return first in (1, 2) or (first is None and extra == 1)


def _deep_heic(data: bytes, bits: int) -> np.ndarray:
    """Decode a HEIC of 10 or 12 bits to 16, turned upright by its own decoder; pillow would drop the lower ones."""
    from pillow_heif import open_heif  # pyright: ignore[reportMissingImports]

    return _spread(np.asarray(open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)), bits)


def _spread(array: np.ndarray, bits: int) -> np.ndarray:
    """Spread 10 or 12 bits, which decoders leave in the upper ones of 16, over the whole range: white becomes 65535.

    >>> _spread(np.array([1023 << 6], np.uint16), 10).item()
    65535
    """
    return np.round((array >> (16 - bits)) * (65535 / (2**bits - 1))).astype(np.uint16)
