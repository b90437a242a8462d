"""The form that asks for a job: the options of `mzsr upscale` as fields, and the picture itself."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import Request, Response, UploadFile
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from mzsr.imaging.degrade import MAX_SCALE, Sampling
from mzsr.inference.adapt import MAX_STEPS
from mzsr.inference.request import Fit
from mzsr.service import refusals
from mzsr.service.options import Format

MOST_FILES, MOST_FIELDS, MOST_LETTERS = 4, 40, 4096


class _FormRequest(Request):
    def form(self, **_: Any) -> Any:
        # Files are put on the disk as they come in, fields are kept in memory: a hundred megabytes, if nobody minds
        return super().form(max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=MOST_LETTERS)


class FormRoute(APIRoute):
    """A route whose form is a small one, but for its files."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def limited(request: Request) -> Response:
            try:
                return await answer(_FormRequest(request.scope, request.receive))
            except HTTPException as error:
                if isinstance(error.__cause__, OSError):  # while the files of the form were put on the disk
                    raise refusals.no_room(error.__cause__.strerror) from error
                raise

        return limited


class JobForm(BaseModel):
    """Fields of POST /api/jobs; all but the picture may be left out, or empty."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[UploadFile | None, Field(description="The picture.")] = None
    example: Annotated[str | None, Field(description="Instead of a picture: a name of GET /api/examples.")] = None
    scale: Annotated[float | None, Field(ge=1, le=MAX_SCALE, description="2 if no size is given either.")] = None
    width: Annotated[int | None, Field(ge=1, description="Pixels of the result, instead of a scale.")] = None
    height: Annotated[int | None, Field(ge=1, description="Likewise; one of them is enough.")] = None
    fit: Annotated[Fit, Field(description="Where both are given, and not in proportion.")] = "stretch"
    mode: Annotated[
        Literal["fast", "balanced", "best"], Field(description="What steps and x8 are where they are left out.")
    ] = "balanced"
    steps: Annotated[int | None, Field(ge=0, le=MAX_STEPS, description="Gradient steps of adaptation.")] = None
    x8: Annotated[bool | None, Field(description="Mean of eight positions: 8 times the time.")] = None
    kernel: Annotated[str, Field(description="auto, bicubic, gauss:VAR or gauss:VAR,VAR,ANGLE.")] = "auto"
    kernel_file: Annotated[UploadFile | None, Field(description="A .mat or .npy file instead.")] = None
    subsample: Annotated[
        Sampling | None,
        Field(description="Left out: bicubic for that kernel, direct for others, centre, as in photographs, for auto."),
    ] = None
    noise: Annotated[str, Field(description="auto, or a standard deviation like 5/255 or 0.02.")] = "auto"
    jpeg: Annotated[Literal["auto", "off"], Field(description="off: take what JPEG did for detail.")] = "auto"
    enlarged: Annotated[
        Literal["auto", "off"], Field(description="off: do not go back to the detail of a picture enlarged before.")
    ] = "auto"
    back_projection: Annotated[
        bool, Field(description="false: the paper's models without the data step at their end.")
    ] = True
    model: Annotated[str | None, Field(description="A name of GET /api/options.")] = None
    format: Annotated[Format | None, Field(description="Of the result; left out: as the picture.")] = None
    quality: Annotated[int, Field(ge=1, le=100, description="Of JPEG, WebP and AVIF.")] = 95
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, description="Of the noise that a son gets.")] = 0
