"""How a picture was compressed: told by the file it came in, or, where there is none, by the traces in its pixels.

A JPEG file brings its quantisation tables and chroma, so that a son can be compressed exactly as its father was. A
JPEG that was decoded and saved as something else has left its coefficients on a lattice: multiples of the steps of its
tables, on blocks that begin where they began then. Cropping moves the blocks and is found; resizing destroys the
lattice, and nothing is found. Saved once more at a better quality, it still shows the coarser lattice of before, which
is what took most. The tables are not symmetric, and a picture may have been turned on its side since, so lattices are
looked for both ways.

Knows nothing of blur and noise. Takes a picture, gives `estimate` a Jpeg.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging.jpeg import BLOCK, Chroma, Jpeg, compression_error, dct_matrix, tables
from mzsr.imaging.metadata import MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED, Metadata
from mzsr.imaging.picture import Picture
from mzsr.shapes import Images

_SAMPLINGS: dict[int, Chroma] = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
LOWEST, HIGHEST = 30, 95  # qualities looked for: beyond them steps are 1 or 2, and colour rounding hides the lattice
BLOCKS, LOOK = 1024, 300  # blocks looked at, at most, for the lattice and for where blocks begin; spread out
SQUARE, ROWS = 128, 4  # side and number along each axis of the squares on which the error is estimated
FINEST = 4  # smallest step that rounding to RGB leaves visible
LUMA = 0.299, 0.587, 0.114  # of R, G and B, by JFIF, and Cb and Cr
CHROMA = (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)
SEEN = 0.3  # mean cosine above which a lattice is believed; without one it is 0 ± 0.03 for a thousand coefficients
SEEN_BEFORE, COARSER = 0.4, 1.6  # the same of a compression before the last, and how much coarser its steps are
ENOUGH = 200  # coefficients beyond half a step that are needed to believe it, and as many that differ


def compression(picture: Picture) -> Jpeg | None:
    """Return how a picture was compressed, with what that is likely to have taken; None where nothing tells of it.

    Of two compressions the one that took more.
    """
    found = of_file(picture.metadata, *picture.pixels.shape[2:])
    if found is None:  # whatever its type or depth: an array of floats may have been a JPEG as well
        found = of_pixels(picture.pixels)
    if found is None:
        return None
    before = earlier(picture.pixels, found)
    both = [with_error(jpeg, picture.pixels) for jpeg in (found, before) if jpeg is not None]
    return max(both, key=lambda jpeg: float(jpeg.error))


def of_file(metadata: Metadata, height: int, width: int) -> Jpeg | None:
    """Return the compression of a JPEG file, as it lies on the upright picture; None for another file.

    Args:
        metadata: of the picture, with the tables and the orientation of its file.
        height: of the upright picture, pixels.
        width: of the upright picture.

    A picture that was turned upright has its tables transposed and its blocks begun at its far edge. 4:2:2 that lies on
    its side, and rarer samplings, are taken for 4:2:0.

    Raises:
        InputError: a table with a 0.
    """
    if not metadata.jpeg_tables:
        return None
    if any(min(table) < 1 for table in metadata.jpeg_tables.values()):
        raise InputError("the JPEG is damaged, a step of its quantisation is 0; copy it again")
    luma = metadata.jpeg_tables.get(0) or next(iter(metadata.jpeg_tables.values()))
    pair = torch.tensor([luma, metadata.jpeg_tables.get(1, luma)], dtype=torch.float32).reshape(1, 2, BLOCK, BLOCK)
    turned = metadata.orientation in TRANSPOSED
    chroma = _SAMPLINGS.get(metadata.jpeg_sampling if metadata.jpeg_sampling is not None else 2, "4:2:0")
    if turned and chroma == "4:2:2":
        chroma = "4:2:0"
    top = -height % (2 * BLOCK) if metadata.orientation in MIRRORED_ROWS else 0
    left = -width % (2 * BLOCK) if metadata.orientation in MIRRORED_COLUMNS else 0
    return Jpeg(pair.mT.contiguous() if turned else pair, chroma, (top, left))


def of_pixels(images: Images) -> Jpeg | None:
    """Look for the lattice that JPEG left in a picture which was not resized since.

    For every quality of the standard tables, the mean over luma coefficients c of cos(2π c / step), those beyond half
    a step, tells how well they lie on multiples of its steps. A lattice lies on all finer ones that divide it, so of
    those that fit about as well as the best the coarsest is taken. Chroma was whole where it lies on the lattice of its
    own table too; else, and where there is too little colour to tell, it is taken to be halved.

    Args:
        images: (1, C, h, w) in [0, 1].

    Returns:
        The compression, or None: never compressed, resized since, by unusual tables, or above quality HIGHEST.

    >>> of_pixels(torch.full((1, 3, 64, 64), 0.5)) is None
    True
    """
    luma = _luma(images)
    if min(luma.shape) < 3 * BLOCK:
        return None
    top, left = _block_corner(luma)
    blocks = _from_first_block((top, left))
    coefficients = _coefficients(luma[blocks])
    ways = [
        torch.stack([_on_lattice(coefficients, _tables(q, turned)[0, 0]) for q in range(LOWEST, HIGHEST + 1)])
        for turned in (False, True)
    ]
    turned = bool(ways[1].max() > ways[0].max())
    scores = ways[turned]
    highest = float(scores.max())
    if highest < SEEN:
        return None
    first = int((scores >= 0.97 * highest).nonzero()[0])
    quality = LOWEST + first + int(scores[first : first + 4].argmax())  # neighbours differ in a few steps alone
    pair = _tables(quality, turned)
    return Jpeg(pair, _chroma(images, pair, blocks), (top, left))


def earlier(images: Images, last: Jpeg) -> Jpeg | None:
    """Look for the lattice of a coarser compression before the last one, on the same blocks.

    Args:
        images: (1, C, h, w) in [0, 1].
        last: the last one.

    Returns:
        That compression, or None. In 13 pictures all of 80 and 85 before 95, 75 before 92, 70 before 90, 60 before 85
        and 40 and 50 before 75 are found, three of 75 before 85, none of 30 before 50. Single ones at 19 qualities and
        by eight foreign tables reach 0.34 at most, smooth ones full of grain 0.6, and those 0.1 beyond the first step.
    """
    luma = _luma(images)
    if min(luma.shape) < 3 * BLOCK:
        return None
    blocks = _from_first_block(last.offset)
    coefficients, steps = _coefficients(luma[blocks]), float(last.tables[0, 0].mean())
    coarser = [q for q in range(LOWEST, HIGHEST + 1) if float(tables(q)[0, 0].mean()) > COARSER * steps]
    pairs = [_tables(quality, turned) for turned in (False, True) for quality in coarser]
    scores = [float(_on_lattice(coefficients, pair[0, 0])) for pair in pairs]
    if max(scores, default=0.0) < SEEN_BEFORE:
        return None
    pair = pairs[scores.index(max(scores))]
    # Grain crowds on the first steps of the last table, some of which are those of a coarser one, too
    if float(_on_lattice(coefficients, pair[0, 0], beyond=1.5)) < SEEN_BEFORE:
        return None
    return Jpeg(pair, _chroma(images, pair, blocks), last.offset)


def with_error(jpeg: Jpeg, images: Images) -> Jpeg:
    """Return a compression with what it took from a picture, estimated on squares spread over it.

    Args:
        jpeg: the compression, its blocks counted from the first pixel of the picture.
        images: (1, C, h, w), what came out of it.
    """
    height, width = images.shape[2:]
    side = min(SQUARE, height, width)
    # At multiples of 16, so that blocks of luma and of chroma begin in each square as they do in the picture
    tops, lefts = ([i * (length - side) // (ROWS - 1) // 16 * 16 for i in range(ROWS)] for length in (height, width))
    squares = [images[:, :, y : y + side, x : x + side] for y in dict.fromkeys(tops) for x in dict.fromkeys(lefts)]
    errors = compression_error(torch.cat(squares), jpeg)
    return replace(jpeg, error=float(errors.square().mean().sqrt()))


def quality_of(jpeg: Jpeg) -> int:
    """Return the quality of the standard whose luma table, upright or on its side, is nearest.

    The standard's tables are those of most programs.

    >>> quality_of(Jpeg(tables(83))), quality_of(Jpeg(tables(83).mT))
    (83, 83)
    """
    table = jpeg.tables[0, 0].cpu()
    distances = [min(float((tables(q)[0, 0] - way).abs().sum()) for way in (table, table.mT)) for q in range(1, 101)]
    return 1 + min(range(100), key=distances.__getitem__)


def jpeg_record(jpeg: Jpeg | None) -> dict[str, Any] | None:
    """Return the same as plain values, for `--json`; None for none."""
    if jpeg is None:
        return None
    error = round(float(jpeg.error), 6)
    return {"quality": quality_of(jpeg), "chroma": jpeg.chroma, "offset": list(jpeg.offset), "error": error}


def _tables(quality: int, turned: bool) -> Float[Tensor, "1 2 8 8"]:
    """Return the standard's tables, those of a picture turned on its side where it was."""
    return tables(quality).mT.contiguous() if turned else tables(quality)


def _chroma(images: Images, pair: Float[Tensor, "1 2 8 8"], blocks: tuple[slice, slice]) -> Chroma:
    """Return whether chroma was whole, which its own lattice tells; where there is too little colour, it was halved."""
    if images.shape[1] != 3:
        return "4:2:0"
    colours = torch.cat([_coefficients(_plane(images[:1], weights)[blocks]) for weights in CHROMA])
    return "4:4:4" if float(_on_lattice(colours, pair[0, 1])) >= SEEN else "4:2:0"


def _luma(images: Images) -> Float[Tensor, "rows columns"]:
    """Return luma as JPEG transforms it, 8-bit steps around 0."""
    return _plane(images[:1], LUMA if images.shape[1] == 3 else (1.0,)) - 128


def _from_first_block(offset: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns from the first whole block on, of whose first one so many are missing."""
    return slice(-offset[0] % BLOCK, None), slice(-offset[1] % BLOCK, None)


def _plane(images: Images, weights: Sequence[float]) -> Float[Tensor, "rows columns"]:
    """Return a sum of the channels in 8-bit steps."""
    return 255 * (images[0] * images.new_tensor(weights)[:, None, None]).sum(0)


def _block_corner(luma: Float[Tensor, "rows columns"]) -> tuple[int, int]:
    """Return how many rows and columns of the first block are missing: where most coefficients are gone."""
    gone = [
        ((_coefficients(luma[top:, left:], LOOK).abs() < 1).float().mean(), -top % BLOCK, -left % BLOCK)
        for top in range(BLOCK)
        for left in range(BLOCK)
    ]
    return max(gone)[1:]


def _coefficients(luma: Float[Tensor, "rows columns"], count: int = BLOCKS) -> Float[Tensor, "_blocks 8 8"]:
    """Return DCT coefficients of whole blocks, spread over the picture."""
    rows, columns = (side // BLOCK for side in luma.shape)
    blocks = luma[: rows * BLOCK, : columns * BLOCK].unflatten(1, (columns, BLOCK)).unflatten(0, (rows, BLOCK))
    chosen = torch.linspace(0, rows * columns - 1, min(rows * columns, count)).round().long()
    matrix = dct_matrix().to(luma)
    return matrix @ blocks[chosen // columns, :, chosen % columns] @ matrix.T


def _on_lattice(
    coefficients: Float[Tensor, "blocks 8 8"], steps: Float[Tensor, "8 8"], beyond: float = 0.5
) -> Float[Tensor, ""]:
    """Return the mean cosine of coefficients beyond so many steps on a lattice; 0 where too few are left to tell."""
    ratio = coefficients / steps
    telling = (ratio.abs() > beyond) & (steps >= FINEST)
    telling[:, 0, 0] = False  # of flat blocks, and many alike
    if int(telling.sum()) < ENOUGH:
        return coefficients.new_zeros(())
    mean = torch.cos(2 * math.pi * ratio[telling]).mean()
    if mean > SEEN:  # in a pattern all blocks are alike, and a few values lie on some lattice of so many
        _, row, column = telling.nonzero(as_tuple=True)
        values = (4 * coefficients[telling]).round().long() + 100_000 * (BLOCK * row + column)
        if len(values.unique()) < ENOUGH:
            return coefficients.new_zeros(())
    return mean
