"""Tests of the inner loop on problems whose meta-gradient is known, by finite differences, and on the real network."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from mzsr.config import NetworkConfig
from mzsr.imaging import kernels
from mzsr.imaging.degrade import Degradation, degrade
from mzsr.learning.inner import Order, StepSize, descend, loss_and_gradient, schedule
from mzsr.learning.networks import Network, build
from mzsr.learning.patches import Pair
from mzsr.shapes import Images, Params, Scalar

NOTHING = Degradation(kernels.delta(), 1)


class Points(Network):
    """Returns its parameters, whatever it is shown: f = θ, so that the loss is a function of θ alone."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(start[:2].clone())
        self.b = nn.Parameter(start[2:].clone())

    def forward(self, lr: Images, d: Degradation) -> Images:
        return torch.cat([self.a, self.b]).reshape(1, 1, 1, -1)


def quadratic(result: Images, truth: Images) -> Scalar:
    """Return ½ ‖θ − d‖², whose gradient is θ − d."""
    return 0.5 * (result - truth).square().sum()


def quartic(result: Images, truth: Images) -> Scalar:
    """Return a loss with a second derivative that is not constant."""
    return ((result - truth) ** 4).sum() / 4 + (result * truth.roll(1, -1)).square().sum() / 2


def goal(*values: float) -> Pair:
    target = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)
    return Pair(target, target, NOTHING)


START = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
D = torch.tensor([0.3, 0.1, -1.0, 2.0], dtype=torch.float64)
SUPPORT = goal(*D.tolist())
QUERY = goal(-1.0, 0.5, 0.25, 4.0)


def flat(theta: Params) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in theta.values()])


def points() -> tuple[Points, Params]:
    network = Points(START)
    return network, dict(network.named_parameters())


@pytest.mark.parametrize("order", ["plain", "first", "second"])
def test_steps_of_a_quadratic(order: Order) -> None:
    """θ_i − d = (1 − α)^i (θ_0 − d); n + 1 of them, and the losses are those *at* θ_0 … θ_{n−1}."""
    network, theta = points()
    alpha = 0.3
    descent = descend(network, theta, SUPPORT, [alpha] * 4, order=order, loss=quadratic)
    assert len(descent.thetas) == 5
    for i, theta_i in enumerate(descent.thetas):
        torch.testing.assert_close(flat(theta_i), D + (1 - alpha) ** i * (START - D))
    expected = [0.5 * float((START - D).square().sum()) * (1 - alpha) ** (2 * i) for i in range(4)]
    assert [float(loss) for loss in descent.losses] == pytest.approx(expected)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize(("order", "power"), [("first", 0), ("second", 1)])
def test_meta_gradient_of_a_quadratic(order: Order, power: int, steps: int) -> None:
    """Second order: (1 − α)^K (θ_K − d_query). First order: the gradient at θ_K, as if θ_K = θ_0 + constant."""
    network, theta = points()
    alpha = 0.3
    last = descend(network, theta, SUPPORT, [alpha] * steps, order=order, loss=quadratic).thetas[-1]
    outer = quadratic(functional_call(network, last, (QUERY.lr, NOTHING)), QUERY.hr)
    gradient = torch.cat(torch.autograd.grad(outer, list(theta.values())))
    expected = (1 - alpha) ** (power * steps) * (flat(last) - QUERY.hr.flatten())
    torch.testing.assert_close(gradient, expected)


def test_plain_cuts_the_graph() -> None:
    """Adaptation holds one step in memory, however many it takes."""
    network, theta = points()
    descent = descend(network, theta, SUPPORT, [0.1] * 3, loss=quadratic)
    assert descent.thetas[0] is theta
    for later in descent.thetas[1:]:
        assert not any(tensor.requires_grad for tensor in later.values())
    assert not any(loss.requires_grad for loss in descent.losses)


@pytest.mark.parametrize("order", ["plain", "first", "second"])
def test_network_stays_as_it_was(order: Order) -> None:
    """Steps are taken on a dictionary; the module that lends its code keeps its weights and gets no gradient."""
    network, theta = points()
    descend(network, theta, SUPPORT, [0.5, 0.5], order=order, loss=quadratic)
    assert torch.equal(flat(theta), START)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_no_grad_around_it_does_not_matter() -> None:
    """Inference runs under no_grad, and adaptation inside of it."""
    network, theta = points()
    with torch.no_grad():
        last = descend(network, theta, SUPPORT, [0.3], loss=quadratic).thetas[-1]
    torch.testing.assert_close(flat(last), D + 0.7 * (START - D))


@pytest.mark.parametrize("order", ["plain", "first", "second"])
def test_step_sizes_for_each_parameter(order: Order) -> None:
    """One for each element, and a parameter left out stays."""
    network, theta = points()
    alphas = {"b": torch.tensor([0.25, 1.0], dtype=torch.float64)}
    first, second = descend(network, theta, SUPPORT, [alphas, {}], order=order, loss=quadratic).thetas[1:]
    expected = START - torch.tensor([0, 0, 0.25, 1.0], dtype=torch.float64) * (START - D)
    torch.testing.assert_close(flat(first), expected)
    torch.testing.assert_close(flat(second), expected)


def test_step_size_of_an_unknown_parameter_is_refused() -> None:
    network, theta = points()
    with pytest.raises(ValueError, match=r"step size.*'c'"):
        descend(network, theta, SUPPORT, [{"c": torch.tensor(0.1)}], loss=quadratic)


@pytest.mark.parametrize("order", ["first", "second"])
def test_step_sizes_are_learned(order: Order) -> None:
    """One step: dL/dα = −(θ_0 − d_support) · (θ_1 − d_query), element by element, in either order."""
    network, theta = points()
    alpha = torch.full((4,), 0.3, dtype=torch.float64, requires_grad=True)
    sizes = {"a": alpha[:2], "b": alpha[2:]}
    last = descend(network, theta, SUPPORT, [sizes], order=order, loss=quadratic).thetas[-1]
    outer = quadratic(functional_call(network, last, (QUERY.lr, NOTHING)), QUERY.hr)
    (gradient,) = torch.autograd.grad(outer, alpha)
    torch.testing.assert_close(gradient, -(START - D) * (flat(last).detach() - QUERY.hr.flatten()))


def test_no_step_returns_the_start() -> None:
    network, theta = points()
    descent = descend(network, theta, SUPPORT, [], loss=quadratic)
    assert descent.thetas == [theta]
    assert descent.losses == []


def meta_loss(network: Network, pair: Pair, query: Pair, names: list[str], steps: int) -> Callable[..., Tensor]:
    """Return θ_0 and α → L_query(θ_K) as a function of tensors, as gradcheck wants it."""

    def run(alpha: Tensor, *values: Tensor) -> Tensor:
        theta = dict(zip(names, values, strict=True))
        sizes = [{name: alpha[i] for name in names} for i in range(steps)]
        last = descend(network, theta, pair, sizes, order="second", loss=quartic).thetas[-1]
        return quartic(functional_call(network, last, (query.lr, query.degradation)), query.hr)

    return run


def test_gradcheck_and_gradgradcheck() -> None:
    """The meta-gradient by finite differences, for θ_0 and the step sizes, and the gradient of the meta-gradient."""
    network, theta = points()
    run = meta_loss(network, SUPPORT, QUERY, list(theta), steps=2)
    alpha = torch.tensor([0.02, 0.01], dtype=torch.float64, requires_grad=True)
    inputs = (alpha, *(tensor.detach().requires_grad_() for tensor in theta.values()))
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def small_flagship() -> tuple[Network, Params, Pair, Pair]:
    """Return a tiny Unfolded in float64 with a tail that is not zero, its parameters, and (son, lr), (lr, hr)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(NetworkConfig(channels=4, stages=2, blocks=1))
        for name, parameter in network.named_parameters():
            if "tail" in name:
                nn.init.normal_(parameter, std=0.1)
    network.double()
    generator = torch.Generator().manual_seed(1)
    hr = torch.rand(1, 3, 20, 24, generator=generator).double()
    d = Degradation(kernels.gaussian((0.8, 1.6), 0.4, size=7).double(), 2, noise=0.02)
    lr = degrade(hr, d)
    return network, dict(network.named_parameters()), Pair(degrade(lr, d), lr, d), Pair(lr, hr, d)


@pytest.mark.parametrize("order", ["first", "second"])
def test_meta_gradient_of_the_flagship(order: Order) -> None:
    """Through data step, Fourier filter and body: along a direction, the second-order one is the difference quotient.

    The first-order one is not; it is the gradient at θ_K.
    """
    network, theta, support, query = small_flagship()

    def mse(result: Images, truth: Images) -> Scalar:
        return (result - truth).square().mean()

    def last(start: Params) -> Params:
        return descend(network, start, support, [0.5, 0.3], order=order, loss=mse).thetas[-1]

    def outer(theta_k: Params) -> Tensor:
        return mse(functional_call(network, theta_k, (query.lr, query.degradation)), query.hr)

    gradient = torch.autograd.grad(outer(last(theta)), list(theta.values()))
    generator = torch.Generator().manual_seed(2)
    way = {name: torch.randn(t.shape, generator=generator, dtype=t.dtype) for name, t in theta.items()}
    slope = sum(float((g * w).sum()) for g, w in zip(gradient, way.values(), strict=True))
    step = 1e-6
    ahead, behind = ({n: (t + sign * step * way[n]).detach() for n, t in theta.items()} for sign in (1, -1))
    quotient = (outer(last(ahead)) - outer(last(behind))).item() / (2 * step)
    if order == "second":
        assert slope == pytest.approx(quotient, rel=1e-5)
    else:
        _, at_last = loss_and_gradient(network, last(theta), query, mse)
        assert slope == pytest.approx(sum(float((at_last[n] * way[n]).sum()) for n in theta), rel=1e-9)
        assert abs(slope - quotient) > 1e-3 * abs(quotient)


@pytest.mark.parametrize("sizes", ["one for all", "one for each", "tails alone"])
@pytest.mark.parametrize("order", ["plain", "first", "second"])
def test_functional_gives_the_same(order: Order, sizes: str) -> None:
    """By torch.func or by torch.autograd: parameters, losses, and the gradient for θ_0 and the step sizes."""
    network, theta, support, query = small_flagship()
    names = [name for name in theta if "tail" in name or sizes == "one for each"]
    found: list[list[Tensor]] = []
    for functional in (False, True):
        alphas = {name: torch.tensor(0.1 + 0.01 * i).double().requires_grad_() for i, name in enumerate(names)}
        steps: list[StepSize] = [0.3, 0.2] if sizes == "one for all" else [alphas, alphas]
        descent = descend(network, theta, support, steps, order=order, functional=functional)
        last = descent.thetas[-1]
        found.append([*descent.losses, *(tensor for each in descent.thetas for tensor in each.values())])
        assert not any(loss.requires_grad for loss in descent.losses)
        outer = (functional_call(network, last, (query.lr, query.degradation)) - query.hr).square().mean()
        inputs = [*theta.values()] if order != "plain" else []
        inputs += [] if sizes == "one for all" else alphas.values()
        assert outer.requires_grad == bool(inputs)
        if inputs:
            found[-1] += torch.autograd.grad(outer, inputs)
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("order", ["plain", "first", "second"])
def test_functional_of_a_quadratic(order: Order, functional: bool) -> None:
    """A parameter left out stays, and so does everything where none is named; the loss is told all the same."""
    network, theta = points()
    alphas = {"b": torch.tensor([0.25, 1.0], dtype=torch.float64)}
    descent = descend(
        network, theta, SUPPORT, [alphas, {}, 0.5], order=order, loss=quadratic, functional=functional
    )  # fmt: skip
    expected = START - torch.tensor([0, 0, 0.25, 1.0], dtype=torch.float64) * (START - D)
    for found, wanted in zip(descent.thetas, [START, expected, expected, (expected + D) / 2], strict=True):
        torch.testing.assert_close(flat(found), wanted)
    losses = [float((each - D).square().sum()) / 2 for each in (START, expected, expected)]
    assert [float(loss) for loss in descent.losses] == pytest.approx(losses)


@pytest.mark.parametrize("functional", [False, True])
def test_gradient_of_some_parameters(functional: bool) -> None:
    """Those that are asked for, and none of them as a graph; the others count in the loss."""
    network, theta = points()
    value, gradient = loss_and_gradient(network, theta, SUPPORT, quadratic, moved=["b"], functional=functional)
    assert float(value.detach()) == pytest.approx(float((START - D).square().sum()) / 2)
    assert list(gradient) == ["b"]
    torch.testing.assert_close(gradient["b"], (START - D)[2:])
    assert not gradient["b"].requires_grad


@pytest.mark.parametrize(
    ("given", "steps", "expected"),
    [
        ([0.02, 0.01], 1, [0.02]),
        ([0.02, 0.01], 4, [0.02, 0.01, 0.01, 0.01]),
        ((0.5,), 3, [0.5] * 3),
        ([0.1], 0, []),
    ],
)
def test_the_last_step_size_holds(given: list[float], steps: int, expected: list[float]) -> None:
    assert schedule(given, steps) == expected


def test_the_last_step_size_of_each_tensor_holds() -> None:
    """Each has a list of its own, of any length; a tensor left out is not there, and so stays."""
    found = schedule({"a": (0.5, 0.25), "b": (0.125,)}, 3)
    assert found == [{"a": 0.5, "b": 0.125}, {"a": 0.25, "b": 0.125}, {"a": 0.25, "b": 0.125}]
    network, theta = points()
    last = descend(network, theta, SUPPORT, schedule({"a": (0.5, 0.25)}, 3), loss=quadratic).thetas[-1]
    torch.testing.assert_close(last["a"], D[:2] + 0.5 * 0.75 * 0.75 * (START - D)[:2])
    assert torch.equal(last["b"], START[2:])


def test_a_step_lowers_the_loss_of_the_flagship() -> None:
    """With L1, the loss that is used, and a small step; losses are those of the parameters returned beside them."""
    network, theta, support, _ = small_flagship()
    descent = descend(network, theta, support, [1e-2] * 3)
    again = [loss_and_gradient(network, theta_i, support)[0].item() for theta_i in descent.thetas]
    assert [float(loss) for loss in descent.losses] == again[:3]
    assert again == sorted(again, reverse=True)
    assert again[0] > again[1]
