"""The table of runs/adaptation.py: its arithmetic on rows made by hand, and the whole of it on one small picture."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mzsr.imaging import files, kernel_files, kernels
from mzsr.imaging.picture import Picture

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return runs/adaptation.py, which no package holds."""
    specification = importlib.util.spec_from_file_location("adaptation", ROOT / "runs" / "adaptation.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def rows_of(script: ModuleType, changes: dict[str, float], *, knowledge: str = "known", before: float = 30.0) -> list:
    """Return rows in which every picture starts a dB above the one before it, and changes as given after a step."""
    rows = []
    for index, (image, change) in enumerate(changes.items()):
        start = before + index
        rows += [
            script.Row(2, image, knowledge, 0, 0, start),
            script.Row(2, image, knowledge, 1, 1, round(start + change, 4)),
        ]
    return rows


def test_every_picture_is_compared_with_itself(script: ModuleType) -> None:
    rows = rows_of(script, {"a": 0.5, "b": -0.3, "c": -0.02, "d": 0.22})
    found = script.summarise(rows, 1)
    assert found.mean == pytest.approx(31.5 + 0.1)
    assert found.gain == pytest.approx(0.1)
    assert (found.worst, found.worst_image) == (pytest.approx(-0.3), "b")
    assert (found.harmed, found.images) == (1, 4)


def test_the_order_of_rows_does_not_matter(script: ModuleType) -> None:
    rows = rows_of(script, {"a": 0.5, "b": -0.3, "c": -0.02})
    assert script.summarise(rows[::-1], 1) == pytest.approx(script.summarise(rows, 1))


def test_where_all_gain_the_worst_is_the_smallest_gain(script: ModuleType) -> None:
    found = script.summarise(rows_of(script, {"a": 0.5, "b": 0.25}), 1)
    assert (found.worst, found.worst_image, found.harmed) == (pytest.approx(0.25), "b", 0)


@pytest.mark.parametrize(("change", "harmed"), [(-0.1, 0), (-0.1001, 1), (0.1001, 0)])
@pytest.mark.parametrize("before", [29.9, 30.0, 33.3333, 40.7])  # differences of floats fall on either side of 0.1
def test_a_loss_counts_above_a_tenth_of_a_decibel(
    script: ModuleType, change: float, harmed: int, before: float
) -> None:
    assert script.summarise(rows_of(script, {"a": change}, before=before), 1).harmed == harmed


def test_a_picture_without_its_row_is_not_passed_over(script: ModuleType) -> None:
    with pytest.raises(KeyError, match="b"):
        script.summarise(rows_of(script, {"a": 0.5, "b": -0.3})[:-1], 1)


def test_a_line_holds_what_was_summarised(script: ModuleType) -> None:
    """Each line of its own scale and knowledge; at 0 steps there is nothing to compare with."""
    known = rows_of(script, {"a": 0.5, "b": -0.3})
    wrong = rows_of(script, {"a": -0.2, "b": -0.4}, knowledge="wrong", before=20.0)
    larger = [row._replace(scale=4) for row in rows_of(script, {"a": 0.0, "b": 0.002}, knowledge="wrong", before=10.0)]
    columns = script.HEAD.splitlines()[0].count("|")
    told = script.lines([*known, *wrong, *larger])
    assert told == [
        "| x2 | known | 0 | 30.50 | | | |",
        "| x2 | known | 1 | 30.60 | +0.100 | -0.300 (b) | 1 of 2 |",
        "| x2 | wrong | 0 | 20.50 | | | |",
        "| x2 | wrong | 1 | 20.20 | -0.300 | -0.400 (b) | 2 of 2 |",
        "| x4 | wrong | 0 | 10.50 | | | |",
        "| x4 | wrong | 1 | 10.50 | +0.001 | +0.000 (a) | 0 of 2 |",
    ]
    assert {line.count("|") for line in told} == {columns}


@pytest.mark.parametrize("scale", [2, 4])
def test_the_wrong_kernel_is_wrong_in_its_width_alone(script: ModuleType, scale: int) -> None:
    kernel, shift = script.wrong(scale), (scale - 1) / 2
    assert kernels.centroid(kernel) == pytest.approx((shift, shift), abs=1e-3)
    expected = torch.eye(2, dtype=torch.float64) * scale**2 / 2
    torch.testing.assert_close(kernels.covariance(kernel), expected, rtol=5e-3, atol=1e-3)


def test_a_wrong_kernel_that_is_true_scores_as_the_known_one(
    script: ModuleType,
    photo: torch.Tensor,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From command line to file: a picture blurred with the very Gaussian; the same command writes the same bytes."""
    (tmp_path / "DIV2K_valid").mkdir()
    (tmp_path / "kernels" / "x2").mkdir(parents=True)
    files.write(tmp_path / "DIV2K_valid" / "0801.png", Picture(photo))
    kernel_files.save(tmp_path / "kernels" / "x2" / "kernel_1.mat", kernels.gaussian((2.0, 2.0)))
    written = []
    for name in ("first", "second"):
        out = tmp_path / name / "adaptation.csv"
        words = f"adaptation.py --data {tmp_path} --model {tiny_weights} --scales 2 --steps 2 --count 1 --out {out}"
        words += f" --before {tiny_weights}"
        monkeypatch.setattr(sys, "argv", words.split())
        script.main()
        written.append(out.read_bytes())
    assert written[0] == written[1]
    rows = script.read(out)
    assert [(row.knowledge, row.steps) for row in rows] == [
        (kind, steps) for kind in ("known", "estimated", "wrong") for steps in (0, 2)
    ] + [(f"{kind}, before meta-training", 0) for kind in ("known", "estimated", "wrong")]
    by_method = {(row.knowledge, row.steps): row.psnr for row in rows}
    for kind in ("known", "estimated", "wrong"):  # the same weights before as after
        assert by_method[f"{kind}, before meta-training", 0] == by_method[kind, 0]
    for steps in (0, 2):
        assert by_method["wrong", steps] == pytest.approx(by_method["known", steps], abs=0.02)
        assert by_method["estimated", steps] < by_method["known", steps] - 0.1  # too small a picture to tell its kernel
    assert capsys.readouterr().out.count("\n".join(script.lines(rows))) == 2
