"""Tests of PSNR and SSIM: closed forms, scikit-image as the oracle, protocols, bad input."""

import math

import jaxtyping
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging import kernels, metrics
from mzsr.imaging.degrade import Degradation, linear
from mzsr.imaging.metrics import PROTOCOLS, psnr, reprojection_psnr, ssim


def pair(b: int = 2, h: int = 37, w: int = 41) -> tuple[Tensor, Tensor]:
    """Draw images already on 8-bit levels, and a noisy copy."""
    g = torch.Generator().manual_seed(3)
    truth = torch.nn.functional.interpolate(torch.rand(b, 3, 8, 8, generator=g), (h, w), mode="bilinear")
    truth = truth.mul(255).round().div(255)
    noisy = (truth + 0.05 * torch.randn(truth.shape, generator=g)).clamp(0, 1).mul(255).round().div(255)
    return noisy, truth


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_identical_images(protocol: str) -> None:
    """Identical images have infinite PSNR and an SSIM of one."""
    image, _ = pair()
    assert psnr(image, image, protocol=protocol, scale=2).tolist() == [math.inf, math.inf]
    torch.testing.assert_close(ssim(image, image, protocol=protocol, scale=2), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("offset", [1, 7, 100])
def test_psnr_of_an_offset(offset: int) -> None:
    """An error of n codes everywhere is 20 log10(255 / n) dB in RGB, whatever the border."""
    truth = torch.zeros(1, 3, 40, 40)
    for protocol in ("rgb", "ntire"):
        value = psnr(truth + offset / 255, truth, protocol=protocol, scale=3).item()
        assert value == pytest.approx(20 * math.log10(255 / offset), abs=1e-9)


def test_psnr_of_luma() -> None:
    """White against black is 219 codes of luma, rounded or not; half a grey step shows the rounding of Y."""
    black, white = torch.zeros(1, 3, 20, 20), torch.ones(1, 3, 20, 20)
    for protocol in ("mzsr", "edsr"):
        assert psnr(white, black, protocol=protocol, scale=2).item() == pytest.approx(20 * math.log10(255 / 219))
    one = black + 1 / 255  # luma 16.859, rounded 17
    assert psnr(one, black, protocol="mzsr", scale=2).item() == pytest.approx(20 * math.log10(255))
    assert psnr(one, black, protocol="edsr", scale=2).item() == pytest.approx(20 * math.log10(255 * 255 / 219))


def test_psnr_equals_the_formula_of_edsr() -> None:
    """The protocol edsr equals the formula of the EDSR repository, whose weights are written over 256."""
    result, truth = pair()
    weights = torch.tensor([65.738, 129.057, 25.064], dtype=torch.float64).reshape(3, 1, 1) / 256
    error = ((result - truth).double() * weights).sum(1)[:, 2:-2, 2:-2].square().mean((1, 2))
    torch.testing.assert_close(psnr(result, truth, protocol="edsr", scale=2), -10 * error.log10(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("protocol", "border"), [("mzsr", 3), ("edsr", 3), ("rgb", 3), ("ntire", 9)])
def test_border_is_cut_off(protocol: str, border: int) -> None:
    """Damage within the border is not seen; one pixel further in it is. A broken scale rounds the border up."""
    clean = torch.zeros(1, 3, 40, 40)
    outside, inside = clean.clone(), clean.clone()
    outside[..., border - 1, :] = 1
    outside[..., :, -border] = 1
    inside[..., border, border] = 1
    for scale in (3, 2.2):
        assert psnr(outside, clean, protocol=protocol, scale=scale).item() == math.inf
        assert psnr(inside, clean, protocol=protocol, scale=scale).item() < 100


def test_rounds_to_eight_bits_and_clamps() -> None:
    """Differences below half a code and values outside [0, 1] do not count."""
    truth = torch.zeros(1, 3, 20, 20)
    assert psnr(truth + 0.49 / 255, truth, scale=2).item() == math.inf
    assert psnr(truth - 0.3, truth, scale=2).item() == math.inf


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ssim_equals_scikit_image(protocol: str) -> None:
    """SSIM equals scikit-image's with the settings of the paper."""
    result, truth = pair()
    rules = PROTOCOLS[protocol]
    cut = rules.shave(2)

    def codes(image: Tensor) -> np.ndarray:
        pixels = image.double().mul(255).round().numpy().transpose(1, 2, 0)
        if rules.channels == "y":
            pixels = (pixels @ np.array([65.481, 128.553, 24.966]) / 255 + 16)[..., None]
            pixels = np.round(pixels) if rules.round_y else pixels
        return pixels[cut:-cut, cut:-cut]

    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = [
        structural_similarity(codes(a), codes(b), channel_axis=2, **settings)
        for a, b in zip(result, truth, strict=True)
    ]
    np.testing.assert_allclose(ssim(result, truth, protocol=protocol, scale=2).numpy(), expected, atol=1e-9)


def test_a_batch_is_its_images() -> None:
    """A batch gives the numbers of its images one by one."""
    result, truth = pair(b=3)
    for metric in (psnr, ssim):
        alone = torch.cat([metric(r[None], t[None], scale=2) for r, t in zip(result, truth, strict=True)])
        torch.testing.assert_close(metric(result, truth, scale=2), alone, atol=1e-12, rtol=0)


def test_grey_is_its_rgb_copy() -> None:
    """A grey image scores as its RGB copy does, under every protocol."""
    result, truth = (x[:, :1] for x in pair())
    for protocol in PROTOCOLS:
        for metric in (psnr, ssim):
            rgb = metric(result.expand(-1, 3, -1, -1), truth.expand(-1, 3, -1, -1), protocol=protocol, scale=2)
            torch.testing.assert_close(metric(result, truth, protocol=protocol, scale=2), rgb, atol=1e-12, rtol=0)


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each misuse gets one line that names what was received."""
    image = torch.zeros(1, 3, 20, 20)
    with pytest.raises(InputError, match="did you mean 'mzsr'"):
        psnr(image, image, protocol="mszr", scale=2)
    with pytest.raises(InputError, match="1x3x20x20 and truth 1x3x20x21"):
        psnr(image, torch.zeros(1, 3, 20, 21), scale=2)
    with pytest.raises(InputError, match=r"images are 16x20; .* needs more than 16"):
        psnr(image[..., :16], image[..., :16], protocol="ntire", scale=2)
    with pytest.raises(InputError, match=r"keep 10x16 pixels .* at least 11x11"):
        ssim(image[..., :14], image[..., :14], scale=2)
    with pytest.raises(InputError, match="scale is 0"):
        psnr(image, image, scale=0)
    with pytest.raises(InputError, match="NaN"):
        psnr(image * math.nan, image, scale=2)
    bright = torch.full((1, 3, 20, 20), 200, dtype=torch.uint8)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for strange in (bright, bright.float()):
        for both in ((strange, strange), (strange, image), (image, strange)):
            for metric in (psnr, ssim):
                with pytest.raises(InputError, match=r"values up to 200; floats in .0, 1. are required"):
                    metric(*both, scale=2)
    with pytest.raises(InputError, match="1x4x20x20; batch"):
        psnr(torch.zeros(1, 4, 20, 20), torch.zeros(1, 4, 20, 20), scale=2)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("kernel", [kernels.delta(), kernels.gaussian((9.0, 2.0), 0.4, size=31)], ids=["delta", "wide"])
def test_reprojection_in_bands_is_that_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator, kernel: Tensor, scale: int
) -> None:
    """Bands of 4 rows, shorter than the kernel, and a last one of a single row."""
    monkeypatch.setattr(metrics, "_BAND", 4)
    d = Degradation(kernel, scale)
    hr, lr = (torch.rand(1, 3, 21 * side, 16 * side, generator=generator) for side in (scale, 1))
    expected = -10 * math.log10(float((linear(hr, d) - lr).double().square().mean()))
    assert reprojection_psnr(hr, lr, d) == pytest.approx(expected, abs=1e-5)
    assert reprojection_psnr(hr, linear(hr, d), d) > 120  # bands may differ from the whole in the last bit
