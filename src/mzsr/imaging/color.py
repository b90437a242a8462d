"""RGB ↔ Y'CbCr in the studio range of BT.601, the luma on which super-resolution papers measure.

It knows nothing of files or of 8 bits: images come in as sRGB floats in [0, 1] and leave in the same units (a code
value of a studio-range picture divided by 255). The metrics and the estimators read luma from here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.errors import InputError
from mzsr.shapes import Images

# Rows Y', Cb, Cr; columns R, G, B in [0, 1]; results in 8-bit code values. These are MATLAB's rgb2ycbcr numbers: the
# luma weights of BT.601 (0.299, 0.587, 0.114) on a range of 219 codes, the differences on a range of 224.
_TO_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
_OFFSET = (16.0, 128.0, 128.0)


def rgb_to_y(images: Images) -> Float[Tensor, "b 1 h w"]:
    """Take the luma: Y' = (65.481 R + 128.553 G + 24.966 B + 16) / 255.

    Args:
        images: RGB in [0, 1], three channels.

    Returns:
        One channel, from 16/255 (black) to 235/255 (white).

    Raises:
        InputError: If there are not three channels.

    Source: ITU-R BT.601, studio range; equals MATLAB's `rgb2ycbcr` to rounding.

    >>> white = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    >>> round(rgb_to_y(white).item() * 255, 9)
    235.0
    """
    _require_three(images, "RGB")
    return _apply(images, _matrix(images)[:1], _offset(images)[:1])


def rgb_to_ycbcr(images: Images) -> Images:
    """Convert RGB in [0, 1] to Y', Cb, Cr in [0, 1]: (M · RGB + (16, 128, 128)) / 255.

    Raises:
        InputError: If there are not three channels.

    Source: ITU-R BT.601, studio range.

    >>> grey = torch.full((1, 3, 1, 1), 0.5, dtype=torch.float64)
    >>> [round(v, 9) for v in (rgb_to_ycbcr(grey) * 255).flatten().tolist()]
    [125.5, 128.0, 128.0]
    """
    _require_three(images, "RGB")
    return _apply(images, _matrix(images), _offset(images))


def ycbcr_to_rgb(images: Images) -> Images:
    """Convert Y', Cb, Cr in [0, 1] back to RGB; the exact inverse of `rgb_to_ycbcr`, not clamped.

    Raises:
        InputError: If there are not three channels.

    >>> black = torch.tensor([16.0, 128.0, 128.0], dtype=torch.float64).div(255).reshape(1, 3, 1, 1)
    >>> bool(ycbcr_to_rgb(black).abs().max() < 1e-12)
    True
    """
    _require_three(images, "Y'CbCr")
    inverse = torch.linalg.inv(torch.tensor(_TO_YCBCR, dtype=torch.float64) / 255)  # on the CPU: some GPUs lack float64
    inverse = inverse.to(images)
    return _apply(images, inverse, -inverse @ _offset(images))


def _matrix(like: Tensor) -> Tensor:
    return (torch.tensor(_TO_YCBCR, dtype=torch.float64) / 255).to(like)


def _offset(like: Tensor) -> Tensor:
    return (torch.tensor(_OFFSET, dtype=torch.float64) / 255).to(like)


def _apply(images: Images, matrix: Tensor, offset: Tensor) -> Tensor:
    return torch.einsum("oc,bchw->bohw", matrix, images) + offset[:, None, None]


def _require_three(images: Images, name: str) -> None:
    if images.shape[1] != 3:
        raise InputError(
            f"images have {images.shape[1]} channels; {name} needs 3 — repeat a grey picture with expand(-1, 3, -1, -1)"
        )
