"""A web page to the text that a reader came for: its charset, and its main content without navigation."""

import codecs
import contextlib
import re
from dataclasses import dataclass
from typing import Any

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META_BYTES = 1024
"""A page states its charset in so many bytes (HTML Standard, "Specifying the document's character encoding")."""
_META = re.compile(rb"<meta\s[^>]*?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_LOOKED_AT_BYTES = 1 << 17
"""Of a page whose charset has to be guessed."""
_SEVEN_BIT = ("iso-2022", "hz", "utf-7", "utf-16", "utf-32")
"""Charsets whose text is valid UTF-8 as well, and means something else there."""
_MEANT = {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "ascii": "cp1252",
}
"""Larger charsets that browsers read under these names (Encoding Standard, section 4.2), as Python calls them."""
_MOST_BAD = 0.01
"""Share of characters that may be undecodable or controls before a page counts as something else than text."""
_CONTROLS = re.compile("[\0-\x08\x0e-\x1f\x7f\ufffd]")
_SKIPPED = [".mw-editsection", "sup.reference"]
"""In the main content of many pages and never part of its text: the edit links and note marks of wikis."""
_DEEP = 3
"""Lists in so many elements of the body are not taken for navigation."""
_MOST_DEPTH = 300
"""Elements inside of each other; browsers stop at 512, and no reader's page comes near. The rules take time by its square."""
_DEEPER = " > ".join("*" * _MOST_DEPTH)
_SENTENCE_CHARS = 40
"""Items of a list that are so long on average are no names of other pages."""
_MOST_LINKED = 0.5
"""Share of the text of such a list that may be links."""
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


class NoTextError(Exception):
    """Bytes that are no text in any charset they may be in, or no page; the message says what was found."""


@dataclass(frozen=True, slots=True)
class PageText:
    """What was made of a page."""

    text: str
    """Its main content; empty where nothing is taken for that."""
    title: str
    everything: str = ""
    """The beginning of all its text, where there is no main content."""


def page_text(html: str, shown: int) -> PageText:
    """The main content of a page by resiliparse's rules (Bevendorff et al., 2018), lists and tables as lines.

    Args:
        html: the page.
        shown: characters of all text to keep where there is no main content.

    Raises:
        NoTextError: it cannot be taken for a page.
    """
    # A parser in C, not needed for other sources.
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLParserException, HTMLTree

    try:
        tree = HTMLTree.parse(html)
    except HTMLParserException as error:
        raise NoTextError(f"it cannot be parsed ({error})") from None
    if tree.body is None:
        return PageText("", "")
    if tree.body.query_selector(_DEEPER) is not None:
        raise NoTextError(f"more than {_MOST_DEPTH} elements stand inside of each other")
    _keep_lists(tree)
    content = extract_plain_text(
        tree, preserve_formatting=True, main_content=True, alt_texts=False, skip_elements=list(_SKIPPED)
    )
    text, title = _tidy(content), " ".join((tree.title or "").split())
    if text:
        return PageText(text, title)
    return PageText("", title, extract_plain_text(tree, preserve_formatting=True, alt_texts=False).strip()[:shown])


def _keep_lists(tree: Any) -> None:
    """Keep lists of sentences from being taken for navigation, as those near the body and those with links would be.

    They are put deeper, and their links become plain text. What stands around them is judged as before, so that a list
    in a menu goes with the menu.
    """
    # Each step of iterating such a list makes the whole of it anew; a slice makes it once.
    for found in tree.body.query_selector_all("ul")[:]:
        size, links = len(found.text), found.query_selector_all("a")[:]
        linked = sum(len(link.text) for link in links)
        if size < _SENTENCE_CHARS * max(1, found.child_element_count) or linked > _MOST_LINKED * size:
            continue
        for link in links:
            plain = tree.create_element("span")
            for child in link.child_nodes[:]:
                plain.append_child(child)
            link.replace_with(plain)
        outer = inner = tree.create_element("div")
        for _ in range(_DEEP - 1):
            inner = inner.append_child(tree.create_element("div"))
        found.replace_with(outer)
        inner.append_child(found)


def decoded_page(body: bytes, content_type: str) -> str:
    """A page as text: by its byte-order mark, else what `content_type` and then the page state, else by its bytes.

    Servers state wrong charsets, so text that is valid UTF-8 is UTF-8 whatever is stated, and a stated charset in which
    much is undecodable is passed over.

    Raises:
        NoTextError: in none of them it is text.
    """
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return _checked(body[len(mark) :].decode(charset, "replace"), [charset])
    stated = _stated(body, content_type)
    if not any(charset.startswith(_SEVEN_BIT) for charset in stated):
        try:
            return _checked(body.decode(), ["utf-8"])
        except UnicodeDecodeError:
            pass
    best, tried = "\ufffd" * len(body), []
    for charset in _candidates(stated, body):
        text = body.decode(charset, "replace")
        tried.append(charset)
        if (bad := text.count("\ufffd")) <= len(text) // 1000:
            best = text
            break
        if bad < best.count("\ufffd"):
            best = text
    return _checked(best, tried)


def _candidates(stated: list[str], body: bytes) -> list[str]:
    """In the order in which they are tried."""
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    # What it guesses without a name among the browsers' is lost in their names.
    guessed = detect_encoding(body, max_len=_LOOKED_AT_BYTES, html5_compatible=False)
    names = [map_encoding_to_html5(charset, fallback_utf8=False) for charset in stated] + [guessed]
    found = []
    for name in filter(None, names):
        with contextlib.suppress(LookupError):
            known = codecs.lookup(name).name
            found.append(_MEANT.get(known, known))
    # A page that was cut off in a character, or has a few bad ones, is not valid UTF-8.
    return list(dict.fromkeys([*found, "utf-8"]))


def _stated(body: bytes, content_type: str) -> list[str]:
    head = body[:_META_BYTES]
    stated = [match[1].lower()] if (match := _HEADER.search(content_type)) else []
    for pattern in (_META, _XML):
        if found := pattern.search(head):
            stated.append(found[1].decode().lower())
    # A page in which these names can be read, or in which no byte is 0, is in another charset.
    return [name for name in stated if b"\0" in head or not name.startswith(("utf-16", "utf-32", "ucs-2"))]


def _checked(text: str, tried: list[str]) -> str:
    """Raises NoTextError if too much of a text is none."""
    bad = _CONTROLS.subn("", text)[1]
    if bad > _MOST_BAD * len(text):
        raise NoTextError(f"{bad:,} of {len(text):,} characters are none in {' or '.join(tried)}")
    return text


def _tidy(text: str) -> str:
    """Without blanks at the ends of lines, and with one empty line between paragraphs at most."""
    lines = [line.rstrip() for line in text.split("\n")]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")
