"""The passage that is watched token by token: its losses are those of validation, and watching changes nothing."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxllm.data.shards import TokenDataset
from mlxllm.evaluation.passage import LONGEST, SplitValidation, cut_around, first_of
from mlxllm.evaluation.perplexity import Evaluator
from mlxllm.model.loading import load_model
from mlxllm.model.transformer import Decoder
from mlxllm.runs import Probe, RunDirectory, read_events, read_probe
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.evaluation.test_perplexity import BYTES, Split
from tests.model.tiny import VOCAB, tiny_model
from tests.training import tiny, tuned


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose validation split is no longer than a passage."""
    folder = tiny.dataset(tmp_path_factory.mktemp("short") / "squares", tiny.text(60))
    assert 64 < TokenDataset.open(folder).val.num_tokens <= LONGEST
    return folder


@pytest.mark.parametrize("lanes", [1, 2])
def test_where_the_passage_is_the_whole_split_its_mean_is_the_validation_loss(
    short: Path, tmp_path: Path, lanes: int
) -> None:
    listener = tiny.Listener()
    tiny.train(tmp_path / "run", tiny.config(short, eval_every=5, lanes=lanes), listener)
    val, probes = listener.of("val"), listener.of("probe")
    assert [e["step"] for e in probes] == [e["step"] for e in val] == [0, 5, 10, 12]
    for told, event in zip(val, probes, strict=True):
        known = [loss for loss in event["losses"] if loss is not None]
        assert len(known) == told["tokens"]
        assert event["losses"][0] is None
        assert np.array(known, dtype=np.float32).tolist() == pytest.approx(known, rel=1e-7)
        # As float32 they are the very numbers that were averaged.
        exact = np.array(known, dtype=np.float32).astype(np.float64)
        assert exact.sum() / told["tokens"] == pytest.approx(told["loss"], rel=1e-12)


def test_the_losses_are_those_of_the_split_s_first_windows(data: Path, tmp_path: Path) -> None:
    listener = tiny.Listener()
    settings = tiny.config(data, lanes=1)
    tiny.train(tmp_path / "run", settings, listener)
    val = TokenDataset.open(data).val
    event = listener.of("probe")[-1]
    count = len(event["losses"]) - 1
    assert count == LONGEST < val.num_tokens - 1
    found = np.zeros(val.num_tokens)

    def scored(position: int, losses: np.ndarray) -> None:
        found[position : position + len(losses)] = losses

    model = load_model(str(tmp_path / "run")).model
    score = Evaluator(val, ByteTokenizer().byte_lengths(), 16, batch_size=256)(model, scored=scored)["all"]
    assert found.sum() / (val.num_tokens - 1) == pytest.approx(score.loss, rel=1e-12)
    assert np.array(event["losses"][1:], dtype=np.float32).tolist() == found[1 : count + 1].astype(np.float32).tolist()
    assert event["step"] == 12


def test_the_tokens_are_told_once_an_attempt_and_are_those_of_the_split(data: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    stop = tiny.Listener(lambda e: e["kind"] == "train" and e["step"] == 9)
    tiny.train(run.path, tiny.config(data, eval_every=4), stop)
    tiny.go_on(run.path)
    events = [e for e in read_events(run.events) if e["kind"] == "probe"]
    assert [e["step"] for e in events] == [0, 4, 8, 12]
    assert ["token_ids" in e for e in events] == [True, False, False, True]
    ids = TokenDataset.open(data).val.read(0, LONGEST + 1).tolist()
    assert events[0]["token_ids"] == ids
    probe = read_probe(run)
    assert probe.steps == (0, 4, 8, 12)
    assert "".join(probe.pieces) == ByteTokenizer().decode(ids)


def test_a_resumed_run_tells_the_same_losses(data: Path, tmp_path: Path) -> None:
    """And its weights are the same bit for bit: test_resume.py validates while it trains."""
    settings = tiny.recipe(data, "adamw, dropout", eval_every=3)
    tiny.train(tmp_path / "whole", settings)
    tiny.train(tmp_path / "cut", settings, tiny.Listener(lambda e: e["kind"] == "train" and e["step"] == 7))
    tiny.go_on(tmp_path / "cut")
    whole, cut = (read_probe(RunDirectory(tmp_path / name)) for name in ("whole", "cut"))
    assert whole == cut
    tiny.assert_same_checkpoint(tmp_path / "whole", tmp_path / "cut", 12, "model.safetensors")


def test_the_probe_of_sft_is_a_held_out_answer(data: Path, tmp_path: Path) -> None:
    base = tuned.base(data, tmp_path / "base")
    held_out = tuned.conversations(tmp_path / "held-out.jsonl", 1)
    records = tuned.conversations(tmp_path / "records.jsonl")
    settings = tuned.config("sft", records, data={"val_records": [str(held_out)]}, max_steps=2)
    listener = tiny.Listener()
    tiny.train(tmp_path / "run", settings, listener, model_name=str(base))
    for told, event in zip(listener.of("val"), listener.of("probe"), strict=True):
        known = [loss for loss in event["losses"] if loss is not None]
        assert len(known) == told["tokens"]
        assert math.fsum(known) / len(known) == pytest.approx(told["loss"], rel=1e-6)
    probe = read_probe(RunDirectory(tmp_path / "run"))
    text = "".join(piece for piece, scored in zip(probe.pieces, probe.scored(), strict=True) if scored)
    assert text == "yes no perhaps <|end|>"
    assert "".join(probe.pieces).startswith("<|user|>0?")


def test_the_probe_of_dpo_is_the_chosen_answer_of_the_first_pair(data: Path, tmp_path: Path) -> None:
    base = tuned.base(data, tmp_path / "base")
    held_out = tuned.preferences(tmp_path / "held-out.jsonl", 3)
    records = tuned.preferences(tmp_path / "records.jsonl")
    for count in (1, 3):  # among three it is not the first of its batch
        held_out = tuned.preferences(tmp_path / "held-out.jsonl", count)
        settings = tuned.config("dpo", records, data={"val_records": [str(held_out)]}, max_steps=2, learning_rate=1e-2)
        listener = tiny.Listener()
        run = tmp_path / f"run-{count}"
        tiny.train(run, settings, listener, model_name=str(base))
        event, first = listener.of("probe")[-1], listener.of("probe")[0]
        known = [loss for loss in event["losses"] if loss is not None]
        pair = tuned.dpo_data(settings).val[0]
        assert first["token_ids"] == [*pair.prompt_ids.tolist(), *pair.chosen_ids.tolist()]
        assert [loss is None for loss in event["losses"]] == [True] * len(pair.prompt_ids) + [False] * len(known)
        if count == 1:
            assert -math.fsum(known) == pytest.approx(listener.of("val")[-1]["logps/chosen"], rel=1e-5)


def test_a_passage_ends_with_a_document_where_it_can() -> None:
    ids = np.random.default_rng(0).integers(5, VOCAB, 600)
    assert len(first_of(Split(ids), 0).token_ids) == LONGEST + 1
    ids[[20, 70, 90]] = 0  # the first is too early: a passage of 21 tokens shows little
    passage = first_of(Split(ids), 0)
    assert passage.token_ids.tolist() == ids[:71].tolist()
    assert passage.scored.tolist() == [False] + [True] * 70
    assert len(first_of(Split(ids[:30]), 0).token_ids) == 30


def test_a_long_prompt_loses_its_beginning_and_no_answer() -> None:
    ids, scored = np.arange(1000), np.arange(1000) >= 700
    passage, begin = cut_around(ids, scored)
    assert passage.scored.any()
    assert passage.token_ids.tolist() == ids[begin : begin + LONGEST].tolist()
    assert passage.token_ids[passage.scored][0] == 700


def test_watching_takes_no_forward_pass_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = tiny_model(), Split(np.random.default_rng(1).integers(0, VOCAB, 700))
    validation = SplitValidation(Evaluator(split, BYTES, 16, batch_size=4), first_of(split, -1))
    passes: list[int] = []
    inner = Decoder.__call__

    def counted(self: Decoder, *args: Any, **more: Any) -> Any:
        passes.append(1)
        return inner(self, *args, **more)

    watched: list[np.ndarray] = []
    plain = validation(model)["all"]
    monkeypatch.setattr(Decoder, "__call__", counted)
    with_watch = validation(model, watch=watched.append)["all"]
    assert len(passes) == validation.num_batches
    assert with_watch == plain
    assert [len(losses) for losses in watched] == [LONGEST]


def test_what_was_learnt_when() -> None:
    probe = Probe(
        token_ids=(9, 1, 2, 1, 3),
        pieces=("x", "a", "b", "a", "c"),
        steps=(0, 10, 20, 30),
        losses=(
            (None, 3.0, 3.0, 3.0, 3.0),
            (None, 0.1, 0.1, 2.0, 3.0),
            (None, 0.1, 2.0, 0.2, 3.0),
            (None, 0.1, 0.3, 0.2, 3.0),
        ),
    )
    assert probe.learnt(0.5) == [None, 10, 30, 20, None]
    assert probe.learnt(4.0) == [None, 0, 0, 0, 0]
    stories = probe.by_piece(0.5)
    assert [(s.piece, s.count, s.learnt, s.first, s.last) for s in stories] == [
        ("a", 2, 2, 10, 20),
        ("b", 1, 1, 30, 30),
        ("c", 1, 0, None, None),
    ]
    assert probe.mean(0) == 3.0
    assert probe.mean(3) == pytest.approx(3.6 / 4)
    assert [probe.place(step) for step in (-1, 0, 15, 99, None)] == [0, 0, 1, 3, 3]
