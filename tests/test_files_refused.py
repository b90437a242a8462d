"""Tests of files that are refused, and of writing: whole, in its place, or not at all."""

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from samples import SRGB, exif, noise

from mzsr.errors import InputError
from mzsr.imaging import files
from mzsr.imaging.files import check_writable, read, write
from mzsr.imaging.picture import Picture, from_array


def test_a_file_that_is_larger_than_its_picture_could_be_is_not_read(tmp_path: Path) -> None:
    """It would be in memory whole before anything looks at it; holes take no room on the disk."""
    Image.fromarray(noise(8, 6, 9, 3)).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("r+b") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(InputError, match=r"a.png has 3000 MB; a picture within the limit of pixels has 867 MB at most"):
        read(tmp_path / "a.png")


def save_all(path: Path, frames: int) -> None:
    first, *others = (Image.new("RGB", (4, 4), (20 * i, 0, 0)) for i in range(frames))
    first.save(path, save_all=True, append_images=others)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif", "a.avif"])
def test_animation_is_refused(tmp_path: Path, name: str) -> None:
    save_all(tmp_path / name, 3)
    with pytest.raises(InputError, match="3 frames"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.avif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, name: str, share: float) -> None:
    Image.fromarray(noise(8, 64, 64, 3)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=f"{name} is damaged or cut short") as caught:
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


def test_a_picture_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="NaN"):
        write(path, Picture(torch.full((1, 3, 2, 2), float("nan"))))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.png": b"old"}


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


@pytest.mark.parametrize("behind", ["blob", "a.jpg"])
def test_the_format_is_that_of_the_name_of_a_link(tmp_path: Path, behind: str) -> None:
    """As in a store that names its files by their hash."""
    (tmp_path / "b.png").symlink_to(tmp_path / behind)
    write(tmp_path / "b.png", from_array(noise(8, 2, 2)))
    assert (tmp_path / behind).read_bytes().startswith(b"\x89PNG")


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


def test_still_gif_and_mpo_are_read(tmp_path: Path) -> None:
    save_all(tmp_path / "a.gif", 1)
    assert read(tmp_path / "a.gif").pixels.shape == (1, 3, 4, 4)
    save_all(tmp_path / "a.mpo", 2)
    assert read(tmp_path / "a.mpo").metadata.format == "JPEG"
