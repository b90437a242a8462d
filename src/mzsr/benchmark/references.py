"""Networks to compare with, for their *cost* alone: weights do not change it, so theirs are random.

They are no members of NETWORKS.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_unshuffle

from mzsr.shapes import Images

SCALE = 2

Features = Float[Tensor, "b features rows columns"]


class EdsrS(nn.Module):
    """EDSR's baseline, EDSR-S: 16 residual blocks of 64 channels at low resolution, pixel shuffle at the end.

    1,369,859 parameters at x2. The subtraction of a mean colour is left out.

    Source: Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPRW 2017, table 1;
    residual scaling 0.1 as in UDL.
    """

    def __init__(self, *, blocks: int = 16, channels: int = 64) -> None:
        """Build it with PyTorch's initialisation."""
        super().__init__()
        self.head = _conv(3, channels)
        self.blocks = nn.ModuleList(
            [nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels)) for _ in range(blocks)]
        )
        self.last = _conv(channels, channels)
        self.tail = nn.Sequential(_conv(channels, channels * SCALE**2), nn.PixelShuffle(SCALE), _conv(channels, 3))

    def forward(self, lr: Images) -> Images:
        """Enlarge (B, 3, h, w) to (B, 3, 2 h, 2 w)."""
        head = hidden = self.head(lr)
        for block in self.blocks:
            hidden = hidden + 0.1 * block(hidden)
        return self.tail(head + self.last(hidden))


class RrdbNet(nn.Module):
    """ESRGAN's generator: 23 residual-in-residual dense blocks, two nearest-neighbour enlargements by 2.

    16,697,987 parameters at x4. At x2 it is what Real-ESRGAN made of it: the input goes through a 2x2 space-to-depth
    first, all else stays (16,703,171 parameters). So the blocks run on a quarter of the output's side at either scale,
    and a pixel of output costs the same; with the blocks at the input's resolution x2 would cost four times as much.

    Source: Wang et al., "ESRGAN", ECCVW 2018, section 3.1; Wang et al., "Real-ESRGAN", ICCVW 2021, section 3.3.
    """

    def __init__(self, *, scale: int = SCALE, blocks: int = 23, channels: int = 64, growth: int = 32) -> None:
        """Build it for x2 or x4 with PyTorch's initialisation."""
        super().__init__()
        self.fold = 4 // scale
        self.head = _conv(3 * self.fold**2, channels)
        self.blocks = nn.ModuleList(
            [nn.ModuleList([_DenseBlock(channels, growth) for _ in range(3)]) for _ in range(blocks)]
        )
        self.last = _conv(channels, channels)
        self.larger = nn.ModuleList([_conv(channels, channels) for _ in range(2)])
        self.tail = nn.Sequential(_conv(channels, channels), nn.LeakyReLU(0.2), _conv(channels, 3))

    def forward(self, lr: Images) -> Images:
        """Enlarge; at x2 the sides must be even."""
        head = hidden = self.head(pixel_unshuffle(lr, self.fold))
        for block in self.blocks:
            inner = hidden
            for dense in block.children():
                inner = dense(inner)
            hidden = hidden + 0.2 * inner
        hidden = head + self.last(hidden)
        for conv in self.larger:
            hidden = leaky_relu(conv(interpolate(hidden, scale_factor=2.0)), 0.2)
        return self.tail(hidden)


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it saw and made."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [growth] * 4 + [channels]
        self.convs = nn.ModuleList([_conv(channels + i * growth, width) for i, width in enumerate(widths)])

    def forward(self, hidden: Features) -> Features:
        seen = [hidden]
        for conv in self.convs:
            seen.append(leaky_relu(conv(torch.cat(seen, 1)), 0.2) if len(seen) < 5 else conv(torch.cat(seen, 1)))
        return hidden + 0.2 * seen[-1]


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


REFERENCES: dict[str, Callable[[], nn.Module]] = {"edsr-s": EdsrS, "rrdbnet": RrdbNet}
