"""Every frozen configuration and named preset. Imports no torch, so that the command line can answer at once.

Unknown keys are errors that name the nearest valid one; a configuration is written into the card of every weight
trained with it, and reads back from there unchanged.
"""

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mzsr.errors import InputError

FORMAT = 1  # of weights, cards and training states; a newer one is refused by name


C = TypeVar("C", bound="Config")  # not typing.Self, which the shape checks of the tests refuse


class Config(BaseModel):
    """A frozen configuration without unknown keys."""

    # NaN and infinity have no JSON form, so a state or a card that held one could not be read back
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls: type[C], values: Any, source: str = "configuration") -> C:
        """Validate nested plain values.

        Args:
            values: a mapping, as YAML and JSON give it.
            source: what to call it in an error, a file name for instance.

        Raises:
            InputError: one line that names the first key that is unknown or wrong.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                known = _field_paths(cls)
                near = difflib.get_close_matches(where, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
                raise InputError(f"{source} has an unknown key '{where}'; {hint}") from None
            received = f", received {first['input']!r}" if not isinstance(first["input"], dict) else ""
            what = first["msg"].removeprefix("Value error, ")
            raise InputError(": ".join(filter(None, (source, where, what))) + received) from None


class NetworkConfig(Config):
    """Which network, and its size."""

    name: Literal["paper", "unfolded"] = Field(
        default="unfolded", description="paper: 8 x 64 of MZSR; unfolded: the flagship"
    )
    channels: int = Field(default=64, ge=1, description="features of every hidden layer")
    layers: int = Field(default=8, ge=2, description="paper only: 3x3 convolutions")
    stages: int = Field(default=2, ge=1, description="unfolded only: data-step/network stages")
    blocks: int = Field(default=1, ge=0, description="unfolded only: residual blocks of a stage")


class KernelLaw(Config):
    """How degradations are drawn in training.

    A batch has one scale, one subsampling and one grid; every patch of it has its own kernel and noise level.
    """

    name: Literal["bicubic", "random"] = Field(
        default="random", description="bicubic: plain bicubic pairs; random: Gaussians"
    )
    scales: dict[int, float] = Field(
        default={2: 0.84, 3: 0.06, 4: 0.1}, description="share of the batches at each scale"
    )
    variance: tuple[float, float] = Field(
        default=(0.1, 2.5), description="log-uniform, pixels²; the second is times the scale"
    )
    bicubic_share: float = Field(default=0.2, ge=0, le=1, description="random only: batches with bicubic subsampling")
    centred_share: float = Field(default=0.2, ge=0, le=1, description="random only: batches on the centre-aligned grid")
    noise_share: float = Field(default=0.25, ge=0, le=1, description="random only: patches with noise")
    noise: float = Field(default=10 / 255, ge=0, le=1, description="largest noise standard deviation, uniform from 0")

    @model_validator(mode="after")
    def _consistent(self) -> "KernelLaw":
        if not self.scales or min(self.scales) < 1 or max(self.scales) > 8:
            raise ValueError(f"scales are {sorted(self.scales)}; at least one from 1 to 8 is required")
        if min(self.scales.values()) < 0 or not sum(self.scales.values()) > 0:
            raise ValueError("the shares of the scales must not be negative, nor all zero")
        if not 0 < self.variance[0] <= self.variance[1]:
            raise ValueError(f"variance is {self.variance}; the smallest must be above 0 and not above the largest")
        if self.bicubic_share + self.centred_share > 1:
            raise ValueError("bicubic_share and centred_share add up to more than 1")
        return self


class PretrainConfig(Config):
    """Large-scale training, θ_0 → θ_T."""

    network: NetworkConfig = NetworkConfig()
    law: KernelLaw = KernelLaw()
    loss: Literal["l1"] = "l1"
    iterations: int = Field(default=20_000, ge=1)
    batch: int = Field(default=16, ge=1, description="patches of an iteration")
    patch: int = Field(default=96, ge=8, description="side of a high-resolution patch, pixels")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam, at its highest")
    warmup: int = Field(default=200, ge=0, description="iterations of linear warm-up before the cosine")
    clip: float = Field(default=0.5, gt=0, description="largest norm of the gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the exponential moving average that is shipped")
    seed: int = Field(default=0, ge=0)
    save_every: int = Field(default=500, ge=1, description="iterations between checkpoints")
    revive: bool = Field(default=False, description="unfolded only: bring dead features of the start back to life")
    precision: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="of the convolutions")
    licences: dict[str, str] = Field(default={}, description="data folder name → licence, for the card")

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainConfig":
        for scale in self.law.scales:
            # The unfolded body works on 2x2 blocks, and a patch must hold whole low-resolution pixels
            side = self.patch - self.patch % scale
            if self.network.name == "unfolded" and side % 2:
                raise ValueError(f"patch {self.patch} leaves {side} pixels at x{scale}; an even number is required")
        return self


class Card(Config):
    """What is known of a weight file; lies beside it as JSON."""

    format: int = FORMAT
    name: str
    summary: str
    network: NetworkConfig
    scales: tuple[int, ...] = Field(description="scales seen in training")
    step_sizes: tuple[float, ...] = Field(description="inner step sizes; the last holds for all further steps")
    crops: int = Field(
        default=0, ge=0, description="crops that adaptation looks at; 0: the whole picture, as published"
    )
    data: tuple[str, ...] = Field(description="packs trained on, with their licences")
    recipe: dict[str, Any] = Field(description="the whole training configuration")
    command: str
    commit: str
    iterations: int
    hours: float
    machine: str
    score: dict[str, str] = Field(default_factory=dict, description="protocol and set → PSNR in dB")
    sha256: str = Field(description="of the weight file")


PRESETS: dict[str, PretrainConfig] = {
    "flagship": PretrainConfig(),
    "paper": PretrainConfig(
        network=NetworkConfig(name="paper"),
        law=KernelLaw(name="bicubic"),
        iterations=800_000,
        batch=32,
        learning_rate=4e-4,
    ),
    "smoke": PretrainConfig(
        network=NetworkConfig(channels=8, stages=1), iterations=20, batch=2, patch=32, warmup=2, save_every=5
    ),
}
"""Named starting points of `mzsr train pretrain`; `paper` follows the repository of MZSR (batch 32, patch 96)."""


def load_pretrain(path: Path | None, preset: str, overrides: list[str]) -> PretrainConfig:
    """Read a training configuration: a preset, changed by a YAML file, changed by `a.b=c`.

    Raises:
        InputError: an unknown preset or key, a value of the wrong kind, an unreadable file.
    """
    if preset not in PRESETS:
        raise InputError(f"preset is '{preset}'; it must be one of {', '.join(PRESETS)}")
    values = PRESETS[preset].model_dump()
    source = f"preset {preset}"
    if path is not None:
        source = str(path)
        _merge(values, _read_yaml(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"--set received '{override}'; it must read key=value, for instance law.noise=0.02")
        source = f"--set {override}"
        nested: Any = _load_yaml(text, source)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(values, nested)
    return PretrainConfig.parse(values, source)


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
    """Change nested mappings in place; `scales` is replaced whole, since its keys are data."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key != "scales":
            _merge(base[key], value)
        else:
            base[key] = value


def _field_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Names of the fields of a configuration and of those inside it, with dots."""
    paths = []
    for name, field in model.model_fields.items():
        paths.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            paths += _field_paths(field.annotation, f"{prefix}{name}.")
    return paths
