"""What a job may be asked for: the words of `mzsr upscale`, checked by the same rules.

A form comes in as text; what is understood is kept as plain values, and becomes the keywords of an `Upscaler` in the
worker.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mzsr.apps.usage import noise_level
from mzsr.card import Card
from mzsr.errors import InputError, one_of
from mzsr.imaging import kernel_files
from mzsr.imaging.degrade import Sampling
from mzsr.imaging.files import SUFFIXES, largest_side
from mzsr.inference.intake import check_sides, sampling_of, whole_scale
from mzsr.inference.request import MODES, Fit, check_options, target_size, with_mode
from mzsr.learning.weights import card_of, load_weights, shipped_models
from mzsr.shapes import Kernel

Format = Literal["png", "jpg", "webp", "tif", "bmp", "avif"]
SUFFIX_OF = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "AVIF": "avif"}
MOST_WORK = 4
"""How many times the pixels of the largest result may be made on the way to one.

The work is done at the next whole scale. In proportion that is at most four times the result, just above x1; what is
stretched along one side alone comes to nine times.
"""


@dataclass(frozen=True)
class Options:
    """The options of one job, checked as far as they can be without the picture."""

    scale: float | int | None = None
    width: int | None = None
    height: int | None = None
    fit: Fit = "stretch"
    mode: str = "balanced"
    steps: int = 1
    x8: bool = False
    kernel: str = "auto"
    kernel_file: str | None = None
    subsample: Sampling | None = None
    noise: str = "auto"
    jpeg: Literal["auto", "off"] = "auto"
    enlarged: Literal["auto", "off"] = "auto"
    back_projection: bool = True
    model: str = "mzsr"
    format: Format | None = None
    quality: int = 95
    seed: int = 0

    @property
    def size(self) -> tuple[int | None, int | None] | None:
        """Return (height, width), None where neither is given."""
        return None if self.width is None and self.height is None else (self.height, self.width)

    def suffix(self, found: str) -> str:
        """Return the suffix of the result, for a picture of the format that `preview.header` found."""
        return self.format or SUFFIX_OF.get(found, "png")

    def result_name(self, name: str, found: str) -> str:
        """Return the name of the result: the command line's, but for the suffix, which is the usual one of its kind.

        >>> Options(scale=2).result_name("photo.jpeg", "JPEG")
        'photo_x2.jpg'
        """
        ending = f"_x{self.scale or 2:g}" if self.size is None else "_large"
        return f"{Path(name).stem}{ending}.{self.suffix(found)}"

    def check_target(self, width: int, height: int, found: str, max_pixels: int) -> None:
        """Raise InputError if a picture is too small, or its result impossible, or too large to make or to save.

        Args:
            width: of the picture, pixels.
            height: likewise.
            found: its format, as `preview.header` found it.
            max_pixels: the most that the result may have.
        """
        check_sides(height, width)
        factor, (rows, columns) = target_size(height, width, self.scale, self.size, self.fit)
        if rows * columns > max_pixels:
            raise InputError(
                f"the result would have {columns} x {rows} pixels, {rows * columns / 1e6:.1f} million; the limit here "
                f"is {max_pixels / 1e6:g} million — ask for a smaller scale, or send a smaller picture"
            )
        whole = whole_scale(factor)
        if (work := whole**2 * width * height) > MOST_WORK * max_pixels:
            raise InputError(
                f"{columns} x {rows} pixels are made from x{whole} of the picture, {work / 1e6:.1f} million; the limit "
                f"here is {MOST_WORK * max_pixels / 1e6:g} million — ask for sides that are nearer to its proportions"
            )
        suffix = self.suffix(found)
        most = largest_side(f"result.{suffix}")
        if most is not None and max(rows, columns) > most:
            raise InputError(
                f"the result would have {columns} x {rows} pixels; {suffix} holds at most {most} a side — ask for a "
                "smaller scale, or for png or tif"
            )

    def keywords(self, folder: Path) -> dict[str, Any]:
        """Return the keywords that an `Upscaler` takes; a kernel that was uploaded lies in `folder`."""
        kernel: str | Kernel = self.kernel
        if self.kernel_file is not None:
            kernel = kernel_files.load(folder / kernel_place(self.kernel_file))
        return {
            "scale": self.scale, "size": self.size, "fit": self.fit, "kernel": kernel, "subsample": self.subsample,
            "noise": "auto" if self.noise == "auto" else noise_level(self.noise), "jpeg": self.jpeg,
            "enlarged": self.enlarged, "mode": self.mode, "steps": self.steps, "x8": self.x8, "seed": self.seed,
            "back_projection": self.back_projection,
        }  # fmt: skip

    def command(self, name: str, found: str) -> str:
        """Return the command line that does the same with a picture of a name, of the format that was found.

        >>> Options(scale=3, kernel="gauss:1.5").command("a b.png", "PNG")
        "mzsr upscale 'a b.png' --scale 3 --kernel gauss:1.5"
        """
        words = ["mzsr", "upscale", f"./{name}" if name.startswith("-") else name]
        usual = Options(mode=self.mode, steps=MODES[self.mode][0], x8=MODES[self.mode][1])
        for key in ("scale", "width", "height", "fit", "kernel", "subsample", "noise", "jpeg", "enlarged", "steps",
                    "model", "format", "quality", "seed"):  # fmt: skip
            value = getattr(self, key)
            if key == "kernel" and self.kernel_file is not None:
                words += ["--kernel", self.kernel_file]
            elif value != getattr(usual, key):
                short = f"{value:g}" if isinstance(value, float) else str(value)
                words += [f"--{key}", short if isinstance(value, str) or float(short) == value else repr(value)]
        if self.format is None and SUFFIXES.get(Path(name).suffix.lower(), "PNG") != SUFFIXES[f".{self.suffix(found)}"]:
            words += ["--format", self.suffix(found)]  # the command line goes by the name
        words += ["--no-back-projection"] * (not self.back_projection)
        words += ["--mode", self.mode] * (self.mode != "balanced")
        words += ["--x8" if self.x8 else "--no-x8"] * (self.x8 != usual.x8)
        return shlex.join(words)


def check(values: dict[str, Any], models: dict[str, Card]) -> Options:
    """Understand a form.

    Args:
        values: field → value; what is None or left out is as `Options` has it.
        models: those that may be asked for.

    Raises:
        InputError: whatever is wrong, whatever the picture.
    """
    given = {key: value for key, value in values.items() if value is not None}
    steps, x8 = with_mode(given.get("mode", "balanced"), None, None)
    options = Options(**{"steps": steps, "x8": x8, "model": next(iter(models))} | given)
    check_options(options.scale, options.size, options.steps, options.fit)
    one_of("model", options.model, models)
    if options.noise != "auto":
        noise_level(options.noise)
    if options.kernel_file is not None:
        if options.kernel != "auto":
            raise InputError(f"both kernel '{options.kernel}' and a kernel file are given; give one of them")
        kernel_place(options.kernel_file)
    elif options.kernel not in ("auto", "bicubic"):
        # What is no family would be taken for the path of a file, and one on the server at that
        if options.kernel.partition(":")[0] not in kernel_files.FAMILIES:
            known = ", ".join(f"{family}:NUMBERS" for family in kernel_files.FAMILIES)
            raise InputError(
                f"kernel is '{options.kernel}'; write auto, bicubic or {known}, or send a file as kernel_file"
            )
        kernel_files.parse(options.kernel)
    sampling_of(options.kernel, options.subsample)
    return options


def kernel_place(name: str) -> str:
    """Return under which name the kernel of a job lies in its folder.

    Raises:
        InputError: it is neither a .mat nor a .npy file.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in kernel_files.SUFFIXES:
        raise InputError(f"kernel file '{name}' ends in '{suffix}'; .mat and .npy files are read")
    return f"kernel{suffix}"


def cards(models: tuple[str, ...]) -> dict[str, tuple[str, Card]]:
    """Return name → (what an `Upscaler` loads, its card) of models that may be asked for, the default first.

    Args:
        models: names and files; none means all that are installed.

    Raises:
        InputError: there is no such model, its file is damaged, or two have one name.
    """
    installed = sorted(shipped_models(), key=lambda name: (name != "mzsr", name))
    found: dict[str, tuple[str, Card]] = {}
    for model in models or installed:
        # A file that is damaged is found here, and not by every worker anew
        card = load_weights(model)[1] if model.endswith(".safetensors") else card_of(model)
        if card.name in found:
            raise InputError(f"two models are called {card.name}; leave one of them out")
        found[card.name] = model, card
    return found
