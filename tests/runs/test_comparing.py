"""Runs side by side: their settings and what they said."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm import paths
from mlxllm.errors import RunError
from mlxllm.runs import (
    EventWriter,
    RunDirectory,
    Sample,
    differences,
    flat,
    read_config,
    read_samples,
    read_settings,
    same_prompts,
)

VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
CONFIGS = st.dictionaries(
    st.sampled_from("abc"), VALUES | st.dictionaries(st.sampled_from("xy"), VALUES, min_size=1), max_size=3
)


def test_only_what_differs_is_named_in_the_order_of_the_settings() -> None:
    first = {"method": "dpo", "train": {"seed": 1, "betas": [0.9, 0.95]}, "lora": None, "flag": 1}
    second = {"method": "dpo", "train": {"seed": 2, "betas": [0.9, 0.99]}, "lora": {"rank": 8}, "flag": True}
    assert differences([first, second]) == {
        "train.seed": {0: 1, 1: 2},
        "train.betas": {0: [0.9, 0.95], 1: [0.9, 0.99]},
        "flag": {0: 1, 1: True},
        "lora.rank": {1: 8},
    }
    assert differences([{"a": 1}, {"a": 1.0}]) == {}
    assert differences([{"a": 1}, {"a": 1}, {"a": 3}]) == {"a": {0: 1, 1: 1, 2: 3}}
    assert differences([{"a": None}, {}]) == {"a": {0: None}}


@given(CONFIGS, CONFIGS)
def test_what_is_not_named_is_the_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert differences([first, first]) == {}
    found = differences([first, second])
    assert found.keys() == differences([second, first]).keys()
    for key in (flat(first).keys() & flat(second).keys()) - found.keys():
        assert flat(first)[key] == flat(second)[key]
    for key, values in found.items():
        assert values == {n: flat(each)[key] for n, each in enumerate((first, second)) if key in flat(each)}


@pytest.mark.parametrize(("content", "said"), [(None, "is missing"), ("{", "not valid JSON"), ("[]", "no JSON object")])
def test_settings_that_cannot_be_read(run: RunDirectory, content: str | None, said: str) -> None:
    if content is not None:
        run.config.write_text(content)
    with pytest.raises(RunError, match=rf"the settings of run 'first' cannot be read: .*{said}"):
        read_config(run)


def learned(name: str, folder: str, data: str | None, tokenizer: str | None = None) -> RunDirectory:
    """A run with a dataset in a folder, and what its checkpoint and tokenizer say."""
    run = RunDirectory.create(paths.folder("runs") / name)
    run.config.write_text(json.dumps({"method": "pretrain", "data": {"dataset": folder, "max_seq_len": 8}}))
    if data is not None:
        checkpoint = run.checkpoints / "step-00000001"
        checkpoint.mkdir()
        (checkpoint / "manifest.json").write_text("{}")
        (checkpoint / "trainer.json").write_text(json.dumps({"data_fingerprint": data}))
    if tokenizer is not None:
        (run.path / "tokenizer").mkdir()
        (run.path / "tokenizer/tokenizer_config.json").write_text(json.dumps({"fingerprint": tokenizer}))
    return run


def test_equal_data_are_equal_wherever_they_lie_and_others_differ_by_their_hash(mlxllm_home: Path) -> None:
    first, moved = learned("first", "/a/tales", "aaa", "t1"), learned("moved", "/b/tales", "aaa", "t1")
    assert differences(read_settings([first, moved])) == {}
    other, young = learned("other", "/a/tales", "bbb", "t2"), learned("young", "/b/tales", None)
    assert differences(read_settings([first, other])) == {
        "data.fingerprint": {0: "aaa", 1: "bbb"},
        "data.tokenizer": {0: "t1", 1: "t2"},
    }
    # Of one nothing is known yet: the folders may differ in what they hold.
    assert differences(read_settings([first, young])).keys() == {"data.dataset", "data.fingerprint", "data.tokenizer"}
    (other.checkpoints / "step-00000001/trainer.json").write_text("{")
    assert differences(read_settings([first, other])).keys() == {"data.fingerprint", "data.tokenizer"}


def test_samples_of_a_run(run: RunDirectory) -> None:
    assert read_samples(run) == []
    with EventWriter(run.events) as events:
        events.write("train", 1, loss=1.0)
        events.write("sample", 1, prompt="a", text="b")
        events.write("sample", 2, prompt="a", text="", error="too long")
        events.write("sample", 3, prompt="a", text="")
    with open(run.events, "a") as file:
        file.write(json.dumps({"step": 4, "text": "d", "prompt": "c", "kind": "sample"}) + '\n{"kind":"sam')
    assert read_samples(run) == [Sample(1, "a", "b"), Sample(3, "a", ""), Sample(4, "c", "d")]


def test_the_same_prompts_side_by_side() -> None:
    first = [Sample(0, "only me", "x"), Sample(9, "both", "late"), Sample(3, "both", "early")]
    second = [Sample(5, "both", "other")]
    both, alone = same_prompts([first, second])
    assert both.prompt == "both"
    assert [[sample.text for sample in answers] for answers in both.answers] == [["early", "late"], ["other"]]
    assert (alone.prompt, alone.answers) == ("only me", ((first[0],), ()))
    assert same_prompts([]) == same_prompts([[], []]) == []
