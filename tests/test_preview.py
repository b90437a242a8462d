"""Headers and thumbnails agree with what a file holds once it is decoded."""

import random
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from mzsr.errors import InputError
from mzsr.imaging.files import NoPicture, read
from mzsr.imaging.preview import Header, header, write_thumbnail


def ramp(height: int, width: int) -> np.ndarray:
    """Return dark above and bright below, (H, W, 3)."""
    return np.repeat(np.linspace(20, 235, height, dtype=np.uint8)[:, None, None], width, 1).repeat(3, 2)


def saved(folder: Path, kind: str) -> Path:
    """Return a picture of 40 x 60 (height x width), upright, dark above."""
    image, path = Image.fromarray(ramp(40, 60)), folder / f"picture.{kind.partition('-')[0]}"
    if kind == "jpg-turned":  # as a phone that was held upside and sideways writes it
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    elif kind in ("png-16", "tif-16"):
        pyvips.Image.new_from_array(ramp(40, 60).astype(np.uint16) * 257, interpretation="rgb16").write_to_file(path)
    elif kind == "png-16grey":
        Image.fromarray(ramp(40, 60)[..., 0].astype(np.uint16) * 257).save(path)
    elif kind == "tif-16alpha":
        array = np.dstack([ramp(40, 60)[..., :1], np.full((40, 60, 1), 255, np.uint8)]).astype(np.uint16) * 257
        pyvips.Image.new_from_array(array, interpretation="grey16").write_to_file(path)
    elif kind == "tif-16alpha-turned":
        array = np.dstack([ramp(40, 60)[..., :1], np.full((40, 60, 1), 255, np.uint8)]).astype(np.uint16) * 257
        turned = pyvips.Image.new_from_array(np.rot90(array).copy(), interpretation="grey16").copy()
        turned.set_type(pyvips.GValue.gint_type, "orientation", 6)
        turned.write_to_file(path)
    elif kind in ("tif-turned", "tif-turned16"):
        array = np.rot90(ramp(40, 60)).copy()
        deep = array.astype(np.uint16) * 257
        turned = pyvips.Image.new_from_array(deep if kind == "tif-turned16" else array).copy()
        turned.set_type(pyvips.GValue.gint_type, "orientation", 6)
        turned.write_to_file(path)
    elif kind == "png-palette":
        image.quantize(64).save(path)
    else:
        image.convert({"jpg-cmyk": "CMYK", "png-grey": "L"}.get(kind, "RGB")).save(path)
    return path


KINDS = [
    "jpg", "jpg-turned", "jpg-cmyk", "png", "png-16", "png-16grey", "png-grey", "png-palette", "tif", "tif-16",
    "tif-16alpha", "tif-16alpha-turned", "tif-turned", "tif-turned16", "webp", "bmp", "avif", "gif",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_header_and_thumbnail_tell_what_reading_gives(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path, kind)
    found = header(path)
    assert (found.height, found.width) == tuple(read(path).pixels.shape[2:]) == (40, 60)
    write_thumbnail(path, tmp_path / "thumbnail.jpg", 30)
    with Image.open(tmp_path / "thumbnail.jpg") as small:
        assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (30, 20))
        levels = np.asarray(small.convert("L"), float).mean(1)
    assert np.abs(levels - ramp(20, 1)[:, 0, 0]).max() < 12, "not upright, or of other brightness"


def test_a_small_picture_is_not_enlarged(tmp_path: Path) -> None:
    write_thumbnail(saved(tmp_path, "png"), tmp_path / "thumbnail.jpg", 480)
    with Image.open(tmp_path / "thumbnail.jpg") as small:
        assert small.size == (60, 40)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "a.png")
    write_thumbnail(tmp_path / "a.png", tmp_path / "thumbnail.jpg", 480)
    with Image.open(tmp_path / "thumbnail.jpg") as small:
        assert small.getpixel((10, 10)) == (255, 255, 255)


def test_a_header_is_read_without_the_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path, "png")
    data = path.read_bytes()
    path.write_bytes(data[:60])
    assert header(path) == Header("PNG", 60, 40)
    with pytest.raises(InputError, match="damaged"):
        write_thumbnail(path, tmp_path / "thumbnail.jpg", 480)
    assert not (tmp_path / "thumbnail.jpg").exists()


def test_what_is_no_picture_is_told_from_a_bad_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%PDF-1.7 not a picture")
    with pytest.raises(NoPicture, match=r"is no image that can be read; JPEG, PNG"):
        header(tmp_path / "a.png")
    Image.new("L", (9, 9)).save(tmp_path / "b.gif", save_all=True, append_images=[Image.new("L", (9, 9), 255)])
    with pytest.raises(InputError, match="animated"):
        header(tmp_path / "b.gif")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told_in_one_line_wherever_it_strikes(tmp_path: Path, kind: str) -> None:
    whole, dice, path = saved(tmp_path, kind).read_bytes(), random.Random(0), tmp_path / "damaged"
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 8))):
            at = dice.randrange(min(len(data) - 4, dice.choice((64, 100_000))))
            data[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"", dice.randbytes(4)))
        path.write_bytes(data)
        said = ""
        try:
            found = header(path)
            if found.width * found.height <= 10**6:
                write_thumbnail(path, tmp_path / "thumbnail.jpg", 30)
        except InputError as error:
            said = str(error)
        assert "\n" not in said


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "png-palette"])
def test_a_picture_smaller_than_its_thumbnail(tmp_path: Path, kind: str) -> None:
    write_thumbnail(saved(tmp_path, kind), tmp_path / "small.jpg", 200)
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == (60, 40)
