"""The `mzsr train` commands: each a few lines over `learning`."""

import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mzsr.apps.usage import complain, echo, seconds, several, usage
from mzsr.errors import InputError

if TYPE_CHECKING:
    from mzsr.config import TrainConfig
    from mzsr.learning.photographs import Photographs

train = typer.Typer(no_args_is_help=True, help="Train a network on folders of photographs.")

Data = Annotated[list[Path], typer.Option(metavar="DIR", help="Folder of photographs; may be given several times.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")]
ConfigFile = Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="What differs from the preset.")]
Preset = Annotated[str, typer.Option(help="flagship, paper or smoke; pretrain also edsr-s, edsr, dpdnn.")]
LossName = Annotated[
    str, typer.Option(metavar="NAME", help="l1, psnr, eu, esu, udl, error-map or gradient-map; eu and esu add a head.")
]
Change = Annotated[list[str], typer.Option("--set", metavar="A.B=C", help="Change one value; may be repeated.")]
From = Annotated[str | None, typer.Option("--from", metavar="MODEL", help="Weights to start from: a file or a name.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
TimeLimit = Annotated[str, typer.Option(metavar="TIME", help="Save and stop after 90s, 9m or 2h, loading included.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write OUT/tensorboard, with sample pictures.")]

SILENT_SHARE = 0.05
"""From this share on the filters of a network that no longer learn are spoken of; see `loop.silent`."""


@train.command()
def pretrain(
    data: Data, out: Out, config: ConfigFile = None, preset: Preset = "flagship", loss: LossName = "",
    change: Change = [], start_from: From = None, resume: Resume = False, time_limit: TimeLimit = "",  # noqa: B006
    device: Device = "auto", tensorboard: TensorBoard = False,
) -> None:  # fmt: skip
    """Large-scale training: one network over a law of degradations, θ_0 → θ_T.

    With the losses of UDL in two steps: --loss esu, then --loss udl --from the weights of the first.
    """
    with usage():
        from mzsr.learning.pretrain import Pretraining, step1_missing
        from mzsr.presets import PRETRAIN
        from mzsr.settings import load_config

        head = ["network.log_var=true"] if loss in ("eu", "esu") else []
        settings = load_config(PRETRAIN, preset, config, [*([f"loss.name={loss}"] if loss else []), *head, *change])
        limit = seconds("--time-limit", time_limit) if time_limit else math.inf
        if settings.loss.needs_step1:
            _require_start(start_from, resume, out, step1_missing(settings.loss))
        if settings.train != ("*",):
            missing = f"train is {list(settings.train)}, and what stays as it is must come from somewhere"
            _require_start(start_from, resume, out, f"{missing}; give --from MODEL or FILE.safetensors")
    _run(Pretraining, settings, data, out, device, start_from, resume, limit, tensorboard)


@train.command()
def meta(
    data: Data, out: Out, config: ConfigFile = None, preset: Preset = "flagship", change: Change = [],  # noqa: B006
    start_from: From = None, resume: Resume = False, time_limit: TimeLimit = "", device: Device = "auto",
    tensorboard: TensorBoard = False,
) -> None:  # fmt: skip
    """Meta-transfer training: weights that a few gradient steps make good for any picture, θ_T → θ_M."""
    with usage():
        from mzsr.learning.metatrain import MetaTraining
        from mzsr.presets import META
        from mzsr.settings import load_config

        settings = load_config(META, preset, config, change)
        limit = seconds("--time-limit", time_limit) if time_limit else math.inf
        missing = "meta-transfer training starts from trained weights; give --from MODEL or FILE.safetensors"
        _require_start(start_from, resume, out, missing)
    _run(MetaTraining, settings, data, out, device, start_from, resume, limit, tensorboard)


@train.command()
def check(
    data: Data, patch: Annotated[int, typer.Option(metavar="PX", min=1, help="Least height and width.")] = 96
) -> None:
    """Check folders of photographs: how many, how large, under which licence, and what cannot be used."""
    with usage():
        from mzsr.learning.photographs import load_photographs

        found = load_photographs(data, patch, empty=True)
    with usage(1):
        echo("\n".join(check_lines(found)))
        if empty := [folder.name for folder in found.folders if not folder.count]:
            raise InputError(f"no usable picture in {', '.join(empty)}; leave such a folder out, or lower --patch")


@train.command()
def schema(stage: Annotated[Literal["pretrain", "meta"], typer.Argument(help="pretrain or meta.")]) -> None:
    """Print the JSON schema of a training configuration, for editors that check YAML."""
    from mzsr.config import MetaConfig, PretrainConfig
    from mzsr.settings import json_schema

    echo(json_schema(PretrainConfig if stage == "pretrain" else MetaConfig))


def _require_start(start_from: str | None, resume: bool, out: Path, missing: str) -> None:
    """Raise InputError where a run that cannot begin at random is given neither weights nor a state."""
    if start_from is None and not (resume and os.path.exists(out / "state.safetensors")):
        raise InputError(missing)


def _run(
    objective: Callable[..., Any], settings: "TrainConfig", data: list[Path], out: Path, device: str,
    start_from: str | None, resume: bool, limit: float, tensorboard: bool,
) -> None:  # fmt: skip
    """Train, alone or as one of the processes of torchrun, of which the first alone speaks."""
    from mzsr.apps import present
    from mzsr.learning.devices import out_of_memory, pick_device, train_fast
    from mzsr.learning.loop import train as run
    from mzsr.learning.parallel import join

    with usage():
        place = pick_device(device)
    with usage(1), join(place) as world:
        if start_from is not None and resume and os.path.exists(out / "state.safetensors") and world.rank == 0:
            echo(f"{out} holds a run, which goes on where it was; --from {start_from} is not read", err=True)
        train_fast(world.device)
        silent = nullcontext(lambda stage, done: None)
        with silent if world.rank else present.progress(out, settings.iterations) as progress:
            try:
                outcome = run(
                    objective, settings, data, out, world,
                    start_from=start_from, resume=resume, time_limit=limit, tensorboard=tensorboard,
                    told=lambda found: None if world.rank else echo("\n".join(check_lines(found)), err=True),
                    progress=lambda step, loss: progress(f"loss {loss:.4f}", step / settings.iterations),
                )  # fmt: skip
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                raise InputError(
                    f"memory ran out with batches of {settings.batch} patches of {settings.patch} pixels; take "
                    "smaller ones, and more tasks instead"
                ) from error
    if outcome.step == 0:
        if world.rank == 0:
            done = f"--time-limit ended before iteration 1 of {settings.iterations}; nothing was trained yet"
            complain(f"{done}, and no weights were written; go on with --resume and a longer --time-limit")
        raise typer.Exit(1)
    if world.rank == 0:
        if outcome.silent >= SILENT_SHARE:
            words = f"{outcome.silent:.0%} of the filters answer to nothing any more, and so learn no more"
            complain(f"mind: {words}; a smaller learning_rate keeps them")
        done = f"iteration {outcome.step} of {settings.iterations}"
        if outcome.rate:
            more = "" if outcome.step == settings.iterations else "; go on with --resume"
            echo(f"{done}, {outcome.rate:.2f} per second; wrote {outcome.weights}{more}", err=True)
        else:
            echo(f"{done} was done before; {outcome.weights} is its result", err=True)


def check_lines(photographs: "Photographs") -> list[str]:
    """Return what a person reads before training: each folder, all of them, and every file passed over.

    Sizes are width x height.
    """
    lines = []
    for folder in photographs.folders:
        sizes = " to ".join(dict.fromkeys(f"{w}x{h}" for h, w in (folder.smallest, folder.largest)))
        if not folder.count:
            lines.append(f"{folder.name}: no usable picture")
            continue
        amount = f"{several(folder.count, 'photograph')}, {sizes} ({_megapixels(folder.megapixels)})"
        lines.append(f"{folder.name}: {amount}, licence: {folder.licence or 'no licence file found'}")
    count = several(len(photographs.pictures), "photograph")
    area = _megapixels(sum(folder.megapixels for folder in photographs.folders))
    lines.append(f"total: {count} ({area}), {several(len(photographs.skipped), 'file')} passed over")
    return [*lines, *(f"passed over: {reason}" for reason in photographs.skipped)]


def _megapixels(number: float) -> str:
    return f"{number:.1f} megapixels" if number >= 1 else f"{number:.2g} megapixels"
