"""A training configuration as people write it: a preset, changed by a YAML file, changed by `a.b=c`. Imports no torch.

What is wrong with it is said in one line, with the nearest valid key.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mzsr.config import TrainConfig
from mzsr.errors import InputError, one_of

T = TypeVar("T", bound=TrainConfig)
WHOLE = ("scales", "families")  # mappings whose keys are data: replaced whole, not key by key


def load_config(presets: dict[str, T], preset: str, path: Path | None, overrides: list[str]) -> T:
    """Read a training configuration.

    Args:
        presets: PRETRAIN or META.
        preset: the name of one.
        path: a YAML file with what differs; None for nothing.
        overrides: `a.b=c`, which change that.

    Raises:
        InputError: an unknown preset or key, a value of the wrong kind, an unreadable file.
    """
    values = presets[one_of("preset", preset, presets)].model_dump()
    sources = []
    if path is not None:
        sources.append(str(path))
        _merge(values, _read_yaml(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"--set received '{override}'; it must read key=value, for instance law.noise=0.02")
        sources.append(f"--set {override}")
        nested: Any = _load_yaml(text, sources[-1])
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(values, nested)
    # Checked at the end, since one change may allow another; so any of them may be what is wrong
    return type(presets[preset]).parse(values, " ".join(sources) or f"preset {preset}")


def json_schema(config: type[TrainConfig]) -> str:
    """Return the JSON schema of a configuration, for editors that check YAML.

    >>> from mzsr.config import MetaConfig
    >>> json.loads(json_schema(MetaConfig))["properties"]["steps"]["minimum"]
    1
    """
    return json.dumps(config.model_json_schema(), indent=2)


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"configuration {path} cannot be read ({error.strerror}); give a YAML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"configuration {path} is not text ({error.reason}); give a YAML file") from error
    values = _load_yaml(text, f"configuration {path}")
    if not isinstance(values, dict):
        raise InputError(f"configuration {path} holds {type(values).__name__}; keys and values are required")
    return values


def _load_yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2024-13-45 looks like a date and is none
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}") from error


def _merge(base: dict[Any, Any], change: dict[Any, Any]) -> None:
    """Change nested mappings in place; those of WHOLE are replaced."""
    for key, value in change.items():
        if key == "loss" and isinstance(base.get(key), str):  # `loss: NAME` is short for its name alone
            base[key] = {"name": base[key]}
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key not in WHOLE:
            _merge(base[key], value)
        else:
            base[key] = value
