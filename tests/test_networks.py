"""Tests of the networks: what they are untrained, what they see of their input, that a batch is its images."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measures import psnr
from torch import Tensor, nn

from mzsr.config import NetworkConfig
from mzsr.imaging import kernels
from mzsr.imaging.data_step import data_step
from mzsr.imaging.degrade import Degradation, Subsample, degrade, upsample
from mzsr.imaging.resize import resize
from mzsr.learning import networks
from mzsr.learning.backbones import Dpdnn, Edsr
from mzsr.learning.devices import best_precision
from mzsr.learning.networks import NETWORKS, Block, Network, Paper, Stage, Trust, Unfolded, build
from mzsr.shapes import Images

NARROW = kernels.gaussian((0.8, 1.6), 0.4, size=7)


def tiny(
    name: str, *, tail: float | int = 0, seed: int = 0, stages: int = 2, channels: int = 8, scale: int = 2,
    log_var: bool = False, unshuffle: int = 2,
) -> Network:  # fmt: skip
    """Build a small network; `tail` is the standard deviation of convolutions that are 0 untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name.startswith("edsr"):  # the size is in the name
            return Edsr(scale=scale, blocks=2, channels=channels, log_var=log_var).requires_grad_(False)
        shape = {"layers": 3} if name == "paper" else {"stages": stages, "blocks": 1, "unshuffle": unshuffle}
        network = build(NetworkConfig.parse({"name": name, "channels": channels, "log_var": log_var, **shape}))
        if isinstance(network, Dpdnn):
            nn.init.normal_(network.denoiser.last.weight, std=tail)
        if isinstance(network, Unfolded):
            for stage in network.stages:
                assert isinstance(stage, networks.Stage)
                for name, parameter in stage.named_parameters():
                    if name.endswith(("tail.weight", "second.weight")):
                        nn.init.normal_(parameter, std=tail)
    return network.requires_grad_(False)


def picture(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("layers", [2, 8])
@pytest.mark.parametrize("channels", [16, 64])
def test_paper_parameters(layers: int, channels: int) -> None:
    """3 → C, C → C (layers − 2 times), C → 3, all 3x3 with biases: 225,091 for the published 8 x 64."""
    network = build(NetworkConfig(name="paper", layers=layers, channels=channels))
    ends = 27 * channels + channels + 27 * channels + 3
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == ends + (layers - 2) * (9 * channels**2 + channels)
    assert (count == 225_091) == ((layers, channels) == (8, 64))


@pytest.mark.parametrize("unshuffle", [2, 4])
def test_flagship_parameters(unshuffle: int) -> None:
    """25 → C, two 3x3 for each residual block, C → 12, three numbers for α and α', and two for the last α.

    In blocks of 4x4 97 and 48 instead of 25 and 12.
    """
    channels, blocks, stages = 16, 2, 3
    network = build(NetworkConfig(channels=channels, blocks=blocks, stages=stages, unshuffle=unshuffle))
    given, made = {2: (25, 12), 4: (97, 48)}[unshuffle]
    ends = 9 * given * channels + channels + 9 * channels * made + made
    stage = 3 + ends + blocks * 2 * (9 * channels**2 + channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == stages * stage + 2


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_paper_is_bicubic_and_a_residual(scale: int) -> None:
    """Without its last layer it is MATLAB's bicubic, with a bias there it is brighter by that, whatever the kernel."""
    network, lr = tiny("paper"), picture(7, 9, batch=2)
    d = Degradation(NARROW, scale, noise=0.1)
    tail = network.get_submodule("body")[-1]  # pyright: ignore[reportIndexIssue]
    nn.init.zeros_(tail.weight)
    tail.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    expected = resize(lr, scale=float(scale)) + torch.tensor([0.1, 0.2, -0.3]).reshape(3, 1, 1)
    torch.testing.assert_close(network(lr, d), expected)


@pytest.mark.parametrize("subsample", ["direct", "bicubic"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("unshuffle", [2, 4])
def test_untrained_flagship_is_a_chain_of_data_steps(scale: int, subsample: Subsample, unshuffle: int) -> None:
    """7x9 becomes 21x27 at x3: the blocks must not leave a trace on odd sizes."""
    network, lr = (
        tiny("unfolded", unshuffle=unshuffle).double(),
        picture(7, 9, batch=2).double(),
    )  # a small α magnifies rounding
    noise = torch.tensor([0.0, 0.05], dtype=torch.float64)
    d = Degradation(NARROW.double(), scale, subsample, noise)
    hr = upsample(lr, d)
    for _ in range(3):  # two stages, and the last word
        hr = data_step(lr, hr, d, (0.003 + 400 * noise**2).reshape(2, 1, 1, 1))
    torch.testing.assert_close(network(lr, d), hr, atol=1e-5, rtol=1.3e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_untrained_flagship_beats_bicubic(photo: Tensor, scale: int) -> None:
    """The claim of the design: a usable picture before anything is learned, under a known kernel."""
    d = Degradation(kernels.gaussian((scale / 2, scale), 0.5), scale)
    hr = photo[:, :, :60, :72]
    lr = degrade(hr, d)
    gain = psnr(tiny("unfolded")(lr, d), hr) - psnr(upsample(lr, d), hr)
    assert gain > 0.5, f"{gain:.2f} dB"  # 3.2, 1.4 and 0.6 dB on this picture


@pytest.mark.parametrize("scale", [2, 3])
def test_flagship_keeps_a_constant(scale: int) -> None:
    """Kernels sum to one and borders are symmetric, so a flat picture explains a flat one."""
    lr = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1).expand(1, 3, 6, 8)
    hr = tiny("unfolded")(lr, Degradation(NARROW, scale, noise=0.02))
    torch.testing.assert_close(hr, lr[:, :, :1, :1].expand_as(hr), atol=1e-5, rtol=0)


@given(sigma=st.floats(0, 1), a=st.floats(-8, 2), g=st.floats(-2, 8))
def test_alpha_grows_with_the_noise(sigma: float, a: float, g: float) -> None:
    """α(σ) = e^a + e^g σ², one for each image; reported is that of the loudest, in a stage the sharper."""
    network = tiny("unfolded")
    sigmas = torch.tensor([0.0, sigma]).reshape(2, 1, 1, 1)
    expected = torch.tensor([math.exp(a), math.exp(a) + math.exp(g) * sigma**2]).reshape(2, 1, 1, 1)
    for trust in [module for module in network.modules() if isinstance(module, Trust)]:
        trust.log_alpha.fill_(a)
        trust.log_gain.fill_(g)
        torch.testing.assert_close(trust(sigmas), expected)
    reported = network.alphas(Degradation(NARROW, 2, noise=torch.tensor([sigma / 2, sigma, 0.0])))
    loudest = float(expected[1])
    assert reported == pytest.approx([loudest / 20, loudest / 20, loudest], rel=1e-4)


def test_a_network_sees_what_a_sharper_solution_would_change() -> None:
    """A stage whose tail hands on the sharper solution's channels returns that solution, before the last data step."""
    network, lr = tiny("unfolded", stages=1, channels=12), picture(7, 9)
    d = Degradation(NARROW, 2)
    stage = network.get_submodule("stages.0")
    assert isinstance(stage, Stage)
    for parameter in stage.parameters():
        if parameter.ndim:
            nn.init.zeros_(parameter)
    for channel in range(12):
        stage.head.weight[channel, 12 + channel, 1, 1] = 1.0
        stage.tail.weight[channel, channel, 1, 1] = 1 / networks.SHARPER_GAIN
    network.get_submodule("last").log_alpha.fill_(30.0)  # pyright: ignore[reportCallIssue] - all trust in the prior
    torch.testing.assert_close(network(lr, d), data_step(lr, upsample(lr, d), d, 0.003 / 20), rtol=0, atol=1e-5)


@pytest.mark.parametrize("grad", [False, True])
def test_units_of_a_block_learn_wherever_they_are_pushed(grad: bool) -> None:
    """Far below zero, where those of a ReLU are silent for good; and what is done in place changes nothing."""
    given, block = torch.rand(1, 6, 8, 8, generator=torch.Generator().manual_seed(0)), Block(6)
    with torch.no_grad():
        block.first.bias.fill_(-9.0)  # pyright: ignore[reportOptionalMemberAccess]
        nn.init.normal_(block.second.weight, std=0.1)
    with torch.set_grad_enabled(grad):
        result = block(given.clone())
    torch.testing.assert_close(result, given + block.second(-0.5 * block.first(given)))
    if grad:
        result.square().mean().backward()
        assert block.first.weight.grad.abs().amax((1, 2, 3)).min() > 0  # pyright: ignore[reportOptionalMemberAccess]


def test_a_flagship_is_given_pictures_about_zero() -> None:
    """Of a picture of middle grey the first convolution sees nothing."""
    network, given = tiny("unfolded", stages=1), []
    network.get_submodule("stages.0.head").register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
    network(torch.full((1, 3, 6, 6), networks.MIDDLE), Degradation(NARROW, 2))
    torch.testing.assert_close(given[0][:, :12], torch.zeros_like(given[0][:, :12]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("unshuffle", [2, 4])
@pytest.mark.parametrize("grid", [(0.0, 0.0), (3.0, 3.0), (0.0, 3.0)])
def test_low_resolution_pixels_sit_on_the_first_place_of_a_block(unshuffle: int, grid: tuple[float, float]) -> None:
    """On the paper's grid and on its mirror images, where a turned picture has it: a single bright pixel at x4."""
    network, given = tiny("unfolded", stages=1, unshuffle=unshuffle), []
    network.get_submodule("stages.0.head").register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
    lr = torch.zeros(1, 3, 6, 6)
    lr[:, :, 2, 3] = 1.0
    network(lr, Degradation(kernels.delta(), 4, grid=grid))
    red = given[0][0, : unshuffle**2]  # the places of a block
    assert int(red.flatten(1).amax(1).argmax()) == 0


def test_paper_has_no_alpha() -> None:
    assert tiny("paper").alphas(Degradation(NARROW, 2, noise=0.1)) == []


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3])
def test_one_kernel_for_all_equals_one_for_each(name: str, scale: int) -> None:
    network, lr = tiny(name, tail=0.1, scale=scale), picture(5, 6, batch=3)
    one = network(lr, Degradation(NARROW, scale, noise=0.05))
    each = network(lr, Degradation(NARROW.expand(3, -1, -1), scale, noise=torch.full((3,), 0.05)))
    torch.testing.assert_close(each, one, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_batch_is_its_images(scale: int) -> None:
    """Every image is treated with its own kernel and its own noise, as if it came alone."""
    network, lr = tiny("unfolded", tail=0.1), picture(5, 6, batch=3)
    # Of one centroid: kernels of a batch belong to one grid
    own = torch.stack([kernels.gaussian((v, 2 * v), v, size=9) for v in (0.3, 0.9, 1.5)])
    noise = torch.tensor([0.0, 0.02, 0.1])
    together = network(lr, Degradation(own, scale, noise=noise))
    for i in range(3):
        alone = network(lr[i : i + 1], Degradation(own[i], scale, noise=float(noise[i])))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)


def test_flagship_reads_the_noise_level() -> None:
    """Not by α alone: the body sees σ too."""
    network, lr = tiny("unfolded", tail=0.1), picture(6, 6)
    for trust in [module for module in network.modules() if isinstance(module, Trust)]:
        trust.log_gain.fill_(-99.0)
    clean, noisy = (network(lr, Degradation(NARROW, 2, noise=noise)) for noise in (0.0, 0.04))
    assert float((clean - noisy).abs().max()) > 1e-2


def seen(network: Callable[[Tensor, Degradation], Tensor], d: Degradation, at: int) -> int:
    """Return how many low-resolution pixels from (at, at) an output still depends on it, along the farther axis."""
    lr = picture(2 * at + 1, 2 * at + 1).double()
    other = lr.clone()
    other[:, :, at, at] += 10.0  # far outside [0, 1], so that every path shows
    changed = ((network(other, d) - network(lr, d)).abs() > 0).any(0).any(0)
    return int((changed.nonzero() // d.scale - at).abs().max())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("layers", [2, 8])
def test_paper_sees_no_further_than_its_reach(scale: int, layers: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Paper(layers=layers, channels=8).double().requires_grad_(False)
    d = Degradation(kernels.delta(), scale)
    reach = network.reach(d)
    found = seen(network, d, reach + 2)
    assert found <= reach
    assert found >= reach - 2, "a halo may be generous, not wasteful"


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("margin", [2, 3])  # on an even and an odd place of the 2x2 blocks at x3
@pytest.mark.parametrize(("scale", "unshuffle"), [(1, 2), (2, 2), (3, 2), (4, 2), (4, 4)])
@pytest.mark.parametrize("kernel", ["delta", "bicubic"])
@pytest.mark.parametrize("log_var", [False, True])
def test_flagship_sees_no_further_than_its_reach(
    monkeypatch: pytest.MonkeyPatch, stages: int, margin: int, scale: int, unshuffle: int, kernel: str, log_var: bool
) -> None:
    """All but the data steps, which are taken out here: their support is not finite, only decaying."""

    def no_steps(lr: Images, prior: Images, d: Degradation, alphas: Any) -> list[Images]:
        return [(index + 1) * prior for index in range(len(alphas))]  # the sharper one differs from the other

    monkeypatch.setattr(networks, "data_step", lambda lr, prior, d, alpha: prior)
    monkeypatch.setattr(networks, "data_steps", no_steps)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Unfolded(stages=stages, blocks=1, channels=6, unshuffle=unshuffle, log_var=True)
        network.double().requires_grad_(False)
        for parameter in network.parameters():
            if parameter.ndim:  # all paths open: positive weights on positive features
                parameter.copy_(0.02 + 0.1 * parameter.abs())
    d = Degradation(kernels.delta(), scale, "bicubic" if kernel == "bicubic" else "direct")
    reach = network.reach(d, log_var=log_var)
    found = seen(lambda lr, d: network.with_log_var(lr, d)[log_var], d, reach + margin)
    assert reach - 2 <= found <= reach, "a halo may be generous, not wasteful"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3])
def test_bfloat16_agrees_with_float32(photo: Tensor, name: str, scale: int) -> None:
    """Below a tenth of an 8-bit step (68 dB) where the residual is of the size that training finds; float32 outside."""
    network = tiny(name, tail=0.02, scale=scale)
    lr, d = photo[:, :, :21, :23], Degradation(NARROW, scale)
    exact = network(lr, d)
    network.precision = torch.bfloat16
    rounded = network(lr, d)
    assert rounded.dtype == torch.float32
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not torch.equal(rounded, exact), "bfloat16 was not used"
    assert psnr(rounded, exact) > 70


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_format_changes_nothing(photo: Tensor, name: str) -> None:
    """Weights and pictures in channels_last, as training has them, or contiguous, as files have them."""
    network = tiny(name, tail=0.1)
    lr, d = photo[:, :, :16, :20], Degradation(NARROW, 2, noise=0.01)
    contiguous = network(lr, d)
    last = network(lr.contiguous(memory_format=torch.channels_last), d)
    torch.testing.assert_close(last, contiguous, atol=1e-5, rtol=0)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(network(lr, d), contiguous, atol=1e-5, rtol=0)


def test_loss_reaches_every_parameter() -> None:
    """With noise in the picture both numbers of α are learned, from the first iteration on."""
    network, lr = tiny("unfolded", tail=0.1).requires_grad_(), picture(6, 7)
    truth = picture(12, 14)
    (network(lr, Degradation(NARROW, 2, noise=0.05)) - truth).square().mean().backward()
    idle = [name for name, parameter in network.named_parameters() if not float(parameter.grad.abs().sum()) > 0]  # pyright: ignore[reportOptionalMemberAccess]
    assert idle == []


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_gpu_agrees(name: str, photo: Tensor) -> None:
    network, d = tiny(name, tail=0.02), Degradation(NARROW, 2, noise=torch.tensor([0.01]))
    exact = network(photo, d)
    network.cuda()
    torch.testing.assert_close(network(photo.cuda(), d.to("cuda")).cpu(), exact, atol=1e-3, rtol=0)
    network.precision = best_precision(torch.device("cuda"))
    assert psnr(network(photo.cuda(), d.to("cuda")).cpu(), exact) > 55


def test_a_picture_on_the_far_corner_is_the_same_picture_moved() -> None:
    """The same lr with its pixels one to the right and below on the grid gives the same picture, moved by as much.

    So what `ensemble` makes of the paper's grid is nothing that the networks have not seen.
    """
    network = tiny("unfolded", tail=0.05)
    lr = picture(40, 36)
    near, far = (Degradation(kernels.gaussian((0.3, 0.3), size=9, offset=(at, at))) for at in (0.0, 1.0))
    with torch.no_grad():
        first, second = network(lr, near), network(lr, far)
    m = 24  # the borders are mirrored in other places
    moved = first[:, :, m : -m - 1, m : -m - 1]
    torch.testing.assert_close(second[:, :, m + 1 : -m, m + 1 : -m], moved, rtol=0, atol=1e-4)
    assert not torch.allclose(second[:, :, m : -m - 1, m : -m - 1], moved, atol=0.02)
