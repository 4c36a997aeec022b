"""Whether a GGUF file is the model that it was made from: as the `gguf` package reads it, and as llama.cpp computes it.

Both sides compute in float32. llama.cpp rounds the other factor of each product to the format of the weights, so that its
logits for f16, bf16 and fewer bits are not those of the rounded weights; the bounds allow for that. With blocks of a few
bits the weights themselves are held to what rounding may do. What that does to the logits is the model's affair and told:
how often the likeliest token stays. Only q8_0 fails by it, where that is at less than 98 % of the positions, near-ties
aside, and the KL divergence says that it matters.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlxllm.errors import ConfigError, ModelError
from mlxllm.export.asking import question_for, reference_for, rounded
from mlxllm.export.gguf import plan_gguf, vocabulary_of
from mlxllm.export.gguf_reading import file_format, read_model, tokens_equal
from mlxllm.export.gguf_types import TYPES
from mlxllm.export.gguf_vocabulary import (
    ANOTHER_SPACE,
    COMPOSES_NOTHING,
    READS_NO_NUL,
    READS_U2581_AS_SPACE,
    SPACE_BEHIND_SPECIALS,
    Vocabulary,
)
from mlxllm.export.gguf_weights import context_of
from mlxllm.export.judging import Bounds, Reference, Row, judge
from mlxllm.export.llama_cpp_reader import PYTHON_VARIABLE, llama_cpp_python, read_with_llama_cpp
from mlxllm.export.measuring import Logits, measure
from mlxllm.export.readers.running import Question, Reading
from mlxllm.export.verified import Verification
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer

GGUF_READERS = ("gguf", "llama.cpp")
"""Who reads a GGUF file: the package that wrote it, its numbers then computed by mlxllm; and llama.cpp."""
KEPT = 0.98
"""q8_0: the share of positions at which the likeliest token stays."""

HARM = 0.1
"""q8_0: nats a token of KL divergence below which lost tokens are those of a model that is undecided anyway."""

_NEAR_TIE = 0.05
"""Two tokens are near a tie if their logits are nearer than this share of the deviation of all logits."""
_BOUNDS = {"f32": Bounds(1e-3, 1e-5), "f16": Bounds(0.05, 2e-3, False), "bf16": Bounds(0.5, 2e-2, False)}
_TABLE = Bounds(1e-2, 1e-4)
"""float32 with GPT-2's activation, which llama.cpp looks up in a table in half precision."""
_REPORTED = Bounds(float("inf"), float("inf"), False)


def gguf_file(path: Path) -> Path | None:
    """The GGUF file at `path`: the path itself, or the only one in a folder without config.json; None for others.

    Raises:
        ConfigError: there are several.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("[!.]*.gguf")) or sorted(path.glob("*.gguf"))
    if not found or (path / "config.json").is_file():
        return None
    if len(found) > 1:
        raise ConfigError(f"{path} holds {len(found)} GGUF files; name the one that you mean")
    return found[0]


def chosen_gguf_readers(readers: Sequence[str]) -> list[str]:
    """The readers to ask, in the order of `GGUF_READERS`.

    Raises:
        ConfigError: one that was asked for is unknown or not installed.
    """
    if not readers or (unknown := [name for name in readers if name not in GGUF_READERS]):
        what = f"{unknown[0]!r} reads no GGUF file" if readers else "none is named"
        raise ConfigError(f"--readers: {what}; known are {', '.join(GGUF_READERS)}")
    if "llama.cpp" in readers and llama_cpp_python() is None:
        raise ConfigError(
            f"--readers: llama.cpp is not installed here; `pip install 'mlxllm[llama-cpp]'`, or let ${PYTHON_VARIABLE} name "
            f"a Python that has it"
        )
    return [name for name in GGUF_READERS if name in readers]


def verify_gguf(file: Path, against: LoadedModel, readers: Sequence[str] | None = None) -> Verification:
    """Compare a GGUF file with the model that it was made from.

    Args:
        file: of the format.
        against: the model.
        readers: names of `GGUF_READERS`; by default all, where llama.cpp may not be installed.

    Raises:
        ConfigError: a reader that was asked for is unknown or not installed.
        ModelError: the file is damaged, or the model cannot be in one.
    """
    wanted = list(GGUF_READERS) if readers is None else chosen_gguf_readers(readers)
    kind = file_format(file)
    model = rounded(against, mx.float32, mx.float32)
    question = question_for(model, "float32", context_of(model.config)[0])
    reference = reference_for(model, question, _BOUNDS.get(kind, _REPORTED))
    asked = _Asked(file, model, question, reference, kind, vocabulary_of(model))
    rows = []
    for reader in wanted:
        if reader == "llama.cpp" and llama_cpp_python() is None:
            rows.append(Row(reader, "not installed", note="`pip install 'mlxllm[llama-cpp]'` has it read the file"))
            continue
        try:
            rows.append(_by_gguf(asked) if reader == "gguf" else _by_llama_cpp(asked))
        except ModelError as error:
            rows.append(Row(reader, "failed", note=str(error)))
    return Verification(
        rows=tuple(rows),
        weights=kind,
        computed_in="float32",
        texts=len(question.texts),
        positions=len(question.sequence),
        greedy_tokens=question.max_tokens,
        max_logit_bound=reference.max_logit_bound,
        kl_bound=reference.bounds.kl,
        notes=plan_gguf(model, kind).notes,
    )


@dataclass(frozen=True)
class _Asked:
    """What both readers are asked, and held to."""

    file: Path
    model: LoadedModel
    question: Question
    reference: Reference
    kind: str
    vocabulary: Vocabulary


def _by_gguf(asked: _Asked) -> Row:
    """The numbers in the file, computed by us; its tokens have to be those that were to be written."""
    question, reference = asked.question, asked.reference
    model = read_model(asked.file, asked.model.config)
    there = replace(asked.model, model=model)
    found = measure(there, question.sequence, question.prompt, question.max_tokens)
    same = tokens_equal(asked.file, asked.vocabulary)
    reading = Reading(
        version("gguf"), reference.ids, list(found.prompt_ids), found.logits, list(found.greedy), reference.chat_ids
    )
    row = _judged("gguf", reading, reference, asked.kind)
    if (moved := _moved(model, asked.model.model, asked.kind)) != "":
        row = replace(row, status="failed", note=moved)
    if not same:
        row = replace(row, status="failed", ids_equal=False, note="its tokens are not those of the model's tokenizer")
    return row


def _moved(there: Transformer, here: Transformer, kind: str) -> str:
    """Which weights were moved further than rounding to a format does, in a few words; empty where none is."""
    theirs, most = named_parameters(there), TYPES[kind].rounding
    for name, weight in named_parameters(here).items():
        moved, size = (float(mx.linalg.norm(each.reshape(-1))) for each in (theirs[name] - weight, weight))
        if moved > most * size:
            share = f"{moved / size:.1%} of their size"
            return f"the weights {name} differ by {share}, and {kind} moves them by {most:.1%} at most"
    return ""


def _by_llama_cpp(asked: _Asked) -> Row:
    """llama.cpp on the same texts, but for what it is known to read otherwise."""
    question, reference, notes = asked.question, asked.reference, asked.vocabulary.notes
    if asked.kind == "f32" and asked.model.config.hidden_act == "gelu_new":
        reference = replace(reference, bounds=_TABLE)
    told = []
    texts = list(question.texts)
    if COMPOSES_NOTHING in notes:
        texts = [unicodedata.normalize("NFC", text) for text in texts]
        told.append("texts were composed (NFC) before")
    if READS_NO_NUL in notes:
        texts = [text.replace("\0", "") for text in texts]
        reference = replace(reference, ids=[asked.model.tokenizer.encode(text) for text in texts])
        told.append("U+0000 was left out of texts")
    if READS_U2581_AS_SPACE in notes:
        expected = [asked.model.tokenizer.encode(text.replace("\u2581", " ")) for text in texts]
        reference = replace(reference, ids=expected)
        told.append("U+2581 is a space")
    if ANOTHER_SPACE in notes:
        texts = [text.lstrip(" \u2581") for text in texts]
        reference = replace(reference, ids=[asked.model.tokenizer.encode(text) for text in texts])
        told.append("spaces at the beginning of a text were left out")
    if SPACE_BEHIND_SPECIALS in notes and reference.chat_ids is not None:
        reference = replace(reference, chat_ids=None)
        told.append("the conversation was left out, since llama.cpp writes more spaces")
    reference = replace(reference, texts=texts)
    read = read_with_llama_cpp(
        asked.file,
        texts,
        sequences=[question.sequence],
        prompt=question.prompt,
        max_tokens=question.max_tokens,
        messages=question.messages,
    )
    # Only a chat model's file has a template, and only then is one asked for.
    chat = read.chat_ids if reference.chat_ids is not None else None
    reading = Reading(read.version, read.ids, read.prompt_ids, read.logits[0], read.greedy, chat)
    row = _judged("llama.cpp", reading, reference, asked.kind)
    return replace(row, note="; ".join(filter(None, [row.note, *told])))


def _judged(reader: str, reading: Reading, reference: Reference, kind: str) -> Row:
    row = judge(reader, reading, reference)
    if kind == "f32" or row.max_logit_difference is None:
        return row
    kept, lost = top_tokens(reference.measured.logits, reading.logits)
    told = f"the likeliest token stays at {kept:.1%} of the positions"
    row = replace(row, top_kept=kept, note="; ".join(filter(None, [row.note, told])))
    if kind == "q8_0" and lost > 1 - KEPT and (row.kl or 0) > HARM:
        least = f"{told}; {lost:.1%} of them are no near-ties, and {kind} should lose {1 - KEPT:.0%} at most"
        return replace(row, status="failed", note=least)
    return row


def top_tokens(ours: Logits, theirs: Logits) -> tuple[float, float]:
    """Shares of the rows of two (T, V) arrays: where the largest is the same, and where it is lost though no near-tie."""
    rows = np.arange(len(ours))
    chosen = theirs.argmax(axis=-1)
    gap = ours.max(axis=-1) - ours[rows, chosen]
    return float((gap == 0).mean()), float((gap > _NEAR_TIE * ours.std(axis=-1)).mean())
