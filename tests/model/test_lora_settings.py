"""Settings of adapters: what is asked for, what a model has, and the sentence where they do not agree."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlxllm.config import LoraConfig, RunConfig, TrainConfig
from mlxllm.errors import ConfigError, ModelError
from mlxllm.model.adapters import (
    adapt,
    has_adapters,
)
from mlxllm.model.module import named_parameters, trainable_parameters
from mlxllm.settings import build_config
from tests.model.tiny import tiny_model


def test_settings_are_off_until_one_is_set() -> None:
    assert build_config().lora is None
    lora = build_config(settings=["lora.rank=4", "lora.targets=q_proj, v_proj"], flags={"lora.rank": 6}).lora
    assert lora is not None
    assert (lora.rank, lora.targets, lora.layers) == (6, ("q_proj", "v_proj"), -1)
    assert RunConfig.model_validate_json(RunConfig(lora=lora).model_dump_json()).lora == lora


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("lora.targets=q_prj", ["'q_prj'", "known are q_proj"]),
        ("lora.targets=[]", ["lora.targets is empty", "q_proj"]),
        ("lora.layers=0", ["lora.layers is 0", "-1 takes all"]),
        ("lora.layers=-2", ["lora.layers is -2", "greater than or equal to -1"]),
        ("lora.rank=0", ["lora.rank is 0", "greater than 0"]),
        ("lora.method=vera", ["lora.method is 'vera'", "'lora' or 'dora'"]),
        ("lora.quantize=int3", ["lora.quantize is 'int3'", "affine4"]),
        ("lora.dropout=1", ["lora.dropout is 1", "less than 1"]),
    ],
)
def test_wrong_settings_are_one_sentence(setting: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        build_config(settings=[setting])
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert f"(from --set {setting})" in str(error.value)


def test_dropout_and_recomputed_blocks_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match=r"set lora\.dropout to 0"):
        RunConfig(train=TrainConfig(gradient_checkpointing=True), lora=LoraConfig(dropout=0.1))


@pytest.mark.parametrize(
    ("changes", "lora", "parts"),
    [
        ({"mlp_gated": False}, LoraConfig(targets=("gate_proj",)), ["'gate_proj'", "it has q_proj", "down_proj"]),
        ({}, LoraConfig(layers=3), ["lora.layers is 3", "2 blocks"]),
        ({"num_experts": 2}, LoraConfig(method="dora"), ["dora", "experts", "lora.targets=q_proj"]),
    ],
)
def test_what_the_model_lacks_is_one_sentence(changes: dict[str, Any], lora: LoraConfig, parts: list[str]) -> None:
    model = tiny_model(**changes)
    with pytest.raises(ConfigError) as error:
        adapt(model, lora)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert not has_adapters(model)
    assert trainable_parameters(model).keys() == named_parameters(model).keys()


def test_a_model_is_adapted_once() -> None:
    model = tiny_model()
    adapt(model, LoraConfig())
    with pytest.raises(ModelError, match="merge them first"):
        adapt(model, LoraConfig())
