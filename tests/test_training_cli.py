"""Tests of `mzsr train`: both stages from photographs to weights, stopping and going on, what it says and refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import listing, refused, run
from PIL import Image
from torch import Tensor

from mzsr.apps.usage import seconds
from mzsr.card import Card
from mzsr.config import MetaConfig, PretrainConfig
from mzsr.errors import InputError
from mzsr.learning.weights import load_weights, save_weights
from mzsr.settings import json_schema

PRETRAIN = ["train", "pretrain", "--data", "data", "--preset", "smoke", "--device", "cpu", "--set", "iterations=4"]
META = [
    "train", "meta", "--data", "data", "--preset", "smoke", "--device", "cpu", "--set", "iterations=3",
    "--set", "save_every=2", "--set", "tasks=1",
]  # fmt: skip


def trained(*arguments: object) -> tuple[str, dict[str, Tensor], Card]:
    """Return the last line on standard error, and the weights with their card."""
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    network, card = load_weights(Path(str(arguments[arguments.index("--out") + 1])) / "weights.safetensors")
    return result.stderr.splitlines()[-1], {n: t.detach() for n, t in network.named_parameters()}, card


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Tensor) -> Path:
    """Return a working folder with three photographs of 60x40, 40x60 and 36x36 pixels in data/."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for name, part in {"a": photo[0, :, :, :40], "b": photo[0, :, 20:, 16:], "c": photo[0, :, :36, -36:]}.items():
        Image.fromarray((part.permute(1, 2, 0) * 255).round().byte().numpy()).save(f"data/{name}.png")
    Path("data/LICENSE").write_text("CC0 1.0 Universal\n")
    return tmp_path


def test_from_photographs_to_meta_trained_weights(here: Path) -> None:
    """Each stage moves what it was given, and its card tells the whole way."""
    said, theta_t, first = trained(*PRETRAIN, "--out", "one")
    assert said.startswith("iteration 4 of 4, ")
    assert said.endswith("per second; wrote one/weights.safetensors")
    assert first.iterations == 4
    again, _, _ = trained(*PRETRAIN, "--out", "one", "--resume")
    assert again == "iteration 4 of 4 was done before; one/weights.safetensors is its result"
    assert first.data == ("data (CC0 1.0 Universal (LICENSE))",)
    assert PretrainConfig.parse(first.recipe).iterations == 4

    said, theta_m, card = trained(*META, "--out", "two", "--from", "one/weights.safetensors")
    assert said.endswith("wrote two/weights.safetensors")
    assert MetaConfig.parse(card.recipe).tasks == 1
    assert [(run["recipe"], run["iterations"]) for run in card.earlier] == [(first.recipe, 4)]
    # Adam takes steps of β or little more, three of them
    distance = max(float((theta_m[name] - tensor).abs().max()) for name, tensor in theta_t.items())
    assert 0 < distance < 4 * MetaConfig.parse(card.recipe).learning_rate
    assert isinstance(card.step_sizes, dict)
    assert card.step_sizes.keys() == theta_m.keys()
    learned = torch.tensor([size for sizes in card.step_sizes.values() for size in sizes])
    assert bool((learned > 0).all())
    assert not torch.equal(learned, torch.full_like(learned, float(learned[0])))

    result = run("upscale", "data/c.png", "-o", "c.png", "-n", "two/weights.safetensors", "--kernel", "bicubic")
    assert result.exit_code == 0, result.stderr
    with Image.open("c.png") as image:
        assert image.size == (72, 72)


def test_silent_filters_are_told(here: Path) -> None:
    """A network whose units answer to nothing says so; one that learns everywhere does not."""
    small = [*PRETRAIN, "--set", "iterations=2", "--set", "network.name=paper", "--set", "network.channels=4"]
    assert run(*small, "--out", "loud").exit_code == 0
    assert not any("mind:" in line for line in run(*small, "--out", "loud", "--resume").stderr.splitlines())
    network, card = load_weights("loud/weights.safetensors")
    theta = {name: t.detach().clone() for name, t in network.named_parameters()}
    theta["body.12.bias"] -= 100  # nothing passes the last hidden layer, neither forwards nor backwards
    Path("mute").mkdir()
    save_weights(Path("mute/weights.safetensors"), theta, card)
    result = run(*small, "--out", "quiet", "--from", "mute/weights.safetensors")
    assert result.exit_code == 0, result.stderr
    words = (
        "mzsr: mind: 100% of the filters answer to nothing any more, and so learn no more; "
        "a smaller learning_rate keeps them"
    )
    assert words in result.stderr.splitlines()


def test_both_stages_stop_and_go_on(here: Path) -> None:
    """What was stopped at once and resumed ends with the same weights as what was not; before, there are none."""
    for arguments in (PRETRAIN, [*META, "--from", "whole-pretrain/weights.safetensors"]):
        stage = arguments[1]
        _, whole, finished = trained(*arguments, "--out", f"whole-{stage}")
        stopped = run(*arguments, "--out", stage, "--time-limit", "0s")
        assert stopped.exit_code == 1
        assert stopped.stderr.splitlines()[-1] == (
            f"mzsr: --time-limit ended before iteration 1 of {finished.iterations}; nothing was trained yet, and no "
            "weights were written; go on with --resume and a longer --time-limit"
        )
        assert not Path(stage, "weights.safetensors").exists()
        before = listing(here)
        refused(run(*arguments, "--out", stage), f"{stage} already holds a run; add --resume", 1)
        assert listing(here) == before
        said, resumed, card = trained(*arguments, "--out", stage, "--resume")
        assert "--resume" not in said
        assert card.iterations == finished.iterations > 0
        assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_a_run_that_is_resumed_needs_no_start(here: Path, tiny_weights: Path) -> None:
    """Its state has the weights already; without a state, --resume does not stand in for --from."""
    refused(run(*META, "--out", "run", "--resume"), "give --from MODEL", 2)
    start = ["--from", tiny_weights]
    assert "is not read" not in run(*META, "--out", "run", *start, "--resume", "--time-limit", "0s").stderr
    said, _, card = trained(*META, "--out", "run", "--resume")
    assert said.startswith("iteration 3 of 3")
    assert len(card.earlier) == 1
    assert (
        f"run holds a run, which goes on where it was; --from {tiny_weights} is not read"
        in run(*META, "--out", "run", *start, "--resume").stderr
    )


def test_another_configuration_is_not_resumed(here: Path) -> None:
    trained(*PRETRAIN, "--out", "run")
    other = run(*PRETRAIN, "--out", "run", "--resume", "--set", "batch=3")
    assert other.exit_code == 1
    assert other.stderr.splitlines()[-1].startswith(
        "mzsr: run/state.safetensors was made with another configuration (batch)"
    )


def test_before_it_trains_it_says_on_what(here: Path) -> None:
    """On standard error, word for word what `train check` prints for the same patch."""
    Image.new("RGB", (31, 90)).save("data/narrow.png")
    told = run("train", "check", "--data", "data", "--patch", "32")
    assert told.exit_code == 0
    assert told.stderr == ""
    assert told.stdout.splitlines() == [
        "data: 3 photographs, 36x36 to 40x60 (0.0061 megapixels), licence: CC0 1.0 Universal (LICENSE)",
        "total: 3 photographs (0.0061 megapixels), 1 file passed over",
        "passed over: data/narrow.png is 31x90; at least 32x32 is required",
    ]
    result = run(*PRETRAIN, "--out", "run", "--time-limit", "0s")
    assert result.stderr.splitlines()[:-1] == told.stdout.splitlines()


def test_two_steps_of_udl_and_a_larger_picture(here: Path) -> None:
    """EDSR-S: each step is one command; its weights enlarge a picture by their own scale, and say so of another."""
    small = ["--preset", "edsr-s", "--set", "batch=1", "--set", "patch=24", "--set", "iterations=2", "--device", "cpu"]
    edsr = ["train", "pretrain", "--data", "data", *small]
    refused(run(*edsr, "--loss", "udl", "--out", "two"), "weighs by the log-variance of step 1; give --from", 2)
    _, _, first = trained(*edsr, "--loss", "esu", "--out", "one")
    trained(*edsr, "--loss", "l1", "--set", "network.log_var=true", "--out", "none")
    untrained = run(*edsr, "--loss", "udl", "--out", "two", "--from", "none/weights.safetensors")
    assert "has a head that was not trained last; train step 1 with --loss esu" in untrained.stderr
    assert untrained.exit_code == 1
    _, theta, card = trained(*edsr, "--loss", "udl", "--out", "two", "--from", "one/weights.safetensors")
    assert (first.network.log_var, card.network.log_var, card.network.scale) == (True, False, 2)
    assert sum(tensor.numel() for tensor in theta.values()) == 1_369_859
    assert card.subsample == "bicubic"
    said, _, _ = trained(*edsr, "--loss", "udl", "--out", "two", "--resume")
    assert said.startswith("iteration 2 of 2")
    for weights, steps in (("one", 0), ("two", 1)):
        result = run(
            "upscale", "data/c.png", "-o", f"{weights}.png", "-n", f"{weights}/weights.safetensors", "--steps", steps
        )
        assert result.exit_code == 0, result.stderr
        with Image.open(f"{weights}.png") as image:
            assert image.size == (72, 72)
    result = run("upscale", "data/c.png", "-o", "three.png", "-n", "two/weights.safetensors", "-s", "3")
    assert result.exit_code == 1
    assert "network is built for x2, this is x3; take weights of that scale" in result.stderr


def test_a_head_for_weights_that_have_none(here: Path, tiny_weights: Path) -> None:
    """As it is done for the flagship: the body is the bits it was."""
    changes = ["--set", "network.log_var=true", "--set", 'train=["variance.*"]', "--loss", "eu"]
    _, theta, card = trained(*PRETRAIN, *changes, "--from", tiny_weights, "--out", "run")
    body = {name: tensor for name, tensor in load_weights(tiny_weights)[0].named_parameters()}
    assert all(torch.equal(theta[name], tensor) for name, tensor in body.items())
    assert theta.keys() - body.keys() == {
        f"variance.{i}.{kind}" for i in range(0, 10, 2) for kind in ("weight", "bias")
    }
    assert card.network.log_var


@pytest.mark.parametrize(("stage", "config"), [("pretrain", PretrainConfig), ("meta", MetaConfig)])
def test_schema_is_that_of_the_stage(stage: str, config: type[PretrainConfig | MetaConfig]) -> None:
    result = run("train", "schema", stage)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert json.loads(result.stdout) == json.loads(json_schema(config))
    assert json.loads(result.stdout)["title"] == config.__name__


def test_help_lists_four_commands() -> None:
    result = run("train", "--help")
    assert result.exit_code == 0
    lines = result.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines if line.strip()] == ["pretrain", "meta", "check", "schema"]
    for command in ("pretrain", "meta", "check", "schema"):
        assert run("train", command, "--help").exit_code == 0
    assert run("train", "schema", "other").exit_code == 2
    assert run("train", "pretrain", "--out", "run").exit_code == 2, "--data is required"


REFUSED = [
    # arguments beyond --data data --out run, what the line says, exit code
    ("pretrain", ["--data", "none"], "data folder none does not exist", 1),
    ("pretrain", ["--data", "bare"], "no usable picture in bare", 1),
    ("pretrain", ["--data", "./data/../data"], "are the same; a picture must be given once", 1),
    ("pretrain", ["--preset", "big"], "preset is 'big'; it must be one of flagship, paper, smoke", 2),
    (
        "pretrain",
        ["--loss", "mse"],
        "--set loss.name=mse: loss.name: Input should be 'l1', 'psnr', 'eu', 'esu', 'udl'",
        2,
    ),
    ("pretrain", ["--loss", "error-map"], "weighs by a network trained before; give --from FILE.safetensors", 2),
    ("pretrain", ["--loss", "udl", "--resume"], "give --from FILE.safetensors, trained with --loss esu", 2),
    ("pretrain", ["--loss", "eu", "--set", "train=[variance.*]"], "must come from somewhere; give --from MODEL", 2),
    ("pretrain", ["--set", "loss.scale=log"], "did you mean 'loss.scaling'?", 2),
    ("pretrain", ["--set", "loss=esu"], "loss esu trains a log-variance; set network.log_var to true", 2),
    ("pretrain", ["--set", "seed"], "--set received 'seed'", 2),
    ("pretrain", ["--config", "data/a.png"], "a.png is not text", 2),
    ("pretrain", ["--config", "none.yaml"], "none.yaml cannot be read", 2),
    ("pretrain", ["--time-limit", "soon"], "--time-limit is 'soon'; write 90s, 9m or 2h", 2),
    ("pretrain", ["--device", "abacus"], "device is 'abacus'; it must be one of auto, cpu, cuda", 2),
    ("meta", [], "meta-transfer training starts from trained weights; give --from MODEL or FILE.safetensors", 2),
    ("meta", ["--set", "compile=true"], "unknown key 'compile'", 2),
    ("meta", ["--set", "law.scales={4: 1}"], "same-image episodes need a patch of at least 64", 2),
]


def test_compiling_needs_a_compiler(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.delenv("CXX", raising=False)
    result = run(*PRETRAIN, "--out", "run", "--set", "compile=true")
    assert result.exit_code == 1
    assert "no C++ compiler (g++, clang++ or $CXX) is here" in result.stderr.splitlines()[-1]
    assert not Path("run").exists()


@pytest.mark.slow  # the compiler takes a minute or two
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_compiled_convolutions_learn_the_same(here: Path) -> None:
    """In processes of their own: it does not follow the checks of types under which tests run."""
    for name, compiled in ("plain", "false"), ("compiled", "true"):
        command = [sys.executable, "-m", "mzsr", *PRETRAIN, "--out", name, "--set", f"compile={compiled}"]
        subprocess.run(command, check=True, capture_output=True)
    (plain, _), (compiled, _) = (load_weights(here / name / "weights.safetensors") for name in ("plain", "compiled"))
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize(
    ("stage", "arguments", "message", "code"), REFUSED, ids=[" ".join([row[0], *row[1]]) for row in REFUSED]
)
def test_bad_input_is_one_line(here: Path, stage: str, arguments: list[str], message: str, code: int) -> None:
    Path("bare").mkdir()
    preset = [] if "--preset" in arguments else ["--preset", "smoke"]
    before = listing(here)
    refused(run("train", stage, "--data", "data", "--out", "run", *preset, *arguments), message, code)
    assert listing(here) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "none.safetensors"], "weight file none.safetensors does not exist"),
        (["--from", "best"], "model is 'best'; give a .safetensors file or a model that is installed"),
        (["--from", "data/a.png"], "model is 'data/a.png'; give a .safetensors file"),
        (["--from", "mzsr"], "this run trains name='unfolded' channels=8"),
        (["--from", "TINY", "--set", "network.stages=2"], "is of network name='unfolded' channels=8"),
        (["--from", "TINY", "--set", "adapt=[nothing]"], "adapt is ['nothing'], and 'nothing' matches no tensor"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_weights_that_do_not_fit(here: Path, tiny_weights: Path, arguments: list[str], message: str) -> None:
    """The photographs are told of before that; then it is one line."""
    result = run(*META, "--out", "run", *(str(tiny_weights) if a == "TINY" else a for a in arguments))
    assert result.exit_code == 1
    assert result.stdout == ""
    told, last = result.stderr.splitlines()[:-1], result.stderr.splitlines()[-1]
    assert last.startswith("mzsr: ")
    assert message in last
    assert told == run("train", "check", "--data", "data", "--patch", 32).stdout.splitlines()
    assert not Path("run/weights.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("9m", 540), ("2h", 7200), ("1.5h", 5400), ("0s", 0), ("10000h", 3.6e7)]
)
def test_times_as_people_write_them(text: str, expected: float) -> None:
    assert seconds("--time-limit", text) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "90", "-1s", "1h30m", "s", "1e3s", " 9m", "nan s", "10001h", "9" * 400 + "s"]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="write 90s, 9m or 2h"):
        seconds("--time-limit", text)


def test_memory_that_runs_out_is_said_in_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("mzsr.learning.pretrain.Pretraining.gradient", full)
    result = run(*PRETRAIN, "--out", "run")
    assert result.exit_code == 1
    assert "memory ran out with batches of 2 patches of 32 pixels; take smaller ones" in result.stderr.splitlines()[-1]
