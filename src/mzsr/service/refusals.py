"""Every error as it is told: one plain sentence in JSON, and a row in OpenAPI."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mzsr.service.answers import Problem


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as every error is told: one plain sentence."""
    return JSONResponse({"detail": detail}, status, headers)


def describe(statuses: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route as OpenAPI wants them."""
    return {status: {"model": Problem, "description": words} for status, words in statuses.items()}


def no_room(why: object) -> HTTPException:
    """Return the refusal of a picture that cannot be kept, for want of room for instance."""
    return HTTPException(503, f"the server cannot keep the picture ({why}); try again later", {"Retry-After": "60"})


def told(_: Request, error: Exception) -> JSONResponse:
    """Answer what was refused on purpose."""
    assert isinstance(error, HTTPException)
    ours = {
        "Not Found": "there is nothing here; the API is described at /openapi.json",
        "Method Not Allowed": "no such method is known here",
    }
    return problem(error.status_code, ours.get(error.detail, error.detail), dict(error.headers or {}))


def invalid(_: Request, error: Exception) -> JSONResponse:
    """Say in one line what is wrong with a form."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(422, 'the body is no JSON; an object is required, like {"token": "…"}')
    where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    given = "" if isinstance(first.get("input"), dict | list | None) else f" is '{str(first['input'])[:100]}'"
    words = f"{where}{given}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return problem(422, words.encode("utf-8", "replace").decode())  # half a surrogate pair is no text
