"""Tests of runs/calibration.py: what it measures of errors that are known, and that a fit takes out what is off."""

import statistics
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import script_of
from torch import Tensor

from mzsr.benchmark.rows import write_table
from mzsr.inference.uncertainty import expected_error, expected_psnr, psnr

LAPLACE = ((1e-3, 1e-3, 2e-6), (1e3, 1e3, 2e6))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_of("calibration")


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
    rank, coverage, true, mean, true_psnr, psnr = script.judge(*laplace(expected), expected, LAPLACE)
    assert coverage == pytest.approx(0.9, abs=3e-3)
    assert true == pytest.approx(mean, rel=0.01)
    assert psnr == pytest.approx(true_psnr, abs=0.1)
    assert 0.5 < rank < 0.9  # of errors that are drawn, not of their scales


def test_rank_is_that_of_the_errors(script: ModuleType, expected: Tensor) -> None:
    truth = torch.full((1, 3, 200, 300), 0.5)
    up, down = (script.judge(truth + each / 255, truth, expected, LAPLACE)[0] for each in (expected**2, -1 / expected))
    assert (up, down) == (pytest.approx(1), pytest.approx(-1))


@pytest.mark.parametrize(("factor", "power"), [(3.0, 1.0), (2.0, 0.7)])
def test_a_fit_finds_the_law(script: ModuleType, expected: Tensor, factor: float, power: float) -> None:
    """True errors follow some law of e^s, and are all alike: E e² = (E|e|)²."""
    true = factor * expected**power
    truth = torch.full((1, 3, 200, 300), 0.5)
    law = script.fitted([script.binned(expected, true.expand(-1, 3, -1, -1))])
    given, told, squared = np.array(law).T
    np.testing.assert_allclose(told, factor * given**power, rtol=0.01)
    np.testing.assert_allclose(squared, told**2, rtol=0.02)
    again = script.judge(truth + true / 255, truth, expected_error(expected.log().expand(-1, 3, -1, -1), law), law)
    assert again[2] == pytest.approx(again[3], rel=0.01)
    assert again[4] == pytest.approx(again[5], abs=0.1)  # the ends of the law are means of bins


def test_a_fit_leaves_out_what_does_not_rise(script: ModuleType, expected: Tensor) -> None:
    flat = torch.where(expected < 2, expected, 2.0)
    law = script.fitted([script.binned(expected, flat.expand(-1, 3, -1, -1))])
    assert max(row[0] for row in law) < 2.6  # the one bin in which it still rises
    assert expected_error(torch.full((1, 3, 1, 1), 9.0), law).item() == pytest.approx(2, rel=0.01)


def test_of_three_pictures_one_is_better_and_one_is_worse_than_a_fit_says(script: ModuleType, expected: Tensor) -> None:
    """The mean of their squared errors would be 34 times that of the first; the one in the middle has 4 times."""
    level = expected.log().expand(-1, 3, -1, -1)
    errors = [factor * expected.expand(-1, 3, -1, -1) for factor in (1.0, 2.0, 10.0)]
    law = script.fitted([script.binned(expected, error) for error in errors])
    told = expected_psnr(expected_error(level, law), law)
    off = [told - psnr(error.square()) for error in errors]
    assert off == pytest.approx([off[1] - 6.02, 0, off[1] + 13.98], abs=0.1)


def test_the_bins_lose_nothing(script: ModuleType, expected: Tensor) -> None:
    error = (expected * 2).expand(-1, 3, -1, -1)
    sums = script.binned(expected, error)
    assert sums.sum(1).tolist() == pytest.approx(
        [expected.numel(), float(expected.sum()), float(error[:, 0].sum()), float(error[:, 0].square().sum())], rel=1e-5
    )
    full = sums[0] > 0
    inner = (sums[1] / sums[0].clip(1))[full]
    assert (np.diff(inner) > 0).all()
    np.testing.assert_allclose((sums[2] / sums[0].clip(1))[full], 2 * inner, rtol=1e-5)


def test_the_summary_counts_what_lies_within_a_decibel(script: ModuleType) -> None:
    rows = [script.Judged("S", "p", "known", "clean", 0.5, 0.9, 3.0, 3.0, 30.0, 30.0 + off) for off in (-0.9, 0, 1.5)]
    assert "| S | known | clean | 3 | 0.50 | 90 % | +0.20 | 67 % |" in script.summary(rows)


def test_rows_come_back_from_their_file(script: ModuleType, tmp_path: Path) -> None:
    rows = [script.Judged("S", "p.png", "known", "clean", 0.5, 0.875, 3.0, 3.0, 30.0, 30.25)]
    write_table(tmp_path / "c.csv", script.Judged._fields, rows)
    assert script.read_rows(tmp_path / "c.csv") == rows


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
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".svg"}
    lines = [line.split(",") for line in (tmp_path / "out" / "calibration.csv").read_text().splitlines()[1:]]
    assert len(lines) == 6  # two kernels, three conditions
    off = [float(line[9]) - float(line[8]) for line in lines]
    assert statistics.fmean(off) == pytest.approx(0, abs=1)  # dB; of one picture under six conditions
