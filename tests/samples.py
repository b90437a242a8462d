"""Pixels and tags to be written into files, pictures that number their pixels, and a blur."""

import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from mzsr.imaging import kernels

BLUR = kernels.gaussian((2.0, 2.0))
ORIENTATION, X_DIMENSION, Y_DIMENSION, EXIF_IFD, GPS_IFD = 0x0112, 0xA002, 0xA003, 0x8769, 0x8825
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note/></x:xmpmeta>'


def noise(bits: int, *shape: int) -> np.ndarray:
    """Draw whole numbers over the full range, the lower 8 bits of 16 included."""
    return np.random.default_rng(0).integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION], tags[0x010F] = orientation, "Maker"
    tags.get_ifd(EXIF_IFD).update({X_DIMENSION: 640, Y_DIMENSION: 480, 0x927C: b"private note"})
    tags.get_ifd(GPS_IFD).update({1: "N", 2: (47.0, 30.0, 0.0)})
    return tags.tobytes()


def rgb8(photo: Tensor) -> np.ndarray:
    """Return a part of the photo in 8 bits, (40, 48, 3)."""
    return (photo[0].permute(1, 2, 0) * 255).round().byte().numpy()[:40, :48]


def coded(height: int, width: int, red: int) -> Tensor:
    """Return a picture whose pixels say which picture they are of, and their row and column."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.full_like(row, red), row, column]).to(torch.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG: length, name, data, and the CRC of both."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
