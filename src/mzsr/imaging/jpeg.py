"""What baseline JPEG does to the pixels, without writing a file: batched, on any device.

    rgb → Y'CbCr → chroma averaged → blocks of 8x8 → D x Dᵀ / q, rounded → and all the way back

With the tables, the chroma and the block grid of a file, a training batch or a son goes through what that file went
through. All but the cosines is the integer arithmetic of libjpeg, its roundings included, in floats that hold it
exactly; a cosine is a float where libjpeg's has 13 bits. So most blocks are those of a file to the last code, and in
the others one coefficient that lay at the edge of a rounding fell on its other side.

Gradients are not computed: that of rounding is zero almost everywhere. It knows nothing of files: tables come from
`tables`, or from a file by way of `metadata`; compressed pictures go to training and to adaptation.

Source: ITU-T T.81 (sampling and transform in Annex A, tables in Annex K); ITU-T T.871 (JFIF, the colours); IJG libjpeg
6b and libjpeg-turbo (scaling by quality, roundings, "fancy" upsampling).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from mzsr.errors import InputError, one_of
from mzsr.shapes import Images

Chroma = Literal["4:4:4", "4:2:2", "4:2:0"]
BLOCK = 8
SECOND = 0.86  # what a second compression on other blocks takes, as a share of what the first one took
# (rows, columns) of the picture in one sample of chroma
_CHROMA = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}

# fmt: off
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
_DIFFERENCES = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)
# fmt: on


@dataclass(frozen=True)
class Jpeg:
    """The compression of one file, or of one for each image.

    Attributes:
        tables: quantisation of luma and chroma; whole numbers above 0; see `tables` for those of a quality.
        chroma: its subsampling: "4:2:2" halves the columns of chroma, "4:2:0" the rows too; nothing to a grey picture.
        offset: (row, column) of the picture's first pixel on the grid that blocks were cut on, for pictures cropped
            after compression: the rows and columns cut off above and to the left. It counts modulo 8, or modulo 16
            where chroma is halved.
        error: standard deviation of what it takes from a picture, [0, 1] units, one number or (b,): see
            `compression_error`. Networks are told of it; it changes nothing about the compression.
    """

    tables: Float[Tensor, "#b 2 8 8"]
    chroma: Chroma = "4:2:0"
    offset: tuple[int, int] = (0, 0)
    error: int | float | Float[Tensor, " b"] = 0.0

    def to(self, device: torch.device | str) -> "Jpeg":
        """Return the same compression with its tensors on another device."""
        error = self.error.to(device) if isinstance(self.error, Tensor) else self.error
        return replace(self, tables=self.tables.to(device), error=error)


def tables(quality: int | Float[Tensor, " b"]) -> Float[Tensor, "#b 2 8 8"]:
    """Scale the tables of the standard as IJG's `-quality` does, which is also Pillow's `quality`.

    q = ⌊(Annex K · s + 50) / 100⌋ within 1 … 255; s = ⌊5000 / quality⌋ below 50, 200 - 2 · quality from 50 on.

    Args:
        quality: whole numbers from 1 to 100; one, or one for each image.

    Returns:
        (1 or B, luma and chroma, 8, 8): steps of the coefficients, whole numbers, indexed by vertical and then
        horizontal frequency; on the device of quality. `Metadata.jpeg_tables` has the same order.

    Raises:
        InputError: a quality that is not a whole number from 1 to 100.

    Source: ITU-T T.81, tables K.1 and K.2; IJG libjpeg, jpeg_quality_scaling and jpeg_add_quant_table.

    >>> tables(50)[0, :, 0, 0].tolist()  # the standard's own
    [16.0, 17.0]
    """
    q = torch.as_tensor(quality, dtype=torch.float32).reshape(-1, 1, 1, 1)
    wrong = ~((q >= 1) & (q <= 100) & (q == q.floor()))
    if wrong.any():
        raise InputError(f"JPEG quality is {q[wrong][0].item():g}; it must be a whole number from 1 to 100")
    annex = torch.tensor((_LUMA, _DIFFERENCES), dtype=q.dtype, device=q.device).reshape(1, 2, BLOCK, BLOCK)
    percent = torch.where(q < 50, torch.floor(5000 / q), 200 - 2 * q)
    return torch.floor((annex * percent + 50) / 100).clamp(1, 255)


def compress(images: Images, jpeg: Jpeg) -> Images:
    """Return the pixels that are left when images have been a JPEG file and come back.

    Beyond the picture its edge is repeated up to whole blocks, as libjpeg does; chroma comes back by libjpeg's "fancy"
    upsampling, a triangle of 3/4 and 1/4, which Pillow and most programs use.

    Args:
        images: (B, C, H, W) RGB or grey in [0, 1], any size; rounded to 8 bits first. Grey has luma alone.
        jpeg: tables, chroma and grid; one pair of tables for all images or one for each.

    Returns:
        (B, C, H, W) in [0, 1], in steps of 1/255.

    Raises:
        InputError: not 1 or 3 channels, an unknown chroma subsampling, or tables that do not fit.

    Source: ITU-T T.81, Annex A; ITU-T T.871; IJG libjpeg.

    >>> image = torch.full((1, 1, 9, 5), 51 / 255)  # (51 - 128) · 8 is -38.5 steps of 16, so -39: 128 - 39 · 16 / 8
    >>> compress(image, Jpeg(tables(50))).mul(255).unique().tolist()
    [50.0]
    """
    _check(images, jpeg)
    rows, columns = _CHROMA[jpeg.chroma] if images.shape[1] == 3 else (1, 1)
    top, left = jpeg.offset[0] % (BLOCK * rows), jpeg.offset[1] % (BLOCK * columns)
    codes = images.detach().float().clamp(0, 1).mul(255).round()
    codes = pad(codes, (left, 0, top, 0), mode="replicate")
    luma_table, chroma_table = jpeg.tables.to(codes).unbind(1)
    if images.shape[1] == 1:
        codes = _recode(codes, luma_table)
    else:
        luma, chroma = _to_ycbcr(codes)
        small = _recode(_average(chroma, rows, columns), chroma_table)
        # libjpeg does not look at samples past the last one with a pixel in it; it repeats that one
        small = small[:, :, : math.ceil(codes.shape[2] / rows), : math.ceil(codes.shape[3] / columns)]
        chroma = _enlarge(small, rows, columns)[:, :, : codes.shape[2], : codes.shape[3]]
        codes = _to_rgb(_recode(luma, luma_table), chroma)
    return (codes[:, :, top:, left:] / 255).to(images.dtype)


def compression_error(images: Images, jpeg: Jpeg) -> Float[Tensor, " b"]:
    """Estimate how much compression took from pictures that have been through it.

        e = RMS(C'(x) - x) / 0.86,   C' the same compression on blocks that begin four pixels further on

    What is gone cannot be measured, but a second compression on other blocks takes about as much as the first one did.

    Args:
        images: (B, C, H, W), what came out of the file.
        jpeg: what they have been through.

    Returns:
        (B,) standard deviations of the error in [0, 1] units.

    Source: ours. On 21 photographs of the train pack, blurred and shrunk to 64x64, the ratio of RMS(C'(x) - x) to the
    true error is 0.86 on average with a standard deviation of 0.13, the same at qualities 30, 50, 70, 80 and 90.

    >>> float(compression_error(torch.full((1, 3, 16, 16), 128 / 255), Jpeg(tables(50))))  # nothing to take
    0.0
    """
    row, column = jpeg.offset
    again = compress(images, replace(jpeg, offset=(row + 4, column + 4)))
    return (again - images).square().mean((1, 2, 3)).sqrt() / SECOND


def dct_matrix() -> Float[Tensor, "8 8"]:
    """Return the orthonormal D with which the coefficients of a block x are D x Dᵀ.

    D[u, i] = c_u / 2 · cos((2 i + 1) u π / 16), c_0 = √½ and c_u = 1 otherwise.

    Returns:
        (frequency, position), float64.

    Source: ITU-T T.81, section A.3.3.
    """
    axis = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos((2 * axis + 1) * axis[:, None] * (math.pi / 16)) / 2
    matrix[0] *= math.sqrt(0.5)
    return matrix


def _recode(planes: Images, table: Float[Tensor, "#b 8 8"]) -> Images:
    """Transform, quantise and come back: what is lost. Planes are 8-bit codes of any size."""
    height, width = planes.shape[2:]
    filled = pad(planes, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    blocks = filled.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4) - 128  # (b, c, m, n, 8, 8)
    # Times √8 the rows of frequency 0 and 4 are ±1: their products, where ties are common, are exact in float32
    matrix = (dct_matrix() * math.sqrt(8)).to(planes)
    step = table.mT[:, None, None, None]
    with torch.autocast(planes.device.type, enabled=False):  # 8 bits of mantissa would be a second quantisation
        # libjpeg rounds coefficients to 1/8 before it divides them, which lifts those 1/16 below a tie onto it: left
        # out, four values in ten would differ at quality 90. Between rows and columns it keeps 1/4 of a step
        rows = _half_up(blocks @ matrix.T * 4)
        ratio = _half_up(rows.mT @ matrix.T / 4) / (8 * step)  # (..., horizontal, vertical frequency)
        levels = torch.floor(ratio.abs() + 0.5).copysign(ratio)  # ties away from zero
        columns = _half_up((levels * step) @ matrix * 4)
        samples = _half_up(columns.mT @ matrix / 32)
    samples = (samples + 128).clamp(0, 255)
    return samples.transpose(3, 4).flatten(4).flatten(2, 3)[:, :, :height, :width]


def _half_up(values: Tensor) -> Tensor:
    return torch.floor(values + 0.5)


def _to_ycbcr(codes: Images) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 2 h w"]]:
    """Convert to the full-range Y'CbCr of JFIF; weights in 1/65536, so that every sum is a whole number below 2²⁴."""
    red, green, blue = codes.unbind(1)
    luma = 19595 * red + 38470 * green + 7471 * blue + 32768  # 0.299, 0.587, 0.114
    middle = 128 * 65536 + 32767  # ties of chroma go down
    cb = 32768 * blue - 11058 * red - 21710 * green + middle  # (B - Y') / 1.772
    cr = 32768 * red - 27439 * green - 5329 * blue + middle  # (R - Y') / 1.402
    return torch.floor(luma[:, None] / 65536), torch.floor(torch.stack([cb, cr], 1) / 65536)


def _to_rgb(luma: Float[Tensor, "b 1 h w"], chroma: Float[Tensor, "b 2 h w"]) -> Images:
    """Convert back from full-range Y'CbCr, rounded to codes; weights in 1/65536."""
    cb, cr = (chroma - 128).unbind(1)
    red = 91881 * cr  # 1.402
    green = -22554 * cb - 46802 * cr  # -0.344136, -0.714136
    blue = 116130 * cb  # 1.772
    return (luma + torch.floor((torch.stack([red, green, blue], 1) + 32768) / 65536)).clamp(0, 255)


def _average(chroma: Images, rows: int, columns: int) -> Images:
    """Take the mean of rows x columns pixels, libjpeg's way of rounding: up and down in turn along a row."""
    height, width = chroma.shape[2:]
    if rows * columns == 1:
        return chroma
    # To the right libjpeg repeats pixels up to whole blocks, downwards samples of chroma: those are left to _recode
    filled = pad(chroma, (0, -width % (BLOCK * columns), 0, -height % rows), mode="replicate")
    total = filled.unflatten(3, (-1, columns)).unflatten(2, (-1, rows)).sum((3, 5))
    lift = torch.arange(total.shape[3], device=total.device) % 2 + (rows - 1)  # 0, 1 of 2 or 1, 2 of 4
    return torch.floor((total + lift) / (rows * columns))


def _enlarge(chroma: Images, rows: int, columns: int) -> Images:
    """Enlarge by 3/4 of the nearer sample and 1/4 of the next along each axis, libjpeg's "fancy" upsampling."""
    if columns == 1:
        return chroma
    if chroma.shape[3] <= 2:  # too narrow for it in libjpeg
        return chroma.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
    total = _triangle(_triangle(chroma, 2) if rows == 2 else chroma, 3)
    odd = torch.arange(total.shape[3], device=total.device) % 2
    if rows == 2:
        return torch.floor((total + 8 - odd) / 16)
    return torch.floor((total + 1 + odd) / 4)


def _triangle(planes: Images, dim: int) -> Images:
    """Return 3 x nearer + next, twice as long along dim."""
    size = planes.shape[dim]
    wide = pad(planes, (0, 0, 1, 1) if dim == 2 else (1, 1, 0, 0), mode="replicate")
    before, after = (3 * planes + wide.narrow(dim, start, size) for start in (0, 2))
    return torch.stack([before, after], dim + 1).flatten(dim, dim + 1)


def _check(images: Images, jpeg: Jpeg) -> None:
    if images.shape[1] not in (1, 3):
        raise InputError(f"images have {images.shape[1]} channels; JPEG takes 1 (grey) or 3 (RGB) — drop an alpha")
    one_of("chroma subsampling", jpeg.chroma, _CHROMA)
    b = images.shape[0]
    if jpeg.tables.shape not in ((1, 2, BLOCK, BLOCK), (b, 2, BLOCK, BLOCK)):
        shape = "x".join(str(side) for side in jpeg.tables.shape)
        raise InputError(f"tables are {shape} for {b} images; give 1x2x8x8 or {b}x2x8x8 — see jpeg.tables()")
