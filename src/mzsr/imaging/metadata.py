"""What a picture file says beside its pixels: colour profile, EXIF, XMP, captions, resolution, how its JPEG was made.

Read from a pillow image, carried along untouched, written again by encode.py; nothing here looks at a pixel.
EXIF is patched in place and never rebuilt, so that a camera's private notes keep the offsets they point to.
"""

import math
import re
import struct
from contextlib import suppress
from dataclasses import dataclass, replace

from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin

from mzsr.imaging.captions import IPTC_TAG, iptc_of, raw_profile, texts_of

TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations whose rows are columns of the upright picture."""
MIRRORED_ROWS, MIRRORED_COLUMNS = (3, 4, 7, 8), (2, 3, 6, 7)
"""Those that count rows of the upright picture from its bottom, and columns from its right."""

_PREFIX = b"Exif\0\0"
ORIENTATION, _XMP, _ICC, _RESOLUTION = int(ExifTags.Base.Orientation), 700, 34675, (282, 283, 296)
_EXIF_IFD, _GPS_IFD = int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)
_WIDTHS = (int(ExifTags.Base.ImageWidth), int(ExifTags.Base.ExifImageWidth))
_HEIGHTS = (int(ExifTags.Base.ImageLength), int(ExifTags.Base.ExifImageHeight))
# The tags of a TIFF that describe the picture; the others describe how its pixels are stored.
_DESCRIPTIVE = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.DocumentName,
    ExifTags.Base.PageName,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,  # this and those that follow are Windows' own
    ExifTags.Base.RatingPercent,
    ExifTags.Base.XPTitle,
    ExifTags.Base.XPComment,
    ExifTags.Base.XPAuthor,
    ExifTags.Base.XPKeywords,
    ExifTags.Base.XPSubject,
)
# What pillow raises over a block that it cannot follow
_UNREADABLE = (SyntaxError, ValueError, LookupError, TypeError, struct.error)


@dataclass(frozen=True)
class Metadata:
    """All that is kept of a file beside its pixels.

    Attributes:
        format: The format the picture came in ("JPEG", "PNG", …), or "" if it came from memory.
        icc: ICC profile; None means sRGB.
        exif: An EXIF block with its "Exif" prefix, its orientation 1 (upright, as the pixels are).
        xmp: An XMP packet, its orientation 1.
        iptc: An IPTC-IIM block: captions, credits, keywords of press photographs.
        texts: Keyword and text, as a PNG has them; a JPEG's comment is one. See `captions`.
        dpi: Horizontal and vertical resolution, pixels per inch.
        jpeg_tables: The quantisation tables of a JPEG, 64 numbers for every index; otherwise None.
        jpeg_sampling: The chroma of a JPEG: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0, -1 another; otherwise None.
        more: Whether pictures lie behind this one in its file (MPO): a phone's previews or depth, another view.
        orientation: That of the file, 1 to 8 as EXIF counts: how its pixels lay before they were turned upright.
    """

    format: str = ""
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: tuple[tuple[str, str], ...] | None = None
    dpi: tuple[float, float] | None = None
    jpeg_tables: dict[int, list[int]] | None = None
    jpeg_sampling: int | None = None
    more: bool = False
    orientation: int = 1


def metadata_of(image: Image.Image) -> Metadata:
    """Collect the metadata of a pillow image, as they are right for its upright pixels.

    Call it after `image.load()` (PNG may keep metadata behind the pixels) and before anything that makes a new image.
    """
    info, tags = image.info, tags_of(image)
    exif = info.get("exif")
    if not isinstance(exif, bytes):
        exif = _described(tags)  # TIFF has no block of its own: its tags lie among those of the pixels
    xmp = info.get("xmp", info.get("XML:com.adobe.xmp")) or raw_profile(image, "xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    jpeg = image if isinstance(image, JpegImagePlugin.JpegImageFile) else None
    says = info.get("jfif_unit") in (1, 2) if jpeg else image.format != "TIFF"
    return _upright(
        Metadata(
            format={"MPO": "JPEG"}.get(image.format or "", image.format or ""),  # MPO: a phone's JPEG with more behind
            icc=info.get("icc_profile") or None,
            exif=exif,
            xmp=xmp,
            iptc=iptc_of(image),
            texts=texts_of(image) or None,
            # Pillow says 1 of a TIFF and 72 of a JPEG that say nothing, and nothing of what only EXIF tells
            dpi=(_plausible(info.get("dpi")) if says else None) or _resolution(tags),
            jpeg_tables={k: list(v) for k, v in jpeg.quantization.items()} if jpeg else None,
            jpeg_sampling=JpegImagePlugin.get_sampling(jpeg) if jpeg else None,
            more=image.format == "MPO" and getattr(image, "n_frames", 1) > 1,
            orientation=orientation_of(tags),
        )
    )


def tags_of(image: Image.Image) -> Image.Exif:
    """Return the EXIF tags of a pillow image; none where its block cannot be read, which is no reason to refuse it.

    Of a PNG that is not decoded yet, those that lie before its pixels.
    """
    try:
        return Image.Image.getexif(image)  # not the method of a PNG, which decodes it all to look behind the pixels
    except _UNREADABLE:
        return Image.Exif()


def orientation_of(tags: Image.Exif) -> int:
    """Return how the pixels lie, 1 to 8 as EXIF counts; 1, upright, where no or another number is said."""
    orientation = tags.get(ORIENTATION)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def profile_for(metadata: Metadata, colors: int) -> bytes | None:
    """Return the ICC profile if it is one of pictures of so many colours, 1 or 3; another would falsify them."""
    space = b"GRAY" if colors == 1 else b"RGB "
    return metadata.icc if metadata.icc is not None and metadata.icc[16:20] == space else None


def sized_exif(metadata: Metadata, height: int, width: int) -> bytes | None:
    """Return the EXIF block with the pixel dimensions it names, if any, set to these."""
    if metadata.exif is None:
        return None
    return patch_exif(metadata.exif, dict.fromkeys(_WIDTHS, width) | dict.fromkeys(_HEIGHTS, height))


def sized_xmp(metadata: Metadata, height: int, width: int) -> bytes | None:
    """Return the XMP with the pixel dimensions it names, if any, set to these."""
    xmp = metadata.xmp
    for names, side in (
        (b"tiff:ImageWidth|exif:PixelXDimension", width),
        (b"tiff:ImageLength|exif:PixelYDimension", height),
    ):
        xmp = xmp and re.sub(rb"((?:%b)\s*(?:=\s*[\"']|>))\d+" % names, rb"\g<1>%d" % side, xmp)
    return xmp


def with_resolution(dpi: tuple[float, float]) -> bytes:
    """Return an EXIF block that says the resolution and nothing else."""
    tags = Image.Exif()
    tags.update(zip(_RESOLUTION, (*dpi, 2), strict=True))  # 2: per inch
    return tags.tobytes()


def tells_resolution(exif: bytes) -> bool:
    """Tell whether an EXIF block holds a resolution."""
    tags = Image.Exif()
    with suppress(*_UNREADABLE):
        tags.load(exif)
    return _RESOLUTION[0] in tags


def patch_exif(exif: bytes, values: dict[int, int]) -> bytes | None:
    """Set tags that are present in an EXIF block to whole numbers, and unlink its thumbnail.

    The thumbnail shows the old pixels. Every other byte stays what it was.

    Args:
        exif: The block, with or without its prefix.
        values: Tag → value; orientation is stored as a SHORT, all others as LONG.

    Returns:
        The block with its prefix, or None if it is too damaged to be followed.

    Source: CIPA DC-008 (EXIF 2.32) section 4.6, TIFF 6.0 section 2.
    """
    data = bytearray(exif.removeprefix(_PREFIX))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        inner = _patch_directory(data, order, first, values)
        (count,) = struct.unpack_from(order + "H", data, first)
        struct.pack_into(order + "I", data, first + 2 + 12 * count, 0)  # the thumbnail's directory would be next
        if inner is not None:
            with suppress(struct.error):  # one that points nowhere is no reason to lose the others
                _patch_directory(data, order, inner, values)
    except struct.error:
        return None
    return _PREFIX + bytes(data)


def without_orientation(exif: bytes) -> bytes:
    """Cut the orientation out of an EXIF block whose pixels are upright.

    For pillow's AVIF, which builds a block with one anew, and its texts in ASCII. Everything else stays where it was.
    """
    data = bytearray(exif)
    start = len(_PREFIX) if exif.startswith(_PREFIX) else 0
    order = "<" if data[start : start + 2] == b"II" else ">"
    try:
        first = start + struct.unpack_from(order + "I", data, start + 4)[0]
        (count,) = struct.unpack_from(order + "H", data, first)
        end = first + 2 + 12 * count + 4  # behind the offset of the next directory
        for entry in range(first + 2, end - 4, 12):
            if struct.unpack_from(order + "H", data, entry)[0] == ORIENTATION:
                data[entry:end] = data[entry + 12 : end] + bytes(12)
                struct.pack_into(order + "H", data, first, count - 1)
                break
    except struct.error:
        return exif
    return bytes(data)


def without_appendix(xmp: bytes) -> bytes:
    """Return XMP that promises nothing behind the picture: a phone's film (motion photo), or map of brighter light.

    Source: Android's Motion Photo format 1.0 and its older MicroVideo, and Ultra HDR format 1.1, XMP attributes.
    """
    film = re.sub(rb'(G?Camera:(?:MotionPhoto|MicroVideo)(?:="|>))1', rb"\g<1>0", xmp)
    return re.sub(rb'\shdrgm:Version="[^"]*"|<hdrgm:Version>[^<]*</hdrgm:Version>', b"", film)


def is_adobe_rgb(metadata: Metadata) -> bool:
    """Tell whether EXIF says that colours are Adobe RGB, as cameras do that embed no profile (DCF: index R03)."""
    tags = Image.Exif()
    try:
        tags.load(metadata.exif or b"")
        return tags.get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    except _UNREADABLE:
        return False


def tiff_tags(metadata: Metadata) -> dict[int, object]:
    """List the metadata as TIFF tags (a directory inside is a dict), without those that describe how pixels lie.

    Of EXIF without those that have another type than is theirs, see `strange_tags`.
    """
    tags: dict[int, object] = {}
    if metadata.exif is not None:
        exif = Image.Exif()
        exif.load(metadata.exif)
        tags |= _descriptive(exif) | _inside(exif)
    if metadata.xmp is not None:
        tags[_XMP] = metadata.xmp
    if metadata.iptc is not None:
        tags[IPTC_TAG] = metadata.iptc
    return tags


def strange_tags(exif: bytes) -> list[str]:
    """Return the names of the tags in an EXIF block whose type is not theirs, so that no TIFF can hold them."""
    tags = Image.Exif()
    tags.load(exif)
    found = [ExifTags.TAGS[tag] for tag in _DESCRIPTIVE if tag in tags and not _holds(tag, tags[tag])]
    for group, names in ((_EXIF_IFD, ExifTags.TAGS), (_GPS_IFD, ExifTags.GPSTAGS)):
        inside = tags.get_ifd(group).items()
        found += [names.get(tag, str(tag)) for tag, value in inside if not _holds(tag, value, group)]
    return found


def metadata_of_tiff(data: bytes) -> Metadata:
    """Collect the metadata of a TIFF of a kind that pillow does not open; see `metadata_of`."""
    tags = Image.Exif()
    try:
        tags.load(data)  # a TIFF is what an EXIF block is made like
        found = {tag: tags.get(tag) for tag in (_ICC, _XMP, IPTC_TAG)}
        exif = _described(tags)
    except _UNREADABLE:
        return Metadata(format="TIFF")
    return _upright(
        Metadata(
            format="TIFF", icc=_block(found[_ICC]), exif=exif, xmp=_block(found[_XMP]), iptc=_block(found[IPTC_TAG]),
            dpi=_resolution(tags), orientation=orientation_of(tags),
        )
    )  # fmt: skip


def _upright(metadata: Metadata) -> Metadata:
    """Return metadata whose blocks say that the pixels lie as they are seen."""
    exif, xmp = metadata.exif, metadata.xmp
    return replace(
        metadata,
        exif=patch_exif(exif, {ORIENTATION: 1}) if exif else None,
        xmp=re.sub(rb"""(tiff:Orientation(?:=["']|>))[2-8]""", rb"\g<1>1", xmp) if xmp else None,
    )


def _block(value: object) -> bytes | None:
    return value if isinstance(value, bytes) and value else None


def _patch_directory(data: bytearray, order: str, start: int, values: dict[int, int]) -> int | None:
    """Patch one directory in place and return the offset of the EXIF directory it points to, if it does."""
    inner = None
    (count,) = struct.unpack_from(order + "H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from(order + "HHII", data, entry)
        if tag == _EXIF_IFD:
            inner = value
        elif tag == ORIENTATION and tag in values:
            struct.pack_into(order + "HHIHH", data, entry, tag, 3, 1, values[tag], 0)
        elif tag in values:
            struct.pack_into(order + "HHII", data, entry, tag, 4, 1, values[tag])
    return inner


def _described(tags: Image.Exif) -> bytes | None:
    """Build an EXIF block from the descriptive tags of a TIFF."""
    exif = Image.Exif()
    exif.update(_descriptive(tags))
    for group, inside in _inside(tags).items():
        exif.get_ifd(group).update(inside)
        exif[group] = inside
    return exif.tobytes() if len(exif) else None


def _inside(tags: Image.Exif) -> dict[int, dict[int, object]]:
    """Return the directories of camera and place, without the offset into the old block that one of them has."""
    found = {}
    for group in (_EXIF_IFD, _GPS_IFD):
        inside = {
            tag: _as_it_was(value)
            for tag, value in tags.get_ifd(group).items()
            if tag != ExifTags.IFD.Interop and _holds(tag, value, group)
        }
        if inside:
            found[group] = inside
    return found


def _descriptive(tags: Image.Exif) -> dict[int, object]:
    """Return the tags that describe the picture."""
    return {int(tag): _as_it_was(tags[tag]) for tag in _DESCRIPTIVE if tag in tags and _holds(tag, tags[tag])}


def _holds(tag: int, value: object, group: int | None = None) -> bool:
    """Tell whether pillow can write a tag; it knows one type for each, whatever the file had."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II", group=group)
    try:
        directory[tag] = _as_it_was(value)
        directory.tobytes()
    except (*_UNREADABLE, AttributeError, RuntimeError):
        return False
    return True


class _Bytes(str):
    """A text of EXIF, which pillow reads as latin-1, and which is written as the bytes that it was, not as ASCII."""

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:
        return super().encode("latin-1")


def _as_it_was(value: object) -> object:
    return _Bytes(value) if isinstance(value, str) else value


def _resolution(tags: Image.Exif) -> tuple[float, float] | None:
    """Return pixels per inch as TIFF and EXIF say them; None where they do not."""
    with suppress(*_UNREADABLE):
        across, down, unit = (tags.get(tag) for tag in _RESOLUTION)
        # TIFF 6.0: 2, the default, is inches, 3 centimetres
        inches = {2: 1.0, 3: 2.54}.get(unit if isinstance(unit, int) else 2, math.nan)
        return _plausible((float(across) * inches, float(down) * inches))  # pyright: ignore[reportArgumentType]
    return None


def _plausible(dpi: object) -> tuple[float, float] | None:
    if not (isinstance(dpi, tuple) and len(dpi) == 2):
        return None
    across, down = (float(value) for value in dpi)
    possible = all(math.isfinite(value) and 0 < value < 65536 for value in (across, down))  # JPEG holds 16 bits
    return (across, down) if possible else None
