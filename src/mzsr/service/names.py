"""Names of files as strangers give them, made safe to keep, to show and to send back."""

import re
import unicodedata
from urllib.parse import quote

LONGEST = 100  # characters


def safe(name: str) -> str:
    r"""Return the last part of a path of any system, without what could end a header, hide a suffix or a folder.

    >>> safe("C:\\photos\\..\\my photo.jpg"), safe("../../etc/passwd"), safe("a\r\nSet-Cookie: b.png"), safe("..")
    ('my photo.jpg', 'passwd', 'aSet-Cookie: b.png', 'picture')
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    # Categories C: control and format characters (which turn the direction of writing), halves of pairs, private use
    plain = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip().lstrip(".").strip()
    stem, dot, suffix = plain.rpartition(".")
    if dot and len(suffix) < 10:
        return f"{stem[: LONGEST - 10]}.{suffix}"
    return plain[:LONGEST] or "picture"


def attachment(name: str) -> str:
    r"""Return the header Content-Disposition that saves a file under a name.

    Source: RFC 6266, with RFC 5987 for what is not ASCII.

    >>> attachment('gr\u00fcn "x2".png')
    'attachment; filename="gr_n _x2_.png"; filename*=UTF-8\'\'gr%C3%BCn%20%22x2%22.png'
    """
    plain = re.sub(r"[^ !#$&+\-.0-9A-Z^_`a-z|~()]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
