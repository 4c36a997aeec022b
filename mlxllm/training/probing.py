"""What the trainer tells of the held-out passage at a validation: see `runs.probes`, which reads it."""

from typing import Any

import numpy as np

from mlxllm.evaluation.passage import Passage
from mlxllm.tokenizer import Tokenizer
from mlxllm.tokenizer.showing import read_as


def probe_fields(passage: Passage, losses: np.ndarray, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The fields of a `probe` event.

    Args:
        passage: what is watched, n tokens.
        losses: of its scored tokens, nats, (m,) float32.
        tokenizer: spells the tokens; None where they have been told before.
    """
    each: list[float | None] = [None] * len(passage.token_ids)
    for place, loss in zip(np.flatnonzero(passage.scored), losses, strict=True):
        each[place] = float(str(loss))  # the shortest decimal that reads back as this very float32
    if tokenizer is None:
        return {"losses": each}
    ids = passage.token_ids.tolist()
    return {"losses": each, "token_ids": ids, "pieces": [read_as(tokenizer, i) for i in ids]}
