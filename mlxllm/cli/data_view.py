"""How datasets are shown in a terminal."""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlxllm.cli.run_view import file_size
from mlxllm.cli.sampling import use_colour
from mlxllm.cli.table import print_fields, print_table
from mlxllm.cli.terminal import columns, fold
from mlxllm.cli.token_view import interlinear
from mlxllm.visible import by_reason, counted, visible

if TYPE_CHECKING:  # numpy is loaded by the commands that need it
    from mlxllm.data.preview import SourcePreview, TokenPreview
    from mlxllm.data.sources import SourceKind
    from mlxllm.data.statistics import Window

_SHOWN_TOKENS = 200
_SHOWN_NAMES = 8


def print_kinds(kinds: Iterable["SourceKind"]) -> None:
    """A line for each kind of source: what it is called, an example, the licence of its text, and what it reads."""
    rows = [(kind.kind, kind.example, kind.licence, kind.summary) for kind in kinds]
    print_table(("kind", "such as", "licence", "reads"), rows, expendable=("licence", "such as"))


def print_kind(kind: "SourceKind") -> None:
    """All that is to know of one kind of source."""
    fields = [("reads", kind.formats), ("good for", kind.good_for), ("such as", kind.example)]
    fields += [("download", f"{kind.download}, once")] if kind.download else []
    print_fields([*fields, ("licence", kind.licence), ("cleaned by", kind.recipe)])


def print_sources(label: Mapping[str, Any]) -> None:
    """The table of a label's sources, of what their documents are, and places of what was left out or mended."""
    rows = []
    for name, source in label["sources"].items():
        share = source["train_share"]
        rows.append(
            (
                name,
                source["recipe"],
                f"{source['documents_read']:,}",
                _size(source["bytes_read"]) if source["bytes_read"] else "-",
                _size(source["text_bytes_read"]) if source["text_bytes_read"] else "-",
                f"{source['documents_kept']:,}",
                _size(source["bytes"]),
                f"{source['tokens']:,}",
                f"{source['val_tokens']:,}",
                f"{source['epochs']:.3g}x",
                "-" if share is None else f"{share:.1%}",
            )
        )
    header = (
        "source",
        "recipe",
        "read",
        "size",
        "text",
        "kept",
        "text kept",
        "tokens",
        "held out",
        "epochs",
        "of training",
    )
    print_table(header, rows, expendable=("size", "text", "text kept", "recipe", "read", "held out"))
    for name, source in label["sources"].items():
        for title, key in (("languages", "languages"), ("licences", "licences")):
            if counts := source[key]:
                print(fold(f"\n{name}: {title} {_most(counts)}", sys.stdout))
        for reason, places in source["examples"].items():
            count = source["dropped"].get(reason, 0) + source["mended"].get(reason, 0)
            size = source["dropped_bytes"].get(reason)
            tokens = source["dropped_tokens"].get(reason)
            rounded = counted(int(float(f"{tokens:.2g}")), "token") if tokens else ""  # more would look as if counted
            about = (f", {_size(size)}" if size else "") + (f" (about {rounded})" if rounded else "")
            noted = "" if reason in source["dropped"] else "noted: "
            print(f"\n{name}: {noted}{by_reason(count, reason)}{about}")
            print(fold("\n".join(f"  {place}" for place in places), sys.stdout))


def _size(size: int) -> str:
    return file_size(size) if size >= 1e5 else f"{size / 1e3:,.1f} kB" if size >= 1e3 else counted(size, "byte")


def _most(counts: Mapping[str, int]) -> str:
    """The most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f", {len(ordered) - _SHOWN_NAMES} more" if len(ordered) > _SHOWN_NAMES else ""
    return ", ".join(f"{name} {count:,}" for name, count in ordered[:_SHOWN_NAMES]) + more


def print_splits(splits: Mapping[str, Mapping[str, Any]]) -> None:
    """The table of both splits."""
    rows = []
    for name, split in splits.items():
        per_token = split["bytes_per_token"]
        rows.append(
            (
                name,
                f"{split['tokens']:,}",
                f"{split['documents']:,}",
                _size(split["bytes"]),
                "-" if per_token is None else f"{per_token:.2f}",
            )
        )
    print_table(("split", "tokens", "documents", "text", "bytes a token"), rows)


def print_statistics(report: Mapping[str, Any]) -> None:
    """Splits, document lengths, the most frequent tokens, and ids that never occur."""
    print_splits({split: report[split] for split in ("train", "val")})
    for split in ("train", "val"):
        if lengths := report[split]["document_tokens"]:
            print(
                f"{split} documents: {lengths['shortest']:,} to {lengths['longest']:,} tokens, "
                f"median {lengths['median']:,}, mean {lengths['mean']:,.1f}"
            )
    unused, size = report["never_used"]["count"], report["tokenizer"]["vocab_size"]
    print(
        fold(f"\ntokenizer: {tokenizer_line(report['tokenizer'])}; {unused:,} of {size:,} ids never occur", sys.stdout)
    )
    frequent = ", ".join(f"{visible(t['piece'])} {t['share']:.1%}" for t in report["most_frequent"])
    print(fold(f"most frequent: {frequent}", sys.stdout))


def preview_object(seen: "SourcePreview", tokens: "TokenPreview | None", most: int) -> dict[str, Any]:
    """A preview as JSON has it, with `most` documents."""
    told: dict[str, Any] = {
        "name": seen.name,
        "spec": seen.spec,
        "documents": [{"id": one.id, "text": one.text, "complete": one.complete} for one in seen.shown[:most]],
        "read": {"documents": len(seen.texts), "bytes": seen.bytes, "complete": seen.complete},
        "expected": {"documents": seen.expected_documents, "bytes": seen.expected_bytes},
        "dropped": dict(seen.problems.dropped),
        "mended": dict(seen.problems.mended),
        "examples": dict(seen.problems.examples),
    }
    if tokens is not None:
        told["tokens"] = {
            "token_ids": tokens.token_ids[:_SHOWN_TOKENS],
            "pieces": tokens.pieces[:_SHOWN_TOKENS],
            "tokens": tokens.tokens,
            "bytes_per_token": tokens.bytes_per_token,
            "used_ids": tokens.used_ids,
            "vocab_size": tokens.vocab_size,
            "most_frequent": [{"id": i, "piece": piece, "count": count} for i, piece, count in tokens.most_frequent],
        }
    return told


def print_preview(seen: "SourcePreview", tokens: "TokenPreview | None", most: int, above: bool) -> None:
    """The first documents of a source, what there is of it, and what was left out.

    Args:
        seen: the preview.
        tokens: the same in tokens.
        most: how many documents to show.
        above: show every token above its id, rather than the text.
    """
    for shown in [] if above and tokens is not None else seen.shown[:most]:
        print(f"--- {shown.id} ---")
        print(
            "\n".join(_steady(line) for line in shown.text.rstrip("\n").split("\n"))
            + ("" if shown.complete else " ...")
        )
    if tokens is not None and above:
        pieces = list(zip(tokens.token_ids[:_SHOWN_TOKENS], tokens.pieces, strict=False))
        for line in interlinear(pieces, columns(sys.stdout), use_colour(sys.stdout)):
            print(line)
    print()
    lost = sum(seen.problems.dropped.values())
    read = f"{counted(len(seen.texts), 'document')}, {_size(seen.bytes)}"
    if lost:
        records = counted(len(seen.texts) + lost, "record")
        read = f"{records}, of which {len(seen.texts):,} became documents, {_size(seen.bytes)}"
    if not seen.complete:
        whole = [counted(seen.expected_documents, "document")] if seen.expected_documents else []
        whole += [file_size(seen.expected_bytes)] if seen.expected_bytes else []
        read += f"; the whole source has about {', '.join(whole)}" if whole else "; the source has more"
    fields = [("read", read)]
    if tokens is not None:
        per_token = f", {tokens.bytes_per_token:.2f} bytes a token" if tokens.bytes_per_token else ""
        fields.append(
            ("tokens", f"{tokens.tokens:,}{per_token}; {tokens.used_ids:,} of {tokens.vocab_size:,} ids occur")
        )
        frequent = ", ".join(
            f"{visible(piece)} {count / tokens.tokens:.1%}" for _, piece, count in tokens.most_frequent[:20]
        )
        fields.append(("most frequent", frequent))
    for counts, verb in ((seen.problems.dropped, "left out"), (seen.problems.mended, "noted")):
        fields += [
            (verb, f"{by_reason(count, reason)}; first: {seen.problems.examples.get(reason, ['-'])[0]}")
            for reason, count in counts.items()
        ]
    print_fields(fields)


def print_window(window: "Window", tokens: bool) -> None:
    """A window of text under its place; with `tokens` every token above its id."""
    print(f"\n--- {window.split}, tokens {window.start:,} to {window.start + len(window.token_ids):,} ---")
    if tokens:
        pieces = list(zip(window.token_ids, window.pieces, strict=True))
        for line in interlinear(pieces, columns(sys.stdout), use_colour(sys.stdout)):
            print(line)
        return
    # The end of a document stands out, and nothing in a text can steer the terminal.
    for number, text in enumerate(window.text.split("<|endoftext|>")):
        if number:
            print("\x1b[2m<|endoftext|>\x1b[0m" if use_colour(sys.stdout) else "<|endoftext|>")
        print("\n".join(_steady(line) for line in text.split("\n")), end="")
    print()


def tokenizer_line(tokenizer: Mapping[str, Any]) -> str:
    """Kind, size and the beginning of the fingerprint."""
    return f"{tokenizer['kind']} of {tokenizer['vocab_size']:,} ids ({tokenizer['fingerprint'][:12]})"


def _steady(line: str) -> str:
    """The line with everything but plain text, blanks and tabs written out as escapes."""
    return "".join(c if c in " \t" else visible(c) for c in line)
