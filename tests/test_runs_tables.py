"""The tables of the README are those of docs/results, to the digit."""

import csv
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return runs/tables.py, which no package holds and which reads its neighbours."""
    sys.path.insert(0, str(ROOT / "runs"))
    try:
        return importlib.import_module("tables")
    finally:
        sys.path.remove(str(ROOT / "runs"))


def test_readme_and_results_agree(script: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert script.filled(readme) == readme, "run `python runs/tables.py`"


def test_a_table_follows_its_csv(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model, one picture: 33.5 dB at one step is 0.36 above the published 33.14."""
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "PAPER", ("one",))
    with (tmp_path / "one.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", "image", "kernel", "method", "psnr", "ssim"])
        for steps, psnr in (("0 steps", 33.0), ("1 step", 33.5), ("10 steps", 33.04)):
            writer.writerow(["Set5", "a.png", "x2 g0.2 d", f"known, {steps}", psnr, 0.9])
    expected = "| one | Set5 | x2 g0.2 d | 33.00 | 33.50 | 33.04 | 33.14 / 33.74 | +0.36 / -0.70 |"
    assert script.paper_table().splitlines()[-1] == expected


def test_a_readme_without_a_place_for_a_table(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="no place for the table quality"):
        script.filled("# mzsr\n")
