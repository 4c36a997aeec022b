"""Validation: the whole split once, token by token, in bits per byte; and `eval` tells what the trainer told."""

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.data.build import build_dataset
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources import open_source
from mlxllm.errors import DataError
from mlxllm.evaluation.perplexity import Evaluator, token_losses
from mlxllm.evaluation.ratio_sums import RatioSums
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.model.tiny import VOCAB, tiny_model, token_ids


@dataclass
class Span:
    start: int
    end: int


class Split:
    """A validation split in memory."""

    def __init__(self, ids: np.ndarray, sources: dict[str, Span] | None = None) -> None:
        self.ids, self.num_tokens, self.sources = ids, len(ids), sources or {}

    def read(self, start: int, count: int) -> np.ndarray:
        assert 0 <= start <= start + count <= self.num_tokens
        return self.ids[start : start + count]


BYTES = np.random.default_rng(0).integers(0, 4, VOCAB)
"""UTF-8 bytes of each id of the tiny models; some have none, as special tokens have."""


def one_by_one(model: Transformer, ids: np.ndarray, T: int) -> np.ndarray:
    """-log2 p of each token but the first, in float64, a position at a time: windows of T inputs, side by side."""
    bits = []
    for start in range(0, len(ids) - 1, T):
        window = ids[start : start + T + 1]
        logits = np.array(model(mx.array(window[None, :-1])))[0].astype(np.float64)
        for row, target in zip(logits, window[1:], strict=True):
            shifted = row - row.max()
            bits.append(-(shifted[target] - math.log(sum(math.exp(x) for x in shifted))) / math.log(2))
    return np.array(bits)


@settings(max_examples=25)
@given(
    tokens=st.integers(2, 90),
    T=st.integers(2, 20),
    batch=st.integers(1, 6),
    lanes=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_scores_equal_a_computation_token_by_token(tokens: int, T: int, batch: int, lanes: int, seed: int) -> None:
    model = tiny_model()
    ids = np.random.default_rng(seed).integers(0, VOCAB, tokens)
    cut = 1 + seed % (tokens - 1)
    split = Split(ids, {"first": Span(0, cut), "second": Span(cut, tokens)})
    scores = Evaluator(split, BYTES, T, batch_size=batch, lanes=lanes)(model)
    bits = one_by_one(model, ids, min(T, tokens - 1))
    everything = scores["all"]
    assert everything.tokens == tokens - 1
    assert everything.bytes == BYTES[ids[1:]].sum()
    assert everything.loss == pytest.approx(bits.mean() * math.log(2), rel=1e-5)
    assert everything.perplexity == pytest.approx(2 ** bits.mean(), rel=1e-4)
    if everything.bytes:
        assert everything.bits_per_byte == pytest.approx(bits.sum() / everything.bytes, rel=1e-5)
    else:
        assert everything.bits_per_byte is None
    for name, losses in (("first", bits[: cut - 1]), ("second", bits[cut - 1 :])):
        assert (name in scores) == bool(len(losses))
        if name in scores:
            assert scores[name].loss == pytest.approx(losses.mean() * math.log(2), rel=1e-5)
    parts = [scores[name] for name in ("first", "second") if name in scores]
    assert sum(p.tokens for p in parts) == everything.tokens
    assert sum(p.bytes for p in parts) == everything.bytes
    assert sum(p.loss * p.tokens for p in parts) == pytest.approx(everything.loss * everything.tokens, rel=1e-9)


@settings(max_examples=15)
@given(
    tokens=st.integers(2, 90),
    T=st.integers(1, 20),
    share=st.floats(0.05, 1),
    batch=st.integers(1, 6),
    lanes=st.integers(1, 2),
    limit=st.none() | st.integers(1, 9),
    stopped=st.integers(0, 9),
)
def test_windows_with_a_stride_score_each_token_once(
    tokens: int, T: int, share: float, batch: int, lanes: int, limit: int | None, stopped: int
) -> None:
    """Against one forward pass for each token: of the window that is the first to reach it."""
    model, S = tiny_model(), max(1, round(share * min(T, tokens - 1)))
    ids = np.random.default_rng(tokens).integers(0, VOCAB, tokens)
    cut = 1 + T % (tokens - 1)
    split = Split(ids, {"first": Span(0, cut), "second": Span(cut, tokens)})
    evaluator = Evaluator(split, BYTES, T, batch_size=batch, lanes=lanes, stride=S, limit=limit)
    length = min(T, tokens - 1)
    expected, windows = [], []
    for p in range(1, tokens):
        window = max(0, -(-(p - length) // S))
        context = ids[window * S : p]
        assert len(context) >= min(p, length - S + 1)
        expected.append(one_by_one(model, np.array([*context, ids[p]]), len(context))[-1] * math.log(2))
        windows.append(window)
    kept = [loss for loss, window in zip(expected, windows, strict=True) if limit is None or window < limit]
    noted: list[tuple[int, dict[str, RatioSums]]] = []
    scores = evaluator(model, done=lambda count, sums: noted.append((count, copy.deepcopy(sums))))
    assert scores["all"].tokens == len(kept)
    assert scores["all"].windows == evaluator.num_windows == len(set(windows[: len(kept)]))
    assert scores["all"].loss == pytest.approx(np.mean(kept), rel=1e-5)
    for name, (start, end) in {"first": (1, cut), "second": (cut, tokens)}.items():
        part = kept[start - 1 : end - 1]
        assert (name in scores) == bool(part)
        if part:
            assert scores[name].loss == pytest.approx(np.mean(part), rel=1e-5)
    begin = noted[min(stopped, len(noted) - 1)]
    gone_on = evaluator(model, begin=begin)
    assert {name: score.as_dict() for name, score in gone_on.items()} == {
        n: pytest.approx(s.as_dict()) for n, s in scores.items()
    }


def test_standard_errors_are_those_of_drawing_windows_again() -> None:
    """The bootstrap over windows: ratios of sums of windows drawn with replacement."""
    random = np.random.default_rng(0)
    tokens = random.integers(5, 30, 200)
    num_bytes = tokens * 3 + random.integers(0, 20, 200)
    loss = tokens * random.normal(3, 0.4, 200) + random.normal(0, 3, 200)
    sums = RatioSums()
    sums.add(loss[:50], tokens[:50], num_bytes[:50])
    sums = RatioSums.from_dict(json.loads(json.dumps(sums.as_dict())))
    sums.add(loss[50:], tokens[50:], num_bytes[50:])
    drawn = random.integers(0, 200, (4000, 200))
    by_token = loss[drawn].sum(1) / tokens[drawn].sum(1)
    by_byte = loss[drawn].sum(1) / num_bytes[drawn].sum(1) / math.log(2)
    assert sums.loss_stderr() == pytest.approx(by_token.std(), rel=0.05)
    assert sums.bits_per_byte_stderr() == pytest.approx(by_byte.std(), rel=0.05)


def test_the_batch_size_changes_nothing_but_rounding() -> None:
    model, split = tiny_model(), Split(np.random.default_rng(1).integers(0, VOCAB, 200))
    losses = [Evaluator(split, BYTES, 16, batch_size=b)(model)["all"].loss for b in (1, 3, 100)]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-6)


def test_dropout_is_off_meanwhile_and_on_again_after() -> None:
    model, split = tiny_model(dropout=0.5), Split(np.random.default_rng(1).integers(0, VOCAB, 60))
    evaluator = Evaluator(split, BYTES, 16)
    expected = evaluator(model)["all"].loss
    model.train()
    assert evaluator(model)["all"].loss == expected
    assert model.training
    assert evaluator(model)["all"].loss == expected


def test_a_part_can_be_scored_to_measure_time() -> None:
    model, split = tiny_model(), Split(np.random.default_rng(1).integers(0, VOCAB, 200))
    evaluator = Evaluator(split, BYTES, 16, batch_size=2)
    part = evaluator(model, max_batches=2)["all"]
    assert part.tokens == 2 * 2 * 16
    assert part.loss == pytest.approx(one_by_one(model, split.ids, 16)[:64].mean() * math.log(2), rel=1e-5)


def test_one_source_has_no_entry_of_its_own() -> None:
    split = Split(np.arange(30) % VOCAB, {"only": Span(0, 30)})
    assert set(Evaluator(split, BYTES, 16)(tiny_model())) == {"all"}


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_split_too_short_is_refused(tokens: int) -> None:
    with pytest.raises(DataError, match=f"has {tokens} tokens, too few to score; rebuild .* larger --val-split"):
        Evaluator(Split(np.zeros(tokens, dtype=int)), BYTES, 16)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_token_losses_in_chunks(chunk: int) -> None:
    model, rows = tiny_model(), token_ids(3, 9)
    found = token_losses(model, rows[:, :-1], rows[:, 1:], chunk_tokens=chunk)
    assert found.shape == (3, 8)
    for row, losses in zip(np.array(rows), np.array(found), strict=True):
        np.testing.assert_allclose(losses, one_by_one(model, row, 8) * math.log(2), rtol=1e-4)


def test_bits_per_byte_are_those_of_the_text(tmp_path: Path) -> None:
    """The bytes counted are the validation text's own, but for the first token, which nothing predicts."""
    text = "".join(f"Zeile {n}: größer als {n - 1} 🙂\n" for n in range(60))
    (tmp_path / "t.txt").write_text(text)
    tokenizer = ByteTokenizer()
    build_dataset(tmp_path / "data", [(open_source(f"text:{tmp_path / 't.txt'}"), None)], tokenizer, val_split=0.3)
    val = TokenDataset.open(tmp_path / "data").val
    model = tiny_model(vocab_size=tokenizer.vocab_size)
    score = Evaluator(val, tokenizer.byte_lengths(), 16)(model)["all"]
    ids = np.array(val.read(0, val.num_tokens))
    held_out = tokenizer.decode_bytes(ids.tolist()).removesuffix(b"<|endoftext|>")
    assert text.encode().endswith(held_out)
    assert score.bytes == len(held_out) - 1
    assert score.tokens == val.num_tokens - 1
    assert score.bits_per_byte == pytest.approx(one_by_one(model, ids, 16).sum() / (len(held_out) - 1), rel=1e-5)
