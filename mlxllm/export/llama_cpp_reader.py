"""What llama.cpp makes of a GGUF file: ids, logits and a greedy continuation, from a child process.

A damaged GGUF file can end the process that reads it, so it is never read in ours. The child needs `llama-cpp-python`
(extra `llama-cpp`), which may live in an interpreter of its own: $MLXLLM_LLAMA_CPP_PYTHON.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlxllm.errors import ConfigError, ModelError
from mlxllm.export.readers.children import Child

PYTHON_VARIABLE = "MLXLLM_LLAMA_CPP_PYTHON"

_CHILD = Path(__file__).parent / "readers" / "llama_cpp_child.py"

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LlamaCppReading:
    """What came back."""

    version: str
    """Of llama-cpp-python."""
    vocab_size: int
    ids: list[list[int]]
    """Of each text."""
    special_ids: list[list[int]]
    """The same where special tokens in a text count, and none goes before it."""
    logits: list[Logits]
    """(T, V) for each sequence."""
    prompt_ids: list[int]
    """With what goes before a text, if the prompt was one."""
    greedy: list[int]
    """The ids that follow the prompt."""
    greedy_logits: Logits
    """(max_tokens, V): what each of them was chosen from."""
    text: str
    """What `greedy` spells."""
    template: str | None
    eos_id: int
    chat_ids: list[int] | None
    """Of the messages and the beginning of an answer; None where the file has no template."""


def llama_cpp_python() -> str | None:
    """The interpreter that has llama-cpp-python: $MLXLLM_LLAMA_CPP_PYTHON, else this one if it does; else None.

    Raises:
        ConfigError: the variable names no file.
    """
    named = os.environ.get(PYTHON_VARIABLE, "")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"${PYTHON_VARIABLE} names {named}, which is not there; name a Python that has llama_cpp")
        return os.path.abspath(named)  # the child works in another folder
    return sys.executable if find_spec("llama_cpp") is not None else None


def read_with_llama_cpp(
    file: Path,
    texts: Sequence[str] = (),
    *,
    sequences: Sequence[Sequence[int]] = (),
    prompt: Sequence[int] | str = (),
    max_tokens: int = 0,
    messages: Sequence[Mapping[str, str]] | None = None,
    prefix: bool = False,
    python: str | None = None,
    timeout: float = 1800,
) -> LlamaCppReading:
    """Let llama.cpp read a GGUF file, on the CPU and with a float32 cache.

    Args:
        file: the GGUF file.
        texts: are tokenized.
        sequences: ids whose logits are computed at every position.
        prompt: ids, or a text, that are continued greedily; not empty if `max_tokens` is not 0.
        max_tokens: how many follow; no token ends it.
        messages: a conversation to render with the template in the file.
        prefix: whether what the file asks for goes before each text (BOS).
        python: an interpreter with llama-cpp-python; by default `llama_cpp_python()`.
        timeout: in seconds.

    Raises:
        ConfigError: there is no llama-cpp-python.
        ModelError: llama.cpp cannot load the file, or takes too long.
    """
    python = python or llama_cpp_python()
    if python is None:
        raise ConfigError(
            f"llama-cpp-python is not installed; install it with `pip install 'mlxllm[llama-cpp]'`, or let "
            f"${PYTHON_VARIABLE} name a Python that has it"
        )
    # What our process needs to find its own packages is none of the child's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with tempfile.TemporaryDirectory(prefix="mlxllm-llama-cpp-") as folder:
        arrays = Path(folder) / "arrays.npz"
        asked = {
            "file": str(file.absolute()),  # the child works in another folder
            "texts": list(texts),
            "sequences": [[int(i) for i in ids] for ids in sequences],
            "prompt": prompt if isinstance(prompt, str) else [int(i) for i in prompt],
            "messages": [dict(message) for message in messages] if messages else None,
            "max_tokens": max_tokens,
            "prefix": prefix,
            "arrays": str(arrays),
        }
        try:
            with Child([python, str(_CHILD)], asked, environment, Path(folder)) as child:
                ended = child.wait(timeout)
        except TimeoutError:
            raise ModelError(
                f"llama.cpp has not read {file} within {timeout:,.0f} seconds; try a shorter text"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"cannot start {python}: {error.strerror}; ${PYTHON_VARIABLE} should name a Python"
            ) from None
        if ended.code != 0:
            raise ModelError(f"llama.cpp cannot use {file}: {_why(ended.code, ended.stderr)}")
        found = json.loads(ended.stdout.splitlines()[-1])
        with np.load(arrays, allow_pickle=False) as stored:
            logits = [stored[f"logits_{number}"] for number in range(len(sequences))]
            chosen = stored["greedy_logits"] if max_tokens else np.zeros((0, found["vocab_size"]), np.float32)
    return LlamaCppReading(
        found["version"],
        found["vocab_size"],
        found["ids"],
        found["special_ids"],
        logits,
        found["prompt_ids"],
        found["greedy"],
        chosen,
        found.get("text", ""),
        found["template"],
        found["eos_id"],
        found["chat_ids"],
    )


def _why(code: int, stderr: str) -> str:
    """The last thing that the child said, or the signal that ended it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    return f"it was ended by signal {-code} ({said})" if code < 0 else said
