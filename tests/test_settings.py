"""Layers of settings: who wins, and what is said when one of them is wrong."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError
from mlxllm.presets import PRESETS, preset_config
from mlxllm.settings import all_keys, build_config, parse_config


def toml(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def refused(**layers: Any) -> str:
    with pytest.raises(ConfigError) as error:
        build_config(**layers)
    message = str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in message
    assert "pydantic" not in message
    return message


def test_without_layers_there_are_the_defaults() -> None:
    assert build_config() == RunConfig()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_alone_is_itself(name: str) -> None:
    assert build_config(preset=name) == preset_config(name)


def test_each_layer_wins_over_the_ones_below(tmp_path: Path) -> None:
    """defaults < preset < file < --set < flag; each key is set on its own layer and on all below it."""
    preset = preset_config("char-tiny")
    file = toml(
        tmp_path,
        "[train]\nbatch_size = 31\nseed = 31\nmax_steps = 31\n[data]\nmax_seq_len = 31\n[model]\nnum_hidden_layers = 3\n",
    )
    built = build_config(
        preset="char-tiny",
        config_file=file,
        settings=["train.seed=41", "train.max_steps=41", "train.seed=42"],
        flags={"train.max_steps": 51, "train.batch_size": None},
    )
    assert built.train.weight_decay == RunConfig().train.weight_decay
    assert built.train.optimizer == preset.train.optimizer != RunConfig().train.optimizer
    assert built.train.eval_every == preset.train.eval_every != RunConfig().train.eval_every
    assert (built.train.batch_size, built.data.max_seq_len) == (31, 31)
    assert built.train.seed == 42, "the last --set of a key counts"
    assert built.train.max_steps == 51
    assert built.model == preset.model.model_copy(update={"num_hidden_layers": 3})
    assert built.preset == "char-tiny"


def test_a_file_may_name_the_preset_and_a_flag_another(tmp_path: Path) -> None:
    file = toml(tmp_path, 'preset = "small-10m"\n[train]\nseed = 5\n')
    named = build_config(config_file=file)
    assert named == preset_config("small-10m").with_values(train={"seed": 5})
    other = build_config(preset="char-tiny", config_file=file)
    assert other == preset_config("char-tiny").with_values(train={"seed": 5})


@pytest.mark.parametrize(
    ("text", "section", "key", "value"),
    [
        ("train.learning_rate=1e-3", "train", "learning_rate", 1e-3),
        ("train.betas=[0.8, 0.99]", "train", "betas", (0.8, 0.99)),
        ("train.gradient_checkpointing=true", "train", "gradient_checkpointing", True),
        ("train.gradient_checkpointing=True", "train", "gradient_checkpointing", True),
        ("train.optimizer=lion", "train", "optimizer", "lion"),
        ('train.optimizer="lion"', "train", "optimizer", "lion"),
        ("model.sliding_window=none", "model", "sliding_window", None),
        ("model.sliding_window=null", "model", "sliding_window", None),
        ("train.sample_prompt=a = b", "train", "sample_prompt", "a = b"),
        ("train.sample_prompt=", "train", "sample_prompt", ""),
        (" train.seed = 7", "train", "seed", 7),
        ("data.dataset=stories", "data", "dataset", "stories"),
    ],
)
def test_values_of_set(text: str, section: str, key: str, value: object) -> None:
    assert getattr(getattr(build_config(settings=[text]), section), key) == value


def test_a_nested_section_is_begun_by_its_first_key() -> None:
    built = build_config(settings=["model.rope_scaling.factor=2", "model.rope_scaling.rope_type=llama3"])
    assert built.model.rope_scaling is not None
    assert (built.model.rope_scaling.factor, built.model.rope_scaling.rope_type) == (2.0, "llama3")


@given(values=st.fixed_dictionaries({"seed": st.integers(0, 2**32 - 1), "learning_rate": st.floats(1e-9, 1e3)}))
def test_set_and_flag_say_the_same(values: dict[str, Any]) -> None:
    by_set = build_config(settings=[f"train.{k}={v!r}" for k, v in values.items()])
    assert by_set == build_config(flags={f"train.{k}": v for k, v in values.items()})


def test_every_key_can_be_set() -> None:
    keys = all_keys()
    assert len(keys) == len(set(keys)) > 70
    raw = RunConfig().model_dump(mode="json")
    for section in ("model", "data", "train", "sample"):
        for key in raw[section]:
            assert f"{section}.{key}" in keys
    assert {"lora.rank", "dpo.beta"} <= set(keys)


# What is wrong is named with value, origin and remedy


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        ({"settings": ["train.seed=-1"]}, ["train.seed is -1", "(from --set train.seed=-1)", "greater than or equal to 0"]),
        (
            {"settings": ["train.optimizer=sgd"]},
            ["train.optimizer is 'sgd'", "(from --set train.optimizer=sgd)", "'adamw', 'muon' or 'lion'"],
        ),
        ({"flags": {"train.batch_size": 0}}, ["train.batch_size is 0", "(from --batch-size 0)", "greater than 0"]),
        ({"flags": {"train.learning_rate": -1.0}}, ["train.learning_rate is -1.0", "(from --learning-rate -1.0)"]),
        ({"settings": ["train.betas=0.9"]}, ["train.betas is 0.9", "=0.9); it should be a list such as [0.9, 0.95]"]),
        ({"settings": ["train.betas=[0.9]"]}, ["train.betas is [0.9] (", "train.betas=[0.9]); it should be a list such as"]),
        ({"settings": ["train.betas=[1,2,3]"]}, ["train.betas is [1, 2, 3]", "it should be a list such as [0.9, 0.95]"]),
        ({"settings": ["train.betas=[0.9, 2]"]}, ["train.betas.1 is 2", "it should be less than 1"]),
        ({"settings": ["train.max_steps=true"]}, ["setting train.max_steps is true (", "); it should be a number"]),
        ({"settings": ["model.sliding_window=false"]}, ["model.sliding_window is false", "it should be a number"]),
        ({"settings": ["train.learning_rate=yes", "train.eps=True"]}, ["learning_rate is 'yes'", "should be a valid number"]),
        ({"settings": ["train.seed=[1]"]}, ["setting train.seed is [1]", "it should be a valid integer"]),
        ({"settings": ["train.max_steps=1.5"]}, ["train.max_steps is 1.5", "; it should be a valid integer"]),
        ({"settings": ["train.max_steps=many"]}, ["train.max_steps is 'many'", "valid integer"]),
        ({"settings": ["train.lr=1"]}, ["'train.lr'", "(from --set train.lr=1)", "does not exist; did you mean train."]),
        ({"settings": ["train.learning_rte=1"]}, ["does not exist", "did you mean train.learning_rate"]),
        ({"settings": ["trian.seed=1"]}, ["'trian.seed'", "(from --set trian.seed=1)", "did you mean train.seed"]),
        ({"settings": ["trian.nonsense=1"]}, ["'trian.nonsense'", "does not exist"]),
        ({"settings": ["hidden_size=3"]}, ["--set 'hidden_size=3'", "section.key=value", "train.learning_rate=1e-3"]),
        ({"settings": ["train.seed"]}, ["--set 'train.seed'", "section.key=value"]),
        ({"settings": ["preset.x=1"]}, ["preset"]),
        ({"settings": ["train.=1"]}, ["'train.'", "does not exist"]),
        ({"settings": [".seed=1"]}, ["'.seed'", "does not exist"]),
        ({"preset": "tiny"}, ["preset 'tiny' does not exist", "char-tiny"]),
        (
            {"settings": ["model.hidden_size=65", "model.num_attention_heads=2"]},
            ["hidden_size 65", "num_attention_heads 2", "(from --set model.hidden_size=65", "head_dim"],
        ),
        (
            {"settings": ["train.gradient_checkpointing=true", "model.dropout=0.1"]},
            ["train.gradient_checkpointing", "model.dropout to 0 (it is 0.1)", "--set model.dropout=0.1"],
        ),
        (
            {"settings": ["model.positions=learned"], "flags": {"data.max_seq_len": 2000}},
            ["data.max_seq_len 2000", "max_position_embeddings 1024", "--max-seq-len 2000"],
        ),
    ],
)  # fmt: skip
def test_sentences(layers: dict[str, Any], parts: list[str]) -> None:
    message = refused(**layers)
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[train]\nseed = -1", ["train.seed is -1", "settings.toml", "greater than or equal to 0"]),
        ("[train]\nspeed = 1", ["'train.speed'", "settings.toml", "does not exist"]),
        ("[trian]\nseed = 1", ["'trian'", "settings.toml", "does not exist; did you mean train?"]),
        ("[loar]\nrank = 1", ["'loar'", "does not exist; did you mean lora?"]),
        ("train = 3", ["setting train is 3", "settings.toml", "where settings by name should be", "--dry-run"]),
        ("seed = 3", ["'seed'", "settings.toml", "does not exist", "did you mean", "train.seed"]),
        ("[train", ["settings.toml is not valid TOML"]),
        ("preset = 3", ["preset 3 does not exist"]),
        ("preset = [3]", ["preset [3] does not exist"]),
        ('preset = "nope"', ["preset 'nope' does not exist"]),
    ],
)
def test_sentences_about_a_file(tmp_path: Path, text: str, parts: list[str]) -> None:
    message = refused(config_file=toml(tmp_path, text))
    assert [part for part in parts if part not in message] == [], message


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert refused(config_file=tmp_path / "none.toml").startswith(f"there is no file {tmp_path / 'none.toml'}")
    assert "cannot read" in refused(config_file=tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot read" in refused(config_file=tmp_path / "binary.toml")


def test_what_means_nothing_to_the_loss(tmp_path: Path) -> None:
    """All settings at their defaults are what --dry-run prints: such a file can be used with another loss."""
    file = toml(tmp_path, "[dpo]\ngamma = 0.5\nlabel_smoothing = 0.0\n")
    for loss in ("sigmoid", "ipo", "hinge", "robust", "simpo", "orpo"):
        assert build_config(preset="dpo", config_file=file, flags={"dpo.loss": loss})
    file = toml(tmp_path, "[dpo]\ngamma = 0.7\n")
    assert "dpo.gamma (from " in refused(preset="dpo", config_file=file)
    assert build_config(preset="dpo", config_file=file, flags={"dpo.loss": "simpo"})


def test_the_origin_of_a_wrong_value_is_the_layer_that_won(tmp_path: Path) -> None:
    file = toml(tmp_path, "[train]\nseed = 1\nbatch_size = -3\n")
    message = refused(config_file=file, settings=["train.seed=-1"], flags={"train.batch_size": 4})
    assert "(from --set train.seed=-1)" in message
    assert "settings.toml" not in message


@pytest.mark.parametrize("raw", [None, [], "text", {"train": None}, {"model": {"hidden_size": []}}, {"x": 1}])
def test_a_config_file_of_a_run_that_is_damaged(raw: object) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        parse_config(raw, "runs/a/config.json")


def test_a_truth_value_is_no_number_in_any_section_but_numbers_may_be_truth_values() -> None:
    with pytest.raises(ConfigError, match=r"setting model\.rope_scaling\.factor is true .*; it should be a number"):
        build_config(settings=["model.rope_scaling.factor=true"])
    assert build_config(settings=["train.gradient_checkpointing=1"]).train.gradient_checkpointing is True
    assert build_config(settings=["train.max_steps=7.0"]).train.max_steps == 7


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xef\xbb\xbf[train]\nseed = 5\n")
    assert build_config(config_file=path).train.seed == 5
