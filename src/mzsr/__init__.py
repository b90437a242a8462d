"""mzsr: super-resolution that learns your picture.

    import mzsr
    mzsr.upscale("photo.jpg", scale=2).save("larger.png")

Names are imported when they are first used, so that `mzsr --help` answers without loading PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mzsr.version import __version__

if TYPE_CHECKING:
    from mzsr.errors import InputError
    from mzsr.imaging import kernels
    from mzsr.imaging.degrade import Degradation
    from mzsr.inference.estimate import estimate
    from mzsr.inference.result import Result
    from mzsr.inference.upscale import Upscaler, upscale

_HOMES = {
    "Degradation": "mzsr.imaging.degrade",
    "InputError": "mzsr.errors",
    "Result": "mzsr.inference.result",
    "Upscaler": "mzsr.inference.upscale",
    "estimate": "mzsr.inference.estimate",
    "kernels": "mzsr.imaging.kernels",
    "upscale": "mzsr.inference.upscale",
}

__all__ = ["Degradation", "InputError", "Result", "Upscaler", "__version__", "estimate", "kernels", "upscale"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mzsr' has no attribute '{name}'")
    home = import_module(_HOMES[name])
    return home if name == "kernels" else getattr(home, name)  # the one name that is a module


def __dir__() -> list[str]:
    return sorted(__all__)
