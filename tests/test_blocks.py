"""Tests of blocks of pixels: PyTorch's own functions are the oracle, in any layout and precision."""

import pytest
import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from mzsr.imaging.blocks import from_blocks, to_blocks


@pytest.mark.parametrize("side", [1, 2, 3, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_they_are_those_of_pytorch(side: int, layout: torch.memory_format, precision: torch.dtype) -> None:
    images = torch.rand(2, 3, 24, 48, dtype=precision).contiguous(memory_format=layout)
    blocks = to_blocks(images, side)
    assert torch.equal(blocks, pixel_unshuffle(images, side))
    blocks = blocks.contiguous(memory_format=layout)
    assert torch.equal(from_blocks(blocks, side), pixel_shuffle(blocks, side))
    assert torch.equal(from_blocks(blocks, side), images)


def test_sides_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        to_blocks(torch.rand(1, 3, 5, 4), 2)
    with pytest.raises(RuntimeError, match="shape"):
        from_blocks(torch.rand(1, 6, 4, 4), 2)
