"""The short form of runs/fuzz.py: a few hundred damaged files, each a result or one line. And that it sees faults."""

import random
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import script_of

from mzsr.inference.upscale import Upscaler


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_of("fuzz")


def test_every_damaged_file_gives_a_result_or_one_line(
    script: ModuleType, tiny_upscaler: Upscaler, tmp_path: Path
) -> None:
    whole = script.samples(tmp_path)
    outcomes = Counter(script.attempt(number, whole, tmp_path, tiny_upscaler) for number in range(200))
    assert outcomes["result"] > 20
    assert outcomes.total() - outcomes["result"] > 100


def test_whole_files_give_results(
    script: ModuleType, tiny_upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "mutate", lambda whole, drawn: whole)
    whole = script.samples(tmp_path)
    for name in whole:
        assert script.attempt(0, {name: whole[name]}, tmp_path, tiny_upscaler) == "result", name


def test_damage_is_the_same_every_time(script: ModuleType) -> None:
    whole = bytes(range(256)) * 4
    damaged = [script.mutate(whole, random.Random(number)) for number in range(50)]
    assert damaged == [script.mutate(whole, random.Random(number)) for number in range(50)]
    assert len(set(damaged)) > 40


def test_half_a_result_is_a_fault(script: ModuleType, tiny_upscaler: Upscaler, tmp_path: Path) -> None:
    whole = script.samples(tmp_path)

    class Careless:
        def __call__(self, image: Any, **options: Any) -> Any:
            (tmp_path / "out.png.part").write_bytes(b"half")
            return tiny_upscaler(image, **options)

    with pytest.raises(AssertionError, match="left behind"):
        script.attempt(0, {"a.bmp": whole["a.bmp"]}, tmp_path, Careless())
