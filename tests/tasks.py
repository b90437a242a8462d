"""Small problems of meta-training as tests set them: configurations, photographs, objectives in float64."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from training import CPU

from mzsr.config import MetaConfig
from mzsr.imaging.degrade import Degradation
from mzsr.learning.metatrain import LOG_ALPHA, MetaTraining
from mzsr.learning.patches import Pair, Task
from mzsr.learning.photographs import Photographs
from mzsr.shapes import Params

NETWORKS = {
    "paper": {"name": "paper", "layers": 3, "channels": 4},
    "unfolded": {"channels": 4, "stages": 1, "blocks": 1},
}
KINDS: dict[str, dict[str, Any]] = {
    "direct": {"bicubic_share": 0, "centred_share": 0},
    "centred": {"bicubic_share": 0, "centred_share": 1},
    "bicubic": {"bicubic_share": 1, "centred_share": 0},
    "plain bicubic": {"name": "bicubic"},  # no kernel to speak of, and a noise level that is no tensor
    "misjudged": {"jpeg_share": 1, "error_share": 1},
}


def configured(*, kind: str = "direct", scale: int = 2, network: str = "unfolded", **changes: Any) -> MetaConfig:
    """Return a small problem of one kind of degradation, all of it with noise."""
    values: dict[str, Any] = {
        "network": NETWORKS[network], "law": {"scales": {scale: 1.0}, "noise_share": 1.0} | KINDS[kind],
        "steps": 2, "tasks": 3, "batch": 2, "patch": 4 * scale**2, "alpha": 0.1, "precision": "float32",
    }  # fmt: skip
    return MetaConfig.parse(values | changes)


def disks(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return a picture of overlapping disks: flat areas and edges, as photographs have them."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.zeros(3, height, width)
    for _ in range(150):
        y, x, size, *colour = torch.rand(6, generator=generator).tolist()
        inside = (row - height * y) ** 2 + (column - width * x) ** 2 < (3 / (0.15 + size)) ** 2
        picture[:, inside] = torch.tensor(colour)[:, None]
    return (picture * 255).byte()


def made(config: MetaConfig, photographs: Photographs, draw: Callable[[int, int], Task] | None = None) -> MetaTraining:
    """Return an objective in float64 where nothing is zero, with tasks of its own or given ones."""
    objective = MetaTraining(config, photographs, CPU)
    objective.network.double()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in objective.theta.items():
        if "tail" in name or name.endswith("second.weight"):  # zero as they are made
            nn.init.normal_(tensor, std=0.1, generator=generator)
        if name.startswith(LOG_ALPHA):
            objective.theta[name] = tensor.detach().double().requires_grad_()
    drawn = draw or objective._draw

    def exact(_: MetaTraining, step: int, index: int) -> Task:
        task = drawn(step, index)
        d = task.query.degradation
        noise = d.noise.double() if isinstance(d.noise, Tensor) else d.noise
        told = Degradation(d.kernel.double(), d.scale, d.subsample, noise, d.jpeg, d.grid)
        return Task(*(Pair(pair.lr.double(), pair.hr.double(), told) for pair in (task.support, task.query)))

    objective._draw = MethodType(exact, objective)
    return objective


def same(found: Params, expected: Params, rtol: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = float((found[name] - tensor).norm())
        assert error <= rtol * float(tensor.norm()), (name, error)
