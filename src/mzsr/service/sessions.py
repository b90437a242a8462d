"""Who may ask: a token that programs send with every request, and a cookie that the page gets for it once."""

import hashlib
import hmac

COOKIE = "mzsr_session"
SECONDS = 7 * 24 * 3600  # that a cookie lasts


def same(given: str, token: str) -> bool:
    """Compare in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def cookie_value(token: str, now: int | float) -> str:
    """Return what proves that somebody knew the token; it says nothing of it, and needs no memory on the server."""
    ends = str(int(now) + SECONDS)
    return f"{ends}.{hmac.new(token.encode(), ends.encode(), hashlib.sha256).hexdigest()}"


def allowed(authorization: str, cookies: str, token: str, now: float) -> bool:
    """Tell whether a request may come in.

    Args:
        authorization: its header of this name, or nothing.
        cookies: its header `Cookie`, or nothing.
        token: the one that is required.
        now: seconds since 1970.

    >>> allowed("Bearer secret", "", "secret", 0.0), allowed("Bearer other", "", "secret", 0.0)
    (True, False)
    >>> kept = f"{COOKIE}={cookie_value('secret', 0.0)}"
    >>> allowed("", kept, "secret", 60.0), allowed("", kept, "secret", SECONDS + 60.0)
    (True, False)
    """
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer" and same(given.strip(), token):
        return True
    # By hand: cookies are shared by all programs on a host, and http.cookies gives up at the first that it dislikes
    pairs = (part.strip().partition("=") for part in cookies.split(";"))
    return any(_proves(value, token, now) for name, _, value in pairs if name == COOKIE)


def _proves(value: str, token: str, now: float) -> bool:
    ends = value.partition(".")[0]
    if not (ends.isascii() and ends.isdigit() and len(ends) <= 12 and int(ends) > now):
        return False
    return same(value, cookie_value(token, float(int(ends) - SECONDS)))
