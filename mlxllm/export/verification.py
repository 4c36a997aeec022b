"""The proof that what left is what was trained: every reader that is installed against the model itself.

Each reader opens the finished folder in a process of its own, and is asked for

- the ids of a fixed text in many scripts, and of a rendered conversation where the model has a chat template,
- the logits after each of up to 256 tokens of that text,
- 64 tokens that continue a fixed prompt greedily, through the reader's own cache.

All of it is computed in float32, by weights that were first rounded to the dtype of the file: so a bfloat16 file is held to
the same bounds as a float32 file. Only where memory is too small for that do both sides compute in the file's dtype, with
wider bounds. See `judging` for the bounds.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.conversation.template_files import template_with
from mlxllm.errors import ConfigError, ModelError, OutOfMemoryError
from mlxllm.export.hf import dtype_of, plain_model
from mlxllm.export.hf_files import CONFIG_FILE, DTYPES, OURS, dtype_name
from mlxllm.export.judging import Bounds, Reference, Row, bounds_for, judge, quantised_bounds
from mlxllm.export.measuring import chat_ids, measure
from mlxllm.export.memory import free_memory
from mlxllm.export.provenance import original_of
from mlxllm.export.readers.limits import why_not
from mlxllm.export.readers.running import PEERS_PYTHON, Question, Spelling, ask, ask_ids, lacking, python_with
from mlxllm.export.sample_text import MESSAGES, PROMPT, SAMPLES
from mlxllm.export.tokenizers import is_own
from mlxllm.model.hf_folder import BASE, model_with, read_hf_config
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.model.module import named_parameters
from mlxllm.model.weight_files import read_object
from mlxllm.runs.events import strict_json
from mlxllm.runs.files import write_json_atomic

VERIFICATION_FILE = "verification.json"
READERS = ("mlxllm", "transformers", "mlx-lm")
"""Who reads a folder in Hugging Face's form."""
POSITIONS = 256
GREEDY_TOKENS = 64

_SHAPE = "vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads num_experts".split()


@dataclass(frozen=True)
class Verification:
    """All rows, and what they were measured with."""

    rows: tuple[Row, ...]
    weights: str
    """Dtype of the file, or how it is quantised."""
    computed_in: str
    texts: int
    positions: int
    greedy_tokens: int
    max_logit_bound: float
    """Of what a logit may differ by; a row that was excused for more says so in its note (see `judging`)."""
    kl_bound: float
    notes: tuple[str, ...] = ()
    """What is otherwise in the file than in the model by necessity, a sentence each."""

    @property
    def passed(self) -> bool:
        """No reader found a difference, and one at least has looked."""
        statuses = [row.status for row in self.rows]
        return "failed" not in statuses and "passed" in statuses

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            **asdict(self),
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    @property
    def differs(self) -> bool:
        """A reader has read it, and found another model; else those that failed could not read it."""
        return any(row.status == "failed" and row.ids_equal is not None for row in self.rows)

    @property
    def only_ourselves(self) -> bool:
        """Other readers could have looked, were they installed."""
        passed = [row.reader for row in self.rows if row.status == "passed"]
        return passed == ["mlxllm"] and any(row.status == "not installed" for row in self.rows)

    def failure(self) -> str:
        """What the first reader that differs found, or else why one could not read it, in a sentence."""
        failed = sorted((row for row in self.rows if row.status == "failed"), key=lambda row: row.ids_equal is None)
        told = (f"{row.reader}: {row.note}" for row in failed)
        skipped = (f", since {row.note}" for row in self.rows if row.status == "skipped")
        return next(told, f"no reader that is installed could look at it{next(skipped, '')}")


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
    from mlxllm.export.gguf_verification import gguf_file, verify_gguf  # it judges by what is here

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
    short = _within_window(model, question, reference)
    rows = []
    for reader in chosen:
        if python_with(reader) is None:
            rows.append(Row(reader, "not installed", note=lacking(reader)))
        elif reason := why_not(
            reader, config, raw, own_tokenizer=is_own(against.tokenizer), packed=isinstance(packed, dict)
        ):
            rows.append(Row(reader, "skipped", note=reason))
        else:
            held_to, asked, note = reference, question, ""
            if reader == "mlxllm" and first is not reference:
                held_to, note = first, "beside the model before it was packed; others beside the packed one"
            if reader == "mlx-lm" and short is not None:
                asked, held_to, note = (
                    *short,
                    f"compared within the window of {against.config.sliding_window} tokens only",
                )
            rows.append(_row(reader, folder, asked, held_to, note, original_of(against)))
    return Verification(
        rows=tuple(rows),
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
    if (short := _within_window(loaded, question, reference)) is not None:
        question, reference = short
    return _row(reader, loaded.path, question, reference, "", None)


class DifferentError(ModelError):
    """An export is not the model that it was made from."""

    def __init__(self, verification: Verification) -> None:
        what = "the export differs from the model" if verification.differs else "the export could not be read back"
        super().__init__(
            f"{what}, so it was not kept: {verification.failure()}; --readers leaves a reader out, and --no-verify writes "
            f"without looking"
        )
        self.verification = verification


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


def is_export(folder: Path) -> bool:
    """Whether an export of ours made the folder: it has been verified, or its config.json has our key."""
    if (folder / VERIFICATION_FILE).is_file():
        return True
    with suppress(ModelError):
        return (folder / CONFIG_FILE).is_file() and OURS in read_object(folder / CONFIG_FILE)
    return False


def write_verification(folder: Path, verification: Verification) -> None:
    """Write verification.json into the folder.

    Raises:
        UserError: it cannot be written.
    """
    write_json_atomic(folder / VERIFICATION_FILE, strict_json(verification.as_dict()))


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


def _row(reader: str, folder: Path, question: Question, reference: Reference, note: str, came: Path | None) -> Row:
    """What a reader makes of a folder; `came` is the folder that the model came from, if it reads that as well."""
    cpu = mx.default_device().type == mx.DeviceType.cpu
    try:
        reading = ask(reader, folder, question, cpu=cpu)
    except ModelError as error:
        return Row(reader, "failed", note=str(error))
    row = judge(reader, reading, reference)
    if not row.ids_equal and reader != "mlxllm" and came is not None:
        with suppress(ModelError):  # it reads the original even less
            there = ask_ids(reader, came, question, cpu=cpu)
            if there == Spelling(reading.ids, reading.prompt_ids, reading.chat_ids):
                excuse = f"{reader} reads the original folder by the same other ids"
                row = judge(reader, reading, reference, excuse)
    return replace(row, note="; ".join(filter(None, [row.note, note])))


def _within_window(loaded: LoadedModel, question: Question, reference: Reference) -> tuple[Question, Reference] | None:
    """A shorter question, where a sliding window is shorter than ours: mlx-lm attends to everything before."""
    window = loaded.config.sliding_window
    prompt = len(reference.measured.prompt_ids)
    if window is None or window >= max(len(question.sequence), prompt + question.max_tokens):
        return None
    shorter = question_for(loaded, question.dtype, window)
    return shorter, reference_for(loaded, shorter, reference.bounds)


def question_for(loaded: LoadedModel, computed_in: str | None, longest: int) -> Question:
    """What readers are asked.

    Args:
        loaded: the model.
        computed_in: the dtype to compute in.
        longest: tokens of a sequence, or of a prompt and what follows, at most.
    """
    tokenizer = loaded.tokenizer
    sequence = list(tokenizer.prefix_ids) + [i for text in SAMPLES for i in tokenizer.encode(text)]
    max_tokens = min(GREEDY_TOKENS, max(1, longest // 2))
    prompt = PROMPT
    while len(tokenizer.encode_begun(prompt)) > max(1, longest - max_tokens) and len(prompt) > 1:
        prompt = prompt[: len(prompt) * 3 // 4]
    own = is_own(tokenizer)
    speaks = loaded.history[-1] != BASE if own else template_with(loaded.tokenizer_directory) is not None
    return Question(
        texts=SAMPLES,
        sequence=sequence[: min(POSITIONS, longest)],
        prompt=prompt,
        max_tokens=max_tokens,
        messages=MESSAGES if speaks else None,
        dtype=computed_in,
    )


def reference_for(loaded: LoadedModel, question: Question, bounds: Bounds) -> Reference:
    """What a reader should find."""
    return Reference(
        ids=[loaded.tokenizer.encode(text) for text in question.texts],
        chat_ids=chat_ids(loaded, question.messages) if question.messages else None,
        measured=measure(loaded, question.sequence, question.prompt, question.max_tokens),
        bounds=bounds,
        texts=question.texts,
    )


def rounded(loaded: LoadedModel, stored: mx.Dtype, compute: mx.Dtype) -> LoadedModel:
    """The model without adapters, its weights rounded as a file of the dtype `stored` has them, computing in `compute`."""
    model = plain_model(loaded)
    weights = {name: weight.astype(stored).astype(compute) for name, weight in named_parameters(model).items()}
    return replace(loaded, model=model_with(model.config, weights))


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
