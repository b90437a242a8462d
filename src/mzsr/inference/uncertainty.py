"""How far a result is likely to be off, pixel by pixel, by a network with a head for the log-variance s.

    E|e| = c e^s          c = 1 after EU, 2 after ESU, or as measured        (`Card.error_factor`)
    E e² = r (E|e|)²      r = 2 for a Laplace distribution, or as measured   (`Card.squared_error`)

All in 8-bit grey levels. The three colours share one map, the mean of theirs, since their errors go together. It is
about the result as the network gives it: what shrinking to a scale that is no whole number averages away is left out,
and what transparency hides counts.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.config import Card
from mzsr.errors import InputError
from mzsr.learning.losses import GREY_LEVELS
from mzsr.shapes import Images

CENTRAL = math.log(10.0)  # 90 % of a Laplace distribution lie within so many expected absolute errors


def error_factor(card: Card, asked: bool | Literal["auto"] = True) -> float | None:
    """Return c of a model; None where nobody asks, or where it is `auto` and the model does not know.

    Raises:
        InputError: it is asked for, and the model has no head, or one that no loss has trained.
    """
    factor = card.error_factor if asked else None
    if factor is None and asked is True:
        what = "a log-variance head that was never trained" if card.network.log_var else "no log-variance head"
        raise InputError(
            f"model {card.name} has {what} and cannot tell how far it is off; take one trained with --loss eu or esu, "
            "or do not ask for the uncertainty"
        )
    return factor


def expected_error(log_var: Images, factor: float) -> Float[Tensor, "b 1 _h _w"]:
    """Return the mean over the colours of c e^s, in 8-bit grey levels, at most 255.

    Args:
        log_var: s, (B, C, H, W).
        factor: c.

    >>> expected_error(torch.tensor([1.0, 3.0, 999.0]).log().reshape(1, 3, 1, 1)[:, :2], 2.0).item()
    4.0
    """
    return (factor * torch.exp(log_var)).clamp(max=GREY_LEVELS).mean(1, keepdim=True)


def expected_psnr(error: Images, ratio: float) -> float:
    """Return 10 log10(255² / mean(r (E|e|)²)) in dB: RGB, peak 255, nothing rounded and nothing cut off.

    Args:
        error: E|e|, in 8-bit grey levels.
        ratio: r.

    >>> round(expected_psnr(torch.full((1, 1, 2, 2), 2.55), 1.0), 4)  # a hundredth of the peak everywhere
    40.0
    """
    squared = ratio * float(error.double().square().mean())
    return math.inf if squared == 0 else 10 * math.log10(GREY_LEVELS**2 / squared)
