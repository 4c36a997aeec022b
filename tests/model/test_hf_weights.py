"""Weights under Hugging Face's names: there and back, and what is refused."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlxllm.errors import ModelError
from mlxllm.model.hf_weights import check_weights, expected_shapes, weights_from_hf, weights_to_hf
from tests.model.families_data import POINTS
from tests.model.tiny import tiny_config, tiny_model


def ours_of(point: str) -> dict[str, mx.array]:
    return dict(tree_flatten(tiny_model(**POINTS[point][1]).parameters()))


def theirs_of(point: str) -> dict[str, mx.array]:
    return weights_to_hf(tiny_config(**POINTS[point][1]), ours_of(point))


@pytest.mark.parametrize("point", POINTS)
def test_there_and_back(point: str) -> None:
    config, ours = tiny_config(**POINTS[point][1]), ours_of(point)
    back = weights_from_hf(config, theirs_of(point))
    check_weights(config, back, "the model")
    assert back.keys() == ours.keys()
    assert all(mx.array_equal(back[name], ours[name]) for name in ours)


def test_llama_and_qwen3_names_are_ours() -> None:
    for point in ("llama", "llama-untied-biases", "mistral", "qwen2", "qwen3"):
        assert theirs_of(point).keys() == ours_of(point).keys()


def test_gpt2_is_fused_and_transposed() -> None:
    ours, theirs = ours_of("gpt2"), theirs_of("gpt2")
    fused = theirs["transformer.h.1.attn.c_attn.weight"]
    assert fused.shape == (32, 96)
    for i, name in enumerate(("q_proj", "k_proj", "v_proj")):
        part = slice(32 * i, 32 * (i + 1))
        assert mx.array_equal(fused[:, part], ours[f"model.layers.1.self_attn.{name}.weight"].T)
        bias = theirs["transformer.h.1.attn.c_attn.bias"][part]
        assert mx.array_equal(bias, ours[f"model.layers.1.self_attn.{name}.bias"])
    assert theirs["transformer.h.0.mlp.c_fc.weight"].shape == (32, 40)
    assert mx.array_equal(theirs["transformer.wpe.weight"], ours["model.embed_positions.weight"])
    assert "lm_head.weight" in theirs_of("gpt2-untied")


@pytest.mark.parametrize(
    ("point", "name", "stacked"),
    [
        ("qwen3-moe", "model.layers.1.mlp.experts.2.gate_proj.weight", "gate_proj"),
        ("qwen3-moe", "model.layers.1.mlp.experts.2.down_proj.weight", "down_proj"),
        ("mixtral", "model.layers.1.block_sparse_moe.experts.2.w1.weight", "gate_proj"),
        ("mixtral", "model.layers.1.block_sparse_moe.experts.2.w2.weight", "down_proj"),
        ("mixtral", "model.layers.1.block_sparse_moe.experts.2.w3.weight", "up_proj"),
    ],
)
def test_experts_lie_apart(point: str, name: str, stacked: str) -> None:
    assert mx.array_equal(theirs_of(point)[name], ours_of(point)[f"model.layers.1.mlp.experts.{stacked}"][2])


def test_what_was_not_learned_is_passed_over() -> None:
    theirs = theirs_of("llama")
    theirs["model.layers.0.self_attn.rotary_emb.inv_freq"] = mx.zeros((4,))
    theirs["lm_head.weight"] = theirs["model.embed_tokens.weight"]  # tied, and written all the same
    assert weights_from_hf(tiny_config(), theirs).keys() == ours_of("llama").keys()


def test_gpt2_of_its_first_release_has_no_prefix() -> None:
    config = tiny_config(**POINTS["gpt2"][1])
    theirs = {name.removeprefix("transformer."): weight for name, weight in theirs_of("gpt2").items()}
    theirs["h.0.attn.bias"] = mx.ones((1, 1, 8, 8))
    ours = ours_of("gpt2")
    found = weights_from_hf(config, theirs)
    assert all(mx.array_equal(found[name], ours[name]) for name in ours)


@pytest.mark.parametrize("point", POINTS)
def test_every_missing_tensor_is_missed(point: str) -> None:
    config, theirs = tiny_config(**POINTS[point][1]), theirs_of(point)
    for name in theirs:
        with pytest.raises(ModelError, match=rf"here.safetensors lacks {name.removeprefix('transformer.')}"):
            weights_from_hf(config, {n: w for n, w in theirs.items() if n != name}, "here.safetensors")


@pytest.mark.parametrize("point", POINTS)
def test_every_wrong_shape_is_noticed(point: str) -> None:
    config, theirs = tiny_config(**POINTS[point][1]), theirs_of(point)
    for name, weight in theirs.items():
        grown = mx.zeros((weight.shape[0] + 1, *weight.shape[1:]))
        with pytest.raises(ModelError, match=r"of shape \(.*where config.json makes it \("):
            weights_from_hf(config, {**theirs, name: grown})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.layers.0.self_attn.q_proj.bias", "holds model.layers.0.self_attn.q_proj.bias, which a model of its"),
        ("model.layers.2.mlp.up_proj.weight", "holds model.layers.2.mlp.up_proj.weight"),
        ("score.weight", "holds score.weight"),
    ],
)
def test_unknown_tensors_are_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        weights_from_hf(tiny_config(), {**theirs_of("llama"), name: mx.zeros((3,))})


def test_an_untied_head_must_be_there() -> None:
    with pytest.raises(ModelError, match=r"lacks lm_head.weight"):
        weights_from_hf(tiny_config(tie_word_embeddings=False), theirs_of("llama"))


def test_numbers_must_be_floating_point() -> None:
    theirs = theirs_of("llama")
    name = "model.norm.weight"
    with pytest.raises(ModelError, match=r"holds model.norm.weight as uint8; weights must be"):
        weights_from_hf(tiny_config(), {**theirs, name: theirs[name].astype(mx.uint8)})
    half = weights_from_hf(tiny_config(), {n: w.astype(mx.bfloat16) for n, w in theirs.items()})
    assert {w.dtype for w in half.values()} == {mx.bfloat16}


def test_check_weights_names_what_is_wrong() -> None:
    config, ours = tiny_config(), ours_of("llama")
    check_weights(config, ours, "here")
    with pytest.raises(ModelError, match=r"here lacks model.norm.weight"):
        check_weights(config, {n: w for n, w in ours.items() if n != "model.norm.weight"}, "here")
    with pytest.raises(ModelError, match=r"here holds other, which"):
        check_weights(config, {**ours, "other": mx.zeros((1,))}, "here")
    with pytest.raises(ModelError, match=r"here holds model.norm.weight of shape \(3,\).*\(32,\)"):
        check_weights(config, {**ours, "model.norm.weight": mx.zeros((3,))}, "here")


def test_expected_shapes_are_the_models() -> None:
    for point, (_, changes) in POINTS.items():
        shapes = {name: weight.shape for name, weight in ours_of(point).items()}
        assert expected_shapes(tiny_config(**changes)) == shapes
        assert all(np.prod(shape) > 0 for shape in shapes.values())


def test_no_architecture_no_names() -> None:
    with pytest.raises(ModelError, match=r"no Hugging Face architecture.*norm_position"):
        weights_to_hf(tiny_config(norm_position="post"), {})
