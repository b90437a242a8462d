"""What lies outside the picture: half-sample symmetric extension, the border rule of the whole protocol.

The row outside the first row is the first row itself, `b a | a b c | c b`. Everything that looks past an edge
(blur, resize, the data step) comes here, so that there is one border rule and not several.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from mzsr.shapes import Images


def pad_symmetric(images: Images, amounts: tuple[int, int, int, int]) -> Images:
    """Extend images by their half-sample mirror image; any amount, also more than the picture is wide.

    `torch.nn.functional.pad` offers `reflect` (whole-sample) and `replicate`, and neither is the protocol's border.

    Args:
        images: (B, C, H, W).
        amounts: pixels to add at the (top, bottom, left, right).

    Returns:
        (B, C, H + top + bottom, W + left + right).

    Source: MATLAB imresize, "symmetric"; the border of MZSR's blur.

    >>> pad_symmetric(torch.arange(3.0).view(1, 1, 1, 3), (0, 0, 2, 1)).flatten().tolist()
    [1.0, 0.0, 0.0, 1.0, 2.0, 2.0]
    """
    for dim, before, after in ((2, *amounts[:2]), (3, *amounts[2:])):
        if before or after:
            length = images.shape[dim]
            index = mirrored(torch.arange(-before, length + after, device=images.device), length)
            # Only the strips outside are gathered: to gather whole rows takes ten times as long
            first, last = (images.index_select(dim, part) for part in (index[:before], index[before + length :]))
            images = torch.cat([first, images, last], dim)
    return images


def fold_symmetric(images: Images, amounts: tuple[int, int, int, int]) -> Images:
    """Apply the adjoint of `pad_symmetric`: what lies outside is added to the pixels that it mirrors.

    Args:
        images: (B, C, H + top + bottom, W + left + right).
        amounts: the same (top, bottom, left, right).

    Returns:
        (B, C, H, W).

    >>> fold_symmetric(torch.ones(1, 1, 1, 6), (0, 0, 2, 1)).flatten().tolist()
    [2.0, 2.0, 2.0]
    """
    for dim, before, after in ((2, *amounts[:2]), (3, *amounts[2:])):
        if before or after:
            length = images.shape[dim] - before - after
            index = mirrored(torch.arange(-before, length + after, device=images.device), length)
            inside = images.narrow(dim, before, length)
            # Only the strips outside move: gathering the whole picture would cost more than the blur itself
            outside = torch.cat([images.narrow(dim, 0, before), images.narrow(dim, before + length, after)], dim)
            images = inside.index_add(dim, torch.cat([index[:before], index[before + length :]]), outside)
    return images


def mirrored(places: Int[Tensor, " n"], length: int) -> Int[Tensor, " n"]:
    """Return which of 0 … length - 1 stands at each place of a half-sample symmetric extension, of any length.

    >>> mirrored(torch.arange(-2, 5), 3).tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    index = places.remainder(2 * length)
    return torch.minimum(index, 2 * length - 1 - index)
