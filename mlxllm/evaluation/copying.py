"""How much of what a model writes stands in its training documents, word for word or nearly.

The model goes on with the beginnings of held-out documents, each PROMPT_TOKENS long, or begins texts of its own where
nothing is held out. Only what it wrote is looked for. Beside it stands what the same search finds in what the held-out
documents themselves go on with: text that nobody copied can stand in the training data, too, the more of it the more alike
the documents are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlxllm.data.origins.tracing import Origins, Trace
from mlxllm.data.shards import TokenSplit
from mlxllm.evaluation.generating import write_until
from mlxllm.evaluation.ratio_sums import RatioSums
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer

PROMPT_TOKENS = 16
MAX_TOKENS = 128
"""Of a continuation, unless it is said."""
_DRAWS = 50
"""For each beginning: a document may be too short, or drawn already."""
MEANINGS = {
    "copied": "share of the words that it wrote in spans that stand word for word in a training document",
    "nearly": "share of the words in spans that stand there but for at most one word in eight, signs and case left out",
    "own": "share of all other words",
    "longest": "words of the longest copied span",
    "held_out_copied": "copied share of what the held-out documents themselves go on with",
    "held_out_nearly": "nearly copied share of that",
}
"""Metric -> what it is in words."""


@dataclass(frozen=True)
class Beginning:
    """What a model is to go on with, and what the document goes on with."""

    prompt: str
    """Empty for a text of its own."""
    rest: str


def held_out_beginnings(
    split: TokenSplit, tokenizer: Tokenizer, count: int, max_tokens: int, seed: int
) -> list[Beginning]:
    """Stretches of held-out documents, drawn by the seed; fewer where there are fewer, none where nothing is held out.

    A document that is not much longer than a stretch is taken from its beginning, each one once.

    Args:
        split: the validation side of a dataset.
        tokenizer: that made it.
        count: how many, at most.
        max_tokens: of what goes on behind a prompt.
        seed: of the draws.
    """
    size, chosen = PROMPT_TOKENS + max_tokens, dict[int, int]()
    if not split.num_tokens:
        return []
    ends = split.document_ends.astype(np.int64)
    rng = np.random.default_rng(seed)
    for token in rng.integers(split.num_tokens, size=_DRAWS * count).tolist():
        number = int(np.searchsorted(ends, token, side="right"))
        first, end = int(ends[number - 1]) if number else 0, int(ends[number]) - 1  # its <|endoftext|> left out
        start = token if end - first > 4 * size else first
        if start + 2 * PROMPT_TOKENS <= end and len(chosen) < count:
            chosen.setdefault(start, min(end, start + size))
    found = []
    for start, end in chosen.items():
        ids = [i for i in split.read(start, end - start).tolist() if i not in tokenizer.prefix_ids]
        text, prompt = tokenizer.decode(ids), tokenizer.decode(ids[:PROMPT_TOKENS])
        found.append(Beginning(prompt, text[len(prompt) :]))
    return found


def write_on(
    model: Transformer,
    tokenizer: Tokenizer,
    beginnings: Sequence[Beginning],
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    done: Callable[[int, str], None] | None = None,
) -> list[str]:
    """What the model writes behind each beginning.

    Args:
        model: in evaluation mode.
        tokenizer: the model's own.
        beginnings: their prompts are spelled in the model's tokens.
        max_tokens: of each.
        temperature: of the draws.
        seed: of the draws.
        done: told of each as soon as it has ended, with its number.
    """
    prompts = [tokenizer.encode_begun(b.prompt) if b.prompt else list(tokenizer.start_ids) for b in beginnings]
    return write_until(model, tokenizer, prompts, max_tokens=max_tokens, temperature=temperature, seed=seed, done=done)


def copied_metrics(origins: Origins, texts: Sequence[str], rests: Sequence[str], least: int) -> dict[str, float | None]:
    """The shares over all words, with standard errors over texts.

    Args:
        origins: the indexes to look in.
        texts: what a model wrote.
        rests: what held-out documents go on with; empty for none.
        least: words of a span.
    """
    traces = [origins.trace(text, least) for text in texts]
    metrics = {
        **_shares(traces, ""),
        "longest": float(max((trace.longest for trace in traces), default=0)),
    }
    return metrics | (_shares([origins.trace(rest, least) for rest in rests], "held_out_") if rests else {})


def _shares(traces: Sequence[Trace], prefix: str) -> dict[str, float | None]:
    words = np.array([trace.words for trace in traces], np.float64)
    parts = {
        "copied": [trace.copied_words for trace in traces],
        "nearly": [trace.near_words for trace in traces],
        "own": [trace.words - trace.copied_words - trace.near_words for trace in traces],
    }
    shares: dict[str, float | None] = {}
    for name, found in parts.items():
        if prefix and name == "own":
            continue
        sums = RatioSums()
        sums.add(np.array(found, np.float64), words, words)
        shares[prefix + name] = sums.loss / sums.tokens if sums.tokens else None
        shares[f"{prefix}{name}_stderr"] = sums.loss_stderr()
    return shares
