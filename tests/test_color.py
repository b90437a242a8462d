"""Tests of the colour conversion: closed forms, round trip, bad input."""

import pytest
import torch

from mzsr.errors import InputError
from mzsr.imaging.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb


@pytest.mark.parametrize(
    ("rgb", "codes"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((1, 1, 1), (235, 128, 128)),
        ((1, 0, 0), (81.481, 90.203, 240)),  # the primaries of the studio range, ITU-R BT.601
        ((0, 1, 0), (144.553, 53.797, 34.214)),
        ((0, 0, 1), (40.966, 240, 109.786)),
    ],
)
def test_corners_of_the_cube(rgb: tuple, codes: tuple) -> None:
    """The corners of the colour cube have the code values of the standard."""
    image = torch.tensor(rgb, dtype=torch.float64).reshape(1, 3, 1, 1)
    expected = torch.tensor(codes, dtype=torch.float64)
    torch.testing.assert_close(rgb_to_ycbcr(image).flatten() * 255, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(rgb_to_y(image).flatten() * 255, expected[:1], atol=1e-9, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_round_trip(dtype: torch.dtype, tolerance: float) -> None:
    """There and back is the identity, also outside [0, 1]."""
    images = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(images)), images, atol=tolerance, rtol=0)


def test_luma_is_the_first_channel() -> None:
    """rgb_to_y is the first channel of rgb_to_ycbcr."""
    images = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(rgb_to_y(images), rgb_to_ycbcr(images)[:, :1], atol=1e-15, rtol=0)


@pytest.mark.parametrize("convert", [rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_must_be_three(convert, channels: int) -> None:
    """Anything but three channels is refused."""
    with pytest.raises(InputError, match=f"{channels} channels"):
        convert(torch.zeros(1, channels, 2, 2))
