"""A page of HTML as tests look at it."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """A page as a list of (tag, attributes) and of (tag, text); fails on tags that do not match."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"{tag} repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        """All that people read."""
        return "".join(text for tag, text in self.texts if tag not in ("", "script", "style"))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def within(self, *tags: str) -> list[str]:
        """The texts that stand directly in elements of some kinds."""
        return [text for tag, text in self.texts if tag in tags]

    def picture(self, name: str) -> np.ndarray:
        """The pixels of an embedded picture, by its id."""
        source = next(image["src"] for image in self.all("img") if image["id"] == name)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(str(source).partition(",")[2]))))


def stands_alone(text: str) -> None:
    """Assert that a page asks for nothing beyond itself, and that its policy names its very style and script."""
    page = Page(text)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name != "style", f"{tag}: the policy forbids inline styles"
            assert not name.startswith("on"), f"{tag}: the policy forbids inline handlers"
            if name in ("href", "src", "srcset", "action", "xlink:href"):
                assert str(value).startswith(("data:", "#"))
            assert "url(" not in str(value) or str(value).startswith("url(#")
    identities = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert set(re.findall(r"""(?:href="|url\()#([^")]+)""", text)) <= set(identities)
    hashed = []
    for tag in ("style", "script"):
        if page.all(tag):
            digest = hashlib.sha256("".join(page.within(tag)).encode()).digest()
            hashed.append(f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'")
    policy = next(str(meta["content"]) for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.split("; ")[: 2 + len(hashed)] == ["default-src 'none'", "img-src data:", *hashed]
