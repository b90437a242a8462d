"""Numbers that tests take of pictures."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def psnr(result: Tensor, truth: Tensor) -> float:
    """Return dB, of all values of all pictures together."""
    return -10 * math.log10(float((result - truth).square().mean()))


def by_threads(call: Callable[[], Tensor]) -> list[Tensor]:
    """Return what a call gives with one, two and four threads of PyTorch, whose number it leaves as it is."""
    before, given = torch.get_num_threads(), list[Tensor]()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            given.append(call())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return given
