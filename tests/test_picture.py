"""Tests of Picture and its ways in and out of numpy and pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from samples import chunk

from mzsr.errors import InputError
from mzsr.imaging.picture import Picture, from_array, from_pil, to_array, to_pil


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_whole_number_survives(dtype: type) -> None:
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
    np.testing.assert_array_equal(to_array(from_array(every)), every)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 2), (3, 5, 3), (3, 5, 4)])
def test_the_kind_given_is_the_kind_returned(dtype: type, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    array = random.random(shape).astype(dtype) if dtype(0.5) else random.integers(0, 255, shape).astype(dtype)
    picture = from_array(array)
    assert (picture.alpha is not None) == (len(shape) == 3 and shape[2] in (2, 4))
    back = to_array(picture, like=array)
    assert back.dtype == array.dtype
    np.testing.assert_allclose(back, array, atol=1e-7)


def test_channels_go_where_they_belong() -> None:
    picture = from_array(np.array([[[10, 20, 30, 40]]], np.uint8))
    assert picture.pixels.mul(255).round().flatten().tolist() == [10, 20, 30]
    assert picture.alpha is not None
    assert picture.alpha.mul(255).round().item() == 40


def test_rounding_is_to_the_nearest_and_clamped() -> None:
    pixels = torch.tensor([-0.2, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.7]).reshape(1, 1, 1, 5)
    assert to_array(Picture(pixels)).tolist() == [[0, 0, 1, 255, 255]]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow_round_trip(mode: str) -> None:
    channels = len(mode)
    array = np.random.default_rng(0).integers(0, 256, (4, 6, channels), dtype=np.uint8)
    image = Image.fromarray(array[..., 0] if channels == 1 else array)
    back = to_pil(from_pil(image))
    assert back.mode == mode
    assert back.tobytes() == image.tobytes()


def test_pillow_sixteen_bit_grey() -> None:
    array = np.array([[0, 1, 257, 65535]], np.uint16)
    picture = from_pil(Image.fromarray(array))
    assert picture.bits == 16
    np.testing.assert_array_equal(np.asarray(to_pil(picture)), array)


@pytest.mark.parametrize("mode", ["1", "P", "PA", "La", "RGBa", "RGBX", "YCbCr", "HSV"])
def test_other_modes_become_plain(mode: str) -> None:
    """Pillow's own conversion is the oracle."""
    plain = {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    colors = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    image = Image.fromarray(colors).convert({"1": "L", "La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, "RGB"))
    image = image.convert(mode)
    np.testing.assert_array_equal(to_array(from_pil(image)), np.asarray(image.convert(plain)))


def test_pillow_keeps_the_profile() -> None:
    image = Image.new("RGB", (2, 2))
    image.info["icc_profile"] = b"profile"
    assert to_pil(from_pil(image)).info["icc_profile"] == b"profile"


def test_floats_that_overshoot_are_cut_off() -> None:
    """As `degrade` makes them, with noise for instance."""
    picture = from_array(np.array([[-0.04, 0.5, 1.2]]))
    assert picture.pixels.flatten().tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.uint8), "array is"),
        (np.zeros((2, 2, 5), np.uint8), "channels last"),
        (np.zeros((0, 2), np.uint8), "array is"),
        (np.zeros((2, 2), np.int32), "int32"),
        (np.full((2, 2), 255.0), "divide by 255"),
        (np.full((2, 2), np.nan), "0 … 1"),
    ],
)
def test_bad_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_array(array)


def test_bad_pictures() -> None:
    with pytest.raises(InputError, match="bits are 12"):
        Picture(torch.zeros(1, 3, 2, 2), bits=12)
    with pytest.raises(InputError, match="one image at a time"):
        Picture(torch.zeros(1, 2, 2, 2))
    with pytest.raises(InputError, match="NaN"):
        to_array(Picture(torch.full((1, 1, 2, 2), float("nan"))))
    with pytest.raises(InputError, match="mode is F"):
        from_pil(Image.new("F", (2, 2)))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_rounding_in_bands_loses_no_row(bits: int, channels: int) -> None:
    """Two bands and a third of one row; every whole number comes back."""
    peak = 2**bits - 1
    rows = (np.arange(513 * 3 * channels).reshape(513, 3, channels) * 97 % (peak + 1)).astype(f"u{bits // 8}")
    np.testing.assert_array_equal(to_array(from_array(rows)).reshape(rows.shape), rows)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_that_a_png_calls_transparent_is_transparent(depth: int) -> None:
    """Pillow spreads pixels of few bits to eight, and not the key."""
    levels = np.arange(2 ** min(depth, 4)) * (4096 if depth == 16 else 16 if depth == 8 else 1)
    if depth >= 8:
        row = levels.astype(">u2" if depth == 16 else np.uint8).tobytes()
    else:
        bits = "".join(f"{level:0{depth}b}" for level in levels)
        row = int(bits.ljust(-len(bits) // 8 * -8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    key = int(levels[1])
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", len(levels), 1, depth, 0, 0, 0, 0))
    data += chunk(b"tRNS", struct.pack(">H", key)) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    picture = from_pil(Image.open(io.BytesIO(data)))
    assert picture.alpha is not None
    assert picture.alpha.flatten().tolist() == [float(level != key) for level in levels]
