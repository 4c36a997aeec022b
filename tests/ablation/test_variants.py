"""Changes as they are typed: what they mean, what they are called, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.ablation import SHIPPED, WORDS, variants_of
from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError
from mlxllm.estimate import count_parameters
from mlxllm.presets import PRESETS, preset_config
from mlxllm.settings import build_config

BASE = preset_config("shakespeare-char-cpu")


def changed(*changes: str, base: RunConfig = BASE) -> RunConfig:
    variants, _ = variants_of(base, changes)
    return variants[-1].config


def refused(*changes: str, base: RunConfig = BASE) -> str:
    with pytest.raises(ConfigError) as error:
        variants_of(base, changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_base_comes_first_and_is_unchanged() -> None:
    variants, skipped = variants_of(BASE, ["norm=post", "positions=none"])
    assert [variant.name for variant in variants] == ["base", "norm-post", "positions-none"]
    assert variants[0].config == BASE
    assert not skipped


@pytest.mark.parametrize(("word", "value"), [(word, value) for word, values in WORDS.items() for value in values])
def test_every_word_means_settings_that_can_be_trained(word: str, value: str) -> None:
    variants, skipped = variants_of(BASE, [f"{word}={value}"], skip=True)
    if skipped:  # it is what the base is
        assert value in ("mha", "rope", "pre", "rms", "on", "swiglu", "muon", "linear")
        return
    settings = variants[1].settings
    # What a variant is said to be is what `train --set` makes of its settings.
    assert build_config(preset="shakespeare-char-cpu", settings=settings) == variants[1].config != BASE


def test_attention_is_about_keys_a_head() -> None:
    wide = build_config(preset="base-124m")
    assert changed("attention=mha", base=wide).model.num_key_value_heads == 12
    assert changed("attention=mqa", base=wide).model.num_key_value_heads == 1
    assert changed("attention=gqa", base=build_config(preset="gpt2-124m")).model.num_key_value_heads == 3
    assert changed("attention=gqa").model.num_key_value_heads == 2
    assert "5 heads" in refused("attention=gqa", base=preset_config("small-10m"))


@given(st.sampled_from(["gelu", "relu", "relu2"]), st.sampled_from(["shakespeare-char-cpu", "small-10m", "moe-small"]))
def test_a_feed_forward_without_a_gate_has_as_many_weights(act: str, preset: str) -> None:
    base = preset_config(preset)
    plain = changed(f"ffn={act}", base=base)
    assert not plain.model.mlp_gated
    assert count_parameters(plain.model) == count_parameters(base.model)
    back = changed("ffn=swiglu", base=plain)
    assert back == base


def test_several_settings_are_one_variant_and_may_have_a_name() -> None:
    variants, _ = variants_of(
        BASE, ["2017: norm=post, positions=sinusoidal", "train.betas=[0.9,0.98],model.dropout=0.1"]
    )
    assert [variant.name for variant in variants] == ["base", "2017", "betas-0.9-0.98-dropout-0.1"]
    assert variants[1].changes == ("norm=post", "positions=sinusoidal")
    assert (variants[1].config.model.norm_position, variants[1].config.model.positions) == ("post", "sinusoidal")
    assert variants[2].config.train.betas == (0.9, 0.98)
    assert variants[2].config.model.dropout == 0.1


def test_no_positions_are_positions() -> None:
    assert changed("positions=none").model.positions == "none"
    assert changed("model.positions=none").model.positions == "none"
    assert changed("model.head_dim=none").model.head_dim is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("norm=before", "norm is pre, post, rms or layer"),
        ("optimizer=sgd", "optimizer is adamw, muon or lion"),
        ("atention=mqa", "did you mean attention?"),
        ("dropout=0.1", "did you mean model.dropout?"),
        ("width=3", "there are attention, positions, norm, qk_norm, ffn, optimizer, schedule"),
        ("model.widht=3", "does not exist"),
        ("model.dropout=2", "from --change model.dropout=2"),
        ("norm", "not of the form key=value"),
        ("norm=", "not of the form key=value"),
        ("", "says nothing to change"),
        ("2017:", "says nothing to change"),
        ("norm=pre", "changes nothing"),
        ("qk_norm=on,norm=rms", "changes nothing"),
        ("norm=pre,norm=post", "gives model.norm_position twice"),
        ("base: norm=post", "not 'base'"),
        ("two words: norm=post", "not usable as a variant's name"),
        ("../up: norm=post", "not usable as a variant's name"),
        ("model.rope_theta=1000,model.norm_eps=0.001,norm=post,positions=none", "needs a name"),
        ("train.seed=3", "the same for all"),
        ("train.max_steps=3", "the same for all"),
        ("train.batch_size=3", "the same for all"),
        ("data.max_seq_len=32", "the same for all"),
        ("lora.rank=4", "about fine-tuning"),
        ("dpo.beta=1", "about fine-tuning"),
        ("method=sft", "about fine-tuning"),
        ("model.num_attention_heads=3", "not a multiple of num_key_value_heads 4"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(change: str, told: str) -> None:
    assert told in refused(change)


def test_two_variants_differ_in_name_and_in_kind() -> None:
    assert "same model as variant 'norm-post'" in refused("norm=post", "again: model.norm_position=post")
    assert "two variants are called 'a'" in refused("a: norm=post", "a: norm=layer")


def test_an_optimizer_that_keeps_the_rate_of_another_is_noted() -> None:
    variants, _ = variants_of(BASE, ["optimizer=adamw", "tuned: optimizer=adamw,train.learning_rate=3e-3", "norm=post"])
    assert "0.02" in variants[1].note
    assert [variant.note for variant in variants[2:]] == ["", ""]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_can_be_made_of_its_preset(name: str) -> None:
    shipped = SHIPPED[name]
    assert shipped.preset in PRESETS
    variants, skipped = variants_of(preset_config(shipped.preset), shipped.all_changes, skip=True)
    assert len(variants) + len(skipped) == 1 + len(shipped.all_changes)
    assert len(variants) > 2


def test_all_of_2017_is_the_block_of_the_preset_of_that_name() -> None:
    shipped = SHIPPED["transformer-2017"]
    variants, _ = variants_of(BASE, shipped.all_changes, skip=True)
    ours, theirs = variants[-1].config, preset_config("transformer-2017")
    assert variants[-1].name == "all-of-2017"
    sizes = {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"}
    sizes |= {"head_dim", "intermediate_size", "max_position_embeddings"}
    assert ours.model.model_dump(exclude=sizes) == theirs.model.model_dump(exclude=sizes)
    for key in ("optimizer", "betas", "eps", "weight_decay"):
        assert getattr(ours.train, key) == getattr(theirs.train, key)
    assert count_parameters(ours.model) == pytest.approx(count_parameters(BASE.model), rel=0.01)
