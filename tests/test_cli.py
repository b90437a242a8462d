"""Tests of the command line: its help, its words, what every command shares, and `mzsr degrade`."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from mzsr import __version__
from mzsr.apps.usage import complain, echo
from mzsr.commands import command_line
from mzsr.imaging import files, kernels
from mzsr.imaging.degrade import Degradation, degrade
from mzsr.imaging.jpeg import Jpeg, tables


def test_hidden_colours_change_no_estimate_and_no_smaller_picture(here: Path, photo: Tensor) -> None:
    """What lies under an alpha of 0 is not seen by `estimate` and `degrade`, as it is not by `upscale`."""
    shown = (photo[0, :, :96, :96].movedim(0, 2).numpy() * 255).astype(np.uint8)
    alpha = np.full((*shown.shape[:2], 1), 255, np.uint8)
    alpha[:, 64:] = 0
    told = []
    for name, hidden in (("black", 0), ("white", 255)):
        colours = np.where(alpha > 0, shown, np.uint8(hidden))
        Image.fromarray(np.concatenate([colours, alpha], 2)).save(f"{name}.png")
        record = json.loads(run("estimate", f"{name}.png", "--json").stdout)
        told.append({key: record[key] for key in record if key != "input"})
        assert run("degrade", f"{name}.png", "-o", f"{name} small.png", "--kernel", "gauss:2").exit_code == 0
    assert told[0] == told[1]
    assert Path("black small.png").read_bytes() == Path("white small.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "d"),
    [
        ([], Degradation(kernels.delta(), 2, "bicubic")),
        (["--kernel", "gauss:2.0"], Degradation(kernels.gaussian((2.0, 2.0)), 2)),
        (["--kernel", "gauss:4,1,-0.5", "-s", "3"], Degradation(kernels.gaussian((4.0, 1.0), -0.5), 3)),
        (["--kernel", "gauss:1.3", "--subsample", "bicubic"], Degradation(kernels.gaussian((1.3, 1.3)), 2, "bicubic")),
        (["--noise", "5/255", "--seed", "7"], Degradation(kernels.delta(), 2, "bicubic", 5 / 255)),
        (["--jpeg", "60"], Degradation(kernels.delta(), 2, "bicubic", jpeg=Jpeg(tables(60)))),
        (
            ["--kernel", "gauss:2.0", "--subsample", "centre"],
            Degradation(kernels.centre(kernels.gaussian((2.0, 2.0)), (0.5, 0.5))),
        ),
    ],
)
def test_degrade_is_the_degradation(picture: Path, options: list[str], d: Degradation) -> None:
    result = run("degrade", "a.png", "-o", "b.png", *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    generator = torch.Generator().manual_seed(7)
    expected = (degrade(files.read("a.png").pixels, d, generator).clamp(0, 1) * 255).round()
    assert torch.equal((files.read("b.png").pixels * 255).round(), expected)


def test_degrade_takes_alpha_along(here: Path) -> None:
    Image.fromarray(np.full((16, 20, 4), 51, np.uint8)).save("a.png")
    assert run("degrade", "a.png", "-o", "b.png").exit_code == 0
    with Image.open("b.png") as image:
        assert (image.mode, image.size) == ("RGBA", (10, 8))
        assert np.array_equal(np.asarray(image), np.full((8, 10, 4), 51))


def test_degrade_says_what_it_leaves_out(here: Path) -> None:
    info = PngInfo()
    info.add_text("Title", "a hill")
    Image.new("RGB", (16, 8)).save("a.png", pnginfo=info)
    said = run("degrade", "a.png", "-o", "b.jpg").stderr
    assert "mzsr: a.png: mind: JPEG does not hold these texts of the input: Title" in said


def test_models_shows_the_cards() -> None:
    assert "mzsr\n" in run("models").stdout
    cards = [json.loads(line) for line in run("models", "--json").stdout.splitlines()]
    assert "mzsr" in [card["name"] for card in cards]
    assert all(card["sha256"] and card["data"] for card in cards)


def test_progress_on_a_terminal_is_a_bar(picture: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mzsr.apps import present

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with present.progress(Path("photo [final][/x].png")) as progress:
        progress("enhance [1]", 0.5)
    assert "photo [final][/x].png" in terminal.getvalue()


def test_help_and_version(here: Path) -> None:
    assert run("--version").stdout == f"{__version__}\n"
    for command in ("upscale", "estimate", "degrade", "models", "train"):
        assert command in run("--help").stdout
        assert run(command, "--help").exit_code == 0
    assert run("upscale").exit_code == 2
    assert run("upscale", "a.png", "--no-such-flag").exit_code == 2


def test_the_module_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "mzsr", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_an_empty_argument_is_not_the_folder_of_the_command(picture: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mzsr", "upscale", ""], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("mzsr: an argument is empty, as of a variable that is not set")


def test_names_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    complain("b\x1b]0;owned\x07.png")
    echo("one\r\ntwo ä →")
    told = capsys.readouterr()
    assert (told.err, told.out) == ("mzsr: b?]0;owned?.png\n", "one?\ntwo ä →\n")


def test_a_command_says_where_files_lie_from_here(here: Path) -> None:
    """What is not there yet too, and values behind an equals sign."""
    told = command_line("mzsr", [f"{here}/a.png", "--report", f"{here}/r.html", f"--kernel={here}/k.mat", "/no/b"])
    assert told == "mzsr a.png --report r.html --kernel=k.mat /no/b"
