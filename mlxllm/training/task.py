"""What one kind of training brings to the trainer: its rows, its objective, its validation."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlxllm.evaluation.passage import Passage, Watch
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer
from mlxllm.training.step import Objective


class Rows(Protocol):
    """What each step trains on."""

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """The arrays of update `step` (from 0), with one row for each of its forward passes' rows."""
        ...


class Score(Protocol):
    """One validation result."""

    @property
    def loss(self) -> float:
        """What is to become small."""
        ...

    def as_dict(self) -> Mapping[str, Any]:
        """For JSON, the loss among it."""
        ...


class Validation(Protocol):
    """Scores a model on what was held out."""

    @property
    def passage(self) -> Passage:
        """The part of it that is watched token by token."""
        ...

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        ...

    def __call__(
        self, model: Transformer, max_batches: int | None = None, *, watch: Watch | None = None
    ) -> Mapping[str, Score]:
        """Scores under "all", and more under other names.

        Args:
            model: its weights are used as they are.
            max_batches: only the first so many, to measure time.
            watch: gets the losses of `passage`, from the same forward passes.
        """
        ...


@dataclass(frozen=True)
class Task:
    """One kind of training on one set of data."""

    method: str
    """pretrain, sft or dpo."""
    rows: Rows
    objective: Objective
    validation: Validation | None
    """None where nothing is held out."""
    tokenizer: Tokenizer
    tokenizer_directory: Path
    """Where it lies; a run takes a copy."""
    fingerprint: str
    """Of the data."""
    num_tokens: int
    """Tokens of all rows once."""
    tokens_per_step: int
    """About; rows of records differ."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What state.json says of the data: see `runs.summary.ABOUT_KEYS`."""
    stage: str = "base"
    """What the model is after it: base, sft or dpo."""
    prompt_ids: Callable[[str], list[int]] | None = None
    """What a sample begins with; by default the prompt's own ids."""
    stop_ids: Collection[int] | None = None
    """What ends a sample; by default the end of a text."""
