"""At the door: who asks, from where, and how much they bring, before anything is read. And what every answer carries.

Plain ASGI, so that bodies stream through it.
"""

import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mzsr.service import body, sessions
from mzsr.service.refusals import problem
from mzsr.service.settings import UPLOADS, UPLOADS_EACH, Settings

OPEN = ("/api/options", "/api/examples", "/api/session")
"""What the page needs before it has a session; all else below /api, and /metrics, is behind the token."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_SAFE = ("GET", "HEAD", "OPTIONS")
log = logging.getLogger("mzsr.service")


class Guard:
    """Lets requests through to an app, or answers them itself."""

    def __init__(
        self, app: ASGIApp, settings: Settings, admit: Callable[[], None], refused: Callable[[int], None]
    ) -> None:
        """Stand before an app.

        Args:
            app: what is behind the door.
            settings: who may ask, and how much they may bring.
            admit: raises HTTPException when no job can be taken, before its picture is received.
            refused: told the status of every refusal.
        """
        self.app, self.settings, self.admit, self.refused = app, settings, admit, refused
        self.gate = body.Gate(UPLOADS, UPLOADS_EACH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD" and not scope["path"].endswith("/events"):  # whose end may be minutes away
            scope = {**scope, "method": "GET"}  # the server below sends no body
        upload = scope["method"] == "POST" and scope["path"] == "/api/jobs"
        most = self.settings.max_bytes + body.FORM_BYTES if upload else body.SMALL
        incoming = body.Body(scope, receive, most)
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await told(message)

        told = body.heard_out(incoming, self._with_headers(send, scope))
        address = (scope.get("client") or ("", 0))[0]
        entered = False
        try:
            self._check(scope, Headers(scope=scope))
            incoming.check_length()
            if upload:
                if not Headers(scope=scope).get("content-type", "").lower().startswith("multipart/form-data"):
                    raise HTTPException(
                        415, "the body is no form; multipart/form-data with a picture as 'file' is required"
                    )
                self.admit()
                if not (entered := self.gate.enter(address)):
                    raise HTTPException(
                        429, "too many pictures are being received at this moment; try again in a few seconds",
                        {"Retry-After": "2"},
                    )  # fmt: skip
        except HTTPException as error:
            await problem(error.status_code, error.detail, dict(error.headers or {}))(scope, receive, told)
            return
        try:
            await self.app(scope, incoming.receive, answer)
        except Exception:  # what nobody has thought of; half an answer is cut short
            if begun:
                raise
            log.exception("a request failed")
            words = "a fault of the server; please report it with the time at which it happened"
            await problem(500, words)(scope, receive, told)
        finally:
            if entered:
                self.gate.leave(address)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise HTTPException for those who may not come in."""
        host = headers.get("host", "")
        if self.settings.hosts is not None and hostname(host) not in self.settings.hosts:
            raise HTTPException(
                400, f"the host is '{host[:100]}'; this server answers to {', '.join(sorted(self.settings.hosts))} — "
                "use one of them, or start it with --allow-host",
            )  # fmt: skip
        if scope["method"] not in _SAFE and cross_site(headers):
            raise HTTPException(403, "the request comes from another site; open the page of this server, and ask there")
        token, path = self.settings.token, scope["path"]
        private = (path.startswith("/api/") and path not in OPEN) or path == "/metrics"
        if token is not None and private:
            words = headers.get("authorization", ""), headers.get("cookie", "")
            if not sessions.allowed(*words, token, time.time()):
                raise HTTPException(
                    401, "a token is required; send it as 'Authorization: Bearer TOKEN', or sign in on the page",
                    {"WWW-Authenticate": "Bearer"},
                )  # fmt: skip

    def _with_headers(self, send: Send, scope: Scope) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api/") else "no-cache")
                if message["status"] >= 400:
                    self.refused(message["status"])
            await send(message)

        return sent


def hostname(host: str) -> str:
    """Return the name in a header Host or the authority of a URL, without its port.

    >>> hostname("localhost:7860"), hostname("[::1]:7860"), hostname("evil@localhost")
    ('localhost', '::1', '')
    """
    if "@" in host:
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def cross_site(headers: Headers) -> bool:
    """Tell whether a browser sends this for a page of another origin; programs other than browsers say nothing."""
    if (fetch := headers.get("sec-fetch-site")) is not None:
        return fetch not in ("same-origin", "none")  # another port of the same machine is another origin too
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")  # "null" is nobody's
