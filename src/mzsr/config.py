"""Every frozen configuration. Imports no torch, so that the command line can answer at once. See also `presets`.

Unknown keys are errors that name the nearest valid one; a configuration is written into the card of every weight
trained with it, and reads back from there unchanged.
"""

import difflib
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from mzsr.errors import InputError

Family = Literal["gaussian", "uniform", "disk", "box", "motion", "perturbed"]
LossName = Literal["l1", "psnr", "eu", "esu", "udl", "error-map", "gradient-map"]
OptimiserName = Literal["adam", "muon"]

SYNONYMS = {
    "lr": "learning_rate", "outer_lr": "learning_rate", "meta_lr": "learning_rate", "inner_lr": "alpha",
    "epochs": "iterations", "steps": "iterations", "max_iter": "iterations", "num_iters": "iterations",
    "batch_size": "batch", "meta_batch_size": "tasks", "inner_steps": "steps", "crop_size": "patch",
    "max_grad_norm": "clip", "ema_decay": "ema", "checkpoint_every": "save_every", "dtype": "precision",
    "model": "network.name", "arch": "network.name", "width": "network.channels", "sigma": "law.noise",
}  # fmt: skip
"""What others call a key, where its letters alone do not lead to it, or lead elsewhere."""

C = TypeVar("C", bound="Config")  # not typing.Self, which the shape checks of the tests refuse


class Config(BaseModel):
    """A frozen configuration without unknown keys."""

    # NaN and infinity have no JSON form, so a state or a card that held one could not be read back
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: Any) -> Any:  # ValidationInfo, which beartype cannot check
        """Refuse true and false, which would pass for 1 and 0; text is read, since YAML takes 1e-3 for text."""
        held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in held) and _of_numbers(cls.model_fields[info.field_name].annotation):
            raise ValueError("Input should be a number, not true or false")
        return value

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
                known = field_paths(cls)
                near = [path for path in known if path.endswith(f".{where}")]  # `channels`: the right key, too high up
                near = near or [path for path in known if path == SYNONYMS.get(where)]
                near = near or difflib.get_close_matches(where, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
                raise InputError(f"{source} has an unknown key '{where}'; {hint}") from None
            received = f", received {first['input']!r}" if not isinstance(first["input"], dict) else ""
            what = first["msg"].removeprefix("Value error, ")
            raise InputError(": ".join(filter(None, (source, where, what))) + received) from None


def _of_numbers(annotation: Any) -> bool:
    """Return whether a type is a number, or holds some."""
    return annotation in (int, float) or any(map(_of_numbers, get_args(annotation)))


class NetworkConfig(Config):
    """Which network, and its size."""

    name: Literal["paper", "unfolded", "edsr-s", "edsr", "dpdnn", "estimator"] = Field(
        default="unfolded",
        description="paper: 8 x 64 of MZSR; unfolded: the flagship; edsr-s: 16 x 64; edsr: 32 x 256; dpdnn: U-Nets; "
        "estimator: that of kernels",
    )
    channels: int = Field(default=64, ge=1, description="not for edsr-s and edsr: features of every hidden layer")
    layers: int = Field(default=8, ge=2, description="paper only: 3x3 convolutions")
    stages: int = Field(default=3, ge=1, description="unfolded only: data-step/network stages")
    blocks: int = Field(default=4, ge=0, description="unfolded only: residual blocks of a stage")
    unshuffle: int = Field(
        default=2, ge=1, le=8, description="unfolded only: its networks see blocks of so many pixels a side as channels"
    )
    scale: int = Field(default=0, description="edsr-s and edsr only, built for one: 2, 3 or 4; 0 where any is served")
    log_var: bool = Field(default=False, description="a head for the log-variance: s, expected error in grey levels")

    @model_validator(mode="after")
    def _one_scale(self) -> "NetworkConfig":
        if self.one_scale and self.scale not in (2, 3, 4):
            raise ValueError(f"{self.name} is built for one scale and scale is {self.scale}; set it to 2, 3 or 4")
        if not self.one_scale and self.scale:
            raise ValueError(f"{self.name} serves every scale and scale is {self.scale}; leave it out")
        return self

    @property
    def one_scale(self) -> bool:
        """Return whether the network is built for one scale."""
        return self.name in ("edsr-s", "edsr")

    @property
    def told(self) -> bool:
        """Return whether the network makes use of the degradation it is told; one that does not has learned its own."""
        return self.name in ("unfolded", "dpdnn")


class KernelLaw(Config):
    """How degradations are drawn in training.

    A batch has one scale, one subsampling, one grid and one kernel family; every patch of it has its own kernel and
    noise level. In meta-training a batch is a task, and has one kernel and one noise level too.
    """

    name: Literal["bicubic", "random"] = Field(default="random", description="bicubic: plain bicubic pairs")
    families: dict[Family, float] = Field(
        default={"gaussian": 1.0},
        description="share of the batches of each kernel family; gaussian is log-uniform in its variances, uniform is "
        "the law of the MZSR paper, the others lie outside the family that the estimator fits",
    )
    scales: dict[int, float] = Field(
        default={2: 0.84, 3: 0.06, 4: 0.1}, description="share of the batches at each scale"
    )
    variance: tuple[float, float] = Field(
        default=(0.1, 2.5), description="smallest and largest, pixels²; the second is times the scale"
    )
    bicubic_share: float = Field(default=0.2, ge=0, le=1, description="random only: batches with bicubic subsampling")
    centred_share: float = Field(default=0.2, ge=0, le=1, description="random only: batches on the centre-aligned grid")
    noise_share: float = Field(default=0.25, ge=0, le=1, description="random only: patches with noise")
    noise: float = Field(default=10 / 255, ge=0, le=1, description="largest noise standard deviation, uniform from 0")
    jpeg_share: float = Field(default=0.0, ge=0, le=1, description="random only: batches that went through JPEG")
    jpeg: tuple[int, int] = Field(default=(40, 95), description="lowest and highest JPEG quality, uniform")
    error_share: float = Field(
        default=0.0, ge=0, le=1, description="random only: batches whose network is told an estimate of the kernel"
    )
    error: float = Field(
        default=0.2, ge=0, description="of such an estimate: standard deviation of its log-variances, twice its angle's"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "KernelLaw":
        if not self.scales or min(self.scales) < 1 or max(self.scales) > 8:
            raise ValueError(f"scales are {sorted(self.scales)}; at least one from 1 to 8 is required")
        for name, shares in (("scales", self.scales), ("families", self.families)):
            if not shares or min(shares.values()) < 0 or not sum(shares.values()) > 0:
                raise ValueError(f"the shares of the {name} must not be negative, nor all zero")
        if not 0 < self.variance[0] <= self.variance[1]:
            raise ValueError(f"variance is {self.variance}; the smallest must be above 0 and not above the largest")
        if self.bicubic_share + self.centred_share > 1:
            raise ValueError("bicubic_share and centred_share add up to more than 1")
        if not 1 <= self.jpeg[0] <= self.jpeg[1] <= 100:
            raise ValueError(f"jpeg is {self.jpeg}; two qualities from 1 to 100 are required, the lower first")
        return self


class LossConfig(Config):
    """What large-scale training minimises; weights of udl, error-map and gradient-map are φ(how hard a pixel is)."""

    name: LossName = Field(
        default="l1",
        description="psnr: what tables count; eu, esu: result and log-variance together (step 1); udl: weighted by the "
        "log-variance of step 1, error-map by its error, gradient-map by the gradient of the truth (step 2)",
    )
    scaling: Literal["linear", "log", "exponential", "sigmoid"] = Field(
        default="linear", description="φ of the weights"
    )
    offset: float = Field(
        default=1.0,
        ge=0,
        description="added to the weights; 1: as the code of UDL, no pixel drops out; 0: as its paper",
    )
    normalise: bool = Field(default=False, description="divide the weights by their mean, so that they keep the rate")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe both forms, for editors that check YAML."""
        whole = handler.resolve_ref_schema(handler(core_schema))
        return {"anyOf": [{"enum": list(get_args(LossName))}, whole]}

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, values: Any) -> Any:
        """Let `loss: esu` stand for `loss: {name: esu}`."""
        return {"name": values} if isinstance(values, str) else values

    @property
    def learns_log_var(self) -> bool:
        """Return whether the log-variance is trained."""
        return self.name in ("eu", "esu")

    @property
    def needs_step1(self) -> bool:
        """Return whether the weights of the loss come from a network that was trained before."""
        return self.name in ("udl", "error-map")


class TrainConfig(Config):
    """What both stages of training share.

    An iteration is `tasks` batches on each process, their gradients averaged: N processes do what one would do with
    N times the tasks.
    """

    network: NetworkConfig = NetworkConfig()
    law: KernelLaw = KernelLaw()
    iterations: int = Field(default=20_000, ge=1)
    tasks: int = Field(
        default=1, ge=1, description="batches of an iteration on each process, each degraded its own way"
    )
    batch: int = Field(default=16, ge=1, description="patches of a batch")
    patch: int = Field(
        default=96, ge=8,
        description="side of a high-resolution patch, pixels; cut down to whole low-resolution pixels, in same-image "
        "episodes of the son",
    )  # fmt: skip
    shrink: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(), description="factors by which photographs are shrunk, to be cut from at these sizes as well"
    )
    hold_out: int = Field(
        default=0,
        ge=0,
        description="every so many-th file is not trained on, and each checkpoint measured on them (`validation` in "
        "the log); 0: none",
    )
    optimiser: OptimiserName = Field(
        default="adam",
        description="muon: Muon for convolutions to features at twice the learning rate, Adam for the rest",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="at its highest (β in meta-training)")
    schedule: Literal["cosine", "halving", "constant"] = Field(
        default="cosine", description="of the learning rate after the warm-up; halving: by `halve_every`, to a quarter"
    )
    halve_every: int = Field(default=100_000, ge=1, description="iterations; for the schedule `halving`")
    warmup: int = Field(default=200, ge=0, description="iterations in which the learning rate rises linearly")
    clip: float = Field(default=0.5, gt=0, description="largest norm of the gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the exponential moving average that is shipped")
    seed: int = Field(default=0, ge=0, lt=2**63)
    train: tuple[str, ...] = Field(
        default=("*",),
        description="patterns of the tensors that are trained; variance.*: the head alone; log_alpha/*: in "
        "meta-training the step sizes alone",
    )
    save_every: int = Field(default=500, ge=1, description="iterations between checkpoints")
    precision: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="of the hidden convolutions")
    licences: dict[str, str] = Field(
        default={},
        description="data folder name → licence, for the card; it goes before one found beside the images",
    )

    @model_validator(mode="after")
    def _law_suits_network(self) -> "TrainConfig":
        if self.network.name == "estimator":
            raise ValueError("network is estimator, which enlarges nothing; runs/train_estimator.py trains it")
        if self.hold_out and self.patch < 4 * max(self.law.scales):
            raise ValueError(
                f"hold_out measures patches without their borders; patch is {self.patch}, and at least "
                f"{4 * max(self.law.scales)} is required"
            )
        if self.network.one_scale and set(self.law.scales) != {self.network.scale}:
            raise ValueError(
                f"{self.network.name} is built for x{self.network.scale} and law.scales has {sorted(self.law.scales)}; "
                "make them the same"
            )
        return self


class PretrainConfig(TrainConfig):
    """Large-scale training, θ_0 → θ_T."""

    loss: LossConfig = LossConfig()
    compile: bool = Field(default=False, description="run the convolutions through torch.compile")

    @model_validator(mode="after")
    def _head_is_there(self) -> "PretrainConfig":
        if self.loss.learns_log_var and not self.network.log_var:
            raise ValueError(f"loss {self.loss.name} trains a log-variance; set network.log_var to true")
        return self


class MetaConfig(TrainConfig):
    """Meta-transfer training, θ_T → θ_M. The presets are `flagship` and, as published, `paper`."""

    loss: Literal["l1", "psnr"] = Field(default="l1", description="of the outer loop; steps are taken on L1")
    iterations: int = Field(default=2000, ge=1)
    tasks: int = Field(default=4, ge=1, description="kernels of an iteration on each process")
    batch: int = Field(default=3, ge=1, description="patches of D_tr, and of D_te")
    learning_rate: float = Field(default=1e-4, gt=0, description="β, of the outer optimiser")
    warmup: int = Field(default=50, ge=0, description="iterations in which the learning rate rises linearly")
    save_every: int = Field(default=100, ge=1, description="iterations between checkpoints")
    steps: int = Field(default=1, ge=1, le=20, description="K, gradient steps of the inner loop")
    alpha: float = Field(default=1e-2, gt=0, description="step size of the inner loop, or where learned ones begin")
    learn_alpha: bool = Field(default=True, description="learn a step size for every tensor and step (LSLR of MAML++)")
    alpha_rate: float = Field(default=2e-2, gt=0, description="learning rate of the logarithms of the step sizes")
    order: Literal["second", "first"] = Field(default="second", description="of the outer gradient")
    weighting: Literal["annealed", "uniform", "last", "drawn"] = Field(
        default="uniform",
        description="of the losses after each inner step; annealed: as MZSR means it; drawn: one step alone, another "
        "one in every iteration, which in the mean is uniform and costs a third of it",
    )
    anneal: float = Field(
        default=10_000 / 3, gt=0, description="annealed only: iterations in which a weight falls by 1 / steps"
    )
    zero_weight: float = Field(
        default=0.0, ge=0, description="weight of the loss before the first step, beside 1 for all steps together"
    )
    episodes: Literal["published", "same-image"] = Field(
        default="same-image",
        description="published: D_tr and D_te of different images; same-image: (son, lr) and (lr, hr) of one image",
    )
    adapt: tuple[str, ...] = Field(default=("*",), description="patterns of the tensors that the inner loop moves")
    vectorise: bool = Field(default=False, description="all tasks of a process at once, by torch.func.vmap")
    test_alphas: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="step sizes for the card, the last for all further steps; none: those of training"
    )

    @model_validator(mode="after")
    def _sons(self) -> "MetaConfig":
        if self.episodes == "same-image":
            for scale in self.law.scales:
                side = self.patch // scale**2
                if side < 4:
                    raise ValueError(
                        f"patch {self.patch} leaves a son of {side} pixels at x{scale}; "
                        f"same-image episodes need a patch of at least {4 * scale**2}"
                    )
        if self.vectorise and self.episodes == "published" and self.law.jpeg_share > 0:
            raise ValueError(
                "vectorise tells a task one error of JPEG, published episodes have two; take same-image episodes"
            )
        if self.learn_alpha and self.test_alphas:
            raise ValueError("test_alphas and learn_alpha contradict each other; learned step sizes go on the card")
        return self


def field_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Names of the fields of a configuration and of those inside it, with dots."""
    paths = []
    for name, field in model.model_fields.items():
        paths.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            paths += field_paths(field.annotation, f"{prefix}{name}.")
    return paths
