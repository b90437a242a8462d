"""What a worker process does: one job after another, with the models kept in memory between them.

Progress goes into the database as the work goes on; what comes of a job lies in a folder that is renamed into place
when it is whole, and only then is the job called done.
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mzsr.apps import error_map, present
from mzsr.apps.report import write_report
from mzsr.imaging.files import largest_side
from mzsr.imaging.picture import Picture, to_pil
from mzsr.inference.result import BAND, Result, enlarge
from mzsr.inference.upscale import Upscaler
from mzsr.service import processes
from mzsr.service.options import Options
from mzsr.service.store import Store
from mzsr.version import __version__

VIEW_SIDE = 4096  # pixels; a browser shows no larger picture on every phone
TELL_EVERY = 0.1  # seconds between two notes of progress
SHARES = {"read": 0.0, "estimate": 0.02, "adapt": 0.27, "enhance": 0.35, "write": 0.8}
"""Where each stage begins, as a share of all the work: of a 256 x 256 picture at x2 with the usual options."""


class Stopped(Exception):
    """The job was cancelled or removed while it ran."""


def begin(memory: int | None, threads: int, model: str, device: str) -> None:
    """Prepare a worker process: its limits, and a model loaded and used once.

    Args:
        memory: bytes that it may allocate; None for no limit.
        threads: of PyTorch.
        model: what an `Upscaler` loads.
        device: auto, cpu or cuda.
    """
    processes.end_with_parent()
    if memory is not None:
        processes.limit_memory(memory)
    torch.set_num_threads(threads)
    _upscaler(model, device)(np.full((16, 16, 3), 128, np.uint8), scale=2)


def run(data: Path, id: str, model: str, device: str, max_pixels: int, keep: float) -> None:
    """Do one job.

    Args:
        data: folder of the store.
        id: of a job that is running.
        model: what an `Upscaler` loads.
        device: auto, cpu or cuda.
        max_pixels: of the picture.
        keep: seconds that the result is kept.

    Raises:
        InputError: the picture or the options cannot be used.
        Stopped: the job was cancelled.
    """
    store = _store(data)
    job, folder, tell = store.get(id), store.folder(id), _teller(store, id)
    options = Options(**job.options)
    file = f"result.{options.suffix(job.input['format'])}"
    part = folder / "part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        result = _upscaler(model, device)(
            folder / "input",
            uncertainty="auto",
            max_pixels=max_pixels,
            largest=largest_side(file),
            progress=tell,
            **options.keywords(folder),
        )
        part.mkdir()
        tell("write", 0.0)
        name = options.result_name(job.name, job.input["format"])
        result.save(part / file, quality=options.quality)
        tell("write", 0.3)
        _write_views(result, part)
        tell("write", 0.7)
        command = options.command(job.name, job.input["format"])
        write_report(part / "report.html", present.report_data(job.name, result, command, __version__))
        shutil.rmtree(folder / "out", ignore_errors=True)
        os.rename(part, folder / "out")
    finally:
        shutil.rmtree(part, ignore_errors=True)
    record = {"input": job.name, "output": name, "version": __version__, **result.record()}
    if result.uncertainty is not None:
        record["error_ticks"] = error_map.ticks(error_map.top(result.uncertainty))  # of the colours of its view
    if not store.done(id, name, record, present.result_lines(result), keep):
        raise Stopped


def _write_views(result: Result, folder: Path) -> None:
    """Write what a browser shows: 8 bits, and no larger than it can bear."""
    icc = result.picture.metadata.icc
    _write_png(to_pil(replace(result.picture, bits=8)), folder / "view.png", icc)
    _write_png(_bicubic(result), folder / "bicubic.png", icc)
    _write_png(to_pil(present.kernel_plot(result.degradation.kernel)), folder / "kernel.png")
    if result.uncertainty is not None:
        colours = error_map.coloured(result.uncertainty, error_map.top(result.uncertainty))
        _write_png(Image.fromarray(colours), folder / "uncertainty.png")


def _bicubic(result: Result) -> Image.Image:
    """Return the same enlargement by bicubic, in 8 bits: as floats all of it would take gigabytes, a band does not."""
    rows, columns = result.picture.pixels.shape[2:]
    alpha = result.picture.alpha
    whole = Image.new(("L" if result.lr.shape[1] == 1 else "RGB") + ("" if alpha is None else "A"), (columns, rows))
    for top in range(0, rows, BAND):
        bottom = min(top + BAND, rows)
        pixels = enlarge(result.lr, result.degradation, (rows, columns), (top, bottom, 0, columns))
        band = Picture(pixels, None if alpha is None else alpha[:, :, top:bottom])
        whole.paste(to_pil(band), (0, top))
    return whole


def _write_png(image: Image.Image, path: Path, icc: bytes | None = None) -> None:
    image.info.clear()  # a view is looked at; where it was taken stays in the result
    image.thumbnail((VIEW_SIDE, VIEW_SIDE))
    image.save(path, "PNG", compress_level=1, icc_profile=icc)


def _teller(store: Store, id: str) -> Callable[[str, float], None]:
    """Return what the stages of a job are told to; it ends the job when somebody has cancelled it."""
    last, begun = 0.0, ""
    ends = dict(zip(SHARES, [*[*SHARES.values()][1:], 1.0], strict=True))

    def tell(stage: str, done: float) -> None:
        nonlocal last, begun
        now = time.monotonic()
        if stage == begun and now - last < TELL_EVERY:
            return
        last, begun = now, stage
        if not store.tell(id, stage, round(SHARES[stage] + done * (ends[stage] - SHARES[stage]), 4)):
            raise Stopped

    return tell


@cache
def _upscaler(model: str, device: str) -> Upscaler:
    return Upscaler(model, device=device)


@cache
def _store(data: Path) -> Store:
    return Store(data)
