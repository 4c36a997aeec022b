"""Direct preference optimisation: what counts, what it starts at, what is compiled."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import RunConfig
from mlxllm.conversation.preferences import Pair
from mlxllm.evaluation.pair_rows import KEYS, PairShapes, stacked
from mlxllm.evaluation.pair_scoring import answer_logprobs
from mlxllm.model.loading import load_model
from mlxllm.model.transformer import Decoder, Transformer
from mlxllm.runs import Event
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.training import dpo
from mlxllm.training.checkpoint import load_checkpoint
from mlxllm.training.dpo import dpo_objective, dpo_rows
from mlxllm.training.step import TrainStep, initial_state
from tests.model.tiny import VOCAB, max_difference, tiny_model
from tests.training import tiny, tuned

LENGTHS = [(1, 1, 1), (9, 3, 7), (30, 1, 2), (30, 3, 1), (2, 60, 5), (40, 40, 41), (12, 12, 90), (5, 20, 19)]
"""Tokens of (prompt, chosen, rejected): answers shorter and longer than each other, several lengths of rows."""


def some_pairs(seed: int = 0) -> list[Pair]:
    draw = np.random.default_rng(seed)
    return [tuned.pair(*(draw.integers(0, VOCAB, n).tolist() for n in lengths)) for lengths in LENGTHS]


def arrays(pairs: list[Pair], reference: np.ndarray | None = None) -> dict[str, mx.array]:
    """One batch of all pairs."""
    shapes = PairShapes(pairs, 128)
    known = np.zeros((len(pairs), 2)) if reference is None else reference
    rows = [shapes.row(pair, ref) for pair, ref in zip(pairs, known, strict=True)]
    return dict(zip(KEYS, stacked(rows, len(pairs)), strict=True))


def by_hand(model: Transformer, pair: Pair) -> list[float]:
    """log pi of both answers, from the logits of each sequence alone and in float64."""
    found = []
    for answer in (pair.chosen_ids, pair.rejected_ids):
        ids = np.concatenate([pair.prompt_ids, answer]).astype(np.int32)
        logits = np.array(model(mx.array(ids[None, :-1])), dtype=np.float64)[0]
        logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        first = len(pair.prompt_ids)
        found.append(sum(logprobs[at - 1, ids[at]] for at in range(first, len(ids))))
    return found


@pytest.mark.parametrize("variant", [{}, {"positions": "learned"}, {"sliding_window": 5}, {"num_experts": 3}])
def test_only_the_tokens_of_the_answers_count(variant: dict[str, Any]) -> None:
    """Their sum, to the last one and from the first one, whatever the padding."""
    model, pairs = tiny_model(**variant), some_pairs()
    batch = arrays(pairs)
    logprobs = answer_logprobs(model, *(batch[key] for key in KEYS[:6]), chunk=7)
    assert batch["inputs"].shape == (8, 128)
    assert np.array(logprobs) == pytest.approx(np.array([by_hand(model, pair) for pair in pairs]), rel=1e-4, abs=1e-3)


def gradient(config: RunConfig, model: Transformer, batch: dict[str, mx.array]) -> tuple[float, dict[str, mx.array]]:
    step = TrainStep(model, config.train, dpo_objective(config))
    parameters = initial_state(model, config.train).parameters
    gradients, loss, count, _ = step.gradients(parameters, tuple(batch[key] for key in KEYS))
    assert count.item() == len(batch["inputs"])
    return loss.item(), gradients


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "simpo"])
def test_neither_padding_nor_its_targets_change_anything(loss: str) -> None:
    pairs = some_pairs()
    config = tuned.config("dpo", Path("pairs"), dpo={"loss": loss, "sft_weight": 0.5}, batch_size=len(pairs))
    model, batch = tiny_model(), arrays(pairs)
    before, gradients = gradient(config, model, batch)
    used = np.zeros(batch["inputs"].shape, dtype=bool)
    for number, pair in enumerate(pairs):
        used[number, : len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) - 2] = True
    assert 0.2 < used.mean() < 0.7
    noise = np.random.default_rng(1).integers(0, VOCAB, used.shape)
    masked = batch["answer_of"] == 0
    changed = {
        **batch,
        "inputs": mx.where(mx.array(used), batch["inputs"], mx.array(noise)),
        "answers": mx.where(masked, 5, batch["answers"]),
        "answer_at": mx.where(masked, 3, batch["answer_at"]),
    }
    assert any(not mx.array_equal(batch[key], changed[key]) for key in KEYS)
    after, others = gradient(config, model, changed)
    assert after == pytest.approx(before, rel=1e-6)
    for name, g in gradients.items():
        assert max_difference(g, others[name]) < 1e-5 * mx.max(mx.abs(g)).item() + 1e-7, name


def test_the_prompt_is_read_but_not_learned() -> None:
    """It decides the answer's probability, and none of its own tokens is ever picked as a target."""
    model, pair = tiny_model(), tuned.pair([1, 2, 3, 4], [5, 6], [7])
    batch = arrays([pair])
    assert batch["answer_at"].tolist() == [[3, 4, 3, 0, 0, 0, 0, 0]]
    assert batch["answers"].tolist() == [[5, 6, 7, 0, 0, 0, 0, 0]]
    assert batch["answer_of"].tolist() == [[1, 1, 2, 0, 0, 0, 0, 0]]
    other = arrays([tuned.pair([9, 2, 3, 4], [5, 6], [7])])
    scores = [answer_logprobs(model, *(b[key] for key in KEYS[:6]), chunk=64) for b in (batch, other)]
    assert max_difference(*scores) > 1e-2


def test_an_answer_is_all_that_follows_the_generation_prompt(tmp_path: Path) -> None:
    tokenizer = ByteTokenizer()
    (tmp_path / "one.jsonl").write_text('{"prompt": "a", "chosen": "bc", "rejected": "d"}\n')
    (pair,) = tuned.dpo_data(tuned.config("dpo", tmp_path / "one.jsonl")).train
    user, assistant, end = (tokenizer.special_ids[f"<|{name}|>"] for name in ("user", "assistant", "end"))
    a, b, c, d = (tokenizer.encode(letter)[0] for letter in "abcd")
    assert pair.prompt_ids.tolist() == [user, a, end, assistant]
    assert pair.chosen_ids.tolist() == [b, c, end]
    assert pair.rejected_ids.tolist() == [d, end]


def test_pairs_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    records = tmp_path / "pairs.jsonl"
    records.write_text(
        '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
        '{"prompt": "a", "chosen": "b", "rejected": "b"}\n'
        '{"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 3, "score_rejected": 3}\n'
        '{"prompt": "a", "chosen": "", "rejected": "c"}\n'
        f'{{"prompt": "a", "chosen": "{"b" * 70}", "rejected": "c"}}\n'
    )
    report = tuned.dpo_data(tuned.config("dpo", records)).report
    assert (report.read, report.used) == (5, 1)
    assert dict(report.problems.dropped) == {
        "identical pair": 1,
        "tied pair": 1,
        "empty completion": 1,
        "too long": 1,
    }


@pytest.mark.parametrize("length", [63, 64, 65, 66])
def test_a_pair_of_just_the_longest_length_fits(length: int) -> None:
    """Its last token is only a target: 65 tokens are 64 inputs."""
    pair = tuned.pair([1] * 10, [2] * (length - 10), [3])
    shapes = PairShapes([pair], 64)
    row = shapes.row(pair, np.zeros(2)) if length <= 65 else None
    assert row is None or (row["inputs"].shape[0] <= 128 and (row["answer_of"] == 1).sum() == length - 10)


# Shapes and compilation


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the inputs each time that the objective's Python is run: while a step is traced, if it is."""
    traced: list[tuple[int, ...]] = []
    make = dpo.dpo_objective

    def counting(config: RunConfig) -> Callable[..., Any]:
        objective = make(config)

        def traced_objective(model: Transformer, inputs: mx.array, *more: mx.array) -> Any:
            traced.append((*inputs.shape, more[2].shape[-1]))
            return objective(model, inputs, *more)

        return traced_objective

    monkeypatch.setattr(dpo, "dpo_objective", counting)
    return traced


def an_epoch(base: Path, tmp_path: Path, passes: int = 1) -> list[Event]:
    """Through pairs of four buckets of lengths, more than once each."""
    records = tmp_path / "pairs.jsonl"
    records.write_text(
        "".join(
            f'{{"prompt": "{"a" * (3 + 30 * (n % 3))}", "chosen": "{"b" * (n % 5 + 1)}", "rejected": "c{n}"}}\n'
            for n in range(48)
        )
    )
    config = tuned.config("dpo", records, data={"max_seq_len": 128}, grad_accum_steps=passes, lanes=1)
    raw = config.model_dump() | {"train": config.train.model_dump() | {"epochs": 1.0, "eval_every": 0}}
    return tuned.events(base, tmp_path / "run", RunConfig.model_validate(raw))


@pytest.mark.compiled
@pytest.mark.parametrize("passes", [1, 2])
def test_the_step_is_compiled_once_for_each_bucket(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    traced = counted(monkeypatch)
    events = an_epoch(base, tmp_path, passes)
    assert len(events) == 24 // passes
    assert len(traced) == len({shape[1] for shape in traced}) == 4
    assert all(math.isfinite(e["loss"]) for e in events)


def test_without_compilation_python_runs_each_step(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the count above says that the step is compiled."""
    traced = counted(monkeypatch)
    assert len(an_epoch(base, tmp_path)) == len(traced) == 24


@pytest.mark.parametrize("how", ["full", "lora"])
def test_chosen_and_rejected_are_one_forward_pass(
    base: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """And the reference is none at all: it was asked before."""
    seen: list[tuple[int, ...]] = []
    forward = Decoder.__call__

    def watched(self: Decoder, token_ids: mx.array, *more: Any, **named: Any) -> mx.array:
        seen.append(token_ids.shape)
        return forward(self, token_ids, *more, **named)

    monkeypatch.setattr(Decoder, "__call__", watched)
    config = tuned.config("dpo", records, tuned.LORA[how], max_steps=5, lanes=1)
    tuned.events(base, tmp_path / "run", config)
    asked = math.ceil(len(tuned.dpo_data(config).train) / 2)
    assert len(seen) == asked + 5
    assert {rows for rows, _ in seen[asked:]} == {config.train.batch_size}


def test_a_step_reads_pairs_of_about_one_length() -> None:
    """One shape a step, all pairs once an epoch, and little padding although lengths are mixed."""
    draw = np.random.default_rng(0)
    pairs = [tuned.pair([n % 7], [1] * int(draw.integers(1, 100)), [2]) for n in range(64)]
    shapes = PairShapes(pairs, 128)
    loader = dpo_rows([shapes.row(pair, np.zeros(2)) for pair in pairs], 4, seed=0)
    widths, answered = set(), 0
    for step in range(16):
        inputs, *_, answers, of, reference = loader.batch(step)
        assert (len(inputs), reference.shape) == (4, (4, 2))
        widths.add((inputs.shape[1], answers.shape[1]))
        answered += int((of > 0).sum())
    assert answered == sum(len(p.chosen_ids) + len(p.rejected_ids) for p in pairs)
    assert len(widths) == len({t for t, _ in widths}) <= 8


def test_a_batch_has_the_shape_of_its_longest_pair() -> None:
    """Also where a shorter one has the longer answer."""
    long_answer, long_prompt = tuned.pair([1], [2] * 60, [3]), tuned.pair([1] * 90, [2], [3])
    shapes = PairShapes([long_answer, long_prompt], 128)
    found = []
    for pairs in ([long_answer, long_prompt], [long_prompt, long_prompt]):
        batch = stacked([shapes.row(pair, np.zeros(2)) for pair in pairs], 2)
        found.append([a.shape for a in batch])
    assert found[0] == found[1]


# Runs


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned.base(data, tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned.preferences(tmp_path_factory.mktemp("records") / "pairs.jsonl")


@pytest.mark.parametrize("how", tuned.LORA)
def test_it_starts_at_log_2(base: Path, records: Path, tmp_path: Path, how: str) -> None:
    """Policy and reference are the same model, so that nothing is preferred yet."""
    config = tuned.config("dpo", records, tuned.LORA[how], max_steps=3, learning_rate=1e-2, warmup_steps=0)
    first, second, *_ = tuned.events(base, tmp_path / "run", config)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert abs(second["loss"] - math.log(2)) > 1e-4


@pytest.mark.parametrize(
    ("loss", "start"),
    [
        ({"loss": "sigmoid", "label_smoothing": 0.2}, math.log(2)),
        ({"loss": "robust", "label_smoothing": 0.2}, math.log(2)),
        ({"loss": "hinge"}, 1.0),
        ({"loss": "ipo", "beta": 0.25}, 4.0),
    ],
)
def test_where_the_other_losses_start(
    base: Path, records: Path, tmp_path: Path, loss: dict[str, Any], start: float
) -> None:
    config = tuned.config("dpo", records, dpo=loss, max_steps=1)
    (first,) = tuned.events(base, tmp_path / "run", config)
    assert first["loss"] == pytest.approx(start, abs=1e-4)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_it_starts_at_log_2_in_half_precision(base: Path, records: Path, tmp_path: Path, how: str) -> None:
    """The reference is computed in what the policy is computed in."""
    config = tuned.config("dpo", records, tuned.LORA[how], max_steps=1, compute_dtype="bfloat16", dpo={"beta": 1.0})
    (first,) = tuned.events(base, tmp_path / "run", config)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_four_times_one_pair_is_one_time_four(base: Path, records: Path, tmp_path: Path, how: str) -> None:
    found = {}
    for pairs, passes in ((4, 1), (1, 4)):
        config = tuned.config(
            "dpo", records, tuned.LORA[how], batch_size=pairs, grad_accum_steps=passes, max_steps=4, learning_rate=1e-2
        )
        run = tmp_path / f"{pairs}x{passes}"
        events = tuned.events(base, run, config)
        state = load_checkpoint(run / "checkpoints" / "step-00000004")[0]
        found[pairs] = events, state.parameters
    for name in ("loss", "rewards/chosen", "rewards/margins", "rewards/accuracies", "logps/chosen", "tokens"):
        ours, theirs = ([e[name] for e in found[pairs][0]] for pairs in (4, 1))
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-4), name
    for name, parameter in found[1][1].items():
        assert mx.mean(mx.abs(parameter - found[4][1][name])).item() < 2e-5, name


def test_metrics_are_those_of_the_pairs(base: Path, records: Path, tmp_path: Path) -> None:
    """Validation after the last step, by hand."""
    held_out = tuned.preferences(tmp_path / "held-out.jsonl", 7)
    config = tuned.config(
        "dpo", records, data={"val_records": [str(held_out)]}, dpo={"beta": 0.5}, learning_rate=1e-2, batch_size=4
    )
    listener = tiny.Listener()
    tiny.train(tmp_path / "run", config, listener, model_name=str(base))
    pairs = tuned.dpo_data(config).val
    policy, reference = (load_model(str(path)).model for path in (tmp_path / "run", base))
    now, then = (np.array([by_hand(model, pair) for pair in pairs]) for model in (policy, reference))
    rewards = 0.5 * (now - then)
    margins = rewards[:, 0] - rewards[:, 1]
    assert np.abs(margins).max() > 0.1
    val = listener.of("val")[-1]
    assert val["pairs"] == len(pairs) == 7
    assert val["loss"] == pytest.approx(float(np.log1p(np.exp(-margins)).mean()), abs=1e-4)
    assert val["rewards/chosen"] == pytest.approx(rewards[:, 0].mean(), abs=1e-3)
    assert val["rewards/rejected"] == pytest.approx(rewards[:, 1].mean(), abs=1e-3)
    assert val["rewards/margins"] == pytest.approx(margins.mean(), abs=1e-3)
    assert val["rewards/accuracies"] == pytest.approx((margins > 0).mean())
    assert val["logps/chosen"] == pytest.approx(now[:, 0].mean(), abs=1e-3)
    assert val["logps/rejected"] == pytest.approx(now[:, 1].mean(), abs=1e-3)


def test_nothing_is_preferred_before_the_first_step(base: Path, records: Path, tmp_path: Path) -> None:
    """All are ties, and a tie counts half."""
    held_out = tuned.preferences(tmp_path / "held-out.jsonl", 7)
    config = tuned.config("dpo", records, data={"val_records": [str(held_out)]}, batch_size=4, max_steps=2)
    listener = tiny.Listener()
    tiny.train(tmp_path / "run", config, listener, model_name=str(base))
    assert listener.of("val")[0]["step"] == 0
    assert listener.of("val")[0]["rewards/accuracies"] == 0.5


def test_tokens_are_those_of_both_sequences(base: Path, records: Path, tmp_path: Path) -> None:
    config = tuned.config("dpo", records, batch_size=3)
    data = tuned.dpo_data(config)
    assert len(data.train) % 3 == 0
    events = tuned.events(base, tmp_path / "run", config.with_values(train={"max_steps": len(data.train) // 3}))
    assert events[-1]["tokens"] == data.num_tokens


def test_a_model_learns_what_is_preferred(base: Path, records: Path, tmp_path: Path) -> None:
    config = tuned.config("dpo", records, learning_rate=1e-3, batch_size=4, max_steps=15)
    events = tuned.events(base, tmp_path / "run", config)
    assert events[-1]["rewards/accuracies"] == 1.0
    assert events[-1]["loss"] < 0.6
    assert load_model(str(tmp_path / "run")).history == ("base", "dpo")
