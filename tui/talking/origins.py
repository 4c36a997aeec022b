"""Where a model got what it said: its answers looked for in the index of what it was trained on. All of this reads files."""

from pathlib import Path

from mlxllm.data.origins.documents import Document
from mlxllm.data.origins.files import find_index, has_index
from mlxllm.data.origins.tracing import Origins, Span, Trace
from mlxllm.data.origins.whose import changed_since, datasets_of
from mlxllm.visible import counted

_BEFORE, _BEHIND = 500, 4000
"""Characters of a document that are shown around a span."""


class Tracer:
    """Looks for answers; keeps the indexes of the last model open."""

    def __init__(self) -> None:
        """Nothing is open."""
        self._folders: tuple[Path, ...] = ()
        self._origins: Origins | None = None

    def trace(self, model: str, text: str) -> Trace:
        """What is found about a text.

        Raises:
            UserError: what the model was trained on is not known or gone, or has no index.
        """
        return self._open(model).trace(text)

    def document(self, model: str, span: Span, number: int) -> Document:
        """The training document of place `number` of a span.

        Raises:
            UserError: as for `trace`, or the document cannot be read.
        """
        return self._open(model).document(span, number)

    def _open(self, model: str) -> Origins:
        datasets = datasets_of(model)
        folders = tuple(find_index(dataset)[0] for dataset in datasets)
        if self._origins is None or folders != self._folders:
            self._origins, self._folders = Origins(datasets), folders
        return self._origins


def without_index(model: str) -> list[Path]:
    """The datasets of a model whose index is missing or stale.

    Raises:
        UserError: what it was trained on is not known, or gone.
    """
    return [dataset for dataset in datasets_of(model) if not has_index(dataset)]


def warning(model: str) -> str:
    """What is to be said about the datasets of a model; usually nothing."""
    return changed_since(model)


def about_span(span: Span) -> str:
    """What a span is, in words."""
    words = counted(span.words, "word")
    if span.kind == "copied":
        return f"{words}, word for word" + (f", in {span.count:,} places" if span.count > 1 else "")
    changed = f"{span.changed} of them changed" if span.changed else "but for signs and case"
    return f"{words}, nearly: {changed}"


def about_document(document: Document) -> str:
    """Which document it is, in words."""
    source = document.source if document.spec in ("", document.source) else f"{document.source} ({document.spec})"
    place = f"document {document.number_in_source:,} of {document.documents_in_source:,} of {source}"
    return f"{document.dataset}: {place}, from character {document.character:,}"


def excerpt(document: Document) -> tuple[str, str, str]:
    """The text before a span, the span as it stands in the document, and the text behind it; cut where they are long."""
    begin = max(0, document.start - _BEFORE)
    before = document.text[begin : document.start]
    behind = document.text[document.end : document.end + _BEHIND]
    cut_before = begin > 0 or (not document.whole and document.character > document.start)
    cut_behind = document.end + _BEHIND < len(document.text) or not document.whole
    return (
        ("... " if cut_before else "") + before,
        document.text[document.start : document.end],
        behind + (" ..." if cut_behind else ""),
    )
