"""What a training run needs of memory, by part: arithmetic alone, so that anyone can ask.

What lasts (weights, moments, a frozen base) follows from the shapes. What passes is read off the operations: each block
keeps arrays for its backward pass, and several operations are under way at once, whose results exist before they are used.
On Linux's CPU the arrays that are kept were counted, and what is under way was fitted to `mx.get_peak_memory` of steps,
compiled and not; a test holds the sum to real runs. Norms, activations and attention's weights are formed again there
(`model.recompute`, `model.cpu_math`). For a GPU (fused attention, bfloat16, one lane) nothing was ever measured.

Shapes: B batch, T time, N = B * T, D hidden, F feed-forward, H heads, L layers, V vocabulary, C tokens of a chunk of logits.
"""

import math
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from typing import Literal

from mlxllm.config import RunConfig
from mlxllm.estimate.counts import (
    adapted,
    adapted_blocks,
    block_parameters,
    count_trained,
    frozen_bytes,
    matrices,
    tokens_of_row,
    tokens_per_pass,
)

_FLOAT32 = 4
_QUERIES = 64
"""Queries that see the same keys where attention is written out (`model.cpu_math`)."""
_VALIDATION_TOKENS = 4096
"""Of a batch of pre-training's validation (`training.pretrain`)."""
_VALIDATION_CHUNK = 1024
"""Of these, logits exist of so many tokens at once (`evaluation.perplexity`)."""
_AHEAD = 1.3
"""Blocks' worth of results that exist before they are used: MLX hands out some hundred operations ahead, to all lanes
together, and in each of n lanes they are a n-th as large."""
_LANES = 8
"""At most so many parts of a batch side by side (`training.plan`)."""


@dataclass(frozen=True)
class Place:
    """What the size of passing arrays depends on, beside the configuration."""

    device: Literal["cpu", "gpu"]
    compiles: bool = True
    """Whether operations on single numbers are fused; on Linux's CPU g++ is needed for it."""
    cores: int = 1


def here(config: RunConfig) -> Place:
    """Where this machine would train `config`; `auto` is taken for the GPU on a Mac."""
    dtype = config.train.compute_dtype
    gpu = dtype == "bfloat16" or (dtype == "auto" and platform.system() == "Darwin")
    compiles = "MLX_DISABLE_COMPILE" not in os.environ and (gpu or shutil.which("g++") is not None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Place("gpu" if gpu else "cpu", compiles, cores)


@dataclass(frozen=True)
class Memory:
    """Bytes of a run, by part."""

    weights: int
    """Trained weights in float32, adapters among them."""
    held: int
    """The copy that validation and samples look at, or a GPU's copy in half precision."""
    base: int
    """The frozen base below adapters, and with QLoRA the largest of its matrices unpacked."""
    optimizer: int
    """Moments."""
    gradients: int
    """At their fullest; lanes have their own, and so has the sum over accumulated passes."""
    activations: int
    """What the forward pass keeps for the backward pass, and what is under way."""
    logits: int
    """One chunk of logits with what becomes of it, and the gradient of the head."""
    update: int
    """What the optimizer needs for a moment, beside gradients."""
    validation: int
    """What a validation needs for a moment."""
    peak: int
    """The most at any moment: the lasting parts with the largest of the passing ones. What MLX calls its peak memory."""

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def memory(config: RunConfig, place: Place | None = None, val_tokens: int | None = None) -> Memory:
    """What training takes.

    Args:
        config: what is trained.
        place: where; by default here.
        val_tokens: of the validation split, where it is known: a batch of it may be smaller than usual.
    """
    place = place or here(config)
    train, trained, lanes = config.train, count_trained(config), lanes_of(config, place)
    weights = trained * _FLOAT32
    moments = weights * (1 if train.optimizer == "lion" else 2)
    if train.optimizer == "muon" and config.lora is None:
        moments -= block_parameters(config.model) * _FLOAT32
    held = trained * 2
    if place.device == "cpu":  # a compiled step lets go of the copy that nothing looks at between steps
        held = weights if _is_looked_at(config) or not place.compiles else 0
    base = frozen_bytes(config, 2 if place.device == "gpu" else _FLOAT32)
    sums = weights * (train.grad_accum_steps > 1)
    activations, logits = _passing(config, place, lanes)
    gradients, update = weights * lanes, _update(config, place, lanes)
    validation = _validation(config, place, lanes, val_tokens)
    lasting = weights + held + base + moments
    # The backward pass lets go of activations as fast as gradients come.
    # A validation takes the newest weights in place of the copy that is held.
    passing = max(activations + logits + sums, gradients + sums, weights + update, validation - held)
    return Memory(
        weights=weights,
        held=held,
        base=base,
        optimizer=moments,
        gradients=gradients + sums,
        activations=activations,
        logits=logits,
        update=update,
        validation=validation,
        peak=lasting + passing,
    )


def cache_limit_bytes(memory_bytes: int) -> int:
    """How much freed memory MLX may keep for reuse, beside its peak: an eighth of the device's, at least 256 MiB."""
    return max(memory_bytes // 8, 256 << 20)


def kv_cache_bytes(config: RunConfig, place: Place | None = None, length: int | None = None) -> int:
    """Keys and values of one text of `length` tokens, by default as long as the model's context."""
    model = config.model
    length = length or model.max_position_embeddings
    if model.sliding_window is not None:
        length = min(length, model.sliding_window)
    width = 2 if (place or here(config)).device == "gpu" else _FLOAT32
    return 2 * model.num_hidden_layers * model.num_key_value_heads * model.resolved_head_dim * length * width


def lanes_of(config: RunConfig, place: Place) -> int:
    """Parts of a batch side by side: as many as set, else as the machine has cores that divide it."""
    if place.device == "gpu":
        return 1
    rows = config.train.batch_size
    return config.train.lanes or max(n for n in range(1, min(place.cores, _LANES) + 1) if rows % n == 0)


@dataclass(frozen=True)
class _Widths:
    """Numbers a token that a block keeps, and that are under way beside them."""

    kept: float
    working: float


def _passing(config: RunConfig, place: Place, lanes: int) -> tuple[int, int]:
    """Activations and logits of one pass."""
    model, train, tokens = config.model, config.train, tokens_per_pass(config)
    width = 2 if place.device == "gpu" else _FLOAT32
    trains_head = config.lora is None
    in_chunk = min(train.loss_chunk_tokens, tokens // lanes or 1) * lanes
    copies = 3.0 if place.compiles else 6.8
    head = (3.0 if place.compiles else 1.0) * lanes if trains_head else 0.2
    logits = _FLOAT32 * (copies * in_chunk * model.vocab_size + head * model.vocab_size * model.hidden_size)
    of = _block(config, place, lanes)
    if train.gradient_checkpointing:
        # Graphs are walked in depth then: lane after lane, and a block is computed again when the logits are gone.
        inputs = (3.8 if place.compiles else 5.1) * model.hidden_size * adapted_blocks(config)
        if place.device == "gpu":
            return round(tokens * (inputs + of.kept + of.working) * width), round(logits * 2 / copies)
        if place.compiles:
            # What is computed again is not fused: the sigmoid's exponential exists step by step.
            inner = (
                model.num_experts_per_tok * model.moe_intermediate_size
                if model.num_experts
                else model.intermediate_size
            )
            sums = 2 * tokens_of_row(config) / _QUERIES * model.num_attention_heads * model.resolved_head_dim
            again = 0.55 * of.kept + (18 * inner + 1.8 * sums) / lanes
            return round(tokens * (inputs + again) * width), round(logits * 2 / copies)
        again = (1.5 * of.kept + 0.1 * of.working) * tokens // lanes * width
        logits *= 1.35 / lanes
        return round(tokens * inputs * width + max(0.0, again - logits)), round(logits)
    return round(tokens * (of.kept * adapted_blocks(config) + of.working) * width), round(logits)


def _block(config: RunConfig, place: Place, lanes: int) -> _Widths:
    if place.device == "cpu" and place.compiles:
        kept = _kept_compiled(config)
        return _Widths(kept, _AHEAD * kept / lanes)
    model, lora = config.model, config.lora
    D, heads = model.hidden_size, model.num_attention_heads * model.resolved_head_dim
    keys = model.num_key_value_heads * model.resolved_head_dim
    scores = model.num_attention_heads * _keys_seen(tokens_of_row(config))
    gated = model.mlp_gated
    if place.device == "gpu":
        # Inputs and outputs of norms, projections and products; scores exist in the backward pass of one block only.
        kept = 4.0 * D + 6 * heads + 4 * keys + (4 if gated else 2) * model.intermediate_size
        working = 10.0 * D + 2.0 * scores + 3 * model.intermediate_size
    else:
        kept = _kept_compiled(config)
        working = (14 * D if lora is None else 5 * D) + 9 * scores * (1.0 if lora is None else 0.6)
    if model.num_experts:
        each = model.num_experts_per_tok
        inner = each * model.moe_intermediate_size
        if place.device == "gpu":
            kept += 2.6 * inner + 4.4 * each * D - 3.9 * model.intermediate_size
        working += 2.5 * each * D
    if lora is not None and place.device == "gpu":
        outs = sum(out * count for count, out, _ in adapted(model, lora))
        wide = 1.0 + (lora.method == "dora")
        kept = 4 * D + 3.3 * keys + 1.4 * model.intermediate_size + scores + 0.8 * wide * outs
        working = 5.2 * model.intermediate_size + 2 * scores
    return _Widths(kept, max(working, 0.0))


def _kept_compiled(config: RunConfig) -> float:
    """Numbers a token that a compiled block keeps, array by array: results of products of matrices, mostly."""
    model, lora = config.model, config.lora
    D, heads = model.hidden_size, model.num_attention_heads * model.resolved_head_dim
    keys = model.num_key_value_heads * model.resolved_head_dim
    trained = set(matrices(model)) if lora is None or "all" in lora.targets else set(lora.targets)
    # What goes into both halves of a block; norms between the halves give what is kept, and their own is kept as well.
    behind = model.norm_position == "post"
    kept = 2.0 * D * (1 + behind * (1 + (lora is None)))
    # Queries, keys and values as attention sees them, its output, one number a row of its weights.
    kept += 2 * heads + 2 * keys + model.num_attention_heads
    if model.qk_norm:
        kept += (heads + keys) * (1 + (lora is None))
    if model.num_experts:  # rows are copied to their experts, and the sigmoid is kept
        kept += model.num_experts_per_tok * (2.7 * model.moe_intermediate_size + 3 * D)
        kept += D * (2 + (lora is None))  # the norm before them
    else:  # gate and up, or the activation's input
        kept += (1 + model.mlp_gated) * model.intermediate_size
    if (
        lora is not None and lora.method == "dora"
    ):  # of these, all is kept: the norm before, the product, what is behind it
        kept += sum(count * out for count, out, _ in adapted(model, lora)) + D * 2
        kept += ("down_proj" in trained) * model.intermediate_size
    return kept


def _keys_seen(length: int) -> float:
    """Keys that a query is multiplied with, on average over blocks of queries."""
    blocks = [(start, min(start + _QUERIES, length)) for start in range(0, length, _QUERIES)]
    return sum((stop - start) * stop for start, stop in blocks) / length


def _update(config: RunConfig, place: Place, lanes: int) -> int:
    """Beside the gradients: results that are under way, and Muon's iterations, of which about ten are at once."""
    trained = count_trained(config) * _FLOAT32
    shapes = list(matrices(config.model).values())
    largest = max(count * out * width for count, out, width in shapes) * _FLOAT32
    extra = (1.0 if place.compiles else 2.0) * trained + min(4 * largest, trained)
    if config.train.optimizer != "muon" or config.lora is not None:
        return round(extra)
    L = config.model.num_hidden_layers
    gram = L * sum(count * min(out, width) ** 2 for count, out, width in shapes) * _FLOAT32
    blocks = block_parameters(config.model) * _FLOAT32
    stacks = len({tuple(sorted((out, width))) for _, out, width in shapes})  # one after the other: less at once
    share = (1.0 if stacks < 3 else 0.77) * (1.0 if lanes == 1 else 0.7 if place.compiles else 0.5)
    return round(max(extra, share * (4.4 * blocks + 14.6 * gram)))


def _is_looked_at(config: RunConfig) -> bool:
    """Whether a validation or a sample is between two steps."""
    train = config.train
    validated = config.method == "pretrain" or bool(config.data.val_records) or config.data.val_split > 0
    return train.sample_every > 0 or (validated and 0 < train.eval_every < train.max_steps)


def _validation(config: RunConfig, place: Place, lanes: int, val_tokens: int | None) -> int:
    """Of pre-training, whose validation has batches of its own; that of records is smaller than a step."""
    if config.method != "pretrain":
        return 0
    model, length = config.model, config.data.max_seq_len
    rows = max(1, _VALIDATION_TOKENS // length)
    if val_tokens is not None:  # as `evaluation.perplexity.Evaluator` cuts a split
        length = max(1, min(length, val_tokens - 1))
        windows = math.ceil(max(1, val_tokens - 1) / length)
        rows, lanes = min(rows, math.ceil(windows / lanes)), min(lanes, windows)
    tokens = rows * length * lanes
    # A part for each lane and one for all. Uncompiled it was measured to be less; why is not known.
    ahead = (0.7 + 0.6 / lanes) * (1.0 if place.compiles else 0.88)
    copies = 10 if place.device == "gpu" else 6 + place.compiles + 10 / lanes
    logits = copies * min(_VALIDATION_CHUNK, rows * length) * lanes * model.vocab_size * _FLOAT32
    if place.device == "gpu":
        return round(max(logits, tokens * _block(config, place, lanes).kept * 2))
    # Nothing is kept. Most of what is handed out ahead is steps of one long sum for an exponential: of the activation's
    # sigmoid, or of a few blocks of queries' scores.
    each, sigmoid = model.num_experts_per_tok, model.hidden_act == "silu"
    inner = each * model.moe_intermediate_size if model.num_experts else model.intermediate_size
    scores = model.num_attention_heads * min(_keys_seen(length), 2.5 * _QUERIES)
    parts = (11 * inner * sigmoid, 6.7 * scores)
    numbers = 4 * model.hidden_size + (sum(parts) if length <= _QUERIES else max(parts))  # one block: both at once
    if model.num_experts:
        numbers += 3 * each * model.hidden_size
    return round(max(logits, ahead * tokens * numbers * _FLOAT32))
