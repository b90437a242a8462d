"""Tests of the metadata: EXIF patched in place, orientation, plausible resolutions."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mzsr.imaging.metadata import Metadata, metadata_of, patch_exif, sized_exif, without_orientation

ORIENTATION, MAKER_NOTE, X_DIMENSION, Y_DIMENSION, EXIF_IFD = 0x0112, 0x927C, 0xA002, 0xA003, 0x8769


def block() -> bytes:
    """Write an EXIF block with orientation, pixel dimensions and a private note."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "Maker"
    exif.get_ifd(EXIF_IFD).update({X_DIMENSION: 640, Y_DIMENSION: 480, MAKER_NOTE: b"private note"})
    return exif.tobytes()


def big_endian() -> bytes:
    """Write by hand what Motorola order looks like: one SHORT orientation, then a link to a thumbnail."""
    return b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, ORIENTATION, 3, 1, 6, 0, 1234)


def load(exif: bytes | None) -> Image.Exif:
    assert exif is not None
    loaded = Image.Exif()
    loaded.load(exif)
    return loaded


def test_dimensions_are_set_and_the_rest_stays() -> None:
    patched = load(sized_exif(Metadata(exif=block()), height=960, width=70000))
    assert patched[0x010F] == "Maker"
    assert patched[ORIENTATION] == 6
    inside = patched.get_ifd(EXIF_IFD)
    assert (inside[X_DIMENSION], inside[Y_DIMENSION]) == (70000, 960)
    assert inside[MAKER_NOTE] == b"private note"


def test_big_endian_orientation_and_thumbnail() -> None:
    patched = patch_exif(big_endian(), {ORIENTATION: 1})
    assert patched == b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, ORIENTATION, 3, 1, 1, 0, 0)


def test_a_pointer_to_nowhere_loses_nothing_else() -> None:
    """To the directory of EXIF, far beyond the block."""
    block = struct.pack(">IHHHIHHHHIII", 8, 2, ORIENTATION, 3, 1, 6, 0, 0x8769, 4, 1, 60000, 0)
    patched = patch_exif(b"Exif\0\0MM\0*" + block, {ORIENTATION: 1})
    expected = struct.pack(">IHHHIHHHHIII", 8, 2, ORIENTATION, 3, 1, 1, 0, 0x8769, 4, 1, 60000, 0)
    assert patched == b"Exif\0\0MM\0*" + expected


def test_only_the_named_bytes_change() -> None:
    before = block()
    after = patch_exif(before, {ORIENTATION: 1})
    assert after is not None
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [(6, 1)]


def test_a_missing_tag_is_not_added() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    assert patch_exif(exif.tobytes(), {ORIENTATION: 1}) == exif.tobytes()


def test_an_orientation_is_cut_out_and_the_rest_stays() -> None:
    cut = load(without_orientation(block()))
    assert ORIENTATION not in cut
    assert cut[0x010F] == "Maker"
    assert cut.get_ifd(EXIF_IFD)[MAKER_NOTE] == b"private note"
    assert without_orientation(big_endian()) == b"Exif\0\0MM\0*" + struct.pack(">IHI", 8, 0, 1234) + bytes(12)
    assert without_orientation(cut.tobytes()) == cut.tobytes()


@given(st.binary(max_size=80))
def test_damage_never_raises(tail: bytes) -> None:
    for start in (b"", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08"):
        patch_exif(start + tail, {ORIENTATION: 1, X_DIMENSION: 5})


def test_xmp_orientation_is_reset() -> None:
    image = Image.new("RGB", (2, 2))
    image.info["xmp"] = b'<x tiff:Orientation="6"/><tiff:Orientation>8</tiff:Orientation>'
    assert metadata_of(image).xmp == b'<x tiff:Orientation="1"/><tiff:Orientation>1</tiff:Orientation>'


@pytest.mark.parametrize("dpi", [None, (0, 0), (float("nan"), 72), (72,), 72, (1e9, 72)])
def test_implausible_resolutions_are_left_out(dpi: object) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["dpi"] = dpi
    assert metadata_of(image).dpi is None
