"""What a worker makes beside the result, and what it refuses before any work."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from servers import png

from mzsr.errors import InputError
from mzsr.imaging import encode
from mzsr.imaging.picture import to_pil
from mzsr.inference.upscale import Upscaler
from mzsr.service import work
from mzsr.service.options import Options
from mzsr.service.store import Store


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_bicubic_view_is_made_in_bands_and_is_what_it_is_in_one(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    monkeypatch.setattr(work, "BAND", 7)
    array = np.random.default_rng(0).integers(0, 256, (16, 24, channels), np.uint8)
    result = Upscaler(tiny_weights, device="cpu")(array, scale=1.5, kernel="gauss:1.0", noise=0.0, steps=0)
    work._write_views(result, tmp_path)
    assert "bicubic" not in vars(result), "all of it was made at once"
    wanted = to_pil(replace(result.picture, pixels=result.bicubic, bits=8))
    with Image.open(tmp_path / "bicubic.png") as view:
        assert (view.mode, view.size) == (wanted.mode, (36, 24))
        assert np.array_equal(np.asarray(view), np.asarray(wanted))


def test_a_view_is_no_larger_than_a_browser_can_bear_and_keeps_its_profile(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "VIEW_SIDE", 30)
    array = np.full((16, 24, 3), 128, np.uint8)
    result = Upscaler(tiny_weights, device="cpu")(array, kernel="gauss:1.0", noise=0.0, steps=0)
    metadata = replace(result.picture.metadata, icc=b"a profile")
    work._write_views(replace(result, picture=replace(result.picture, metadata=metadata)), tmp_path)
    for name in ("view.png", "bicubic.png"):
        with Image.open(tmp_path / name) as view:
            assert (view.size, view.info["icc_profile"]) == ((30, 20), b"a profile")


def test_the_work_knows_what_the_format_of_its_result_holds(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encode.SIDE, "WEBP", 40)
    store = Store(tmp_path)
    folder = store.incoming()
    (folder / "input").write_bytes(png())
    options = Options(model="tiny", steps=0, format="webp")
    job = store.add(folder, "a.png", {"format": "PNG"}, asdict(options), 9)
    store.claim()
    with pytest.raises(InputError, match="the result would have 48x32 pixels; 40 a side are the most"):
        work.run(tmp_path, job.id, str(tiny_weights), "cpu", 10**6, 60.0)
