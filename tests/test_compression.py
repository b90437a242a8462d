"""compression: what a file says, and the lattice that a JPEG leaves in pixels."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mzsr.imaging.jpeg import Jpeg, compress, compression_error, tables
from mzsr.imaging.metadata import Metadata
from mzsr.imaging.picture import from_array, from_pil
from mzsr.inference.compression import compression, earlier, of_file, of_pixels, quality_of, with_error


def scene(height: int = 160, width: int = 200) -> Image.Image:
    """A picture with edges, texture and colour."""
    row, column = np.mgrid[:height, :width].astype(float)
    noise = np.random.default_rng(0).normal(size=(height, width, 3)).cumsum(0).cumsum(1)
    noise = noise / np.abs(noise).max()
    waves = np.sin(row / 3 + column / 7)[..., None] * [0.2, 0.1, 0.15]
    edges = ((row // 23 + column // 31) % 2)[..., None] * [0.3, 0.25, 0.1]
    return Image.fromarray(((0.4 + 0.2 * noise + waves + edges).clip(0, 1) * 255).round().astype(np.uint8))


def as_jpeg(image: Image.Image, quality: int, orientation: int = 1, sampling: int = 2) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=sampling, exif=exif)
    return Image.open(buffer)


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95])
def test_the_tables_of_a_file_are_those_of_its_quality(quality: int) -> None:
    picture = from_pil(as_jpeg(scene(), quality, sampling=0))
    found = of_file(picture.metadata, *picture.pixels.shape[2:])
    assert found is not None
    assert torch.equal(found.tables, tables(quality))
    assert (found.chroma, found.offset, quality_of(found)) == ("4:4:4", (0, 0), quality)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_turned_upright_stays_as_it_is_when_compressed_again_on_its_blocks(orientation: int) -> None:
    """A second compression on the same blocks by the same tables changes next to nothing, on other ones much."""
    picture = from_pil(as_jpeg(scene(157, 203), 40, orientation, sampling=0))
    jpeg = of_file(picture.metadata, *picture.pixels.shape[2:])
    assert jpeg is not None

    def change(row: int, column: int) -> float:
        offset = jpeg.offset[0] + row, jpeg.offset[1] + column
        again = compress(picture.pixels, replace(jpeg, offset=offset))
        return 255 * float((again - picture.pixels).square().mean().sqrt())

    assert change(0, 0) < 0.8  # rounding to RGB, and clipped colours
    assert min(change(4, 0), change(0, 4)) > 2


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("first", "last"), [(50, 95), (75, 92), (40, 75), (70, 90)])
def test_of_two_compressions_the_one_that_took_more_is_told(first: int, last: int, orientation: int) -> None:
    """As messengers and editors save: what the file says is the last of them alone."""
    once = as_jpeg(scene(), first, sampling=0).convert("RGB")
    for twice in (as_jpeg(once, last, orientation, sampling=0), as_jpeg(once, last, sampling=0).convert("RGB")):
        picture = from_pil(twice)
        found = compression(picture)
        assert found is not None
        assert abs(quality_of(found) - first) <= 2
        assert found.chroma == "4:4:4"
        exact = compression_error(picture.pixels, Jpeg(found.tables, chroma="4:4:4", offset=found.offset))
        assert float(found.error) == pytest.approx(float(exact.square().mean().sqrt()), rel=0.3)


def grain(sigma: float) -> Image.Image:
    """A smooth picture under grey noise, whose coefficients crowd around zero."""
    ramp = np.linspace(60, 190, 384)[:, None] + np.random.default_rng(0).normal(0, sigma, (384, 384))
    return Image.fromarray(ramp.clip(0, 255).round().astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize("last", [60, 70, 75, 85, 95])
def test_one_compression_is_not_taken_for_two(last: int) -> None:
    for image in (scene(), grain(5), grain(8)):
        picture = from_pil(as_jpeg(image, last))
        found = of_file(picture.metadata, *picture.pixels.shape[2:])
        assert found is not None
        assert earlier(picture.pixels, found) is None


def test_squares_begin_where_blocks_do() -> None:
    """A picture that repeats every 16 pixels is the same in every square that begins at a multiple of 16."""
    tile = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = compress(tile.repeat(1, 1, 19, 19)[..., :300, :300], Jpeg(tables(30), chroma="4:4:4"))
    one = compression_error(images[..., :128, :128], Jpeg(tables(30), chroma="4:4:4")).square().mean().sqrt()
    assert float(with_error(Jpeg(tables(30), "4:4:4"), images).error) == pytest.approx(float(one), rel=1e-3)


def test_no_file_of_another_format_has_tables() -> None:
    assert of_file(Metadata(format="PNG"), 10, 10) is None


@pytest.mark.parametrize("quality", [35, 60, 80, 92])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 6)])
def test_traces_tell_quality_and_where_blocks_begin(quality: int, top: int, left: int) -> None:
    image = as_jpeg(scene(), quality).convert("RGB")
    found = of_pixels(from_pil(image.crop((left, top, image.width, image.height))).pixels)
    assert found is not None
    assert quality_of(found) == quality
    assert found.offset == (top, left)


@pytest.mark.parametrize("quality", [50, 75, 92])
@pytest.mark.parametrize(("sampling", "chroma"), [(0, "4:4:4"), (2, "4:2:0")])
@pytest.mark.parametrize("place", [(0, 0), (5, 2)])
def test_traces_tell_whether_chroma_was_halved(
    quality: int, sampling: int, chroma: str, place: tuple[int, int]
) -> None:
    image = as_jpeg(scene(), quality, sampling=sampling).convert("RGB")
    found = of_pixels(from_pil(image.crop((*place, image.width, image.height))).pixels)
    assert found is not None
    assert found.chroma == chroma
    grey = of_pixels(from_pil(as_jpeg(scene().convert("L"), quality).convert("RGB")).pixels)
    assert grey is not None
    assert grey.chroma == "4:2:0", "without colour nothing tells"


@pytest.mark.parametrize("quality", [40, 60, 80, 92])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_traces_are_found_in_a_picture_that_was_turned_since(quality: int, turns: int) -> None:
    """By an editor, say, that saved it as PNG; on its side its tables are too."""
    image = as_jpeg(scene(), quality, sampling=0).convert("RGB").rotate(90 * turns, expand=True)
    found = of_pixels(from_pil(image).pixels)
    assert found is not None
    assert torch.equal(found.tables, tables(quality).mT if turns % 2 else tables(quality))
    assert (found.chroma, quality_of(found)) == ("4:4:4", quality)


def test_of_two_compressions_before_and_after_a_turn_the_first_is_found() -> None:
    turned = as_jpeg(scene(), 50, sampling=0).convert("RGB").rotate(90, expand=True)
    found = compression(from_pil(as_jpeg(turned, 95, sampling=0)))
    assert found is not None
    assert torch.equal(found.tables, tables(50).mT)


@pytest.mark.parametrize("kind", ["floats", "uint16"])
def test_traces_are_found_in_any_kind_of_array(kind: str) -> None:
    pixels = np.asarray(as_jpeg(scene(), 60).convert("RGB"))
    array = pixels / np.float32(255) if kind == "floats" else pixels.astype(np.uint16) * 257
    found = compression(from_array(array))
    assert found is not None
    assert quality_of(found) == 60


def test_what_was_never_compressed_or_resized_since_has_no_traces() -> None:
    image = scene()
    assert of_pixels(from_pil(image).pixels) is None
    resized = as_jpeg(image, 60).convert("RGB").resize((170, 140), Image.Resampling.BICUBIC)
    assert of_pixels(from_pil(resized).pixels) is None
    assert of_pixels(torch.rand(1, 1, 20, 200)) is None  # too small to tell


@pytest.mark.parametrize("draw", ["stripes", "sine", "bars", "gradient", "tiles"])
def test_patterns_that_were_never_compressed_have_no_traces(draw: str) -> None:
    """All blocks are alike: a few values, many times, lie on some lattice of the many that are tried."""
    row, column = np.mgrid[:128, :128].astype(float)
    tile = np.random.default_rng(4).random((8, 8))
    levels = {
        "stripes": (column % 4 < 2) * 0.6 + 0.2, "sine": 0.5 + 0.3 * np.sin(column * 2 * np.pi / 6),
        "bars": np.floor(column / 16) / 7, "gradient": row / 128, "tiles": np.tile(tile, (16, 16)),
    }[draw]  # fmt: skip
    pixels = (levels * 255).round().astype(np.uint8)
    for array in (pixels, np.dstack([pixels] * 3), np.dstack([pixels, pixels, 255 - pixels])):
        assert of_pixels(from_array(array).pixels) is None


def test_a_file_of_four_channels_has_no_chroma_to_halve() -> None:
    image = as_jpeg(scene().convert("CMYK"), 75)
    found = compression(from_pil(image))
    assert found is not None
    assert found.chroma == "4:4:4"
