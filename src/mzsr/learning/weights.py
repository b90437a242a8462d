"""Weights on disk, safetensors and a JSON card, written whole or not at all; and those that the package brings.

A weight file holds parameters alone; everything else that is known of it stands on its card, beside it.
"""

import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mzsr.atomic import write_atomically
from mzsr.card import Card, check_format
from mzsr.errors import InputError
from mzsr.learning.estimator import Estimator
from mzsr.learning.networks import Network, build
from mzsr.shapes import Params

ESTIMATOR = "estimator"


def save_weights(path: Path, theta: Params, card: Card) -> Card:
    """Write parameters as safetensors, then their card as JSON.

    Args:
        path: NAME.safetensors; the card becomes NAME.json.
        theta: parameters.
        card: its sha256 is filled in here.

    Returns:
        The card as written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in theta.items()}
    data = save(tensors)
    write_atomically(path, lambda part: part.write_bytes(data))
    card = card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    text = card.model_dump_json(indent=2) + "\n"
    write_atomically(path.with_suffix(".json"), lambda part: part.write_text(text, "utf-8"))
    return card


def load_weights(model: str | Path) -> tuple[Network, Card]:
    """Read a shipped model by name, or a weight file with its card.

    Returns:
        The network with its weights, in float32 on the CPU, and the card.

    Raises:
        InputError: no such model or file, no card beside it, a newer format, damaged or foreign weights.
    """
    path = find_weights(model)
    card = read_card(path.with_suffix(".json"))
    if card.network.name == "estimator":
        raise InputError(f"{path} estimates kernels and enlarges nothing; known models: {', '.join(shipped_models())}")
    with torch.device("meta"):  # shapes are all that is needed: no memory, and no random numbers
        network = build(card.network)
    _fill(network, path, card)
    _check_step_sizes(path, card, network)
    return network, card


def _check_step_sizes(path: Path, card: Card, network: Network) -> None:
    sizes = card.step_sizes
    named = sizes if isinstance(sizes, dict) else {}
    if strange := sorted(set(named) - {name for name, _ in network.named_parameters()}):
        raise InputError(f"the card of {path} has a step size for {strange[0]}, which its network has not; retrain it")
    if not sizes or not all(named.values()):
        raise InputError(f"the card of {path} lacks step sizes; one for each tensor that it names is required")


def load_estimator() -> Estimator:
    """Read the kernel estimator that the package brings.

    Raises:
        InputError: see `load_weights`.
    """
    path = find_weights(ESTIMATOR)
    card = read_card(path.with_suffix(".json"))
    with torch.device("meta"):
        network = Estimator(card.network.channels)
    _fill(network, path, card)
    return network


def _fill(network: torch.nn.Module, path: Path, card: Card) -> None:
    if card.sha256 != _sha256(path):
        raise InputError(f"{path} is not the file that its card describes (sha256 differs); restore or retrain it")
    tensors = load_tensors(path)
    _match(path, tensors, dict(network.named_parameters()))
    # Copied, since loaded tensors live in the mapped file, which somebody may replace
    network.load_state_dict({name: t.to(torch.float32, copy=True) for name, t in tensors.items()}, assign=True)


def find_weights(model: str | Path) -> Path:
    """Return the weight file of a model name or path."""
    if str(model) in (*shipped_models(), ESTIMATOR):
        return _weights_folder() / f"{model}.safetensors"
    path = Path(model)
    known = f"give a .safetensors file or a model that is installed: {', '.join(shipped_models()) or 'none is'}"
    if path.suffix != ".safetensors":
        raise InputError(f"model is '{model}'; {known}")
    if not os.path.isfile(path):  # which `Path.is_file` does not answer where it may not look
        raise InputError(f"weight file {path} does not exist or is a folder; {known}")
    return path


def model_at(model: str, scale: int, jpeg: bool = False) -> str:
    """Return the model that does the work of another, one that knows what it is to be done on better.

    It is the first that is shipped of `NAME-jpeg` for pictures that went through JPEG, `NAME-xS` at scale S or the
    nearest one below, and the model itself.
    """
    experts = [f"{model}-jpeg"] * jpeg + [f"{model}-x{known}" for known in range(scale, 1, -1)]
    return next((expert for expert in experts if expert in shipped_models()), model)


def shipped_models() -> list[str]:
    """Return the names of the models that the package brings, the estimator of kernels left out."""
    return sorted(path.stem for path in _weights_folder().glob("*.safetensors") if path.stem != ESTIMATOR)


def read_card(path: Path) -> Card:
    """Read the card of a weight file.

    Raises:
        InputError: it is missing, damaged, or of another format.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"card {path} cannot be read ({error.strerror}); every weight file needs its card") from error
    except ValueError as error:
        raise InputError(f"card {path} is not JSON ({error}); restore it") from error
    if isinstance(values, dict) and isinstance(given := values.get("format"), int):
        check_format(path, given, "retrain them")
    return Card.parse(values, str(path))


def card_of(model: str | Path) -> Card:
    """Read the card of a model name or path; InputError as for `find_weights` and `read_card`."""
    return read_card(find_weights(model).with_suffix(".json"))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; InputError where it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); it is truncated or no safetensors file") from error


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy of a saved tensor that lies in memory as its parameter does.

    Raises:
        ValueError: it has another shape.
    """
    if tensor.shape != parameter.shape:
        raise ValueError(f"a saved tensor has shape {list(tensor.shape)}, its parameter {list(parameter.shape)}")
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def _match(path: Path, found: dict[str, Tensor], needed: dict[str, torch.nn.Parameter]) -> None:
    missing, extra = sorted(needed.keys() - found.keys()), sorted(found.keys() - needed.keys())
    if missing or extra:
        raise InputError(f"{path} is of another network: {len(missing)} tensors missing, {len(extra)} too many")
    for name, tensor in needed.items():
        if found[name].shape != tensor.shape:
            raise InputError(f"{path}: {name} is {list(found[name].shape)}; its card requires {list(tensor.shape)}")
        if not bool(torch.isfinite(found[name]).all()):
            raise InputError(f"{path}: {name} holds values that are not finite; restore or retrain it")


def _weights_folder() -> Path:
    return Path(str(files("mzsr") / "weights"))


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
