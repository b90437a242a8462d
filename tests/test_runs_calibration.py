"""Tests of runs/calibration.py: what it measures of errors that are known, and that a fit takes out what is off."""

import importlib
import statistics
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mzsr.learning.checkpoint import read_card

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return runs/calibration.py, which no package holds."""
    sys.path.insert(0, str(ROOT / "runs"))
    try:
        return importlib.import_module("calibration")
    finally:
        sys.path.remove(str(ROOT / "runs"))


def laplace(expected: Tensor) -> tuple[Tensor, Tensor]:
    """Return a result and its truth whose errors are what is expected."""
    draw = torch.distributions.Laplace(torch.zeros(3, *expected.shape[2:]), expected[0, 0] / 255)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        error = draw.sample()[None]
    return 0.5 + error, torch.full_like(error, 0.5)


@pytest.fixture
def expected() -> Tensor:
    return torch.linspace(0.5, 6, 200 * 300).reshape(1, 1, 200, 300)


def test_a_map_that_is_right_is_found_right(script: ModuleType, expected: Tensor) -> None:
    rank, coverage, true, mean, true_psnr, psnr = script.judge(*laplace(expected), expected, 2.0)
    assert coverage == pytest.approx(0.9, abs=3e-3)
    assert true == pytest.approx(mean, rel=0.01)
    assert psnr == pytest.approx(true_psnr, abs=0.1)
    assert 0.5 < rank < 0.9  # of errors that are drawn, not of their scales


def test_rank_is_that_of_the_errors(script: ModuleType, expected: Tensor) -> None:
    truth = torch.full((1, 3, 200, 300), 0.5)
    up, down = (script.judge(truth + each / 255, truth, expected, 2.0)[0] for each in (expected**2, -1 / expected))
    assert (up, down) == (pytest.approx(1), pytest.approx(-1))


def test_a_fit_takes_out_a_constant_factor(script: ModuleType, expected: Tensor, doubting_weights: Path) -> None:
    """The card says ESU, 2 e^s; the map is three times too low, and the errors are all alike: E e² = (E|e|)²."""
    card = read_card(doubting_weights.with_suffix(".json"))
    truth = torch.full((1, 3, 200, 300), 0.5)
    figures = script.judge(truth + 3 * expected / 255, truth, expected, card.squared_error)
    fitted = script.fitted([script.Judged("", "", "", "", *figures)], card)
    assert (fitted.expected_error, fitted.squared_error) == (pytest.approx(6, rel=1e-3), pytest.approx(1, rel=1e-3))
    again = script.judge(truth + 3 * expected / 255, truth, 3 * expected, fitted.squared_error)
    assert again[2] == pytest.approx(again[3], rel=1e-4)
    assert again[4] == pytest.approx(again[5], abs=0.01)


def test_the_bins_lose_nothing(script: ModuleType, expected: Tensor) -> None:
    error = expected * 2
    sums = script.binned(expected, error)
    totals = sums.sum(1).tolist()
    assert totals == pytest.approx([expected.numel(), float(expected.sum()), float(error.sum())], rel=1e-5)
    full = sums[0] > 0
    inner = (sums[1] / sums[0].clip(1))[full]
    assert (np.diff(inner) > 0).all()
    np.testing.assert_allclose((sums[2] / sums[0].clip(1))[full], 2 * inner, rtol=1e-5)


def test_the_summary_counts_what_lies_within_a_decibel(script: ModuleType) -> None:
    rows = [script.Judged("S", "p", "known", "clean", 0.5, 0.9, 3.0, 3.0, 30.0, 30.0 + off) for off in (-0.9, 0, 1.5)]
    assert "| S | known | clean | 3 | 0.50 | 90 % | +0.20 | 67 % |" in script.summary(rows)


def test_one_command_measures_and_one_fits(
    script: ModuleType, photo: Tensor, doubting_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "set").mkdir()
    Image.fromarray((photo[0].permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "set" / "a.png")
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"m{suffix}").write_bytes(doubting_weights.with_suffix(suffix).read_bytes())
    words = ["calibration.py", "-n", str(tmp_path / "m.safetensors"), "--data", str(tmp_path / "set")]
    for options in (["--fit"], ["--out", str(tmp_path / "out")]):
        monkeypatch.setattr("sys.argv", [*words, *options])
        script.main()
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".md", ".svg"}
    lines = [line.split(",") for line in (tmp_path / "out" / "calibration.csv").read_text().splitlines()[1:]]
    assert len(lines) == 6  # two kernels, three conditions
    ratios = [float(line[6]) / float(line[7]) for line in lines]
    assert statistics.median(ratios) == pytest.approx(1, abs=1e-3)
