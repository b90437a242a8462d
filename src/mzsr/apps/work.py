"""The work of one picture of a list, as it was ordered: look it up, enlarge it, save it with its record.

An `Order` is plain values, so that it reaches a process on another machine as it is. The local run and the cluster both
do their pictures with `do`, which is why they give the same bytes and the same records.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from mzsr.apps import present
from mzsr.apps.batch import Records, fingerprint
from mzsr.imaging.files import largest_side
from mzsr.inference.request import with_mode
from mzsr.inference.result import Result
from mzsr.inference.upscale import Progress, Upscaler
from mzsr.learning.devices import precision_of
from mzsr.version import __version__


@dataclass(frozen=True)
class Order:
    """What is to be done to every picture of a list.

    Attributes:
        model: a name of `mzsr models`, or a file.
        device: `cpu` or `cuda`.
        tile: side of a tile, low-resolution pixels; 0 for none, None for as large as memory allows.
        options: of `Upscaler.__call__`, those that the bytes of a result depend on.
        uncertainty: whether to tell how far each pixel is likely to be off; `auto`: if the model knows.
        max_pixels: larger files are refused.
        quality: 1 to 100, of JPEG, WebP and AVIF.
        precision: of the convolutions, as `Upscaler` takes it.
        records: what is done already; None where no records are kept.
    """

    model: str
    device: str
    tile: int | None
    options: Mapping[str, Any]
    uncertainty: bool | Literal["auto"]
    max_pixels: int
    quality: int
    precision: str = "auto"
    records: Records | None = None

    def upscaler(self) -> Upscaler:
        """Load the model."""
        return Upscaler(self.model, device=self.device, tile=self.tile, precision=self.precision)

    def fingerprint(self, upscaler: Upscaler) -> str:
        """Return the hash of what the bytes of a result depend on beside the picture: settings, version, weights."""
        kernel = self.options["kernel"]
        words = kernel if isinstance(kernel, str) else kernel.tolist()
        asked = {"kernel": words, "quality": self.quality, "tile": self.tile, "device": self.device}
        asked |= {"precision": str(precision_of(self.precision, torch.device(self.device)))}
        asked |= {} if self.options.get("size") else {"scale": float(self.options.get("scale") or 2)}  # as if -s 2
        mode, *given = (self.options.get(name) for name in ("mode", "steps", "x8"))
        steps, x8 = with_mode(mode or "balanced", *given)  # --mode balanced and --steps 1 ask for the same
        asked |= {"mode": "", "steps": steps, "x8": x8}
        return fingerprint({**self.options, **asked, "version": __version__, "weights": upscaler.weights})


@dataclass(frozen=True)
class Done:
    """A picture that is done.

    Attributes:
        told: the record of `--json`.
        line: the same for people; empty where it was done before.
        warnings: what to mind about it.
        skipped: whether it was done before.
        result: all of it, for those who draw; None where it was done before, or elsewhere.
    """

    told: dict[str, Any]
    line: str = ""
    warnings: list[str] = field(default_factory=list)
    skipped: bool = False
    result: Result | None = None


def do(
    order: Order, upscaler: Upscaler, source: Path, target: Path, begin: Callable[[Path], Progress] = lambda _: _unheard
) -> Done:
    """Do one picture, unless it is done.

    Args:
        order: what to do.
        upscaler: the model of the order, loaded.
        source: the picture.
        target: where its result goes.
        begin: is told the picture when the work on it begins, and returns what its stages are told to.

    Raises:
        InputError: anything that cannot be done, in one line.
    """
    task = None if order.records is None else order.records.task(source, target)
    if order.records is not None and task is not None and task.told is not None:
        order.records.forget(target)
        return Done(task.told | {"input": str(source), "output": str(target), "skipped": True}, skipped=True)
    with nullcontext() if order.records is None else order.records.begun(target):
        result = upscaler(
            source,
            uncertainty=order.uncertainty,
            max_pixels=order.max_pixels,
            largest=largest_side(target),
            progress=begin(source),
            **order.options,
        )

        def save(path: Path) -> dict[str, Any]:
            result.save(path, quality=order.quality)
            return {"input": str(source), "output": str(target), "version": __version__, **result.record()}

        told = save(target) if order.records is None or task is None else order.records.finish(task, save)
        told |= {"input": str(source), "output": str(target)}  # another run may have told them in other words
    return Done(told, present.one_line(source, target, result), result.facts["warnings"], result=result)


def _unheard(stage: str, done: float) -> None:
    """Take note of progress where nobody looks."""
