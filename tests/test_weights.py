"""Tests of weights and states on disk: bit-exact round trips, everything that can be wrong with a file, crashes."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mzsr.card import Card
from mzsr.config import NetworkConfig
from mzsr.errors import InputError
from mzsr.learning import weights as module
from mzsr.learning.networks import build
from mzsr.learning.state import load_state, save_state
from mzsr.learning.weights import (
    find_weights,
    load_weights,
    read_card,
    save_weights,
    shipped_models,
)
from mzsr.shapes import Params

SMALL = NetworkConfig(channels=4, stages=1, blocks=1)


def card(network: NetworkConfig = SMALL, **changes: Any) -> Card:
    values = {
        "name": "test",
        "summary": "s",
        "network": network,
        "scales": (2,),
        "step_sizes": (1e-2,),
        "data": ("none",),
        "recipe": {"network": network.model_dump()},
        "command": "c",
        "commit": "0",
        "iterations": 1,
        "hours": 0.1,
        "machine": "m",
        "sha256": "",
    }
    return Card(**(values | changes))


def theta(config: NetworkConfig = SMALL) -> Params:
    return {name: tensor.detach() for name, tensor in build(config).named_parameters()}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a good weight file with its card."""
    path = tmp_path / "test.safetensors"
    save_weights(path, theta(), card())
    return path


def change_card(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.with_suffix(".json").read_text("utf-8"))
    change(values)
    path.with_suffix(".json").write_text(json.dumps(values), "utf-8")


def refusal(model: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Compare bytes: a NaN equals itself, and -0.0 is not 0.0."""
    return a.dtype == b.dtype and a.shape == b.shape and a.contiguous().numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("config", [SMALL, NetworkConfig(name="paper", layers=2, channels=3)])
def test_weights_round_trip(tmp_path: Path, config: NetworkConfig) -> None:
    """The same bits and the same card, and a network that computes with them; channels_last is only a layout."""
    before = theta(config)
    given = {n: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in before.items()}
    path = tmp_path / "a.safetensors"
    written = save_weights(path, given, card(config))
    network, read = load_weights(path)
    assert read == written
    after = {name: tensor.detach() for name, tensor in network.named_parameters()}
    assert after.keys() == before.keys()
    assert all(same_bits(before[name], after[name]) for name in before)


def test_weights_of_one_theta_are_the_same_file(tmp_path: Path) -> None:
    """Nothing of the clock or the process is in them, so that the sum on a card can be reproduced."""
    values = theta()
    sums = {save_weights(tmp_path / f"{i}.safetensors", values, card()).sha256 for i in range(2)}
    assert len(sums) == 1


numbers = st.floats(width=32, allow_nan=False)
tensors = st.one_of(
    st.lists(numbers, min_size=1, max_size=6).map(torch.tensor),
    numbers.map(torch.tensor),  # a scalar
    st.integers(0, 2**32 - 1).map(lambda bits: torch.tensor(struct.unpack("<f", struct.pack("<I", bits)))),
    st.lists(st.floats(), min_size=2, max_size=6).map(lambda x: torch.tensor(x, dtype=torch.float64)[::2]),
)
names = st.text(st.characters(categories=["L", "N"], include_characters="._/"), min_size=1, max_size=8)


@given(
    groups=st.dictionaries(
        st.sampled_from(["theta", "ema", "exp_avg"]), st.dictionaries(names, tensors, min_size=1), min_size=1
    ),
    facts=st.dictionaries(names, st.text(max_size=9)),
)
def test_state_round_trip(tmp_path_factory: pytest.TempPathFactory, groups: dict[str, Params], facts: dict) -> None:
    """Bit for bit: scalars, denormals, infinities, any NaN, strided views; and facts in any script."""
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    save_state(path, groups, facts)
    back, told = load_state(path)
    assert told == facts
    assert {group: members.keys() for group, members in back.items()} == {g: m.keys() for g, m in groups.items()}
    assert all(same_bits(tensor, back[group][name]) for group, m in groups.items() for name, tensor in m.items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_sum_is_refused(weights: Path) -> None:
    """One bit, somewhere in the middle of the numbers."""
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    assert "is not the file that its card describes (sha256 differs)" in refusal(weights)


def reseal(path: Path) -> None:
    """Make the card agree with a file that was tampered with, to get to the checks behind the sum."""
    change_card(path, lambda values: values.update(sha256=module._sha256(path)))


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated_file(weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    assert "sha256 differs" in refusal(weights)
    reseal(weights)
    assert "truncated or no safetensors file" in refusal(weights)
    with pytest.raises(InputError, match="truncated or no safetensors file"):
        load_state(weights)


def test_missing_state_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            load_state(path)


def test_missing_card(weights: Path) -> None:
    weights.with_suffix(".json").unlink()
    assert "every weight file needs its card" in refusal(weights)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda values: values.update(format=1),
            "has format 1, this version reads 3; retrain them, or",
        ),
        (lambda values: values.update(format=4), "has format 4, this version reads 3; update mzsr"),
        (lambda values: values.update(format=99, novelty=1), "has format 99"),
        (lambda values: values.update(sumary="x"), "unknown key 'sumary'; did you mean 'summary'"),
        (lambda values: values.pop("sha256"), "sha256: Field required"),
        (lambda values: values["network"].update(name="edsr-m"), "network.name"),
        (lambda values: values["network"].update(channels="many"), "network.channels"),
    ],
)
def test_bad_card(weights: Path, change: Callable[[dict[str, Any]], object], why: str) -> None:
    change_card(weights, change)
    message = refusal(weights)
    assert why in message
    assert str(weights.with_suffix(".json")) in message


@pytest.mark.parametrize(("text", "why"), [("{", "not JSON"), ("", "not JSON"), ("[]", "card"), (b"\xff", "not JSON")])
def test_card_that_is_none(tmp_path: Path, text: str | bytes, why: str) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=why):
        read_card(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.pop("stages.0.head.bias"), "1 tensors missing, 0 too many"),
        (lambda t: t.update(foreign=torch.zeros(1)), "0 tensors missing, 1 too many"),
        (lambda t: t.update({"stages.0.head.bias": torch.zeros(5)}), r"head.bias is \[5\]; its card requires \[4\]"),
        (lambda t: t["stages.0.tail.bias"].fill_(torch.nan), "tail.bias holds values that are not finite"),
        (lambda t: t["stages.0.tail.weight"][0, 0, 0, 0].fill_(-torch.inf), "tail.weight holds values that are not"),
    ],
)
def test_foreign_or_damaged_tensors(tmp_path: Path, change: Callable[[Params], object], why: str) -> None:
    """The sum is right, the content is not: of another network, or of a training that went wrong."""
    values, path = theta(), tmp_path / "a.safetensors"
    change(values)
    save_weights(path, values, card())
    with pytest.raises(InputError, match=why):
        load_weights(path)


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, theta(NetworkConfig(name="paper")), card())
    assert "is of another network" in refusal(path)


def test_unknown_model_names_the_known_ones(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a model that is installed is found by its name."""
    monkeypatch.setattr(module, "_weights_folder", lambda: weights.parent)
    assert shipped_models() == ["test"]
    assert load_weights("test")[1].name == "test"
    for model in ("tset", "", str(tmp_path), str(tmp_path / "none.safetensors"), "photo.jpg"):
        message = refusal(model)
        assert "installed: test" in message
        assert model in message
    monkeypatch.setattr(module, "_weights_folder", lambda: tmp_path / "nowhere")
    assert refusal("test").endswith("installed: none is")


def test_shipped_weights_are_sound() -> None:
    """Every model in the package loads, is named like its file, and says what it was trained on."""
    for name in shipped_models():
        _, read = load_weights(name)
        assert read.name == name
        assert read.data
        assert "licence not stated" not in " ".join(read.data)
        assert find_weights(name).with_suffix(".json").is_file()


def test_loading_draws_no_random_numbers(weights: Path) -> None:
    """Loading a model must not change what a person's own program draws next."""
    state = torch.get_rng_state()
    load_weights(weights)
    assert torch.equal(torch.get_rng_state(), state)


def test_loaded_weights_outlive_their_file(weights: Path) -> None:
    network, _ = load_weights(weights)
    before = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    with weights.open("rb+") as file:
        file.truncate(10)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.named_parameters())
    assert all(tensor.requires_grad and not tensor.is_meta for tensor in network.parameters())


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    values = {name: tensor.half() for name, tensor in theta().items()}
    save_weights(tmp_path / "a.safetensors", values, card())
    network, _ = load_weights(tmp_path / "a.safetensors")
    assert all(same_bits(tensor.detach(), values[name].float()) for name, tensor in network.named_parameters())


def test_card_of_an_enormous_network_is_refused(weights: Path) -> None:
    """Before its memory is asked for."""
    change_card(weights, lambda values: values["network"].update(channels=10**6))
    assert "its card requires" in refusal(weights)
