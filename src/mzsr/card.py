"""The card of a weight file: what is known of it. Imports no torch, so that the command line can answer at once."""

import hashlib
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, field_validator

from mzsr.config import Config, NetworkConfig
from mzsr.errors import InputError

ErrorLaw = tuple[tuple[float, float, float], ...]

ERROR_FACTORS = {"eu": 1.0, "esu": 2.0}  # E|e| / e^s where the loss is smallest, see `losses`
FORMAT = 3  # of weights, cards and training states; 1: the flagship had another residual block, 2: another head


def check_format(source: object, given: int, older: str) -> None:
    """Raise InputError for what another version wrote, with what to do about an older one."""
    if given != FORMAT:
        advice = "update mzsr" if given > FORMAT else f"{older}, or use the version that made it"
        raise InputError(f"{source} has format {given}, this version reads {FORMAT}; {advice}")


class Card(Config):
    """What is known of a weight file; lies beside it as JSON."""

    format: int = FORMAT
    name: str
    summary: str
    network: NetworkConfig
    scales: tuple[int, ...] = Field(description="scales seen in training")
    step_sizes: tuple[float, ...] | dict[str, tuple[float, ...]] = Field(
        description="inner step sizes, of all tensors or of each (one left out stays as it is); the last holds for all "
        "further steps"
    )
    subsample: Literal["direct", "bicubic"] | None = Field(
        default=None, description="the only subsampling, and with it grid, that the network knows; none: any"
    )
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
    earlier: tuple[dict[str, Any], ...] = Field(
        default=(), description="the runs that led to the weights this one started from: recipe, command, hours"
    )
    error_law: ErrorLaw | None = Field(
        default=None,
        min_length=2,
        description="what was measured of the head's log-variance s: rows of e^s, expected absolute error E|e| and "
        "squared error E e² (of the picture in the middle, not the mean), in 8-bit grey levels, all rising; none: "
        "as the loss has it, or no head",
    )
    error_law_estimated: ErrorLaw | None = Field(
        default=None, min_length=2, description="the same where the kernel was estimated; none: no other"
    )
    score: dict[str, str] = Field(default_factory=dict, description="protocol and set → PSNR in dB")
    sha256: str = Field(description="of the weight file")

    @field_validator("error_law", "error_law_estimated")
    @classmethod
    def _rising(cls, law: ErrorLaw | None) -> ErrorLaw | None:
        if law is not None and not all(0 < a < b for column in zip(*law, strict=True) for a, b in pairwise(column)):
            raise ValueError("every column of an error law must be above 0 and rise from row to row")
        return law

    @property
    def identity(self) -> str:
        """Return a sha256 of all that results may depend on: the weights, and what is on the card beside them."""
        told = self.model_dump_json(include={"step_sizes", "subsample", "crops", "error_law", "error_law_estimated"})
        return hashlib.sha256(f"{self.sha256} {told}".encode()).hexdigest()

    def told_errors(self, *, estimated: bool = False) -> ErrorLaw | None:
        """Return the error law, for a kernel that is known or estimated; None without a head, or a trained one.

        What is not measured is what the loss that moved s last has its optimum at: E|e| is e^s after EU, 2 e^s after
        ESU; and E e² = 2 (E|e|)², as of a Laplace distribution. A head whose body moved on without it tells nothing.
        """
        law = self.error_law_estimated if estimated and self.error_law_estimated else self.error_law
        if law is not None or not self.network.log_var:
            return law
        loss = self.recipe.get("loss")
        factor = ERROR_FACTORS.get(str(loss.get("name") if isinstance(loss, dict) else loss))
        return None if factor is None else tuple((x, factor * x, 2 * (factor * x) ** 2) for x in (1e-3, 1e3))
