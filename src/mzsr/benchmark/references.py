"""Networks to compare with, for their *cost* alone: weights do not change it, so theirs are random.

EDSR-S is one of ours, untrained; RRDBNet is called as ours are, and no member of NETWORKS.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu, pixel_unshuffle

from mzsr.config import NetworkConfig
from mzsr.imaging.degrade import Degradation
from mzsr.learning.contract import Features, Network
from mzsr.learning.networks import build
from mzsr.shapes import Images

SCALE = 2
CHANNELS, GROWTH = 64, 32  # of RRDBNet


class RrdbNet(Network):
    """ESRGAN's generator: 23 residual-in-residual dense blocks, two nearest-neighbour enlargements by 2.

    16,697,987 parameters at x4. At x2 it is what Real-ESRGAN made of it: the input goes through a 2x2 space-to-depth
    first, all else stays (16,703,171 parameters). So the blocks run on a quarter of the output's side at either scale,
    and a pixel of output costs the same; with the blocks at the input's resolution x2 would cost four times as much.

    Source: Wang et al., "ESRGAN", ECCVW 2018, section 3.1; Wang et al., "Real-ESRGAN", ICCVW 2021, section 3.3.
    """

    def __init__(self, *, scale: int = SCALE, blocks: int = 23) -> None:
        """Build it for x2 or x4 with PyTorch's initialisation."""
        super().__init__()
        self.fold = 4 // scale
        self.head = _conv(3 * self.fold**2, CHANNELS)
        self.blocks = nn.ModuleList([nn.ModuleList([_DenseBlock() for _ in range(3)]) for _ in range(blocks)])
        self.last = _conv(CHANNELS, CHANNELS)
        self.larger = nn.ModuleList([_conv(CHANNELS, CHANNELS) for _ in range(2)])
        self.tail = nn.Sequential(_conv(CHANNELS, CHANNELS), nn.LeakyReLU(0.2), _conv(CHANNELS, 3))

    def mean(self, lr: Images, d: Degradation) -> tuple[Images, Features]:
        """Return the picture and the features at its size; at x2 the sides must be even, and d is not looked at."""
        with self.autocast(lr.device):
            folded = pixel_unshuffle(lr, self.fold).contiguous(memory_format=self.layout)
            head = hidden = self.head(folded)
            for block in self.blocks:
                inner = hidden
                for dense in block.children():
                    inner = dense(inner)
                hidden = hidden + 0.2 * inner
            hidden = head + self.last(hidden)
            for conv in self.larger:
                hidden = leaky_relu(conv(interpolate(hidden, scale_factor=2.0)), 0.2)
            return self.tail(hidden).to(lr.dtype), hidden


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it saw and made."""

    def __init__(self) -> None:
        super().__init__()
        widths = [GROWTH] * 4 + [CHANNELS]
        self.convs = nn.ModuleList([_conv(CHANNELS + i * GROWTH, width) for i, width in enumerate(widths)])

    def forward(self, hidden: Features) -> Features:
        seen = [hidden]
        for conv in self.convs:
            seen.append(leaky_relu(conv(torch.cat(seen, 1)), 0.2) if len(seen) < 5 else conv(torch.cat(seen, 1)))
        return hidden + 0.2 * seen[-1]


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


REFERENCES: dict[str, Callable[[], Network]] = {
    "edsr-s": lambda: build(NetworkConfig(name="edsr-s", scale=SCALE)),
    "rrdbnet": RrdbNet,
}
