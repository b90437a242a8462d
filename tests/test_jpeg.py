"""Tests of JPEG without a file: Pillow as the oracle, pictures on which it is exact, theorems of the block grid."""

import io
import math

import jaxtyping
import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging.jpeg import Chroma, Jpeg, compress, dct_matrix, tables

SAMPLINGS: tuple[Chroma, ...] = ("4:4:4", "4:2:2", "4:2:0")  # as Pillow numbers them


def saved(image: Tensor, quality: int, subsampling: Chroma = "4:2:0") -> JpegImagePlugin.JpegImageFile:
    """Open what Pillow makes of (C, H, W) in [0, 1]."""
    codes = image.mul(255).round().byte().movedim(0, -1).squeeze(-1).numpy()
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "JPEG", quality=quality, subsampling=SAMPLINGS.index(subsampling))
    file = Image.open(buffer)
    assert isinstance(file, JpegImagePlugin.JpegImageFile)
    return file


def through_a_file(image: Tensor, quality: int, subsampling: Chroma = "4:2:0") -> Tensor:
    """Return (1, C, H, W) in codes."""
    codes = torch.from_numpy(np.array(saved(image, quality, subsampling)))
    return codes.reshape(*image.shape[1:], -1).movedim(-1, 0)[None].float()


def codes(images: Tensor) -> Tensor:
    return images.mul(255).round()


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("quality", [1, 2, 7, 25, 49, 50, 51, 75, 90, 99, 100])
def test_tables_are_those_of_a_file(quality: int) -> None:
    written = saved(torch.zeros(3, 8, 8), quality).quantization
    assert tables(quality).reshape(2, 64).tolist() == [written[0], written[1]]


def test_a_quality_for_each_image_is_one_by_one(photo: Tensor) -> None:
    qualities = [10, 50, 95]
    each = tables(torch.tensor(qualities).float())
    assert torch.equal(each, torch.cat([tables(q) for q in qualities]))
    images = torch.cat([photo, photo.flip(2), photo.flip(3)])
    expected = [compress(image[None], Jpeg(tables(q))) for image, q in zip(images, qualities, strict=True)]
    assert torch.equal(compress(images, Jpeg(each)), torch.cat(expected))


@pytest.mark.parametrize("subsampling", SAMPLINGS)
@pytest.mark.parametrize("quality", [10, 50, 75, 90, 95, 100])
@pytest.mark.parametrize(("height", "width"), [(60, 76), (59, 75), (33, 16)])
def test_equals_a_file(photo: Tensor, subsampling: Chroma, quality: int, height: int, width: int) -> None:
    """Nine values in ten to the last code; libjpeg's cosines have 13 bits, so a coefficient may round otherwise.

    Measured with libjpeg-turbo 3.2: 95.1 % equal at worst, mean 0.10 codes and 1.6 % more than two codes off.
    """
    image = photo[:, :, :height, :width]
    found = codes(compress(image, Jpeg(tables(quality), chroma=subsampling)))
    difference = (found - through_a_file(image[0], quality, subsampling)).abs()
    assert (difference == 0).float().mean() > 0.93
    assert difference.mean() < 0.15
    assert (difference > 2).float().mean() < 0.025


@pytest.mark.parametrize("subsampling", SAMPLINGS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 5), (7, 3), (5, 4), (17, 31), (18, 34)])
def test_small_and_odd_sizes_equal_a_file(photo: Tensor, subsampling: Chroma, height: int, width: int) -> None:
    """What is repeated past the edge, and chroma too narrow for the triangle, are libjpeg's too."""
    image = photo[:, :, 20 : 20 + height, 40 : 40 + width]
    for quality in (30, 75):
        found = codes(compress(image, Jpeg(tables(quality), chroma=subsampling)))
        difference = (found - through_a_file(image[0], quality, subsampling)).abs()
        assert difference.max() <= 2
        assert difference.mean() < 0.05


@pytest.mark.parametrize("subsampling", SAMPLINGS)
@pytest.mark.parametrize("quality", [5, 30, 50, 75, 95])
def test_equals_a_file_exactly_where_cosines_do_not_matter(subsampling: Chroma, quality: int) -> None:
    """MCUs of one colour have means alone: colours, ties, both roundings and the enlarging of chroma are exact."""
    colours = draw(1, 3, 5, 6)
    image = colours.repeat_interleave(16, 2).repeat_interleave(16, 3)[:, :, :-3, :-5]
    found = codes(compress(image, Jpeg(tables(quality), chroma=subsampling)))
    assert torch.equal(found, through_a_file(image[0], quality, subsampling))


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 95, 100])
def test_frequency_four_is_exact_too(quality: int) -> None:
    """Its cosines are all ±√½, so grey blocks of the pattern + - - + + - - + in rows and columns equal a file's."""
    pattern = torch.tensor([[1.0] * 8, [1, -1, -1, 1, 1, -1, -1, 1]])
    weights = (draw(6, 7, 2, 2) * 60 - 30).round()
    blocks = torch.einsum("mnuv,ui,vj->minj", weights, pattern, pattern).reshape(1, 1, 48, 56)
    image = (128 + blocks).clamp(0, 255) / 255
    found = codes(compress(image, Jpeg(tables(quality))))
    assert torch.equal(found, through_a_file(image[0], quality))


def test_a_grey_picture_is_its_luma(photo: Tensor) -> None:
    """As a file of one channel, and as three equal channels, whatever the subsampling."""
    grey = photo[:, 1:2]
    found = compress(grey, Jpeg(tables(60)))
    difference = (codes(found) - through_a_file(grey[0], 60)).abs()
    assert (difference == 0).float().mean() > 0.98
    for subsampling in SAMPLINGS:
        three = compress(grey.expand(-1, 3, -1, -1), Jpeg(tables(60), chroma=subsampling))
        assert torch.equal(three, found.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("subsampling", SAMPLINGS)
@pytest.mark.parametrize(("row", "column"), [(3, 5), (8, 8), (16, 1), (13, 9), (0, 7)])
def test_a_crop_knows_its_grid(photo: Tensor, subsampling: Chroma, row: int, column: int) -> None:
    """Compressing a crop at its offset is cropping the compressed picture, away from the cut."""
    table = tables(40)
    whole = compress(photo, Jpeg(table, chroma=subsampling))
    cut = photo[:, :, row:, column:]
    inside = (..., slice(18, None), slice(18, None))  # past the cut blocks, and one sample of chroma
    expected = whole[:, :, row:, column:][inside]
    for turns in (0, 16, -32):  # the grid repeats
        found = compress(cut, Jpeg(table, chroma=subsampling, offset=(row + turns, column + turns)))
        assert torch.equal(found[inside], expected)
    elsewhere = compress(cut, Jpeg(table, chroma=subsampling, offset=(row + 1, column)))
    assert (elsewhere[inside] - expected).abs().mean() > 1 / 255


@pytest.mark.parametrize("quality", [30, 75, 90])
def test_the_second_time_loses_little(photo: Tensor, quality: int) -> None:
    """Coefficients on their steps stay there, but for 8 bits and clamping in between; a shifted grid loses anew."""
    once = compress(photo, Jpeg(tables(quality), chroma="4:4:4"))
    lost = (once - photo).abs().mean()
    again = compress(once, Jpeg(tables(quality), chroma="4:4:4"))
    assert (again - once).abs().mean() < 0.06 * lost
    shifted = compress(once, Jpeg(tables(quality), chroma="4:4:4", offset=(4, 4)))
    assert (shifted - once).abs().mean() > 0.25 * lost


def test_quality_100_is_nearly_the_picture() -> None:
    """Steps of 1 leave the roundings to 8 bits: of Y'CbCr, of the coefficients, of the samples. Noise is the worst."""
    image = codes(draw(2, 3, 40, 48)) / 255
    difference = codes(compress(image, Jpeg(tables(100), chroma="4:4:4")) - image).abs()
    assert difference.max() <= 4
    assert difference.mean() < 0.75


@pytest.mark.parametrize("channels", [1, 3])
def test_a_constant_picture_stays_constant(channels: int) -> None:
    """Its mean is rounded to step / 8 codes, and nothing else happens to it: at most half of that, and 8 bits."""
    for quality in (5, 50, 90):
        table = tables(quality)
        images = torch.arange(0, 256, 5).reshape(-1, 1, 1, 1).expand(-1, channels, 19, 21) / 255
        found = compress(images, Jpeg(table))
        assert torch.equal(found, found[:, :, :1, :1].expand_as(found))
        assert codes(found - images).abs().max() <= math.floor(table[0, 0, 0, 0].item() / 16 + 0.5)
    assert torch.equal(compress(images, Jpeg(tables(100))), images)


def test_dct_matrix_is_orthonormal_and_scipys() -> None:
    matrix = dct_matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-14)
    theirs = np.asarray(scipy.fft.dct(np.eye(8), axis=0, norm="ortho"))
    np.testing.assert_allclose(matrix.numpy(), theirs, atol=1e-14)


def test_precision_layout_and_gradients_do_not_matter(photo: Tensor) -> None:
    table = tables(80)
    expected = compress(photo, Jpeg(table))
    assert torch.equal(compress(photo.contiguous(memory_format=torch.channels_last), Jpeg(table)), expected)
    assert torch.equal(codes(compress(codes(photo).double() / 255, Jpeg(table.double()))), codes(expected).double())
    with torch.autocast("cpu", torch.bfloat16):
        found = compress(photo.clone().requires_grad_(), Jpeg(table))
    assert torch.equal(found, expected)
    assert not found.requires_grad


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_same(photo: Tensor) -> None:
    """Sums in another order may tip a rounding, seldom."""
    found = compress(photo.cuda(), Jpeg(tables(torch.tensor([80.0], device="cuda")))).cpu()
    assert (found == compress(photo, Jpeg(tables(80)))).float().mean() > 0.99


@pytest.mark.parametrize("quality", [0, 101, -5, torch.tensor([50.0, 62.5]), torch.tensor([math.nan])])
def test_bad_quality(quality: int | Tensor) -> None:
    with pytest.raises(InputError, match=r"JPEG quality is (0|101|-5|62\.5|nan); it must be a whole number from 1 to"):
        tables(quality)


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as everywhere but in these tests
    with pytest.raises(InputError, match=r"images have 4 channels; JPEG takes 1 \(grey\) or 3 \(RGB\)"):
        compress(draw(1, 4, 8, 8), Jpeg(tables(50)))
    with pytest.raises(InputError, match=r"subsampling is '4:1:1'; .* must be one of 4:4:4, 4:2:2, 4:2:0"):
        compress(draw(1, 3, 8, 8), Jpeg(tables(50), chroma="4:1:1"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="tables are 3x2x8x8 for 2 images; give 1x2x8x8 or 2x2x8x8"):
        compress(draw(2, 3, 8, 8), Jpeg(tables(50).expand(3, -1, -1, -1)))
    with pytest.raises(InputError, match="tables are 2x64 for 2 images"):
        compress(draw(2, 3, 8, 8), Jpeg(tables(50).reshape(2, 64)))
