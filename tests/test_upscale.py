"""Tests of the Upscaler: the same call gives the same bytes, records tell all, tiles and precision change little."""

import json
import math
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from measures import psnr
from samples import BLUR, rgb8
from torch import Tensor

import mzsr
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade, linear
from mzsr.inference.upscale import Upscaler


def test_a_constant_picture_stays_constant(tiny_upscaler: Upscaler) -> None:
    for kernel in ("auto", "bicubic", "gauss:2.0"):
        result = tiny_upscaler(torch.full((1, 3, 24, 20), 0.25), scale=2, kernel=kernel, noise=0.0, steps=0)
        assert torch.allclose(result.picture.pixels, torch.tensor(0.25), atol=1e-4), kernel


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


def test_tiles_change_nothing(tiny_weights: Path, tiny_upscaler: Upscaler, photo: Tensor) -> None:
    wide = photo.repeat(1, 1, 1, 3)
    tiled = Upscaler(tiny_weights, device="cpu", tile=32)(wide, kernel="bicubic", noise=0.0, steps=0)
    assert torch.allclose(
        tiled.picture.pixels, tiny_upscaler(wide, kernel="bicubic", noise=0.0, steps=0).picture.pixels, atol=1e-3
    )


def test_tiles_in_the_precision_that_is_asked_for(photo: Tensor) -> None:
    """In float32 a quarter of a grey level at most; in bfloat16 single values differ by one, the mean by little."""
    wide = photo[:, :, :48, :48].repeat(1, 1, 2, 2)
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


def test_in_inference_mode(tiny_upscaler: Upscaler, tiny_weights: Path, photo: Tensor) -> None:
    """Adaptation needs gradients, whoever calls it."""
    expected = tiny_upscaler(photo[:, :, :40, :40], scale=2, kernel="gauss:1.0", steps=1).picture.pixels
    with torch.inference_mode():
        made = Upscaler(tiny_weights, device="cpu")
        result = made(photo[:, :, :40, :40].clone(), scale=2, kernel=kernels.gaussian((1.0, 1.0)), steps=1)
    assert torch.equal(result.picture.pixels, expected)


def test_the_record_is_plain_whatever_numbers_were_given(
    tiny_upscaler: Upscaler, photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as everywhere but in these tests
    numbers: dict[str, Any] = {"scale": np.int64(2), "steps": np.int64(1), "seed": np.int64(2)}
    result = tiny_upscaler(photo[:, :, :40, :40], **numbers)
    assert json.loads(json.dumps(result.record()))["seed"] == 2


def test_one_line(tiny_weights: Path, photo: Tensor) -> None:
    result = mzsr.upscale(rgb8(photo), model=tiny_weights, device="cpu", scale=2, kernel="bicubic", steps=0)
    assert isinstance(result, mzsr.Result)
    assert isinstance(result.image, np.ndarray)
    assert result.image.shape == (80, 96, 3)
    assert mzsr.kernels.delta(3).shape == (3, 3)
    assert set(mzsr.__all__) == {name for name in mzsr.__all__ if getattr(mzsr, name) is not None}
    with pytest.raises(AttributeError, match="no attribute 'downscale'"):
        _ = mzsr.downscale  # pyright: ignore[reportAttributeAccessIssue]
