"""Tests of what a file says beside its pixels: orientation, profiles, texts."""

import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image, ImageOps
from pyvips.enums import ForeignKeep
from samples import EXIF_IFD, GPS_IFD, ORIENTATION, SRGB, X_DIMENSION, XMP, Y_DIMENSION, chunk, exif, noise

from mzsr.imaging.files import read, write
from mzsr.imaging.metadata import Metadata
from mzsr.imaging.picture import Picture, from_array, to_array
from mzsr.imaging.preview import header, write_thumbnail


def linear_grey_profile() -> bytes:
    """Return an ICC profile of grey with a gamma of 1 (ICC.1:2001-04): header, two tags, white point and curve."""
    white = struct.pack(">3i", *(round(65536 * value) for value in (0.9642, 1.0, 0.8249)))
    tags = {b"wtpt": b"XYZ \0\0\0\0" + white, b"kTRC": b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 256)}
    table, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(tag))
        body += tag
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s28x", size, 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp") + white
    return header.ljust(128, b"\0") + table + body


def tags_of(block: bytes | None) -> Image.Exif:
    assert block is not None
    loaded = Image.Exif()
    loaded.load(block)
    return loaded


@pytest.mark.parametrize(("out", "told"), [("b.jpg", True), ("b.webp", False), ("b.avif", False)])
def test_a_resolution_beside_exif_is_kept_or_named(tmp_path: Path, out: str, told: bool) -> None:
    """Of a JPEG whose EXIF has none, which is not rebuilt for it."""
    tags = Image.Exif()
    tags[271] = "maker"
    Image.fromarray(noise(8, 8, 8, 3)).save(tmp_path / "a.jpg", dpi=(240, 240), exif=tags)
    without = write(tmp_path / out, read(tmp_path / "a.jpg"))
    kept = read(tmp_path / out).metadata.dpi
    assert (kept, bool(without)) == (((240.0, 240.0), False) if told else (None, True))
    assert all("240 dpi" in words for words in without)


@pytest.mark.parametrize("out", ["b.jpg", "b.png", "b.webp", "b.avif", "b.tif"])
def test_resolution_goes_through_every_format(tmp_path: Path, out: str) -> None:
    """WebP and AVIF have no place for it but EXIF."""
    Image.fromarray(noise(8, 8, 8, 3)).save(tmp_path / "a.png", dpi=(300, 300))
    write(tmp_path / out, read(tmp_path / "a.png"))
    write(tmp_path / "c.tif", read(tmp_path / out))
    assert read(tmp_path / "c.tif").metadata.dpi == pytest.approx((300, 300), rel=1e-3)


@pytest.mark.parametrize(("out", "bits"), [("b.png", 16), ("b.png", 8), ("b.bmp", 8), ("b.tif", 16), ("b.jpg", 8)])
def test_no_resolution_is_invented(tmp_path: Path, out: str, bits: int) -> None:
    write(tmp_path / out, from_array(noise(bits, 8, 8, 3)))
    with Image.open(tmp_path / out) as image:
        assert image.info.get("dpi", (0, 0)) in ((0, 0), (1, 1))  # what pillow says of JPEG and TIFF without one


def test_a_tiff_that_tells_no_resolution_has_none(tmp_path: Path) -> None:
    """Pillow says one pixel per inch of it: a picture metres wide."""
    Image.fromarray(noise(8, 8, 8, 3)).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").metadata.dpi is None


def test_xmp_tells_the_new_size(tmp_path: Path) -> None:
    xmp = XMP.replace(b"<note/>", b'<note tiff:ImageWidth="8" exif:PixelYDimension="8"/>')
    picture = replace(from_array(noise(8, 12, 16, 3)), metadata=Metadata(format="PNG", xmp=xmp))
    write(tmp_path / "a.png", picture)
    kept = read(tmp_path / "a.png").metadata.xmp or b""
    assert b'tiff:ImageWidth="16" exif:PixelYDimension="12"' in kept


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_orientation_is_applied(tmp_path: Path, name: str, orientation: int) -> None:
    image = Image.fromarray(noise(8, 16, 24, 3))
    image.save(tmp_path / name, exif=exif(orientation))
    with Image.open(tmp_path / name) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    picture = read(tmp_path / name)
    np.testing.assert_array_equal(to_array(picture), expected)
    assert tags_of(picture.metadata.exif).get(ORIENTATION, 1) == 1
    write(tmp_path / "b.png", picture)
    np.testing.assert_array_equal(to_array(read(tmp_path / "b.png")), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_orientation_of_16_bits(tmp_path: Path, name: str, orientation: int) -> None:
    array = noise(16, 4, 6, 3)
    image = pyvips.Image.new_from_array(array, interpretation="rgb16")
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.write_to_file(str(tmp_path / name))
    turn: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: np.rot90,
    }
    picture = read(tmp_path / name)
    assert picture.bits == 16
    np.testing.assert_array_equal(to_array(picture), turn[orientation](array))
    if picture.metadata.exif is not None:
        assert tags_of(picture.metadata.exif).get(ORIENTATION, 1) == 1


def test_what_a_format_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    """70 kB of XMP from a TIFF are no reason to lose the picture, nor to say nothing."""
    metadata = Metadata(xmp=b"<x>" + b" " * 70_000 + b"</x>", exif=exif())
    picture = replace(from_array(noise(8, 6, 9, 3)), metadata=metadata)
    assert write(tmp_path / "a.jpg", picture) == ["JPEG holds 65502 bytes of XMP, the 70007 of the input are left out"]
    assert read(tmp_path / "a.jpg").metadata.xmp is None
    assert read(tmp_path / "a.jpg").metadata.exif is not None
    assert write(tmp_path / "a.tif", picture) == []
    assert [words.partition(",")[0] for words in write(tmp_path / "a.bmp", picture)] == [
        "BMP holds no EXIF", "BMP holds no XMP",
    ]  # fmt: skip
    small = replace(picture, metadata=replace(metadata, xmp=metadata.xmp[:65_000] if metadata.xmp else None))
    assert write(tmp_path / "a.jpg", small) == []


def test_padding_of_xmp_takes_no_time(tmp_path: Path) -> None:
    padded = replace(from_array(noise(8, 6, 9, 3)), metadata=Metadata(xmp=b"<x>" + b" " * 3_000_000 + b"</x>"))
    start = time.process_time()
    write(tmp_path / "a.png", padded)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["a.bmp", "a.webp", "a.avif"])
def test_colours_stay_right_where_the_profile_cannot_be_kept(tmp_path: Path, name: str, bits: int) -> None:
    """A linear grey of 0.5 is 188 in sRGB; a BMP holds no profile, and a WebP or an AVIF none of grey."""
    grey = from_array(np.full((8, 8), 128, np.uint8), metadata=Metadata(icc=linear_grey_profile()))
    write(tmp_path / name, replace(grey, bits=bits), quality=100)
    found = read(tmp_path / name)
    assert found.metadata.icc is None
    assert (255 * found.pixels).flatten().tolist() == pytest.approx([188] * found.pixels.numel(), abs=1)


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_odd_tag_is_no_damage(tmp_path: Path, orientation: int) -> None:
    """A resolution stored as text: nobody asked for it, upright or not; nor is there a warning where TIFF drops it."""
    odd = struct.pack("<HHII", ORIENTATION, 3, 1, orientation) + struct.pack("<HHI4s", 0x011A, 2, 4, b"300\0")
    odd += struct.pack("<HHII", 0x010F, 2, 999, 5000)  # the maker, beyond the end
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 3) + odd + bytes(4)
    array = np.full((8, 16, 3), 90, np.uint8)
    Image.fromarray(array).save(tmp_path / "a.jpg", exif=block)
    picture = read(tmp_path / "a.jpg")
    assert to_array(picture).shape[:2] == ((8, 16) if orientation == 1 else (16, 8))
    write_thumbnail(tmp_path / "a.jpg", tmp_path / "small.jpg", 8)
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == ((8, 4) if orientation == 1 else (4, 8))
    write(tmp_path / "a.tif", picture)  # warnings are errors here
    assert to_array(read(tmp_path / "a.tif")).shape == to_array(picture).shape


@pytest.mark.parametrize("where", ["xmp", "raw"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("place", [33, -12], ids=["behind the header", "behind the pixels"])
def test_orientation_that_stands_elsewhere_in_a_png(tmp_path: Path, bits: int, where: str, place: int) -> None:
    """In XMP, or in the text chunk that ImageMagick writes, at either depth: 6 is a quarter turn to the right."""
    array = noise(bits, 4, 6, 3)
    save = pyvips.Image.new_from_array(array, interpretation="rgb16" if bits == 16 else "srgb")
    data = save.pngsave_buffer(keep=ForeignKeep.NONE)
    if where == "xmp":
        text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
        extra = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)
    else:
        tags = Image.Exif()
        tags[ORIENTATION] = 6
        block = b"Exif\0\0" + tags.tobytes().removeprefix(b"Exif\0\0")
        extra = chunk(b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n")
    (tmp_path / "a.png").write_bytes(data[:place] + extra + data[place:])
    picture = read(tmp_path / "a.png")
    assert picture.bits == bits
    assert picture.metadata.orientation == 6
    np.testing.assert_array_equal(to_array(picture), np.rot90(array, -1))


def test_a_jpeg_that_says_no_resolution_has_none(tmp_path: Path) -> None:
    """Pillow says 72 of one that has EXIF; what EXIF says counts."""
    tags = Image.Exif()
    for resolution in (None, 240.0):
        tags.update({0x010F: "Make"} if resolution is None else {282: resolution, 283: resolution, 296: 2})
        Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=tags)
        assert read(tmp_path / "a.jpg").metadata.dpi == (resolution and (resolution, resolution))


def test_a_single_pixel_of_16_bits(tmp_path: Path) -> None:
    pyvips.Image.new_from_array(np.full((1, 1), 3000, np.uint16), interpretation="grey16").pngsave(tmp_path / "a.png")
    assert to_array(read(tmp_path / "a.png")).tolist() == [[3000]]


@pytest.mark.parametrize("first", ["in.jpg", "in.tif"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_texts_of_exif_are_the_bytes_that_they_were(tmp_path: Path, first: str, name: str) -> None:
    """Files hold UTF-8 there, whatever the standard says; and Windows has titles and stars of its own."""
    words, title = "© 2024 Jürgen".encode(), "Zoë".encode("utf-16-le")
    tags = Image.Exif()
    tags[0x8298], tags[ORIENTATION], tags[0x9C9B], tags[0x4746] = b"?" * len(words), 1, title, 4
    data = tags.tobytes().replace(b"?" * len(words), words)
    Image.fromarray(noise(8, 6, 9, 3)).save(tmp_path / "in.jpg", exif=data)
    write(tmp_path / "in.tif", read(tmp_path / "in.jpg"))
    write(tmp_path / name, read(tmp_path / first))
    assert words + b"\0" in (tmp_path / name).read_bytes()
    kept = tags_of(read(tmp_path / name).metadata.exif)
    assert kept[0x8298] == words.decode("latin-1")
    assert bytes(kept[0x9C9B]) == title
    assert kept[0x4746] == 4


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_exif_that_cannot_be_read_is_no_damage(tmp_path: Path, name: str) -> None:
    """A program that wipes it leaves zeros behind."""
    Image.fromarray(noise(8, 6, 9, 3)).save(tmp_path / name, dpi=(72, 72), exif=b"Exif\0\0" + bytes(32))
    picture = read(tmp_path / name)
    assert picture.pixels.shape == (1, 3, 6, 9)
    assert picture.metadata.exif is None
    assert picture.metadata.orientation == 1
    assert (header(tmp_path / name).width, header(tmp_path / name).height) == (9, 6)


def test_more_xmp_than_a_segment_holds_is_named(tmp_path: Path) -> None:
    xmp = XMP.replace(b"</", b'<r xmpNote:HasExtendedXMP="0123"/></', 1)
    Image.fromarray(noise(8, 6, 9, 3)).save(tmp_path / "in.jpg", xmp=xmp)
    assert write(tmp_path / "a.jpg", read(tmp_path / "in.jpg")) == [
        "the XMP of the input goes on in more segments of its JPEG, which are left out"
    ]


def test_deep_grey_with_alpha_keeps_its_profile(tmp_path: Path) -> None:
    """Pillow does not open such a TIFF at all."""
    picture = replace(from_array(noise(16, 6, 9, 2)), metadata=Metadata(icc=linear_grey_profile()))
    write(tmp_path / "a.tif", picture)
    assert read(tmp_path / "a.tif").metadata.icc == linear_grey_profile()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_that_stands_in_the_xmp_of_a_tiff(tmp_path: Path, bits: int, channels: int) -> None:
    """A TIFF that has the tag is turned by pillow; this one is not."""
    array = noise(bits, 4, 6, channels)
    text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    write(tmp_path / "a.tif", replace(from_array(array), metadata=Metadata(xmp=text)))
    picture = read(tmp_path / "a.tif")
    assert picture.bits == bits
    np.testing.assert_array_equal(to_array(picture), np.rot90(array.squeeze(), -1))
    assert (header(tmp_path / "a.tif").height, header(tmp_path / "a.tif").width) == (6, 4)


def test_the_profile_of_deep_cmyk_with_alpha_does_not_stay_on_rgb(tmp_path: Path) -> None:
    colours = pyvips.Image.new_from_array(noise(16, 6, 9, 3), interpretation="rgb16")
    colours.icc_transform("cmyk", depth=16).bandjoin(30_000).write_to_file(tmp_path / "a.tif")
    assert pyvips.Image.new_from_file(tmp_path / "a.tif").get("icc-profile-data")
    picture = read(tmp_path / "a.tif")
    assert picture.pixels.shape[1] == 3
    assert picture.alpha is not None
    assert picture.metadata.icc is None


def test_deep_grey_with_alpha_keeps_all_that_it_says(tmp_path: Path) -> None:
    told = Metadata(exif=exif(), xmp=XMP, iptc=b"\x1c\x02\x50\x00\x02me", dpi=(300.0, 150.0))
    write(tmp_path / "a.tif", replace(from_array(noise(16, 6, 9, 2)), metadata=told))
    kept = read(tmp_path / "a.tif").metadata
    assert (kept.xmp, kept.iptc, kept.dpi) == (XMP, told.iptc, told.dpi)
    tags = tags_of(kept.exif)
    assert tags[0x010F] == "Maker"
    assert tags.get_ifd(GPS_IFD)[2] == (47.0, 30.0, 0.0)
    assert tags.get_ifd(EXIF_IFD)[0x927C] == b"private note"


@pytest.mark.parametrize(("tag", "name"), [(5, "GPSAltitudeRef"), (6, "GPSAltitude")])
def test_a_tag_of_another_type_is_left_out_and_said(tmp_path: Path, tag: int, name: str) -> None:
    """As cameras write it: a text where the standard wants a number, which no writer of TIFF takes."""
    place = struct.pack("<HHHI4s", 1, tag, 2, 2, b"0\0\0\0") + bytes(4)
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 1, GPS_IFD, 4, 1, 26) + bytes(4) + place
    Image.fromarray(np.full((8, 16, 3), 90, np.uint8)).save(tmp_path / "a.jpg", exif=block)
    picture = read(tmp_path / "a.jpg")
    assert write(tmp_path / "a.tif", picture) == [
        f"these tags of EXIF are of another type than is theirs, and left out: {name}"
    ]
    assert to_array(read(tmp_path / "a.tif")).shape == (8, 16, 3)
    assert write(tmp_path / "b.jpg", picture) == []
    assert tags_of(read(tmp_path / "b.jpg").metadata.exif).get_ifd(GPS_IFD)[tag]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_metadata_survives(tmp_path: Path, name: str, bits: int) -> None:
    Image.fromarray(noise(8, 6, 9, 3)).save(
        tmp_path / "in.jpg", exif=exif(), icc_profile=SRGB, xmp=XMP, dpi=(300, 150), subsampling=2, quality=80
    )
    picture = read(tmp_path / "in.jpg")
    assert picture.metadata.format == "JPEG"
    assert picture.metadata.jpeg_sampling == 2
    assert picture.metadata.jpeg_tables is not None
    assert picture.metadata.jpeg_tables[0][0] == 6  # quality 80 turns the standard's 16 into 16 * 0.4
    large = replace(picture, pixels=picture.pixels.repeat_interleave(2, 2).repeat_interleave(2, 3), bits=bits)
    write(tmp_path / name, large)
    kept = read(tmp_path / name).metadata
    assert kept.icc == SRGB
    assert kept.xmp == XMP
    if name not in ("a.webp", "a.avif"):
        assert kept.dpi == pytest.approx((300, 150), abs=0.02)
    tags = tags_of(kept.exif)
    assert tags[0x010F] == "Maker"
    inside = tags.get_ifd(EXIF_IFD)
    assert (inside[X_DIMENSION], inside[Y_DIMENSION]) == (18, 12)
    assert inside[0x927C] == b"private note"
    assert tags.get_ifd(GPS_IFD)[2] == (47.0, 30.0, 0.0)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_nothing_is_invented(tmp_path: Path, name: str) -> None:
    for bits in (8, 16):
        write(tmp_path / name, from_array(noise(bits, 4, 4, 3)))
        kept = read(tmp_path / name).metadata
        assert (kept.icc, kept.exif, kept.xmp) == (None, None, None)


def test_a_profile_of_another_space_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.png", Picture(torch.zeros(1, 1, 2, 2), metadata=Metadata(icc=SRGB)))
    assert read(tmp_path / "a.png").metadata.icc is None
