"""A GGUF file read back by the `gguf` package, numbers as they stand in it: what of an export needs no llama.cpp.

That package reads with numpy and checks as it goes; MLX's own reader can be ended by a damaged file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlxllm.config import ModelConfig
from mlxllm.errors import ModelError
from mlxllm.export.gguf_types import TYPES
from mlxllm.export.gguf_vocabulary import Vocabulary
from mlxllm.export.gguf_weights import Values, architecture_for, weights_from
from mlxllm.model.hf_folder import model_with
from mlxllm.model.transformer import Transformer

Result = TypeVar("Result")


def read_model(file: Path, config: ModelConfig) -> Transformer:
    """The model in a file, computing in float32 with weights as they are after rounding.

    Args:
        file: a GGUF file.
        config: what it should hold.

    Raises:
        ModelError: it is damaged, or holds another model.
    """
    architecture = architecture_for(config)

    def read() -> dict[str, Values]:
        reader = _open(file)
        name = _content(reader, "general.architecture")
        if name != architecture.name:
            raise ModelError(
                f"{file} holds the architecture {name!r}, and the model is {architecture.name!r}; give that"
            )
        return {tensor.name: _values(tensor) for tensor in reader.tensors}

    return model_with(config, weights_from(config, _carefully(file, read), architecture))


def file_format(file: Path) -> str:
    """What the matrices of a file are in, a key of `gguf_types.TYPES`.

    Raises:
        ModelError: it is damaged, or in a format that is not written here.
    """

    def read() -> str:
        import gguf

        number = _content(_open(file), "general.file_type")
        name = gguf.LlamaFileType(number).name if number is not None else "nothing"
        return next((kind.name for kind in TYPES.values() if kind.file_type == name), f"?{name}")

    name = _carefully(file, read)
    if name.startswith("?"):
        raise ModelError(f"{file} is of the format {name[1:]}, and mlxllm compares {', '.join(TYPES)}")
    return name


def tokens_equal(file: Path, vocabulary: Vocabulary) -> bool:
    """Whether a file holds these tokens, with their types, scores and merges.

    Raises:
        ModelError: it is damaged.
    """

    def same() -> bool:
        reader = _open(file)
        found = {
            name: _content(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "token_type", "scores", "merges")
        }
        return (
            found["tokens"] == list(vocabulary.tokens)
            and found["token_type"] == [int(kind) for kind in vocabulary.types]
            and (found["scores"] or []) == list(vocabulary.scores)
            and (found["merges"] or []) == list(vocabulary.merges)
        )

    return _carefully(file, same)


def _open(file: Path) -> Any:
    import gguf

    return gguf.GGUFReader(file)


def _content(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _values(tensor: Any) -> Values:
    import gguf

    shape = tuple(int(n) for n in reversed(tensor.shape))
    values: Values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return values


def _carefully(file: Path, read: Callable[[], Result]) -> Result:
    try:
        return read()
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, NotImplementedError, OSError) as error:
        raise ModelError(
            f"{file} is not a usable GGUF file ({type(error).__name__}: {error}); export it again"
        ) from None
