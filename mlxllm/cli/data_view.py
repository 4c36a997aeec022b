"""How datasets are shown in a terminal."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlxllm.cli.run_view import file_size
from mlxllm.cli.sampling import use_colour
from mlxllm.cli.table import print_fields, print_table
from mlxllm.cli.terminal import columns, fold
from mlxllm.cli.token_view import interlinear, visible

if TYPE_CHECKING:  # numpy is loaded by the commands that need it
    from mlxllm.data.shards import TokenDataset
    from mlxllm.data.sources import SourceKind
    from mlxllm.data.statistics import Window


def print_kinds(kinds: Iterable["SourceKind"]) -> None:
    """What each kind of source reads, how it is named, and under which licence its text is."""
    rows = []
    for kind in kinds:
        rows += [(kind.kind, kind.formats), ("  good for", kind.good_for), ("  such as", kind.example)]
        rows += [("  download", f"{kind.download}, once")] if kind.download else []
        rows.append(("  licence", kind.licence))
    print_fields(rows)


def print_sources(label: Mapping[str, Any]) -> None:
    """The table of a label's sources, then places of what was left out or mended."""
    rows = []
    for name, source in label["sources"].items():
        share = source["train_share"]
        rows.append(
            (
                name,
                f"{source['weight']:g}",
                f"{source['documents_read']:,}",
                f"{source['documents_kept']:,}",
                f"{source['tokens']:,}",
                file_size(source["bytes"]),
                "-" if share is None else f"{share:.1%}",
                ", ".join(f"{count:,} {reason}" for reason, count in source["dropped"].items()) or "-",
            )
        )
    header = ("source", "weight", "read", "kept", "tokens", "text", "of training", "left out")
    print_table(header, rows, expendable=("of training", "text", "weight", "read"))
    for name, source in label["sources"].items():
        for reason, places in source["examples"].items():
            count = source["dropped"].get(reason, 0) + source["mended"].get(reason, 0)
            print(f"\n{name}: {count:,} {reason}")
            print(fold("\n".join(f"  {place}" for place in places), sys.stdout))


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
                file_size(split["bytes"]),
                "-" if per_token is None else f"{per_token:.2f}",
            )
        )
    print_table(("split", "tokens", "documents", "text", "bytes a token"), rows)


def statistics_report(dataset: "TokenDataset") -> dict[str, Any]:
    """What `inspect` tells of a dataset: its label, lengths of documents, frequent tokens, ids that never occur."""
    import numpy as np

    from mlxllm.data import statistics
    from mlxllm.data.label import data_label

    described = data_label(dataset.manifest)
    counts = np.zeros(dataset.vocab_size, np.int64)
    for split in (dataset.train, dataset.val):
        lengths = statistics.document_lengths(split)
        described[split.name]["document_tokens"] = asdict(lengths) if lengths else None
        counts += statistics.token_counts(split, dataset.vocab_size)
    total = int(counts.sum())
    order = (-counts).argsort(kind="stable")
    frequent = [int(i) for i in order[:20] if counts[i]]
    unused = [int(i) for i in (counts == 0).nonzero()[0]]
    return {
        "name": dataset.name,
        "path": str(dataset.directory),
        **described,
        "most_frequent": [
            {
                "id": i,
                "piece": dataset.tokenizer.piece(i),
                "count": int(counts[i]),
                "share": int(counts[i]) / total,
            }
            for i in frequent
        ],
        "never_used": {"count": len(unused), "ids": unused[:50]},
    }


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
