"""RGB → Y' in the studio range of BT.601, the luma on which super-resolution papers measure.

It knows nothing of files or of 8 bits: images come in as sRGB floats in [0, 1] and leave in the same units (a code
value of a studio-range picture divided by 255). The metrics and the estimators read luma from here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mzsr.errors import InputError
from mzsr.shapes import Images

# MATLAB's rgb2ycbcr in 8-bit code values: the weights of BT.601 (0.299, 0.587, 0.114) on a range of 219 codes
_WEIGHTS, _BLACK = (65.481, 128.553, 24.966), 16.0


def is_grey(images: Images) -> bool:
    """Tell whether all channels are equal: most black-and-white photographs are kept as three channels alike.

    >>> is_grey(torch.zeros(1, 1, 2, 2)), is_grey(torch.eye(3)[None, :, None])
    (True, False)
    """
    return bool((images[:, 1:] == images[:, :1]).all())


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
    if images.shape[1] != 3:
        raise InputError(
            f"images have {images.shape[1]} channels; RGB needs 3 — repeat a grey picture with expand(-1, 3, -1, -1)"
        )
    weights = (torch.tensor(_WEIGHTS, dtype=torch.float64) / 255).to(images)  # on the CPU: some GPUs lack float64
    return torch.einsum("c,bchw->bhw", weights, images)[:, None] + _BLACK / 255
