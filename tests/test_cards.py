"""Tests of the card that a training run writes: the whole way to its weights, data with licences, machine, commit."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from training import go

from mzsr.card import Card
from mzsr.config import KernelLaw, MetaConfig, PretrainConfig, TrainConfig
from mzsr.learning import cards, loop
from mzsr.learning.cards import as_earlier, make_card, only_subsampling, seen
from mzsr.learning.metatrain import MetaTraining
from mzsr.learning.parallel import World
from mzsr.learning.photographs import FolderSummary, Photographs
from mzsr.learning.pretrain import Pretraining
from mzsr.learning.weights import load_weights
from mzsr.presets import META, PRETRAIN

ALONE = World(torch.device("cpu"))
ABOUT: dict[str, Any] = {"summary": "s", "step_sizes": (0.01,), "crops": 1}


def photographs(**licences: str | None) -> Photographs:
    folders = [FolderSummary(name, 1, (8, 8), (8, 8), 1e-4, licence) for name, licence in licences.items()]
    return Photographs([torch.zeros(3, 8, 8, dtype=torch.uint8)] * len(folders), [], folders, "0" * 16)


def card(config: TrainConfig | None = None, data: Photographs | None = None, world: World = ALONE) -> Card:
    return make_card(
        config or PRETRAIN["smoke"], data or photographs(a=None), world,
        about=ABOUT, iterations=5, hours=1.23456, earlier=(), precision=torch.bfloat16,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, photo: Tensor) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray((photo[0].permute(1, 2, 0) * 255).byte().numpy()).save(folder / "a.png")
    return folder


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every iteration take an hour."""

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 1e-6
            return self.now

    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    for stage in (Pretraining, MetaTraining):

        def gradient(self: Any, *arguments: Any, original: Any = stage.gradient) -> Any:
            clock.now += 3600
            return original(self, *arguments)

        monkeypatch.setattr(stage, "gradient", gradient)


def trained(config: TrainConfig, folder: Path, out: Path, **options: Any) -> tuple[Path, Card]:
    path = go(config, folder, out, **options).weights
    return path, load_weights(path)[1]


def test_the_whole_way_is_on_the_card(
    folder: Path, tmp_path: Path, hours: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretraining, meta-training, and meta-training again: each with its own recipe, command and hours."""
    values = [
        PRETRAIN["smoke"].model_dump() | {"iterations": 1, "seed": 1},
        META["smoke"].model_dump() | {"iterations": 2, "seed": 2},
        META["smoke"].model_dump() | {"iterations": 3, "seed": 3, "order": "first"},
    ]
    configs = [PretrainConfig.parse(values[0]), MetaConfig.parse(values[1]), MetaConfig.parse(values[2])]
    path, card = None, None
    for number, config in enumerate(configs):
        monkeypatch.setattr("sys.argv", ["anything", "train", str(number)])
        path, card = trained(config, folder, tmp_path / str(number), start_from=path)
        assert card.iterations == number + 1
        assert card.hours == number + 1
        assert card.command == f"mzsr train {number}"
        assert type(config).parse(card.recipe) == config
        assert [run["hours"] for run in card.earlier] == [*range(1, number + 1)]
        assert [run["iterations"] for run in card.earlier] == [*range(1, number + 1)]
        assert [run["command"] for run in card.earlier] == [f"mzsr train {n}" for n in range(number)]
        kinds = [type(earlier).parse(run["recipe"]) for run, earlier in zip(card.earlier, configs, strict=False)]
        assert kinds == configs[:number]
    assert card is not None
    assert Card.parse(card.model_dump(mode="json")) == card


def test_resuming_keeps_the_way(folder: Path, tmp_path: Path, hours: None) -> None:
    """The weights that the run started from need not be there any more."""
    start, _ = trained(PRETRAIN["smoke"].model_copy(update={"iterations": 1}), folder, tmp_path / "start")
    config = META["smoke"].model_copy(update={"iterations": 2})
    _, stopped = trained(config, folder, tmp_path / "run", start_from=start, time_limit=3600)
    shutil.rmtree(tmp_path / "start")
    _, done = trained(config, folder, tmp_path / "run", start_from=start, resume=True)
    assert (stopped.iterations, done.iterations, done.hours) == (1, 2, 2.0)
    assert done.earlier == stopped.earlier
    assert len(done.earlier) == 1


def test_the_command_can_be_copied_and_does_not_tell_where_it_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, data = tmp_path / "secret" / "project", tmp_path / "secret" / "two words"
    here.mkdir(parents=True)
    data.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(
        "sys.argv", ["mzsr", "train", "--data", str(data), "--set", "shrink=[0.8, 0.5]", "--out", "a/b"]
    )
    assert card().command == "mzsr train --data '../two words' --set 'shrink=[0.8, 0.5]' --out a/b"


def test_scales_are_those_that_are_drawn() -> None:
    law = KernelLaw(scales={2: 1.0, 4: 0.0})
    assert seen(PRETRAIN["smoke"].model_copy(update={"law": law})) == (2,)


@pytest.mark.parametrize(
    ("bicubic", "centred", "expected"),
    [(0.0, 0.0, "direct"), (1.0, 0.0, "bicubic"), (0.0, 0.2, None), (0.0, 1.0, None), (0.5, 0.0, None)],
)
def test_a_network_that_is_told_nothing_knows_a_grid_only_if_it_saw_no_other(
    bicubic: float, centred: float, expected: str | None
) -> None:
    law = {"law": KernelLaw(bicubic_share=bicubic, centred_share=centred)}
    assert only_subsampling(META["paper"].model_copy(update=law)) == expected
    assert only_subsampling(META["flagship"].model_copy(update=law)) is None  # which is told


def test_earlier_runs_come_first() -> None:
    first = card().model_copy(update={"command": "one"})
    second = card().model_copy(update={"command": "two", "earlier": as_earlier(first)})
    assert [run["command"] for run in as_earlier(second)] == ["one", "two"]
    assert as_earlier(second)[1]["hours"] == second.hours
    # What a file is, and what it scores, is said of it alone; how it adapts goes on with a body that is left alone
    kept = {
        "recipe",
        "command",
        "commit",
        "iterations",
        "hours",
        "machine",
        "step_sizes",
        "crops",
        "scales",
        "subsample",
    }
    assert set(as_earlier(second)[1]) == kept


def test_licences() -> None:
    """That of the configuration wins over what is found beside the images; none is said to be none."""
    config = PRETRAIN["smoke"].model_copy(update={"licences": {"a": "CC0", "b": "CC BY 4.0"}})
    data = photographs(a="all rights reserved (LICENSE)", b=None, c="MIT (LICENSE)", d=None)
    assert card(config, data).data == ("a (CC0)", "b (CC BY 4.0)", "c (MIT (LICENSE))", "d (licence not stated)")


def test_machine_and_numbers() -> None:
    alone, several = card(), card(data=photographs(a=None, b=None), world=World(torch.device("cpu"), rank=0, size=3))
    assert several.machine.startswith("3 processes, ")
    assert "processes" not in alone.machine
    assert f"torch {torch.__version__}, 1 pictures" in alone.machine
    assert "2 pictures" in several.machine
    assert (alone.scales, alone.hours, alone.summary) == ((2, 3, 4), 1.235, "s")


commit = cards.commit.__wrapped__  # a process asks once


def test_a_card_names_the_code_that_ran_whatever_is_checked_out_since(monkeypatch: pytest.MonkeyPatch) -> None:
    before = card().commit
    monkeypatch.setattr(cards.subprocess, "run", lambda *_, **__: pytest.fail("it was asked again"))
    assert card().commit == before == cards.commit()


def test_commit_of_what_is_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package is, or a machine without git."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(cards, "__file__", str(tmp_path / "cards.py"))
    assert commit() == "unknown"
    monkeypatch.setattr(cards, "__file__", str(tmp_path / "none" / "cards.py"))
    assert commit() == "unknown"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"


def test_commit_is_not_that_of_the_repository_around_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    installed = tmp_path / ".venv" / "mzsr"
    installed.mkdir(parents=True)
    (installed / "cards.py").touch()
    (tmp_path / ".gitignore").write_text(".venv\n")
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "theirs"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(cards, "__file__", str(installed / "cards.py"))
    assert commit() == "unknown"
