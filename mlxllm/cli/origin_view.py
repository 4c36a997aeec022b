"""Where a text was taken from, shown: its copied spans marked, and for each the training document."""

import sys
from typing import TYPE_CHECKING, Any, TextIO

from mlxllm.cli.sampling import shown, use_colour
from mlxllm.cli.terminal import fold, tell
from mlxllm.data.origins.documents import Document
from mlxllm.visible import counted, in_a_line

if TYPE_CHECKING:
    from mlxllm.data.origins.tracing import Origins, Span, Trace

_COPIED, _NEAR, _RESET = "\x1b[1;4;33m", "\x1b[4;36m", "\x1b[0m"
_MARKS = {"copied": ("[", "]"), "near": ("~", "~")}
_TOLD = 3
"""Documents of a span that are told to a program."""
_AROUND = 60
"""Characters of the document that are shown on either side of a span."""


def trace_object(origins: "Origins", trace: "Trace", *, least: int) -> dict[str, Any]:
    """All that was found, for a program; places in the text are characters."""
    return {
        **trace.as_dict(),
        "least_words": least,
        "datasets": origins.names,
        "spans": [
            {
                "kind": span.kind,
                "start": span.start,
                "end": span.end,
                "words": span.words,
                "changed": span.changed,
                "text": trace.text[span.start : span.end],
                "count": span.count,
                "documents": [_document(origins, span, n) for n in range(min(_TOLD, len(span.places)))],
            }
            for span in trace.spans
        ],
    }


def _document(origins: "Origins", span: "Span", number: int) -> dict[str, Any]:
    document = origins.document(span, number)
    return {**document.as_dict(), "text": document.text[document.start : document.end]}


def print_marked(trace: "Trace") -> None:
    """The text on stdout, with its spans marked."""
    colour, text = use_colour(sys.stdout), ""
    for part, kind in trace.parts:
        seen = shown(part, sys.stdout)
        if kind is None:
            text += seen
        elif colour:
            begin = _COPIED if kind == "copied" else _NEAR
            text += "\n".join(f"{begin}{line}{_RESET}" if line else "" for line in seen.split("\n"))
        else:
            before, behind = _MARKS[kind]
            text += f"{before}{seen}{behind}"
    print(text)


def tell_spans(origins: "Origins", trace: "Trace", *, least: int, stream: TextIO) -> None:
    """Each span with its document, and the line of shares."""
    for number, span in enumerate(trace.spans, 1):
        document = origins.document(span)
        told = counted(span.words, "word")
        if span.kind == "near":
            told += f", nearly: {span.changed} of them changed" if span.changed else ", but for signs and case"
        elif span.count > 1:
            told += f", in {span.count:,} places"
        tell(fold(f"{number}. {told}; {place_of(document)}", stream), stream)
        tell(fold(f"   {quoted(document)}", stream), stream)
    within = ", ".join(origins.names)
    sentence = (
        f"{trace.sentence} ({counted(trace.words, 'word')}; spans of {least} words or more, looked for in {within})"
    )
    tell(fold(sentence, stream), stream)


def place_of(document: Document) -> str:
    """Where a document stands, in words."""
    of = f"document {document.number_in_source:,} of {document.documents_in_source:,}"
    source = document.source if document.source == document.spec else f"{document.source} ({document.spec})"
    return f"{of} of {in_a_line(source)} in {document.dataset}, character {document.character:,}"


def quoted(document: Document) -> str:
    """The span in its document, with what stands around it, on one line."""
    begin, end = max(0, document.start - _AROUND), min(len(document.text), document.end + _AROUND)
    before = f"{'...' if begin else ''} {document.text[begin : document.start]}"
    behind = f"{document.text[document.end : end]} {'...' if end < len(document.text) else ''}"
    marked = f"{before}[{document.text[document.start : document.end]}]{behind}"
    return in_a_line(marked, len(marked) + 1)
