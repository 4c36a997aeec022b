"""What the readers of an export are asked about a model, and what they should find."""

from dataclasses import replace

import mlx.core as mx

from mlxllm.conversation.template_files import template_with
from mlxllm.export.hf import plain_model
from mlxllm.export.judging import Bounds, Reference
from mlxllm.export.measuring import chat_ids, measure
from mlxllm.export.readers.running import Question
from mlxllm.export.sample_text import MESSAGES, PROMPT, SAMPLES
from mlxllm.export.tokenizers import is_own
from mlxllm.model.hf_folder import BASE, model_with
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters

POSITIONS = 256
GREEDY_TOKENS = 64


def within_window(loaded: LoadedModel, question: Question, reference: Reference) -> tuple[Question, Reference] | None:
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
