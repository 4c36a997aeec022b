"""What a prepared run will cost, and what the screen has to say about it."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.config import ModelConfig
from mlxllm.estimate import estimate
from mlxllm.planning.overview import Basis, overview
from mlxllm.planning.proposals import START_SECONDS
from mlxllm.speed import PacedRun, guess, pace, shape_of
from tui.planning.draft import Draft
from tui.planning.forecast import Forecast, forecast, suit
from tui.planning.records import RecordsLook
from tui.planning.stock import Dataset, Model, Stock
from tui.planning.suiting import Suited

LETTERS = Dataset("letters", 1_000_000, 10_000, 261, "")
SMALL = ModelConfig(vocab_size=261, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
MODEL = Model("letters-1", "base model", "", SMALL, 200_000, Path("tokenizer"))
STOCK = Stock((LETTERS,), (MODEL,), speed=replace(guess(), time=1.0), memory_bytes=8 << 30, known=True)
PRETRAIN = Draft(preset="char-tiny", dataset="letters")
TUNE = Draft(method="sft", model="letters-1@40", records=("a",))


def known(draft: Draft, stock: Stock = STOCK, look: RecordsLook | None = None) -> Forecast:
    found = forecast(draft, stock, look)
    assert found is not None
    return found


def test_the_numbers_are_those_of_the_estimate() -> None:
    found = known(PRETRAIN)
    assert found.config.model.vocab_size == 261
    assert found.costs == estimate(found.config)
    assert (found.steps, found.tokens) == (60, 60 * 8 * 32)
    assert found.passes == pytest.approx(60 * 8 * 32 / 1_000_000)
    assert found.memory_share == found.costs.training_bytes / (8 << 30)
    assert found.source == "measured on this machine"


@pytest.mark.parametrize("preset", ["char-tiny", "small-10m", "moe-small"])
def test_the_numbers_are_those_of_plan(preset: str) -> None:
    found = known(PRETRAIN.with_(preset=preset))
    cost = pace(found.config, STOCK.speed, val_tokens=LETTERS.val_tokens).cost
    told = overview(found.config, Basis(cost, found.source), STOCK.memory_bytes, tokens=LETTERS.tokens)
    assert told["memory"]["peak"] == found.costs.training_bytes
    assert told["tokens"]["run"] == found.tokens
    assert told["tokens"]["epochs"] == found.passes
    assert told["time"]["seconds"] == pytest.approx(found.seconds)


@given(minutes=st.sampled_from([1, 5, 60, 480]), factor=st.sampled_from([0.5, 1.0, 4.0]))
def test_more_time_is_more_steps_and_a_larger_model_makes_fewer(minutes: int, factor: float) -> None:
    steps = known(PRETRAIN.with_(minutes=minutes, factor=factor)).steps or 0
    longer = known(PRETRAIN.with_(minutes=2 * minutes, factor=factor)).steps or 0
    larger = known(PRETRAIN.with_(minutes=minutes, factor=2 * factor if factor < 4 else factor)).steps or 0
    assert longer > 1.9 * steps
    assert larger <= steps


def test_the_time_is_that_of_a_run_of_the_same_shape_where_there_was_one() -> None:
    run = PacedRun("before", shape_of(known(PRETRAIN).config), 0.5)
    found = known(PRETRAIN, replace(STOCK, paced=(run,)))
    assert found.source == "as run before took"
    assert found.seconds == pytest.approx(START_SECONDS + 30, abs=1)


def test_a_machine_that_was_not_measured_is_a_guess() -> None:
    assert known(PRETRAIN, replace(STOCK, speed=guess())).source == "a guess"


def test_steps_of_fine_tuning_follow_from_the_records() -> None:
    look = RecordsLook(("a",), 100, True, "100 conversations", 51.2)
    found = known(TUNE, look=look)
    rows = 10  # 5,120 tokens in rows of 512
    assert found.steps == -(-3 * rows // 4)
    assert found.passes == pytest.approx((found.steps or 0) * 4 / rows)
    assert known(TUNE.with_(epochs=40.0), look=look).steps == 100
    pairs = known(TUNE.with_(method="dpo"), look=look)
    assert pairs.steps == 25
    assert pairs.tokens is None
    assert (pairs.seconds or 0) < (known(TUNE.with_(method="dpo"), look=replace(look, mean_tokens=900.0)).seconds or 0)


def test_what_is_not_known_is_not_told() -> None:
    assert forecast(TUNE.with_(model="elsewhere"), STOCK) is None
    unread = known(TUNE)
    assert (unread.steps, unread.seconds, unread.tokens) == (None, None, None)
    assert unread.costs.parameters > 0


@pytest.mark.parametrize(
    ("draft", "stock", "look", "words"),
    [
        (PRETRAIN.with_(preset="base-124m"), replace(STOCK, memory_bytes=1 << 30), None, "more memory than there is"),
        (PRETRAIN.with_(preset="base-124m"), replace(STOCK, memory_bytes=8 << 30), None, "much of the memory"),
        (PRETRAIN.with_(settings=("train.max_steps=100000",)), STOCK, None, "times through the data"),
        (PRETRAIN, STOCK, None, "tokens a parameter"),
        (TUNE, STOCK, RecordsLook(("a",), 3, True, "", 20.0), "1 update changes next to nothing; with so few records"),
        (TUNE, STOCK, RecordsLook(("a",), 3000, True, "", 20.0), "hardly moves at a learning rate of 5e-05; 0.001"),
        (TUNE.with_(learning_rate=1e-3), STOCK, RecordsLook(("a",), 3000, True, "", 20.0), ""),
        (
            TUNE.with_(learning_rate=1e-3, epochs=20.0),
            STOCK,
            RecordsLook(("a",), 3, True, "", 20.0),
            "20 times through the data",
        ),
        (PRETRAIN.with_(settings=("train.max_steps=3000",)), STOCK, None, ""),
        (PRETRAIN.with_(dataset=""), STOCK, None, ""),
    ],
)
def test_advice(draft: Draft, stock: Stock, look: RecordsLook | None, words: str) -> None:
    advice = known(draft, stock, look).advice
    assert words in advice
    assert bool(words) == bool(advice)


FOUR = RecordsLook(("a",), 4, True, "", 20.0)
ALIGN = TUNE.with_(method="dpo")


@pytest.mark.parametrize(
    ("draft", "look", "suited"),
    [
        (ALIGN, None, Suited(1e-4)),
        (ALIGN, FOUR, Suited(1e-4, 10.0)),
        (ALIGN.with_(few_epochs=20.0), FOUR, Suited(1e-4, 10.0)),
        (ALIGN.with_(few_epochs=20.0, learning_rate=5e-6), FOUR, Suited(1e-4, 20.0)),
        (ALIGN.with_(few_epochs=20.0, rank=8), FOUR, Suited(None, 20.0)),
        (ALIGN.with_(few_epochs=20.0), replace(FOUR, records=40), Suited(1e-4)),
        (ALIGN.with_(settings=("train.learning_rate=1e-5",)), FOUR, Suited()),
        (ALIGN.with_(settings=("train.epochs=2",)), FOUR, Suited(1e-4)),
        (ALIGN.with_(settings=("train.batch_size=2",)), FOUR, Suited(1e-4, 5.0)),
        (TUNE, FOUR, Suited(1e-3, 20.0)),
        (ALIGN.with_(model="elsewhere"), FOUR, Suited()),
        (PRETRAIN, None, Suited()),
    ],
)
def test_what_suits_a_small_model_and_few_records(draft: Draft, look: RecordsLook | None, suited: Suited) -> None:
    assert suit(draft, STOCK, look).suited == suited


@given(records=st.integers(1, 5000), method=st.sampled_from(["sft", "dpo"]), batch=st.integers(1, 16))
def test_what_suits_is_neither_next_to_nothing_nor_far_too_much(records: int, method: str, batch: int) -> None:
    """No hint to give what was given already, and hardly more steps than ten where there are more epochs."""
    look = replace(FOUR, records=records, mean_tokens=300.0)
    draft = suit(TUNE.with_(method=method, settings=(f"train.batch_size={batch}",)), STOCK, look)
    found = known(draft, look=look)
    assert "hardly moves" not in found.advice
    assert found.steps is not None
    if draft.suited.epochs is not None:
        assert draft.suited.epochs <= 20
        assert found.steps <= 10 + -(-records // batch)
    assert "next to nothing" not in found.advice
    shown = draft.args()
    assert shown[shown.index("--learning-rate") + 1] == ("0.0001" if method == "dpo" else "0.001")


def test_a_large_model_keeps_the_recipe() -> None:
    large = replace(MODEL, config=SMALL.model_copy(update={"hidden_size": 1024, "num_hidden_layers": 12}))
    assert suit(ALIGN.with_(few_epochs=20.0), replace(STOCK, models=(large,)), FOUR).suited == Suited(None, 20.0)
