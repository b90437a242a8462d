"""Tests of workers and their places, and of all else about lists on a cluster that needs no Ray."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import run

from mzsr.apps import cluster
from mzsr.apps.batch import HIDDEN, Records
from mzsr.apps.work import Done, Order
from mzsr.apps.worker import Failed, Place, Unfit, Worker
from mzsr.inference.upscale import Upscaler


@pytest.fixture
def place(dozen: Path) -> Place:
    mark = dozen / "out" / HIDDEN / "parts/0123"
    mark.parent.mkdir(parents=True)
    mark.touch()
    return Place(str(dozen), (Path("in"), Path("in/one")), mark)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda place: place, None),
        (lambda place: replace(place, home="/nowhere"), "/nowhere cannot be used there (No such file or directory)"),
        (lambda place: replace(place, inputs=(Path("on"),)), "on cannot be used there (No such file or directory)"),
        (lambda place: replace(place, inputs=(Path("empty"),)), "folder empty is empty there"),  # a mount that is not
        (lambda place: replace(place, mark=place.mark.with_name("4567")), "/out is another folder there"),
    ],
    ids=["as it should be", "no home", "no input", "empty", "another output"],
)
def test_a_place_is_looked_over(place: Place, dozen: Path, change: Callable[[Place], Place], said: str | None) -> None:
    (dozen / "empty").mkdir()
    problem = change(place).problem()
    assert problem == said if said is None else problem is not None and problem.endswith(said)
    assert [path.name for path in place.mark.parent.iterdir()] == ["0123"]  # what was tried is gone


def test_a_worker_tells_pictures_from_places(place: Place, dozen: Path, tiny_weights: Path) -> None:
    """A picture that fails is named; where nothing can be seen any more, nothing is said against the picture."""
    options = {"kernel": "auto", "steps": 0}
    order = Order(str(tiny_weights), "cpu", None, options, False, 10**8, 95)
    order = replace(order, records=Records(dozen / "out", order.fingerprint(order.upscaler())))
    worker = Worker(order, 1, place)
    assert worker.begin() is None
    good, bad = (dozen / "in/00.png", dozen / "out/00_x2.png"), (dozen / "in/05.png", dozen / "out/05_x2.png")
    done = worker.do(*good)
    assert isinstance(done, Done)
    assert not done.skipped
    assert good[1].exists()
    again = worker.do(*good)
    assert isinstance(again, Done)
    assert again.told == done.told | {"skipped": True}
    failed = worker.do(*bad)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith(f"{bad[0]} is no image")
    place.mark.unlink()
    assert isinstance(worker.do(*bad), Unfit)


def test_a_worker_with_other_weights_does_nothing(place: Place, dozen: Path, tiny_weights: Path) -> None:
    """Or another version: records of its results would say what is not so."""
    order = Order(
        str(tiny_weights), "cpu", None, {"kernel": "auto"}, False, 10**8, 95, records=Records(dozen / "out", "another")
    )
    answer = Worker(order, 1, place).begin()
    assert isinstance(answer, Unfit)
    assert answer.reason.endswith("its weights are not those of the command; install the same everywhere")
    missing = Worker(replace(order, model="gone.safetensors"), 1, place).begin()
    assert isinstance(missing, Unfit)
    assert "gone.safetensors" in missing.reason


def test_nodes_of_all_kinds_work_in_the_precision_of_the_command(dozen: Path, tiny_weights: Path) -> None:
    """A driver without a GPU says what those with one take, whatever itself would."""
    fast = Order(str(tiny_weights), "cuda", None, {"kernel": "auto"}, False, 10**8, 95, "bfloat16")
    exact = replace(fast, precision="float32")
    upscaler = Upscaler(tiny_weights, device="cpu")
    assert fast.fingerprint(upscaler) != exact.fingerprint(upscaler)
    upscaler.network.precision = torch.bfloat16
    assert exact.fingerprint(upscaler) == exact.fingerprint(Upscaler(tiny_weights, device="cpu", precision="float32"))


def test_a_list_of_which_every_picture_is_refused_ends(place: Place, dozen: Path, tiny_weights: Path) -> None:
    order = Order(str(tiny_weights), "cpu", None, {}, False, 10**8, 95, records=Records(dozen / "out", ""))
    assert cluster.run(order, [], [Path("in")], 1, lambda *_: None, lambda *_: None, lambda _: None) == []


def test_without_ray(dozen: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run("upscale", "in", "-o", "out", "-n", tiny_weights, "--cluster", "auto")
    assert result.exit_code == 2
    assert result.stderr.startswith("mzsr: --cluster needs Ray, which is missing (")
    assert result.stderr.endswith("); pip install '.[cluster]'\n")
