"""A page as Markdown (GitHub's). What models and data wrote is text in it, never markup."""

import re
from collections.abc import Iterator, Mapping
from html import escape

from mlxllm.report.blocks import (
    Block,
    Commands,
    Fold,
    Page,
    Picture,
    Points,
    Quote,
    Section,
    Table,
    Text,
    number_columns,
)
from mlxllm.report.plain import one_line, plain

_MARKS = re.compile(r"([\\`*_\[\]<>&|~$])")
_BEGINS = re.compile(r"^(?:(\d+)(?=[.)](?:\s|$)))?((?<=\d)[.)]|^[-+#=])")


def markdown(page: Page, pictures: Mapping[str, str]) -> str:
    """The page.

    Args:
        page: what it holds.
        pictures: name of a picture -> its file, relative to the page; one that is not among them is only named.
    """
    lines = [f"# {escaped(page.title)}", "", escaped(page.lead), ""]
    if page.facts:
        lines += ["| | |", "|---|---|", *(f"| {escaped(name)} | {escaped(value)} |" for value, name in page.facts), ""]
    for block in page.blocks:
        lines += _lines(block, pictures, 2)
    lines += ["---", "", escaped(page.end)]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    """A text in one line that Markdown takes for nothing but text."""
    text = _MARKS.sub(r"\\\1", one_line(text))
    text = (
        text.replace("://", ":&#8203;//").replace("www.", "www&#46;").replace("@", "&#64;").replace("!\\[", "&#33;\\[")
    )
    # What begins a heading, a list or a rule.
    return _BEGINS.sub(lambda found: f"{found[1] or ''}&#{ord(found[2])};", text)


def fenced(text: str, language: str = "text") -> list[str]:
    """A text as it stands, behind a fence that is longer than any in it."""
    text = plain(text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.split("\n"), fence, ""]


def _lines(block: Block, pictures: Mapping[str, str], level: int) -> Iterator[str]:
    match block:
        case Text(text):
            yield from (escaped(text), "")
        case Points(items):
            yield from (f"- {escaped(item)}" for item in items)
            yield ""
        case Table(header, rows):
            right = number_columns(block)
            yield f"| {' | '.join(map(escaped, header))} |"
            yield f"|{'|'.join('---:' if each else '---' for each in right)}|"
            yield from (f"| {' | '.join(map(escaped, row))} |" for row in rows)
            yield ""
        case Commands(lines):
            yield from fenced("\n".join(lines), "sh")
        case Quote(label, prompt, text):
            yield from (f"**{escaped(label)}**", "")
            yield from fenced(prompt + text)
        case Picture(name, caption, _):
            if name in pictures:
                yield from (f"![{escaped(caption)}]({pictures[name]})", "")
            else:
                yield from (f"*{escaped(caption)}: the curve is drawn in report.html.*", "")
        case Fold(title, blocks):
            yield from ("<details>", f"<summary>{escape(one_line(title))}</summary>", "")
            for each in blocks:
                yield from _lines(each, pictures, level + 1)
            yield from ("</details>", "")
        case Section(title, blocks):
            yield from (f"{'#' * min(level, 6)} {escaped(title)}", "")
            for each in blocks:
                yield from _lines(each, pictures, level + 1)
