"""One prompt on its way through a model: the modules that are in use, one after the other, with what each adds written down.

Attention is the plain formula that the tests hold the fast one to. A step of the way can be changed (`Interventions`);
where nothing is changed, the walk computes bit for bit what the model does with plain attention.

Shapes: T time, D hidden, H heads, K key-value heads, d width of one head, L layers, V vocabulary, P positions under the lens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxllm.explain.interventions import UNCHANGED, Interventions
from mlxllm.model.attention import Mask, Placed, attention_weights, causal_mask, mixed_values
from mlxllm.model.transformer import Block, Transformer

Array = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

MOST_LOGITS = 1 << 26
"""The lens looks at as many positions as this many logits allow: over all layers, about a second on two cores."""


@dataclass(frozen=True)
class Put:
    """What is put into the residual stream behind a layer."""

    stream: mx.array
    """(1, T, D), or (1, 1, D) for one position."""
    at: int | None = None
    """That position; None replaces all."""


@dataclass(frozen=True)
class Step:
    """One layer of the way."""

    weights: mx.array
    """(H, T, T) float32: what each head looks at, also where it is switched off."""
    attention: mx.array | None
    """(1, T, D): what was added; None where that was nothing."""
    mlp: mx.array | None
    stream: mx.array
    """(1, T, D), behind the layer."""


@dataclass(frozen=True)
class Heads:
    """What heads look at, in numbers: each (L, H), a mean over the positions behind the first one."""

    entropy: Array
    """Nats; 0 looks at one token, ln(t + 1) at all t + 1 alike."""
    first: Array
    """Weight of the first token."""
    previous: Array
    """Weight of the token before."""
    itself: Array
    """Weight of the token itself."""
    target: Ids
    """What is looked at most from the position `Walk.at`."""
    target_weight: Array


@dataclass(frozen=True)
class Lens:
    """What the model would say if it stopped early: of each layer's stream the last norm and the output head.

    (nostalgebraist, "interpreting GPT: the logit lens", 2020.) Row 0 is the embedding, row l + 1 is layer l.
    """

    start: int
    """The first position that was looked at; so many follow as there are columns."""
    ids: Ids
    """(L + 1, P): the likeliest next token."""
    probs: Array
    """(L + 1, P): its probability."""
    entropy: Array
    """(L + 1, P): nats."""


@dataclass(frozen=True)
class Walk:
    """All that one walk has shown. Sizes are root mean squares over the D numbers of a position."""

    token_ids: tuple[int, ...]
    at: int
    """The position whose next token is told in full."""
    temperature: float
    stream: Array
    """(L + 1, T): size of the residual stream; row 0 is the embedding, row l + 1 is behind layer l."""
    attention: Array
    """(L, T): size of what attention added."""
    mlp: Array
    """(L, T): size of what the feed-forward added."""
    heads: Heads
    maps: Mapping[int, Array]
    """Layer -> (H, T, T): each row sums to one."""
    lens: Lens
    logits: Array
    """(L + 1, V), raw: what each layer would say at the position `at`; the last row is the model's own answer."""

    def logprobs(self, layer: int = -1) -> npt.NDArray[np.float64]:
        """(V,): log-probabilities of the next token, by default the model's own; under the temperature."""
        scaled = self.logits[layer].astype(np.float64) / self.temperature
        scaled -= scaled.max()
        logprobs: npt.NDArray[np.float64] = scaled - np.log(np.exp(scaled).sum())
        return logprobs


def steps(
    model: Transformer,
    token_ids: Sequence[int],
    changes: Interventions = UNCHANGED,
    puts: Mapping[int, Sequence[Put]] | None = None,
) -> Iterator[mx.array | Step]:
    """The embedding (1, T, D), then each layer.

    Args:
        model: in evaluation mode.
        token_ids: T of them.
        changes: those of heads, sublayers, positions and mask.
        puts: layer -> what is put into the stream behind it.

    Raises:
        ModelError: the model has learned or sinusoidal positions, and fewer than T.
    """
    config, T = model.config, len(token_ids)
    x = model.model.embedded(mx.array([list(token_ids)]), placed=changes.positions)
    yield x
    seen = causal_mask(T, T, config.sliding_window) if changes.causal else mx.ones((T, T), dtype=mx.bool_)
    mask: Mask = seen
    if not changes.positions:
        # Everybody stands at 0, where a rotation turns nothing.
        mask = Placed(seen[None, None], mx.zeros((1, T), dtype=mx.int32))
    for layer, block in enumerate(model.model.layers):
        off = [head for at, head in changes.heads if at == layer]
        weights: list[mx.array] = []

        def attend(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: Mask) -> mx.array:
            weights.append(attention_weights(q, k, scale, mask))  # noqa: B023  (called within this turn of the loop)
            out = mixed_values(weights[0], v)  # noqa: B023
            if off:  # noqa: B023
                on = np.isin(np.arange(out.shape[1]), off, invert=True)  # noqa: B023
                out = mx.where(mx.array(on)[None, :, None, None], out, 0.0)
            return out.astype(q.dtype)

        pre = config.norm_position == "pre"
        added: mx.array | None = block.self_attn(x, mask, None, attend, block.input_layernorm if pre else None)
        mlp: mx.array | None = None
        if layer in changes.layers:
            added = None
        else:
            added = None if layer in changes.attentions else added
            x, mlp = _block(block, x, added, pre=pre, mlp_on=layer not in changes.mlps)
        for put in (puts or {}).get(layer, ()):
            here = mx.arange(T)[None, :, None] == put.at if put.at is not None else mx.array(True)
            x = mx.where(here, put.stream, x)
        yield Step(weights[0][0], added, mlp, x)


def _block(
    block: Block, x: mx.array, added: mx.array | None, *, pre: bool, mlp_on: bool
) -> tuple[mx.array, mx.array | None]:
    """The stream behind a block, and what its feed-forward added; see `Block`."""
    if pre:
        x = x if added is None else x + added
        mlp = block.mlp(x, block.post_attention_layernorm) if mlp_on else None
        return x if mlp is None else x + mlp, mlp
    x = block.input_layernorm(x if added is None else x + added)
    mlp = block.mlp(x) if mlp_on else None
    return block.post_attention_layernorm(x if mlp is None else x + mlp), mlp


def lens_logits(model: Transformer, stream: mx.array) -> mx.array:
    """(1, T, D) -> (1, T, V): what the model would say if it stopped at this stream."""
    return model.logits(model.model.norm(stream) if model.config.norm_position == "pre" else stream)


def streams(model: Transformer, token_ids: Sequence[int]) -> list[mx.array]:
    """The residual stream (1, T, D) behind each layer of the untouched model."""
    found = [step.stream for step in steps(model, token_ids) if isinstance(step, Step)]
    mx.eval(found)
    return found


def walk(
    model: Transformer,
    token_ids: Sequence[int],
    changes: Interventions = UNCHANGED,
    puts: Mapping[int, Sequence[Put]] | None = None,
    *,
    at: int = -1,
    maps: Sequence[int] | None = None,
) -> Walk:
    """Walk through the model with a prompt.

    Args:
        model: in evaluation mode.
        token_ids: T of them, at least one, all below V.
        changes: what is different from how the model is.
        puts: see `steps`; those of `changes.patches` are the caller's to make.
        at: the position whose next token is told in full.
        maps: the layers whose attention maps are kept, by default all.

    Raises:
        ModelError: see `steps`.
    """
    T, config = len(token_ids), model.config
    at %= T
    start, stop = _under_lens(at, T, MOST_LOGITS // (config.vocab_size * (config.num_hidden_layers + 1)))
    sizes: list[list[mx.array]] = [[], [], []]
    heads: list[list[mx.array]] = []
    kept: dict[int, Array] = {}
    lens: list[list[mx.array]] = []
    for layer, step in enumerate(steps(model, token_ids, changes, puts), start=-1):
        stream = step.stream if isinstance(step, Step) else step
        logits = lens_logits(model, stream[:, start:stop])[0].astype(mx.float32)  # (P, V)
        found = [*_would_say(logits / changes.temperature), logits[at - start]]
        sizes[0].append(_size(stream, T))
        if isinstance(step, Step):
            sizes[1].append(_size(step.attention, T))
            sizes[2].append(_size(step.mlp, T))
            heads.append(_summary(step.weights, at))
            mx.eval(found, heads[-1])
            if maps is None or layer in maps:
                kept[layer] = np.array(step.weights)
        # Layer by layer, so that no more than one layer's maps and logits are in memory.
        mx.eval(found, [each[-1] for each in sizes if each])
        lens.append(found)
    entropy, first, previous, itself, target, weight = zip(*heads, strict=True)
    best, probs, doubt, answers = zip(*lens, strict=True)
    return Walk(
        token_ids=tuple(token_ids),
        at=at,
        temperature=changes.temperature,
        stream=_stacked(sizes[0]),
        attention=_stacked(sizes[1]),
        mlp=_stacked(sizes[2]),
        heads=Heads(
            _stacked(entropy), _stacked(first), _stacked(previous), _stacked(itself), _ids(target), _stacked(weight)
        ),
        maps=kept,
        lens=Lens(start, _ids(best), _stacked(probs), _stacked(doubt)),
        logits=_stacked(answers),
    )


def _under_lens(at: int, T: int, most: int) -> tuple[int, int]:
    """The first position that the lens looks at, and the one behind the last: all, or as many as may be up to `at`."""
    return (0, T) if most >= T else (max(0, at + 1 - max(most, 1)), at + 1)


def _would_say(logits: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Of each row (P, V) the likeliest token, its probability, and the entropy in nats."""
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    probs = mx.exp(logprobs)
    # 0 log 0 is 0, also where a logit is minus infinity.
    entropy = -mx.sum(mx.where(probs > 0, probs * logprobs, 0.0), axis=-1)
    return mx.argmax(logits, axis=-1), mx.max(probs, axis=-1), entropy


def _size(x: mx.array | None, T: int) -> mx.array:
    """(1, T, D) -> (T,): root mean square, in float32; None is nothing at all."""
    return mx.zeros((T,)) if x is None else mx.sqrt(mx.mean(mx.square(x[0].astype(mx.float32)), axis=-1))


def _summary(weights: mx.array, at: int) -> list[mx.array]:
    """The fields of `Heads` for one layer, each (H,); see there."""
    T = weights.shape[-1]
    behind = slice(1, None) if T > 1 else slice(None)
    # (H, T); 0 log 0 is 0
    entropy = mx.abs(mx.sum(mx.where(weights > 0, weights * mx.log(weights), 0.0), axis=-1))
    own = mx.arange(T)
    return [
        mx.mean(entropy[:, behind], axis=-1),
        mx.mean(weights[:, behind, 0], axis=-1),
        mx.mean(weights[:, own, mx.maximum(own - 1, 0)][:, behind], axis=-1),
        mx.mean(weights[:, own, own][:, behind], axis=-1),
        mx.argmax(weights[:, at], axis=-1),
        mx.max(weights[:, at], axis=-1),
    ]


def _stacked(arrays: Sequence[mx.array]) -> Array:
    return np.stack([np.array(array.astype(mx.float32)) for array in arrays])


def _ids(arrays: Sequence[mx.array]) -> Ids:
    return np.stack([np.array(array, dtype=np.int64) for array in arrays])
