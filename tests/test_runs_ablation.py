"""Tests of runs/ablation.py and runs/throughput.py: what is compared differs, in what is said and in nothing else."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from scripts import script_of

from mzsr.config import NetworkConfig
from mzsr.presets import META

ROOT = Path(__file__).resolve().parent.parent


def test_every_variant_differs_from_the_base_in_its_own_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ablation, network = script_of("ablation"), NetworkConfig()
    base = ablation.variant({}, 9, network).model_dump()
    for name, change in ablation.VARIANTS.items():
        other = ablation.variant(change, 9, network).model_dump()
        differ = {key for key in base if base[key] != other[key]}
        assert differ == {key.partition(".")[0] for key in change}, name


def test_the_plain_loop_is_plain(tmp_path: Path) -> None:
    """Float32, and convolutions in the layout that PyTorch begins with."""
    Image.new("RGB", (64, 64), (90, 120, 60)).save(tmp_path / "a.png")
    config = META["paper"].model_copy(update={"batch": 1, "tasks": 1, "patch": 64})
    throughput, seen = script_of("throughput"), list[bool]()
    for plain in (True, False):
        made = throughput.objective(config, tmp_path, torch.device("cpu"), plain=plain)
        first = next(module for module in made.network.modules() if isinstance(module, torch.nn.Conv2d))
        hook = first.register_forward_pre_hook(
            lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
        )
        made.gradient(0, range(1))
        hook.remove()
        assert len(set(seen)) == 1
        assert seen.pop() is not plain
        seen.clear()
