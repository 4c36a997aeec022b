"""The part of a report about what a model learned from: data label and tokenizer."""

from collections.abc import Sequence

from mlxllm.data.label import data_label
from mlxllm.data.manifest import Manifest
from mlxllm.data.provenance import nameless
from mlxllm.report.blocks import Block, Points, Section, Table, Text
from mlxllm.report.stages import StageReport, dataset_of, records_of
from mlxllm.report.words import count, number, size

_MOST_REASONS = 5


def data_sections(stages: Sequence[StageReport]) -> list[Block]:
    """What each stage learned from; a dataset of several stages is told once."""
    blocks: list[Block] = []
    told: set[str] = set()
    for stage in stages:
        name, manifest, trouble = dataset_of(stage)
        if name and name not in told:
            told.add(name)
            inner = _dataset(manifest) if manifest is not None else [Text(f"It cannot be told of any more: {trouble}")]
            blocks.append(Section(f"{stage.name}: dataset {name}", inner))
        if files := records_of(stage):
            rows = [[f.name, size(f.bytes) if f.bytes is not None else "not there now", f.sha256[:16]] for f in files]
            kind = "preferences" if stage.method == "dpo" else "conversations"
            blocks.append(Section(f"{stage.name}: {kind}", [Table(["file", "size", "SHA-256"], rows)]))
    return blocks


def _dataset(manifest: Manifest) -> list[Block]:
    label = data_label(manifest)
    rows = []
    for name, source in label["sources"].items():
        dropped = sorted(source["dropped"].items(), key=lambda item: -item[1])[:_MOST_REASONS]
        rows.append(
            [
                nameless(name),
                count(source["documents_kept"]),
                count(source["tokens"]),
                f"{100 * source['train_share']:.1f} %" if source["train_share"] is not None else "–",
                number(source["epochs"], "g"),
                ", ".join(sorted(source["licences"])) or "not known",
                ", ".join(f"{number:,} x {reason}" for reason, number in dropped) or "nothing",
            ]
        )
    train, val, tokenizer = label["train"], label["val"], label["tokenizer"]
    head = ["source", "documents", "tokens", "share", "times read", "licences", "left out"]
    splits = [
        [
            name,
            count(split["documents"]),
            count(split["tokens"]),
            size(split["bytes"]),
            number(split["bytes_per_token"], ".2f"),
        ]
        for name, split in (("training", train), ("validation", val))
    ]
    made = f", made as {tokenizer['recipe']} from the training text" if tokenizer["recipe"] else ""
    blocks: list[Block] = [
        Table(head, rows),
        Table(["split", "documents", "tokens", "text", "bytes a token"], splits),
        Text(f"Tokenizer: {tokenizer['kind']}, {tokenizer['vocab_size']:,} ids{made}."),
        Text(f"Fingerprint of the tokenizer: {tokenizer['fingerprint'][:16]}."),
        Text(f"Fingerprint of the data: {manifest.fingerprint[:16]}."),
    ]
    cautions = [*label["cautions"], *label["warnings"]]
    return [*blocks, *([Points(list(dict.fromkeys(cautions)))] if cautions else [])]
