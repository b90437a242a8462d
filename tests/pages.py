"""A page of HTML as tests look at it."""

import base64
import io
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
