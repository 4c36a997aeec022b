"""`export --format gguf`: a model in one file, as llama.cpp, Ollama and LM Studio load it.

The format is that of the ggml project (gguf.md there), written by its `gguf` package: settings, tokenizer, chat template
and weights. One tensor is converted at a time, so that writing takes little more memory than the model has already.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlxllm.conversation.own_format import OWN_TEMPLATE
from mlxllm.conversation.template_files import template_with
from mlxllm.errors import ModelError, UserError
from mlxllm.export.gguf_about import about as about_of
from mlxllm.export.gguf_types import SMALL, TYPES, TensorType, encoded, encoded_bytes, tensor_type, type_for
from mlxllm.export.gguf_vocabulary import Vocabulary, own_vocabulary
from mlxllm.export.gguf_weights import Architecture, Tensor, architecture_for, context_of, settings_of, tensors_of
from mlxllm.export.hf import plain_model
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters
from mlxllm.runs.files import fsync_directory, fsync_file


@dataclass(frozen=True)
class GgufExport:
    """What was written."""

    path: Path
    architecture: str
    """llama.cpp's name of it."""
    dtype: str
    tensors: dict[str, int]
    """Format -> number of tensors in it."""
    parameters: int
    bytes: int
    notes: tuple[str, ...]
    """What is otherwise than in the model, a sentence each."""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "path": str(self.path), "notes": list(self.notes)}


def write_gguf(
    loaded: LoadedModel,
    file: Path,
    *,
    dtype: str = "f16",
    about: str = "",
    licence: str = "",
    check: Callable[[Path], None] | None = None,
) -> GgufExport:
    """Write a model as a GGUF file; adapters are merged and packed matrices unpacked on the way.

    Args:
        loaded: the model and its tokenizer.
        file: must not exist; it appears when it is whole. Its folder is made.
        dtype: format of the matrices, a key of `gguf_types.TYPES`.
        about: a line for `general.description`; by default its stages, their data and licences.
        licence: of the weights, where that is known (an SPDX name), for `general.license`.
        check: called with the written file before it gets its name; if it raises, nothing is left.

    Raises:
        ConfigError: an unknown format.
        ModelError: llama.cpp has no such architecture or tokenizer (the message says what is in the way), weights that do
            not fit the format, or `file` is there.
        UserError: it cannot be written.
    """
    plan = plan_gguf(loaded, dtype, about, licence)
    if os.path.lexists(file):
        raise ModelError(f"{file} exists already; name a new file, or remove that one first")
    file = Path(os.path.abspath(file))
    partial = file.with_name(f".{file.stem}.{os.getpid()}.partial.gguf")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        plan.write(partial)
        with open(partial, "rb") as written:
            fsync_file(written.fileno())
        if check is not None:
            check(partial)
        partial.rename(file)
        fsync_directory(file.parent)
    except OSError as error:
        raise UserError(
            f"cannot write the model to {file}: {error.strerror or error}; make room there, or choose another folder"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return plan.told(file)


@dataclass(frozen=True)
class GgufPlan:
    """A file that is to be written, of a model that can be in one."""

    loaded: LoadedModel
    architecture: Architecture
    kind: TensorType
    vocabulary: Vocabulary
    tensors: Sequence[Tensor]
    kinds: Mapping[str, TensorType]
    """By the names of the tensors."""
    head: str
    """The tensor that makes the logits."""
    about: str
    licence: str

    @property
    def bytes(self) -> int:
        """Of the tensors, which are nearly the whole file."""
        return sum(encoded_bytes(each.shape, self.kinds[each.name]) for each in self.tensors)

    @property
    def counts(self) -> dict[str, int]:
        """Format -> number of tensors in it."""
        return dict(Counter(kind.name for kind in self.kinds.values()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What will be otherwise than in the model, a sentence each."""
        kind, head, notes = self.kind, self.kinds[self.head], []
        if (n := self.counts.get("f16", 0)) and kind.block > 1:
            why = f"where rows are no multiple of the {kind.block} numbers that share a scale"
            if kind.name == "q8_0" and head is TYPES["f16"]:
                why += ", and since the model is small, where they write to the residual stream or make the logits"
            notes.append(f"{n} of {len(self.kinds)} tensors of this {kind.name} file stay f16: {why}")
        if head is TYPES["q8_0"] and kind is not head:
            notes.append("the matrix that makes the logits is q8_0")
        if (told := context_of(self.loaded.config)[1]) != "":
            notes.append(told)
        return (*notes, *self.vocabulary.notes)

    def write(self, file: Path) -> None:
        """Write it as it comes.

        Raises:
            ModelError: weights that do not fit the format.
            OSError: the disk refuses; what was written is still there.
        """
        writer = _writer(file, self.architecture.name)
        try:
            _add_general(writer, self.loaded, self.kind, self.about, self.licence)
            for key, value in settings_of(self.loaded.config, self.architecture).items():
                _add(writer, f"{self.architecture.name}.{key}", value)
            _add_vocabulary(writer, self.vocabulary)
            if (template := chat_template(self.loaded)) is not None:
                writer.add_chat_template(template)
            _write_tensors(writer, self.tensors, self.kinds)
        finally:
            writer.close()

    def told(self, file: Path) -> GgufExport:
        """What was written, where it lies now."""
        parameters = sum(weight.size for weight in named_parameters(self.loaded.model).values())
        size = file.stat().st_size
        return GgufExport(file, self.architecture.name, self.kind.name, self.counts, parameters, size, self.notes)


def plan_gguf(loaded: LoadedModel, dtype: str, about: str = "", licence: str = "") -> GgufPlan:
    """What a file of this format will hold.

    Raises:
        ConfigError: an unknown format.
        ModelError: llama.cpp has no such architecture or tokenizer (the message says what is in the way).
    """
    kind = tensor_type(dtype)
    architecture = architecture_for(loaded.config)
    vocabulary = vocabulary_of(loaded)
    loaded = replace(loaded, model=plain_model(loaded))
    weights = named_parameters(loaded.model)
    tensors = list(tensors_of(loaded.config, weights, architecture))
    head = "token_embd.weight" if loaded.config.tie_word_embeddings else "output.weight"
    small = sum(weight.size for weight in weights.values()) < SMALL
    kinds = {each.name: type_for(each.name, each.shape, kind, head=head, small=small) for each in tensors}
    return GgufPlan(loaded, architecture, kind, vocabulary, tensors, kinds, head, about, licence)


def vocabulary_of(loaded: LoadedModel) -> Vocabulary:
    """The tokenizer of a model, as the file holds it.

    Raises:
        ModelError: llama.cpp has no such tokenizer.
    """
    if loaded.tokenizer.kind != "hub":
        return own_vocabulary(loaded.tokenizer, loaded.config.vocab_size)
    from mlxllm.export.gguf_foreign import foreign_vocabulary  # our own need nothing of it

    return foreign_vocabulary(loaded.tokenizer, loaded.config.vocab_size)


def chat_template(loaded: LoadedModel) -> str | None:
    """The Jinja source of its chat template: the one that came with it, or that of our own format; a base has none."""
    template = template_with(loaded.tokenizer_directory)
    if template is not None:
        return template.source
    return None if loaded.kind == "base" else OWN_TEMPLATE


def _writer(path: Path, architecture: str) -> Any:
    import gguf

    # It tells its plan and its doubts to the log, which is not ours to fill.
    logging.getLogger("gguf.gguf_writer").setLevel(logging.ERROR)
    return gguf.GGUFWriter(path, architecture)


def _add_general(writer: Any, loaded: LoadedModel, kind: TensorType, about: str, licence: str) -> None:
    import gguf

    writer.add_type("model")
    writer.add_name(_name(loaded))
    writer.add_description(about or about_of(loaded))
    writer.add_license(licence)  # leaves an empty one out
    writer.add_file_type(int(gguf.LlamaFileType[kind.file_type]))
    writer.add_quantization_version(int(gguf.GGML_QUANT_VERSION))


def _name(loaded: LoadedModel) -> str:
    """What the model calls itself: its run, or its folder."""
    if loaded.step is None:
        return Path(os.path.abspath(loaded.path)).name
    return f"{loaded.path.parent.parent.name} (step {loaded.step:,})"


def _add(writer: Any, key: str, value: int | float | str) -> None:
    if isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list([token.encode("utf-8") for token in vocabulary.tokens])
    writer.add_token_types([int(kind) for kind in vocabulary.types])
    if vocabulary.scores:
        writer.add_token_scores([float(score) for score in vocabulary.scores])
    if vocabulary.merges:
        writer.add_token_merges(list(vocabulary.merges))
    writer.add_eos_token_id(vocabulary.eos_id)
    for add, token_id in (
        (writer.add_bos_token_id, vocabulary.bos_id),
        (writer.add_unk_token_id, vocabulary.unk_id),
        (writer.add_pad_token_id, vocabulary.pad_id),
        (writer.add_eot_token_id, vocabulary.eot_id),
    ):
        if token_id is not None:
            add(token_id)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(False)
    if vocabulary.model == "llama":
        writer.add_add_space_prefix(vocabulary.add_space_prefix)
        writer.add_remove_extra_whitespaces(False)


def _write_tensors(writer: Any, tensors: Sequence[Tensor], kinds: Mapping[str, TensorType]) -> None:
    import numpy as np

    for tensor in tensors:
        kind = kinds[tensor.name]
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), encoded_bytes(tensor.shape, kind), kind.number
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(encoded(tensor.values(), kinds[tensor.name], tensor.name))
