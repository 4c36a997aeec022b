"""What is proposed for a budget, what would fit where a run does not, and `mlxllm plan` as a user types it."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.budget import Cost
from mlxllm.cli.plan_view import lines
from mlxllm.config import RunConfig
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.errors import ConfigError
from mlxllm.estimate import (
    Place,
    count_parameters,
    estimate,
    flops_by_part,
    kv_cache_bytes,
    memory,
    parameters_by_part,
)
from mlxllm.planning.budgets import parse_budget
from mlxllm.planning.overview import Basis, overview
from mlxllm.planning.proposals import MOST_EPOCHS, propose
from mlxllm.planning.remedies import as_options, changed, first_that_fits
from mlxllm.presets import PRESETS, preset_config
from mlxllm.settings import build_config
from mlxllm.tokenizer.char import CharTokenizer
from mlxllm.training.compare import check_memory
from tests.inference.tiny import tiny as tiny_inference
from tests.inference.tiny import write_folder
from tests.training import tiny
from tests.training.tiny import call, json_lines, sentence, succeeded

PLACE = Place("cpu", True, 2)
GIB = 2**30


def pace(config: RunConfig) -> Cost:
    """A machine of 10^11 operations a second."""
    costs = estimate(config)
    step = costs.flops_per_token * costs.tokens_per_step / 1e11
    return Cost(step, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "seconds", "size"),
    [
        ("5m", 300, None),
        ("90s", 90, None),
        ("1.5 h", 5400, None),
        ("overnight", 8 * 3600, None),
        ("2d", 172_800, None),
        ("40GB", None, 40 * 10**9),
        ("8gib", None, 8 * 2**30),
    ],
)
def test_budgets(text: str, seconds: float | None, size: int | None) -> None:
    budget = parse_budget(text)
    assert (budget.seconds, budget.bytes) == (seconds, size)


@pytest.mark.parametrize("text", ["", "5", "m", "5 parsec", "-5m", "0h", "nan h", "1e3s", "99999999999h"])
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="5m, 1h, overnight, 16GB"):
        parse_budget(text)


@given(st.integers(2, 20_000), st.integers(2, 20_000), st.sampled_from([1, 2]))
def test_a_smaller_validation_split_takes_no_more(one: int, other: int, lanes: int) -> None:
    config = preset_config("char-tiny").with_values(model={"vocab_size": 1000}, train={"lanes": lanes})
    fewer, more = (memory(config, PLACE, val_tokens) for val_tokens in sorted((one, other)))
    assert fewer.peak <= more.peak <= memory(config, PLACE).peak


@pytest.mark.parametrize("preset", PRESETS)
def test_the_parts_are_the_whole(preset: str) -> None:
    config = preset_config(preset).with_values(model={"vocab_size": 1000})
    assert sum(parameters_by_part(config.model).values()) == count_parameters(config.model)
    parts = flops_by_part(config)
    assert estimate(config).flops_per_token == sum(part.forward + part.backward for part in parts.values())
    doubled = config.with_values(data={"max_seq_len": config.data.max_seq_len // 2})
    assert parts["attention_scores"].forward == 2 * flops_by_part(doubled)["attention_scores"].forward
    needs = memory(config, PLACE)
    lasting = needs.weights + needs.held + needs.base + needs.optimizer
    assert lasting + needs.activations + needs.logits <= needs.peak


def test_keys_and_values_of_a_full_context() -> None:
    config = preset_config("story-30m")
    assert kv_cache_bytes(config, PLACE) == 2 * 8 * 4 * 64 * config.model.max_position_embeddings * 4
    assert kv_cache_bytes(config.with_values(model={"sliding_window": 16}), PLACE) == 2 * 8 * 4 * 64 * 16 * 4
    assert kv_cache_bytes(config, Place("gpu")) == kv_cache_bytes(config, PLACE) // 2


def test_more_time_gives_a_larger_model_until_the_data_are_used_up() -> None:
    base = preset_config("small-10m")
    found = [
        propose(parse_budget(t), base, pace, 64 * GIB, vocab_size=1000, place=PLACE) for t in ("5m", "1h", "8h", "9d")
    ]
    sizes = [count_parameters(p.config.model) for p in found]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[3]
    for text, proposal in zip((300, 3600, 8 * 3600), found, strict=False):
        assert proposal.seconds == pytest.approx(text, rel=0.1)
    assert found[2].tokens_per_parameter >= 20
    tokens = 3_000_000
    few = propose(parse_budget("9d"), base, pace, 64 * GIB, vocab_size=1000, tokens=tokens, place=PLACE)
    assert few.epochs is not None
    assert few.epochs <= MOST_EPOCHS * 1.001
    assert count_parameters(few.config.model) < sizes[3]


@pytest.mark.parametrize("text", ["200MB", "2GB", "40GB"])
def test_what_is_proposed_for_memory_fits_it_and_little_larger_does_not(text: str) -> None:
    budget = parse_budget(text)
    proposal = propose(budget, preset_config("small-10m"), pace, 8 * GIB, vocab_size=1000, place=PLACE)
    assert budget.bytes is not None
    assert 0.25 * budget.bytes < proposal.peak_bytes <= budget.bytes
    words = shlex.split(proposal.command("tales"))
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    read = build_config(preset="small-10m", settings=[*settings, "model.vocab_size=1000"])
    assert read.model == proposal.config.model
    assert read.train == proposal.config.train


def test_a_model_for_memory_alone_is_told_to_be_too_large_for_the_data() -> None:
    proposal = propose(parse_budget("2GB"), preset_config("small-10m"), pace, 8 * GIB, tokens=900, place=PLACE)
    assert "the data are far too few for it" in proposal.why


def test_too_little_memory_is_said() -> None:
    with pytest.raises(ConfigError, match="too little memory for even the smallest"):
        propose(parse_budget("1MB"), preset_config("small-10m"), pace, 8 * GIB, vocab_size=1000, place=PLACE)


@given(share=st.floats(0.02, 1.2), method=st.sampled_from(["pretrain", "sft", "dpo"]))
def test_what_would_fit_does_fit(share: float, method: str) -> None:
    config = preset_config("story-30m").with_values(model={"vocab_size": 4000}).model_copy(update={"method": method})
    limit = int(share * memory(config, PLACE).peak)
    change = first_that_fits(config, limit, PLACE)
    if change is None:
        assert share < 0.5
    else:
        assert memory(changed(config, change), PLACE).peak <= limit
        assert "--set" in as_options(change)


def test_a_run_without_room_is_refused_with_what_would_fit() -> None:
    config = preset_config("story-30m").with_values(
        model={"vocab_size": 4000}, train={"lanes": 1, "compute_dtype": "float32"}
    )
    peak = memory(config).peak
    check_memory(config, peak)
    with pytest.raises(ConfigError) as refused:
        check_memory(config, peak - 1)
    said = str(refused.value)
    assert "--set train.batch_size=" in said
    assert "--set train.grad_accum_steps=" in said
    assert "GiB" in said
    with pytest.raises(ConfigError, match=r"train\.gradient_checkpointing=true|model or data\.max_seq_len smaller"):
        check_memory(config, peak // 20)
    sft = config.with_values(train={"batch_size": 1}).model_copy(update={"method": "sft"})
    with pytest.raises(ConfigError, match=r"lora\.rank=8"):
        check_memory(sft, int(memory(sft).held + memory(sft).weights * 4))


def test_energy_is_told_only_with_watts_and_as_an_estimate() -> None:
    config = preset_config("char-tiny").with_values(model={"vocab_size": 100})
    basis = Basis(Cost(1.0, 0.0, 0.0), "a guess")
    assert overview(config, basis, GIB, place=PLACE)["energy"] is None
    told = overview(config, basis, GIB, watts=36.0, place=PLACE)
    assert told["energy"]["watt_hours"] == pytest.approx(36 * told["time"]["seconds"] / 3600)
    assert told["energy"]["is_estimate"]


def test_what_is_tight_and_what_no_change_makes_fit_is_said() -> None:
    config = preset_config("char-tiny").with_values(model={"vocab_size": 100})
    peak, basis = memory(config, PLACE).peak, Basis(Cost(1.0, 0.0, 0.0), "a guess")
    told = {}
    for name, there in (("fits", 2 * peak), ("tight", peak + 1), ("too much", peak // 50)):
        shown = overview(config, basis, there, place=PLACE)
        shown |= {"proposal": None, "vocabulary": {"known": True}, "fine_tuning": {}}
        told[name] = "\n".join(lines(shown))
    assert "GiB: fits" in told["fits"] or "MiB: fits" in told["fits"]
    assert ": tight, close other programs" in told["tight"]
    assert "too much for this machine" in told["too much"]
    assert "no smaller batch is enough" in told["too much"]


@pytest.mark.parametrize(
    ("step", "takes", "more"), [(1e-3, " s here", ""), (100.0, "days here", "; --budget overnight ")]
)
def test_how_long_a_model_for_so_much_memory_trains_is_told(step: float, takes: str, more: str) -> None:
    config = preset_config("char-tiny").with_values(model={"vocab_size": 100})
    proposal = {"command": "mlxllm train", "epochs": None, "tokens_per_parameter": 20.0, "why": "the largest"}
    shown = overview(config, Basis(Cost(step, 0.0, 0.0), "a guess"), GIB, place=PLACE)
    shown |= {"proposal": proposal, "vocabulary": {"known": True}, "fine_tuning": {}}
    [told] = [line for line in lines({**shown, "budget": "16GB"}) if line.startswith("compute-optimal training of it")]
    assert takes in told
    assert bool(more) == ("; " in told)
    assert more in told
    assert "compute-optimal training of it" not in "".join(lines({**shown, "budget": "1h"}))
    memory_told = "\n".join(lines({**shown, "budget": "1h"}))
    assert ", copy of the weights for validation " in memory_told
    assert ", validation pass " in memory_told


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.dataset(tmp_path_factory.mktemp("data") / "squares")


def _plan(*words: Any) -> dict[str, Any]:
    [shown] = json_lines(succeeded(call("plan", *words, "--json")).stdout)
    return shown


def test_measured_steps_and_the_command_that_is_proposed(data: Path, mlxllm_home: Path) -> None:
    small = ("--preset", "char-tiny", "--data", data)
    shown = _plan(*small, "--measure", "--watts", 20)
    assert shown["time"]["source"] == "a few steps of this configuration, measured now"
    assert 1e-4 < shown["time"]["seconds_per_step"] < 10
    assert shown["memory"]["measured_peak"] > 0
    assert shown["parameters"]["all"] == 90_880
    assert set(shown["fine_tuning"]) == {"sft", "lora", "qlora", "dpo", "dpo, lora"}
    proposed = _plan(*small, "--budget", "20s")
    words = shlex.split(proposed["proposal"]["command"])
    assert words[:2] == ["mlxllm", "train"]
    done = succeeded(call(*words[1:], "--max-steps", 2, "--run", "proposed"))
    assert "proposed" in done.stderr
    text = succeeded(call("plan", *small, "--budget", "20s")).stdout
    assert proposed["proposal"]["command"] in text
    for word in ("parameters", "memory", "time", "compute-optimal", "qlora"):
        assert word in text


def test_what_training_would_refuse_is_refused(data: Path, tmp_path: Path, mlxllm_home: Path) -> None:
    model = write_folder(tmp_path / "model", tiny_inference())
    words = CharTokenizer(sorted({*tiny.text()}))  # fewer ids than the model's
    build_dataset(tmp_path / "chars", [(open_source(f"text:{data.with_suffix('.txt')}"), None)], words, val_split=0.1)
    told = sentence(call("plan", "--model", model, "--data", tmp_path / "chars"), 1)
    assert "was made with another tokenizer" in told
    assert sentence(call("train", "--model", model, "--data", tmp_path / "chars", "--dry-run"), 1) == told
    for command in ("plan", "train"):
        lanes = (command, "--preset", "char-tiny", "--data", data, "--set", "train.lanes=3", "--device", "cpu")
        told = sentence(call(*lanes), 2)
        assert "train.batch_size 8 does not divide into train.lanes 3; leave lanes out" in told


def test_wrong_words_end_in_a_sentence(data: Path, mlxllm_home: Path) -> None:
    for words, said in (
        (("--budget", "soon"), "neither a time nor a size"),
        (("--watts", "-3"), "--watts is -3"),
        (("--preset", "smal-10m"), "small-10m"),
        (("--budget", "5m", "--model", "x"), "leave one of them out"),
        (("--budget", "5m", "--set", "train.max_steps=7"), "so does --set train.max_steps=7"),
        (("--budget", "5m", "--preset", "sft"), "preset sft fine-tunes a model"),
        (("--device", "tpu"), "device 'tpu' is not known"),
        (("--data", data, "--set", "model.vocab_size=50"), "has 50 ids"),
    ):
        done = call("plan", *words)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
