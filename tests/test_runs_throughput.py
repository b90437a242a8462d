"""Tests of runs/throughput.py: what is compared differs in what is said."""

from pathlib import Path

import torch
from PIL import Image
from scripts import script_of

from mzsr.presets import META


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
