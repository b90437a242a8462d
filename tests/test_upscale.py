"""Tests of the Upscaler: every kind of picture, size and kernel; where things end up; what is refused."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import mzsr
from mzsr.errors import InputError
from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.degrade import Degradation, degrade, linear, phase
from mzsr.imaging.picture import Picture, from_array, to_array
from mzsr.imaging.resize import resize
from mzsr.inference import result as results
from mzsr.inference.result import enlarge
from mzsr.inference.upscale import Upscaler
from mzsr.learning.weights import load_weights, save_weights

BLUR = kernels.gaussian((2.0, 2.0))


@pytest.fixture(scope="module")
def weights(tiny_weights: Path) -> Path:
    return tiny_weights


def rgb8(photo: Tensor) -> np.ndarray:
    return (photo[0].permute(1, 2, 0) * 255).round().byte().numpy()[:40, :48]


def psnr(result: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((result - truth).square().mean()))


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


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.5, 3, 4, 8])
def test_any_scale(tiny_upscaler: Upscaler, photo: Tensor, scale: float) -> None:
    result = tiny_upscaler(photo[:, :, :17, :23], scale=scale, kernel="gauss:0.6", steps=0)
    assert result.picture.pixels.shape == result.bicubic.shape == (1, 3, round(17 * scale), round(23 * scale))
    assert result.degradation.scale == math.ceil(scale)
    assert psnr(result.picture.pixels, result.bicubic) > 12  # elsewhere, or upside down: below 10
    assert result.facts["scale"] == scale
    warned = any("trained at x2, not at" in warning for warning in result.facts["warnings"])
    assert warned == (math.ceil(scale) != 2)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((30, None), (30, 39)),
        ((None, 46), (34, 46)),
        ((30, 46), (30, 46)),
        ((40, 24), (40, 24)),
        ((17, None), (17, 23)),
    ],
)
def test_a_size_instead_of_a_scale(
    tiny_upscaler: Upscaler, photo: Tensor, size: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    """The missing side follows: 30 / 17 x 23 = 40.6; what is not in proportion is squeezed from the larger scale."""
    expected = (30, 41) if size == (30, None) else expected
    result = tiny_upscaler(photo[:, :, :17, :23], size=size, kernel="bicubic", steps=0)
    assert tuple(result.picture.pixels.shape[2:]) == expected
    assert result.facts["scale"] == pytest.approx(max(expected[0] / 17, expected[1] / 23), abs=0.03)


@pytest.mark.parametrize(("fit", "expected"), [("stretch", (60, 40)), ("inside", (30, 40)), ("outside", (60, 80))])
def test_a_box_is_stretched_to_filled_or_covered(
    tiny_upscaler: Upscaler, photo: Tensor, fit: Literal["stretch", "inside", "outside"], expected: tuple[int, int]
) -> None:
    result = tiny_upscaler(photo[:, :, :24, :32], size=(60, 40), fit=fit, kernel="bicubic", steps=0)
    assert tuple(result.picture.pixels.shape[2:]) == expected


def test_bicubic_is_what_it_was_enlarged_from(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    result = tiny_upscaler(photo[:, :1], scale=1.5, kernel="bicubic", steps=0)
    assert torch.allclose(result.bicubic, resize(photo[:, :1], scale=1.5).clamp(0, 1), atol=1e-6)


def test_eight_positions_of_a_model_that_has_learned_one_grid(photo: Tensor) -> None:
    """In a mirror its grid is another: only positions that keep it count, and the mean of those is no worse."""
    upscaler = Upscaler("mzsr-x2-direct", device="cpu")
    lr = degrade(photo, Degradation(kernels.gaussian((2.0, 2.0))))
    alone, together = (
        psnr(upscaler(lr, kernel="gauss:2.0", noise=0.0, steps=1, x8=x8).picture.pixels, photo) for x8 in (False, True)
    )
    assert together > alone - 0.05


def test_a_constant_picture_stays_constant(tiny_upscaler: Upscaler) -> None:
    for kernel in ("auto", "bicubic", "gauss:2.0"):
        result = tiny_upscaler(torch.full((1, 3, 24, 20), 0.25), scale=2, kernel=kernel, noise=0.0, steps=0)
        assert torch.allclose(result.picture.pixels, torch.tensor(0.25), atol=1e-4), kernel


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


def test_a_network_that_lives_by_steps_says_so_where_it_takes_none(photo: Tensor) -> None:
    small = photo[:, :, :32, :32]
    kernel, upscaler = kernels.gaussian((2.0, 2.0)), Upscaler("mzsr-x2-direct", device="cpu")
    words = "the network was meta-trained to find out the blur in steps, and took none"
    told = [upscaler(small, kernel=kernel, noise=0, steps=steps).facts["warnings"] for steps in (0, 1)]
    assert told == [[words], []]


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


def centroid(images: Tensor) -> tuple[float, float]:
    """Return (row, column) of what stands out of the background of 0.2."""
    weight = (images.mean((0, 1)) - 0.2).double()
    rows, columns = torch.arange(weight.shape[0]).double(), torch.arange(weight.shape[1]).double()
    return float(weight.sum(1) @ rows / weight.sum()), float(weight.sum(0) @ columns / weight.sum())


@pytest.mark.parametrize(
    ("options", "offset"),
    [
        ({"kernel": "auto"}, 0.5),  # photographs: a pixel is the middle of the 2x2 it stands for
        ({"kernel": "auto", "subsample": "direct"}, 0.0),
        ({"kernel": "bicubic"}, 0.5),
        ({"kernel": "gauss:1.0"}, 0.0),  # the paper's grid: pixel i lies on 2 i
        ({"kernel": "gauss:1.0", "subsample": "bicubic"}, 0.5),
        ({"kernel": kernels.gaussian((1.0, 1.0), offset=(0.5, 0.5))}, 0.5),
    ],
)
@pytest.mark.parametrize("scale", [2, 3])
def test_nothing_moves(tiny_upscaler: Upscaler, options: dict[str, Any], offset: float, scale: int) -> None:
    row, column = torch.arange(48.0)[:, None] - 20.3, torch.arange(56.0) - 30.8
    blob = (0.2 + 0.6 * torch.exp(-(row**2 + column**2) / (2 * 3.0**2))).expand(1, 3, -1, -1)
    if scale == 3:
        offset *= 2  # (s - 1) / 2
        if isinstance(options["kernel"], Tensor):
            options = {"kernel": kernels.gaussian((1.0, 1.0), offset=(1.0, 1.0))}
    result = tiny_upscaler(blob, scale=scale, noise=0.0, steps=0, **options)
    expected = 20.3 * scale + offset, 30.8 * scale + offset
    assert centroid(result.picture.pixels) == pytest.approx(expected, abs=0.03)
    assert centroid(result.bicubic) == pytest.approx(expected, abs=0.03)


def test_a_size_between_two_scales_moves_nothing_and_is_made_in_bands(
    tiny_upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, column = torch.arange(48.0)[:, None] - 20.3, torch.arange(56.0) - 30.8
    blob = (0.2 + 0.6 * torch.exp(-(row**2 + column**2) / (2 * 3.0**2))).expand(1, 3, -1, -1)
    options: dict[str, Any] = {"scale": 1.5, "noise": 0.0, "steps": 0, "kernel": "gauss:2", "subsample": "direct"}
    whole = tiny_upscaler(blob, **options)
    # x2 lies at 2 p, and x1.5 has its pixel j at 4/3 (j + 1/2) - 1/2 of x2
    expected = 1.5 * 20.3 - 0.125, 1.5 * 30.8 - 0.125
    assert centroid(whole.picture.pixels) == pytest.approx(expected, abs=0.03)
    assert centroid(whole.bicubic) == pytest.approx(expected, abs=0.03)
    monkeypatch.setattr(results, "BAND", 10)
    assert torch.equal(tiny_upscaler(blob, **options).picture.pixels, whole.picture.pixels)


def test_a_centred_grid_stays_centred_at_an_odd_scale(tiny_upscaler: Upscaler) -> None:
    row, column = torch.arange(48.0)[:, None] - 20.3, torch.arange(56.0) - 30.8
    blob = (0.2 + 0.6 * torch.exp(-(row**2 + column**2) / (2 * 3.0**2))).expand(1, 3, -1, -1)
    result = tiny_upscaler(blob, scale=1.5, kernel="bicubic", noise=0.0, steps=0)
    assert centroid(result.picture.pixels) == pytest.approx((1.5 * 20.3 + 0.25, 1.5 * 30.8 + 0.25), abs=0.03)


def test_the_right_kernel_explains_the_picture_better(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    d = Degradation(BLUR)
    lr = degrade(photo, d)

    def agreement(kernel: str) -> float:
        return psnr(linear(tiny_upscaler(lr, scale=2, kernel=kernel, noise=0.0, steps=0).picture.pixels, d), lr)

    right, wrong = agreement("gauss:2.0"), agreement("gauss:0.4")
    assert right > wrong + 3
    told = tiny_upscaler(lr, scale=2, kernel="gauss:2.0", noise=0.0, steps=0).reprojection_psnr
    assert told == pytest.approx(right, abs=0.01)


def test_the_same_call_twice_gives_the_same_bytes(tiny_upscaler: Upscaler, photo: Tensor, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        tiny_upscaler(rgb8(photo), scale=2, noise=0.02, steps=2).save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_one_picture_does_not_change_the_next(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    before = tiny_upscaler(photo, scale=2, steps=0).picture.pixels
    tiny_upscaler(photo.flip(3), scale=2, steps=2)
    assert torch.equal(tiny_upscaler(photo, scale=2, steps=0).picture.pixels, before)


def test_the_seed_matters_only_with_noise(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    def losses(seed: int, noise: float) -> list[float]:
        return tiny_upscaler(photo, scale=2, kernel="bicubic", noise=noise, steps=1, seed=seed).losses

    assert losses(0, 0.0) == losses(1, 0.0)
    assert losses(0, 0.05) != losses(1, 0.05)
    assert losses(-1, 0.05) == losses(-1, 0.05)
    losses(10**30, 0.05)  # any whole number is a seed


def test_random_state_is_left_alone(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    state = torch.get_rng_state()
    tiny_upscaler(photo, scale=2, noise=0.05, steps=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_record_is_plain_and_complete(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    record = tiny_upscaler(photo, scale=2, steps=2).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["model"] == "tiny"
    assert (record["scale"], record["steps"], record["seed"], record["device"]) == (2.0, 2, 0, "cpu")
    assert (record["input_size"], record["output_size"]) == ([60, 76], [120, 152])
    assert len(record["losses"]) == 3
    assert record["steps_kept"] in (0, 1, 2)
    assert record["reprojection_psnr_db"] > 20
    assert set(record["seconds"]) == {"read", "estimate", "adapt", "enhance"}
    assert record["peak_memory_mb"] > 50
    told = record["degradation"]
    assert told["kernel"] == "auto"
    assert told["phase_px"] == pytest.approx([0.5, 0.5], abs=0.01)
    assert told["fallback"] == bool(record["warnings"])
    assert 0 <= told["confidence"] <= 1
    given = tiny_upscaler(photo, scale=2, kernel="gauss:2.0", noise=0.02, steps=0).record()["degradation"]
    assert (given["kernel"], given["confidence"], given["noise"]) == ("given", None, 0.02)
    assert given["covariance_px2"][0][0] == pytest.approx(2.0, rel=0.01)


def test_a_perfect_explanation_is_still_json(tiny_upscaler: Upscaler) -> None:
    result = tiny_upscaler(torch.zeros(1, 3, 16, 16), scale=2, kernel="bicubic", noise=0.0, steps=1)
    assert result.reprojection_psnr == math.inf
    assert json.loads(json.dumps(result.record(), allow_nan=False))["reprojection_psnr_db"] is None


def test_progress_names_the_stages(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    told: list[tuple[str, float]] = []
    tiny_upscaler(photo, scale=2, steps=0, progress=lambda stage, done: told.append((stage, done)))
    for stage in ("read", "estimate", "adapt", "enhance"):
        shares = [done for name, done in told if name == stage]
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert shares == sorted(shares)


def test_bfloat16_agrees_with_float32(photo: Tensor) -> None:
    smooth = degrade(photo, Degradation(kernels.gaussian((9.0, 9.0), size=25), 1))
    shipped = Upscaler("mzsr", device="cpu")
    pictures = []
    for precision in (torch.float32, torch.bfloat16):
        shipped.network.precision = precision
        pictures.append(shipped(smooth, scale=2, kernel="gauss:1.0", noise=0.0, steps=0).picture.pixels)
    assert psnr(*pictures) > 68  # 0.1 grey levels


def test_tiles_change_nothing(weights: Path, tiny_upscaler: Upscaler, photo: Tensor) -> None:
    wide = photo.repeat(1, 1, 1, 3)
    tiled = Upscaler(weights, device="cpu", tile=32)(wide, kernel="bicubic", noise=0.0, steps=0)
    assert torch.allclose(
        tiled.picture.pixels, tiny_upscaler(wide, kernel="bicubic", noise=0.0, steps=0).picture.pixels, atol=1e-3
    )


def test_tiles_in_the_precision_that_is_asked_for(photo: Tensor) -> None:
    """In float32 a quarter of a grey level at most; in bfloat16 single values differ by one, the mean by little."""
    wide = photo[:, :, :48, :48].repeat(1, 1, 2, 3)
    found = {}
    for precision in ("float32", "bfloat16"):
        whole, tiled = (
            Upscaler("mzsr", device="cpu", precision=precision, tile=tile)(wide, kernel="gauss:1.5", noise=0.0, steps=0)
            for tile in (0, 48)
        )
        assert (whole.facts["precision"], tiled.facts["precision"]) == (precision, precision)
        found[precision] = (255 * (whole.picture.pixels - tiled.picture.pixels)).abs()
    assert found["float32"].max() <= 0.25
    assert found["bfloat16"].max() < 1.5
    assert found["bfloat16"].mean() < 0.06
    with pytest.raises(InputError, match="precision is 'float16'; did you mean 'bfloat16'"):
        Upscaler("mzsr", precision="float16")


def test_in_inference_mode(tiny_upscaler: Upscaler, weights: Path, photo: Tensor) -> None:
    """Adaptation needs gradients, whoever calls it."""
    expected = tiny_upscaler(photo[:, :, :40, :40], scale=2, kernel="gauss:1.0", steps=1).picture.pixels
    with torch.inference_mode():
        made = Upscaler(weights, device="cpu")
        result = made(photo[:, :, :40, :40].clone(), scale=2, kernel=kernels.gaussian((1.0, 1.0)), steps=1)
    assert torch.equal(result.picture.pixels, expected)


def test_the_record_is_plain_whatever_numbers_were_given(
    tiny_upscaler: Upscaler, photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as everywhere but in these tests
    numbers: dict[str, Any] = {"scale": np.int64(2), "steps": np.int64(1), "seed": np.int64(2)}
    result = tiny_upscaler(photo[:, :, :40, :40], **numbers)
    assert json.loads(json.dumps(result.record()))["seed"] == 2


def test_what_a_file_leaves_out_is_said_of_that_file(tiny_upscaler: Upscaler, photo: Tensor, tmp_path: Path) -> None:
    array = np.concatenate([rgb8(photo), rgb8(photo)[..., :1]], 2)
    result = tiny_upscaler(array, scale=2, kernel="bicubic", steps=0)
    for name, lost in (("a.jpg", 1), ("b.png", 0), ("c.jpg", 1)):
        result.save(tmp_path / name)
        assert sum("transparency" in words for words in result.record()["warnings"]) == lost


def test_a_bicubic_kernel_is_on_the_grid_of_photographs(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    array = rgb8(photo)
    usual = tiny_upscaler(array, kernel="bicubic", steps=0)
    same_thing: tuple[tuple[Any, Any], ...] = (("bicubic", "centre"), ("bicubic", "bicubic"), (Path("bicubic"), None))
    for kernel, grid in same_thing:
        same = tiny_upscaler(array, kernel=kernel, subsample=grid, steps=0)
        assert torch.equal(same.picture.pixels, usual.picture.pixels)
    with pytest.raises(InputError, match="kernel is bicubic, which shrinks by itself"):
        tiny_upscaler(array, kernel="bicubic", subsample="direct", steps=0)


def test_a_network_of_the_papers_grid_says_where_its_result_lies(photo: Tensor) -> None:
    direct = Upscaler("mzsr-x2-direct", device="cpu")
    grids: tuple[tuple[Any, int], ...] = ((None, 1), ("direct", 0))
    for grid, told in grids:
        warnings = direct(rgb8(photo), scale=2, subsample=grid, steps=1).facts["warnings"]
        assert sum("0.5 pixels up and left" in words for words in warnings) == told


def test_one_line(weights: Path, photo: Tensor) -> None:
    result = mzsr.upscale(rgb8(photo), model=weights, device="cpu", scale=2, kernel="bicubic", steps=0)
    assert isinstance(result, mzsr.Result)
    assert isinstance(result.image, np.ndarray)
    assert result.image.shape == (80, 96, 3)
    assert mzsr.kernels.delta(3).shape == (3, 3)
    assert set(mzsr.__all__) == {name for name in mzsr.__all__ if getattr(mzsr, name) is not None}
    with pytest.raises(AttributeError, match="no attribute 'downscale'"):
        _ = mzsr.downscale  # pyright: ignore[reportAttributeAccessIssue]


def test_a_kernel_may_be_an_array_or_a_file(tiny_upscaler: Upscaler, photo: Tensor, tmp_path: Path) -> None:
    kernel_files.save(tmp_path / "k.mat", BLUR)
    options: dict[str, Any] = {"scale": 2, "noise": 0.0, "steps": 0}
    expected = tiny_upscaler(photo, kernel=BLUR, **options).picture.pixels
    for kernel in (BLUR.numpy(), BLUR.double(), 7 * BLUR, tmp_path / "k.mat", str(tmp_path / "k.mat"), "gauss:2.0"):
        assert torch.allclose(tiny_upscaler(photo, kernel=kernel, **options).picture.pixels, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("known", "kernel", "asked", "taken", "warned"),
    [
        ("direct", "auto", None, "direct", False),
        ("bicubic", "auto", None, "direct", False),
        ("direct", BLUR, None, "direct", False),
        ("bicubic", BLUR, None, "bicubic", False),
        ("direct", "bicubic", None, "bicubic", True),
        ("bicubic", BLUR, "direct", "direct", True),
        (None, BLUR, None, "direct", False),
    ],
)
def test_a_network_of_one_grid_is_given_that_grid(
    weights: Path, photo: Tensor, tmp_path: Path, known: str | None, kernel: Any, asked: Any, taken: str, warned: bool
) -> None:
    network, card = load_weights(weights)
    path = tmp_path / "one.safetensors"
    save_weights(path, dict(network.named_parameters()), card.model_copy(update={"subsample": known}))
    result = Upscaler(path, device="cpu")(photo, kernel=kernel, subsample=asked, steps=0, noise=0.0)
    assert result.degradation.subsample == taken
    if taken == "direct":  # the paper's grid, low-resolution pixels on every second pixel, or that of photographs
        place = 0.5 if (known, kernel) == ("bicubic", "auto") else 0.0
        assert phase(result.degradation) == pytest.approx((place, place), abs=0.05)
    assert any("subsampling only" in warning for warning in result.facts["warnings"]) is warned


def test_weights_for_one_scale_take_its_place(weights: Path, photo: Tensor, tmp_path: Path, monkeypatch: Any) -> None:
    """NAME-x4 does the work of NAME wherever x4 is the whole scale, and nowhere else."""
    network, card = load_weights(weights)
    theta = dict(network.named_parameters())
    other = {name: tensor + 0.01 for name, tensor in theta.items()}
    for name, tensors in {"one": theta, "one-x4": other}.items():
        save_weights(
            tmp_path / f"{name}.safetensors", tensors, card.model_copy(update={"name": name, "scales": (2, 4)})
        )
    monkeypatch.setattr("mzsr.learning.weights._weights_folder", lambda: tmp_path)
    one = Upscaler("one", device="cpu")
    known = {"one": Upscaler(weights, device="cpu"), "one-x4": Upscaler("one-x4", device="cpu")}
    for scale, model in ((2, "one"), (4, "one-x4"), (3.5, "one-x4")):
        result = one(photo, scale=scale, steps=1)
        assert result.facts["model"] == model
        expected, others = (
            known[name](photo, scale=scale, steps=1).picture.pixels for name in (model, *({*known} - {model}))
        )
        assert torch.equal(result.picture.pixels, expected)
        assert not torch.equal(result.picture.pixels, others)
    assert one.at(4) is one.at(4)
    assert one.at(2) is one


def test_kernels_as_arrays_come(tiny_upscaler: Upscaler, photo: Tensor) -> None:
    """Turned round without a copy, and in the byte order of another machine."""
    taps = np.arange(1.0, 10.0).reshape(3, 3)
    turned = tiny_upscaler(photo, scale=2, kernel=taps[::-1, ::-1], steps=0).degradation.kernel
    assert torch.allclose(turned, torch.arange(9.0, 0.0, -1.0).reshape(3, 3) / 45)
    foreign = tiny_upscaler(photo, scale=2, kernel=taps.astype(">f8"), steps=0).degradation.kernel
    assert torch.equal(foreign, turned.flip(0, 1))


def test_half_a_pixel_is_no_reason_for_the_next_scale(tiny_upscaler: Upscaler) -> None:
    result = tiny_upscaler(np.zeros((33, 50), np.uint8), size=(67, 100), steps=0)
    assert (result.degradation.scale, np.asarray(result.image).shape) == (2, (67, 100))


def test_a_picture_that_is_cut_short_is_one_line(tiny_upscaler: Upscaler, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with Image.open(tmp_path / "b.png") as short, pytest.raises(InputError, match="the picture cannot be decoded"):
        tiny_upscaler(short, scale=2, steps=0)
