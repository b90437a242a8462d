"""What may be asked of `upscale`, whatever the picture: modes, steps, and a scale or a size."""

from numbers import Integral, Real
from typing import Literal, get_args

from mzsr.errors import InputError, one_of
from mzsr.imaging.degrade import MAX_SCALE, Sampling
from mzsr.inference.adapt import check_steps

Fit = Literal["stretch", "inside", "outside"]
WORDS: dict[str, tuple[object, ...]] = {
    "fit": get_args(Fit), "jpeg": ("auto", "off"), "enlarged": ("auto", "off"),
    "x8": (None, False, True),
    "subsample": (None, *get_args(Sampling)), "uncertainty": (False, True, "auto"), "back_projection": (True, False),
}  # fmt: skip
"""What options may be that are words."""
NUMBERS: dict[str, tuple[type, str, object]] = {
    "scale": (Real, "a number", None),
    "steps": (Integral, "a whole number", None),
    "seed": (Integral, "a whole number", 0),
    "noise": (Real, "'auto' or a standard deviation in [0, 1]", "auto"),
    "max_pixels": (Real, "a number", 0),
    "largest": (Integral, "a whole number", None),
}
"""What type the others are, in words, and what else they may be."""
MODES: dict[str, tuple[int, bool]] = {"fast": (0, False), "balanced": (1, False), "best": (10, True)}  # steps, x8
LONGEST = 2**31 - 1  # pixels along a side


def with_mode(mode: str, steps: int | None, x8: bool | None) -> tuple[int, bool]:
    """Return steps and x8, where they are not given those of the mode; InputError if there is none of that name.

    >>> with_mode("best", None, None), with_mode("best", 0, None)
    ((10, True), (0, True))
    """
    usual = MODES[one_of("mode", mode, MODES)]
    return usual[0] if steps is None else steps, usual[1] if x8 is None else x8


def check_kinds(**options: object) -> None:
    """Raise InputError for an option of another type, or none of its words: a slip would mean something else.

    >>> check_kinds(fit="stretch", noise=0.1)
    """
    for name, value in options.items():
        if name == "size":
            kinds = [type(side) for side in value] if isinstance(value, tuple | list) else []
            if value is not None and (len(kinds) != 2 or not all(issubclass(kind, Integral | None) for kind in kinds)):
                raise InputError(f"size is {value!r}; (height, width) in whole pixels is required, one may be None")
        elif name in NUMBERS:
            kind, words, other = NUMBERS[name]
            number = isinstance(value, kind) and not isinstance(value, bool)
            if not number and not (type(value) is type(other) and value == other):
                raise InputError(f"{name} is {value!r}; {words} is required")
        elif not any(value is word or (isinstance(word, str) and value == word) for word in WORDS[name]):
            known = ", ".join(map(repr, WORDS[name]))
            raise InputError(f"{name} is {value!r}; it must be one of {known}")


def check_options(
    scale: float | int | None, size: tuple[int | None, int | None] | None, steps: int | None, fit: Fit = "stretch"
) -> None:
    """Raise InputError for what is wrong whatever the picture, so that it can be said once and before any work."""
    if fit != "stretch" and (size is None or None in size):
        raise InputError(f"fit is '{fit}', which is of a box; give both its width and its height")
    if size is not None:
        sides = zip(("height", "width"), size, strict=True)
        given = " and ".join(f"{name} {side}" for name, side in sides if side is not None) or "neither height nor width"
        if scale is not None:
            raise InputError(f"both a scale, {scale:g}, and a size, {given}, are given; give one of them")
        if min((side for side in size if side is not None), default=0) < 1:
            raise InputError(f"the size is {given}; both count pixels, and at least one must be given")
        if max(side for side in size if side is not None) > LONGEST:
            raise InputError(f"the size is {given}; no side of a picture is longer than {LONGEST} pixels")
    if scale is not None and not 1 <= scale <= MAX_SCALE:  # NaN fails too
        raise InputError(f"scale is {scale:g}; it must lie between 1 and {MAX_SCALE} — 2 is a good choice")
    if steps is not None:
        check_steps(steps)


def target_size(
    height: int, width: int, scale: float | int | None, size: tuple[int | None, int | None] | None, fit: Fit
) -> tuple[float, tuple[int, int]]:  # fmt: skip
    """Return the scale and the size (height, width) of the output from whichever was given.

    Raises:
        InputError: a size with a side that is less than the picture's, or too many times as large.

    >>> target_size(20, 30, None, (40, None), "stretch"), target_size(333, 500, None, (667, 1000), "stretch")
    ((2.0, (40, 60)), (2.0, (667, 1000)))
    """
    sides = height, width
    if size is None:
        factor = float(2 if scale is None else scale)
        return factor, (round(height * factor), round(width * factor))
    factors = [asked / side for asked, side in zip(size, sides, strict=True) if asked is not None]
    factor = min(factors) if fit == "inside" else max(factors)
    least = min(factors) if fit == "stretch" else factor
    if fit != "stretch":
        size = max(round(height * factor), 1), max(round(width * factor), 1)
    pairs = list(zip(size, sides, strict=True))
    rows, columns = (round(side * factor) if asked is None else int(asked) for asked, side in pairs)
    whole = round(factor)
    if factor > whole and all(
        abs(made - whole * side) <= whole / 2 for made, side in zip((rows, columns), sides, strict=True)
    ):
        factor = float(whole)  # half a pixel, which is left as sides are whole numbers, is no reason for another scale
    if least < 1 or factor > MAX_SCALE:
        times, where = (least, " on one side") if least < 1 <= factor else (factor, "")
        raise InputError(
            f"{columns}x{rows} is {times:.3g} times the {width}x{height} of the picture{where}; "
            f"1 to {MAX_SCALE} times is required — ask for another size"
        )
    return factor, (rows, columns)
