"""The proof that what left is what was trained: every reader that is installed against the model itself.

Each reader opens the finished folder in a process of its own, beside the others where memory allows, and is asked for

- the ids of a fixed text in many scripts, and of a rendered conversation where the model has a chat template,
- the logits after each of up to 256 tokens of that text,
- 64 tokens that continue a fixed prompt greedily, through the reader's own cache.

All of it is computed in float32, by weights that were first rounded to the dtype of the file: so a bfloat16 file is held to
the same bounds as a float32 file. Only where memory is too small for that do both sides compute in the file's dtype, with
wider bounds. See `judging` for the bounds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.errors import ConfigError, ModelError, OutOfMemoryError
from mlxllm.export.asking import question_for, reference_for, rounded, within_window
from mlxllm.export.gguf_verification import gguf_file, verify_gguf
from mlxllm.export.hf import dtype_of
from mlxllm.export.hf_files import CONFIG_FILE, DTYPES, dtype_name
from mlxllm.export.judging import Reference, Row, bounds_for, judge, quantised_bounds
from mlxllm.export.memory import free_memory
from mlxllm.export.provenance import original_of
from mlxllm.export.readers.limits import why_not
from mlxllm.export.readers.running import PEERS_PYTHON, Question, Spelling, ask, ask_ids, lacking, python_with
from mlxllm.export.tokenizers import is_own
from mlxllm.export.verified import DifferentError, Verification, write_verification
from mlxllm.model.hf_folder import read_hf_config
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.model.module import named_parameters
from mlxllm.model.weight_files import read_object

READERS = ("mlxllm", "transformers", "mlx-lm")
"""Who reads a folder in Hugging Face's form."""
_LIBRARIES = 1e9
"""Bytes that a reader takes besides the model, PyTorch most of them."""
_SHAPE = "vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads num_experts".split()


def verify(folder: Path, against: LoadedModel, readers: Sequence[str] | None = None) -> Verification:
    """Compare what is in a folder, as each reader reads it, with the model that it was made from.

    Args:
        folder: in Hugging Face's form, or a GGUF file, or a folder with one.
        against: the model.
        readers: names of `READERS` (of `gguf_verification.GGUF_READERS`); by default all that are installed.

    Raises:
        ConfigError: a reader that was asked for is unknown or not installed.
        ModelError: the folder is no model, or one of another shape.
        OutOfMemoryError: there is no room for the model once more.
    """
    if (file := gguf_file(folder)) is not None:
        return verify_gguf(file, against, readers)
    chosen = chosen_readers(readers)
    config = read_hf_config(folder)
    raw = read_object(folder / CONFIG_FILE)
    _check_shape(folder, config, against)
    stored = DTYPES.get(str(raw.get("dtype") or raw.get("torch_dtype")), mx.float32)
    computed_in = _computed_in(against, stored)
    question = question_for(against, computed_in, against.config.max_position_embeddings)
    packed = raw.get("quantization")
    model = rounded(against, stored, DTYPES[computed_in])
    first = reference = reference_for(model, question, bounds_for(computed_in))
    if isinstance(packed, dict):
        # Packed matrices are another model, near to the first. Whether others read them as we do is another question.
        first = replace(reference, bounds=quantised_bounds(int(packed.get("bits", 4))))
        model = load_model(str(folder.absolute()), dtype=DTYPES[computed_in])
        reference = reference_for(model, question, reference.bounds)
    short = within_window(model, question, reference)
    told: dict[str, Row] = {}
    asked: list[_Asked] = []
    for reader in chosen:
        if python_with(reader) is None:
            told[reader] = Row(reader, "not installed", note=lacking(reader))
        elif reason := why_not(
            reader, config, raw, own_tokenizer=is_own(against.tokenizer), packed=isinstance(packed, dict)
        ):
            told[reader] = Row(reader, "skipped", note=reason)
        elif reader == "mlxllm" and first is not reference:
            note = "beside the model before it was packed; others beside the packed one"
            asked.append(_Asked(reader, question, first, note))
        elif reader == "mlx-lm" and short is not None:
            note = f"compared within the window of {against.config.sliding_window} tokens only"
            asked.append(_Asked(reader, *short, note))
        else:
            asked.append(_Asked(reader, question, reference))
    told |= {row.reader: row for row in _rows(asked, folder, original_of(against), _at_once(model))}
    return Verification(
        rows=tuple(told[reader] for reader in chosen),
        weights=_packing(packed) if isinstance(packed, dict) else dtype_name(stored),
        computed_in=computed_in,
        texts=len(question.texts),
        positions=len(question.sequence),
        greedy_tokens=question.max_tokens,
        max_logit_bound=reference.max_logit_bound,
        kl_bound=reference.bounds.kl,
    )


def compare_folder(loaded: LoadedModel, reader: str) -> Row:
    """How a reader that is installed reads the folder that a model came from, computing as both do when they are used.

    Nothing is unpacked or cast: so it takes little more memory than the model once more.

    Raises:
        ModelError: this device cannot compute it.
        OutOfMemoryError: there is not that much.
    """
    if (size := sum(weight.nbytes for weight in named_parameters(loaded.model).values())) > (free := free_memory()):
        raise OutOfMemoryError(
            f"verification needs the model once more in memory, {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free; "
            f"close other programs, or leave it out with --no-verify"
        )
    question = question_for(loaded, None, loaded.config.max_position_embeddings)
    try:
        reference = reference_for(loaded, question, bounds_for(dtype_name(dtype_of(loaded.model))))
    except RuntimeError as error:  # MLX has not every operation in every dtype on a CPU
        raise ModelError(
            f"{loaded.name} cannot be computed on this device, by mlx-lm neither: {error}; take it in float32, or a machine "
            f"with a GPU"
        ) from None
    if (short := within_window(loaded, question, reference)) is not None:
        question, reference = short
    [row] = _rows([_Asked(reader, question, reference)], loaded.path, None, 1)
    return row


def checked(
    against: LoadedModel, found: list[Verification], readers: Sequence[str] | None = None
) -> Callable[[Path], None]:
    """A `check` for the writers: it verifies the folder, writes verification.json into it, and adds the result to `found`.

    It raises `DifferentError` where a reader differs, so that nothing is left under the final name.
    """

    def check(folder: Path) -> None:
        verification = verify(folder, against, readers)
        if not verification.passed:
            raise DifferentError(verification)
        write_verification(folder, verification)
        found.append(verification)

    return check


def chosen_readers(readers: Sequence[str] | None, known: Sequence[str] = READERS) -> list[str]:
    """The readers to ask, in the order of `known`.

    Raises:
        ConfigError: one that was asked for is unknown or not installed.
    """
    if readers is None:
        return list(known)
    if not readers or (unknown := [name for name in readers if name not in known]):
        what = f"{unknown[0]!r} is not one" if readers else "none is named"
        raise ConfigError(f"--readers: {what}; known are {', '.join(known)}")
    if missing := [name for name in readers if python_with(name) is None]:
        raise ConfigError(
            f"--readers: {missing[0]} {lacking(missing[0]) or 'is not installed here'}; install it beside mlxllm, or let "
            f"${PEERS_PYTHON} name a Python that has it"
        )
    return [name for name in known if name in readers]


@dataclass(frozen=True)
class _Asked:
    """What a reader is asked, and held to."""

    reader: str
    question: Question
    reference: Reference
    note: str = ""


def _rows(asked: Sequence[_Asked], folder: Path, came: Path | None, at_once: int) -> Iterator[Row]:
    """What readers make of a folder; `came` is the folder that the model came from, if they read that as well."""
    cpu = mx.default_device().type == mx.DeviceType.cpu
    found = ask([(each.reader, each.question) for each in asked], folder, cpu=cpu, at_once=at_once)
    for each, reading in zip(asked, found, strict=True):
        if isinstance(reading, ModelError):
            yield Row(each.reader, "failed", note=str(reading))
            continue
        row = judge(each.reader, reading, each.reference)
        if not row.ids_equal and each.reader != "mlxllm" and came is not None:
            with suppress(ModelError):  # it reads the original even less
                there = ask_ids(each.reader, came, each.question, cpu=cpu)
                if there == Spelling(reading.ids, reading.prompt_ids, reading.chat_ids):
                    excuse = f"{each.reader} reads the original folder by the same other ids"
                    row = judge(each.reader, reading, each.reference, excuse)
        yield replace(row, note="; ".join(filter(None, [row.note, each.note])))


def _at_once(loaded: LoadedModel) -> int:
    """How many readers have room beside each other: one may hold the weights twice while it loads them."""
    size = sum(weight.nbytes for weight in named_parameters(loaded.model).values())
    return max(1, int(free_memory() / (2 * size + _LIBRARIES)))


def _computed_in(loaded: LoadedModel, stored: mx.Dtype) -> str:
    """float32 where the model fits into memory twice in it, here and in a reader; else the dtype of the file.

    Raises:
        OutOfMemoryError: not even that fits.
    """
    count = sum(weight.size for weight in named_parameters(loaded.model).values())
    free = free_memory()
    for dtype in (mx.float32, stored):
        if 2 * count * dtype.size < free:
            return dtype_name(dtype)
    raise OutOfMemoryError(
        f"verification needs the model twice in memory, {2 * count * stored.size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB "
        f"are free; close other programs, or leave it out with --no-verify"
    )


def _check_shape(folder: Path, config: ModelConfig, against: LoadedModel) -> None:
    for field in _SHAPE:
        there, here = getattr(config, field), getattr(against.config, field)
        if there != here:
            raise ModelError(
                f"{folder} holds a model with {field} {there:,}, and {against.name} has {here:,}: it was made from another "
                f"model; give that"
            )


def _packing(settings: Mapping[str, Any]) -> str:
    return f"{settings.get('mode', 'affine')} of {settings.get('bits')} bits in groups of {settings.get('group_size')}"
