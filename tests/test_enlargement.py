"""Tests of what tells that a picture was enlarged before."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mzsr.errors import InputError
from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation, degrade
from mzsr.imaging.picture import Picture
from mzsr.inference.enlargement import detail, enlargement, shrunk
from mzsr.inference.upscale import Upscaler

METHODS = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]


def field(rows: int, columns: int) -> Image.Image:
    """Return a random picture with the spectrum of a sharp photograph, |f|^-2.5."""
    noise = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    radius = torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None, :]).clamp(min=1 / columns)
    picture = torch.fft.irfft2(torch.fft.rfft2(noise) * radius**-1.25, s=(rows, columns))
    return Image.fromarray((128 + 30 * picture / picture.std()).clamp(0, 255).round().byte().numpy())


def images(picture: Image.Image) -> torch.Tensor:
    array = torch.from_numpy(np.asarray(picture).copy()).float() / 255
    return array[None, None] if array.ndim == 2 else array.movedim(2, 0)[None]


def larger(picture: Image.Image, factor: float, method: Image.Resampling) -> Image.Image:
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1.3, 1.5, 2, 2.6, 4])
def test_the_factor_of_an_enlargement_is_found(factor: float, method: Image.Resampling) -> None:
    assert enlargement(images(larger(field(240, 320), factor, method))) == pytest.approx(factor, rel=0.02)


def test_a_picture_that_was_not_enlarged_is_not_said_to_be() -> None:
    assert enlargement(images(field(300, 400))) == 1.0


@pytest.mark.parametrize("variance", [0.5, 2.0, 8.0])
def test_a_blur_is_no_enlargement(variance: float) -> None:
    blurred = degrade(images(field(300, 400)), Degradation(kernels.gaussian((variance, variance), size=25), 1))
    assert enlargement((255 * blurred).round() / 255) == 1.0


@pytest.mark.parametrize("period", [3.9, 4.0, 4.2, 6.0])
def test_a_fabric_is_no_enlargement(period: float) -> None:
    """Its differences repeat, and a blur leaves nothing beyond; but it is in the picture itself."""
    blur = Degradation(kernels.gaussian((0.5, 0.5), size=9), 1)
    rows, columns = (2 * math.pi * torch.arange(float(side)) / period for side in (300, 400))
    threads = 1 + 0.15 * torch.cos(rows + 1)[:, None] + 0.15 * torch.cos(columns + 0.4)
    woven = degrade(degrade(images(field(300, 400)), blur) * threads, blur)
    assert enlargement((255 * woven).round().clamp(0, 255) / 255) == 1.0


def test_a_mosaic_is_no_enlargement() -> None:
    """A camera whose colours were filled in by their neighbours': red and blue lie on every other row and column."""
    blur = Degradation(kernels.gaussian((1.0, 1.0), size=9), 1)
    scene = degrade(images(field(300, 400)), blur)[0, 0]
    rows, columns = torch.arange(300)[:, None] % 2, torch.arange(400) % 2
    sites = torch.stack([(rows == 0) & (columns == 0), (rows + columns) == 1, (rows == 1) & (columns == 1)]).float()
    cross = torch.tensor([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]])
    square = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    taps = torch.stack([square, cross, square])[:, None]
    filled = torch.nn.functional.conv2d(scene * sites[None], taps, padding=1, groups=3)
    assert enlargement((255 * filled).round().clamp(0, 255) / 255) == 1.0


def test_stripes_and_margins_are_no_enlargement() -> None:
    column = torch.arange(300.0)
    stripes = 0.5 + 0.3 * torch.cos(2 * math.pi * column / 3) * torch.cos(2 * math.pi * column[:, None] / 3)
    assert enlargement(stripes[None, None]) == 1.0
    page = torch.ones(1, 1, 300, 300)
    page[..., 100:200, 100:200] = images(field(100, 100))
    assert enlargement(page) == 1.0


def test_blocks_of_jpeg_are_no_enlargement_and_do_not_hide_one() -> None:
    def packed(picture: Image.Image) -> torch.Tensor:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92)
        return images(Image.open(buffer))

    small = field(240, 320)
    assert enlargement(packed(small)) == 1.0
    assert enlargement(packed(larger(small, 2, Image.Resampling.BICUBIC))) == 2.0


def test_shrinking_takes_alpha_along() -> None:
    small = shrunk(Picture(torch.full((1, 3, 30, 45), 0.25), torch.ones(1, 1, 30, 45)), 1.5)
    assert small.pixels.shape == (1, 3, *detail((30, 45), 1.5)) == (1, 3, 20, 30)
    assert small.alpha is not None
    torch.testing.assert_close(small.alpha, torch.ones(1, 1, 20, 30))


@pytest.mark.parametrize("factor", [2, 3])
def test_pixels_that_were_only_repeated_come_back_as_they_were(factor: int) -> None:
    small = images(field(96, 128))
    large = small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    found = enlargement(large)
    assert found == factor
    assert torch.equal(shrunk(Picture(large), found).pixels, small)


def test_the_upscaler_works_from_the_detail_and_says_so(tiny_weights: Path) -> None:
    upscaler = Upscaler(tiny_weights, device="cpu")
    twice = np.asarray(larger(field(96, 128), 2, Image.Resampling.BICUBIC).convert("RGB"))
    result = upscaler(twice, scale=1.5, steps=0)
    assert np.asarray(result.image).shape == (288, 384, 3)
    assert result.lr.shape[2:] == (96, 128)
    assert result.degradation.scale == 3
    assert result.facts["detail_size"] == [96, 128]
    assert result.facts["input_size"] == [192, 256]
    assert "holds about 128x96 pixels of detail, though it has 256x192" in " ".join(result.facts["warnings"])
    assert upscaler(twice, scale=1.5, steps=0, enlarged="off").lr.shape[2:] == (192, 256)
    given = upscaler(twice, scale=2, kernel="gauss:2.0", steps=0)
    assert given.lr.shape[2:] == (192, 256)
    assert "leave out --kernel" in " ".join(given.facts["warnings"])


@pytest.mark.parametrize("name", ["Set5", "Kodak24"])
def test_no_alarm_on_pictures_as_they_are(data: Path, name: str) -> None:
    paths = sorted((data / "bench" / name).glob("*.png"))[:8]
    assert paths
    assert {path.name: enlargement(files.read(path).pixels) for path in paths} == {path.name: 1.0 for path in paths}


def test_a_small_picture_that_was_enlarged_is_not_refused(tiny_weights: Path) -> None:
    """It is brought back to a size that has no son, which nobody asked for; so no step is taken."""
    upscaler = Upscaler(tiny_weights, device="cpu")
    for before, factor, method in ((32, 4, Image.Resampling.NEAREST), (60, 4, Image.Resampling.BICUBIC)):
        picture = np.asarray(larger(field(before, before), factor, method).convert("RGB"))
        result = upscaler(picture, scale=2, steps=3)
        assert any("too small to learn from" in warning for warning in result.facts["warnings"])
        assert result.facts["detail_size"] == [before, before]
        assert np.asarray(result.image).shape == (2 * factor * before, 2 * factor * before, 3)
        assert result.facts["steps"] == 0
    small = np.zeros((20, 20), np.uint8)
    with pytest.raises(InputError, match="its son at x3"):  # here it is the user's own wish
        upscaler(small, scale=3, steps=1)
    assert upscaler(small, scale=3, mode="best", x8=False).facts["steps"] == 0


def test_what_alpha_hides_is_not_seen_where_the_picture_is_shrunk_first(tiny_weights: Path) -> None:
    upscaler = Upscaler(tiny_weights, device="cpu")
    colours = np.asarray(larger(field(96, 128), 2, Image.Resampling.BICUBIC).convert("RGB"))
    alpha = np.where(np.indices((192, 256))[1] > 120, 255, 0).astype(np.uint8)[..., None]
    results = []
    for hidden in (0, 255):
        given = np.concatenate([np.where(alpha > 0, colours, np.uint8(hidden)), alpha], 2)
        results.append(upscaler(given, scale=1.5, steps=0))
    assert [result.facts["detail_size"] for result in results] == [[96, 128]] * 2
    np.testing.assert_array_equal(results[0].image, results[1].image)
