"""The text of an XML element: safely parsed, its inline markup kept as characters, its spaces made regular.

Superscripts and subscripts become Unicode's where it has them (10⁻⁶, CO₂, VO₂max), else ^ and what stood there, or
plain letters (CD4^low, Vmax). MathML becomes a line of text (see `mathml`).
"""

import html.entities
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from mlxllm.data.sources.biomedical.mathml import math_text
from mlxllm.data.sources.biomedical.superscripts import lowered, raised

_ENTITY = re.compile(
    rb"<!\[CDATA\[.*?\]\]>|&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)([A-Za-z][A-Za-z0-9]{0,31};)?",
    re.DOTALL,
)
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_NO_TEXT = {"graphic", "inline-graphic", "private-char", "index-term", "target", "milestone-start", "milestone-end"}

Handler = Callable[[Any, str], str | None]
"""Given an element and its tag: its text, or None to have it made here."""


class BadXmlError(Exception):
    """A record is not well-formed XML."""


def parse_xml(xml: bytes) -> Any:
    """The root element of one record.

    Nothing outside it is read: no document type, no entity but those of XML itself, no network. Named characters of HTML
    and bare ampersands, which old files hold, are taken for what they mean.

    Raises:
        BadXmlError: it is not well-formed, or deeper than 256 levels.
    """
    from lxml import etree  # in the processes that make text, not in the one that reads

    if b"&" in xml:
        xml = _ENTITY.sub(_entity, xml)
    try:
        return etree.fromstring(xml, _parser())
    except etree.XMLSyntaxError as error:
        raise BadXmlError(str(error).removesuffix(" (<string>, line 1)")) from None


@cache
def _parser() -> Any:
    from lxml import etree

    return etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=False
    )


def _entity(match: re.Match[bytes]) -> bytes:
    if match[0].startswith(b"<"):
        return match[0]  # in a CDATA section, such as one of LaTeX, all characters stand for themselves
    named = html.entities.html5.get(match[1].decode()) if match[1] else None
    return html.escape(named).encode() if named else b"&amp;" + (match[1] or b"")


def local(element: Any) -> str:
    """The name of an element without its namespace."""
    tag: str = element.tag
    return tag.rpartition("}")[2] if tag[0] == "{" else tag


def clean(text: str) -> str:
    """Spaces and line breaks of all kinds as single spaces, none at the ends; characters that are not seen left out."""
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    return " ".join(text.split())


def inline_text(element: Any, handler: Handler | None = None) -> str:
    """All text inside an element in one line, its spaces as they are.

    Args:
        element: the element; its own tag and tail play no part.
        handler: asked first about each element inside.
    """
    if not len(element):
        return element.text or ""
    parts = [element.text or ""]
    for child in element:
        tag = local(child)
        text = handler(child, tag) if handler else None
        if text is None:
            text = _element_text(child, tag, parts, handler)
        parts.append(text)
        if child.tail:
            parts.append(child.tail)
    return "".join(parts)


def _element_text(element: Any, tag: str, before: list[str], handler: Handler | None) -> str:
    if tag in ("sup", "sub"):
        inner = inline_text(element, handler)
        # A space that slipped into the markup belongs behind it.
        text = clean(inner)
        script = raised(text) if tag == "sup" else lowered(text)
        return (" " if inner[:1].isspace() else "") + script + (" " if inner[-1:].isspace() else "")
    if tag == "math":
        return math_text(element)
    if tag == "break":
        return " "
    if tag in _NO_TEXT:
        return ""
    return inline_text(element, handler)
