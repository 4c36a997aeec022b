"""How spans that stand in the training text glow: by colour, and by an underline for those who see no colours."""

from collections.abc import Mapping

from rich.text import Text

from mlxllm.data.origins.tracing import Kind, Trace
from tui.words import visible

STYLES: Mapping[Kind, str] = {"copied": "bold underline $accent", "near": "underline $secondary"}
"""What a span is -> its style, with colours of the theme."""


def glowing(trace: Trace, colours: Mapping[str, str]) -> Text:
    """A text with its spans, in the colours of the theme."""
    text = Text()
    for part, kind in trace.parts:
        style = STYLES[kind].rsplit("$", 1) if kind is not None else ("", "")
        text.append(visible(part), style=f"{style[0]}{colours.get(style[1], '')}".strip())
    return text


def glow_line(trace: Trace) -> str:
    """The line of shares that stands below an answer."""
    return f"{trace.sentence}" + ("   (o opens where it got that)" if trace.spans else "")
