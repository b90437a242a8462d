"""Tests of reading and writing: lossless round trips, oracles, palettes and CMYK."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, PngImagePlugin
from samples import SRGB, XMP, exif, noise

from mzsr.errors import InputError
from mzsr.imaging.files import read, write
from mzsr.imaging.metadata import Metadata
from mzsr.imaging.picture import from_array, to_array


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
def test_tiff_is_what_others_read(tmp_path: Path, bits: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several strips, read by libtiff (through libvips and pillow) and by tifffile."""
    monkeypatch.setattr("mzsr.imaging.encode._STRIP", 1 << 10)
    array = noise(bits, 140, 81, channels)[..., 0] if channels == 1 else noise(bits, 140, 81, channels)
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
    with pytest.raises(InputError, match=r"a.heic: it is a HEIC picture, .* pip install '\.\[heif\]'"):
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
    """It is taken for usual print at either depth: red ink is no light of a screen."""
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    deep = pyvips.Image.new_from_array(np.full((8, 8, 4), (0, 65535, 65535, 0), np.uint16), interpretation="cmyk")
    deep.tiffsave(str(tmp_path / "a.tif"))
    shallow = to_array(read(tmp_path / "a.jpg"))[0, 0].astype(int)
    np.testing.assert_allclose(shallow, (231, 0, 17), atol=3)
    np.testing.assert_allclose(to_array(read(tmp_path / "a.tif"))[0, 0] / 257, shallow, atol=3)


def test_cmyk_with_a_broken_profile(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg", icc_profile=b"not a profile")
    with pytest.raises(InputError, match="CMYK profile"):
        read(tmp_path / "a.jpg")


def tiff16(path: Path, array: np.ndarray, extra: int | None) -> None:
    """Write a 16-bit TIFF whose channels beside the colours are of one kind; None names none."""
    tags = {} if extra is None else {"extrasamples": [extra] * (array.shape[2] - 3)}
    tifffile.imwrite(path, array, photometric="rgb", planarconfig="contig", **tags)


@pytest.mark.parametrize(("extra", "channels"), [(0, 3), (1, 4), (2, 4)])
def test_a_channel_beside_the_colours_is_alpha_only_where_it_is_said_to_be(
    tmp_path: Path, extra: int, channels: int
) -> None:
    """A saved selection is no transparency, at 16 bits as at 8."""
    array = noise(16, 20, 24, 4)
    tiff16(tmp_path / "a.tif", array, extra)
    found = to_array(read(tmp_path / "a.tif"))
    assert found.shape[2] == channels
    if extra != 1:  # colours that alpha was multiplied into are divided by it
        np.testing.assert_array_equal(found, array[..., :channels])


def test_further_channels_of_a_deep_tiff_are_dropped(tmp_path: Path) -> None:
    array = noise(16, 20, 24, 5)
    tiff16(tmp_path / "a.tif", array, 0)
    np.testing.assert_array_equal(to_array(read(tmp_path / "a.tif")), array[..., :3])


def test_a_tiff_with_smaller_copies_of_itself_is_one_picture(tmp_path: Path) -> None:
    array = noise(8, 300, 340, 3)
    pyvips.Image.new_from_array(array).tiffsave(str(tmp_path / "a.tif"), pyramid=True, tile=True)
    np.testing.assert_array_equal(to_array(read(tmp_path / "a.tif")), array)
    tifffile.imwrite(tmp_path / "b.tif", np.stack([array, array]), photometric="rgb")
    with pytest.raises(InputError, match="it is animated or has pages"):
        read(tmp_path / "b.tif")


def test_a_space_that_is_not_read_is_named_and_not_called_damage(tmp_path: Path) -> None:
    Image.new("LAB", (8, 8)).save(tmp_path / "lab.tif")
    with pytest.raises(InputError, match="mode is LAB; grey, RGB, palette or CMYK is required"):
        read(tmp_path / "lab.tif")


@pytest.mark.parametrize(
    ("name", "bits", "words"),
    [
        ("a.jpg", 16, ["JPEG holds 8 bits a channel", "JPEG holds no transparency"]),
        ("a.bmp", 8, ["BMP holds no transparency"]),
        ("a.webp", 16, ["WEBP holds 8 bits a channel"]),
        ("a.avif", 16, ["AVIF holds 12 bits a channel"]),
        ("a.png", 16, []),
    ],
)
def test_what_a_format_does_not_hold_of_the_pixels_is_named(
    tmp_path: Path, name: str, bits: int, words: list[str]
) -> None:
    told = write(tmp_path / name, from_array(noise(bits, 16, 16, 4)))
    assert [any(said.startswith(word) for said in told) for word in words] == [True] * len(words)
    assert len(told) == len(words)


def test_xmp_promises_no_film_that_is_not_there(tmp_path: Path) -> None:
    """A phone's motion photo, and a map of brighter light, lie behind the picture in its file."""
    promises = b'<x:xmpmeta GCamera:MotionPhoto="1" Camera:MicroVideo="1" hdrgm:Version="1.0" dc:title="a hill"/>'
    picture = replace(from_array(noise(8, 16, 16, 3)), metadata=Metadata(xmp=promises))
    assert write(tmp_path / "a.jpg", picture) == ["the film or the light map that lay behind the picture is left out"]
    kept = read(tmp_path / "a.jpg").metadata.xmp
    assert kept == b'<x:xmpmeta GCamera:MotionPhoto="0" Camera:MicroVideo="0" dc:title="a hill"/>'


def test_what_lies_behind_the_picture_is_said_to_be_left_out(tmp_path: Path) -> None:
    first, second = (Image.fromarray(noise(8, 16, 16, 3)) for _ in range(2))
    first.save(tmp_path / "stereo.mpo", save_all=True, append_images=[second])
    (told,) = write(tmp_path / "a.jpg", read(tmp_path / "stereo.mpo"))
    assert told.startswith("the pictures behind this one in its file")


def test_xmp_of_a_png_by_imagemagick_is_kept(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type xmp", f"\nxmp\n{len(XMP):8d}\n{XMP.hex()}\n")
    Image.fromarray(noise(8, 16, 16, 3)).save(tmp_path / "a.png", pnginfo=info)
    assert write(tmp_path / "b.jpg", read(tmp_path / "a.png")) == []
    assert read(tmp_path / "b.jpg").metadata.xmp == XMP


def test_names_of_pages_that_scanners_write_are_kept(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", noise(8, 16, 16, 3), photometric="rgb", extratags=[(269, 2, 0, "letters", True)]
    )
    write(tmp_path / "b.tif", read(tmp_path / "a.tif"))
    with Image.open(tmp_path / "b.tif") as image:
        assert image.tag_v2[269] == "letters"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("name", "kept"), [("a.png", False), ("a.jpg", False), ("a.webp", True)])
def test_a_profile_of_colours_on_grey_is_named_where_it_is_left_out(tmp_path: Path, name: str, kept: bool) -> None:
    """WebP has no grey: there the picture has three channels, which the profile is of."""
    picture = replace(from_array(noise(8, 16, 16)), metadata=Metadata(icc=SRGB))
    told = write(tmp_path / name, picture)
    assert (told == [], read(tmp_path / name).metadata.icc == SRGB) == (kept, kept)
