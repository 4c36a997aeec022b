"""A model explained on one prompt: the walk as it is, the walk with what was changed, and the difference, ready for JSON.

`explain(...).as_json()` is what `mlxllm explain --json` prints and what the engine process replies:

    model, address, step, kind, text; about {layers, heads, key_value_heads, hidden_size, vocab_size, positions, ...}
    tokens      [{id, piece, neighbours [[piece, id, cosine], ...]}] as the model reads them, shuffled where that was asked
    at          the position whose next token is told in full
    stream      {sizes [T]}: the embedding;  layers [{layer, stream [T], attention [T], mlp [T], heads [{...}]}]: root mean
                squares of the stream behind the layer and of what its two sublayers added, and what each head looks at
    maps        {layer: [head][query][key]}: attention, for the layers that were asked for
    lens        {start, rows [{layer, ids [P], pieces [P], probs [P], entropy [P], top [{id, piece, prob}]}]}; the first row
                is the embedding (layer null), P positions from `start` on
    next        {entropy, top [{id, piece, prob}]}: the next token; its last lens row says the same
    changes     what was changed, as it is typed; shuffle
    before      `next` of the untouched model, and effect {kl, largest, top [{id, piece, before, after}]}, where something was
    order       [{positions, causal, by_layer [L + 1], change}] where tokens were shuffled

Probabilities are shares of one, entropies and divergences nats, sizes root mean squares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlxllm.errors import ConfigError, ModelError
from mlxllm.explain.interventions import UNCHANGED, Interventions, Patch
from mlxllm.explain.neighbours import Neighbour, neighbours
from mlxllm.explain.order import Order, compare_orders, shuffled
from mlxllm.explain.walk import Put, Walk, streams, walk
from mlxllm.model.loading import LoadedModel
from mlxllm.model.transformer import Transformer
from mlxllm.visible import counted

MOST_TOKENS = 256
"""Of a prompt, unless more are asked for: every head's map has that squared."""
LONGEST = 4096
"""Tokens of a prompt, however many are asked for."""
MOST_MAPS = 1 << 21
"""So many numbers of attention maps are told at most, unless layers are chosen."""
_DECIMALS = 9
"""Of numbers in JSON: below what float32 resolves, and short."""

LogProbs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Explained:
    """All that is shown of one prompt."""

    loaded: LoadedModel
    text: str
    walk: Walk
    """With what was changed."""
    before: Walk | None
    """Of the untouched model, where something was changed."""
    changes: Interventions
    shuffle: int | None
    order: Sequence[Order]
    near: dict[int, list[Neighbour]]
    top: int

    def piece(self, token_id: int) -> str:
        """A token as a reader would know it; also where the model has rows that the tokenizer has no token for."""
        tokenizer = self.loaded.tokenizer
        return tokenizer.piece(token_id) if token_id < tokenizer.vocab_size else f"<no token {token_id}>"

    @property
    def kl(self) -> float:
        """KL(before || after) of the next token, in nats; 0 where nothing was changed."""
        if self.before is None:
            return 0.0
        p, q = self.before.logprobs(), self.walk.logprobs()
        return max(float(np.sum(np.exp(p) * (p - q))), 0.0)

    @property
    def largest_change(self) -> float:
        """Of any token's probability."""
        if self.before is None:
            return 0.0
        return float(np.max(np.abs(np.exp(self.before.logprobs()) - np.exp(self.walk.logprobs()))))

    def likeliest(self, logprobs: LogProbs) -> list[dict[str, Any]]:
        """The likeliest tokens, the first one first."""
        return [
            {"id": i, "piece": self.piece(i), "prob": float(np.exp(logprobs[i]))} for i in best_ids(logprobs, self.top)
        ]

    def effect(self) -> list[dict[str, Any]]:
        """The tokens that were or are the likeliest, with their probability before and after."""
        if self.before is None:
            return []
        was, is_ = self.before.logprobs(), self.walk.logprobs()
        ids = dict.fromkeys([*best_ids(was, self.top), *best_ids(is_, self.top)])
        return [
            {
                "id": i,
                "piece": self.piece(i),
                "before": float(np.exp(was[i])),
                "after": float(np.exp(is_[i])),
            }
            for i in ids
        ]

    def as_json(self) -> dict[str, Any]:
        """See the module."""
        told: dict[str, Any] = {
            **self._about(),
            "tokens": [self._token(i) for i in self.walk.token_ids],
            "at": self.walk.at,
            **self._layers(),
            "maps": {str(layer): _rounded(each) for layer, each in self.walk.maps.items()},
            "lens": self._lens(),
            "next": self._next(self.walk),
            "changes": self.changes.specs,
            "shuffle": self.shuffle,
        }
        if self.before is not None:
            told["before"] = self._next(self.before)
            told["effect"] = {"kl": self.kl, "largest": self.largest_change, "top": self.effect()}
        if self.order:
            told["order"] = [
                {"positions": o.positions, "causal": o.causal, "by_layer": list(o.by_layer), "change": o.change}
                for o in self.order
            ]
        return told

    def _about(self) -> dict[str, Any]:
        loaded, config = self.loaded, self.loaded.config
        return {
            "model": loaded.name,
            "address": loaded.address,
            "step": loaded.step,
            "kind": loaded.kind,
            "text": self.text,
            "about": {
                "layers": config.num_hidden_layers,
                "heads": config.num_attention_heads,
                "key_value_heads": config.num_key_value_heads,
                "hidden_size": config.hidden_size,
                "vocab_size": config.vocab_size,
                "positions": config.positions,
                "norm_position": config.norm_position,
                "experts": config.num_experts,
                "sliding_window": config.sliding_window,
            },
        }

    def _token(self, token_id: int) -> dict[str, Any]:
        near = [[self.piece(other), other, round(cosine, 6)] for other, cosine in self.near.get(token_id, ())]
        return {"id": token_id, "piece": self.piece(token_id), "neighbours": near}

    def _layers(self) -> dict[str, Any]:
        seen, heads = self.walk, self.walk.heads
        layers = []
        for layer in range(len(seen.attention)):
            told = [
                {
                    "entropy": float(heads.entropy[layer, h]),
                    "first": float(heads.first[layer, h]),
                    "previous": float(heads.previous[layer, h]),
                    "itself": float(heads.itself[layer, h]),
                    "target": int(heads.target[layer, h]),
                    "target_weight": float(heads.target_weight[layer, h]),
                }
                for h in range(heads.entropy.shape[1])
            ]
            layers.append(
                {
                    "layer": layer,
                    "stream": _rounded(seen.stream[layer + 1]),
                    "attention": _rounded(seen.attention[layer]),
                    "mlp": _rounded(seen.mlp[layer]),
                    "heads": told,
                }
            )
        return {"stream": {"sizes": _rounded(seen.stream[0])}, "layers": layers}

    def _lens(self) -> dict[str, Any]:
        lens, rows = self.walk.lens, []
        for number, ids in enumerate(lens.ids.tolist()):
            rows.append(
                {
                    "layer": number - 1 if number else None,
                    "ids": ids,
                    "pieces": [self.piece(i) for i in ids],
                    "probs": _rounded(lens.probs[number]),
                    "entropy": _rounded(lens.entropy[number]),
                    "top": self.likeliest(self.walk.logprobs(number)),
                }
            )
        return {"start": lens.start, "rows": rows}

    def _next(self, seen: Walk) -> dict[str, Any]:
        logprobs = seen.logprobs()
        return {"entropy": entropy_of(logprobs), "top": self.likeliest(logprobs)}


def explain(
    loaded: LoadedModel,
    token_ids: Sequence[int],
    *,
    text: str = "",
    changes: Interventions = UNCHANGED,
    shuffle: int | None = None,
    at: int = -1,
    maps: Sequence[int] | None = None,
    near: int = 0,
    top: int = 10,
    max_tokens: int = MOST_TOKENS,
    encode: Callable[[str], list[int]] | None = None,
) -> Explained:
    """Walk through a model with a prompt.

    Args:
        loaded: the model.
        token_ids: of the prompt.
        text: the prompt, as it is told again.
        changes: what is different from how the model is.
        shuffle: a seed by which the tokens before `at` get another order; with it comes what order is worth.
        at: the position whose next token is told in full; negative from the end.
        maps: the layers whose attention maps are kept, by default all.
        near: so many nearest neighbours of each embedding.
        top: so many of the likeliest next tokens.
        max_tokens: a longer prompt is refused.
        encode: makes ids of a patch's prompt, by default as of a text from its beginning.

    Raises:
        ConfigError: an empty or too long prompt, a position or layer that is not there, or a patch that does not fit.
        ModelError: a prompt longer than the model has positions, or a model whose numbers are not finite.
    """
    model, config = loaded.model, loaded.config
    at = _checked(token_ids, at, max_tokens, "the text")
    changes.check(config)
    if wrong := [layer for layer in maps or () if not 0 <= layer < config.num_hidden_layers]:
        raise ConfigError(f"there is no layer {wrong[0]}; the model's layers are 0 to {config.num_hidden_layers - 1}")
    read = list(token_ids)
    order: list[Order] = []
    if shuffle is not None:
        read = shuffled(token_ids, at, shuffle, fixed=len(loaded.tokenizer.prefix_ids))
        order = compare_orders(model, token_ids, read, at, changes)
    changed = changes != UNCHANGED or shuffle is not None
    puts = _puts(model, changes.patches, len(read), at, max_tokens, encode or loaded.tokenizer.encode_begun)
    seen = walk(model, read, changes, puts, at=at, maps=maps)
    before = walk(model, token_ids, at=at, maps=()) if changed else None
    for each in filter(None, (before, seen)):
        if not np.isfinite(each.logits[-1]).all():
            raise ModelError(
                f"what {loaded.name} predicts is not finite (nan or infinite logits), so there is nothing to show; its "
                f"weights are damaged, or training has diverged"
            )
    found = neighbours(model, read, near, loaded.tokenizer.vocab_size) if near else {}
    return Explained(loaded, text, seen, before, changes, shuffle, order, found, top)


def maps_fit(layers: int, heads: int, tokens: int) -> bool:
    """Whether the attention maps of so many layers are few enough numbers to be told."""
    return layers * heads * tokens**2 <= MOST_MAPS


def best_ids(logprobs: LogProbs, count: int) -> list[int]:
    """The likeliest ids, the first one first; of equal ones the smaller."""
    some = np.argpartition(-logprobs, min(count, len(logprobs) - 1))[:count]
    order = np.lexsort((some, -logprobs[some]))
    return [int(i) for i in some[order]]


def entropy_of(logprobs: LogProbs) -> float:
    """Nats."""
    probs = np.exp(logprobs)
    return float(-np.sum(np.where(probs > 0, probs * logprobs, 0.0)))


def _checked(token_ids: Sequence[int], at: int, max_tokens: int, what: str) -> int:
    """The position from the beginning.

    Raises:
        ConfigError: see `explain`.
    """
    length = len(token_ids)
    if not length:
        raise ConfigError(f"{what} is empty; give some words, such as 'Once upon a time'")
    if length > max_tokens:
        raise ConfigError(
            f"{what} has {length:,} tokens, and at most {max_tokens:,} are walked through; shorten it, or allow more "
            f"(--max-tokens {length})"
        )
    if not -length <= at < length:
        raise ConfigError(f"there is no position {at}: {what} has {counted(length, 'token')}, 0 to {length - 1}")
    return at % length


def _puts(
    model: Transformer,
    patches: Sequence[Patch],
    T: int,
    at: int,
    max_tokens: int,
    encode: Callable[[str], list[int]],
) -> dict[int, list[Put]]:
    """What patches put behind which layer."""
    puts: dict[int, list[Put]] = {}
    for patch in patches:
        ids = encode(patch.text)
        source = _checked(ids, -1 if patch.at is None else patch.at, max_tokens, "the other prompt of the patch")
        stream = streams(model, ids)[patch.layer]
        if patch.everywhere:
            if len(ids) != T:
                raise ConfigError(
                    f"the other prompt of the patch has {counted(len(ids), 'token')} and this one {T}; patching all "
                    f"positions takes two prompts of one length"
                )
            put = Put(stream)
        else:
            if patch.at is not None and not -T <= patch.at < T:
                raise ConfigError(f"there is no position {patch.at} to be patched: the text has {counted(T, 'token')}")
            put = Put(stream[:, source : source + 1], at if patch.at is None else patch.at % T)
        puts.setdefault(patch.layer, []).append(put)
    return puts


def _rounded(array: npt.NDArray[np.float32]) -> Any:
    return np.round(array.astype(np.float64), _DECIMALS).tolist()
