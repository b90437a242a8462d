"""What people wrote beside a picture: IPTC captions and credits, comments, texts of a PNG; as files keep them.

IPTC-IIM is one block of bytes that nothing here looks into. A TIFF has a tag for it, a JPEG wraps it into a resource
of Photoshop's, a PNG into the text that ImageMagick and ExifTool agree on.
"""

import binascii
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

IPTC_TAG = 33723  # of a TIFF
COMMENT = "Comment"  # keyword of a text that JPEG and GIF hold as well
_RESOURCE = 0x0404  # of Photoshop: IPTC-IIM
_PROFILE = "Raw profile type "
_XMP = "XML:com.adobe.xmp"


def iptc_of(image: Image.Image) -> bytes | None:
    """Return the IPTC-IIM block of a JPEG, TIFF or PNG that pillow has opened, if it has one."""
    resources = image.info.get("photoshop")
    if isinstance(resources, dict):
        return resources.get(_RESOURCE) or None
    tags: Any = getattr(image, "tag_v2", None)
    if tags is not None:
        # Bytes as they lie in the file: Adobe says that they are LONGs, and of those pillow takes the first
        return tags._tagdata.get(IPTC_TAG) or None
    block = raw_profile(image, "iptc")
    return next((inside for code, inside in _resources(block) if code == _RESOURCE), None) if block else None


def raw_profile(image: Image.Image, kind: str) -> bytes | None:
    """Return a block that a PNG holds as hexadecimal digits in a text, as ImageMagick writes it; None without one."""
    text = getattr(image, "text", {}).get(f"{_PROFILE}{kind}")
    try:
        return binascii.unhexlify("".join(text.split()[2:])) or None if text else None
    except (binascii.Error, ValueError):
        return None


def texts_of(image: Image.Image) -> tuple[tuple[str, str], ...]:
    """Return the texts of a PNG, or the comment of a JPEG or GIF: keyword and text.

    A comment that is no UTF-8 keeps its bytes as surrogates.
    """
    comment = image.info.get("comment")
    if isinstance(comment, bytes):
        return ((COMMENT, comment.decode("utf-8", "surrogateescape")),)
    texts = getattr(image, "text", {})
    return tuple((str(k), str(v)) for k, v in texts.items() if k != _XMP and not k.startswith(_PROFILE))


def photoshop_segment(iptc: bytes) -> bytes:
    """Return the APP13 segment of a JPEG, marker included, that holds an IPTC-IIM block.

    Source: Adobe Photoshop File Formats Specification, "Image Resource Blocks".
    """
    body = b"Photoshop 3.0\0" + _resource(iptc)
    return struct.pack(">HH", 0xFFED, len(body) + 2) + body


def png_profile(iptc: bytes) -> tuple[str, str]:
    """Return keyword and text by which a PNG holds an IPTC-IIM block: its length, and hexadecimal digits."""
    body = _resource(iptc)
    digits = body.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return f"{_PROFILE}iptc", f"\niptc\n{len(body):8d}\n{lines}\n"


def readable(text: str) -> str:
    """Return a text of which every byte that is no UTF-8 is taken for Latin-1, as comments of old were."""
    return "".join(chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text)


def _resource(iptc: bytes) -> bytes:
    return struct.pack(">4sHHI", b"8BIM", _RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """List Photoshop's resources: a code, a name, a length, bytes; names and bytes fill up to an even number."""
    at = 0
    while data[at : at + 4] == b"8BIM" and len(data) >= at + 12:
        (code,) = struct.unpack_from(">H", data, at + 4)
        at += 6 + (data[at + 6] + 2) // 2 * 2
        if len(data) < at + 4:
            return
        (length,) = struct.unpack_from(">I", data, at)
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
