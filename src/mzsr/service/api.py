"""The HTTP API in front of a server, and the page's files. OpenAPI describes all of it at /openapi.json."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path as File
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Form, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from mzsr.apps import report
from mzsr.imaging.degrade import MAX_SCALE
from mzsr.imaging.files import READABLE, SUFFIXES
from mzsr.inference.intake import SMALLEST
from mzsr.inference.request import MODES
from mzsr.pages import policy
from mzsr.service import answers, names, options, refusals, sessions
from mzsr.service.answers import Example, Health, JobAnswer, Limits, Mode, ModelAnswer, OptionsAnswer, Scale
from mzsr.service.counters import CONTENT_TYPE
from mzsr.service.form import FormRoute, JobForm
from mzsr.service.guard import Guard
from mzsr.service.intake import WEB, example_words, take_in
from mzsr.service.pool import Pool
from mzsr.service.refusals import describe
from mzsr.service.server import Server
from mzsr.service.settings import STREAMS, Settings
from mzsr.service.store import FINAL, Job
from mzsr.version import __version__

BEAT = 0.25  # seconds between two looks at a job that somebody watches
COMMENT = 15.0  # seconds after which a silent stream says something, so that proxies keep it open
REPORT_POLICY = f"sandbox allow-scripts; {policy(report.template())}; frame-ancestors 'none'"
GONE = "there is no such job, or not any more; results are kept for a while only — send the picture again"
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{32}$", description="As POST /api/jobs gave it.")]
View = Literal["thumbnail.jpg", "result.png", "bicubic.png", "kernel.png", "uncertainty.png"]

_ASKED = {400: "Malformed, or for another host.", 401: "A token is required."}
_OF_A_JOB = _ASKED | {404: "No such job, or not any more.", 422: "No such id can exist."}
_CHANGING = {403: "From another site.", 408: "Too slow.", 413: "Too large."}


def create(settings: Settings, make_pool: Callable[..., Pool] = Pool) -> FastAPI:
    """Return the app of a server; its workers start when it does.

    Raises:
        InputError: a model that is not there.
    """
    server = Server(settings, make_pool)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(server.start)
        house = asyncio.create_task(server.keep_house())
        try:
            yield
        finally:
            house.cancel()
            await asyncio.to_thread(server.stop)

    app = FastAPI(
        title="mzsr", version=__version__, summary="Super-resolution that learns your picture.",
        lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.server = server
    app.include_router(_about(server))
    app.include_router(_jobs(server))
    app.include_router(_results(server))
    app.add_middleware(Guard, settings=settings, admit=server.admit, refused=server.refused)
    app.add_exception_handler(HTTPException, refusals.told)
    app.add_exception_handler(RequestValidationError, refusals.invalid)
    app.mount("/static", StaticFiles(directory=WEB), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(WEB / "index.html", media_type="text/html; charset=utf-8")

    return app


def _about(server: Server) -> APIRouter:
    """Return the routes that tell of the server itself."""
    routes = APIRouter()
    settings = server.settings

    @routes.get("/health", responses=describe({400: _ASKED[400]}))
    def health() -> Health:
        counts = server.store.counts()
        return Health(
            status="ok", version=__version__, queued=counts.get("queued", 0), running=counts.get("running", 0)
        )

    @routes.get("/metrics", responses=describe(_ASKED), response_class=PlainTextResponse)
    def metrics() -> Response:
        return Response(server.counters.text(), media_type=CONTENT_TYPE)

    @routes.get("/api/options", responses=describe({400: _ASKED[400]}))
    def what_may_be_asked_for() -> OptionsAnswer:
        return OptionsAnswer(
            version=__version__,
            limits=Limits(
                bytes=settings.max_bytes, pixels=settings.max_pixels, least_side=SMALLEST,
                result_pixels=settings.max_result_pixels, queue=settings.queue, seconds=settings.seconds,
            ),
            suffixes=[suffix for suffix in READABLE if suffix not in (".heic", ".heif") or find_spec("pillow_heif")],
            formats=sorted({options.SUFFIX_OF[kind] for kind in SUFFIXES.values()}),
            modes={name: Mode(steps=steps, x8=x8) for name, (steps, x8) in MODES.items()},
            scale=Scale(min=1, max=MAX_SCALE, default=2),
            models=[
                ModelAnswer(name=name, summary=card.summary, uncertainty=card.told_errors() is not None,
                            subsample=card.subsample)
                for name, (_, card) in server.models.items()
            ],
            auth=settings.token is not None,
        )  # fmt: skip

    @routes.get("/api/examples", responses=describe({400: _ASKED[400]}))
    def examples() -> list[Example]:
        return [Example(**words, thumbnail=f"/static/examples/{words['name']}") for words in example_words()]

    @routes.post("/api/session", status_code=204, responses=describe(_ASKED | _CHANGING | {422: "No token."}))
    def sign_in(session: answers.Session, request: Request, response: Response) -> None:
        if settings.token is None:
            return
        if not sessions.same(session.token, settings.token):
            raise HTTPException(401, "the token is another one; ask the operator", {"WWW-Authenticate": "Bearer"})
        response.set_cookie(
            sessions.COOKIE, sessions.cookie_value(settings.token, time.time()), max_age=sessions.SECONDS,
            httponly=True, samesite="strict", secure=request.url.scheme == "https",
        )  # fmt: skip

    return routes


def _jobs(server: Server) -> APIRouter:
    """Return the routes on which jobs begin, are watched, and end."""
    routes = APIRouter(prefix="/api/jobs", route_class=FormRoute)

    @routes.post(
        "", status_code=201,
        responses=describe(
            _ASKED | _CHANGING | {415: "No picture of a kind that can be read.", 422: "An option that cannot be.",
                                  429: "Too many wait; Retry-After tells when to try again.",
                                  503: "Stopping, or out of room."}
        ),
    )  # fmt: skip
    def ask(form: Annotated[JobForm, Form(media_type="multipart/form-data")], response: Response) -> JobAnswer:
        job = take_in(server, form)
        response.headers["Location"] = f"/api/jobs/{job.id}"
        return answers.answer(job, server.store)

    @routes.get("/{id}", responses=describe(_OF_A_JOB))
    def state(id: Id) -> JobAnswer:
        return answers.answer(_known(server, id), server.store)

    @routes.get(
        "/{id}/events",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "event: job, data: the job, at every change."},
            **describe(_OF_A_JOB | {503: "Too many are listening."}),
        },
    )
    def events(id: Id) -> StreamingResponse:
        _known(server, id)
        if server.streams >= STREAMS:
            raise HTTPException(
                503, "too many are listening; ask for the job itself now and then", {"Retry-After": "5"}
            )
        return StreamingResponse(
            _events(server, id), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    @routes.post("/{id}/cancel", responses=describe(_OF_A_JOB | _CHANGING | {409: "It has ended."}))
    def cancel(id: Id) -> JobAnswer:
        job = _known(server, id)
        if not server.pool.cancel(id):
            raise HTTPException(409, f"the job is {job.state} already; there is nothing to cancel")
        return answers.answer(_known(server, id), server.store)

    @routes.delete("/{id}", status_code=204, responses=describe(_OF_A_JOB | _CHANGING))
    def delete(id: Id) -> None:
        _known(server, id)
        server.pool.cancel(id)
        server.store.remove(id)

    return routes


def _results(server: Server) -> APIRouter:
    """Return the routes that give out files; each is one of a few names in the folder of a job."""
    routes = APIRouter(prefix="/api/jobs/{id}")
    saved = {"Content-Security-Policy": "sandbox; default-src 'none'"}

    def responses(media: str, more: dict[int, str] | None = None) -> dict[int | str, dict[str, Any]]:
        whole: dict[int | str, dict[str, Any]] = {200: {"content": {media: {}}, "description": "The file."}}
        return whole | describe(_OF_A_JOB | (more or {}))

    @routes.get("/input", response_class=FileResponse, responses=responses("application/octet-stream"))
    def original(id: Id) -> FileResponse:
        job = _known(server, id)
        return _file(server.store.folder(id) / "input", "application/octet-stream", job.name, saved)

    @routes.get("/result", response_class=FileResponse, responses=responses("application/octet-stream", _NOT_YET))
    def result(id: Id) -> FileResponse:
        job = _finished(server, id)
        name = str(job.result)
        path = server.store.folder(id) / "out" / f"result{File(name).suffix}"
        return _file(path, "application/octet-stream", name, saved)

    @routes.get("/report", response_class=FileResponse, responses=responses("text/html", _NOT_YET))
    def page(id: Id) -> FileResponse:
        _finished(server, id)
        path = server.store.folder(id) / "out" / "report.html"
        return _file(path, "text/html; charset=utf-8", None, {"Content-Security-Policy": REPORT_POLICY})

    @routes.get("/views/{view}", response_class=FileResponse, responses=responses("image/*"))
    def view(id: Id, view: View) -> FileResponse:
        _known(server, id)
        kind = "image/jpeg" if view.endswith(".jpg") else "image/png"
        return _file(answers.view_file(server.store, id, view), kind, None, saved)

    return routes


_NOT_YET = {409: "There is none yet, or there will be none."}


def _known(server: Server, id: str) -> Job:
    try:
        return server.store.get(id)
    except KeyError:
        raise HTTPException(404, GONE) from None


def _finished(server: Server, id: str) -> Job:
    job = _known(server, id)
    if job.state != "done":
        raise HTTPException(409, f"the job is {job.state}; there is a result only when it is done")
    return job


def _file(path: File, media: str, name: str | None, headers: dict[str, str]) -> FileResponse:
    if not path.is_file():
        raise HTTPException(404, "there is no such file, or not yet; the links of the job name those that exist")
    saved = {} if name is None else {"Content-Disposition": names.attachment(name)}
    return FileResponse(path, media_type=media, headers=headers | saved)


async def _events(server: Server, id: str) -> AsyncIterator[str]:
    """Yield a job whenever it changes, until it has ended or is gone."""
    told, silent = "", 0.0
    server.streams += 1
    try:
        while not server.closing:
            try:
                job = server.store.get(id)
            except KeyError:
                return
            if (now := answers.answer(job, server.store).model_dump_json()) != told:
                yield f"event: job\ndata: {now}\n\n"
                told, silent = now, 0.0
            elif silent > COMMENT:
                yield ": still here\n\n"
                silent = 0.0
            if job.state in FINAL:
                return
            await asyncio.sleep(BEAT)
            silent += BEAT
    finally:
        server.streams -= 1
