"""Picture: one image with its alpha, its depth and its metadata, and its ways in and out of numpy and pillow.

The networks see `pixels`, sRGB floats in [0, 1]; everything else travels beside them and joins them again at the end.
Rounding to whole numbers happens in `to_array` and nowhere else. Files are the business of files.py.
"""

import io
from dataclasses import dataclass, field, replace
from itertools import takewhile

import numpy as np
import pyvips
import torch
from jaxtyping import Float
from PIL import Image, ImageCms
from torch import Tensor

from mzsr.errors import InputError
from mzsr.imaging.alpha import bleed
from mzsr.imaging.metadata import MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED, Metadata, metadata_of
from mzsr.shapes import Mask

# What pillow calls its modes, and the mode without palette, bits or premultiplied alpha that holds the same.
_PLAIN = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA",
    "RGBa": "RGBA", "YCbCr": "RGB", "HSV": "RGB", "CMYK": "RGB",
}  # fmt: skip
_SPREAD = {"L;2": 85, "L;4": 17}  # what levels of so few bits are multiplied by, to reach 255
_BAND = 256  # rows that are rounded at a time: copies of a large picture would take gigabytes
_FLOAT_SLACK = 0.5  # a float array may leave [0, 1] by noise and overshoots, which are cut off, not by a factor of 255


@dataclass(frozen=True)
class Picture:
    """One picture, upright.

    Attributes:
        pixels: Grey or RGB in [0, 1].
        alpha: Opacity in [0, 1], or None where the picture has none.
        bits: Bits per channel when it is stored, 8 or 16.
        metadata: All else that its file said.
    """

    pixels: Float[Tensor, "1 colors h w"]
    alpha: Float[Tensor, "1 1 h w"] | None = None
    bits: int = 8
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        shape = tuple(self.pixels.shape)
        if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3) or min(shape) < 1:
            raise InputError(f"pixels are {shape}; a picture is (1, 1 or 3, height, width) — pass one image at a time")
        if self.alpha is not None and tuple(self.alpha.shape) != (1, 1, *shape[2:]):
            raise InputError(
                f"alpha is {tuple(self.alpha.shape)}; (1, 1, {shape[2]}, {shape[3]}) is required — resize both"
            )
        if self.bits not in (8, 16):
            raise InputError(f"bits are {self.bits}; a picture stores 8 or 16 per channel — choose one of them")


def visible(picture: Picture) -> Picture:
    """Return a picture whose hidden pixels, under an alpha of 0, have the colours of what is seen around them."""
    return replace(picture, pixels=bleed(picture.pixels, picture.alpha))


def untaken(picture: Picture) -> Mask:
    """Return which pixels no camera took: what transparency hides, and a frame of one colour around the picture.

    >>> untaken(from_array(np.uint8([[7, 7, 7], [7, 9, 8], [7, 9, 9]]))).int()[0, 0].tolist()
    [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    """
    pixels, alpha = picture.pixels[0], picture.alpha
    mask = torch.zeros((1, 1, *pixels.shape[1:]), dtype=torch.bool) if alpha is None else alpha <= 0
    for axis in (1, 2):
        lines = pixels.unbind(axis)
        # From the edges inwards, as long as each is of one colour
        before, after = (sum(1 for _ in takewhile(_of_one_colour, order)) for order in (lines, lines[::-1]))
        mask.narrow(axis + 1, 0, before).fill_(True)
        mask.narrow(axis + 1, len(lines) - after, after).fill_(True)
    return mask


def _of_one_colour(line: Float[Tensor, "channels n"]) -> bool:
    return bool((line == line[:, :1]).all())


def from_array(array: np.ndarray, *, metadata: Metadata | None = None) -> Picture:
    """Take in a numpy array, (H, W) or (H, W, C) with C = 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha.

    Args:
        array: uint8, uint16, or floats in [0, 1]. Floats are stored with 16 bits if they are ever written.
        metadata: What is known beside the pixels.

    Raises:
        InputError: If the type, the shape or the range is another.

    >>> from_array(np.full((2, 3), 51, np.uint8)).pixels.unique().item()
    0.2...
    """
    array = np.asarray(array)  # no matrix, whose every part is one again
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] > 4):
        raise InputError(f"array is {array.shape}; (H, W) or (H, W, 1…4) is required — move channels last, drop others")
    if array.dtype in (np.uint8, np.uint16):
        peak = np.iinfo(array.dtype).max
    elif np.issubdtype(array.dtype, np.floating):
        peak = 1
        low, high = float(array.min()), float(array.max())
        if not (-_FLOAT_SLACK <= low and high <= 1 + _FLOAT_SLACK):  # NaN fails too
            raise InputError(f"array spans {low:g} … {high:g}; floats must lie in 0 … 1 — divide by 255, or use uint8")
    else:
        raise InputError(f"array is {array.dtype}; uint8, uint16 or floats are required — convert it with astype")
    planes = array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)  # (C, H, W)
    tensor = torch.from_numpy(planes.astype(np.float32, order="C")).div_(peak).clamp_(0, 1)[None]  # (1, C, H, W)
    colors = tensor.shape[1] - 1 + tensor.shape[1] % 2  # 1 2 3 4 → 1 1 3 3
    alpha = tensor[:, colors:] if tensor.shape[1] > colors else None
    return Picture(tensor[:, :colors], alpha, 8 if peak == 255 else 16, metadata or Metadata())


def to_array(picture: Picture, *, like: np.ndarray | None = None) -> np.ndarray:
    """Give out a numpy array: (H, W) for grey, otherwise (H, W, C), alpha last.

    Args:
        picture: What to give out. Values outside [0, 1] are clamped.
        like: An array whose type and number of axes are wanted; by default whole numbers of the picture's depth.

    Raises:
        InputError: If a value is not finite.
    """
    planes = [picture.pixels[0]] if picture.alpha is None else [picture.pixels[0], picture.alpha[0]]
    dtype = like.dtype if like is not None else np.dtype(np.uint8 if picture.bits == 8 else np.uint16)
    height, width = picture.pixels.shape[2:]
    array = np.empty((height, width, sum(plane.shape[0] for plane in planes)), dtype)
    for top in range(0, height, _BAND):
        band = torch.cat([plane[:, top : top + _BAND].detach().cpu() for plane in planes])  # (C, rows, W)
        if not torch.isfinite(band).all():
            raise InputError(
                "picture holds NaN or infinity; every value must be finite — fewer steps may keep it stable"
            )
        band = band.clamp_(0, 1)
        if np.issubdtype(dtype, np.integer):
            band = band.mul_(np.iinfo(dtype).max).round_()
        array[top : top + _BAND] = band.permute(1, 2, 0).numpy()
    keep_axis = like is not None and like.ndim == 3
    return array[..., 0] if array.shape[2] == 1 and not keep_axis else array


def from_pil(image: Image.Image) -> Picture:
    """Take in a pillow image of any common mode, turned upright.

    Palettes become RGB, transparency of any kind becomes alpha, CMYK becomes sRGB (through its profile, or one of usual
    print where it has none).

    Raises:
        InputError: If the mode is not a picture of 8 bits, or 16-bit grey, or if a CMYK profile is damaged.
    """
    tiles = getattr(image, "tile", ())
    stored = tiles[0][3] if tiles else None  # how a PNG keeps its pixels, until it is read
    image.load()
    metadata, key = metadata_of(image), image.info.get("transparency")
    if image.mode.startswith("I;16"):
        array = np.asarray(image).astype(np.uint16)
        if isinstance(key, int):
            array = np.stack([array, np.where(array == key, 0, 65535).astype(np.uint16)], -1)
        return from_array(upright(array, metadata.orientation), metadata=metadata)
    if isinstance(key, int) and stored in _SPREAD:  # pillow spreads the pixels and not their key
        image = image.copy()
        image.info["transparency"] = key * _SPREAD[stored]
    if image.mode not in _PLAIN:
        raise InputError(f"mode is {image.mode}; grey, RGB, palette or CMYK is required — convert it to RGB first")
    if image.mode == "CMYK":
        image = _cmyk_to_rgb(image, metadata.icc)
        # The pixels are sRGB now; a file of four channels has no chroma to halve, as far as pillow tells
        metadata = replace(metadata, icc=None, jpeg_sampling=metadata.jpeg_sampling and 0)
    plain = _PLAIN[image.mode]
    if image.has_transparency_data:
        plain = "LA" if plain in ("L", "LA") else "RGBA"
    return from_array(upright(np.asarray(image.convert(plain)), metadata.orientation), metadata=metadata)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture (H, W, …) upright.

    Source: EXIF 2.32, tag Orientation: which sides of the stored picture are its top and its left, 1 to 8.
    """
    if orientation in TRANSPOSED:
        array = array.swapaxes(0, 1)
    down, right = orientation in MIRRORED_ROWS, orientation in MIRRORED_COLUMNS
    return array[:: -1 if down else 1, :: -1 if right else 1]


def to_pil(picture: Picture) -> Image.Image:
    """Give out a pillow image: L, LA, RGB or RGBA of 8 bits (pillow has no 16-bit colour); I;16 for 16-bit grey."""
    if picture.bits == 16 and (picture.alpha is not None or picture.pixels.shape[1] == 3):
        picture = replace(picture, bits=8)
    image = Image.fromarray(to_array(picture))
    kept = picture.metadata
    known = {"icc_profile": kept.icc, "exif": kept.exif, "xmp": kept.xmp, "dpi": kept.dpi}
    image.info.update({key: value for key, value in known.items() if value is not None})
    return image


def in_srgb(picture: Picture) -> Picture:
    """Return a picture in sRGB, for a file of 8 bits that cannot hold its profile.

    One without a profile that can be used stays as it is.
    """
    icc = picture.metadata.icc
    if icc is None:
        return picture
    try:
        rgb = _through_profile(to_pil(replace(picture, alpha=None, bits=8)), icc)
    except (ImageCms.PyCMSError, OSError):
        return picture
    pixels = from_array(np.asarray(rgb)).pixels
    return replace(picture, pixels=pixels, bits=8, metadata=replace(picture.metadata, icc=None))


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    try:
        return _through_profile(image, icc or pyvips.Operation.call("profile_load", "cmyk"))
    except (ImageCms.PyCMSError, OSError) as error:
        raise InputError(
            f"its CMYK profile cannot be used ({error}); a valid one is required — save it as RGB"
        ) from error


def _through_profile(image: Image.Image, icc: bytes) -> Image.Image:
    rgb = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
        # The default of photo programs: colours that both can show stay, black becomes black.
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert rgb is not None  # only inPlace=True returns nothing
    return rgb
