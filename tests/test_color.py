"""Tests of the luma: closed forms, bad input."""

import pytest
import torch

from mzsr.errors import InputError
from mzsr.imaging.color import rgb_to_y


@pytest.mark.parametrize(
    ("rgb", "code"),
    [
        ((0, 0, 0), 16),
        ((1, 1, 1), 235),
        ((1, 0, 0), 81.481),  # the primaries of the studio range, ITU-R BT.601
        ((0, 1, 0), 144.553),
        ((0, 0, 1), 40.966),
        ((-1, 0, 2), 0.451),  # outside [0, 1] it goes on
    ],
)
def test_corners_of_the_cube(rgb: tuple, code: float) -> None:
    """The corners of the colour cube have the code values of the standard."""
    image = torch.tensor(rgb, dtype=torch.float64).reshape(1, 3, 1, 1)
    assert rgb_to_y(image).shape == (1, 1, 1, 1)
    assert rgb_to_y(image).item() * 255 == pytest.approx(code, abs=1e-9)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_must_be_three(channels: int) -> None:
    """Anything but three channels is refused."""
    with pytest.raises(InputError, match=f"{channels} channels"):
        rgb_to_y(torch.zeros(1, channels, 2, 2))
