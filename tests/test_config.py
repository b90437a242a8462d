"""Tests of the configurations: what is refused and how it is named, what overrides what, round trips."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mzsr.config import PRESETS, Card, KernelLaw, NetworkConfig, PretrainConfig, load_pretrain
from mzsr.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def refusal(path: Path | None = None, *overrides: str) -> str:
    """Return why a configuration is refused: one line, whatever was in it."""
    with pytest.raises(InputError) as caught:
        load_pretrain(path, "smoke", list(overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("iteration", "iterations"),
        ("learningrate", "learning_rate"),
        ("netwrk", "network"),
        ("network.chanels", "network.channels"),
        ("channels", "network.channels"),
        ("law.bicubicshare", "law.bicubic_share"),
        ("scales", "law.scales"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    assert f"unknown key '{key}'; did you mean '{nearest}'?" in refusal(None, f"{key}=3")


def test_unknown_key_unlike_any_other_lists_them_all() -> None:
    message = refusal(None, "zzz=3")
    assert "unknown key 'zzz'" in message
    assert all(key in message for key in ("iterations", "network.channels", "law.noise"))


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("law.scales={}", "at least one from 1 to 8"),
        ("law.scales={0: 1}", "at least one from 1 to 8"),
        ("law.scales={9: 1}", "at least one from 1 to 8"),
        ("law.scales={2: 0, 3: 0}", "nor all zero"),
        ("law.scales={2: 1, 3: -0.5}", "must not be negative"),
        ("law.variance=[0, 1]", "must be above 0"),
        ("law.variance=[2, 1]", "not above the largest"),
        ("law={bicubic_share: 0.6, centred_share: 0.5}", "add up to more than 1"),
        ("patch=33", "--set patch=33: patch 33 leaves 33 pixels at x3; an even number is required"),
        ("law.noise=1.5", "law.noise"),
        ("ema=1", "ema"),
        ("iterations=0", "iterations"),
        ("network.name=edsr", "network.name"),
        ("network.layers=1", "network.layers"),
        ("law=5", "law"),
        ("batch=many", "received 'many'"),
        ("loss=l2", "received 'l2'"),
    ],
)
def test_contradiction_is_named(override: str, why: str) -> None:
    assert why in refusal(None, override)


@pytest.mark.parametrize("key", ["learning_rate", "clip", "law.noise", "law.bicubic_share"])
@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_numbers_are_finite(key: str, number: str) -> None:
    """A NaN passes many a comparison, and JSON, in which a state keeps its configuration, has no word for it."""
    assert key in refusal(None, f"{key}={number}")


@pytest.mark.parametrize("text", ["law.variance=[0.1, .inf]", "law.scales={2: .nan}", "law.scales={2: .inf}"])
def test_numbers_inside_lists_are_finite(text: str) -> None:
    assert "finite" in refusal(None, text)


def test_paper_network_takes_odd_patches() -> None:
    """Only the flagship's body works on 2x2 blocks."""
    assert load_pretrain(None, "paper", ["patch=33", "law.scales={3: 1}"]).patch == 33


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("batch: [1", "not YAML"),
        ("batch: 2024-13-45", "not YAML"),  # looks like a date and is none: a ValueError inside the parser
        ("\tbatch: 3", "not YAML"),
        (b"\xff\xfe\xfa", "not text"),
        ("", "holds NoneType"),
        ("- batch", "holds list"),
        ("batch: 0", "batch"),
        ("btach: 3", "did you mean 'batch'"),
        ("1: 2", "Keys should be strings"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, text: str | bytes, why: str) -> None:
    path = written(tmp_path, text)
    message = refusal(path)
    assert str(path) in message
    assert why in message


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.yaml")
    assert "Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(("override", "why"), [("batch", "key=value"), ("batch=[", "not YAML"), ("=3", "key ''")])
def test_bad_override_is_named(override: str, why: str) -> None:
    message = refusal(None, override)
    assert override in message
    assert why in message


def test_unknown_preset_lists_the_presets() -> None:
    with pytest.raises(InputError, match="preset is 'big'; it must be one of flagship, paper, smoke"):
        load_pretrain(None, "big", [])


def test_later_wins(tmp_path: Path) -> None:
    """Preset, then file, then overrides from left to right; what is not named stays."""
    path = written(tmp_path, "batch: 3\npatch: 48\nlaw: {noise: 0.01, noise_share: 0.5}")
    config = load_pretrain(path, "smoke", ["batch=4", "law.noise=1e-3", "network.channels=4", "batch=5"])
    expected: dict[str, Any] = PRESETS["smoke"].model_dump()
    expected |= {"batch": 5, "patch": 48}
    expected["law"] |= {"noise": 1e-3, "noise_share": 0.5}
    expected["network"] |= {"channels": 4}
    assert config == PretrainConfig.parse(expected)


def test_scales_are_replaced_whole() -> None:
    assert load_pretrain(None, "smoke", ["law.scales={3: 1}"]).law.scales == {3: 1.0}


def test_override_leaves_the_preset_alone() -> None:
    before = PRESETS["smoke"].model_dump_json()
    load_pretrain(None, "smoke", ["law.scales={3: 1}", "law.noise=0", "network.stages=3", "licences.a=b"])
    assert PRESETS["smoke"].model_dump_json() == before


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PRESETS["smoke"].batch = 3  # pyright: ignore[reportAttributeAccessIssue]


finite = st.floats(1e-6, 1e6)
shares = st.floats(0, 0.5)
laws = st.builds(
    KernelLaw,
    name=st.sampled_from(["bicubic", "random"]),
    scales=st.dictionaries(st.integers(1, 8), st.floats(0.01, 1), min_size=1),
    variance=st.tuples(st.floats(1e-3, 1), st.floats(1, 10)),
    bicubic_share=shares,
    centred_share=shares,
    noise=st.floats(0, 1),
)
configs = st.builds(
    PretrainConfig,
    network=st.builds(NetworkConfig, name=st.just("paper"), channels=st.integers(1, 99), layers=st.integers(2, 20)),
    law=laws,
    patch=st.integers(8, 256),
    learning_rate=finite,
    clip=finite,
    licences=st.dictionaries(st.text(), st.text(), max_size=2),
)


@given(config=configs, hours=finite)
def test_card_round_trip(config: PretrainConfig, hours: float) -> None:
    """A card reads back as written, and so does the configuration inside it, whole-number keys and all."""
    card = Card(
        name="n",
        summary="s",
        network=config.network,
        scales=tuple(config.law.scales),
        step_sizes=(1e-2, 5e-3),
        data=("train (CC0)",),
        recipe=config.model_dump(),
        command="mzsr train pretrain",
        commit="0",
        iterations=1,
        hours=hours,
        machine="m",
        score={"mzsr Set5": "35.10"},
        sha256="0" * 64,
    )
    back = Card.parse(json.loads(card.model_dump_json()))
    assert (back.network, back.scales, back.step_sizes, back.hours) == (
        card.network, card.scales, card.step_sizes, card.hours,
    )  # fmt: skip
    assert PretrainConfig.parse(back.recipe) == config
    assert Card.parse(json.loads(back.model_dump_json())) == back


def test_runs_are_valid() -> None:
    """Every recipe in runs/ is a configuration."""
    for path in (ROOT / "runs").glob("*.yaml"):
        load_pretrain(path, "flagship", [])


def test_imports_no_torch() -> None:
    """`mzsr --help` has to answer at once."""
    code = "import sys, mzsr.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})
