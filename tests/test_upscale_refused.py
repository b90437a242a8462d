"""What the Upscaler refuses, in one line each."""

import inspect
import math
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mzsr.errors import InputError
from mzsr.inference.upscale import Input, Upscaler, upscale
from mzsr.learning.devices import pick_device


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("no such file.png", "no such file.png does not exist"),
        (np.zeros((1, 1, 3), np.uint8), "picture is 1x1; at least 8x8 pixels are required"),
        (np.zeros((3, 2), np.uint8), "picture is 2x3; at least 8x8"),
        (np.zeros((7, 100, 3), np.uint8), "picture is 100x7; at least 8x8"),
        (np.zeros((20, 20, 5), np.uint8), "array is"),
        (np.zeros((20, 20), np.int64), "array is int64"),
        (np.full((20, 20), 255.0), "array spans 255 … 255; floats must lie in 0 … 1"),
        (np.full((20, 20), np.nan), "array spans nan"),
        (torch.full((1, 3, 20, 20), 255.0), "array spans 255"),
        (torch.full((1, 3, 20, 20), math.nan), "array spans nan"),
        (torch.zeros(1, 3, 20, 20, dtype=torch.uint8), "of torch.uint8; floats .* are required"),
        (torch.zeros(3, 20, 20), r"tensor is \(3, 20, 20\) of torch.float32; floats \(1, 3 or 1, H, W\)"),
        (torch.zeros(2, 3, 20, 20), "tensor is"),
        (torch.zeros(1, 4, 20, 20), "tensor is"),
        (Image.new("F", (20, 20)), "mode is F"),
    ],
)
def test_pictures_that_are_refused(tiny_upscaler: Upscaler, image: Input, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_upscaler(image, scale=2, steps=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1.5}, "steps is 1.5; a whole number is required"),
        ({"scale": "2"}, "scale is '2'; a number is required"),
        ({"scale": True}, "scale is True; a number is required"),
        ({"steps": False}, "steps is False; a whole number is required"),
        ({"noise": "low"}, "noise is 'low'; 'auto' or a standard deviation"),
        ({"jpeg": "on"}, "jpeg is 'on'; it must be one of 'auto', 'off'"),
        ({"enlarged": "no"}, "enlarged is 'no'; it must be one of 'auto', 'off'"),
        ({"fit": "Inside"}, "fit is 'Inside'; it must be one of 'stretch', 'inside', 'outside'"),
        ({"subsample": "x"}, "subsample is 'x'; it must be one of None, 'direct', 'centre', 'bicubic'"),
        ({"uncertainty": 1}, "uncertainty is 1; it must be one of False, True, 'auto'"),
        ({"back_projection": "off"}, "back_projection is 'off'; it must be one of True, False"),
        ({"kernel": 5}, "kernel is 5; 'auto', text like gauss:2.0, a file, an array or a tensor is required"),
        ({"size": (40.0, 52.0)}, "size is .40.0, 52.0.; .height, width. in whole pixels is required"),
        ({"seed": "x"}, "seed is 'x'; a whole number is required"),
        ({"largest": "x"}, "largest is 'x'; a whole number is required"),
        ({"kernel": np.ones((3, 3)) * 1j}, "kernel has values of complex128; real numbers are required"),
        ({"x8": "no"}, "x8 is 'no'; it must be one of None, False, True"),
        ({"max_pixels": None}, "max_pixels is None; a number is required"),
        ({"noise": np.full(3, 0.1)}, "noise is array"),
        ({"size": 40}, "size is 40; .height, width. in whole pixels"),
        ({"size": (40, 52, 3)}, "size is .40, 52, 3.;"),
    ],
)
def test_slips_in_options(tiny_upscaler: Upscaler, photo: Tensor, options: dict[str, Any], message: str) -> None:
    """They would mean something else, or end in a traceback, for users whose types nobody checks."""
    with pytest.raises(InputError, match=message):
        inspect.unwrap(Upscaler.__call__)(tiny_upscaler, photo, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 8.5}, "scale is 8.5; it must lie between 1 and 8"),
        ({"scale": 2, "size": (40, None)}, "both a scale, 2, and a size, height 40, are given"),
        ({"size": (None, None)}, "the size is neither height nor width"),
        ({"size": (0, 40)}, "the size is height 0 and width 40"),
        ({"size": (10, None)}, r"13x10 is 0.5 times the 26x20 of the picture; 1 to 8 times is required"),
        ({"size": (None, 2600)}, r"2600x2000 is 100 times the 26x20"),
        ({"size": (40, 13)}, "13x40 is 0.5 times the 26x20 of the picture on one side; 1 to 8 times is required"),
        ({"size": (10, 2600)}, "2600x10 is 0.5 times the 26x20 of the picture on one side"),
        ({"size": (40, 13), "fit": "inside"}, "13x10 is 0.5 times the 26x20 of the picture; 1 to 8 times"),
        ({"kernel": np.full((3, 3), "a")}, "kernel is an array of <U1; numbers are required"),
        ({"steps": 101}, "steps is 101; it must lie between 0 and 100"),
        ({"scale": 3, "steps": 1}, r"picture is 26x20; its son at x3 would be 8x6, at least 8x8 .* take 0 steps"),
        ({"noise": 1.5}, "noise is 1.5"),
        ({"noise": math.nan}, "noise is nan"),
        ({"kernel": "gaus:2"}, "kernel is 'gaus'; did you mean 'gauss'"),
        ({"kernel": torch.ones(4, 4)}, "kernel is 4x4; it must be square and odd"),
        ({"kernel": torch.full((3, 3), math.nan)}, "kernel has 9 values that are NaN"),
        ({"kernel": torch.ones(41, 41)}, "kernel is 41x41, larger than the enlarged picture, whose shorter side is 40"),
    ],
)
def test_options_that_are_refused(
    tiny_upscaler: Upscaler, photo: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        tiny_upscaler(photo[:, :, :20, :26], **{"steps": 0, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"tile": 31}, {"tile": -1}, {"tile": 5000}, {"device": "tpu"}, {"model": "none"}])
def test_upscalers_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} is '?{next(iter(options.values()))}'?; "):
        Upscaler(**options)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="PyTorch finds none here; take auto or cpu"):
        upscale("a.png", device="cuda")


@pytest.mark.parametrize("model", [None, 3])
def test_a_model_is_a_name_or_a_file(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(InputError, match=f"model is {model}; the name of a model or a .safetensors file"):
        Upscaler(model)


@pytest.mark.parametrize("quality", [95.5, "high", None, 0, 101])
def test_a_quality_is_a_whole_number(
    monkeypatch: pytest.MonkeyPatch, tiny_upscaler: Upscaler, photo: Tensor, tmp_path: Path, quality: Any
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    result = tiny_upscaler(photo, scale=2, steps=0)
    with pytest.raises(InputError, match=f"quality is {quality!r}; a whole number from 1 to 100 is required"):
        result.save(tmp_path / "a.jpg", quality=quality)
    result.save(tmp_path / "a.jpg", quality=np.int64(90))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("mode", [None, 3, ["fast"]])
def test_a_mode_is_a_name(monkeypatch: pytest.MonkeyPatch, tiny_upscaler: Upscaler, photo: Tensor, mode: Any) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError, match=r"mode is '.*'; .*t must be one of fast, balanced, best"):
        tiny_upscaler(photo, scale=2, steps=0, mode=mode)
