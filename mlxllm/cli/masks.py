"""`mlxllm data inspect --masks FILE`: which tokens of records are trained, as training itself decides it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlxllm import paths
from mlxllm.cli.help import check_choice
from mlxllm.cli.mask_view import legend, marked_lines
from mlxllm.cli.sampling import say, use_colour
from mlxllm.cli.table import print_fields
from mlxllm.cli.terminal import columns, fold
from mlxllm.cli.token_view import interlinear
from mlxllm.errors import ConfigError
from mlxllm.visible import counted

if TYPE_CHECKING:  # numpy and the tokenizers are loaded by the command
    from mlxllm.conversation import ChatFormat, Example, Pair, Report
    from mlxllm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Wanted:
    """What the options say; None where they say nothing."""

    file: str
    tokenizer: str | None
    model: str | None
    train_on: str | None
    max_seq_len: int | None
    limit: int
    pairs: bool
    tokens: bool


def inspect_masks(wanted: Wanted, json_: bool) -> None:
    """Print the first records token by token, then what became of all of them.

    Raises:
        ConfigError: an option is missing or wrong.
        DataError: as training would: no such file, a malformed record, or nothing to train on.
    """
    if wanted.limit < 0:
        raise ConfigError(f"--limit is {wanted.limit}; it should be 0 or more")
    if wanted.max_seq_len is not None and wanted.max_seq_len < 2:
        raise ConfigError(f"--max-seq-len is {wanted.max_seq_len}; it should be greater than 1")
    check_choice("--train-on", "data.train_on", wanted.train_on)
    words, directory = _words(wanted)
    from mlxllm.conversation.choosing import chat_format_of
    from mlxllm.conversation.inspecting import holds_pairs
    from mlxllm.presets import TUNING_PRESETS

    pairs = wanted.pairs or holds_pairs(wanted.file)
    length = wanted.max_seq_len or TUNING_PRESETS["dpo" if pairs else "sft"]().data.max_seq_len
    chat_format = chat_format_of(words, directory)
    told = {"file": wanted.file, "max_seq_len": length}
    if pairs:
        if wanted.train_on is not None:
            raise ConfigError(f"{wanted.file} holds preferences, of which both answers count; leave --train-on out")
        _pairs(wanted, chat_format, words, length, told, json_)
    else:
        _conversations(wanted, chat_format, words, length, told, json_)


def _words(wanted: Wanted) -> "tuple[Tokenizer, Path]":
    if (wanted.tokenizer is None) == (wanted.model is None):
        raise ConfigError("a mask is one of tokens: say whose, with --tokenizer T or with --model M")
    if wanted.model is not None:
        from mlxllm.model.loading import load_model_tokenizer

        return load_model_tokenizer(wanted.model)
    from mlxllm.tokenizer import load_tokenizer

    directory = paths.existing("tokenizers", str(wanted.tokenizer))
    return load_tokenizer(directory), directory


def _conversations(
    wanted: Wanted, chat_format: "ChatFormat", words: "Tokenizer", length: int, told: dict[str, Any], json_: bool
) -> None:
    from mlxllm.config import DataConfig
    from mlxllm.conversation import check_train_on
    from mlxllm.conversation.inspecting import look_at_conversations

    train_on = check_train_on(wanted.train_on or DataConfig().train_on)
    seen = look_at_conversations(wanted.file, chat_format, length, train_on)
    shown, rows = seen.examples[: wanted.limit], seen.rows
    if json_:
        records = [_as_object(example, words, length) for example in shown]
        totals = {"tokens": seen.tokens, "trained": seen.trained}
        print(
            json.dumps(
                {**told, "kind": "conversations", "train_on": train_on, "records": records, **totals}
                | {"packing": seen.packing(), "report": seen.report.as_dict()}
            )
        )
        return
    _print_legend()
    for example in shown:
        cut = example.token_ids[: length + 1].tolist()
        mask = example.loss_mask[: length + 1].tolist()
        print(f"\n--- {example.where}\n{fold(_turns(example, length), sys.stdout, margin='    ')}")
        _print(cut, mask, words, wanted.tokens)
        if (rest := len(example.token_ids) - len(cut)) > 0:
            print(f"(cut off: {rest:,} more tokens, for which a row of {length:,} has no room)")
    _print_end(
        seen.report,
        len(seen.examples) - len(shown),
        [
            ("tokens", f"{seen.tokens:,}, {seen.trained:,} of them trained with --train-on {train_on}"),
            (
                "packing",
                f"{counted(rows.texts, 'sequence')} in {counted(len(rows.inputs), 'row')} of {length:,} tokens, "
                f"{100 * rows.padding:.1f} % padding; {counted(rows.trained_tokens, 'token')} to learn",
            ),
        ],
    )


def _pairs(
    wanted: Wanted, chat_format: "ChatFormat", words: "Tokenizer", length: int, told: dict[str, Any], json_: bool
) -> None:
    from mlxllm.conversation.inspecting import look_at_preferences

    seen = look_at_preferences(wanted.file, chat_format, length)
    shown = seen.pairs[: wanted.limit]
    if json_:
        records = [_pair_as_object(pair, words) for pair in shown]
        totals = {"tokens": seen.tokens, "trained": seen.answers}
        print(json.dumps({**told, "kind": "pairs", "records": records, **totals, "report": seen.report.as_dict()}))
        return
    _print_legend()
    for pair in shown:
        sides = {"prompt": pair.prompt_ids, "chosen": pair.chosen_ids, "rejected": pair.rejected_ids}
        print(
            f"\n--- {pair.where}: " + ", ".join(f"{name} {counted(len(ids), 'token')}" for name, ids in sides.items())
        )
        for name, ids in sides.items():
            print(f"{name}:")
            _print(ids.tolist(), [name != "prompt"] * len(ids), words, wanted.tokens)
    tokens = f"{seen.tokens:,} with each prompt counted twice, {seen.answers:,} of them compared"
    _print_end(seen.report, len(seen.pairs) - len(shown), [("tokens", tokens)])


def _turns(example: "Example", length: int) -> str:
    """Tokens and trained tokens of each turn, as far as they fit."""
    from mlxllm.conversation.inspecting import turns_within

    return "; ".join(
        f"{role} {counted(tokens, 'token')}, {trained:,} trained"
        for role, tokens, trained in turns_within(example, length)
    )


def _as_object(example: "Example", words: "Tokenizer", length: int) -> dict[str, Any]:
    return {
        "where": example.where,
        **_sequence(example.token_ids.tolist(), words),
        "loss_mask": [int(m) for m in example.loss_mask],
        "turns": [
            {"role": t.role, "start": t.start, "end": t.end, "tokens": t.end - t.start, "trained": t.trained}
            for t in example.turns
        ],
        "trained": example.trained_tokens,
        "cut_off": max(0, len(example.token_ids) - length - 1),
    }


def _pair_as_object(pair: "Pair", words: "Tokenizer") -> dict[str, Any]:
    sides = {"prompt": pair.prompt_ids, "chosen": pair.chosen_ids, "rejected": pair.rejected_ids}
    return {"where": pair.where, **{name: _sequence(ids.tolist(), words) for name, ids in sides.items()}}


def _sequence(token_ids: list[int], words: "Tokenizer") -> dict[str, Any]:
    return {"token_ids": token_ids, "pieces": [words.piece(i) for i in token_ids]}


def _print_legend() -> None:
    print(legend(use_colour(sys.stdout)))


def _print(token_ids: list[int], trained: list[bool], words: "Tokenizer", tokens: bool) -> None:
    """A sequence as text, or with `tokens` every token above its id."""
    colour = use_colour(sys.stdout)
    if tokens:
        pieces = [(i, words.piece(i)) for i in token_ids]
        lines = interlinear(pieces, columns(sys.stdout), colour, trained)
    else:
        lines = marked_lines(token_ids, trained, words, colour)
    for line in lines:
        print(line)


def _print_end(report: "Report", more: int, fields: list[tuple[str, str]]) -> None:
    print()
    if more:
        say(f"{more:,} more like these; --limit N shows more of them")
    about = [("", sentence) for sentence in report.sentences()]
    print_fields([("records", f"{report.read:,} read, {report.used:,} used"), *about, *fields])
