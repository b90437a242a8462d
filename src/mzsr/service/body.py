"""How much may come in, and how slowly: the body of a request, counted while it streams.

A refusal is answered at once, but the connection is closed only after a moment of listening on: most clients do not
hear an answer before they have sent everything, and a closed door would look like a broken line.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

FORM_BYTES = 1 << 20  # what a form may have beside its picture: a kernel and some words
SMALL = 1 << 16  # bytes of any other body
HEAD_START = 15.0  # seconds before the rate counts
SLOWEST = 16_384  # bytes a second from then on: a quarter of what the slowest mobile networks promise
LONGEST = 1800.0  # seconds for a whole upload
LISTEN_SECONDS, LISTEN_BYTES = 3.0, 64 << 20  # how long a refused upload is heard on


class Body:
    """The body of one request on its way in."""

    def __init__(self, scope: Scope, receive: Receive, most: int) -> None:
        """Take over `receive`; more than `most` bytes are refused."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        self.length = int(length) if length.isdigit() else 0
        self.most, self.received = most, 0
        self.complete = not (self.length or "transfer-encoding" in headers)
        self._polite = headers.get("expect", "").lower() == "100-continue"  # it sends nothing before it is told to
        self._receive, self._began = receive, asyncio.get_running_loop().time()

    def check_length(self) -> None:
        """Refuse what says beforehand that it is too large."""
        if self.length > self.most:
            raise self._too_large(f"{self.length:,}")

    async def receive(self) -> Message:
        """Receive a part.

        Raises:
            HTTPException: 413 for too much, 408 for too slowly.
        """
        if self.complete:
            return await self._receive()
        passed = asyncio.get_running_loop().time() - self._began
        left = min(LONGEST, HEAD_START + self.received / SLOWEST) - passed
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise HTTPException(
                408,
                f"only {self.received:,} bytes came in {passed:.0f} seconds; send them faster, or a smaller picture",
            ) from None
        self._count(message)
        if self.received > self.most:
            raise self._too_large(f"more than {self.most:,}")
        return message

    async def hear_on(self) -> None:
        """Listen for a moment to what is refused already."""
        if self._polite and not self.received:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LISTEN_SECONDS):
                while not self.complete and self.received < self.most + LISTEN_BYTES:
                    self._count(await self._receive())

    def _count(self, message: Message) -> None:
        self.received += len(message.get("body", b""))
        self.complete = message["type"] == "http.disconnect" or not message.get("more_body", False)

    def _too_large(self, found: str) -> HTTPException:
        return HTTPException(413, f"the request has {found} bytes; the limit here is {self.most:,} — send less")


class Gate:
    """How many uploads come in at a time, from everybody and from each address."""

    def __init__(self, most: int, most_each: int) -> None:
        """Begin with none."""
        self.most, self.most_each = most, most_each
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Let an upload begin, or do not."""
        if self._open.total() >= self.most or self._open[address] >= self.most_each:
            return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Let an upload end."""
        self._open[address] -= 1
        self._open += Counter()  # drops those that are nought


def heard_out(body: Body, send: Send) -> Send:
    """Return a `send` that hears a client out for a moment where the answer came before the end of its request."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and not body.complete:
            MutableHeaders(scope=message)["Connection"] = "close"  # the rest would be taken for another request
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not last or body.complete:
            await send(message)
            return
        more: dict[str, Any] = {**message, "more_body": True}
        await send(more)
        await body.hear_on()
        await send({"type": "http.response.body", "body": b""})

    return sent
