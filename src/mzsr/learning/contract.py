"""What every network shares: how it is called, what it says of itself, and the head for the log-variance.

`network(lr, degradation)` takes (B, 3, h, w) in [0, 1] and returns (B, 3, s h, s w), not clamped; with a head,
`network.with_log_var(lr, degradation)` returns s = ln σ beside it, in logarithms of 8-bit grey levels. `reach(d)` says
how many low-resolution pixels around a pixel its convolutions can see, with the head if asked. `precision` is what the
hidden ones run in; parameters, heads, what reads or makes pixels (`ExactConv2d`) and everything around convolutions
stay in float32. `layout` is that of what they are given in memory; no result depends on it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from mzsr.errors import InputError
from mzsr.imaging.degrade import Degradation
from mzsr.shapes import Images, Params

CUBIC_REACH = 3  # low-resolution pixels on either side that bicubic enlargement looks at, any phase
HEAD = "variance."  # what the names of the head's parameters begin with, in every network

Features = Float[Tensor, "b features rows columns"]
"""What a network computes last, on a grid of its own; the result and the log-variance are both made of it."""


class Network(nn.Module):
    """What every network shares.

    Attributes:
        variance: the head, or None.
        grain: tiles begin on multiples of so many low-resolution pixels.
    """

    precision: torch.dtype = torch.float32
    layout: torch.memory_format = torch.channels_last
    grain: int = 2

    def __init__(self) -> None:
        """Begin without a head."""
        super().__init__()
        self.variance: Variance | None = None

    def forward(self, lr: Images, d: Degradation) -> Images:
        """Enlarge; see the contract at the head of this file."""
        return self.mean(lr, d)[0]

    def mean(self, lr: Images, d: Degradation) -> tuple[Images, Features]:
        """Return the enlarged picture and the features that it was made of."""
        raise NotImplementedError

    def with_log_var(self, lr: Images, d: Degradation, theta: Params | None = None) -> tuple[Images, Images]:
        """Return the enlarged picture and its log-variance s, one for each pixel and channel.

        Args:
            lr: (B, 3, h, w) in [0, 1].
            d: the degradation.
            theta: parameters to use instead of the network's own, adapted ones for instance.

        Returns:
            (B, 3, s h, s w) twice: the picture, as `network(lr, d)`, and s in logarithms of 8-bit grey levels, -1 or
            more: where e^-1 = 0.37 levels are expected, rounding to 8 bits (0.25) decides.

        Raises:
            InputError: the network has no head.
        """
        if self.variance is None:
            raise InputError("network has no log-variance head; take weights trained with network.log_var=true")
        both = _Both(self)
        return both(lr, d) if theta is None else functional_call(
            both, {f"network.{name}": tensor for name, tensor in theta.items()}, (lr, d)
        )  # fmt: skip

    def log_var(self, features: Features, hr: Images, d: Degradation) -> Images:
        """Return the head's answer for the features of `mean`, on the pixels of `hr`: on its own, unless said."""
        assert self.variance is not None
        return self.variance(features)

    def reach(self, d: Degradation, *, log_var: bool = False) -> int:
        """Return how far, in low-resolution pixels, the finite parts of the network look, or of the network and head.

        Args:
            d: the degradation.
            log_var: whether the log-variance is looked at, too.
        """
        raise NotImplementedError

    def beyond(self, *, log_var: bool) -> int:
        """Return how many pixels of its grid the head, if asked, looks beyond the convolution whose place it has."""
        return self.variance.reach - 1 if log_var and self.variance is not None else 0

    def alphas(self, d: Degradation) -> list[float]:
        """Return the trust in the prior of every data step; none for a network without one."""
        return []

    def bodies(self) -> list[nn.Module]:
        """Return the parts that are nothing but convolutions, which `torch.compile` is good at."""
        raise NotImplementedError

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which convolutions run in `precision`."""
        return nullcontext() if self.precision == torch.float32 else torch.autocast(device.type, self.precision)


class ExactConv2d(nn.Conv2d):
    """A convolution that stays in the precision of its weights, whatever `Network.autocast` says.

    It is for the layers that read pixels or make them: the 8 binary digits of bfloat16 are half a grey level off, at
    best, while the hidden layers between lose nothing to speak of.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, rows, columns) of any precision."""
        if input.device.type == "meta":  # where costs are counted, and autocast is not known
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class Variance(nn.Sequential):
    """The log-variance head: 3x3 convolutions, an ELU after each, which keeps s at -1 or above.

    Attributes:
        reach: how many pixels of the grid it is on it sees around one.

    Source: UDL, three convolutions C → C → C → 3 after nearest-neighbour enlargement to the output's grid.
    """

    def __init__(self, channels: int, *, outputs: int = 3, dilations: Sequence[int] = (1, 1, 1)) -> None:
        """Build it with PyTorch's initialisation: s begins near 0, an expected error of one grey level."""
        widths = [channels] * len(dilations) + [outputs]
        super().__init__(
            *(part for before, after, d in zip(widths, widths[1:], dilations, strict=False)
              for part in (nn.Conv2d(before, after, 3, padding=d, dilation=d), nn.ELU()))
        )  # fmt: skip
        self.reach = sum(dilations)


class _Both(nn.Module):
    """A network that returns its log-variance too, as a module, which is what `functional_call` can call."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Images, d: Degradation) -> tuple[Images, Images]:
        hr, features = self.network.mean(lr, d)
        # In float32: 8 binary digits of s = 5 would leave e^s a hundredth off
        return hr, self.network.log_var(features.to(hr.dtype), hr, d)
