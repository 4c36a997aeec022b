"""Looking at a source, a dataset or a file of records for the tabs of the data screen: called in a thread."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any

from mlxllm import paths
from mlxllm.data import statistics
from mlxllm.data.clean.cleaner import Cleaner
from mlxllm.data.clean.recipes import recipe
from mlxllm.data.preview import (
    Shown,
    SourcePreview,
    StreamRow,
    preview_source,
    preview_tokenizer,
    spread,
    stream_rows,
    tokenize_preview,
)
from mlxllm.data.shards import TokenDataset, TokenSplit
from mlxllm.data.sources import Source, open_source, recipe_of
from mlxllm.errors import UserError
from mlxllm.tokenizer import Tokenizer
from tui.data.entries import Entry, KnownTokenizer
from tui.data.look_records import ROWS, SHOWN_TOKENS, look_at_records
from tui.data.seen import Seen, Stretch, reasons_of
from tui.words import count, file_size

_PREVIEW_BYTES = 1 << 19
_GLANCE_BYTES, _GLANCE_SECONDS = 1 << 14, 0.2
_SHOWN_DOCUMENTS = 12
_SHOWN_CHARS = 3000
_COUNTED_TOKENS = 4 << 20
_STREAM_ROW, _SHORTEST_ROW = 256, 16
_SHOWN_NAMES = 8
_KEPT = 6
"""Previews that are kept, so that going back to one is instant."""


class Looker:
    """Looks at entries; keeps the last previews."""

    def __init__(self) -> None:
        """Nothing has been looked at."""
        self._kept: OrderedDict[str, SourcePreview] = OrderedDict()
        self._reading: dict[str, Lock] = {}
        self._lock = Lock()

    def look(self, entry: Entry, tokenizer: KnownTokenizer, cancelled: Callable[[], bool] = lambda: False) -> Seen:
        """What there is to see of `entry`.

        Args:
            entry: of the tree.
            tokenizer: whose tokens; a dataset has its own.
            cancelled: nobody waits for it any more.
        """
        seen = self._look(entry, tokenizer, cancelled)
        seen.about = about_kind(entry)
        return seen

    def _look(self, entry: Entry, tokenizer: KnownTokenizer, cancelled: Callable[[], bool]) -> Seen:
        if entry.group == "formats":
            return Seen(wanted=f"The source {entry.problem}.")
        if entry.problem:
            remedy = "; D deletes it here" if entry.group == "datasets" else ""
            return Seen(entry.problem + remedy)
        try:
            if entry.group == "datasets":
                return _dataset(entry) if entry.manifest is not None else _unfinished(entry)
            if entry.group == "records":
                return look_at_records(entry, tokenizer)
            return _source(self.preview(entry.key, cancelled), tokenizer)
        except UserError as error:
            return Seen(str(error))

    def glance(self, entry: Entry, tokenizer: KnownTokenizer, cancelled: Callable[[], bool]) -> Seen | None:
        """The very beginning of a source, at once; None where there is none, or where all of it comes as quickly."""
        with self._lock:
            kept = entry.key in self._kept
        if kept or not entry.spec:
            return None
        with suppress(UserError):
            source = open_source(entry.spec)
            preview = preview_source(
                source, _cleaner(source), most_bytes=_GLANCE_BYTES, seconds=_GLANCE_SECONDS, cancelled=cancelled
            )
            seen = _source(preview, tokenizer)
            seen.about, seen.more = about_kind(entry), "reading on ..."
            return seen
        return None

    def preview(self, spec: str, cancelled: Callable[[], bool] = lambda: False) -> SourcePreview:
        """The beginning of a source.

        Raises:
            UserError: it cannot be read.
        """
        with self._lock:
            reading = self._reading.setdefault(spec, Lock())
        with reading:  # who asks for the same meanwhile waits, rather than read it as well
            with self._lock:
                kept = self._kept.get(spec)
            if kept is not None:
                return kept
            source = open_source(spec)
            seen = preview_source(source, _cleaner(source), most_bytes=_PREVIEW_BYTES, cancelled=cancelled)
            if not cancelled():
                with self._lock:
                    self._kept[spec] = seen
                    while len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
            return seen

    def forget(self) -> None:
        """Look at everything anew: files may have changed."""
        with self._lock:
            self._kept.clear()


def _cleaner(source: Source) -> Cleaner:
    """As a build would clean it."""
    return Cleaner(recipe(recipe_of(source)))


def about_kind(entry: Entry) -> list[tuple[str, str]]:
    """What the catalogue says of an entry."""
    if entry.kind is None:
        return []
    kind = entry.kind
    about = [("good for", kind.good_for), ("licence", kind.licence), ("reads", kind.formats), ("such as", kind.example)]
    return [*about, ("download", f"{kind.download}, once")] if kind.download else about


def _source(preview: SourcePreview, known: KnownTokenizer) -> Seen:
    tokenizer = preview_tokenizer(known.argument, preview.texts)
    tokens = tokenize_preview(preview.texts, tokenizer, shown=SHOWN_TOKENS)
    read = f"{_documents(len(preview.texts))}, {file_size(preview.bytes)}"
    facts = [("looked at", read if not preview.complete else f"{read}: all of it")]
    if not preview.complete:
        whole = [_documents(preview.expected_documents)] if preview.expected_documents else []
        whole += [file_size(preview.expected_bytes)] if preview.expected_bytes else []
        facts.append(("the whole source", f"about {', '.join(whole)}" if whole else "has more"))
    facts += [
        ("tokens", f"{tokens.tokens:,} in what was looked at"),
        ("bytes a token", "-" if tokens.bytes_per_token is None else f"{tokens.bytes_per_token:.2f}"),
        ("vocabulary", f"{tokens.used_ids:,} of {tokens.vocab_size:,} ids occur"),
    ]
    if preview.expected_bytes and tokens.bytes_per_token and not preview.complete:
        facts.append(("tokens in all", f"about {count(preview.expected_bytes / tokens.bytes_per_token)}"))
    size = _row_length(tokens.tokens)
    rows = stream_rows(tokens.lengths, size, ROWS)
    shown = [Shown(s.id, s.text[:_SHOWN_CHARS], s.complete and len(s.text) <= _SHOWN_CHARS) for s in preview.shown]
    left = len(preview.texts) - _SHOWN_DOCUMENTS
    more = f"{_documents(left)} more were looked at" if left > 0 else ""
    return Seen(
        texts=shown[:_SHOWN_DOCUMENTS],
        more=more if preview.complete or not more else f"{more}, and the source goes on",
        tokenizer=known.label,
        tokens=list(zip(tokens.token_ids, tokens.pieces, strict=True)),
        facts=facts,
        lengths=spread(tokens.lengths),
        frequent=[(piece, number / tokens.tokens) for _, piece, number in tokens.most_frequent],
        reasons=reasons_of(preview.problems.dropped, preview.problems.mended, preview.problems.examples),
        reasons_of=f"{read} of {preview.name}",
        rows=_stretches(rows),
        rows_note=f"Pre-training reads one stream of all documents, cut into rows; here of {size} tokens. A row may hold "
        f"the end of one document and the beginning of the next; all of its tokens are learned.",
    )


def _dataset(entry: Entry) -> Seen:
    dataset = TokenDataset.open(paths.existing("datasets", entry.key))
    manifest, tokenizer = dataset.manifest, dataset.tokenizer
    told = statistics.report(dataset, most_tokens=_COUNTED_TOKENS)
    split = dataset.train if dataset.train.num_documents else dataset.val
    facts = []
    for side, name in ((dataset.train, "training"), (dataset.val, "validation")):
        facts.append(
            (name, f"{side.num_tokens:,} tokens, {_documents(side.num_documents)}, {file_size(side.num_bytes)}")
        )
    per_token = told["train"]["bytes_per_token"] or told["val"]["bytes_per_token"]
    facts.append(("bytes a token", "-" if per_token is None else f"{per_token:.2f}"))
    unused, size = told["never_used"]["count"], dataset.vocab_size
    facts.append(("vocabulary", f"{size - unused:,} of {size:,} ids occur"))
    overlap = told["evaluation_overlap"]
    if overlap["files"]:
        shared = f"{_documents(overlap['documents'])} share 13 words in a row with {', '.join(overlap['files'])}"
        facts.append(("evaluation", shared))
    facts.append(("fingerprint", manifest.fingerprint[:12]))
    lengths = _lengths(split)
    reasons = [
        reason
        for name, source in manifest.sources.items()
        for reason in reasons_of(source.dropped, source.mended, source.examples, source.dropped_bytes, name)
    ]
    read = sum(source.documents_read for source in manifest.sources.values())
    size = _row_length(split.num_tokens)
    rows = stream_rows(lengths, size, ROWS)
    first = split.read(0, min(SHOWN_TOKENS, split.num_tokens)).tolist()
    return Seen(
        texts=list(_first_texts(split, tokenizer)),
        more=f"{_documents(split.num_documents)} in the {split.name} split" if split.num_documents else "",
        tokenizer=f"its own tokenizer: {tokenizer.kind} of {tokenizer.vocab_size:,}",
        tokens=[(i, tokenizer.piece(i)) for i in first],
        facts=facts,
        notes=manifest.warnings,
        sources=[(name, list(_label_of(source))) for name, source in told["sources"].items()],
        lengths=spread(lengths),
        frequent=[(one["piece"], one["share"]) for one in told["most_frequent"]],
        reasons=reasons,
        reasons_of=f"{_documents(read)} that the build met",
        rows=_stretches(rows),
        rows_note=f"Training reads the stream of all documents in rows; here of {size} tokens. A row may hold the end of "
        f"one document and the beginning of the next; all of its tokens are learned.",
    )


def _label_of(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the data label says of a source."""
    yield "documents", f"{source['documents_kept']:,} kept of {source['documents_read']:,} read"
    yield "text", f"{file_size(source['bytes'])}, {source['tokens']:,} tokens"
    share = source["train_share"]
    of = "" if share is None else f", {share:.1%} of the tokens"
    times = source["epochs"]
    yield "training", ("read once" if times == 1 else f"read {times:.3g} times") + of
    yield "cleaned by", str(source["recipe"])
    for name in ("languages", "licences"):
        if counts := source[name]:
            ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            more = f", {len(ordered) - _SHOWN_NAMES} more" if len(ordered) > _SHOWN_NAMES else ""
            yield name, ", ".join(f"{each} {number:,}" for each, number in ordered[:_SHOWN_NAMES]) + more


def _unfinished(entry: Entry) -> Seen:
    assert entry.state is not None
    state = entry.state
    sources = ", ".join(f"{spec}@{weight}" if weight else spec for spec, weight in state.command.sources)
    what = "is being built just now" if entry.held else "was interrupted; b goes on where it was, D deletes it"
    return Seen(waiting=f"The build of {entry.title} {what}. So far: {_documents(state.documents)} of {sources}.")


def _documents(number: int) -> str:
    return f"{number:,} document" + ("" if number == 1 else "s")


def _row_length(tokens: int) -> int:
    """A usual one, or a shorter one where it takes that to fill some rows."""
    return min(_STREAM_ROW, max(_SHORTEST_ROW, tokens // ROWS))


def _lengths(split: TokenSplit) -> list[int]:
    """Of the documents at the beginning."""
    ends = split.document_ends[:_COUNTED_TOKENS].astype("int64").tolist()
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _first_texts(split: TokenSplit, tokenizer: Tokenizer) -> Iterator[Shown]:
    start = 0
    for number in range(min(_SHOWN_DOCUMENTS, split.num_documents)):
        end = int(split.document_ends[number])
        ids = split.read(start, min(end - start, _SHOWN_CHARS))
        whole = len(ids) == end - start
        text = tokenizer.decode(ids[:-1] if whole else ids)
        yield Shown(f"{split.name} document {number + 1:,}", text[:_SHOWN_CHARS], whole and len(text) <= _SHOWN_CHARS)
        start = end


def _stretches(rows: Iterable[StreamRow]) -> list[list[Stretch]]:
    """Rows of a stream: a document begins where it has not stood before."""
    last = -1
    found = []
    for row in rows:
        found.append([Stretch(text, tokens, True, begins=text > last) for text, tokens in row.parts])
        last = row.parts[-1][0]
    return found
