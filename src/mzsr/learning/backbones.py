"""The networks that UDL was published with: EDSR, small and large, and DPDNN.

Both enlarge by the contract of `contract`. EDSR is told nothing of the degradation and is built for one scale; DPDNN
knows kernel and scale, and serves any.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from mzsr.errors import InputError
from mzsr.imaging.degrade import Degradation, adjoint, effective_kernel, linear, upsample
from mzsr.learning.contract import CUBIC_REACH, ExactConv2d, Features, Network, Variance
from mzsr.shapes import Images

MEAN_COLOUR = (0.4488, 0.4371, 0.4040)  # of DIV2K, red, green and blue: what EDSR takes away and adds again
RESIDUAL_SCALE = 0.1  # of the branch of a residual block


class Edsr(Network):
    """Residual blocks without normalisation at low resolution, pixel shuffle at the end.

        x ← x + 0.1 conv(relu(conv(x)))

    EDSR-S has 16 blocks of 64 channels (1,369,859 parameters at x2), EDSR 32 of 256 (40,729,603). It knows nothing of
    the degradation but the scale that it is built for: x3 in one step, x4 in two by 2.

    Source: Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPRW 2017, section 3;
    residual scaling 0.1 in the small one too and the head as in UDL.
    """

    def __init__(self, *, scale: int, blocks: int = 16, channels: int = 64, log_var: bool = False) -> None:
        """Build it with PyTorch's initialisation."""
        super().__init__()
        self.scale = scale
        self.trunk = _Trunk(blocks, channels)
        steps = [2, 2] if scale == 4 else [scale]
        larger = [part for s in steps for part in (_conv(channels, channels * s**2), nn.PixelShuffle(s))]
        self.tail = nn.Sequential(*larger, _pixels(channels, 3))
        if log_var:
            self.variance = Variance(channels)

    def mean(self, lr: Images, d: Degradation) -> tuple[Images, Features]:
        """Return the picture, and the features at low resolution.

        Raises:
            InputError: the degradation has another scale.
        """
        if d.scale != self.scale:
            raise InputError(f"network is built for x{self.scale}, this is x{d.scale}; take weights of that scale")
        colour = lr.new_tensor(MEAN_COLOUR).reshape(1, 3, 1, 1)
        with self.autocast(lr.device):
            features = self.trunk((lr - colour).contiguous(memory_format=self.layout))
            hr = self.tail(features)
        return hr.to(lr.dtype) + colour, features

    def log_var(self, features: Features, hr: Images, d: Degradation) -> Images:
        """Enlarge the features by nearest neighbours, and apply the head."""
        assert self.variance is not None
        return self.variance(interpolate(features, scale_factor=float(self.scale)))

    def bodies(self) -> list[nn.Module]:
        """Return trunk and tail."""
        return [self.trunk, self.tail]

    def reach(self, d: Degradation, *, log_var: bool = False) -> int:
        """Return a pixel for every convolution at low resolution, and one for those above it, tail or head."""
        return 2 * len(self.trunk.blocks) + 4


class _Trunk(nn.Module):
    """What EDSR computes at low resolution."""

    def __init__(self, blocks: int, channels: int) -> None:
        super().__init__()
        self.head = _pixels(3, channels)
        self.blocks = nn.ModuleList(
            [nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels)) for _ in range(blocks)]
        )
        self.last = _conv(channels, channels)

    def forward(self, lr: Images) -> Features:
        head = hidden = self.head(lr)
        for block in self.blocks:
            hidden = hidden + RESIDUAL_SCALE * block(hidden)
        return head + self.last(hidden)


class Dpdnn(Network):
    """Denoising-prior-driven network: gradient descent on restoration, unfolded, with one denoiser in every iteration.

    Restoration with a denoiser f as prior splits x, which explains lr, from v, which looks like a photograph:

        minimise |lr - A x|² + η |x - v|²,   v = f(x)

    Half of a quadratic splitting is solved by the denoiser, the other half by one gradient step each time:

        v ← f(x)
        x ← x - δ_t [Aᵀ(A x - lr) + η_t (x - v)]

    Six such iterations, drawn out one after the other, are the network, trained as a whole. The denoiser is *shared*:
    the same weights in every iteration, since what a photograph looks like does not depend on how far one is; δ_t and
    η_t are learned for each, which is all that an iteration adds (1,443,471 parameters with 64 channels). A is the
    degradation that the network is told, of any kernel and scale.

    Source: Dong et al., "Denoising prior driven deep neural network for image restoration", TPAMI 2019, algorithm 1
    and figure 1, by its text; ours are A of any degradation, the start from phase-correct bicubic, and a last
    convolution that begins at zero.
    """

    grain = 8  # the denoiser's coarsest grid

    def __init__(self, *, stages: int = 6, channels: int = 64, log_var: bool = False) -> None:
        """Build it so that, untrained, it descends on |lr - A x|² from phase-correct bicubic."""
        super().__init__()
        self.denoiser = Denoiser(channels)
        self.delta = nn.Parameter(torch.full((stages,), 0.1))
        self.eta = nn.Parameter(torch.full((stages,), 0.9))
        if log_var:
            self.variance = Variance(channels)

    def mean(self, lr: Images, d: Degradation) -> tuple[Images, Features]:
        """Return the picture, and the features of the last iteration's denoiser, of every output pixel."""
        hr = upsample(lr, d)
        features = None
        for delta, eta in zip(self.delta, self.eta, strict=True):
            noise, features = self._noise(hr)
            hr = hr - delta * (adjoint(linear(hr, d) - lr, d) + eta * noise)
        assert features is not None
        return hr, features

    def bodies(self) -> list[nn.Module]:
        """Return the denoiser."""
        return [self.denoiser]

    def reach(self, d: Degradation, *, log_var: bool = False) -> int:
        """Return the radius of bicubic, and of denoiser or kernel in every iteration."""
        kernel = effective_kernel(d).shape[-1] // 2
        pixels = len(self.delta) * max(Denoiser.REACH, 2 * kernel) + self.beyond(log_var=log_var)
        return CUBIC_REACH + math.ceil(pixels / d.scale)

    def _noise(self, hr: Images) -> tuple[Images, Features]:
        """Return x - f(x) and the features behind it; sides are brought to a multiple of the coarsest grid."""
        height, width = hr.shape[2:]
        even = pad(hr, (0, -width % self.grain, 0, -height % self.grain), mode="replicate")
        with self.autocast(hr.device):
            noise, features = self.denoiser(even.contiguous(memory_format=self.layout))
        return noise[:, :, :height, :width].to(hr.dtype), features[:, :, :height, :width]


class Denoiser(nn.Module):
    """The denoiser of DPDNN: a U-Net that returns the noise, on four grids, each half as fine as the one before.

    Four 3x3 convolutions on every grid on the way down, the first of which halves; on the way up the same again for
    what comes from below beside what was there, and a transposed convolution that doubles.
    """

    GRIDS, DEPTH = 4, 4
    # Pixels: a convolution reaches as far as the pixels of its grid are wide. Down 4 + (1 + 3x2) + (2 + 3x4) +
    # (4 + 3x8), below 8, up 4x8 + 4 + 4x4 + 2 + 4x2 + 1 + 4, and the last 1
    REACH = 129

    def __init__(self, channels: int) -> None:
        """Build it so that, untrained, it finds no noise."""
        super().__init__()
        self.down = nn.ModuleList([_block(3 if i == 0 else channels, channels, i > 0) for i in range(self.GRIDS)])
        self.below = nn.Sequential(_conv(channels, channels), nn.ReLU())
        self.up = nn.ModuleList([_block(2 * channels, channels) for _ in range(self.GRIDS)])
        self.finer = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(channels, channels, 3, 2, 1, 1), nn.ReLU())
                for _ in range(self.GRIDS - 1)
            ]
        )
        self.last = _pixels(channels, 3)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, picture: Images) -> tuple[Tensor, Features]:
        """Return the noise and the features it was made of, for sides that are multiples of 8."""
        seen, hidden = [], picture
        for block in self.down:
            hidden = block(hidden)
            seen.append(hidden)
        hidden = self.below(hidden)
        for index, block in enumerate(self.up):
            hidden = block(torch.cat([hidden, seen.pop()], 1))
            if index < len(self.finer):
                hidden = self.finer[index](hidden)
        return self.last(hidden), hidden


def _block(inputs: int, channels: int, halves: bool = False) -> nn.Sequential:
    kind = ExactConv2d if inputs == 3 else nn.Conv2d
    first = kind(inputs, channels, 3, stride=2 if halves else 1, padding=1)
    rest = [part for _ in range(Denoiser.DEPTH - 1) for part in (_conv(channels, channels), nn.ReLU())]
    return nn.Sequential(first, nn.ReLU(), *rest)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _pixels(inputs: int, outputs: int) -> nn.Conv2d:
    return ExactConv2d(inputs, outputs, 3, padding=1)
