"""What was chosen becomes a command, and the same settings as that command makes."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from mlxllm import dials, paths
from mlxllm.cli.app import app as cli
from mlxllm.config import ModelConfig
from mlxllm.errors import ConfigError, RunError
from mlxllm.presets import preset_config
from tests.tui.harness import ended_run
from tui import commands
from tui.planning.draft import Draft, check_name, check_setting
from tui.planning.suiting import Suited

TUNED = Draft(method="sft", model="letters@3", records=("a.jsonl", "b c.jsonl"))


def test_a_command_of_pretraining() -> None:
    draft = Draft(preset="char-tiny", dataset="letters")
    assert draft.args() == ("train", "--preset", "char-tiny", "--data", "letters", "--run", "letters-1")
    draft = draft.with_(factor=2.0, minutes=5, settings=("train.seed=7",), name="mine")
    assert draft.args(dry_run=True) == (
        *("train", "--preset", "char-tiny", "--data", "letters", "--run", "mine"),
        *("--set", "model.num_hidden_layers=4", "--set", "train.seed=7", "--minutes", "5", "--dry-run"),
    )


def test_commands_of_fine_tuning() -> None:
    assert commands.as_text(TUNED.args()) == (
        "mlxllm sft --model letters@3 --data a.jsonl --data 'b c.jsonl' --run letters-sft-1"
    )
    more = TUNED.with_(method="dpo", rank=8, epochs=20.0, learning_rate=1e-4, settings=("dpo.beta=0.3",))
    assert more.args()[-8:] == (
        "--epochs",
        "20",
        "--lora-rank",
        "8",
        "--learning-rate",
        "0.0001",
        "--set",
        "dpo.beta=0.3",
    )
    timed = TUNED.with_(epochs=20.0, minutes=2).args()
    assert "--epochs" not in timed
    assert timed[-2:] == ("--minutes", "2")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"factor": 4.0},
        {"factor": 0.5, "settings": ("train.batch_size=3", "data.max_seq_len=16")},
        {"preset": "moe-small", "factor": 0.25},
    ],
)
def test_the_settings_are_those_of_the_command(changes: dict[str, Any]) -> None:
    draft = Draft(preset="char-tiny").with_(**changes)
    args = [arg for arg in draft.args(dry_run=True) if arg not in ("--data", "")]
    shown = json.loads(CliRunner().invoke(cli, [*args, "--json"]).stdout)
    assert shown["config"] == draft.config().model_dump(mode="json")


def test_differences_are_what_was_changed() -> None:
    draft = Draft(preset="char-tiny", dataset="letters")
    assert draft.differences() == []
    changed = draft.with_(factor=2.0, minutes=5, settings=("train.seed=7", "train.betas=[0.9, 0.99]"))
    assert changed.differences() == [
        ("model.num_hidden_layers", 2, 4),
        ("train.betas", [0.9, 0.95], [0.9, 0.99]),
        ("train.seed", 42, 7),
        ("train.max_steps", 60, "5 min"),
    ]
    tuned = TUNED.with_(rank=16, epochs=20.0)
    assert tuned.differences() == [("train.epochs", 3.0, 20.0), ("lora.rank", 8, 16)]


def test_a_dial_position_that_the_preset_lacks_is_its_own() -> None:
    assert [size.factor for size in dials.sizes(preset_config("char-tiny"))] == [0.5, 1.0, 2.0, 4.0]
    assert Draft(preset="char-tiny", factor=0.25).changed == ()


def test_a_model_brings_its_shape() -> None:
    base = ModelConfig(vocab_size=100, hidden_size=32, num_attention_heads=2, num_key_value_heads=1)
    assert TUNED.config(base).model == base
    assert TUNED.config(base).train.epochs == 3
    assert TUNED.with_(minutes=5).config(base).train.epochs is None
    assert TUNED.with_(rank=4).config(base).lora is not None


@pytest.mark.parametrize(
    ("draft", "text", "sentence"),
    [
        (
            Draft(),
            "train.sed=1",
            "setting 'train.sed' (from --set train.sed=1) does not exist; did you mean train.seed",
        ),
        (Draft(), "seed=1", "is not of the form section.key=value"),
        (Draft(), "train.batch_size=no", "setting train.batch_size is 'no' (from --set train.batch_size=no)"),
        (Draft(), "model.num_attention_heads=3", "num_attention_heads 3 is not a multiple of"),
        (TUNED, "model.hidden_size=64", "cannot change the model that --model letters@3 brings"),
        (TUNED, "dpo.beta=1", "is about preferences, which sft knows nothing of"),
        (TUNED.with_(method="dpo"), "data.train_on=all", "is about single answers, and dpo compares pairs"),
        (TUNED, "data.records=x", "names what to learn from"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_as_the_command_refuses_it(draft: Draft, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_setting(draft, text)
    assert sentence in str(refused.value)


def test_a_setting_takes_the_place_of_an_earlier_one() -> None:
    once = check_setting(check_setting(Draft(), "train.seed=1"), "train.batch_size=4")
    assert check_setting(once, " train.seed=2 ").settings == ("train.batch_size=4", "train.seed=2")


def test_names() -> None:
    check_name("fresh")
    with pytest.raises(ConfigError, match="not usable"):
        check_name("a b")
    ended_run("letters")
    with pytest.raises(RunError, match="there is a run 'letters' already"):
        check_name("letters")
    (paths.folder("runs") / "letters-1").mkdir()
    assert Draft(preset="char-tiny", dataset="letters").run == "letters-2"


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 261 token ids"):
        Draft(dataset="letters", settings=("model.vocab_size=100",)).config(vocab_size=261)


def test_what_suits_is_what_the_command_gets_unless_something_else_is_chosen() -> None:
    draft = TUNED.with_(suited=Suited(1e-3, 10.0))
    assert draft.args()[-4:] == ("--epochs", "10", "--learning-rate", "0.001")
    assert (draft.config().train.epochs, draft.config().train.learning_rate) == (10, 1e-3)
    assert draft.with_(epochs=2.0, learning_rate=5e-5).args()[-4:] == ("--epochs", "2", "--learning-rate", "5e-05")
    assert "--epochs" not in draft.with_(minutes=5).args()
