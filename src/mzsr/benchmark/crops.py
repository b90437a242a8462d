"""The worst pictures of a method, cut out where its error is largest, beside what the other methods made of them.

Pictures are not kept while measuring; the few that are shown are made again, which gives the same ones.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate

from mzsr.benchmark.cells import Cell, Source, make
from mzsr.benchmark.measure import FAILURES, AnyMethod
from mzsr.benchmark.methods import Method
from mzsr.benchmark.page import Comparison
from mzsr.benchmark.rows import Row
from mzsr.benchmark.tables import worst
from mzsr.imaging.picture import Picture, to_array
from mzsr.learning.devices import one_thread
from mzsr.shapes import Images

SIDE = 96  # pixels of a crop
COUNT = 4  # pictures shown
PATIENCE = 10.0  # seconds for a picture


def comparisons(
    rows: Sequence[Row], sources: Sequence[Source], cells: Sequence[Cell], methods: Sequence[AnyMethod]
) -> list[Comparison]:
    """Return the worst pictures of the last method that adapts, at its fewest steps above none, beside two others.

    All are made again, so methods that took longer than PATIENCE are not shown.
    """
    slow = {row.method for row in rows if row.seconds > PATIENCE}
    quick = [method for method in methods if method.label not in slow]
    adapting = [row for row in rows if row.steps is not None and row.method not in slow]
    if not adapting:
        return []
    mine = [row for row in adapting if row.method == adapting[-1].method]
    chosen = next((row for row in mine if row.steps), mine[0])
    beside = [method for method in quick if method.label != chosen.method][-2:]
    ours = next(method for method in quick if method.label == chosen.method)
    found = []
    with one_thread():
        for row in worst(rows, chosen.label, COUNT):
            source = next(s for s in sources if (s.set, s.path.name) == (row.set, row.image))
            cell = next(cell for cell in cells if str(cell) == row.cell)
            fitting = [method for method in beside if not method.refuses(cell)]
            found.append(_compare(row, source, cell, [*fitting, ours]))
    return [comparison for comparison in found if comparison is not None]


def busiest(error: Images, side: int = SIDE) -> tuple[int, int]:
    """Return (top, left) of the square with the largest mean of an error map (1, 1, H, W)."""
    window = min(side, *error.shape[2:])
    means = avg_pool2d(error, window, stride=1)
    place = int(means.argmax())
    return place // means.shape[3], place % means.shape[3]


def _compare(row: Row, source: Source, cell: Cell, methods: Sequence[AnyMethod]) -> Comparison | None:
    """Cut the same square of all that methods make of a picture; None if the one of the row cannot be made again."""
    case = make(source, cell)
    pictures: dict[str, Images] = {}
    for method in methods:
        once = replace(method, steps=(row.steps,)) if isinstance(method, Method) and method.adapts else method
        with suppress(*FAILURES):  # it has been named while measuring
            (output,) = once(case, source, cell)
            pictures[row._replace(method=method.label, steps=output.steps).label] = output.picture.clamp(0, 1).cpu()
    if row.label not in pictures:
        return None
    top, left = busiest((pictures[row.label] - case.truth).square().mean(1, keepdim=True))
    small = interpolate(case.lr, scale_factor=cell.scale, mode="nearest")
    panels = [(name, _cut(picture, top, left)) for name, picture in
              {"truth": case.truth, "low resolution": small, **pictures}.items()]  # fmt: skip
    return Comparison(f"{row.set} {row.image}, {row.cell}: {row.label} reaches {row.psnr:.2f} dB", panels)


def _cut(picture: torch.Tensor, top: int, left: int) -> np.ndarray:
    return to_array(Picture(picture[:, :, top : top + SIDE, left : left + SIDE]))
