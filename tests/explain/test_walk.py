"""The walk through a model: the model's own numbers, to the bit, and what changes when a part is switched off."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import LoraConfig
from mlxllm.explain import walk as walking
from mlxllm.explain.interventions import UNCHANGED, Interventions
from mlxllm.explain.order import compare_orders, shuffled
from mlxllm.explain.walk import Put, Walk, streams, walk
from mlxllm.model.adapters import adapt
from mlxllm.model.attention import plain_attention
from mlxllm.model.module import named_parameters, set_parameters
from mlxllm.model.transformer import Transformer
from tests.model.adapted import moved
from tests.model.families_data import POINTS
from tests.model.tiny import VARIANTS, tiny_model, token_ids

T = 9
IDS: list[int] = token_ids(1, T)[0].tolist()  # type: ignore[assignment]
OTHER: list[int] = token_ids(1, T, seed=1)[0].tolist()  # type: ignore[assignment]
WINDOW = {"sliding_window": 3}
ALL = {**VARIANTS, **{name: changes for name, (_, changes) in POINTS.items()}}
"""Every switch of the model, and every family of others that can be loaded."""


def same(one: Walk, other: Walk) -> bool:
    """Whether two walks have the same bits everywhere."""
    arrays = [
        (
            w.stream,
            w.attention,
            w.mlp,
            w.logits,
            w.lens.ids,
            w.lens.probs,
            w.lens.entropy,
            w.heads.entropy,
            *w.maps.values(),
        )
        for w in (one, other)
    ]
    return all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


def changed(model: Transformer, **changes: Any) -> Walk:
    return walk(model, IDS, Interventions(**changes))


@pytest.mark.parametrize("variant", ALL)
def test_the_walk_is_the_model_bit_for_bit(variant: str) -> None:
    model = tiny_model(**ALL[variant])
    seen, ids = walk(model, IDS), mx.array([IDS])
    answer = np.array(model(ids, attend=plain_attention)[0])  # (T, V)
    assert np.array_equal(seen.logits[-1], answer[-1])
    assert np.abs(np.array(model(ids)[0, -1]) - seen.logits[-1]).max() < 1e-4  # the fused kernel
    for at in (0, 4):
        assert np.array_equal(walk(model, IDS, at=at).logits[-1], answer[at])
    for layer, weights in enumerate(model.attention_maps(ids)):
        assert np.array_equal(seen.maps[layer], np.array(weights[0]))
        assert np.abs(seen.maps[layer].sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize("variant", ALL)
def test_the_lens_at_the_last_layer_is_the_answer(variant: str) -> None:
    model = tiny_model(**ALL[variant])
    seen = walk(model, IDS)
    logits = np.array(model(mx.array([IDS]), attend=plain_attention)[0], np.float64)
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    assert seen.lens.start == 0
    assert np.array_equal(seen.lens.ids[-1], logits.argmax(-1))
    assert np.abs(seen.lens.probs[-1] - probs.max(-1)).max() < 1e-5
    assert np.abs(seen.lens.entropy[-1] + (probs * np.log(probs)).sum(-1)).max() < 1e-4
    assert np.abs(np.exp(seen.logprobs()) - probs[-1]).max() < 1e-6


def test_attention_rows_are_those_of_a_reference_in_float64() -> None:
    model = tiny_model(positions="none", num_hidden_layers=1)
    block = model.model.layers[0]
    x = np.array(block.input_layernorm(model.model.embed_tokens(mx.array(IDS))), np.float64)
    q, k = (x @ np.array(m.weight, np.float64).T for m in (block.self_attn.q_proj, block.self_attn.k_proj))
    found = walk(model, IDS).maps[0]
    for head in range(4):
        mine, shared = q[:, head * 8 : head * 8 + 8], k[:, head // 2 * 8 : head // 2 * 8 + 8]
        scores = np.where(np.tri(T, dtype=bool), mine @ shared.T / 8**0.5, -np.inf)
        rows = np.exp(scores - scores.max(-1, keepdims=True))
        assert np.abs(found[head] - rows / rows.sum(-1, keepdims=True)).max() < 1e-5


def test_sizes_add_up_before_a_norm() -> None:
    """The stream behind a layer is what was before it and what its two parts added."""
    model = tiny_model()
    for head_off in (UNCHANGED, Interventions(heads=frozenset({(0, 1)}))):
        found = list(walking.steps(model, IDS, head_off))
        before = found[0]
        assert isinstance(before, mx.array)
        for step in found[1:]:
            assert isinstance(step, walking.Step)
            assert step.attention is not None
            assert step.mlp is not None
            assert np.array_equal(np.array(before + step.attention + step.mlp), np.array(step.stream))
            before = step.stream
    seen = walk(model, IDS)
    sizes = [np.sqrt(np.mean(np.square(np.array(x[0], np.float64)), -1)) for x in streams(model, IDS)]
    assert np.abs(seen.stream[1:] - np.stack(sizes)).max() < 1e-5


@pytest.mark.parametrize("variant", ALL)
def test_what_changes_nothing_changes_no_bit(variant: str) -> None:
    model = tiny_model(**ALL[variant])
    untouched = walk(model, IDS)
    assert same(untouched, walk(model, IDS))
    assert same(untouched, changed(model, temperature=1.0))
    everything = {layer: [Put(stream)] for layer, stream in enumerate(streams(model, IDS))}
    one = {layer: [Put(stream[:, 4:5], 4)] for layer, stream in enumerate(streams(model, IDS))}
    assert same(untouched, walk(model, IDS, puts=everything))
    assert same(untouched, walk(model, IDS, puts=one))


def test_positions_that_a_model_does_not_have_can_be_taken_away() -> None:
    model = tiny_model(**VARIANTS["no-positions"])
    assert same(walk(model, IDS), changed(model, positions=False))


@pytest.mark.parametrize("variant", ["llama", "transformer-2017", "experts", "gpt2"])
def test_a_head_that_is_off_hands_on_nothing(variant: str) -> None:
    """As a model whose output projection has zeros for it, and a head of zeros already changes nothing."""
    model = tiny_model(**VARIANTS[variant])
    off = changed(model, heads=frozenset({(1, 2)}))
    projection = model.model.layers[1].self_attn.o_proj
    width = model.config.resolved_head_dim
    keep = mx.arange(projection.weight.shape[1]) // width != 2
    projection.weight = mx.where(keep[None, :], projection.weight, 0.0)
    without = walk(model, IDS)
    assert np.abs(off.logits - without.logits).max() < 1e-5
    assert same(without, changed(model, heads=frozenset({(1, 2)})))
    assert np.abs(off.logits[-1] - walk(tiny_model(**VARIANTS[variant]), IDS).logits[-1]).max() > 1e-3


@pytest.mark.parametrize("variant", ["llama", "transformer-2017", "experts"])
def test_sublayers_that_are_off_add_nothing(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    off = changed(model, attentions=frozenset({0}), mlps=frozenset({1}))
    assert not off.attention[0].any()
    assert not off.mlp[1].any()
    assert off.attention[1].all()
    assert off.mlp[0].all()
    weights = named_parameters(model)
    down = "model.layers.1.mlp.experts.down_proj" if "experts" in variant else "model.layers.1.mlp.down_proj.weight"
    zeroed = ("model.layers.0.self_attn.o_proj.weight", down)
    set_parameters(model, {name: mx.zeros_like(weights[name]) for name in zeroed})
    assert np.abs(walk(model, IDS).logits - off.logits).max() < 1e-5


def test_a_layer_that_is_off_is_not_there() -> None:
    deep = tiny_model(num_hidden_layers=3)
    off = changed(deep, layers=frozenset({1}))
    assert np.array_equal(off.stream[1], off.stream[2])
    assert np.array_equal(off.logits[1], off.logits[2])
    del deep.model.layers[1]
    assert np.array_equal(np.array(deep(mx.array([IDS]), attend=plain_attention)[0, -1]), off.logits[-1])


@pytest.mark.parametrize("variant", ALL)
def test_patching_everything_behind_a_layer_gives_the_other_prompts_answer(variant: str) -> None:
    model = tiny_model(**ALL[variant])
    other, found = walk(model, OTHER), streams(model, OTHER)
    last_layer = model.config.num_hidden_layers - 1
    for layer in range(last_layer + 1):
        patched = walk(model, IDS, puts={layer: [Put(found[layer])]})
        assert np.array_equal(patched.logits[layer + 1 :], other.logits[layer + 1 :])
    last = walk(model, IDS, puts={last_layer: [Put(found[-1][:, -1:], T - 1)]})
    assert np.array_equal(last.logits[-1], other.logits[-1])
    early = walk(model, IDS, puts={0: [Put(found[0][:, T - 2 : T - 1], T - 2)]})
    assert np.array_equal(early.maps[0], walk(model, IDS).maps[0])
    assert not np.array_equal(early.logits[-1], walk(model, IDS).logits[-1])


@pytest.mark.parametrize("variant", ALL)
def test_without_positions_the_first_layer_has_no_order(variant: str) -> None:
    model = tiny_model(**{**ALL[variant], "sliding_window": None})
    other = shuffled(IDS, T - 1, 3)
    assert sorted(other) == sorted(IDS)
    assert (other[-1], other) != (IDS[-1], IDS)
    found = {(o.positions, o.causal): o for o in compare_orders(model, IDS, other, T - 1)}
    assert max(found[False, False].by_layer) < 1e-5  # no positions, no mask: nowhere any order
    assert max(found[False, True].by_layer[:2]) < 1e-5  # one layer is a sum
    assert found[False, True].change > 1e-4  # and the next one knows what the mask let each token see
    if model.config.positions != "none":
        assert found[True, True].change > 1e-3


def test_taking_positions_away_is_a_model_without_them() -> None:
    for positions in ("rope", "learned"):
        with_them, without = tiny_model(positions=positions), tiny_model(positions="none")
        weights = named_parameters(with_them)
        set_parameters(without, {name: weights[name] for name in named_parameters(without)})
        assert np.abs(changed(with_them, positions=False).logits - walk(without, IDS).logits).max() < 1e-5


def test_without_the_mask_all_tokens_are_seen() -> None:
    seen = changed(tiny_model(**WINDOW), causal=False)
    assert (seen.maps[0] > 0).all()
    assert np.abs(seen.maps[0].sum(-1) - 1).max() < 1e-5


def test_shuffling_keeps_what_stands_before_every_text() -> None:
    for seed in range(5):
        new = shuffled([7, 1, 2, 3, 9, 8], 4, seed, fixed=1)
        assert (new[0], sorted(new[1:4]), new[4:]) == (7, [1, 2, 3], [9, 8])
        assert new != [7, 1, 2, 3, 9, 8]


def test_temperature_divides_the_logits() -> None:
    model = tiny_model()
    warm, usual = changed(model, temperature=2.0), walk(model, IDS)
    assert np.array_equal(warm.logits, usual.logits)
    halves = usual.logits[-1].astype(np.float64) / 2
    assert np.abs(warm.logprobs() - (halves - np.log(np.exp(halves).sum()))).max() < 1e-9
    assert np.array_equal(warm.lens.ids, usual.lens.ids)
    assert (warm.lens.entropy > usual.lens.entropy).all()


@pytest.mark.parametrize("lora", [LoraConfig(rank=4), LoraConfig(rank=4, quantize="affine8")])
def test_adapters_and_packed_weights(lora: LoraConfig) -> None:
    model = tiny_model(hidden_size=64, intermediate_size=64)
    adapt(model, lora)
    model = moved(model)
    model.eval()
    expected = np.array(model(mx.array([IDS]), attend=plain_attention)[0, -1])
    assert np.array_equal(walk(model, IDS).logits[-1], expected)


def test_half_precision_is_shown_in_float32() -> None:
    model = tiny_model()
    model.set_dtype(mx.bfloat16)
    seen = walk(model, IDS)
    expected = model(mx.array([IDS]), attend=plain_attention)[0, -1]
    assert np.array_equal(seen.logits[-1], np.array(expected.astype(mx.float32)))
    assert seen.maps[0].dtype == seen.stream.dtype == np.float32
    assert np.abs(seen.maps[1].sum(-1) - 1).max() < 1e-5


def test_one_token_alone() -> None:
    seen = walk(tiny_model(), [5])
    assert seen.maps[0].tolist() == [[[1.0]]] * 4
    assert seen.heads.itself.tolist() == [[1.0] * 4] * 2
    assert not seen.heads.entropy.any()


def test_a_large_vocabulary_is_looked_at_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    whole = walk(model, IDS, at=5)
    monkeypatch.setattr(walking, "MOST_LOGITS", 2 * model.config.vocab_size * 3)
    part = walk(model, IDS, at=5)
    assert (part.lens.start, part.lens.ids.shape) == (4, (3, 2))
    assert np.array_equal(part.lens.ids, whole.lens.ids[:, 4:6])
    assert np.abs(part.logits - whole.logits).max() < 1e-5


def test_what_heads_look_at() -> None:
    seen = walk(tiny_model(), IDS)
    for layer, maps in seen.maps.items():
        rows = maps[:, 1:]
        own = np.arange(1, T)
        assert np.abs(seen.heads.first[layer] - rows[:, :, 0].mean(-1)).max() < 1e-6
        assert np.abs(seen.heads.itself[layer] - maps[:, own, own].mean(-1)).max() < 1e-6
        assert np.abs(seen.heads.previous[layer] - maps[:, own, own - 1].mean(-1)).max() < 1e-6
        logs = np.log(np.where(rows > 0, rows, 1))
        assert np.abs(seen.heads.entropy[layer] + (rows * logs).sum(-1).mean(-1)).max() < 1e-5
        assert np.array_equal(seen.heads.target[layer], maps[:, -1].argmax(-1))
