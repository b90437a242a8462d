"""The tables of README.md and docs/measured.md are those of docs/results, to the digit."""

from pathlib import Path
from types import ModuleType

import pytest
from scripts import script_of

from mzsr.benchmark.rows import Row, write_csv


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_of("tables")


def test_documents_and_results_agree(script: ModuleType) -> None:
    texts = [path.read_text("utf-8") for path in script.DOCUMENTS]
    assert [script.filled(text) for text in texts] == texts, "run `python runs/tables.py`"
    shown = set(script.MARKED.findall("".join(texts)))
    assert {name for name, _ in shown} == set(script.TABLES), "every table has a place, and every place a table"


def test_a_table_follows_its_csv(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model, one picture: 33.5 dB at one step is 0.36 above the published 33.14; nothing is published of a part."""
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "PAPER", ("one",))
    rows = [
        Row(name, "a.png", "", 2, "g0.2d", "clean", method, steps, "mzsr", psnr, 0.9, 50.0, 1.0)
        for name in ("Set5", "BSD100/10")
        for method, steps, psnr in (("one", 0, 33.0), ("one", 1, 33.5), ("one", 10, 33.04), ("one:blind", 0, 20.0))
    ]
    write_csv(tmp_path / "paper-x2.csv", rows)
    write_csv(tmp_path / "paper-x4.csv", [])
    assert script.paper_table().splitlines()[2:] == [
        "| one | Set5 | x2 g0.2d | 33.00 | 33.50 | 33.04 | 33.14 / 33.74 | +0.36 / -0.70 |",
        "| one | BSD100/10 | x2 g0.2d | 33.00 | 33.50 | 33.04 |  |  |",
    ]


def test_losses_are_compared_seed_by_seed(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UDL gains 0.1 and 0.3 over L1, on average 0.2 with a deviation of √2 / 10; a loss may have fewer seeds."""
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    scores = {"l1": (30.0, 31.0), "udl": (30.1, 31.3), "esu": (29.5,)}
    rows = [
        Row(
            "Set5", "a.png", "", 2, "bicubic", "clean", f"out/udl/x2-{seed}/{loss}/weights.safetensors", 0, "edsr",
            psnr, 0.9, 50.0, 1.0,
        )
        for loss, found in scores.items()
        for seed, psnr in enumerate(found)
    ]  # fmt: skip
    write_csv(tmp_path / "losses-x2.csv", rows)
    assert script.losses_table().splitlines() == [
        "| loss | seeds | Set5 x2 bicubic |",
        "|---|---|---|",
        "| l1 | 2 | 30.50 |",
        "| udl | 2 | 30.70 (+0.20 ± 0.14) |",
        "| esu | 1 | 29.50 (-0.50) |",
    ]
