"""Type aliases for tensors: the one place where the letters of every shape are written down.

Images are sRGB floats in [0, 1]; kernels sum to one and are indexed (row, column).
"""

from jaxtyping import Bool, Float
from torch import Tensor

Images = Float[Tensor, "b c _h _w"]
"""Batch and channels are the same for all pictures of a call; heights and widths need not be."""
Layers = Float[Tensor, "b _layers _h _w"]
"""Pictures with maps about them below their colours."""
Mask = Bool[Tensor, "1 1 h w"]
"""Some of the pixels of a picture."""
Kernel = Float[Tensor, "n n"]
Kernels = Float[Tensor, "*batch n n"]
"""One kernel for every image of a batch, (n, n), or one for each, (b, n, n)."""
Params = dict[str, Tensor]
Scalar = Float[Tensor, ""]
