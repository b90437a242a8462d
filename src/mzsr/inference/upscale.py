"""From a picture to a larger one: read → estimate → adapt → enhance → write. The file to read second.

`Upscaler` holds a model; calling it super-resolves one picture. `upscale` does it in one line. Nothing here knows of
the command line; what people see is made from the `Result`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch

from mzsr.card import ErrorLaw
from mzsr.errors import InputError
from mzsr.imaging import files
from mzsr.imaging.alpha import settled
from mzsr.imaging.color import is_grey
from mzsr.imaging.data_step import consistent
from mzsr.imaging.degrade import MAX_SCALE, Degradation, Sampling, phase
from mzsr.imaging.jpeg import Jpeg
from mzsr.imaging.metrics import reprojection_psnr
from mzsr.inference import intake
from mzsr.inference.adapt import Adapted, adapt, has_son
from mzsr.inference.enlargement import ADVICE, detail, detail_words
from mzsr.inference.ensemble import SYMMETRIES, ensemble, symmetries
from mzsr.inference.intake import Intake, KernelInput
from mzsr.inference.request import Fit, check_kinds, check_options, target_size, with_mode
from mzsr.inference.result import Input, Result, enlarge, resized
from mzsr.inference.tiles import SMALLEST_TILE, enhance
from mzsr.inference.uncertainty import error_law, expected_psnr
from mzsr.learning.devices import peak_mb, pick_device, precision_name, precision_of
from mzsr.learning.weights import ESTIMATOR, card_of, load_weights, model_at
from mzsr.shapes import Images, Layers, Params

MAX_TILE = 4096
# Error of a JPEG from which the weights for such pictures are better, 0.4 dB at quality 80; below it, at quality 95,
# they lose up to 0.2 dB (nine pictures of BSD100 and Set5, g2.0 d and bicubic)
PACKED = 2.5 / 255
OFF_GRID = (
    "{} the paper's grid, where the result lies {} of the picture; a "
    "photograph is on --subsample centre, and --subsample direct says that this is meant"
)
NO_SON = "the picture is too small to learn from; it was enlarged without a step of adaptation"
Progress = Callable[[str, float], None]


class Upscaler:
    """A model, ready to super-resolve pictures.

    Examples:
        >>> import numpy as np
        >>> upscaler = Upscaler("mzsr")
        >>> small = np.full((16, 16, 3), 128, np.uint8)
        >>> upscaler(small, scale=2, kernel="bicubic", steps=0).image.shape
        (32, 32, 3)
    """

    @torch.inference_mode(False)  # adaptation needs gradients, wherever it is called
    def __init__(
        self, model: str | Path = "mzsr", *, device: str = "auto", tile: int | None = None, precision: str = "auto"
    ) -> None:
        """Load a model.

        Args:
            model: the name of a shipped model, or a .safetensors file with its card beside it.
            device: `auto`, `cpu` or `cuda`.
            tile: side of a tile, low-resolution pixels; 0 for no tiles, None for as large as memory allows.
            precision: of the hidden convolutions: `float32`, in which tiles differ from the whole by less than a
                quarter of an 8-bit step; `bfloat16`, two to five times as fast where the processor has it, off by one
                step in single values; `auto`, the faster of the two.

        Raises:
            InputError: an unknown model or precision, a device that is not there, or a tile of an impossible size.
        """
        if not isinstance(model, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"model is {model!r}; the name of a model or a .safetensors file is required")
        if tile is not None and not isinstance(tile, Integral):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"tile is {tile!r}; a whole number of pixels is required")
        if tile is not None and tile != 0 and not SMALLEST_TILE <= tile <= MAX_TILE:
            raise InputError(f"tile is {tile}; it must be 0 (no tiles), or from {SMALLEST_TILE} to {MAX_TILE} pixels")
        self.device = pick_device(device)
        self.tile: int | None = tile
        self.precision = precision
        self.model = str(model)
        self._experts: dict[str, Upscaler] = {}
        network, self.card = load_weights(model)
        network.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network = network.requires_grad_(False)
        self.network.precision = precision_of(precision, self.device)
        self.theta: Params = dict(self.network.named_parameters())

    @property
    def weights(self) -> list[str]:
        """Return identities of all weights that results may depend on: of every scale and kind of file, of kernels."""
        names = sorted({model_at(self.model, n, jpeg) for n in range(1, MAX_SCALE + 1) for jpeg in (False, True)})
        return [card_of(name).identity for name in (*names, ESTIMATOR)]

    def at(self, scale: int, jpeg: Jpeg | None = None) -> "Upscaler":
        """Return what does the work at a scale, and for a picture that went through JPEG; see `model_at`."""
        name = model_at(self.model, scale, jpeg is not None and float(jpeg.error) >= PACKED)
        if name == self.model:
            return self
        if name not in self._experts:
            self._experts[name] = Upscaler(name, device=self.device.type, tile=self.tile, precision=self.precision)
        return self._experts[name]

    @torch.inference_mode(False)
    def adapt(self, lr: Images, d: Degradation, steps: int, seed: int = 0) -> Adapted:
        """Adapt to a picture, as its card says; see `adapt`.

        Args:
            lr: (1, 3, h, w) on the device.
            d: what it went through, there too.
            steps: of the gradient.
            seed: of the noise of the son, which has as much of it as its father.
        """
        generator = torch.Generator(self.device).manual_seed(int(seed) % 2**63) if float(d.noise) > 0 else None
        return adapt(
            self.network, self.theta, lr, d, steps=steps, step_sizes=self.card.step_sizes, crops=self.card.crops,
            generator=generator,
        )  # fmt: skip

    def enlarge(
        self, theta: Params, lr: Images, d: Degradation, *, x8: bool = False, back_projection: bool = False,
        law: ErrorLaw | None = None, tell: Callable[[float], None] = lambda done: None,
    ) -> Layers:  # fmt: skip
        """Enlarge by adapted weights, tile by tile.

        Args:
            theta: of `adapt`.
            lr: (1, 3, h, w) on the device.
            d: what it went through, there too.
            x8: take the mean over the eight positions of a square.
            back_projection: end in a data step.
            law: of the weights; with it, how far each pixel is likely to be off is told too.
            tell: is told the share that is done.

        Returns:
            (1, 3, s h, s w), not clamped; with a law (1, 4, s h, s w), whose last plane is the error in grey levels.
        """
        turns = symmetries(d, told=self.card.network.told) if x8 else SYMMETRIES[:1]
        turned = count()

        def larger(lr: Images, d: Degradation) -> Layers:
            position = next(turned)
            return enhance(
                self.network, theta, lr, d, tile=self.tile, error_law=law,
                progress=lambda done: tell((position + done) / len(turns)),
            )  # fmt: skip

        both = ensemble(larger, lr, d, over=turns) if x8 else larger(lr, d)
        if back_projection:
            both[:, :3] = consistent(both[:, :3], lr, d)
        return both

    @torch.inference_mode(False)
    def __call__(
        self,
        image: Input,
        *,
        scale: float | int | None = None,
        size: tuple[int | None, int | None] | None = None,
        fit: Fit = "stretch",
        kernel: KernelInput = "auto",
        subsample: Sampling | None = None,
        noise: float | int | Literal["auto"] = "auto",
        jpeg: Literal["auto", "off"] = "auto",
        enlarged: Literal["auto", "off"] = "auto",
        mode: str = "balanced",
        steps: int | None = None,
        x8: bool | None = None,
        uncertainty: bool | Literal["auto"] = False,
        back_projection: bool = True,
        seed: int = 0,
        max_pixels: int = files.MAX_PIXELS,
        largest: int | None = None,
        progress: Progress = lambda stage, done: None,
    ) -> Result:
        """Super-resolve one picture.

        Args:
            image: a file; an array (H, W) or (H, W, C), uint8, uint16 or float in [0, 1]; a PIL image; or a tensor
                (1, C, H, W) in [0, 1].
            scale: 1 to 8; 2 if size is not given either. What is no whole number is reached from the next one by
                antialiased bicubic.
            size: (height, width) instead of a scale; one of them may be None, and follows in proportion.
            fit: where both are given: `stretch` to them, or keep the proportions and take the largest size `inside`
                that box, or the smallest `outside` it.
            kernel: `auto` estimates it from the picture; else a tensor or an array, or what `kernel_files.parse` reads.
            subsample: `direct` (every s-th pixel, the paper's grid, on which a result lies (s - 1) / 2 pixels up and
                left of the picture), `centre` (the grid of photographs, to which a kernel is moved) or `bicubic`. Left
                out: bicubic for the kernel `bicubic`, direct for other kernels, and centre with `auto`.
            noise: standard deviation in [0, 1] units, or `auto`.
            jpeg: `auto`: a JPEG file is known by its tables, one that was saved as something else by its traces, and
                its artefacts are taken for what they are; `off`: they are taken for detail.
            enlarged: `auto`: a picture that was enlarged before is first brought back to the size whose detail it
                holds, unless its kernel or noise is given or it lies on the paper's grid; `off`: it is taken as it is.
            mode: what steps and x8 are where they are not given: `fast` 0 steps, `balanced` 1, `best` 10 and x8.
            steps: gradient steps of adaptation; 0 takes none.
            x8: enlarge in the eight positions of a square and take the mean; eight times the time, a little better.
            uncertainty: tell how far each pixel is likely to be off; `auto`: if the model knows. A little slower.
            back_projection: end in a data step with the paper's models, which have none; the flagship always does.
            seed: of the noise of the son.
            max_pixels: of a file; larger ones are refused before they are decoded.
            largest: side of a result, for instance of the format that it is for; larger ones are refused before work.
            progress: told a stage and the share of it that is done.

        Raises:
            InputError: anything that cannot be done, in one line.
        """
        check_kinds(
            scale=scale, size=size, steps=steps, noise=noise, fit=fit, jpeg=jpeg, enlarged=enlarged,
            subsample=subsample, uncertainty=uncertainty, back_projection=back_projection, x8=x8, seed=seed,
            max_pixels=max_pixels, largest=largest,
        )  # fmt: skip
        intake.check_kernel(kernel)
        asked = steps is not None
        steps, x8 = with_mode(mode, steps, x8)
        check_options(scale, size, steps, fit)
        seconds: dict[str, float] = {}
        with _timed(seconds, "read", progress):
            picture = intake.read(image, max_pixels)
        height, width = picture.pixels.shape[2:]
        factor, target = target_size(height, width, scale, size, fit)
        if largest is not None and max(target) > largest:
            raise InputError(
                f"the result would have {target[1]}x{target[0]} pixels; {largest} a side are the most that its format "
                "holds — make it smaller, or a .png or .tif"
            )
        said = subsample
        if not intake.named(kernel, "bicubic"):
            subsample = subsample or self.at(intake.whole_scale(factor)).card.subsample
        with _timed(seconds, "estimate", progress):
            taken = intake.take_in(
                picture, factor, kernel=kernel, subsample=subsample, noise=noise, jpeg=jpeg, enlarged=enlarged,
                device=self.device,
            )  # fmt: skip
        alone = steps > 0 and not has_son(taken.rgb, taken.degradation.scale) and (taken.back or not asked)
        steps = 0 if alone else steps  # nobody asked for a step, or for a picture that is so small
        expert = self.at(taken.degradation.scale, taken.degradation.jpeg)
        law = error_law(expert.card, uncertainty, estimated=taken.estimate is not None)

        d = taken.degradation
        with _timed(seconds, "adapt", progress):
            adapted = expert.adapt(taken.rgb, d, steps, seed)
        with _timed(seconds, "enhance", progress):
            both = expert.enlarge(
                adapted.theta, taken.rgb, d, x8=x8, law=law, tell=lambda done: progress("enhance", done),
                # the others end in one anyway
                back_projection=back_projection and expert.card.network.name == "paper",
            )  # fmt: skip
            both[:, :3].clamp_(0, 1)
            agreement = reprojection_psnr(both[:, :3], taken.rgb, d)
            error = None if law is None else resized(both[:, 3:], target).clamp_(min=0).cpu()
            hr = resized(both[:, :3], target).clamp_(0, 1).cpu()
            if is_grey(picture.pixels):
                grey = hr.mean(1, keepdim=True)
                hr = grey if picture.pixels.shape[1] == 1 else hr.copy_(grey)
            alpha = expert._enlarge_alpha(adapted.theta, taken, target)
        facts = expert._facts((height, width), target, factor, taken, steps, seed)
        if alone:
            facts["warnings"].append(NO_SON)
        if said is None and (subsample is None or taken.estimate is not None) and (where := _moved(d, factor)):
            what = "the kernel is taken to be on" if subsample is None else "the network knows nothing but"
            facts["warnings"].append(OFF_GRID.format(what, where))
        return Result(
            replace(taken.picture, pixels=hr, alpha=alpha), taken.picture.pixels, d.to("cpu"), taken.estimate,
            adapted.losses, adapted.kept, agreement, seconds,
            facts, image,
            None if error is None else error[0, 0].numpy(),
            None if error is None or law is None else expected_psnr(error, law),
        )  # fmt: skip

    def _enlarge_alpha(self, theta: Params, taken: Intake, target: tuple[int, int]) -> Images | None:
        """Return the alpha of the result: edges of a cut-out are blurred as what lies inside is, and come back so."""
        alpha, d = taken.picture.alpha, taken.degradation
        if alpha is None:
            return None
        if bool((alpha == alpha.flatten()[0]).all()):
            return enlarge(alpha, d.to("cpu"), target)
        grey, clean = alpha.expand(-1, 3, -1, -1).to(self.device), replace(d, noise=0.0, jpeg=None)
        sharp = enhance(self.network, theta, grey, clean, tile=self.tile).mean(1, keepdim=True)
        sharp = settled(sharp, alpha.to(sharp), d.scale, phase(d))
        return resized(sharp.clamp_(0, 1), target).clamp_(0, 1).cpu()

    def _facts(
        self, given: tuple[int, int], target: tuple[int, int], factor: float, taken: Intake, steps: int, seed: int
    ) -> dict[str, Any]:
        d, told = taken.degradation, taken.estimate
        warnings = []
        if taken.before > 1:
            done = "it was shrunk to that first (--enlarged off leaves it as it is)" if taken.back else ADVICE
            warnings.append(f"{detail_words(given, taken.before)}; {done}")
        if d.scale not in self.card.scales:
            seen = ", ".join(f"x{scale}" for scale in self.card.scales)
            warnings.append(f"the network was trained at {seen}, not at x{d.scale}")
        grid = d.subsample if d.subsample == "bicubic" or phase(d)[0] < 0.25 else "centre"
        if self.card.subsample is not None and (self.card.subsample == "direct") != (grid == "direct"):
            warnings.append(f"the network knows {self.card.subsample} subsampling only, this is {grid}")
        if not steps and not self.card.network.told and "zero_weight" in self.card.recipe:
            warnings.append("the network was meta-trained to find out the blur in steps, and took none")
        if told is not None and told.fallback:
            warnings.append(told.note)
        return {
            "model": self.card.name,
            "scale": float(factor),
            "input_size": list(given),
            "detail_size": list(detail(given, taken.before)),
            "output_size": list(target),
            "steps": int(steps),
            "seed": int(seed),
            "device": str(self.device),
            "precision": precision_name(self.network.precision),
            "peak_memory_mb": None if (peak := peak_mb(self.device)) is None else round(peak),
            "warnings": warnings,
        }


def upscale(
    image: Input, *, model: str | Path = "mzsr", device: str = "auto", tile: int | None = None,
    precision: str = "auto", **options: Any,
) -> Result:  # fmt: skip
    """Super-resolve one picture; see `Upscaler` and its call for the options.

    Examples:
        >>> import numpy as np
        >>> result = upscale(np.full((16, 16), 0.5), scale=2, steps=0)
        >>> result.image.shape
        (32, 32)
    """
    return Upscaler(model, device=device, tile=tile, precision=precision)(image, **options)


def _moved(d: Degradation, factor: float) -> str:
    """Return how far up and left of its picture a result lies, in its pixels and in words; nothing if hardly at all."""
    middle = (d.scale - 1) / 2
    up, left = ((middle - where) * factor / d.scale for where in phase(d))
    sides = [(abs(up), "up" if up > 0 else "down"), (abs(left), "left" if left > 0 else "right")]
    if not (seen := [(f"{far:.3g}", side) for far, side in sides if far * d.scale / factor > 0.25]):
        return ""
    (far, side), *rest = seen
    return " and ".join([f"{far} pixels {side}", *(side if by == far else f"{by} {side}" for by, side in rest)])


@contextmanager
def _timed(seconds: dict[str, float], stage: str, progress: Progress) -> Iterator[None]:
    progress(stage, 0.0)
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
    progress(stage, 1.0)
