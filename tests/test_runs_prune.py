"""Tests of runs/prune.py: what is silent is found and taken out, and nothing else changes."""

from types import ModuleType

import pytest
import torch
from scripts import script_of

from mzsr.config import KernelLaw
from mzsr.learning.networks import Unfolded
from mzsr.learning.patches import Pair, draw_pair, step_generator


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_of("prune")


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    picture = torch.randint(0, 256, (3, 40, 48), generator=torch.Generator().manual_seed(0)).byte()
    return [draw_pair([picture], KernelLaw(scales={2: 1.0}), 2, 24, step_generator(0, step)) for step in range(3)]


def speaking(stages: int, silenced: tuple[str, ...]) -> Unfolded:
    """Return a network all of whose parts count, but for the blocks that are silenced."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Unfolded(stages=stages, blocks=3, channels=6).requires_grad_(False)
        for tensor in network.parameters():
            if tensor.ndim:
                tensor.copy_(torch.randn_like(tensor) * 0.1)
    for name in silenced:
        bias = network.get_parameter(f"{name}.first.bias")
        bias.copy_(torch.full_like(bias, -9.0))
    return network


@pytest.mark.parametrize(
    "silenced", [("stages.0.blocks.1", "stages.1.blocks.2"), ("stages.0.blocks.2", "stages.1.blocks.2")]
)
def test_silent_blocks_are_taken_out(script: ModuleType, pairs: list[Pair], silenced: tuple[str, ...]) -> None:
    network = speaking(2, silenced)
    assert script.silent(network, pairs) == set(silenced)
    smaller = Unfolded(stages=2, blocks=2, channels=6)
    smaller.load_state_dict(script.without(network, set(silenced)))
    for pair in pairs:
        torch.testing.assert_close(
            smaller(pair.lr, pair.degradation), network(pair.lr, pair.degradation), atol=1e-5, rtol=0
        )


def test_what_speaks_once_is_kept(script: ModuleType, pairs: list[Pair]) -> None:
    """One unit, above zero at one pixel of one picture, is enough."""
    network = speaking(1, ("stages.0.blocks.1",))
    bias, given = network.get_parameter("stages.0.blocks.1.first.bias"), []
    hook = network.get_submodule("stages.0.blocks.1.first").register_forward_hook(
        lambda _, __, out: given.append(out.clone())
    )
    for pair in pairs:
        network(pair.lr, pair.degradation)
    hook.remove()
    bias[2] -= max(float(out[:, 2].max()) for out in given) - 1e-3
    assert script.silent(network, pairs) == set()
