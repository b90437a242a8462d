"""What the upscaler does with pictures that went through JPEG, and what a mode stands for."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mzsr.errors import InputError
from mzsr.inference import upscale as module
from mzsr.inference.request import MODES
from mzsr.inference.upscale import Upscaler
from mzsr.learning.weights import ESTIMATOR, card_of, model_at, shipped_models


def photograph(side: int = 96) -> np.ndarray:
    row, column = np.mgrid[:side, :side].astype(float)
    waves = np.sin(row / 2.3 + column / 5)[..., None] * [0.2, 0.15, 0.1]
    edges = ((row // 13 + column // 17) % 2)[..., None] * [0.3, 0.2, 0.25]
    noise = np.random.default_rng(0).normal(0, 0.02, (side, side, 3))
    return ((0.4 + waves + edges + noise).clip(0, 1) * 255).round().astype(np.uint8)


def packed(quality: int) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(photograph()).save(buffer, "JPEG", quality=quality, subsampling=2)
    return Image.open(buffer)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("mzsr", device="cpu")


def test_a_jpeg_is_known_by_its_tables_and_its_pixels_by_their_traces(upscaler: Upscaler) -> None:
    file = upscaler(packed(50), kernel="bicubic", noise=0, mode="fast").record()["degradation"]["jpeg"]
    assert (file["quality"], file["chroma"], file["offset"]) == (50, "4:2:0", [0, 0])
    assert 2 / 255 < file["error"] < 20 / 255
    traces = upscaler(np.asarray(packed(50)), kernel="bicubic", noise=0, mode="fast").record()
    assert traces["degradation"]["jpeg"] == file
    assert traces["model"] == model_at("mzsr", 2, True)


def test_a_jpeg_that_pillow_made_smaller_is_not_taken_for_that_jpeg(upscaler: Upscaler) -> None:
    """It keeps the tables, which do not hold any more."""
    image = packed(50)
    image.thumbnail((72, 72))
    assert upscaler(image, kernel="bicubic", noise=0, mode="fast").record()["degradation"]["jpeg"] is None


def test_jpeg_off_and_pictures_that_never_were_one_are_left_to_the_usual_weights(upscaler: Upscaler) -> None:
    told_not_to = upscaler(packed(50), kernel="bicubic", noise=0, mode="fast", jpeg="off")
    for record in (told_not_to.record(), upscaler(photograph(), kernel="bicubic", noise=0, mode="fast").record()):
        assert record["degradation"]["jpeg"] is None
        assert record["model"] == "mzsr"


def test_the_son_is_compressed_as_its_father_was(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(network, theta, lr, d, **options):
        seen.append(d)
        return adapt(network, theta, lr, d, **options)

    adapt = module.adapt
    monkeypatch.setattr(module, "adapt", spy)
    upscaler(packed(60), kernel="bicubic", noise=0, steps=1)
    father = packed(60).quantization  # pyright: ignore[reportAttributeAccessIssue] - of a JPEG file
    assert torch.equal(seen[0].jpeg.tables.flatten(2)[0], torch.tensor([father[0], father[1]]).float())


def test_expected_errors_of_jpeg_make_the_flagship_trust_its_prior_more(upscaler: Upscaler) -> None:
    """A data step that trusts lr to a hundredth of a grey level would copy the blocks."""
    result = upscaler(packed(30), kernel="bicubic", noise=0, mode="fast")
    network = upscaler.at(2, result.degradation.jpeg).network
    trusting = upscaler(packed(30), kernel="bicubic", noise=0, mode="fast", jpeg="off")
    assert network.alphas(result.degradation)[-1] > 2 * upscaler.network.alphas(trusting.degradation)[-1]
    assert result.reprojection_psnr < trusting.reprojection_psnr


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_stands_for_steps_and_self_ensemble(upscaler: Upscaler, mode: str) -> None:
    steps, x8 = MODES[mode]
    small = photograph(40)
    named = upscaler(small, kernel="bicubic", noise=0, mode=mode)
    spelt = upscaler(small, kernel="bicubic", noise=0, steps=steps, x8=x8)
    assert torch.equal(named.picture.pixels, spelt.picture.pixels)
    assert len(named.losses) == (steps + 1 if steps else 0)


def test_an_unknown_mode_is_named(upscaler: Upscaler) -> None:
    with pytest.raises(InputError, match="mode is 'turbo'; it must be one of fast, balanced, best"):
        upscaler(photograph(40), mode="turbo")


def test_records_of_results_know_every_weight_they_depend_on(upscaler: Upscaler) -> None:
    """Other weights of the estimator give other kernels, and so other pictures: what is done must be done again."""
    for name in ("mzsr", "mzsr-x4", "mzsr-jpeg", ESTIMATOR):
        assert card_of(name).identity in upscaler.weights


def test_experts_are_chosen_by_what_is_shipped() -> None:
    for jpeg in (False, True):
        name = model_at("mzsr", 4, jpeg)
        assert name in shipped_models()
        assert name == ("mzsr-jpeg" if jpeg and "mzsr-jpeg" in shipped_models() else "mzsr-x4")
    assert [model_at("mzsr", scale) for scale in (1, 2, 3, 5, 8)] == ["mzsr", "mzsr", "mzsr", "mzsr-x4", "mzsr-x4"]
    assert model_at("mzsr-x2-direct", 2, True) == "mzsr-x2-direct"
