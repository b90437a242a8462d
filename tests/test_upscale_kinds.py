"""Tests of every kind of picture and kernel that the Upscaler takes: it comes out as it went in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measures import psnr
from PIL import Image
from samples import BLUR, rgb8
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.degrade import degrade, sampled
from mzsr.imaging.picture import Picture
from mzsr.inference import estimate as estimating
from mzsr.inference.upscale import Upscaler

ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": lambda a: a,
    "rgba": lambda a: np.concatenate([a, a[..., :1]], 2),
    "grey": lambda a: a[..., 0],
    "grey with an axis": lambda a: a[..., :1],
    "grey with alpha": lambda a: a[..., :2],
    "uint16": lambda a: a.astype(np.uint16) * 257,
    "grey uint16": lambda a: a[..., 0].astype(np.uint16) * 257,
    "float32": lambda a: a.astype(np.float32) / 255,
    "float64": lambda a: a / 255,
}


@pytest.mark.parametrize("convert", ARRAYS.values(), ids=ARRAYS.keys())
def test_an_array_comes_out_as_it_went_in(tiny_upscaler: Upscaler, photo: Tensor, convert: Callable) -> None:
    given = convert(rgb8(photo))
    out = tiny_upscaler(given, scale=2, kernel="bicubic", steps=0).image
    assert isinstance(out, np.ndarray)
    assert out.dtype == given.dtype
    assert out.shape == (80, 96, *given.shape[2:])
    peak = 1 if given.dtype.kind == "f" else np.iinfo(given.dtype).max
    shrunk = out.reshape(40, 2, 48, 2, -1).mean((1, 3)) / peak
    assert np.abs(shrunk - given.reshape(40, 48, -1) / peak).mean() < 0.01


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), *((mode, mode) for mode in ("L", "LA", "RGB", "RGBA", "I;16"))],
)
def test_a_pil_image_comes_out_as_one(tiny_upscaler: Upscaler, photo: Tensor, mode: str, expected: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(rgb8(photo)[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(rgb8(photo)).convert(mode)
    out = tiny_upscaler(image, scale=2, kernel="bicubic", steps=0).image
    assert isinstance(out, Image.Image)
    assert (out.mode, out.size) == (expected, (96, 80))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("colors", [1, 3])
def test_a_tensor_comes_out_as_one(tiny_upscaler: Upscaler, photo: Tensor, dtype: torch.dtype, colors: int) -> None:
    given = photo[:, :colors].to(dtype)
    out = tiny_upscaler(given, scale=2, kernel=BLUR, steps=0).image
    assert isinstance(out, Tensor)
    assert out.dtype == dtype
    assert out.shape == (1, colors, 120, 152)


def test_a_file_keeps_what_it_said(tiny_upscaler: Upscaler, photo: Tensor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0131], exif[0x0112] = "a camera", 6  # Software; Orientation: turn clockwise
    Image.fromarray(rgb8(photo)).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300), quality=95)
    result = tiny_upscaler(tmp_path / "a.jpg", scale=1.5, kernel="bicubic", steps=0)
    result.save(tmp_path / "b.jpg")
    assert isinstance(result.image, Image.Image)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (60, 72)  # upright: the sides have changed places
        assert image.getexif()[0x0131] == "a camera"
        assert image.getexif()[0x0112] == 1
        assert image.info["dpi"] == (300, 300)
    assert set(result.seconds) == {"read", "estimate", "adapt", "enhance", "write"}


def test_sixteen_bits_stay_sixteen(tiny_upscaler: Upscaler, tmp_path: Path) -> None:
    ramp = torch.linspace(0.2, 0.3, 64 * 64).reshape(1, 1, 64, 64)
    files.write(tmp_path / "a.png", Picture(ramp, bits=16))
    tiny_upscaler(tmp_path / "a.png", scale=2, kernel="bicubic", steps=0).save(tmp_path / "b.png")
    out = files.read(tmp_path / "b.png")
    assert out.bits == 16
    assert out.pixels.unique().numel() > 1000  # 26 levels in 8 bits


def test_what_a_file_leaves_out_is_said_of_that_file(tiny_upscaler: Upscaler, photo: Tensor, tmp_path: Path) -> None:
    array = np.concatenate([rgb8(photo), rgb8(photo)[..., :1]], 2)
    result = tiny_upscaler(array, scale=2, kernel="bicubic", steps=0)
    for name, lost in (("a.jpg", 1), ("b.png", 0), ("c.jpg", 1)):
        result.save(tmp_path / name)
        assert sum("transparency" in words for words in result.record()["warnings"]) == lost


def test_a_kernel_may_be_an_array_or_a_file(tiny_upscaler: Upscaler, photo: Tensor, tmp_path: Path) -> None:
    kernel_files.save(tmp_path / "k.mat", BLUR)
    options: dict[str, Any] = {"scale": 2, "noise": 0.0, "steps": 0}
    expected = tiny_upscaler(photo, kernel=BLUR, **options).picture.pixels
    for kernel in (BLUR.numpy(), BLUR.double(), 7 * BLUR, tmp_path / "k.mat", str(tmp_path / "k.mat"), "gauss:2.0"):
        assert torch.allclose(tiny_upscaler(photo, kernel=kernel, **options).picture.pixels, expected, atol=1e-5)


def test_kernels_as_arrays_come(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    """Turned round without a copy, and in the byte order of another machine."""
    taps = np.arange(1.0, 10.0).reshape(3, 3)
    turned = tiny_upscaler(photo, scale=2, kernel=taps[::-1, ::-1], steps=0).degradation.kernel
    assert torch.allclose(turned, torch.arange(9.0, 0.0, -1.0).reshape(3, 3) / 45)
    foreign = tiny_upscaler(photo, scale=2, kernel=taps.astype(">f8"), steps=0).degradation.kernel
    assert torch.equal(foreign, turned.flip(0, 1))


def test_a_picture_that_is_cut_short_is_one_line(tiny_upscaler: Upscaler, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with Image.open(tmp_path / "b.png") as short, pytest.raises(InputError, match="the picture cannot be decoded"):
        tiny_upscaler(short, scale=2, steps=0)


@pytest.mark.parametrize("noisy", [False, True])
def test_grey_that_is_kept_as_three_channels_stays_grey(photo: Tensor, noisy: bool) -> None:
    """Most black-and-white photographs are; it is the same picture as one of a channel, and so is the estimate."""
    grey = photo[:, 1:2]
    if noisy:
        grey = grey + 5 / 255 * torch.randn(grey.shape, generator=torch.Generator().manual_seed(1))
    grey = (grey * 255).round().clamp(0, 255) / 255
    upscaler = Upscaler("mzsr", device="cpu")
    result, alone = (upscaler(image, scale=2) for image in (grey.expand(-1, 3, -1, -1), grey))
    assert (result.picture.pixels == result.picture.pixels[:, :1]).all()
    torch.testing.assert_close(result.picture.pixels[:, :1], alone.picture.pixels, rtol=0, atol=1e-6)
    assert result.estimate is not None
    assert alone.estimate is not None
    assert (result.estimate.noise, result.estimate.width) == (alone.estimate.noise, alone.estimate.width)


def test_a_blur_that_does_not_lead_back_to_the_picture_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart of rings has no spectrum of a photograph: the blur that it tells is wide, its result another picture."""
    side = torch.linspace(-1, 1, 192)
    hr = (0.5 + 0.5 * torch.cos(60 * (side[:, None] ** 2 + side**2)))[None, None].expand(1, 3, -1, -1)
    d = sampled(kernels.gaussian((0.5, 0.5)), 2, "centre")
    lr = (degrade(hr, d).clamp(0, 1) * 255).round() / 255
    upscaler = Upscaler()
    result = upscaler(lr, scale=2, steps=0)
    assert result.estimate is not None
    assert result.estimate.fallback
    assert result.estimate.confidence == 0
    assert result.facts["warnings"] == [result.estimate.note]
    assert "no picture becomes this one that way" in result.estimate.note
    monkeypatch.setattr(estimating, "_refuted", lambda lr, d: False)
    believed = estimating.estimate(lr, 2)
    assert believed.variances[1] > 4
    wide = upscaler(lr, scale=2, steps=0, kernel=believed.degradation.kernel)
    right, wrong = (psnr(found.picture.pixels[..., 8:-8, 8:-8], hr[..., 8:-8, 8:-8]) for found in (result, wide))
    assert right > wrong + 5
