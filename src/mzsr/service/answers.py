"""What the API says: the shapes of its JSON, which OpenAPI shows, and a job put into them."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from mzsr.service.store import Job, Store

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]


class Problem(BaseModel):
    """An error."""

    detail: str = Field(description="One plain sentence: what was received, what is required, what to do.")


class Input(BaseModel):
    """The picture as it came."""

    width: int = Field(description="Pixels, upright.")
    height: int
    bytes: int
    format: str


class Progress(BaseModel):
    """How far a job has come."""

    stage: Literal["read", "estimate", "adapt", "enhance", "write"] | None
    share: float = Field(ge=0, le=1, description="Of all the work.")


class Links(BaseModel):
    """Where everything lies; null for what is not there, or not yet."""

    self: str
    events: str
    cancel: str | None
    input: str
    result: str | None
    report: str | None
    thumbnail: str | None
    view: str | None
    bicubic: str | None
    kernel: str | None
    uncertainty: str | None


class JobAnswer(BaseModel):
    """A job."""

    id: str
    state: State
    position: int | None = Field(description="How many jobs will be begun before this one; null once it has begun.")
    created: datetime
    started: datetime | None
    finished: datetime | None
    expires: datetime | None = Field(description="When its pictures will be removed.")
    name: str
    input: Input
    options: dict[str, Any] = Field(description="As understood, in the words of the command line.")
    progress: Progress
    error: str | None
    record: dict[str, Any] | None = Field(description="What `mzsr upscale --json` prints.")
    words: list[str] = Field(description="The same in plain sentences.")
    links: Links


class Limits(BaseModel):
    """How much may be sent and asked for."""

    bytes: int
    pixels: int = Field(description="Of a picture that is sent.")
    least_side: int = Field(description="Pixels that each side of a picture must have at least.")
    result_pixels: int
    queue: int
    seconds: float


class Mode(BaseModel):
    """What a mode stands for."""

    steps: int
    x8: bool


class Scale(BaseModel):
    """Which scales there are."""

    min: float
    max: float
    default: float


class ModelAnswer(BaseModel):
    """A model that may be asked for."""

    name: str
    summary: str
    uncertainty: bool = Field(description="Whether it tells how far each pixel is likely to be off.")
    subsample: str | None = Field(description="The only subsampling, and with it grid, that it knows; null: any.")


class OptionsAnswer(BaseModel):
    """What may be asked for."""

    version: str
    limits: Limits
    suffixes: list[str]
    formats: list[str]
    modes: dict[str, Mode]
    scale: Scale
    models: list[ModelAnswer]
    auth: bool = Field(description="Whether a token is required.")


class Example(BaseModel):
    """A picture to try."""

    name: str
    title: str
    words: str
    thumbnail: str


class Health(BaseModel):
    """That the server lives."""

    status: Literal["ok"]
    version: str
    queued: int
    running: int


class Session(BaseModel):
    """What the page sends to sign in."""

    token: str = Field(max_length=1024)


def answer(job: Job, store: Store) -> JobAnswer:
    """Put a job into the shape of the API."""
    here, folder = f"/api/jobs/{job.id}", store.folder(job.id)
    done, open_ = job.state == "done", job.state in ("queued", "running")

    def view(name: str) -> str | None:
        return f"{here}/views/{name}" if done and view_file(store, job.id, name).exists() else None

    links = Links(
        self=here,
        events=f"{here}/events",
        cancel=f"{here}/cancel" if open_ else None,
        input=f"{here}/input",
        result=f"{here}/result" if done else None,
        report=f"{here}/report" if done else None,
        thumbnail=f"{here}/views/thumbnail.jpg" if (folder / "thumbnail.jpg").exists() else None,
        view=view("result.png"),
        bicubic=view("bicubic.png"),
        kernel=view("kernel.png"),
        uncertainty=view("uncertainty.png"),
    )
    progress = {"stage": job.stage if job.state == "running" else None, "share": job.share}
    more = {"position": store.position(job.id), "progress": progress, "links": links}
    return JobAnswer.model_validate(asdict(job) | more)


VIEWS = {
    "thumbnail.jpg": "thumbnail.jpg",
    "result.png": "out/view.png",
    "bicubic.png": "out/bicubic.png",
    "kernel.png": "out/kernel.png",
    "uncertainty.png": "out/uncertainty.png",
}
"""Name in the API → place in the folder of a job. No other name leads to a file."""


def view_file(store: Store, id: str, name: str) -> Path:
    """Return where a view lies."""
    return store.folder(id) / VIEWS[name]
