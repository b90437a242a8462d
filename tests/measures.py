"""Numbers that tests take of pictures."""

import math

from torch import Tensor


def psnr(result: Tensor, truth: Tensor) -> float:
    """Return dB, of all values of all pictures together."""
    return -10 * math.log10(float((result - truth).square().mean()))
