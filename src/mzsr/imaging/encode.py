"""A picture → the bytes of a PNG, JPEG, WebP, TIFF, BMP or AVIF file, with the metadata that the format holds.

It writes nothing: files.py puts the bytes on the disk. Depth, alpha and profile are fitted to the format here.
"""

import io
import math
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pyvips
from PIL import TiffImagePlugin
from PIL.PngImagePlugin import PngInfo
from pyvips.enums import ForeignKeep

from mzsr.imaging.captions import COMMENT, photoshop_segment, png_profile, readable
from mzsr.imaging.metadata import (
    Metadata,
    is_adobe_rgb,
    profile_for,
    sized_exif,
    sized_xmp,
    strange_tags,
    tells_resolution,
    tiff_tags,
    with_resolution,
    without_appendix,
    without_orientation,
)
from mzsr.imaging.picture import Picture, in_srgb, to_array, to_pil

SIDE = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65536}  # pixels that a side may have
SEGMENT = 65502  # bytes of XMP, of EXIF, of IPTC and of a comment, that a JPEG holds
FAILURES = (OSError, ValueError, struct.error, pyvips.Error)
_BYTES = "utf-8", "surrogateescape"  # how comments become the bytes that they were
_PNG_HEADER = 33  # bytes of its signature and of IHDR
_STRIP = 1 << 20  # bytes of a TIFF strip before compression: a reader's buffer stays small


def encode(picture: Picture, kind: str, quality: int) -> tuple[bytes, list[str]]:
    """Turn a picture into the bytes of a file.

    Args:
        picture: What to encode, rounded here to its 8 or 16 bits.
        kind: "PNG", "TIFF" (both 8 or 16 bits), "AVIF" (8, or 12 of 16), "JPEG", "WEBP" or "BMP" (8 bits).
        quality: 1 … 100 for JPEG, WebP and AVIF; at 100 WebP is lossless.

    Returns:
        The bytes, and in words what of the metadata the format does not hold.

    Raises:
        InputError: If a value of the picture is not finite.
        Exception: One of FAILURES if the format cannot hold the picture.
    """
    height, width = picture.pixels.shape[-2:]
    rounded = _less_than(picture, kind)
    if kind == "BMP" or (kind in ("WEBP", "AVIF") and picture.pixels.shape[1] == 1):
        picture = in_srgb(picture)  # the file will be taken for that
    if kind in ("JPEG", "BMP"):
        picture = _on_white(picture)
    if kind == "WEBP" and picture.pixels.shape[1] == 1:
        picture = replace(picture, pixels=picture.pixels.expand(-1, 3, -1, -1))
    kept = replace(
        picture.metadata,
        icc=profile_for(picture.metadata, picture.pixels.shape[1]),
        exif=sized_exif(picture.metadata, height, width),
        xmp=sized_xmp(picture.metadata, height, width),
    )
    if kind in ("WEBP", "AVIF") and kept.dpi is not None:  # they have no place for it but EXIF
        if kept.exif is None:
            kept = replace(kept, exif=with_resolution(kept.dpi))
        elif not tells_resolution(kept.exif):
            rounded.append(f"{kind} holds no resolution beside EXIF, the {kept.dpi[0]:g} dpi of the input are left out")
    if picture.metadata.icc is not None and kept.icc is None:
        rounded.append("the colour profile of the input is of another kind of picture (colours or grey), and left out")
    kept, without = _fitted(kept, kind)
    without = rounded + without
    picture = replace(picture, metadata=kept)
    if kind == "TIFF":
        if kept.exif and (strange := strange_tags(kept.exif)):
            without.append(f"these tags of EXIF are of another type than is theirs, and left out: {', '.join(strange)}")
        return _tiff(picture), without
    if kind in ("PNG", "AVIF") and picture.bits == 16:
        return _deep(picture, kind, quality), without
    options: dict[str, Any] = {"icc_profile": kept.icc, "exif": kept.exif, "xmp": kept.xmp, "dpi": kept.dpi}
    if kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0}  # 4:4:4: halving the chroma would undo half of the work
        options["extra"] = photoshop_segment(kept.iptc) if kept.iptc else None
        options["comment"] = dict(kept.texts or ()).get(COMMENT, "").encode(*_BYTES) or None
    elif kind == "WEBP":
        options |= {"quality": quality, "lossless": quality == 100, "exact": True}  # exact: colours under alpha 0 stay
    elif kind == "AVIF":
        options |= {"quality": quality, "subsampling": "4:4:4"}
        options["exif"] = without_orientation(kept.exif) if kept.exif else None
    elif kind == "PNG":
        options["pnginfo"] = _png_texts(kept)
    elif kind == "BMP":
        options["dpi"] = kept.dpi or (0, 0)  # else pillow says 96
    image = to_pil(replace(picture, bits=8))
    image.info.clear()  # all that is kept is named in the options
    out = io.BytesIO()
    image.save(out, kind, **{key: value for key, value in options.items() if value is not None})
    return out.getvalue(), without


def _less_than(picture: Picture, kind: str) -> list[str]:
    """Return in words what of the pixels themselves a format does not hold."""
    without: list[str] = []
    bits = {"JPEG": 8, "WEBP": 8, "BMP": 8, "AVIF": 12}.get(kind, 16)
    if picture.bits > bits:
        without.append(f"{kind} holds {bits} bits a channel; the picture's {picture.bits} are rounded to them")
    if kind in ("JPEG", "BMP") and picture.alpha is not None and bool((picture.alpha < 1).any()):
        without.append(f"{kind} holds no transparency; the picture is laid on white")
    return without


def _fitted(metadata: Metadata, kind: str) -> tuple[Metadata, list[str]]:
    """Return what a format holds of metadata, and in words what it does not."""
    most = {"BMP": 0, "JPEG": SEGMENT}.get(kind, math.inf)
    limits = {"exif": most, "xmp": most, "iptc": 0 if kind in ("WEBP", "AVIF") else most}
    without: list[str] = []
    for name, limit in limits.items():
        block: bytes | None = getattr(metadata, name)
        if block is not None and len(block) > limit:
            held = f"{limit} bytes of" if limit else "no"
            without.append(f"{kind} holds {held} {name.upper()}, the {len(block)} of the input are left out")
            metadata = replace(metadata, **{name: None})
    if metadata.xmp is not None and (alone := without_appendix(metadata.xmp)) != metadata.xmp:
        without.append("the film or the light map that lay behind the picture is left out")
        metadata = replace(metadata, xmp=alone)
    elif metadata.more:
        without.append("the pictures behind this one in its file (a preview, depth, another view) are left out")
    if kind in ("TIFF", "BMP") and metadata.icc is None and is_adobe_rgb(metadata):
        without.append(f"its EXIF says that its colours are Adobe RGB, which {kind} does not hold; assign that profile")
    if b"HasExtendedXMP" in (metadata.xmp or b""):
        without.append("the XMP of the input goes on in more segments of its JPEG, which are left out")
    texts = metadata.texts or ()
    if kind == "JPEG":
        kept = tuple((key, text) for key, text in texts if key == COMMENT and len(text.encode(*_BYTES)) <= SEGMENT)
    else:
        kept = texts if kind == "PNG" else ()
    if lost := [repr(key[:79])[1:-1] for key, _ in texts if (key, _) not in kept]:  # no file writes to a terminal
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        without.append(f"{kind} does not hold these texts of the input: {', '.join(lost[:5])}{more}")
    return replace(metadata, texts=kept or None), without


def _png_texts(kept: Metadata) -> PngInfo:
    info = PngInfo()
    if kept.xmp is not None:
        info.add_itxt("XML:com.adobe.xmp", kept.xmp.decode("utf-8", "replace"))
    for key, text in kept.texts or ():
        info.add_text(key, readable(text))
    if kept.iptc is not None:
        info.add_text(*png_profile(kept.iptc))
    return info


def _on_white(picture: Picture) -> Picture:
    if picture.alpha is None:
        return picture
    return replace(picture, pixels=picture.pixels * picture.alpha + (1 - picture.alpha), alpha=None)


def _deep(picture: Picture, kind: str, quality: int) -> bytes:
    """Encode a 16-bit PNG, or an AVIF of 12 bits, through libvips; pillow can write neither."""
    array = to_array(picture)
    kept = picture.metadata
    image = pyvips.Image.new_from_array(array, interpretation="grey16" if picture.pixels.shape[1] == 1 else "rgb16")
    across, down = kept.dpi or (72.0, 72.0)  # libvips always writes a resolution; 72 is what readers assume without one
    image = image.copy(xres=across / 25.4, yres=down / 25.4)  # pixels per millimetre
    for name, blob in (("icc-profile-data", kept.icc), ("exif-data", kept.exif), ("xmp-data", kept.xmp)):
        if blob is not None:
            image.set_type(pyvips.GValue.blob_type, name, blob)  # pyright: ignore[reportArgumentType]
    if kind == "PNG":  # the rest by chunks of our own: libvips would build EXIF anew, and knows no IPTC
        info = _png_texts(kept)
        if kept.exif is not None:
            info.add(b"eXIf", kept.exif.removeprefix(b"Exif\0\0"))
        png = image.pngsave_buffer(keep=ForeignKeep.ICC)
        return _with_chunks(png if kept.dpi else _without_resolution(png), info)
    keep = ForeignKeep.ICC | ForeignKeep.XMP  # by default libvips would invent an EXIF block
    if kept.exif is not None:
        keep |= ForeignKeep.EXIF
    return image.heifsave_buffer(compression="av1", bitdepth=12, Q=quality, subsample_mode="off", keep=keep)


def _without_resolution(png: bytes) -> bytes:
    """Cut the pHYs chunk out of a PNG: 9 bytes between length, type and CRC."""
    start = png.find(b"\0\0\0\x09pHYs", 0, png.find(b"IDAT"))
    return png if start < 0 else png[:start] + png[start + 21 :]


def _with_chunks(png: bytes, info: PngInfo) -> bytes:
    """Put chunks behind the header of a PNG, which is as long in every one.

    Source: PNG third edition, section 5.3: length, type, data, CRC of type and data.
    """
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data, _ in info.chunks
    ]
    return b"".join([png[:_PNG_HEADER], *chunks, memoryview(png)[_PNG_HEADER:]]) if chunks else png


def _tiff(picture: Picture) -> bytes:
    """Encode a TIFF of either depth: deflated strips behind one directory that holds all metadata.

    Written here because pillow holds no 16-bit colour and libvips writes no EXIF into TIFF.

    Source: TIFF 6.0 sections 8 (layout), 14 (horizontal differencing); Adobe's Deflate is compression 8.
    """
    array = to_array(picture)
    array = array.reshape(*array.shape[:2], -1)
    height, width, channels = array.shape
    steps = array.astype(array.dtype.newbyteorder("<"))
    steps[:, 1:] -= array[:, :-1]  # differences compress better; unsigned numbers wrap, as the standard wants
    rows = max(1, _STRIP // steps[0].nbytes)
    strips = [zlib.compress(steps[top : top + rows].tobytes()) for top in range(0, height, rows)]
    starts = np.cumsum([0, *(len(strip) for strip in strips)])
    color = picture.pixels.shape[1] == 3
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    layout = {
        256: width, 257: height, 258: (picture.bits,) * channels, 259: 8, 262: 2 if color else 1, 277: channels,
        278: rows, 279: tuple(map(len, strips)), 284: 1, 317: 2, 339: (1,) * channels,
        273: tuple(int(start) for start in starts[:-1]),  # pillow adds the length of the directory
    }  # fmt: skip
    if picture.alpha is not None:
        layout[338] = 2  # the last channel is alpha, not multiplied into the colours
    kept = picture.metadata
    for tag, value in (layout | tiff_tags(kept)).items():
        directory[tag] = value
    if kept.icc is not None:
        directory[34675] = kept.icc
    if kept.dpi is not None:
        directory[282], directory[283], directory[296] = *kept.dpi, 2
    out = io.BytesIO()
    directory.save(out)
    return out.getvalue() + b"".join(strips)
