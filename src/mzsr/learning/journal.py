"""What a run tells while it goes on: a line of JSON for every few iterations, and TensorBoard for who wants it.

The JSONL file is part of the run: on resuming, lines of iterations that will be done again are forgotten.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mzsr.atomic import write_atomically
from mzsr.errors import InputError
from mzsr.shapes import Images, Params


class Journal:
    """The log of one run, `log.jsonl`, and its TensorBoard events beside it."""

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        """Open the log at an iteration; what it holds of later ones is forgotten.

        Raises:
            InputError: TensorBoard is asked for and not installed, or the disk is full.
        """
        self.path = folder / "log.jsonl"
        _truncate(self.path, step)
        self.board = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InputError('TensorBoard is not installed; pip install ".[train]", or leave it out') from error
            self.events = folder / "tensorboard"
            with _room(self.events):
                self.board = SummaryWriter(str(self.events), purge_step=step + 1)

    def record(self, step: int, facts: dict[str, float], gradient: Params) -> None:
        """Write one line; to TensorBoard also the norm of the gradient of every tensor.

        Args:
            step: the iteration.
            facts: name → number.
            gradient: of the iteration, for its norms.

        Raises:
            InputError: the disk is full.
        """
        line = json.dumps({"step": step} | facts) + "\n"
        with _room(self.path), self.path.open("a", encoding="utf-8") as log:
            log.write(line)
        if self.board is not None:
            with _room(self.events):
                for name, value in facts.items():
                    self.board.add_scalar(name, value, step)
                for name, tensor in gradient.items():
                    self.board.add_scalar(f"gradient norm/{name}", float(tensor.norm()), step)
                self.board.flush()  # what led to a loss that is no number must not be lost with the process

    def show(self, step: int, pictures: dict[str, Images]) -> None:
        """Show pictures in TensorBoard, each kind in a row of at most four."""
        if self.board is not None:
            with _room(self.events):
                for name, images in pictures.items():
                    row = torch.cat(list(images[:4].detach().float().clamp(0, 1).cpu()), dim=2)
                    self.board.add_image(name, row, step)
                self.board.flush()

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self.board is not None:
            self.board.close()


@contextmanager
def _room(path: Path) -> Iterator[None]:
    """Say in one line that a file cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written ({reason}); make room and go on with --resume") from error


def _truncate(path: Path, step: int) -> None:
    """Forget the lines of iterations that will be done again, and a last line cut short by a crash."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, TypeError, LookupError):
            break
    write_atomically(path, lambda partial: partial.write_text("".join(kept), "utf-8"))
