"""Tests of EDSR, DPDNN and the log-variance head: the published sizes, what they are untrained, what they see."""

import math

import pytest
import torch
from test_networks import NARROW, picture, seen, tiny
from torch import Tensor, nn

from mzsr.config import NetworkConfig
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, adjoint, degrade, linear, upsample
from mzsr.inference.tiles import enhance
from mzsr.learning.backbones import Denoiser, Dpdnn, Edsr
from mzsr.learning.contract import HEAD, Variance
from mzsr.learning.networks import NETWORKS, Unfolded, build
from mzsr.learning.weights import load_weights


def conv(inputs: int, outputs: int) -> int:
    """Return the parameters of a 3x3 convolution."""
    return 9 * inputs * outputs + outputs


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "blocks", "width"), [("edsr-s", 16, 64), ("edsr", 32, 256)])
def test_edsr_has_the_published_size(name: str, blocks: int, width: int, scale: int) -> None:
    """Table 1 of its paper: 1.5 M (x2: 1.37 M) and 43 M (x2: 40.7 M), by arithmetic; the head as UDL has it."""
    with torch.device("meta"):
        network = build(NetworkConfig.parse({"name": name, "scale": scale, "log_var": True}))
    larger = {2: conv(width, 4 * width), 3: conv(width, 9 * width), 4: 2 * conv(width, 4 * width)}[scale]
    body = conv(3, width) + (2 * blocks + 1) * conv(width, width) + larger + conv(width, 3)
    assert count(network) - count(network.get_submodule("variance")) == body
    assert count(network.get_submodule("variance")) == 2 * conv(width, width) + conv(width, 3)
    published = {("edsr-s", 2): 1.37e6, ("edsr", 2): 40.7e6, ("edsr-s", 4): 1.52e6, ("edsr", 4): 43.1e6}
    assert body == pytest.approx(published.get((name, scale), body), rel=2e-3)


def test_dpdnn_shares_its_denoiser() -> None:
    """One denoiser, whatever the number of iterations, each of which adds δ and η alone."""
    with torch.device("meta"):
        one, six = Dpdnn(stages=1), Dpdnn()
    down = conv(3, 64) + 15 * conv(64, 64)
    up = 4 * (conv(128, 64) + 3 * conv(64, 64)) + 3 * conv(64, 64)
    assert count(one) == down + conv(64, 64) + up + conv(64, 3) + 2
    assert count(six) == count(one) + 5 * 2


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_untrained_dpdnn_descends_on_the_reprojection(photo: Tensor, scale: int) -> None:
    """Without noise found, x ← x - δ Aᵀ(A x - lr): every step of δ below 2 / |A|² explains lr better."""
    d = Degradation(kernels.gaussian((1.0, 2.0), 0.3), scale)
    lr = degrade(photo[:, :, :60, :72], d)
    hr = upsample(lr, d)
    for _ in range(6):
        hr = hr - 0.1 * adjoint(linear(hr, d) - lr, d)
    network = tiny("dpdnn")
    torch.testing.assert_close(network(lr, d), hr, atol=1e-6, rtol=0)
    residual, start = (float((linear(x, d) - lr).square().mean()) for x in (hr, upsample(lr, d)))
    assert residual < start


def test_a_denoiser_that_knows_the_answer_gives_it() -> None:
    """Where v is the truth, which explains lr, every iteration takes x to it by δ (η + |A|²), here exactly."""
    network, hr = tiny("dpdnn"), picture(16, 24)
    assert isinstance(network, Dpdnn)
    d = Degradation(kernels.delta(), 1)
    network.delta.fill_(0.5)
    network.eta.fill_(1.0)
    network.denoiser = Known(hr)  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(network(hr, d), hr)
    torch.testing.assert_close(network(hr.roll(1, 2), Degradation(kernels.delta(), 1)), (hr + hr.roll(1, 2)) / 2)


class Known(nn.Module):
    """A denoiser that has seen the truth."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth = truth

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x - self.truth, x


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_keeps_a_constant_of_the_mean_colour(scale: int) -> None:
    """Without biases a picture of DIV2K's mean colour is nothing to its convolutions, and comes back."""
    network = tiny("edsr-s", scale=scale)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    lr = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1).expand(1, 3, 5, 7)
    expected = lr[:, :, :1, :1].expand(1, 3, 5 * scale, 7 * scale)
    torch.testing.assert_close(network(lr, Degradation(NARROW, scale)), expected)


def test_edsr_of_another_scale_is_refused() -> None:
    with pytest.raises(InputError, match="network is built for x2, this is x3; take weights of that scale"):
        tiny("edsr-s")(picture(8, 8), Degradation(NARROW, 3))


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_sees_no_further_than_its_reach(scale: int, blocks: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Edsr(scale=scale, blocks=blocks, channels=6, log_var=True).double().requires_grad_(False)
    d = Degradation(kernels.delta(), scale)
    for output, log_var in ((network, False), (lambda lr, d: network.with_log_var(lr, d)[1], True)):
        reach = network.reach(d, log_var=log_var)
        found = seen(output, d, reach + 2)
        assert reach - 1 <= found <= reach


def test_dpdnn_sees_no_further_than_its_reach() -> None:
    """One iteration, all paths open: positive weights on positive features."""
    network = Dpdnn(stages=1, channels=2).double().requires_grad_(False)
    for parameter in network.denoiser.parameters():
        parameter.fill_(0.05)
    d = Degradation(kernels.delta(), 4)
    reach = network.reach(d)
    found = seen(network, d, reach + 3)
    assert reach - 5 <= found <= reach, (found, reach)
    assert Denoiser.REACH == 129


@pytest.mark.parametrize("scale", [2, 3])
def test_tiles_of_dpdnn_lie_on_its_grids(photo: Tensor, scale: int) -> None:
    """Tiled equals untiled, which a halo that is no multiple of eight would not give."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Dpdnn(stages=1, channels=4).requires_grad_(False)
        nn.init.normal_(network.denoiser.last.weight, std=2.0)
    lr = photo.repeat(1, 1, 4, 1)[:, :, :230, :21]
    d, theta = Degradation(NARROW, scale), {n: p.detach() for n, p in network.named_parameters()}
    whole = enhance(network, theta, lr, d, tile=0)
    assert float((whole - upsample(lr, d)).std()) > 1e-3
    torch.testing.assert_close(enhance(network, theta, lr, d, tile=35), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3])
def test_a_head_changes_no_pixel(name: str, scale: int) -> None:
    """Beside the same body; s has a value of -1 or more for every pixel and channel of the result."""
    lr, d = picture(7, 9, batch=2), Degradation(NARROW, scale)
    plain, headed = (tiny(name, tail=0.1, scale=scale, log_var=head) for head in (False, True))
    headed.load_state_dict(plain.state_dict(), strict=False)
    hr, log_var = headed.with_log_var(lr, d)
    assert torch.equal(hr, plain(lr, d))
    assert torch.equal(headed(lr, d), hr)
    assert log_var.shape == hr.shape
    assert float(log_var.min()) >= -1
    names = {name for name, _ in headed.named_parameters()} - {name for name, _ in plain.named_parameters()}
    assert names
    assert all(name.startswith(HEAD) for name in names)
    with pytest.raises(InputError, match="network has no log-variance head"):
        plain.with_log_var(lr, d)


@pytest.mark.parametrize("name", NETWORKS)
def test_other_parameters_for_both(name: str) -> None:
    """Adapted ones, as `functional_call` has them: those of another network make it that network."""
    lr, d = picture(6, 8), Degradation(NARROW, 2)
    one, other = (tiny(name, tail=0.1, seed=seed, log_var=True) for seed in (0, 1))
    given = one.with_log_var(lr, d, {n: p.detach() for n, p in other.named_parameters()})
    for found, expected in zip(given, other.with_log_var(lr, d), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("scale", [2, 3])
def test_the_flagships_log_variance_lies_on_its_blocks(scale: int, offset: float) -> None:
    """Channel 4 c + 2 i + j of the head is pixel (i, j) of a block, wherever the grid puts the blocks' corner."""
    network, lr = tiny("unfolded", log_var=True), picture(7, 9)
    assert isinstance(network, Unfolded)
    assert network.variance is not None
    for parameter in network.variance.parameters():
        nn.init.zeros_(parameter)
    network.variance[-2].bias.copy_(torch.arange(12.0))  # pyright: ignore[reportCallIssue]
    d = Degradation(kernels.gaussian((0.5, 0.5), size=9, offset=(offset, offset)), scale)
    log_var = network.with_log_var(lr, d)[1]
    first = 1 if offset > (scale - 1) / 2 + 0.25 else 0  # the paper's grid has none, its mirror image has one
    rows, columns = (torch.arange(first, first + scale * side) % 2 for side in (7, 9))
    for channel in range(3):
        expected = 4 * channel + 2 * rows[:, None] + columns[None, :]
        torch.testing.assert_close(log_var[0, channel], expected.float())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_head_that_is_not_asked_needs_no_margin(name: str) -> None:
    d = Degradation(NARROW, 2)
    plain, headed = (tiny(name, log_var=head) for head in (False, True))
    assert headed.reach(d) == plain.reach(d) == plain.reach(d, log_var=True)


def test_the_head_is_elu_after_three_convolutions() -> None:
    """A constant c through kernels that hand on one channel: elu(elu(elu(c))), and never below -1."""
    head = Variance(4).requires_grad_(False)
    for i in (0, 2, 4):
        nn.init.zeros_(head[i].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(head[i].bias)  # pyright: ignore[reportArgumentType]
        head[i].weight[:, 0, 1, 1] = 1.0  # pyright: ignore[reportIndexIssue]
    elu = lambda x: x if x > 0 else math.exp(x) - 1  # noqa: E731
    for c in (-50.0, -0.3, 0.0, 2.5):
        assert head(torch.full((1, 4, 3, 3), c))[0, 0, 1, 1].item() == pytest.approx(elu(elu(elu(c))), abs=1e-6)


def test_shipped_weights_have_heads_where_they_say_so() -> None:
    """A body without residual blocks has 64,175 parameters, a block a stage 221,568, and a head 154,636."""
    bare, doubting = (load_weights(name) for name in ("mzsr-meta", "mzsr"))
    assert (bare[1].network.log_var, bare[0].variance, count(bare[0])) == (False, None, 64_175 + 4 * 221_568)
    assert doubting[1].network.log_var
    assert count(doubting[0]) == 64_175 + 4 * 221_568 + 154_636


@pytest.mark.parametrize("name", NETWORKS)
def test_likelihood_reaches_every_parameter(name: str) -> None:
    """The gradient of s goes through the head into the body, which is trained with it."""
    network, lr = tiny(name, tail=0.1, log_var=True).requires_grad_(), picture(8, 8)
    hr, log_var = network.with_log_var(lr, Degradation(NARROW, 2, noise=0.05))
    (hr.square().mean() + log_var.square().mean()).backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    assert idle == []
