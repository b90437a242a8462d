"""Geometric self-ensemble: enhance a picture in its eight positions, turn the results back, and combine them.

    x = reduce over T of  T⁻¹ f(T y; T k)

T runs over the eight symmetries of the square: transposed or not, upside down or not, left to right or not. What
happened to the turned picture is the turned degradation, and this file knows how to turn one:

    linear(T hr, T d) = T linear(hr, d)     exactly, borders included

Knows nothing of networks; `enhance` is any function of a picture and its degradation.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from mzsr.errors import one_of
from mzsr.imaging.degrade import Degradation, phase
from mzsr.shapes import Images, Layers

Enhance = Callable[[Images, Degradation], Layers]
Reduce = Literal["mean", "median"]
BAND = 256  # rows of a result that are turned back at a time


@dataclass(frozen=True)
class Symmetry:
    """One symmetry of the square: the picture is transposed first, then reversed.

    Attributes:
        transposed: rows become columns.
        rows: the order of the rows is reversed.
        columns: the order of the columns is reversed.
    """

    transposed: bool = False
    rows: bool = False
    columns: bool = False

    def turn(self, images: Float[Tensor, "*batch _h _w"]) -> Float[Tensor, "*batch _rows _columns"]:
        """Return T images, or a kernel turned so.

        >>> Symmetry(transposed=True, columns=True).turn(torch.tensor([[[[1, 2], [3, 4]]]]).float()).tolist()
        [[[[3.0, 1.0], [4.0, 2.0]]]]
        """
        return (images.mT if self.transposed else images).flip(self._reversed)

    def turn_back(self, images: Layers) -> Layers:
        """Return T⁻¹ images, to the last bit; of the identity no copy."""
        images = images.flip(self._reversed) if self._reversed else images
        return images.mT if self.transposed else images

    def rows_back(self, images: Layers, top: int, bottom: int) -> Layers:
        """Return some rows of T⁻¹ images, without the others."""
        axis, reverse = (-1, self.columns) if self.transposed else (-2, self.rows)
        start = images.shape[axis] - bottom if reverse else top
        return self.turn_back(images.narrow(axis, start, bottom - top))

    def degradation(self, d: Degradation) -> Degradation:
        """Return T d, the degradation that makes T lr of T hr.

        With n low-resolution pixels along a reversed axis, hr'[j] = hr[s n - 1 - j] and lr'[i] = lr[n - 1 - i], so

            lr[i] = Σ_t k[t] hr[s i + t]   becomes   lr'[i] = Σ_u k[s - 1 - u] hr'[s i + u] :

        the kernel is reversed and then moved on by s - 1 pixels, and its phase p becomes s - 1 - p. Bicubic shrinking
        is centred at (s - 1) / 2, which stays where it is, so that there the blur is reversed and does not move.

        Noise is the same in any position. JPEG is kept as it is: that its blocks and tables would turn with the
        picture is left out, and nothing that enlarges pictures looks at them.

        Args:
            d: for pictures whose sides are multiples of the scale; one kernel, or one for each image.

        >>> turned = Symmetry(columns=True).degradation(Degradation(torch.ones(1, 1), 2))
        >>> turned.kernel.tolist()  # pixel 0 of a pair is the one kept; from the other end it is pixel 1
        [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
        """
        kernel, grid, last = self.turn(d.kernel), d.grid, d.scale - 1
        if d.subsample == "direct" and self._reversed:
            left, top = 2 * last if self.columns else last, 2 * last if self.rows else last
            kernel = pad(kernel, (left, 2 * last - left, top, 2 * last - top))  # n + 2 (s - 1) taps a side
        if grid is not None:
            row, column = (grid[1], grid[0]) if self.transposed else grid
            grid = (last - row if self.rows else row, last - column if self.columns else column)
        return replace(d, kernel=kernel, grid=grid)

    @property
    def _reversed(self) -> list[int]:
        """Return the reversed axes, counted from the last."""
        return [axis for axis, reverse in ((-2, self.rows), (-1, self.columns)) if reverse]


SYMMETRIES = tuple(Symmetry(*flags) for flags in itertools.product((False, True), repeat=3))
"""All eight, the identity first."""


def symmetries(d: Degradation, *, told: bool) -> Sequence[Symmetry]:
    """Return the positions in which a network knows a picture.

    A network that is not told of the grid has learned one, and in a mirror low-resolution pixels lie elsewhere: with
    direct subsampling only the picture as it is and its transpose are left.

    >>> len(symmetries(Degradation(torch.ones(1, 1), 2), told=False))
    2
    """
    if told:
        return SYMMETRIES
    at = torch.tensor(phase(d))
    return [each for each in SYMMETRIES if torch.allclose(torch.tensor(phase(each.degradation(d))), at, atol=0.05)]


def ensemble(
    enhance: Enhance, lr: Images, d: Degradation, *, reduce: Reduce = "mean", over: Sequence[Symmetry] = SYMMETRIES
) -> Layers:
    """Enhance all eight positions of a picture, or some of them, and combine the results.

    Args:
        enhance: (B, C, h, w) and its degradation → (B, C or more, H, W); called once for each position.
        lr: (B, C, h, w).
        d: what happened to it.
        reduce: `mean`, or `median`: of eight values the mean of the fourth and the fifth.
        over: the positions.

    Returns:
        (B, C or more, H, W), as of `enhance`; maps below the colours are turned back and combined with them.

    Raises:
        InputError: another way to combine.

    Source: Timofte et al., "Seven ways to improve example-based single image super resolution", CVPR 2016, section 3.6,
    which turns the pictures; that the kernel and its grid turn with them is ours.

    >>> turns = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 92.0]
    >>> float(ensemble(lambda lr, d: lr + turns.pop(), torch.zeros(1, 1, 1, 1), Degradation(torch.ones(1, 1))))
    15.0
    """
    one_of("reduce", reduce, ("mean", "median"))
    results = ((symmetry, enhance(symmetry.turn(lr), symmetry.degradation(d))) for symmetry in over)
    if reduce == "mean":
        # One after another, and added in place and in bands of rows, for eight large results would fill the memory
        first, total = next(results)
        total = first.turn_back(total)
        for symmetry, result in results:
            for top in range(0, total.shape[-2], BAND):
                bottom = min(top + BAND, total.shape[-2])
                total[..., top:bottom, :] += symmetry.rows_back(result, top, bottom)
            del result  # before the next one is made
        return total.div_(len(over))
    turned = [symmetry.turn_back(result) for symmetry, result in results]
    # torch's own median takes the lower of the two in the middle
    return torch.stack(turned).sort(0).values[(len(over) - 1) // 2 : len(over) // 2 + 1].mean(0)
