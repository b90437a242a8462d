"""Methods of the benchmark are the pipeline that users run, told what their options say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mzsr import Upscaler
from mzsr.benchmark import methods
from mzsr.benchmark.cells import Case, Cell, Source
from mzsr.benchmark.methods import Method, parse, told, wrong_kernel
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.data_step import back_project, consistent, data_step
from mzsr.imaging.degrade import Degradation, degrade, linear, upsample
from mzsr.imaging.resize import resize
from mzsr.learning.weights import ESTIMATOR, card_of

SOURCE = Source("Some", Path("a.png"), 0, "")
CELL = Cell(2, "g2.0d")


def case_of(photo: torch.Tensor, d: Degradation) -> Case:
    generator = torch.Generator().manual_seed(0) if d.noise else None
    return Case(photo, (degrade(photo, d, generator).clamp(0, 1) * 255).round() / 255, d)


@pytest.fixture
def case(photo: torch.Tensor) -> Case:
    return case_of(photo, Degradation(kernels.gaussian((2.0, 2.0))))


def only(method: Method, case: Case) -> torch.Tensor:
    (output,) = method(case, SOURCE, CELL)
    assert output.steps is None
    assert output.seconds > 0
    return output.picture


def test_classical_methods_are_what_they_are_called(case: Case) -> None:
    lr, d = case.lr, case.degradation
    torch.testing.assert_close(only(parse("bicubic"), case), upsample(lr, d))
    torch.testing.assert_close(only(parse("bicubic-paper"), case), resize(lr, scale=2.0))
    torch.testing.assert_close(only(parse("data-step"), case), data_step(lr, upsample(lr, d), d, 1e-3))
    torch.testing.assert_close(only(parse("back-projection"), case), back_project(upsample(lr, d), lr, d, 10))


def test_zssr_is_reached_with_its_settings(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fake(lr: torch.Tensor, d: Degradation, **settings: object) -> object:
        asked.update(settings)
        return type("Zssr", (), {"picture": upsample(lr, d)})

    monkeypatch.setattr(methods, "zssr", fake)
    only(parse("zssr", iterations=7), case)
    assert asked == {"seed": 0, "iterations": 7, "noise": 0.0}


@pytest.mark.parametrize("noise", [0.0, 4 / 255])
def test_a_model_is_the_upscaler_that_users_run(photo: torch.Tensor, tiny_weights: Path, noise: float) -> None:
    case = case_of(photo, Degradation(kernels.gaussian((2.0, 2.0)), noise=noise))
    upscaler = Upscaler(tiny_weights)
    for output in parse(str(tiny_weights), [0, 2])(case, SOURCE, CELL):
        assert output.steps is not None
        kernel = case.degradation.kernel
        result = upscaler(case.lr, scale=2, kernel=kernel, subsample="direct", noise=noise, steps=output.steps)
        torch.testing.assert_close(output.picture.clamp(0, 1), result.picture.pixels)


@pytest.mark.parametrize(("offset", "subsample"), [(0.0, "direct"), (0.5, None)])
def test_blind_is_the_upscaler_without_a_kernel(
    photo: torch.Tensor, tiny_weights: Path, offset: float, subsample: str | None
) -> None:
    large = torch.cat([photo, photo.flip(3)], 3)  # enough for the estimator
    large = torch.cat([large, large.flip(2)], 2)
    case = case_of(large, Degradation(kernels.gaussian((2.0, 2.0), offset=(offset, offset))))
    (output,) = parse(f"{tiny_weights}:blind", [1])(case, SOURCE, CELL)
    result = Upscaler(tiny_weights)(case.lr, scale=2, subsample=subsample, steps=1)  # pyright: ignore
    torch.testing.assert_close(output.picture.clamp(0, 1), result.picture.pixels)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("on_corner", [True, False])
def test_the_wrong_kernel_is_wrong_in_its_width_alone(scale: int, on_corner: bool) -> None:
    kernel, shift = wrong_kernel(scale, on_corner), 0.0 if on_corner else (scale - 1) / 2
    assert kernels.centroid(kernel) == pytest.approx((shift, shift), abs=1e-3)
    expected = torch.eye(2, dtype=torch.float64) * scale**2 / 2
    torch.testing.assert_close(kernels.covariance(kernel), expected, rtol=5e-3, atol=1e-3)


def test_a_wrong_kernel_that_is_true_changes_nothing(case: Case) -> None:
    """Variance 2 is what `wrong` takes for granted at x2; under another kernel it is worse."""
    wrong, right = (only(parse(spec), case) for spec in ("data-step:wrong", "data-step"))
    torch.testing.assert_close(wrong, right, rtol=0.0, atol=2e-3)  # the tails of the two are cut off elsewhere
    other = case_of(case.truth, Degradation(kernels.gaussian((0.3, 0.3))))
    errors = [(only(parse(spec), other) - other.truth).abs().mean() for spec in ("data-step", "data-step:wrong")]
    assert errors[1] > 1.5 * errors[0]


def test_an_estimate_knows_the_grid_and_nothing_else(case: Case) -> None:
    found = told(case, ["blind"])
    assert not torch.equal(found.kernel, case.degradation.kernel)
    assert kernels.centroid(found.kernel) == pytest.approx((0.0, 0.0), abs=1e-3)


def test_self_ensemble_averages_eight_views(case: Case, tiny_weights: Path) -> None:
    """An untrained flagship is the data step, which treats all eight alike but for rounding and borders."""
    (alone,), (together,) = (parse(f"{tiny_weights}{x8}", [0])(case, SOURCE, CELL) for x8 in ("", ":x8"))
    torch.testing.assert_close(alone.picture, together.picture, rtol=0, atol=5e-3)
    assert not torch.equal(alone.picture, together.picture)
    d = case.degradation
    user = Upscaler(tiny_weights)(case.lr, kernel=d.kernel, subsample="direct", noise=0.0, steps=0, x8=True)
    torch.testing.assert_close(together.picture.clamp(0, 1), user.picture.pixels)


def test_back_projection_at_last_is_what_users_get_of_the_paper(case: Case) -> None:
    """It brings a result that knew the kernel from its son alone to what explains the picture."""
    d, model = case.degradation, "mzsr-x2-direct"
    (plain,), (better,) = (parse(f"{model}{option}", [1])(case, SOURCE, CELL) for option in ("", ":bp"))
    user = Upscaler(model, device="cpu")(case.lr, kernel=d.kernel, subsample="direct", noise=0.0, steps=1)
    torch.testing.assert_close(better.picture.clamp(0, 1), user.picture.pixels)
    left = [float((linear(picture, d) - case.lr).square().mean()) for picture in (plain.picture, better.picture)]
    assert left[1] < 0.1 * left[0]


def test_back_projection_is_damped_as_noise_grows(case: Case) -> None:
    wrong = case.truth + 0.1
    moved = [
        float((consistent(wrong, case.lr, replace(case.degradation, noise=noise)) - wrong).abs().mean())
        for noise in (0.0, 2 / 255, 10 / 255, 50 / 255)
    ]
    assert moved == sorted(moved, reverse=True)
    assert moved[3] < 0.1 * moved[0]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("bicubik", "did you mean 'bicubic'"),
        ("mzsr:blnd", "the option of method mzsr:blnd is 'blnd'; did you mean 'blind'"),
        ("mzsr:blind:wrong", "options that do not go together"),
        ("bicubic:x8", "options that do not go together"),
        ("mzsr:blind:blind", "options that do not go together"),
        ("missing.safetensors", "does not exist"),
    ],
)
def test_unknown_methods_are_answered_with_the_nearest(spec: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse(spec)


def test_a_model_refuses_what_it_was_not_made_for() -> None:
    assert "trained at x2 alone" in parse("mzsr-x2-direct").refuses(Cell(4, "g2.0d"))
    assert "direct subsampling alone" in parse("mzsr-x2-direct").refuses(Cell(2, "g1.3b"))
    assert parse("mzsr-x2-direct").refuses(CELL) == ""
    assert parse("mzsr").refuses(Cell(4, "g1.3b")) == ""
    assert parse("bicubic").refuses(Cell(4, "g1.3b")) == ""


def test_the_identity_follows_weights_and_settings(tiny_weights: Path) -> None:
    assert parse("mzsr").identity(SOURCE, CELL) != parse("mzsr-meta").identity(SOURCE, CELL)
    assert parse("zssr", iterations=10).identity(SOURCE, CELL) != parse("zssr", iterations=20).identity(SOURCE, CELL)
    assert parse(str(tiny_weights)).identity(SOURCE, CELL) != parse(f"{tiny_weights}:blind").identity(SOURCE, CELL)
    estimator = card_of(ESTIMATOR).identity
    for spec in ("data-step", "zssr", "mzsr"):  # what is estimated follows the weights of the estimator, too
        assert estimator in parse(f"{spec}:blind").identity(SOURCE, CELL)
        assert estimator not in parse(spec).identity(SOURCE, CELL)
