"""Measure methods on pictures: resumable, in several processes, the same numbers whatever their order.

Every finished (picture, cell, method) is a line of OUT/records.jsonl. What is in it already, by the same weights,
picture and version, is not measured again; so a run that was stopped goes on, and one more method costs only itself.
"""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mzsr.benchmark.cells import Cell, Source, has_kernel, kernel_of, make
from mzsr.benchmark.foreign import Foreign, Results
from mzsr.benchmark.methods import Method
from mzsr.benchmark.rows import Row
from mzsr.errors import InputError
from mzsr.imaging.metrics import psnr, reprojection_psnr, ssim
from mzsr.learning.devices import one_thread
from mzsr.version import __version__

AnyMethod = Method | Results | Foreign
RECORDS = "records.jsonl"
ARITHMETIC = "2"  # raised where the same weights give other numbers: 2, pixels and sums stay in float32 beside bfloat16
FAILURES = (InputError, OSError, RuntimeError, MemoryError)  # of one picture, which may not stop the others


class Unit(NamedTuple):
    """What one process does at a time: one method on one picture in one cell."""

    source: Source
    cell: Cell
    method: AnyMethod
    protocol: str


class Measured(NamedTuple):
    """All rows of a table, in its order, and a sentence about everything that could not be measured."""

    rows: list[Row]
    problems: list[str]


def measure(
    sources: Sequence[Source],
    cells: Sequence[Cell],
    methods: Sequence[AnyMethod],
    *,
    protocol: str,
    folder: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Measure every method on every picture in every cell.

    Args:
        sources: pictures of all sets.
        cells: what is done to them.
        methods: what is compared.
        protocol: of PSNR and SSIM.
        folder: of the records; it must exist.
        workers: processes, one thread each, so that no number depends on how many there are.
        progress: told how many units are done, of how many.
    """
    units, problems = plan(sources, cells, methods, protocol)
    keys = {}
    for unit in units:
        try:
            keys[unit] = key(unit)
        except InputError as error:
            problems.append(_sentence(unit, error))
    units = list(keys)
    try:
        done = _read_records(folder / RECORDS)
        waiting = [unit for unit in units if keys[unit] not in done]
        count = len(units) - len(waiting)
        progress(count, len(units))
        with (folder / RECORDS).open("a", encoding="utf-8") as records:
            _end_a_torn_line(folder / RECORDS, records)
            for unit, found, error in _outcomes(waiting, workers):
                count += 1
                done[keys[unit]] = found
                if error is not None:
                    problems.append(_sentence(unit, error))
                else:
                    records.write(json.dumps({"key": keys[unit], "rows": [list(row) for row in found]}) + "\n")
                    records.flush()
                progress(count, len(units))
    except OSError as error:
        raise InputError(f"{folder / RECORDS} cannot be written ({error.strerror}); what is in it is kept") from error
    rows = [row for unit in units for row in done.get(keys[unit], [])]
    return Measured(rows, sorted(dict.fromkeys(problems)))


def plan(
    sources: Sequence[Source], cells: Sequence[Cell], methods: Sequence[AnyMethod], protocol: str
) -> tuple[list[Unit], list[str]]:
    """Return what is to be measured, in the order of the table, and a sentence about what cannot be."""
    units, problems = [], []
    for cell in cells:
        covered = [source for source in sources if has_kernel(cell, source)]
        for name in dict.fromkeys(source.set for source in sources):
            have, all_of = (sum(source.set == name for source in group) for group in (covered, sources))
            if have < all_of:
                problems.append(f"{name}, {cell}: {all_of - have} of {all_of} pictures have no kernel in the folder")
        for method in methods:
            try:
                refusal = method.refuses(cell)
            except InputError as error:
                refusal = str(error)
            if refusal:
                problems.append(f"{method.label} is left out at {cell}: {refusal}")
                continue
            units += [Unit(source, cell, method, protocol) for source in covered]
    order = {source: index for index, source in enumerate(sources)}
    return sorted(units, key=lambda unit: order[unit.source]), problems


def _sentence(unit: Unit, error: InputError) -> str:
    return f"{unit.method.label}, {unit.source.set} {unit.source.path.name}, {unit.cell}: {error}"


def run(unit: Unit) -> Iterator[Row]:
    """Measure one unit, a row for every number of steps.

    Raises:
        InputError: the picture or the method cannot do it.
    """
    source, cell, method, protocol = unit
    case = make(source, cell)
    for output in method(case, source, cell):
        picture = output.picture.detach().cpu().clamp(0, 1)
        decibel, similarity = (float(f(picture, case.truth, protocol=protocol, scale=cell.scale)) for f in (psnr, ssim))
        yield Row(
            source.set, source.path.name, source.sha256[:12], cell.scale, cell.kernel_name, cell.condition,
            method.label, output.steps, protocol, round(decibel, 4), round(similarity, 5),
            round(reprojection_psnr(picture, case.lr, case.degradation), 3), round(output.seconds, 3),
        )  # fmt: skip


def key(unit: Unit) -> str:
    """Return what a record must agree in: all that a row depends on, of the code its version and ARITHMETIC.

    Raises:
        InputError: the kernel of the picture, or a result for it, cannot be read.
    """
    source, cell, method, protocol = unit
    kernel = hashlib.sha256(kernel_of(source, cell).contiguous().numpy().tobytes()).hexdigest()[:12]
    identity = method.identity(source, cell)
    steps = ",".join(str(steps) for steps in method.outputs())
    picture = (source.set, source.path.name, source.sha256, str(source.index))  # the index is the seed of its noise
    return " | ".join((*picture, str(cell), cell.subsample, kernel, identity, steps, protocol, __version__, ARITHMETIC))


def _outcomes(units: list[Unit], workers: int) -> Iterator[tuple[Unit, list[Row], InputError | None]]:
    if workers <= 1 or len(units) <= 1:
        with one_thread():
            for unit in units:
                yield unit, *_safely(unit)
        return
    with ProcessPoolExecutor(min(workers, len(units)), get_context("spawn"), _begin) as pool:
        waiting: dict[Future[Any], Unit] = {pool.submit(_safely, unit): unit for unit in units}
        try:
            for future in as_completed(waiting):
                yield waiting[future], *future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process was killed, perhaps for want of memory; run it again with fewer --workers, and it goes on"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the workers too: they end at once, not unit by unit


def _safely(unit: Unit) -> tuple[list[Row], InputError | None]:
    """Measure a unit as far as it can be; nothing that goes wrong with one picture may stop the others."""
    rows: list[Row] = []
    try:
        for row in run(unit):
            rows.append(row)
    except InputError as error:
        return rows, error
    except FAILURES as error:
        return rows, InputError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return rows, None


def _read_records(path: Path) -> dict[str, list[Row]]:
    """Return finished units; a line that was torn by a crash is as good as none."""
    if not path.exists():
        return {}
    done = {}
    for line in path.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
            done[record["key"]] = [Row(*values) for values in record["rows"]]
        except (ValueError, KeyError, TypeError):
            continue
    return done


def _end_a_torn_line(path: Path, records: Any) -> None:
    if os.path.getsize(path):
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                records.write("\n")
