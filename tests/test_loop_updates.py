"""Tests of what the training loop does with a gradient, in closed form: Adam, average, clip, learning rate."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training import configured, go

from mzsr.config import PretrainConfig, TrainConfig
from mzsr.errors import InputError
from mzsr.learning.contract import Network
from mzsr.learning.loop import learning_rate, silent
from mzsr.learning.objective import Objective
from mzsr.learning.state import load_state
from mzsr.shapes import Params, Scalar


class Plane(Objective):
    """An objective with the same gradient everywhere, unless it is told otherwise."""

    def __init__(self, config: TrainConfig, loss: dict[int, float], gradient: dict[int, float]) -> None:
        self._config, self.loss, self.slope = config, loss, gradient
        self.theta, self.still = {name: torch.zeros(2, requires_grad=True) for name in ("a", "b", "fast/a")}, {}
        self.earlier, self.held_out = (), []
        self.network = Network()

    @property
    def config(self) -> TrainConfig:
        return self._config

    def pace(self, name: str) -> float:
        return 3.0 if name.startswith("fast/") else 1.0

    def gradient(self, step: int, tasks: range) -> tuple[Scalar, Params]:
        slope = self.slope.get(step + 1, 1.0)
        return torch.tensor(self.loss.get(step + 1, 0.5)), {n: torch.full((2,), slope) for n in self.theta}

    def about(self, theta: Params) -> dict[str, Any]:
        return {"summary": "plane", "step_sizes": (0.1,), "crops": 0}


def descend_plane(
    out: Path, folder: Path, *, resume: bool = False,
    loss: dict[int, float] = {}, gradient: dict[int, float] = {}, **changes: Any,  # noqa: B006
) -> dict[str, Params]:  # fmt: skip
    """Descend on a plane, whose loss and slope are other ones in some iterations; return the state."""
    config = configured(**({"warmup": 0, "schedule": "constant", "learning_rate": 2**-6, "clip": 1e9} | changes))
    go(config, folder, out, objective=lambda config, *_: Plane(config, loss, gradient), resume=resume)
    return load_state(out / "state.safetensors")[0]


@pytest.mark.parametrize("iteration", [1, 2, 6])
@pytest.mark.parametrize(("what", "said"), [("loss", "loss is nan, gradient norm 2.4"), ("gradient", "norm nan")])
def test_gradient_that_is_no_number_stops(folder: Path, tmp_path: Path, what: str, said: str, iteration: int) -> None:
    """Even where the loss is one; from the first iteration on, with nothing in the optimiser yet."""
    broken: Any = {what: {iteration: math.nan}}
    with pytest.raises(InputError, match=f"{said}.* at iteration {iteration}; "):
        descend_plane(tmp_path, folder, **broken)
    if iteration == 6:
        groups, facts = load_state(tmp_path / "state.safetensors")
        assert facts["step"] == "3"
        assert groups["theta"]["a"].tolist() == pytest.approx([-3 / 64] * 2)
    else:
        assert not (tmp_path / "state.safetensors").exists()
    assert descend_plane(tmp_path, folder, resume=True)["theta"]["a"].tolist() == pytest.approx([-8 / 64] * 2)


def test_adam_and_the_average_on_a_plane(folder: Path, tmp_path: Path) -> None:
    """Adam goes β in every iteration, a tensor of another pace that many times as far.

    The average with weights t / (t + 10) then lies an eleventh of the way behind. Once these reach its decay of 1/2,
    in iteration 10, the lag L becomes (L + β) / 2: it approaches β, halving the difference.
    """
    groups = descend_plane(tmp_path / "short", folder, iterations=7)
    theta, ema = groups["theta"], groups["ema"]
    assert theta["a"].tolist() == pytest.approx([-7 / 64] * 2, rel=1e-5)
    assert theta["fast/a"].tolist() == pytest.approx([-21 / 64] * 2, rel=1e-5)
    assert all(ema[name].tolist() == pytest.approx((theta[name] * 10 / 11).tolist(), rel=1e-5) for name in theta)
    groups = descend_plane(tmp_path / "long", folder, iterations=14, ema=0.5)
    lag = (groups["ema"]["a"] - groups["theta"]["a"]) * 64
    assert lag.tolist() == pytest.approx([1 + (10 / 11 - 1) / 2**4] * 2, rel=1e-4)


def test_what_stays_is_its_own_average(folder: Path, tmp_path: Path) -> None:
    groups = descend_plane(tmp_path, folder, gradient={step: 0.0 for step in range(3, 13)}, ema=0.0)
    assert all(torch.equal(groups["ema"][name], groups["theta"][name]) for name in groups["theta"])


def test_gradient_is_clipped(folder: Path, tmp_path: Path) -> None:
    """What Adam remembers of the first gradient, a tenth, has the norm of the clip; the log has the norm before."""
    groups = descend_plane(tmp_path, folder, iterations=1, clip=0.25)
    moment = torch.cat(list(groups["exp_avg"].values()))
    assert float(moment.norm()) == pytest.approx(0.1 * 0.25, rel=1e-4)
    assert json.loads((tmp_path / "log.jsonl").read_text())["norm"] == pytest.approx(math.sqrt(6))


@given(iterations=st.integers(1, 3000), warmup=st.integers(0, 3000), halve_every=st.integers(1, 2000))
def test_learning_rate(iterations: int, warmup: int, halve_every: int) -> None:
    """Up in equal steps to the peak at the end of the warm-up, then by the schedule."""
    for schedule in ("constant", "halving", "cosine"):
        config = PretrainConfig.parse(
            {"iterations": iterations, "warmup": warmup, "halve_every": halve_every, "learning_rate": 1.0}
            | {"schedule": schedule}
        )
        rates = [learning_rate(config, step) for step in range(iterations)]
        assert rates[:warmup] == pytest.approx([(step + 1) / warmup for step in range(min(warmup, iterations))])
        rest = range(warmup, iterations)
        if schedule == "constant":
            expected = [1.0 for _ in rest]
        elif schedule == "halving":
            expected = [1.0 if n < halve_every else 0.5 if n < 2 * halve_every else 0.25 for n in rest]
        else:  # sin² instead of cos
            expected = [1 - 0.98 * math.sin(math.pi / 2 * (n - warmup) / (iterations - warmup)) ** 2 for n in rest]
        assert rates[warmup:] == pytest.approx(expected)


def test_a_head_that_nobody_asks_is_not_silent() -> None:
    gradient = {"variance.0.weight": torch.zeros(4, 1, 1, 1), "body.weight": torch.ones(4, 1, 1, 1)}
    assert silent(gradient) == 0.0
    gradient["variance.2.weight"] = torch.ones(4, 1, 1, 1)
    assert silent(gradient) == pytest.approx(1 / 3, abs=1e-4)
