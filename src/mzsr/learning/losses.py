"""What training and adaptation minimise: plain functions of pictures, s and weights.

    L1    mean |x - f|                       EU    mean(e^-s |x - f| + s)
    UDL   mean(w |x - f|), w from s          ESU   mean(e^-s |x - f| + 2 s)
    PSNR  ln(1 + mean (x - f)² / 1e-4) / 20, its mean over pictures

Pictures are in [0, 1]. s = ln σ, the network's `log_var`, is about 8-bit grey levels: inside EU and ESU residuals are
multiplied by 255. Their optimum, s = ln |e| or ln(|e| / 2), then lies where the head of the networks, which cannot go
below -1, has its values; of a residual in [0, 1] it would lie below, s would be -1 everywhere, and UDL would be L1.

Knows no network: where s comes from, and that it is frozen, is the business of `pretrain`.

Source: Ning et al., "Uncertainty-driven loss for single image super-resolution" (UDL), NeurIPS 2021.
"""

from collections.abc import Callable

import torch
from torch.nn.functional import pad

from mzsr.errors import InputError
from mzsr.shapes import Images, Scalar

PSNR_FLOOR = 1e-4  # mean squared error of 40 dB
GREY_LEVELS = 255.0  # of an 8-bit picture, by which residuals are multiplied where s is about them


def l1(result: Images, truth: Images) -> Scalar:
    """Return the mean absolute error.

    Source: MZSR, equations 4-8; both stages of training and the meta-test use it.

    >>> float(l1(torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 0.0], [0.5, -0.5]]]])))
    0.25
    """
    return (result - truth).abs().mean()


def psnr(result: Images, truth: Images) -> Scalar:
    """Return the mean over pictures of ln(1 + mean squared error / 1e-4) / 20, which falls as PSNR rises.

    A picture counts as in a table of PSNR, a smooth one as much as a textured one; beyond 40 dB less. The twentieth
    part has gradients of about the size of those of L1.

    Source: the loss of HINet, Chen et al., CVPR workshops 2021, with a floor.

    >>> off = torch.tensor([0.01, 0.1]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    >>> round(float(psnr(off, torch.zeros(2, 1, 4, 4))), 4)  # ln(2) / 40 + ln(101) / 40
    0.1327
    """
    return ((result - truth).square().mean(dim=(1, 2, 3)) / PSNR_FLOOR).log1p().mean() / 20


def eu(result: Images, truth: Images, log_var: Images) -> Scalar:
    """Return the negative log-likelihood of a Laplace distribution, less a constant: mean(e^-s |e| + s).

    It is smallest at s = ln |e|: e^s is the expected absolute error.

    Args:
        result: f, in [0, 1].
        truth: x, in [0, 1].
        log_var: s, in logarithms of 8-bit grey levels; e is 255 (x - f).

    Raises:
        InputError: a truth outside [0, 1].

    Source: UDL, L_EU; Kendall and Gal, NeurIPS 2017.

    >>> from math import log
    >>> truth, off = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3 / 255)
    >>> round(float(eu(off, truth, torch.full_like(truth, log(3))) - log(3)), 6)
    1.0
    """
    return _likelihood(result, truth, log_var, 1.0)


def esu(result: Images, truth: Images, log_var: Images) -> Scalar:
    """Return EU with Jeffreys' prior p(σ) = 1 / σ, which makes σ sparse: mean(e^-s |e| + 2 s).

    It is smallest at s = ln(|e| / 2): e^s is *half* of the expected absolute error. Step 1 of UDL. All else is as for
    `eu`.

    Source: UDL, L_ESU.

    >>> from math import log
    >>> truth, off = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 6 / 255)
    >>> round(float(esu(off, truth, torch.full_like(truth, log(3))) - 2 * log(3)), 6)
    2.0
    """
    return _likelihood(result, truth, log_var, 2.0)


def udl(result: Images, truth: Images, weight: Images) -> Scalar:
    """Return the weighted mean absolute error, mean(w |x - f|). Step 2 of UDL, and its ablations.

    Args:
        result: f, in [0, 1].
        truth: x, in [0, 1].
        weight: w, not negative; see `weights`. The residual stays in [0, 1], so that a weight of 1 is L1.

    Raises:
        InputError: a truth outside [0, 1].

    Source: UDL, L_UDL, with w = ŝ.

    >>> half = torch.tensor([[[[0.0, 2.0]]]])
    >>> float(udl(torch.tensor([[[[9.0, 0.5]]]]), torch.zeros(1, 1, 1, 2), half))
    0.5
    """
    _check_range(truth)
    return (weight * (result - truth).abs()).mean()


def weights(hardness: Images, *, scaling: str = "linear", offset: float | int = 1.0, normalise: bool = False) -> Images:
    """Return the weights of pixels, w = φ(u) + offset, u how hard a pixel is; a constant in every gradient.

    All φ rise from φ(0) = 0. The easiest pixel of a patch and channel has u = 0, so with the paper's offset 0 it drops
    out of the loss and the largest weight is without bound beside it. The code of UDL adds 1, with which its numbers
    were measured: the default.

    Args:
        hardness: u, not negative: `uncertainty` of s, `relative` of an error map or a gradient map.
        scaling: φ, one of SCALINGS.
        offset: what the easiest pixel weighs.
        normalise: divide by the mean over each patch and channel, which otherwise rescales the learning rate.

    Source: UDL, L_UDL and its ablation of scalings; repository of UDL for offset 1.

    >>> weights(torch.tensor([[[[0.0, 2.0]]]])).tolist()
    [[[[1.0, 3.0]]]]
    >>> weights(torch.tensor([[[[0.0, 2.0]]]]), normalise=True).tolist()
    [[[[0.5, 1.5]]]]
    """
    weight = SCALINGS[scaling](hardness.detach()) + offset
    if not normalise:
        return weight
    mean = weight.mean((2, 3), keepdim=True)
    # Where all are alike and weigh nothing, none is harder than another
    return torch.where(mean == 0, torch.ones_like(weight), weight / mean)


STEEPEST = 10.0
"""u beyond which the exponential φ stays at e^10: a map of errors has single pixels of a thousand times the mean."""
SCALINGS: dict[str, Callable[[Images], Images]] = {
    "linear": lambda u: u,
    "log": torch.log1p,
    "exponential": lambda u: u.clamp(max=STEEPEST).expm1(),
    "sigmoid": lambda u: (u / 2).tanh(),  # 2 / (1 + e^-u) - 1
}
"""φ of `weights`. UDL found linear and log best, and chose linear."""


def uncertainty(log_var: Images) -> Images:
    """Return ŝ = s - min s, over each patch and channel: the certain pixels have 0.

    Source: UDL, L_UDL; over each patch and channel as in its code.

    >>> uncertainty(torch.tensor([[[[-1.0, 0.5]]]])).tolist()
    [[[[0.0, 1.5]]]]
    """
    return log_var - log_var.amin((2, 3), keepdim=True)


def relative(values: Images) -> Images:
    """Return a map that is not negative as a multiple of its mean over each patch and channel; 0 where that is 0.

    >>> relative(torch.tensor([[[[0.0, 0.2]]]])).tolist()
    [[[[0.0, 2.0]]]]
    """
    mean = values.mean((2, 3), keepdim=True)
    return torch.where(mean == 0, torch.zeros_like(values), values / mean)


def gradient_map(picture: Images) -> Images:
    """Return the length of the gradient, by differences to the next pixel; 0 beyond the last row and column.

    Source: UDL, ablation of weights ("gradient map").

    >>> gradient_map(torch.tensor([[[[0.0, 3.0], [4.0, 4.0]]]])).tolist()
    [[[[5.0, 1.0], [0.0, 0.0]]]]
    """
    down, right = pad(picture.diff(dim=2), (0, 0, 0, 1)), pad(picture.diff(dim=3), (0, 1))
    return torch.hypot(down, right)


Loss = Callable[[Images, Images], Scalar]
LOSSES: dict[str, Loss] = {"l1": l1, "psnr": psnr}
LIKELIHOODS: dict[str, Callable[[Images, Images, Images], Scalar]] = {"eu": eu, "esu": esu}
"""Losses of a result and its log-variance together."""


def _likelihood(result: Images, truth: Images, log_var: Images, prior: float) -> Scalar:
    _check_range(truth)
    return ((-log_var).exp() * GREY_LEVELS * (result - truth).abs() + prior * log_var).mean()


def _check_range(truth: Images) -> None:
    low, high = (float(end) for end in truth.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise InputError(f"picture has values from {low:g} to {high:g}; s is in grey levels of [0, 1], divide by 255")
