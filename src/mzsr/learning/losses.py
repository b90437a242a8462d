"""What training and adaptation minimise. Plain functions of two pictures, named in `LOSSES`."""

from collections.abc import Callable

from mzsr.shapes import Images, Scalar


def l1(result: Images, truth: Images) -> Scalar:
    """Return the mean absolute error.

    Source: MZSR, equations 4-8; both stages of training and the meta-test use it.

    >>> import torch
    >>> float(l1(torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 0.0], [0.5, -0.5]]]])))
    0.25
    """
    return (result - truth).abs().mean()


Loss = Callable[[Images, Images], Scalar]
LOSSES: dict[str, Loss] = {"l1": l1}
