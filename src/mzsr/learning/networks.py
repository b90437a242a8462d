"""The networks of MZSR, the paper's and the flagship, and `build`, which builds these and those of `backbones` by name.

All enlarge by the contract of `contract`.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from mzsr.config import NetworkConfig
from mzsr.imaging.blocks import from_blocks, to_blocks
from mzsr.imaging.data_step import GAIN, TRUST, data_step, data_steps
from mzsr.imaging.degrade import Degradation, error_map, phase, upsample
from mzsr.imaging.resize import resize
from mzsr.learning.backbones import Dpdnn, Edsr
from mzsr.learning.contract import CUBIC_REACH, ExactConv2d, Features, Network, Variance
from mzsr.shapes import Images

MIDDLE = 0.45
"""About the mean of photographs. Taken off what a network is given, whose units would first learn brightness alone."""
FOLD = -0.5
"""Slope of the activation of residual blocks below zero."""
SHARPER_GAIN = 5.0
"""Brings what a sharper solution changes, about 0.01, nearer to the size of the other inputs."""


class Paper(Network):
    """The network of MZSR: 3x3 convolutions at the output resolution, and a residual on bicubic.

    225,091 parameters with 8 layers of 64. It knows nothing of the degradation but the scale: bicubic is centre-aligned
    as in the paper, and a shift of the grid is for the weights to learn.

    Source: MZSR, section 5.1.
    """

    def __init__(self, *, layers: int = 8, channels: int = 64, log_var: bool = False) -> None:
        """Build it with PyTorch's initialisation."""
        super().__init__()
        widths = [3] + [channels] * (layers - 1) + [3]
        body: list[nn.Module] = []
        for before, after in pairwise(widths):
            kind = ExactConv2d if 3 in (before, after) else nn.Conv2d
            body += [kind(before, after, 3, padding=1), nn.ReLU()]
        self.body = _Chain(*body[:-1])
        self.layers = layers
        if log_var:
            self.variance = Variance(channels)

    def mean(self, lr: Images, d: Degradation) -> tuple[Images, Features]:
        """Enlarge by bicubic and add the residual; the features are those before the last convolution."""
        start = resize(lr, scale=float(d.scale))
        with self.autocast(lr.device):
            residual, features = self.body(start.contiguous(memory_format=self.layout))
        return start + residual.to(start.dtype), features

    def bodies(self) -> list[nn.Module]:
        """Return the one body."""
        return [self.body]

    def reach(self, d: Degradation, *, log_var: bool = False) -> int:
        """Return the radius of bicubic and of the convolutions."""
        return CUBIC_REACH + math.ceil((self.layers + self.beyond(log_var=log_var)) / d.scale)


class _Chain(nn.Sequential):
    """Layers one after the other, which also return what the last of them was given."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *layers, last = self
        for layer in layers:
            features = layer(features)
        return last(features), features


class Unfolded(Network):
    """The flagship: stages of a data step, which knows the degradation, and a small network, which knows pictures.

        x ← upsample(lr)
        for each stage:  x, x' ← data_step(lr, x, d, α_i(σ)), data_step(lr, x, d, α'_i(σ))
                         x ← x + network_i(x, x' - x, σ)
        finally:  x ← data_step(lr, x, d, α(σ))

    The data step makes every stage start from a picture that explains lr under *this* kernel, so that nothing has to be
    learned about kernels. Its α is learned, and grows with the noise as the maximum-a-posteriori estimate does. No α
    suits a whole picture: what is right at an edge rings in the sky. So a network also sees what a smaller α', sharper
    and noisier, would change, and takes what it wants. The networks work on the space-to-depth of the output grid, in
    blocks of 2x2 at any scale or of 4x4 where all is x4, and hand their features on to the next stage: that is cheaper,
    and they see farther. The last data step sees to it that what they changed still explains lr.

    Source: data step and unfolding after USRNet (CVPR 2020) and DPDNN (TPAMI 2019); the sharper solution beside it, the
    features carried from stage to stage, the two-term α and the head are ours. The head is on the space-to-depth, its
    convolutions spread out (dilations 1, 2, 4, 8, 1): how far off a pixel is likely to be is told by what kind of
    picture lies around it, and the farther it sees, the truer it is for a picture as a whole (LOG.md).
    """

    def __init__(
        self, *, stages: int = 3, blocks: int = 4, channels: int = 64, unshuffle: int = 2, log_var: bool = False
    ) -> None:
        """Build it so that, untrained, it returns the data-consistent solution."""
        super().__init__()
        self.stages = nn.ModuleList([Stage(blocks, channels, unshuffle) for _ in range(stages)])
        self.last = Trust()
        self.grain = unshuffle
        if log_var:
            self.variance = Variance(channels, outputs=3 * unshuffle**2, dilations=(1, 2, 4, 8, 1))

    def mean(self, lr: Images, d: Degradation) -> tuple[Images, Features]:
        """Start from phase-correct bicubic and go through the stages; the features are those of the last."""
        hr = upsample(lr, d)
        sigma = error_map(d, lr)
        features, corner = None, self._corner(d)
        for stage in self._chain:
            alpha = stage.trust(sigma)
            hr, sharp = data_steps(lr, hr, d, [alpha, stage.sharper(alpha)])
            residual, features = self._refine(stage, hr, sharp - hr, sigma, features, corner)
            hr = hr + residual
        assert features is not None
        return data_step(lr, hr, d, self.last(sigma)), features

    def log_var(self, features: Features, hr: Images, d: Degradation) -> Images:
        """Apply the head to the blocks, and lay them where the stages have them."""
        assert self.variance is not None
        (top, left), (height, width) = self._corner(d), hr.shape[2:]
        return from_blocks(self.variance(features), self.grain)[:, :, top : top + height, left : left + width]

    def bodies(self) -> list[nn.Module]:
        """Return the networks of the stages."""
        return list(self.stages)

    def reach(self, d: Degradation, *, log_var: bool = False) -> int:
        """Return the radius of bicubic and of all convolutions; that of the data steps comes on top."""
        blocks = sum(stage.depth for stage in self._chain) + self.beyond(log_var=log_var)
        return CUBIC_REACH + math.ceil(self.grain * blocks / d.scale)

    def alphas(self, d: Degradation) -> list[float]:
        """Return α' of every stage, and the last α, at the error of the degradation, noise and JPEG."""
        image = self.last.log_alpha.reshape(1, 1, 1, 1).expand(torch.as_tensor(d.noise).numel(), -1, -1, -1)
        sigma = error_map(d, image).max().reshape(1, 1, 1, 1)
        with torch.no_grad():
            return [float(stage.sharper(stage.trust(sigma))) for stage in self._chain] + [float(self.last(sigma))]

    @property
    def _chain(self) -> list["Stage"]:
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def _refine(
        self, stage: "Stage", hr: Images, sharper: Images, sigma: Float[Tensor, "#b 1 1 1"], features: Features | None,
        corner: tuple[int, int],
    ) -> tuple[Images, Features]:  # fmt: skip
        (top, left), (height, width) = corner, hr.shape[2:]
        both = torch.cat([hr - MIDDLE, SHARPER_GAIN * sharper], 1)
        over = (left, -(left + width) % self.grain, top, -(top + height) % self.grain)
        whole = pad(both, over, mode="replicate") if any(over) else both
        blocks = to_blocks(whole, self.grain)  # (B, 6 side², H / side, W / side)
        # A standard deviation of 10/255 becomes about 1, the size of the other inputs
        level = (25.0 * sigma).expand(hr.shape[0], 1, *blocks.shape[2:])
        inputs = torch.cat([blocks, level], 1).contiguous(memory_format=self.layout)
        with self.autocast(hr.device):
            output, handed_on = stage(inputs, features)
        hr_residual = from_blocks(output.to(hr.dtype), self.grain)
        return hr_residual[:, :, top : top + height, left : left + width], handed_on

    def _corner(self, d: Degradation) -> tuple[int, int]:
        """Return how many rows and columns before the picture its first block begins.

        On the paper's grid a low-resolution pixel sits on the first place of a block. On its mirror image, where a
        turned picture has it (`ensemble`), it would sit on a place that no training has seen; there blocks move along.
        """
        middle = (d.scale - 1) / 2 + 0.25
        return tuple(-round(place) % self.grain if place > middle else 0 for place in phase(d))  # pyright: ignore


class Trust(nn.Module):
    """The trust in the prior of one data step, α(σ) = e^a + e^g σ²."""

    def __init__(self) -> None:
        """Begin where the learned α of the first flagship stayed (LOG.md)."""
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(math.log(TRUST)))
        # The error of the prior is about 0.05, and α is (noise / error of the prior)² for independent errors
        self.log_gain = nn.Parameter(torch.tensor(math.log(GAIN)))

    def forward(self, sigma: Float[Tensor, "#b 1 1 1"]) -> Float[Tensor, "#b 1 1 1"]:
        """Return α(σ)."""
        return self.log_alpha.exp() + self.log_gain.exp() * sigma**2


class Stage(nn.Module):
    """One network of `Unfolded` and the trusts of the data step before it."""

    def __init__(self, blocks: int, channels: int, unshuffle: int) -> None:
        """Build head, residual blocks and a tail that starts at zero, for blocks of `unshuffle` pixels a side."""
        super().__init__()
        self.depth = 2 + 2 * blocks  # convolutions, each of which reaches one block of pixels far
        self.trust = Trust()
        self.log_sharper = nn.Parameter(torch.tensor(math.log(1 / 20)))
        self.head = ExactConv2d(6 * unshuffle**2 + 1, channels, 3, padding=1)
        self.blocks = nn.ModuleList([Block(channels) for _ in range(blocks)])
        self.tail = ExactConv2d(channels, 3 * unshuffle**2, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def sharper(self, alpha: Float[Tensor, "#b 1 1 1"]) -> Float[Tensor, "#b 1 1 1"]:
        """Return α' of the sharper solution, a learned share of α, never more than all of it."""
        return self.log_sharper.exp().clamp(max=1) * alpha

    def forward(
        self, blocks: Float[Tensor, "b inputs rows columns"], features: Features | None
    ) -> tuple[Float[Tensor, "b outputs rows columns"], Features]:
        """Return the residual and the features for the next stage.

        There is no ReLU before the tail: half of the features died behind one (LOG.md).
        """
        hidden = self.head(blocks)
        if features is not None:
            hidden = hidden.add_(features)  # in place, as in `Block`
        for block in self.blocks:
            hidden = block(hidden)
        return self.tail(hidden), hidden


class Block(nn.Module):
    """A residual block: x + conv(fold(conv(x))).

    fold(h) = h above zero, -h / 2 below. As long as a block is little more than noise, training turns it down, and the
    units of a ReLU go where they say nothing, and stay: three of four blocks of a flagship ended so (LOG.md). A fold
    says least at its kink, so there its units go, and there they learn.
    """

    def __init__(self, channels: int) -> None:
        """Build two convolutions, which change nothing until they are trained."""
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, hidden: Features) -> Features:
        """Add the block's correction."""
        # In place where nobody looks again: fresh memory costs the system as much as arithmetic
        alone = not torch.is_grad_enabled()
        correction = self.second(leaky_relu(self.first(hidden), FOLD, inplace=alone))
        # The sum is of the precision of `hidden`, float32, whatever that of the convolutions is
        return hidden.add_(correction) if alone else hidden + correction


def build(config: NetworkConfig) -> Network:
    """Build the network that a configuration names.

    >>> sum(p.numel() for p in build(NetworkConfig(name="paper")).parameters())
    225091
    """
    return NETWORKS[config.name](config)


NETWORKS: dict[str, Callable[[NetworkConfig], Network]] = {
    "paper": lambda c: Paper(layers=c.layers, channels=c.channels, log_var=c.log_var),
    "unfolded": lambda c: Unfolded(
        stages=c.stages, blocks=c.blocks, channels=c.channels, unshuffle=c.unshuffle, log_var=c.log_var
    ),
    "edsr-s": lambda c: Edsr(scale=c.scale, blocks=16, channels=64, log_var=c.log_var),
    "edsr": lambda c: Edsr(scale=c.scale, blocks=32, channels=256, log_var=c.log_var),
    "dpdnn": lambda c: Dpdnn(channels=c.channels, log_var=c.log_var),
}
