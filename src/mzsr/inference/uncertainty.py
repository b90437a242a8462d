"""How far a result is likely to be off, pixel by pixel, by a network with a head for the log-variance s.

    e^s ──► E|e| ──► E e²

The two steps are the error law of the model (`Card.told_errors`): measured, for kernels that are known and for
estimated ones, or what the loss has its optimum at. A measured E e² is that of the picture in the middle, so that as
many have a higher PSNR than expected as have a lower one; their mean would be decided by the worst. Between two rows
of a law logarithms lie on a straight line; beyond the first and the last nothing rises or falls any more.

All in 8-bit grey levels. The three colours share one map, the mean of theirs, since their errors go together. It is
about the result as the network gives it: what shrinking to a scale that is no whole number averages away is left out,
and what transparency hides counts.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.card import Card, ErrorLaw
from mzsr.errors import InputError
from mzsr.learning.losses import GREY_LEVELS
from mzsr.shapes import Images

ROWS = 256  # looked at together, so that a large map takes no more memory than a small one
CENTRAL = math.log(10.0)  # 90 % of a Laplace distribution lie within so many expected absolute errors


def error_law(card: Card, asked: bool | Literal["auto"] = True, *, estimated: bool = False) -> ErrorLaw | None:
    """Return the error law of a model; None where nobody asks, or where it is `auto` and the model does not know.

    Args:
        card: of the model.
        asked: whether somebody wants to know; `auto`: if the model knows.
        estimated: whether the kernel was estimated; its errors are others, and larger.

    Raises:
        InputError: it is asked for, and the model has no head, or one that was not trained last.
    """
    law = card.told_errors(estimated=estimated) if asked else None
    if law is None and asked is True:
        what = "a log-variance head that was not trained on it" if card.network.log_var else "no log-variance head"
        raise InputError(
            f"model {card.name} has {what} and cannot tell how far it is off; take one trained with --loss eu or esu, "
            "or do not ask for the uncertainty"
        )
    return law


def expected_error(log_var: Images, law: ErrorLaw) -> Float[Tensor, "b 1 _h _w"]:
    """Return E|e|, of the mean of e^s over the colours, in 8-bit grey levels, at most 255.

    Args:
        log_var: s, (B, C, H, W).
        law: of the model.

    >>> twice = ((0.01, 0.02, 8e-4), (100.0, 200.0, 8e4))
    >>> round(expected_error(torch.tensor([1.0, 3.0]).log().reshape(1, 2, 1, 1), twice).item(), 4)
    4.0
    """
    return _between(log_var.logsumexp(1, keepdim=True) - math.log(log_var.shape[1]), law, 0, 1).clamp(max=GREY_LEVELS)


def expected_psnr(error: Images, law: ErrorLaw) -> float:
    """Return 10 log10(255² / mean(E e²)) in dB: RGB, peak 255, nothing rounded and nothing cut off.

    Args:
        error: E|e|, in 8-bit grey levels.
        law: of the model.

    >>> laplace = ((0.01, 0.01, 2e-4), (100.0, 100.0, 2e4))
    >>> round(expected_psnr(torch.full((1, 1, 2, 2), 2.55), laplace), 4)  # 40 dB, were the errors all alike
    36.9897
    """
    squared = sum(float(_between(rows.log(), law, 1, 2).double().sum()) for rows in error.split(ROWS, 2))
    return _decibels(squared / error.numel())


def psnr(squared: Images) -> float:
    """Return 10 log10(255² / mean(e²)) in dB of squared errors in 8-bit grey levels."""
    return _decibels(float(squared.double().mean()))


def _decibels(mean: float) -> float:
    return math.inf if mean == 0 else 10 * math.log10(GREY_LEVELS**2 / mean)


def _between(logs: Images, law: ErrorLaw, given: int, wanted: int) -> Images:
    """Look up one column of a law by the logarithm of another."""
    rows = torch.tensor(law, dtype=torch.float64).log().to(logs)
    x, y = rows[:, given].contiguous(), rows[:, wanted]
    logs = logs.clamp(x[0], x[-1])
    above = torch.bucketize(logs, x).clamp(1, len(x) - 1)
    share = (logs - x[above - 1]) / (x[above] - x[above - 1])
    return (y[above - 1] + share * (y[above] - y[above - 1])).exp()
