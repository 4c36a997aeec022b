"""Looking at conversations and preferences for the tabs of the data screen, as training reads them."""

from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

from mlxllm import paths
from mlxllm.config import DataConfig
from mlxllm.conversation import OwnFormat, check_train_on
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.inspecting import look_at_conversations, look_at_preferences
from mlxllm.data.packing import PackedRows
from mlxllm.data.preview import Shown, preview_tokenizer, spread
from mlxllm.presets import TUNING_PRESETS
from mlxllm.tokenizer.showing import runs_of
from tui.data.entries import BYTES, Entry, KnownTokenizer
from tui.data.seen import Seen, Stretch, reasons_of

SHOWN_TOKENS = 800
ROWS = 10
_SHOWN_RECORDS = 8
_LOOKED_AT_RECORDS = 500


def look_at_records(entry: Entry, known: KnownTokenizer) -> Seen:
    """The first records of a file, what of them is learned, and how they are packed.

    Raises:
        UserError: it cannot be read, or nothing can be learned from it.
    """
    name = "byte" if known.argument == "char" else known.argument  # for char, all would have to be read
    tokenizer = preview_tokenizer(name, [])
    folder = paths.folder("tokenizers") / name if (paths.folder("tokenizers") / name).is_dir() else Path(name)
    chat_format = chat_format_of(tokenizer, folder) if folder.is_dir() else OwnFormat(tokenizer)
    length = TUNING_PRESETS["dpo" if entry.pairs else "sft"]().data.max_seq_len
    if entry.pairs:
        pairs = look_at_preferences(entry.key, chat_format, length, most=_LOOKED_AT_RECORDS)
        report, complete, tokens = pairs.report, pairs.complete, pairs.tokens
        masked = [
            (f"{pair.where}: {side}", list(runs_of(ids.tolist(), [side != "prompt"] * len(ids), tokenizer)))
            for pair in pairs.pairs[:_SHOWN_RECORDS]
            for side, ids in (("prompt", pair.prompt_ids), ("chosen", pair.chosen_ids), ("rejected", pair.rejected_ids))
        ]
        sizes = [pair.length for pair in pairs.pairs]
        facts = [("compared", f"{pairs.answers:,} tokens of answers")]
        first = pairs.pairs[0]
        ids = [*first.prompt_ids.tolist(), *first.chosen_ids.tolist()]
        rows: list[list[Stretch]] = []
        note = (
            f"Each pair is a row of at most {length:,} tokens: the prompt once, and behind it both answers. What stands in "
            f"brackets is compared; the prompt is only read."
        )
    else:
        train_on = check_train_on(DataConfig().train_on)
        talks = look_at_conversations(entry.key, chat_format, length, train_on, most=_LOOKED_AT_RECORDS)
        report, complete, tokens = talks.report, talks.complete, talks.tokens
        masked = [
            (example.where, list(runs_of(example.token_ids.tolist(), example.loss_mask.tolist(), tokenizer)))
            for example in talks.examples[:_SHOWN_RECORDS]
        ]
        sizes = [len(example.token_ids) for example in talks.examples]
        facts = [("learned", f"{talks.trained:,} tokens ({100 * talks.trained / max(1, talks.tokens):.0f} %)")]
        packing = talks.packing()
        facts.append(
            ("packing", f"{packing['sequences']:,} in {packing['rows']:,} rows, {packing['padding']:.0%} padding")
        )
        ids = talks.examples[0].token_ids.tolist()
        rows = list(islice(_packed(talks.rows), ROWS))
        note = (
            f"Conversations are laid side by side in rows of {length:,} tokens; attention stays within each. What stands in "
            f"brackets is learned; the rest is only read."
        )
    facts = [
        ("looked at", f"{report.read:,} records{', all there are' if complete else ', the file has more'}"),
        ("used", f"{report.used:,}"),
        ("tokens", f"{tokens:,}"),
        *facts,
    ]
    return Seen(
        texts=[Shown(title, "".join(run.text for run in runs), True) for title, runs in masked],
        more="" if complete else "the file goes on",
        tokenizer=BYTES.label if name == "byte" else known.label,
        tokens=[(i, tokenizer.piece(i)) for i in ids[:SHOWN_TOKENS]],
        facts=facts,
        lengths=spread(sizes),
        lengths_of="tokens a record",
        reasons=reasons_of(report.problems.dropped, report.problems.mended, report.problems.examples),
        reasons_of=f"{report.read:,} records",
        rows=rows,
        rows_note=note,
        masked=masked,
    )


def _packed(rows: PackedRows) -> Iterator[list[Stretch]]:
    """Rows of conversations as stretches of trained and masked tokens."""
    number = -1
    for positions, mask, targets in zip(rows.positions, rows.loss_mask, rows.targets, strict=True):
        cells = []
        for position, trained, target in zip(positions.tolist(), mask.tolist(), targets.tolist(), strict=True):
            begins = position == 0
            padding = begins and not target and not trained
            number += begins and not padding
            cells.append((-1 if padding else number, bool(trained), begins and not padding))
        stretches: list[Stretch] = []
        for (text, trained), group in groupby(cells, key=lambda cell: cell[:2]):
            listed = list(group)
            stretches.append(Stretch(text, len(listed), trained, listed[0][2]))
        yield stretches
