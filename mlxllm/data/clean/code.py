"""The rules by which code was chosen for the models that write it.

Line lengths and the share of letters and digits are those of Codex (Chen et al. 2021, arXiv:2107.03374, section 3.1, which
leaves the last one open) in the numbers of The Stack (Kocetkov et al. 2022, arXiv:2211.15533) and its published program;
XML, HTML, JSON and YAML are StarCoder's (Li et al. 2023, arXiv:2305.06161, section 3); the words of generated files are
those of CodeParrot (Tunstall et al. 2022), and the one that Go's tools agree on.
"""

import re
from collections.abc import Iterator, Mapping

from pydantic import Field

from mlxllm.config import Section
from mlxllm.data.clean.gopher import Share
from mlxllm.data.clean.prepared import Finding, Prepared, above, below, share

_ALPHANUMERIC = bytes(range(ord("0"), ord("9") + 1)) + bytes(range(65, 91)) + bytes(range(97, 123))
_GENERATED = re.compile(
    r"auto-?generated|automatically generated|code generated .{0,100}do not edit|@generated\b", re.IGNORECASE
)
_GENERATED_LINES, _GENERATED_CHARS = 5, 1000
_XML, _XML_CHARS = "<?xml version=", 100
_NOT_SHOWN = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]*>")
_BLANKS = re.compile(r"\s+")
_DATA_LANGUAGES = {"json", "yaml"}


class Code(Section):
    """Code that somebody wrote, and no data."""

    max_mean_line_length: float = Field(100, gt=0)
    """Characters of a line in the mean, at most."""
    max_line_length: int = Field(1000, gt=0)
    """Characters of the longest line, at most."""
    min_alphanumeric: Share = 0.25
    """Share of characters that are letters or digits."""
    generated: bool = True
    """Files that say in their first five lines that a program wrote them are dropped."""
    xml: bool = True
    """Files that begin as XML does are dropped, but for XSLT."""
    min_visible_html: Share = 0.2
    """Share of the characters of an HTML file that a reader sees."""
    min_visible_html_chars: int = Field(100, ge=0)
    """How many characters of an HTML file a reader sees, at least."""
    min_data_chars: int = Field(50, ge=0)
    """Fewest characters of a JSON or YAML file."""
    max_data_chars: int = Field(5000, gt=0)
    """Most characters of a JSON or YAML file."""


def code(prepared: Prepared, settings: Code) -> Finding | None:
    """Keep, or the first of the rules that says no.

    Numbers that the data set tells of a file (`avg_line_length`, `max_line_length`, `alphanum_fraction` in its metadata)
    are taken as they are; the others are computed.
    """
    return next((finding for finding in _findings(prepared, settings) if finding), None)


def _findings(prepared: Prepared, settings: Code) -> Iterator[Finding | None]:
    rule, text, told = "code", prepared.text, prepared.metadata
    longest, mean = _told(told, "max_line_length"), _told(told, "avg_line_length")
    if longest is None or mean is None:
        lengths = [len(line) for line in text.splitlines()]
        longest = max(lengths, default=0) if longest is None else longest
        mean = share(sum(lengths), len(lengths)) if mean is None else mean
    yield above(rule, "line too long", longest, settings.max_line_length)
    yield above(rule, "lines too long in the mean", mean, settings.max_mean_line_length)
    fraction = _told(told, "alphanum_fraction")
    fraction = alphanumeric(text) if fraction is None else fraction
    yield below(rule, "too few letters and digits", fraction, settings.min_alphanumeric)
    if settings.generated and (match := _GENERATED.search(_beginning(text))):
        yield Finding("code: generated", match[0])
    language = told.get("language", "").lower()
    if settings.xml and _XML in text[:_XML_CHARS] and language != "xslt":
        yield Finding("code: XML", f"it begins {text[:30]!r}")
    if language == "html":
        seen = len(visible_text(text))
        yield below(rule, "little to see of the HTML", share(seen, len(text)), settings.min_visible_html)
        yield below(rule, "too little to see of the HTML", seen, settings.min_visible_html_chars)
    if language in _DATA_LANGUAGES:
        yield below(rule, "too small a data file", len(text), settings.min_data_chars)
        yield above(rule, "too large a data file", len(text), settings.max_data_chars)


def alphanumeric(text: str) -> float:
    """Share of characters that are letters or digits, of whatever script."""
    if text.isascii():
        data = text.encode()
        return share(len(data) - len(data.translate(None, _ALPHANUMERIC)), len(data))
    return share(sum(map(str.isalnum, text)), len(text))


def visible_text(html: str) -> str:
    """About what a reader sees of a page: without scripts, styles, comments and tags, each run of blanks as one."""
    return _BLANKS.sub(" ", _TAG.sub("", _NOT_SHOWN.sub("", html))).strip()


def _beginning(text: str) -> str:
    return "\n".join(text[:_GENERATED_CHARS].splitlines()[:_GENERATED_LINES])


def _told(metadata: Mapping[str, str], key: str) -> float | None:
    try:
        return float(metadata[key])
    except (KeyError, ValueError):
        return None
