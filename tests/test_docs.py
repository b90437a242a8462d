"""What the documents say is so: commands parse, links lead somewhere, scripts name their cost, names are described."""

import ast
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "mzsr"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SCRIPTS = sorted(path for path in (ROOT / "runs").glob("*") if path.is_file())


def fenced_blocks(text: str) -> list[str]:
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def mzsr_commands(text: str) -> list[list[str]]:
    """Return the arguments of every `mzsr ...` line in fenced blocks; comments gone, continued lines joined."""
    lines = "\n".join(fenced_blocks(text)).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.strip().removeprefix("$ "), comments=True) for line in lines if "mzsr " in line]
    return [line[1:] for line in words if line[:1] == ["mzsr"]]


def parse(arguments: list[str]) -> None:
    """Let the real command line parse arguments, types and choices included, without running anything."""
    from mzsr.apps.cli import app

    command, name, rest = typer.main.get_command(app), "mzsr", list(arguments)
    while rest and rest[0] in (subcommands := getattr(command, "commands", {})):
        name, command = rest[0], subcommands[rest[0]]
        rest = rest[1:]
    assert not (hasattr(command, "commands") and rest and rest[0][0] != "-"), f"mzsr {rest[0]}: no such command"
    try:
        command.make_context(name, rest)
    except typer.Exit:  # --help and --version answer and stop
        pass
    except Exception as error:
        raise AssertionError(f"mzsr {shlex.join(arguments)}: {getattr(error, 'message', error)}") from error


def readme_commands() -> list[list[str]]:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", ROOT / "docs" / "serving.md")]
    return [command for text in texts for command in mzsr_commands(text)]


def test_readme_shows_commands() -> None:
    assert readme_commands(), "README.md has no `mzsr ...` line in a fenced block"


@pytest.mark.parametrize("arguments", readme_commands(), ids=shlex.join)
def test_readme_commands_parse(arguments: list[str]) -> None:
    parse(arguments)


@pytest.mark.parametrize(
    "arguments", [c for c in readme_commands() if c[0] == "train" and "--from" in c], ids=shlex.join
)
def test_training_can_begin_from_what_readme_says(arguments: list[str]) -> None:
    """What is shipped, and what the line above has made, is of the network that the line trains."""
    import torch

    from mzsr.learning.metatrain import MetaTraining
    from mzsr.learning.photographs import Photographs
    from mzsr.learning.pretrain import Pretraining
    from mzsr.presets import META, PRETRAIN
    from mzsr.settings import load_config

    stage = arguments[1]
    told = {arguments[i]: arguments[i + 1] for i in range(2, len(arguments) - 1)}
    change = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--set"]
    if loss := told.get("--loss"):
        change += [f"loss.name={loss}", *(["network.log_var=true"] if loss in ("eu", "esu") else [])]
    pictures = Photographs([torch.zeros(3, 256, 256, dtype=torch.uint8)], [], [], "")
    preset, cpu = told.get("--preset", "flagship"), torch.device("cpu")
    if stage == "pretrain":
        objective = Pretraining(load_config(PRETRAIN, preset, None, change), pictures, cpu)
    else:
        objective = MetaTraining(load_config(META, preset, None, change), pictures, cpu)
    if "/" not in told["--from"]:
        objective.begin_from(told["--from"])  # raises where it cannot
        return
    made_by = ["--out", told["--from"].partition("/")[0]]
    before = next(c for c in readme_commands() if any(c[i : i + 2] == made_by for i in range(len(c))))
    preset = before[before.index("--preset") + 1] if "--preset" in before else "flagship"
    start, network = load_config(PRETRAIN, preset, None, []), objective.config.network
    assert start.network.model_copy(update={"log_var": network.log_var}) == network


@pytest.mark.parametrize(
    ("recipe", "model"),
    [("head", "mzsr"), ("head-x4", "mzsr-x4"), ("head-jpeg", "mzsr-jpeg"), ("flagship-meta", "mzsr-meta")],
)
def test_a_recipe_is_that_of_the_weights_whatever_the_presets_become(recipe: str, model: str) -> None:
    from mzsr.learning.weights import card_of
    from mzsr.presets import META, PRETRAIN
    from mzsr.settings import load_config

    made = card_of(model).recipe
    file = ROOT / "runs" / f"{recipe}.yaml"
    meta = recipe.endswith("-meta")
    told = load_config(META, "flagship", file, []) if meta else load_config(PRETRAIN, "flagship", file, [])
    assert told == type(told).parse(made)


@pytest.mark.parametrize(
    ("model", "method", "tables"),
    [
        ("mzsr", "mzsr", ["flagship-x2"]),
        ("mzsr-x4", "mzsr", ["flagship-x4"]),
        ("mzsr-jpeg", "mzsr", ["degraded-jpeg-80", "degraded-jpeg-60"]),
        ("mzsr-meta", "mzsr-meta", ["adaptation-x2", "adaptation-x4"]),
        *((f"edsr-s-x2-{loss}", f"edsr-s-x2-{loss}", ["edsr-x2"]) for loss in ("l1", "udl")),
        ("edsr-s-x4-l1", "edsr-s-x4-l1", ["edsr-x4"]),
        *((f"mzsr-{name}", f"mzsr-{name}", ["paper-x2", "paper-x4"])
          for name in ("x2-direct", "x2-bicubic", "x4-direct", "multiscale")),
    ],
)  # fmt: skip
def test_the_scores_of_a_card_are_those_of_the_tables(model: str, method: str, tables: list[str]) -> None:
    from scripts import script_of

    from mzsr.benchmark.rows import read_csv
    from mzsr.learning.weights import card_of

    rows = [row for name in tables for row in read_csv(ROOT / "docs" / "results" / f"{name}.csv")]
    assert card_of(model).score == script_of("publish").scores(rows, method)


@pytest.mark.parametrize("arguments", [["upscale"], ["upscale", "a.png", "--no-such-flag"], ["no-such-command"]])
def test_wrong_commands_do_not_parse(arguments: list[str]) -> None:
    with pytest.raises(AssertionError, match=r"mzsr (upscale|no-such-command)"):
        parse(arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    missing = [target for target in local if not (document.parent / target).exists()]
    assert not missing, f"{document.name} links to {missing}, which do not exist"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_open_with_their_cost(script: Path) -> None:
    opening = "\n".join(script.read_text(encoding="utf-8").splitlines()[:30])
    missing = [
        word
        for word in ("command", "machine", "hours", "score")
        if not re.search(rf"^[#\s]*{word}:\s+\S", opening, flags=re.MULTILINE)
    ]
    hours = re.search(r"hours:\s+(.*)", opening)
    assert hours is None or re.search(r"\d|see ", hours[1]), f"runs/{script.name}: hours are '{hours[1]}', no number"
    assert not missing, f"runs/{script.name} must open with lines 'command: ...', 'machine: ...'; missing: {missing}"


STUB = """#!/bin/bash
for word in "$@"; do printf '%s\\0' "$word"; done >> "$LOG"
printf '\\n' >> "$LOG"
while [ $# -gt 0 ]; do
    if [ "$1" = --out ]; then mkdir -p "$2"; touch "$2/results.csv"; fi
    shift
done
"""


@pytest.mark.parametrize("preset", ["", "paper"])
@pytest.mark.parametrize("script", sorted((ROOT / "runs").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_call_commands_that_exist(script: Path, preset: str, tmp_path: Path) -> None:
    """Run with a Python that only writes down what it is asked, every call of mzsr parses, and every file is there."""
    stub, log = tmp_path / "bin" / "python", tmp_path / "log"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for scale in (2, 4):  # what runs/train_udl.sh leaves, and runs/bench.sh compares
        (left := tmp_path / "out" / "udl" / f"x{scale}-0" / "l1").mkdir(parents=True)
        (left / "weights.safetensors").touch()
    environment = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "LOG": str(log), "PRESET": preset}
    words = ["bash", str(script), str(tmp_path), str(tmp_path / "out")]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, capture_output=True)
    calls = [line.split("\0")[:-1] for line in log.read_text("utf-8").split("\n")[:-1]]
    assert calls
    for call in calls:
        if call[0] == "-m":
            assert call[1] == "mzsr"
            parse(call[2:])
            assert all((ROOT / word).is_file() for word in call if word.startswith("runs/"))
        else:
            assert (ROOT / call[0]).is_file(), call


def undocumented(tree: ast.AST, name: str) -> Iterator[str]:
    """Yield the public modules, classes, functions and methods that have no docstring."""
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if not ast.get_docstring(tree):
            yield name
    if isinstance(tree, ast.Module | ast.ClassDef):
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                yield from undocumented(node, f"{name}.{node.name}")


def test_public_names_have_docstrings() -> None:
    paths = [*SOURCE.rglob("*.py"), *ROOT.glob("runs/*.py")]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    found = [name for path, tree in trees.items() for name in undocumented(tree, str(path.relative_to(ROOT)))]
    assert not found, f"without a docstring: {found}"


def listed_house(text: str) -> set[str]:
    """Return the .py files of the fenced block that draws src/mzsr/ as an indented tree, one entry per line."""
    block = next((b for b in fenced_blocks(text) if re.search(r"^\s*src/mzsr/(\s|$)", b, flags=re.MULTILINE)), "")
    lines = [(len(line) - len(line.lstrip()), line.split()[0]) for line in block.splitlines() if line.strip()]
    files: set[str] = set()
    open_folders: list[tuple[int, str]] = []  # (indentation, path) from src/mzsr/ down to where the line stands
    for indent, entry in lines:
        while open_folders and open_folders[-1][0] >= indent:
            open_folders.pop()
        if entry == "src/mzsr/":
            open_folders = [(indent, "")]
        elif open_folders and entry.endswith("/"):
            open_folders.append((indent, open_folders[-1][1] + entry))
        elif open_folders and entry.endswith(".py"):
            files.add(open_folders[-1][1] + entry)
    return files


def test_house_is_read_as_drawn() -> None:
    drawn = (
        "```\nsrc/mzsr/   all of it\n  a.py      one\n  sub/      a room\n    b.py    two\n  c.py\nruns/\n  d.py\n```"
    )
    assert listed_house(drawn) == {"a.py", "sub/b.py", "c.py"}


def test_readme_draws_the_house_that_stands() -> None:
    drawn = listed_house((ROOT / "README.md").read_text(encoding="utf-8"))
    stands = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")}
    stands -= {str(path.relative_to(SOURCE)) for path in SOURCE.glob("*/__init__.py")}  # the rooms' own, empty ones
    assert drawn == stands, f"only in README: {sorted(drawn - stands)}; only on disk: {sorted(stands - drawn)}"


def test_notation_names_every_key_of_a_record(doubting_weights: Path, photo: Tensor) -> None:
    from mzsr.imaging import kernels
    from mzsr.imaging.degrade import Degradation, degrade
    from mzsr.inference.upscale import Upscaler

    section = (ROOT / "docs" / "notation.md").read_text("utf-8").partition("## Records")[2].partition("\n## ")[0]
    told = {name.rpartition(".")[2] for name in re.findall(r"`([a-z_0-9.]+)`", section)}
    lr = degrade(photo, Degradation(kernels.gaussian((1.0, 1.0)), 2))
    record = Upscaler(doubting_weights)(lr, scale=2, uncertainty=True).record()
    keys = {*record, *record["degradation"]} - {"degradation"}
    assert keys <= told, f"docs/notation.md does not tell of {sorted(keys - told)}"


def test_notation_names_every_key_of_a_log(folder: Path, tmp_path: Path) -> None:
    """And no other: what two losses note, one of a log-variance and one of weights, is all there is."""
    from training import configured, go

    section = (ROOT / "docs" / "notation.md").read_text("utf-8").partition("## Log\n")[2].partition("\n## ")[0]
    keys = set[str]()
    for loss in ("esu", "gradient-map"):
        head = {**configured().network.model_dump(), "log_var": loss == "esu"}
        go(configured(loss=loss, network=head, iterations=1, hold_out=2), folder, tmp_path / loss)
        for line in (tmp_path / loss / "log.jsonl").read_text("utf-8").splitlines():
            keys |= json.loads(line).keys()
    assert keys == set(re.findall(r"^\| `(\w+)` \|", section, re.M))


def test_worked_example_works() -> None:
    from mzsr.imaging import kernel_files, kernels

    function, line, _ = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S)
    assert line.startswith("FAMILIES: ")
    assert hasattr(kernel_files, "FAMILIES")
    names = vars(kernel_files).copy()
    exec(compile(function + line, "CONTRIBUTING.md", "exec"), names)
    assert names["FAMILIES"].keys() == {*kernel_files.FAMILIES, "disk"}
    kernel = names["FAMILIES"]["disk"](3.0)
    assert kernels.centroid(kernel) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert kernels.covariance(kernel).trace().item() == pytest.approx(3.0**2 / 2 + 1 / 6, rel=0.02)


@pytest.mark.parametrize("path", sorted((SOURCE / "weights").glob("*.json")), ids=lambda path: path.stem)
def test_commands_on_cards_parse(path: Path) -> None:
    """Those of a run, and of all runs that led to it."""
    from mzsr.card import Card

    card = Card.parse(json.loads(path.read_text("utf-8")), path.name)
    for command in (card.command, *(run["command"] for run in card.earlier)):
        program, *arguments = shlex.split(command)
        if program == "mzsr":
            parse(arguments)
            for value in (arguments[i + 1] for i, word in enumerate(arguments) if word == "--set"):
                yaml.safe_load(value.partition("=")[2])
        else:
            assert (program, arguments[0].partition("/")[0]) == ("python", "runs"), command
