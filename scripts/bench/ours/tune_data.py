"""Turn records into ids that both sides read: a BPE tokenizer of the file's own texts, and our own chat format.

The batches are the peers': consecutive ones of all records in the order of their lengths, as many as asked for, at even
distances over the whole file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import measure  # before MLX: it prepares BLAS
import numpy as np

from mlxllm.conversation.masks import examples
from mlxllm.conversation.opening import open_preferences, open_records
from mlxllm.conversation.own_format import OwnFormat
from mlxllm.conversation.preferences import pairs
from mlxllm.conversation.report import Report
from mlxllm.tokenizer.bpe_training import train_bpe


def main() -> None:
    """One JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["sft", "dpo"], required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, required=True)
    parser.add_argument("--max-seq-len", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--batches", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    texts = (text for record in json.loads(args.records.read_text()) for text in record.values())
    chat_format = OwnFormat(train_bpe((text for text in texts if isinstance(text, str)), args.vocabulary))
    rows = (conversations if args.kind == "sft" else preferences)(args.records, chat_format, args.max_seq_len + 1)
    rows.sort(key=lambda row: len(row["ids" if args.kind == "sft" else "chosen"]))
    there = len(rows) // args.batch_size
    if there < args.batches:
        raise SystemExit(f"{len(rows)} records of {args.records} are {there} batches, and --batches {args.batches}")
    chosen = [(2 * i + 1) * there // (2 * args.batches) for i in range(args.batches)]
    batches = [list(range(b * args.batch_size, (b + 1) * args.batch_size)) for b in chosen]
    content = {"max_seq_len": args.max_seq_len, "rows": rows, "batches": batches}
    args.out.write_text(json.dumps(content))
    used = [rows[i] for batch in batches for i in batch]
    measure.report(text=described(args.kind, used), records=len(rows), used=len(used))


def conversations(path: Path, chat_format: OwnFormat, longest: int) -> list[dict[str, Any]]:
    """`ids`, and `prompt`: how many of them come before the answer."""
    rows = []
    for example in examples(open_records([str(path)]).train, chat_format, Report()):
        prompt = int(np.argmax(example.loss_mask))
        if not example.loss_mask[prompt:].all():
            raise SystemExit(f"{example.where}: more than one answer, which the peer has no mask for")
        if prompt < min(longest, len(example.token_ids)):
            rows.append({"ids": example.token_ids.tolist(), "prompt": prompt})
    return rows


def preferences(path: Path, chat_format: OwnFormat, longest: int) -> list[dict[str, Any]]:
    """`prompt`, `chosen` and `rejected` as ids."""
    found = pairs(open_preferences([str(path)]).train, chat_format, Report(), max_seq_len=longest)
    return [
        {"prompt": p.prompt_ids.tolist(), "chosen": p.chosen_ids.tolist(), "rejected": p.rejected_ids.tolist()}
        for p in found
    ]


def described(kind: str, rows: list[dict[str, Any]]) -> str:
    """What is trained on, in a few words."""
    if kind == "sft":
        return f"{len(rows)} conversations of {np.mean([len(row['ids']) for row in rows]):.0f} tokens on average"
    tokens = np.mean([len(row["prompt"]) + (len(row["chosen"]) + len(row["rejected"])) / 2 for row in rows])
    return f"{len(rows)} pairs of sequences of {tokens:.0f} tokens on average"


if __name__ == "__main__":
    main()
