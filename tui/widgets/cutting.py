"""Where a text that still grows may be cut, so that only its end is laid out anew for each word that comes."""

import re

from rich.cells import cell_len

MOST_LIVE = 1200
"""Characters that grow as one piece: about a dozen lines."""
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")


def cut(text: str, width: int, *, markdown: bool) -> tuple[str, str]:
    """What is settled ("" where nothing is), and what goes on growing.

    Both together are the text, except that a block of code which is cut is closed in the first and opened again in the
    second. A long paragraph is cut where one of its lines ends on the screen.

    Args:
        text: what has come so far.
        width: columns that it is shown in.
        markdown: whether blocks count; a table stays whole.
    """
    if len(text) <= MOST_LIVE:
        return "", text
    begin, fence = _last_block(text) if markdown else (0, "")
    if len(text) - begin <= MOST_LIVE or text.startswith("|", begin):
        return text[:begin], text[begin:]
    if not fence:
        at = begin + (_last_line(text[begin:]) or _last_shown_line(text[begin:], width))
        return text[:at], text[at:]
    at = begin + _last_line(text[begin:])
    if at <= begin + len(fence) + 1:  # nothing stands between its opening and its last line
        return text[:begin], text[begin:]
    return f"{text[:at]}{_mark(fence)}\n", f"{fence}\n{text[at:]}"


def _last_block(text: str) -> tuple[int, str]:
    """Where the last block begins, and the line that opens it where it is code."""
    begin = place = 0
    fence = ""
    for line in text.split("\n")[:-1]:  # what is behind the last line end is still written
        bare = line.rstrip()
        if fence:
            if bare.strip() and set(bare.strip()) == {_mark(fence)[0]} and len(bare.strip()) >= len(_mark(fence)):
                begin, fence = place + len(line) + 1, ""
        elif _mark(bare):
            begin, fence = place, bare
        elif not bare:
            begin = place + len(line) + 1
        place += len(line) + 1
    return min(begin, len(text)), fence


def _mark(line: str) -> str:
    """The signs that open a block of code, where a line does."""
    found = _FENCE.match(line)
    return found[1] if found is not None else ""


def _last_line(text: str) -> int:
    """Where the last line begins that something stands in; 0 where it is the only one."""
    return text.rstrip().rfind("\n") + 1


def _last_shown_line(text: str, width: int) -> int:
    """Where the last line begins as a terminal of this width breaks them at blanks, and within what is wider than it."""
    begin = used = place = 0
    for word in re.findall(r"\s*\S+\s*|\s+", text):
        wide = cell_len(word.rstrip())
        if used and used + wide > width:
            begin, used = place, 0
        if wide > width:
            for offset, sign in enumerate(word):
                used += cell_len(sign)
                if used > width:
                    begin, used = place + offset, cell_len(sign)
        else:
            used += cell_len(word)
        place += len(word)
    return begin
