"""Asking a library about a folder: which Python has it, and what it answers."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlxllm.errors import ModelError
from mlxllm.export.readers.children import Child

PEERS_PYTHON = "MLXLLM_PEERS_PYTHON"
"""Environment variable: a Python that has transformers and torch, or mlx-lm, where this one has not."""

_MODULES = {"transformers": ("transformers", "torch"), "mlx-lm": ("mlx_lm",), "mlxllm": ()}
_CHILD = Path(__file__).with_name("child.py")
_ROOT = Path(__file__).parents[3]
_LONGEST_SECONDS = 3600

_Told = tuple[dict[str, Any], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Question:
    """What each reader is asked about a folder."""

    texts: Sequence[str]
    """To encode."""
    sequence: Sequence[int]
    """Ids whose logits are wanted."""
    prompt: str
    """Is continued greedily."""
    max_tokens: int
    messages: Sequence[Mapping[str, str]] | None
    """To render with the chat template; None where there is none."""
    dtype: str | None
    """What to compute in; None for the dtype of the weights."""


@dataclass(frozen=True)
class Reading:
    """What a reader made of it."""

    version: str
    ids: list[list[int]]
    """Of each text."""
    prompt_ids: list[int]
    logits: npt.NDArray[np.float32]
    """(T, V) after each id of the sequence."""
    greedy: list[int]
    """What follows the prompt."""
    chat_ids: list[int] | None
    """Of the messages and the beginning of an answer."""


@dataclass(frozen=True)
class Spelling:
    """What a reader's tokenizer made of the same question."""

    ids: list[list[int]]
    prompt_ids: list[int]
    chat_ids: list[int] | None


def python_with(reader: str) -> str | None:
    """The interpreter that has a reader's libraries: this one, else $MLXLLM_PEERS_PYTHON; None if neither has."""
    modules = _MODULES[reader]
    if all(find_spec(name) is not None for name in modules):
        return sys.executable
    other = os.environ.get(PEERS_PYTHON, "")
    if Path(other).is_file():
        other = os.path.abspath(other)  # the child works in another folder
    return other if other and _has(other, modules) else None


def lacking(reader: str) -> str:
    """What a reader that is installed here needs besides itself, as `needs torch`; empty where it is not here at all."""
    itself, *others = _MODULES[reader] or ("mlxllm",)
    if find_spec(itself) is None:
        return ""
    missing = [name for name in others if find_spec(name) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


@cache
def _has(python: str, modules: tuple[str, ...]) -> bool:
    look = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in {modules!r}))"
    try:
        return subprocess.run([python, "-c", look], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def ask(asked: Sequence[tuple[str, Question]], folder: Path, *, cpu: bool, at_once: int) -> list[Reading | ModelError]:
    """What readers that are installed make of a folder, each in a process of its own.

    Args:
        asked: names of readers, and what to find out from each.
        folder: with config.json, weights and tokenizer.
        cpu: stay off the GPU.
        at_once: how many may run beside each other; each holds the whole model.

    Returns:
        What each has found, or an error with its own words where it cannot read the folder.
    """
    found: list[Reading | ModelError] = []
    for first in range(0, len(asked), at_once):
        with ExitStack() as stack:
            begun = [
                stack.enter_context(_begun(reader, folder, question, cpu, ids_only=False))
                for reader, question in asked[first : first + at_once]
            ]
            for answer in begun:
                try:
                    told, logits = answer()
                    found.append(Reading(**told, logits=logits))
                except ModelError as error:
                    found.append(error)
    return found


def ask_ids(reader: str, folder: Path, question: Question, *, cpu: bool) -> Spelling:
    """What the tokenizer of a folder makes of texts in a reader that is installed; no weights are read.

    Args:
        reader: `transformers`, `mlx-lm` or `mlxllm`.
        folder: with config.json, weights and tokenizer.
        question: what to find out.
        cpu: stay off the GPU.

    Raises:
        ModelError: it cannot read the folder; the message has its own words.
    """
    with _begun(reader, folder, question, cpu, ids_only=True) as answer:
        told, _ = answer()
    return Spelling(told["ids"], told["prompt_ids"], told["chat_ids"])


@contextmanager
def _begun(
    reader: str, folder: Path, question: Question, cpu: bool, *, ids_only: bool
) -> Iterator[Callable[[], _Told]]:
    """A reader that is at work; what is given waits for its answer."""
    python = python_with(reader)
    assert python is not None
    # Nothing is fetched, and nothing of this folder is looked up elsewhere.
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "0",
    }
    if reader == "mlxllm":
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="mlxllm-verify-") as scratch:
        logits, answer = Path(scratch) / "logits.npy", Path(scratch) / "answer.json"
        request: dict[str, Any] = {
            "folder": str(folder.absolute()),
            "texts": list(question.texts),
            "sequence": [int(i) for i in question.sequence],
            "prompt": question.prompt,
            "max_tokens": question.max_tokens,
            "messages": [dict(message) for message in question.messages] if question.messages else None,
            "dtype": question.dtype,
            "cpu": cpu,
            "ids_only": ids_only,
            "logits": str(logits),
            "answer": str(answer),
        }
        with Child([python, str(_CHILD), reader], request, environment, Path(scratch)) as child:
            yield partial(_told, reader, child, answer, None if ids_only else logits)


def _told(reader: str, child: Child, answer: Path, logits: Path | None) -> _Told:
    """All that a reader tells but the logits, and these."""
    try:
        ended = child.wait(_LONGEST_SECONDS)
    except TimeoutError:
        raise ModelError(f"{reader} had not read the model after {_LONGEST_SECONDS // 60} minutes") from None
    if not answer.is_file():
        last = next((line for line in reversed(ended.stderr.splitlines()) if line.strip()), "it said nothing")
        raise ModelError(f"{reader} ended with code {ended.code}: {last.strip()[:300]}")
    told = json.loads(answer.read_text("utf-8"))
    if "error" in told:
        raise ModelError(f"{reader} cannot read the model: {told['error']}")
    return told, np.zeros((0, 0), np.float32) if logits is None else np.load(logits)
