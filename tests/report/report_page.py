"""A page as a reader's program sees it: elements, texts, tables; by the standard library alone."""

import base64
import io
import json
from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """Elements as (tag, attributes, text) in document order, and tables by their caption.

    Raises:
        AssertionError: a closing tag that does not fit.
    """

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text = text
        self.elements, self.open, self.tables = [], [], {}
        self.rows = self.row = self.caption = None
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)
        if tag == "table":
            self.rows, self.caption = [], None
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        element = self.open.pop()
        assert element[0] == tag, f"<{element[0]}> closed by </{tag}>"
        if tag == "caption":
            self.caption = element[2].strip()
        if tag in ("td", "th"):
            self.rows[-1].append(" ".join(element[2].split()))
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def find(self, tag, **attributes):
        attributes = {name.rstrip("_").replace("_", "-"): v for name, v in attributes.items()}
        return [
            element
            for element in self.elements
            if element[0] == tag
            and all(element[1].get(name) == value for name, value in attributes.items())
        ]

    @property
    def data(self):
        return json.loads(self.find("script", id="data")[0][2])

    def uris(self):
        """Every data URI, of pictures in sight and of those that the script shows."""
        found = [attrs["src"] for _, attrs, _ in self.find("img")]
        for images in self.data["pictures"]:
            found += [uri for image in images for uri in image.values()]
        return found


def decode(uri):
    from PIL import Image

    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(body, validate=True)))
    image.load()
    return image
