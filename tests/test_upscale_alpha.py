"""Tests of transparency in the Upscaler: alpha is made as the picture is, and what it hides is not seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import rgb8
from torch import Tensor

from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade
from mzsr.imaging.picture import Picture, from_array, to_array
from mzsr.inference.result import enlarge
from mzsr.inference.upscale import Upscaler


@pytest.mark.parametrize("steps", [0, 1])
def test_what_alpha_hides_is_not_seen(tiny_upscaler: Upscaler, photo: Tensor, steps: int) -> None:
    """The same picture with black, white or green where it is transparent gives the same bytes: there is no halo."""
    colours = rgb8(photo)
    alpha = np.where(np.indices((40, 48))[1] > 20, 255, 0).astype(np.uint8)[..., None]
    results = []
    for hidden in ((0, 0, 0), (255, 255, 255), (0, 255, 0)):
        given = np.concatenate([np.where(alpha > 0, colours, np.array(hidden, np.uint8)), alpha], 2)
        results.append(tiny_upscaler(given, scale=2, kernel="bicubic", steps=steps).image)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_alpha_is_sharpened_as_the_picture_is(photo: Tensor) -> None:
    """A cut-out that was blurred and shrunk: its edge comes back by the network, not as soft as by bicubic."""
    row, column = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    shape = (((row - 48) ** 2 + (column - 48) ** 2 < 900) & (column % 24 > 6)).float()[None, None]
    d = Degradation(kernels.gaussian((2.0, 2.0)), 2)
    small = degrade(torch.cat([shape.expand(-1, 3, -1, -1), shape], 1), d).clamp(0, 1)
    upscaler = Upscaler("mzsr", device="cpu")
    given = from_array((small[0].movedim(0, 2).numpy() * 255).round().astype(np.uint8))
    array = to_array(replace(given, pixels=torch.full_like(given.pixels, 0.5)))
    made = upscaler(array, kernel=d.kernel, noise=0, steps=0).picture.alpha
    assert made is not None
    assert given.alpha is not None
    soft = enlarge(given.alpha, d, (96, 96))
    errors = [float((each - shape).square().mean()) for each in (made, soft)]
    assert errors[0] < 0.25 * errors[1]
    plain = upscaler(array[..., :3], kernel=d.kernel, noise=0, steps=0).picture
    assert plain.alpha is None


def test_a_mask_that_is_sharper_than_its_photograph_gets_no_rings(photo: Tensor) -> None:
    """It was drawn over a blurred picture: what is opaque, or clear, stays so but for two small pixels at the edge."""
    row, column = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    distance = ((row - 24) ** 2 + (column - 24) ** 2).sqrt()
    mask = (15.5 - distance).clamp(0, 1)
    array = to_array(Picture(photo[:, :, :48, :48], mask[None, None]))
    made = Upscaler("mzsr", device="cpu")(array, kernel="gauss:3", noise=0, steps=0).picture.alpha
    assert made is not None
    far = distance.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert float(made[0, 0][far < 12].min()) == 1
    assert float(made[0, 0][far > 19].max()) == 0


def test_alpha_goes_the_way_of_the_picture(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    """An edge of alpha over an edge of the picture still lies over it."""
    for kernel in ("bicubic", "gauss:2.0", "auto"):
        disk = ((torch.arange(40)[:, None] - 17) ** 2 + (torch.arange(48) - 25) ** 2 < 10**2).numpy()
        plane = np.where(disk, 200, 20).astype(np.uint8)
        out = tiny_upscaler(np.stack([plane] * 4, 2), scale=2, kernel=kernel, steps=0).image
        assert isinstance(out, np.ndarray)
        colour, alpha = (out[..., channel] > 110 for channel in (0, 3))
        rows, columns = (np.indices(colour.shape)[axis] for axis in (0, 1))
        for axis in (rows, columns):
            assert axis[colour].mean() == pytest.approx(axis[alpha].mean(), abs=0.05)
