"""How spans that stand in the training text glow: by colour, and by an underline for those who see no colours."""

from collections.abc import Iterator, Mapping
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from mlxllm.data.origins.tracing import Kind, Trace
from mlxllm.data.origins.units import Words
from tui.words import visible

STYLES: Mapping[Kind, str] = {"copied": "bold underline $accent", "near": "underline $secondary"}
"""What a span is -> its style, with colours of the theme."""


class Glowing:
    """A text as it is drawn, such as Markdown, with its spans in the colours of the theme.

    The words that are drawn are those of the text, as a rule, and tell where the spans stand; where they are not (a long
    word is parted, the address of a link is left out) the text is drawn as it was written.
    """

    def __init__(self, drawn: RenderableType, trace: Trace, colours: Mapping[str, str]) -> None:
        """Draw `drawn`, which shows the text of `trace`."""
        self._drawn, self._trace = drawn, trace
        self._styles = {kind: Style.parse(_style(kind, colours)) for kind in STYLES}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        segments = list(console.render(self._drawn, options))
        words = Words("".join(segment.text for segment in segments))
        if words.lower() != Words(visible(self._trace.text)).lower():
            yield self._as_written()
            return
        kinds = _kinds(words, self._trace)
        at = 0
        for segment in segments:
            here = kinds[at : at + len(segment.text)]
            at += len(segment.text)
            for kind, run in groupby(zip(segment.text, here, strict=True), key=lambda each: each[1]):
                part = "".join(char for char, _ in run)
                glow = self._styles[kind] if kind is not None else None
                yield Segment(part, (segment.style or Style()) + glow if glow else segment.style, segment.control)

    def _as_written(self) -> Text:
        text = Text()
        for part, kind in self._trace.parts:
            text.append(visible(part), style=self._styles[kind] if kind is not None else None)
        return text


def _style(kind: Kind, colours: Mapping[str, str]) -> str:
    how, _, colour = STYLES[kind].rpartition("$")
    return f"{how}{colours.get(colour, '')}".strip()


def _kinds(words: Words, trace: Trace) -> list[Kind | None]:
    """What each character is that is drawn; blanks at the end of a line, which fill it, are nothing."""
    kinds: list[Kind | None] = [None] * len(words.text)
    begins = {start: number for number, start in enumerate(Words(trace.text).starts)}
    for kind in ("near", "copied"):
        for span in trace.spans:
            if span.kind == kind:
                first = begins[span.start]
                start, end = words.starts[first], words.ends[first + span.words - 1]
                kinds[start:end] = [span.kind] * (end - start)
    at = 0
    for line in words.text.splitlines(keepends=True):
        blank = at + len(line.rstrip())
        kinds[blank : at + len(line)] = [None] * (at + len(line) - blank)
        margin = len(line) - len(line.lstrip())
        kinds[at : at + margin] = [None] * margin
        at += len(line)
    return kinds


def glow_line(trace: Trace) -> str:
    """The line of shares that stands below an answer."""
    return trace.sentence + ("   (o opens where it got that)" if trace.spans else "")
