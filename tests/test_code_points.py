"""Tests of colours that a file names by number: Display P3 stays right in every format, HDR is refused."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from mzsr.errors import InputError
from mzsr.imaging.code_points import code_points, profile_of
from mzsr.imaging.files import read, write

Maker = Callable[[Path, int, int], Path]
RED = np.full((4, 4, 3), (234, 51, 35), np.uint8)  # the reddest sRGB, as Display P3 has it: 0.917, 0.2, 0.14


def png(path: Path, primaries: int, transfer: int, array: np.ndarray = RED) -> Path:
    """Write a PNG with a cICP chunk behind its header."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    chunk = b"cICP" + bytes([primaries, transfer, 0, 1])
    data = out.getvalue()
    path.write_bytes(data[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:])
    return path


def avif(path: Path, primaries: int, transfer: int) -> Path:
    """Write an AVIF whose nclx box says something else than the encoder thought."""
    out = io.BytesIO()
    Image.fromarray(RED.repeat(8, 0).repeat(8, 1)).save(out, "AVIF", quality=100, subsampling="4:4:4")
    data = out.getvalue()
    at = data.index(b"colrnclx") + 8
    path.write_bytes(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])
    return path


def heic(path: Path, primaries: int, transfer: int) -> Path:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    heif.register_heif_opener()
    out = io.BytesIO()
    Image.fromarray(RED.repeat(16, 0).repeat(16, 1)).save(
        out, "HEIF", quality=100, chroma=444, color_primaries=primaries, transfer_characteristics=transfer
    )
    path.write_bytes(out.getvalue())
    return path


def srgb(path: Path) -> list[float]:
    """Return the colour of a file as a screen of sRGB shows it."""
    picture = pyvips.Image.new_from_file(str(path))
    embedded = picture.get_typeof("icc-profile-data") != 0
    shown = picture.icc_transform("srgb", embedded=True) if embedded else picture
    return shown.numpy()[..., :3].reshape(-1, 3).mean(0).tolist()


@pytest.mark.parametrize("make", [png, avif, heic])
@pytest.mark.parametrize("out", ["out.png", "out.jpg", "out.webp", "out.tif", "out.avif"])
def test_display_p3_stays_right(tmp_path: Path, make: Maker, out: str) -> None:
    """The red of P3 above is that of sRGB; taken for sRGB it would be a paler one."""
    picture = read(make(tmp_path / f"in.{make.__name__}", 12, 13))
    assert picture.metadata.icc is not None
    name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(picture.metadata.icc)))
    assert "P3" in name
    write(tmp_path / out, picture, quality=100)
    assert srgb(tmp_path / out) == pytest.approx([255, 0, 0], abs=6)


@pytest.mark.parametrize("make", [png, avif, heic])
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_refused(tmp_path: Path, make: Maker, transfer: int, name: str) -> None:
    path = make(tmp_path / f"in.{make.__name__}", 9, transfer)
    with pytest.raises(InputError, match=rf"in\.\w+: its colours are of high dynamic range \({name}\)"):
        read(path)


@pytest.mark.parametrize("make", [png, avif])
@pytest.mark.parametrize("points", [(9, 1), (9, 14), (12, 8), (1, 8)])
def test_other_wide_colours_are_refused(tmp_path: Path, make: Maker, points: tuple[int, int]) -> None:
    """BT.2020, and light that is stored as it is: as sRGB they would be wrong, and nothing here converts them."""
    path = make(tmp_path / f"in.{make.__name__}", *points)
    with pytest.raises(InputError, match=f"primaries {points[0]}, transfer {points[1]} of H.273. are neither sRGB nor"):
        read(path)


@pytest.mark.parametrize("points", [(1, 13), (2, 2), (1, 1), (6, 6)])
def test_what_is_srgb_or_unknown_gets_no_profile(tmp_path: Path, points: tuple[int, int]) -> None:
    path = png(tmp_path / "a.png", *points)
    assert code_points(path.read_bytes()) == points
    assert read(path).metadata.icc is None


def test_grey_has_no_profile_of_colours(tmp_path: Path) -> None:
    assert read(png(tmp_path / "a.png", 12, 13, RED[..., 0])).metadata.icc is None


def test_files_that_name_nothing_or_end_early() -> None:
    assert profile_of(None) is None
    whole = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 4) + b"cICP" + bytes([12, 13, 0, 1]) + b"\0\0\0\0"
    assert code_points(whole) == (12, 13)
    assert [code_points(whole[:end]) for end in range(20)] == [None] * 20
    box = b"\0\0\0\x18ftypavif" + b"colrnclx" + struct.pack(">HH", 12, 13)
    assert code_points(box) == (12, 13)
    assert [code_points(box[:end]) for end in range(len(box))] == [None] * len(box)
