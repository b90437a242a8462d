"""Tests of adaptation: a descent with a closed form, the guard, the crops, and the smallest son."""

import math

import pytest
import torch
from torch import Tensor

from mzsr.config import NetworkConfig
from mzsr.errors import InputError
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade, upsample
from mzsr.inference.adapt import CROP, MAX_STEPS, SMALLEST_SON, adapt, check_steps, support, textured_crops
from mzsr.learning.inner import loss_and_gradient
from mzsr.learning.networks import Network, build
from mzsr.shapes import Images, Params

BLUR = Degradation(kernels.gaussian((1.0, 1.0), size=7), 2)


class Brightness(Network):
    """f = bicubic + b: the gradient of |f(son) - father| is the mean of the signs of the error."""

    def __init__(self) -> None:
        super().__init__()
        self.b = torch.nn.Parameter(torch.zeros(()))

    def forward(self, lr: Images, d: Degradation) -> Images:
        return upsample(lr, d) + self.b


def brightness(b: float) -> tuple[Network, Params]:
    return Brightness(), {"b": torch.tensor(b)}


def flat(value: float = 0.5, height: int = 32, width: int = 32) -> Tensor:
    return torch.full((1, 3, height, width), value)


def test_no_step_leaves_the_parameters_untouched(photo: Tensor) -> None:
    network = build(NetworkConfig(channels=8, stages=1))
    theta: Params = dict(network.named_parameters())
    adapted = adapt(network, theta, photo, BLUR, steps=0, step_sizes=[0.1])
    assert adapted.losses == []
    assert adapted.kept == 0
    assert all(
        adapted.theta[name] is not tensor and torch.equal(adapted.theta[name], tensor) for name, tensor in theta.items()
    )


def test_the_descent_on_a_flat_picture_is_the_one_on_paper() -> None:
    """The father is flat, so |f(son) - father| = |b|, its gradient is the sign of b, and b falls by α each step."""
    network, theta = brightness(0.1)
    adapted = adapt(network, theta, flat(), BLUR, steps=4, step_sizes=[0.03, 0.02])
    assert adapted.losses == pytest.approx([0.1, 0.07, 0.05, 0.03, 0.01], abs=1e-6)  # the last step size repeats
    assert adapted.kept == 4
    assert float(adapted.theta["b"]) == pytest.approx(0.01, abs=1e-6)
    assert float(theta["b"]) == pytest.approx(0.1)


def test_the_best_step_is_kept_not_the_last() -> None:
    network, theta = brightness(0.1)
    adapted = adapt(network, theta, flat(), BLUR, steps=4, step_sizes=[0.07])
    assert adapted.losses == pytest.approx([0.1, 0.03, 0.04, 0.03, 0.04], abs=1e-6)
    assert adapted.kept == 1  # of equals, the one with fewer steps
    assert float(adapted.theta["b"]) == pytest.approx(0.03, abs=1e-6)


@pytest.mark.parametrize("step_size", [1e3, 1e30, math.inf])
def test_an_absurd_step_is_not_kept(photo: Tensor, step_size: float) -> None:
    network = build(NetworkConfig(channels=8, stages=1))
    theta: Params = dict(network.named_parameters())
    with torch.no_grad():  # untrained, the tail is zero and hides the body
        theta["stages.0.tail.weight"].normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    adapted = adapt(network, theta, photo, BLUR, steps=2, step_sizes=[step_size])
    assert adapted.kept == 0
    assert len(adapted.losses) == 3
    assert not adapted.losses[1] <= adapted.losses[0]
    assert all(torch.equal(adapted.theta[name], tensor) for name, tensor in theta.items())


def test_a_step_size_for_each_tensor(photo: Tensor) -> None:
    """A tensor left out stays bit for bit, and every other one moves, by what its own list says."""
    network = build(NetworkConfig(channels=8, stages=1))
    theta: Params = dict(network.named_parameters())
    moved = [name for name in theta if "tail" in name]
    adapted = adapt(network, theta, photo, BLUR, steps=2, step_sizes={name: (2e-3, 1e-3) for name in moved})
    assert adapted.kept == 2
    assert [name for name in theta if not torch.equal(adapted.theta[name], theta[name])] == moved
    sizes = {"stages.0.tail.bias": (1e-3,), "stages.0.tail.weight": (2e-3, 0.0)}
    one, two = (adapt(network, theta, photo, BLUR, steps=n, step_sizes=sizes).theta for n in (1, 2))
    _, gradient = loss_and_gradient(network, theta, support(photo, BLUR, 0))
    for name, (first, *_) in sizes.items():
        torch.testing.assert_close(one[name], theta[name] - first * gradient[name])
    assert torch.equal(two["stages.0.tail.weight"], one["stages.0.tail.weight"])
    assert not torch.equal(two["stages.0.tail.bias"], one["stages.0.tail.bias"])


def test_equal_step_sizes_are_one_step_size(photo: Tensor) -> None:
    network = build(NetworkConfig(channels=8, stages=1))
    theta: Params = dict(network.named_parameters())
    sizes = (2e-3, 1e-3)
    one = adapt(network, theta, photo, BLUR, steps=3, step_sizes=sizes)
    each = adapt(network, theta, photo, BLUR, steps=3, step_sizes=dict.fromkeys(theta, sizes))
    assert one.kept == each.kept == 3
    assert each.losses == pytest.approx(one.losses, rel=1e-6)
    for name, tensor in one.theta.items():
        torch.testing.assert_close(each.theta[name], tensor, rtol=1e-6, atol=1e-8)


def test_losses_are_the_losses_at_every_theta(photo: Tensor) -> None:
    network = build(NetworkConfig(channels=8, stages=1))
    theta: Params = dict(network.named_parameters())
    sizes = [1e-3, 5e-4, 2e-4]
    adapted = adapt(network, theta, photo, BLUR, steps=3, step_sizes=sizes)
    pair = support(photo, BLUR, 0)
    losses = []
    for size in [*sizes, 0.0]:
        loss, gradient = loss_and_gradient(network, theta, pair)
        losses.append(loss.item())
        theta = {name: tensor - size * gradient[name] for name, tensor in theta.items()}
    assert adapted.losses == pytest.approx(losses, rel=1e-5)
    assert adapted.losses[-1] < adapted.losses[0]


def test_the_son_is_what_the_degradation_makes_of_the_father(photo: Tensor) -> None:
    odd = photo[:, :, :59, :75]
    pair = support(odd, BLUR, 0)
    assert torch.equal(pair.hr, odd[:, :, :58, :74])
    assert torch.equal(pair.lr, degrade(odd, BLUR))


def test_noise_of_the_son_comes_from_the_generator(photo: Tensor) -> None:
    noisy = Degradation(BLUR.kernel, 2, noise=0.1)

    def son(seed: int | None) -> Tensor:
        return support(photo, noisy, 0, None if seed is None else torch.Generator().manual_seed(seed)).lr

    assert torch.equal(son(3), son(3))
    assert not torch.equal(son(3), son(4))
    assert float((son(3) - son(None)).std()) == pytest.approx(0.1, rel=0.05)


def test_crops_are_the_most_textured_squares() -> None:
    """Stripes of contrast c have a mean gradient in proportion to c: the order is known."""
    contrast = torch.tensor([[0.1, 0.4, 0.2], [0.3, 0.0, 0.5]]).repeat_interleave(16, 0).repeat_interleave(16, 1)
    stripes = 0.25 + 0.5 * contrast * (torch.arange(48) % 2)
    images = torch.nn.functional.pad(stripes, (0, 5, 0, 3)).expand(
        1, 3, -1, -1
    )  # the rest of the grid is not looked at
    found = textured_crops(images, 3, side=16)
    expected = torch.stack([images[0, :, 16:32, 32:48], images[0, :, :16, 16:32], images[0, :, 16:32, :16]])
    assert torch.equal(found, expected)
    assert textured_crops(images, 99, side=16).shape[0] == 6


def test_crops_of_a_small_picture_are_the_picture(photo: Tensor) -> None:
    assert torch.equal(textured_crops(photo, 2), photo)
    assert max(photo.shape[2:]) < CROP


def test_adaptation_on_crops_costs_the_crops(photo: Tensor) -> None:
    pair = support(photo.repeat(1, 1, 3, 4), Degradation(kernels.delta(), 5), 2)
    assert pair.hr.shape == (2, 3, 95, 95)  # 96, and what five does not divide is cut
    assert pair.lr.shape == (2, 3, 19, 19)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_too_small_a_picture_has_no_son(scale: int) -> None:
    network, theta = brightness(0.0)
    d, side = Degradation(kernels.delta(), scale), SMALLEST_SON * scale
    adapt(network, theta, flat(height=side, width=side), d, steps=1, step_sizes=[0.1])
    with pytest.raises(InputError, match=rf"40x{side - 1}; its son .* {40 // scale}x{(side - 1) // scale}.* 0 steps"):
        adapt(network, theta, flat(height=side - 1, width=40), d, steps=1, step_sizes=[0.1])
    assert adapt(network, theta, flat(height=1, width=1), d, steps=0, step_sizes=[0.1]).kept == 0


class Hungry(Brightness):
    """Brightness that finds no memory."""

    def forward(self, lr: Images, d: Degradation) -> Images:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: 9 bytes.")


@pytest.mark.parametrize(("crops", "words"), [(0, "the picture as a whole was"), (2, "2 squares of the picture was")])
def test_memory_that_runs_out_is_said(crops: int, words: str) -> None:
    with pytest.raises(InputError, match=f"32x32, and memory ran out while {words} learned from; take 0 steps"):
        adapt(Hungry(), {"b": torch.zeros(())}, flat(), BLUR, steps=1, step_sizes=[0.1], crops=crops)


@pytest.mark.parametrize("steps", [-1, MAX_STEPS + 1])
def test_a_number_of_steps_that_is_none(steps: int) -> None:
    network, theta = brightness(0.0)
    with pytest.raises(InputError, match=f"steps is {steps}; it must lie between 0 and {MAX_STEPS}"):
        adapt(network, theta, flat(), BLUR, steps=steps, step_sizes=[0.1])
    check_steps(0)
    check_steps(MAX_STEPS)


def test_the_noise_of_a_grey_picture_is_grey_in_its_son() -> None:
    """With noise of its own in each of three equal channels it would have 1/√3 of it, and colours."""
    noisy = Degradation(BLUR.kernel, 2, noise=0.1)
    son = support(flat(), noisy, 0, torch.Generator().manual_seed(0)).lr
    assert torch.equal(son, son[:, :1].expand_as(son))
    assert float(son.mean(1).std()) == pytest.approx(0.1, rel=0.2)
    coloured = flat()
    coloured[:, 0] += 0.1
    assert not torch.equal(*support(coloured, noisy, 0, torch.Generator().manual_seed(0)).lr[0, 1:])
