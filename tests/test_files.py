"""Tests of reading and writing: lossless round trips, oracles, metadata, bad files, atomic writing."""

import io
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps
from pyvips.enums import ForeignKeep

from mzsr.errors import InputError
from mzsr.imaging import files
from mzsr.imaging.files import check_writable, read, write
from mzsr.imaging.metadata import Metadata
from mzsr.imaging.picture import Picture, from_array, to_array
from mzsr.imaging.preview import header, write_thumbnail

ORIENTATION, X_DIMENSION, Y_DIMENSION, EXIF_IFD, GPS_IFD = 0x0112, 0xA002, 0xA003, 0x8769, 0x8825
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note/></x:xmpmeta>'


def noise(bits: int, *shape: int) -> np.ndarray:
    """Draw whole numbers over the full range, the lower 8 bits of 16 included."""
    return np.random.default_rng(0).integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)


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


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION], tags[0x010F] = orientation, "Maker"
    tags.get_ifd(EXIF_IFD).update({X_DIMENSION: 640, Y_DIMENSION: 480, 0x927C: b"private note"})
    tags.get_ifd(GPS_IFD).update({1: "N", 2: (47.0, 30.0, 0.0)})
    return tags.tobytes()


def tags_of(block: bytes | None) -> Image.Exif:
    assert block is not None
    loaded = Image.Exif()
    loaded.load(block)
    return loaded


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.TIFF", "a.webp", "a.bmp"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_lossless_round_trip_of_8_bits(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    array = noise(8, *shape)
    if name == "a.bmp" and len(shape) == 3:
        array = array[..., :3] if shape[2] > 2 else array[..., 0]
    write(tmp_path / name, from_array(array), quality=100)
    back = read(tmp_path / name)
    assert back.bits == 8
    if name == "a.webp" and array.shape[2:] in ((), (2,)):  # WebP has no grey
        grey = array.reshape(5, 7, -1)
        array = np.concatenate([grey[..., :1]] * 3 + [grey[..., 1:]], axis=2)
    np.testing.assert_array_equal(to_array(back), array)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_lossless_round_trip_of_16_bits(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    array = noise(16, *shape)
    write(tmp_path / name, from_array(array))
    back = read(tmp_path / name)
    assert back.bits == 16
    np.testing.assert_array_equal(to_array(back), array)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_is_what_others_read(tmp_path: Path, bits: int, channels: int) -> None:
    """Several strips, read by libtiff (through libvips and pillow) and by tifffile."""
    array = noise(bits, 1400, 801, channels)[..., 0] if channels == 1 else noise(bits, 1400, 801, channels)
    picture = replace(from_array(array), metadata=Metadata(exif=exif(), icc=SRGB, xmp=XMP, dpi=(300.0, 150.0)))
    write(tmp_path / "a.tif", picture)
    np.testing.assert_array_equal(pyvips.Image.new_from_file(str(tmp_path / "a.tif"), fail_on="warning").numpy(), array)
    if bits == 8:
        with Image.open(tmp_path / "a.tif") as image:
            np.testing.assert_array_equal(np.asarray(image), array)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert len(tiff.pages.first.dataoffsets) > 1
        np.testing.assert_array_equal(tiff.asarray(), array)


@pytest.mark.parametrize("shape", [(64, 48), (64, 48, 3), (64, 48, 4)])
@pytest.mark.parametrize("bits", [8, 16])
def test_avif_is_close_in_either_depth(tmp_path: Path, shape: tuple[int, ...], bits: int) -> None:
    """A smooth picture with more than 256 levels; both ends of the range are kept."""
    ramp = np.linspace(0, 2**bits - 1, 64 * 48).reshape(64, 48)
    array = (
        np.stack([ramp] * (shape[2] if len(shape) == 3 else 1), -1).round().astype(np.uint8 if bits == 8 else np.uint16)
    )
    write(tmp_path / "a.avif", from_array(array), quality=95)
    back = read(tmp_path / "a.avif")
    assert back.bits == bits
    assert (back.alpha is not None) == (shape[2:] == (4,))
    got = to_array(back).reshape(64, 48, -1)
    np.testing.assert_allclose(got[..., 0] / (2**bits - 1), ramp / (2**bits - 1), atol=0.012)
    if bits == 16:
        assert len(np.unique(got[..., 0])) > 300


def test_heic_is_read_upright_and_in_its_depth(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    ramp = np.ascontiguousarray(np.linspace(0, 65535, 64 * 48).reshape(64, 48, 1).repeat(3, 2).astype(np.uint16))
    heif.encode("RGB;16", (48, 64), ramp.tobytes(), tmp_path / "deep.heic", quality=95)
    heif.encode("RGB", (48, 64), (ramp >> 8).astype(np.uint8).tobytes(), tmp_path / "a.heic", quality=95, exif=exif(6))
    for name, bits, expected in (("deep.heic", 16, ramp), ("a.heic", 8, np.rot90(ramp, -1))):
        picture = read(tmp_path / name)
        assert picture.bits == bits
        peak = 2**bits - 1
        np.testing.assert_allclose(to_array(picture) / peak, expected / 65535, atol=0.02)
        assert picture.metadata.format == "HEIF"


def test_heic_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100))
    with pytest.raises(InputError, match=r"a.heic: it is a HEIC picture, .* pip install 'mzsr\[heif\]'"):
        read(tmp_path / "a.heic")


def test_jpeg_is_close_and_flattened_on_white(tmp_path: Path) -> None:
    array = np.zeros((16, 16, 4), np.uint8)
    array[:8, :, 0], array[:8, :, 3] = 200, 255  # opaque red above, transparent black below
    write(tmp_path / "a.jpg", from_array(array), quality=100)
    back = read(tmp_path / "a.jpg")
    assert back.alpha is None
    assert back.metadata.jpeg_sampling == 0
    expected = np.full((16, 16, 3), 255)
    expected[:8] = (200, 0, 0)
    np.testing.assert_allclose(to_array(back).astype(int), expected, atol=3)


def test_quality_matters(tmp_path: Path) -> None:
    picture = from_array(noise(8, 64, 64, 3))
    for name in ("a.jpg", "a.webp", "a.avif"):
        write(tmp_path / name, picture, quality=20)
        small = (tmp_path / name).stat().st_size
        write(tmp_path / name, picture, quality=95)
        assert (tmp_path / name).stat().st_size > 2 * small


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


@pytest.mark.parametrize("name", ["a.bmp", "a.webp"])
def test_colours_stay_right_where_the_profile_cannot_be_kept(tmp_path: Path, name: str) -> None:
    """A linear grey of 0.5 is 188 in sRGB; a BMP holds no profile, and a WebP none of grey."""
    grey = from_array(np.full((8, 8), 128, np.uint8), metadata=Metadata(icc=linear_grey_profile()))
    write(tmp_path / name, grey, quality=100)
    found = read(tmp_path / name)
    assert found.metadata.icc is None
    assert to_array(found).reshape(-1).tolist() == pytest.approx([188] * to_array(found).size, abs=1)


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
def test_orientation_that_stands_elsewhere_in_a_png(tmp_path: Path, bits: int, where: str) -> None:
    """In XMP, or in the text chunk that ImageMagick writes, at either depth: 6 is a quarter turn to the right."""
    array = noise(bits, 4, 6, 3)
    save = pyvips.Image.new_from_array(array, interpretation="rgb16" if bits == 16 else "srgb")
    data = save.pngsave_buffer(keep=ForeignKeep.NONE)
    if where == "xmp":
        text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
        chunk = b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text
    else:
        tags = Image.Exif()
        tags[ORIENTATION] = 6
        block = b"Exif\0\0" + tags.tobytes().removeprefix(b"Exif\0\0")
        chunk = b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n"
    name, body = chunk
    extra = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    (tmp_path / "a.png").write_bytes(data[:33] + extra + data[33:])  # behind the header
    picture = read(tmp_path / "a.png")
    assert picture.bits == bits
    assert picture.metadata.orientation == 6
    np.testing.assert_array_equal(to_array(picture), np.rot90(array, -1))


def test_a_file_that_is_larger_than_its_picture_could_be_is_not_read(tmp_path: Path) -> None:
    """It would be in memory whole before anything looks at it; holes take no room on the disk."""
    Image.fromarray(noise(8, 6, 9, 3)).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("r+b") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(InputError, match=r"a.png has 3000 MB; a picture within the limit of pixels has 867 MB at most"):
        read(tmp_path / "a.png")


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


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    expected = [[[255, 0, 0, 0], [0, 255, 0, 128], [0, 0, 255, 255]]]
    assert to_array(read(tmp_path / "a.png")).tolist() == expected


@pytest.mark.parametrize(("mode", "color", "alpha"), [("L", 7, 0), ("RGB", (7, 7, 7), 0)])
def test_transparent_color(tmp_path: Path, mode: str, color: int | tuple, alpha: int) -> None:
    Image.new(mode, (2, 2), color).save(tmp_path / "a.png", transparency=color)
    picture = read(tmp_path / "a.png")
    assert picture.pixels.shape[1] == len(mode)
    assert picture.alpha is not None
    assert picture.alpha.max().item() == alpha


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_through_its_profile(tmp_path: Path, bits: int) -> None:
    """Colours sent to CMYK through a profile come back through it; libvips is the oracle."""
    patches = np.array([[[200, 60, 50], [60, 140, 70], [128, 128, 128], [240, 235, 220]]], np.uint8).repeat(8, 0)
    srgb = pyvips.Image.new_from_array(patches, interpretation="srgb")
    cmyk = srgb.icc_transform("cmyk", depth=bits, black_point_compensation=True)
    cmyk.write_to_file(str(tmp_path / "a.tif"))
    picture = read(tmp_path / "a.tif")
    assert picture.metadata.icc is None
    assert picture.bits == bits
    back = cmyk.icc_transform("srgb", embedded=True, depth=bits, black_point_compensation=True).numpy()
    np.testing.assert_allclose(to_array(picture).astype(int), back, atol=2)
    # The profile's two tables invert each other to within 10 codes for the grey, 3 for the others.
    np.testing.assert_allclose(to_array(picture, like=patches).astype(int), patches, atol=11)


def test_cmyk_without_profile(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(to_array(read(tmp_path / "a.jpg"))[0, 0].astype(int), (255, 0, 0), atol=3)


def test_cmyk_with_a_broken_profile(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg", icc_profile=b"not a profile")
    with pytest.raises(InputError, match="CMYK profile"):
        read(tmp_path / "a.jpg")


def save_all(path: Path, frames: int) -> None:
    first, *others = (Image.new("RGB", (4, 4), (20 * i, 0, 0)) for i in range(frames))
    first.save(path, save_all=True, append_images=others)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif", "a.avif"])
def test_animation_is_refused(tmp_path: Path, name: str) -> None:
    save_all(tmp_path / name, 3)
    with pytest.raises(InputError, match="3 frames"):
        read(tmp_path / name)


def test_still_gif_and_mpo_are_read(tmp_path: Path) -> None:
    save_all(tmp_path / "a.gif", 1)
    assert read(tmp_path / "a.gif").pixels.shape == (1, 3, 4, 4)
    save_all(tmp_path / "a.mpo", 2)
    assert read(tmp_path / "a.mpo").metadata.format == "JPEG"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.avif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, name: str, share: float) -> None:
    Image.fromarray(noise(8, 64, 64, 3)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=name) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_truncated_16_bits(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, from_array(noise(16, 64, 64, 3)))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=name) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.bmp", "a.avif"])
def test_damaged_files_raise_nothing_else(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    options = {} if name in ("a.gif", "a.bmp") else {"exif": exif(6), "icc_profile": SRGB}
    Image.fromarray(noise(8, 12, 16, 3)).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(name[2:], name[2:]), **options)
    random = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(buffer.getvalue())
        for at in random.integers(0, min(len(data), 600), 4):
            data[at] = random.integers(256)
        (tmp_path / name).write_bytes(data)
        try:
            read(tmp_path / name, max_pixels=10_000)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017 -- reading a damaged file may also succeed


def test_other_bad_inputs(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is no picture")
    cases = {
        "x" * 300: "does not exist",
        "missing.png": "does not exist",
        "empty.png": "is empty",
        "text.png": "no image",
        ".": "is a folder",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(InputError, match="float; 8 or 16 bits"):
        read(tmp_path / "float.tif")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="device or a pipe"):
        read(tmp_path / "pipe.png")


def test_pixel_limit_comes_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (14_000, 14_000)).save(tmp_path / "bomb.png")  # 196 million pixels in a few kilobytes

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(files, "from_pil", decode)
    monkeypatch.setattr(files, "_sixteen_bits", decode)
    with pytest.raises(InputError, match="14000 x 14000 pixels, 196"):
        read(tmp_path / "bomb.png")
    assert Image.MAX_IMAGE_PIXELS is not None  # pillow's own limit is back


def test_write_replaces_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, the old file is whole and nothing else is left."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(InputError, match="No space left"):
                write(path, from_array(noise(8, 4, 4, 3)))
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="NaN"):
        write(path, Picture(torch.full((1, 3, 2, 2), float("nan"))))
    assert path.read_bytes() == b"old"
    write(path, from_array(noise(8, 4, 4, 3)))
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write(tmp_path / "a.png", from_array(noise(8, 2, 2)))
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "a.png")}
    assert len(modes) == 1


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    write(tmp_path / "b.png", from_array(noise(8, 2, 2)))
    assert (tmp_path / "b.png").is_symlink()
    assert read(tmp_path / "a.png").pixels.shape == (1, 1, 2, 2)


def test_unwritable_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    cases = {
        "folder.png": "is a folder",
        "missing/a.png": "no folder",
        "a.gif": r"'.gif'; .* \.png, \.jpg",
        "a": "no suffix",
        "pipe.png": "device or a pipe",
    }
    for name, message in cases.items():
        for check in (check_writable, lambda path: write(path, from_array(noise(8, 2, 2)))):
            with pytest.raises(InputError, match=message):
                check(tmp_path / name)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write everywhere
    with pytest.raises(InputError, match="not writable"):
        check_writable(tmp_path / "a.png")


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    wide = Picture(torch.zeros(1, 1, 1, 70_000))
    for name in ("a.jpg", "a.webp"):
        with pytest.raises(InputError, match="cannot hold this picture"):
            write(tmp_path / name, wide)
    with pytest.raises(InputError, match="quality is 0"):
        write(tmp_path / "a.jpg", wide, quality=0)
    assert list(tmp_path.iterdir()) == []
