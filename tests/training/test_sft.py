"""Supervised fine-tuning: texts of a row do not see each other, and every trained token counts alike."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from mlxllm.config import RunConfig
from mlxllm.conversation.own_format import OwnFormat
from mlxllm.data.packing import PackedRows, Text, pack
from mlxllm.errors import DataError
from mlxllm.evaluation.answer_loss import KEYS
from mlxllm.evaluation.perplexity import token_losses
from mlxllm.model import cpu_math
from mlxllm.model.loading import load_model
from mlxllm.model.transformer import Transformer
from mlxllm.presets import sft
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.training import train_tokenizer
from mlxllm.training.checkpoint import load_checkpoint
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.sft import open_sft_data
from tests.model.tiny import VOCAB, tiny_model
from tests.training import tiny, tuned

T = 160
"""Longer than two blocks of queries of the CPU's own attention."""

MODELS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "rotary, normalised": {"qk_norm": True, "num_key_value_heads": 1},
    "learned": {"positions": "learned", "norm": "layernorm", "mlp_gated": False, "max_position_embeddings": T},
    "sinusoidal": {"positions": "sinusoidal", "norm_position": "post", "max_position_embeddings": T},
    "none": {"positions": "none"},
    "window": {"sliding_window": 7},
    "experts": {"num_experts": 3, "moe_intermediate_size": 24},
}


@contextlib.contextmanager
def attention(path: str) -> Iterator[None]:
    """Attention by the CPU's own blocks, or by MLX with a mask of each query and key."""
    before = cpu_math._WORTHWHILE_SIZE
    cpu_math._WORTHWHILE_SIZE = 1 if path == "cpu_math" else 1 << 60
    try:
        with mx.stream(mx.cpu):
            yield
    finally:
        cpu_math._WORTHWHILE_SIZE = before


def texts(lengths: list[int], seed: int = 0) -> list[Text]:
    draw = np.random.default_rng(seed)
    return [Text(draw.integers(0, VOCAB, n), np.arange(n) > draw.integers(0, n - 1)) for n in lengths]


def batch(rows: PackedRows) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    inputs, targets, mask, positions = (mx.array(getattr(rows, key)) for key in KEYS)
    return inputs, targets, mask, positions


def losses(model: Transformer, rows: PackedRows) -> list[np.ndarray]:
    """Of each token, text by text, in the order of the rows."""
    inputs, targets, _, positions = batch(rows)
    found = np.array(token_losses(model, inputs, targets, positions=positions))
    return [found[r, start:end] for r, start, end in places(rows)]


def places(rows: PackedRows) -> list[tuple[int, int, int]]:
    """(row, start, end) of each text; padding stands in no text."""
    found = []
    for r, row in enumerate(rows.positions):
        starts = [*np.flatnonzero(row == 0).tolist(), len(row)]
        for start, end in itertools.pairwise(starts):
            if rows.loss_mask[r, start:end].any():
                found.append((r, start, end))
    return found


def alone(rows: PackedRows, place: tuple[int, int, int]) -> tuple[mx.array, mx.array, mx.array]:
    """A text of a row in a row of its own, without padding or positions."""
    r, start, end = place
    inputs, targets, mask = (mx.array(getattr(rows, key)[r : r + 1, start:end]) for key in KEYS[:3])
    return inputs, targets, mask


@pytest.mark.parametrize("path", ["cpu_math", "mask"])
@pytest.mark.parametrize("name", MODELS)
def test_packed_losses_and_gradients_are_those_of_each_text_alone(name: str, path: str) -> None:
    model = tiny_model(**MODELS[name])
    rows = pack(texts([90, 61, 8, 130, 2, 24, 44, 3, 70, 17]), T)
    assert (rows.inputs.shape, rows.texts) == ((3, T), 10)
    total: dict[str, mx.array] = {}
    with attention(path):
        packed = losses(model, rows)
        for place, found in zip(places(rows), packed, strict=True):
            inputs, targets, mask = alone(rows, place)
            expected = np.array(token_losses(model, inputs, targets))[0]
            assert np.abs(found - expected).max() < 5e-5, place
            for key, gradient in gradients(model, inputs, targets, mask).items():
                total[key] = total[key] + gradient if key in total else gradient
        for key, gradient in gradients(model, *batch(rows)).items():
            scale = mx.max(mx.abs(total[key])).item()
            assert scale > 0
            assert mx.max(mx.abs(gradient - total[key])).item() < 2e-4 * scale, key


def gradients(model: Transformer, *arrays: mx.array) -> dict[str, mx.array]:
    """Of the summed loss. Experts: without the balance loss, which is about all tokens of a pass."""

    def loss(parameters: dict[str, Any]) -> mx.array:
        model.update(parameters)
        return next_token_loss(model, *arrays)[0]

    found: dict[str, mx.array] = tree_flatten(mx.grad(loss)(model.parameters()), destination={})
    mx.eval(found)
    return found


@pytest.mark.parametrize("path", ["cpu_math", "mask"])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_leaks_between_the_texts_of_a_row(name: str, path: str) -> None:
    """Other words in one text, or in the padding: the losses of all others stay, bit for bit."""
    model = tiny_model(**MODELS[name])
    rows = pack(texts([70, 40, 30]), T)
    assert len(rows.inputs) == 1
    with attention(path):
        before = losses(model, rows)
        for changed, (r, start, end) in enumerate(places(rows)):
            other = rows.inputs.copy()
            other[r, start:end] = (other[r, start:end] + 1 + np.arange(end - start) % 5) % VOCAB
            after = losses(model, _with_inputs(rows, other))
            for number, (ours, theirs) in enumerate(zip(before, after, strict=True)):
                if number == changed:
                    assert np.abs(ours - theirs).max() > 0.1
                # A router's experts get their rows together, so that the order of sums follows from all of them.
                elif name == "experts":
                    assert np.abs(ours - theirs).max() < 1e-5
                else:
                    assert (ours == theirs).all()
        last = max(end for _, _, end in places(rows))
        assert last < T
        padded = rows.inputs.copy()
        padded[0, last:] = 7
        after = losses(model, _with_inputs(rows, padded))
        assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(before, after, strict=True))


def _with_inputs(rows: PackedRows, inputs: np.ndarray) -> PackedRows:
    return PackedRows(inputs, rows.targets, rows.loss_mask, rows.positions, rows.texts, rows.truncated, rows.dropped)


@settings(max_examples=15)
@given(lengths=st.lists(st.integers(2, 40), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_the_summed_loss_does_not_depend_on_how_texts_are_packed(lengths: list[int], seed: int) -> None:
    model = tiny_model()
    found = []
    for length in (40, 64, 97):
        rows = pack(texts(lengths, seed), length)
        assert rows.texts == len(lengths)
        found.append([value.item() for value in next_token_loss(model, *batch(rows))])
    for loss, count in found[1:]:
        assert count == found[0][1]
        assert loss == pytest.approx(found[0][0], rel=1e-4)


def test_recomputed_blocks_see_the_same_packed_row() -> None:
    model = tiny_model().train()
    rows = pack(texts([70, 40, 30]), T)
    kept = gradients(model, *batch(rows))
    model.model.gradient_checkpointing = True
    for key, gradient in gradients(model, *batch(rows)).items():
        assert mx.allclose(gradient, kept[key], rtol=1e-4, atol=1e-4), key


def test_masked_targets_change_nothing() -> None:
    """What stands at a target that is not to be learned, and behind all texts."""
    model = tiny_model().train()
    rows = pack(texts([70, 40, 30]), T)
    inputs, targets, mask, positions = batch(rows)
    others = mx.where(mask == 1, targets, (targets + 5) % VOCAB)
    assert not mx.array_equal(others, targets)
    before, after = (gradients(model, inputs, t, mask, positions) for t in (targets, others))
    # One wrong target would change the head's gradient by the size of a hidden state.
    assert all(mx.allclose(before[key], after[key], rtol=1e-5, atol=1e-5) for key in before)
    assert next_token_loss(model, inputs, others, mask, positions)[0].item() == pytest.approx(
        next_token_loss(model, inputs, targets, mask, positions)[0].item(), rel=1e-6
    )


@pytest.mark.data
@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_little_of_real_conversations_is_padding(kind: str, test_data: Path) -> None:
    records = test_data / "sft" / "alpaca_en_demo.json"
    config = sft().with_values(data={"records": (str(records),)})
    vocab_size = 2000 if kind == "bpe" else None
    tokenizer = train_tokenizer(kind, [records.read_text()], vocab_size=vocab_size)
    data = open_sft_data(config, OwnFormat(tokenizer))
    assert data.report.used == data.train.texts > 990
    assert data.train.inputs.shape[1] == config.data.max_seq_len
    assert 0 < data.train.padding < 0.05
    shown = f"{data.train.texts:,} conversations in {len(data.train.inputs):,} rows of 512 tokens"
    assert data.summary.startswith(shown)


# Runs


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned.base(data, tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned.conversations(tmp_path_factory.mktemp("records") / "questions.jsonl")


@pytest.mark.parametrize("how", ["full", "qlora"])
def test_four_times_one_row_is_one_time_four(base: Path, records: Path, tmp_path: Path, how: str) -> None:
    """Rows have unequal numbers of trained tokens, so a mean of their means would be another loss."""
    found = {}
    for rows, passes in ((4, 1), (1, 4), (2, 2)):
        config = tuned.config("sft", records, tuned.LORA[how], batch_size=rows, grad_accum_steps=passes, max_steps=4)
        run = tmp_path / f"{rows}x{passes}"
        events = tuned.events(base, run, config)
        state = load_checkpoint(run / "checkpoints" / "step-00000004")[0]
        found[rows] = [e["loss"] for e in events], [e["tokens"] for e in events], state.parameters
    for rows in (1, 2):
        assert found[rows][0] == pytest.approx(found[4][0], abs=2e-6)
        assert found[rows][1] == found[4][1]
        for name, parameter in found[rows][2].items():
            # AdamW brings the smallest gradients to full size, and their rounding with them.
            assert mx.mean(mx.abs(parameter - found[4][2][name])).item() < 2e-6, name


def test_rows_of_a_step_differ_in_what_is_trained(base: Path, records: Path) -> None:
    """What the test above rests on: weighting rows alike would be seen."""
    model = load_model(str(base)).model
    config = tuned.config("sft", records)
    data = open_sft_data(config, OwnFormat(ByteTokenizer()))
    inputs, targets, mask, positions = batch(data.train)
    each = [
        next_token_loss(model, *(a[r : r + 1] for a in (inputs, targets, mask, positions))) for r in range(len(inputs))
    ]
    sums, counts = (np.array([pair[i].item() for pair in each]) for i in (0, 1))
    assert counts.max() > 2 * counts.min()
    assert abs(sums.sum() / counts.sum() - (sums / counts).mean()) > 1e-4


def test_tokens_are_the_trained_ones(base: Path, records: Path, tmp_path: Path) -> None:
    config = tuned.config("sft", records, max_steps=2)
    data = open_sft_data(config, OwnFormat(ByteTokenizer()))
    epoch = len(data.train.inputs)
    config = config.with_values(train={"batch_size": 1, "max_steps": epoch})
    events = tuned.events(base, tmp_path / "run", config)
    assert events[-1]["tokens"] == data.train.trained_tokens


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    records = tmp_path / "some.jsonl"
    records.write_text(
        '{"prompt": "a", "completion": "b"}\n'
        f'{{"prompt": "a", "completion": "{"b" * 100}"}}\n'
        f'{{"prompt": "{"a" * 100}", "completion": "b"}}\n'
        '{"prompt": "a", "completion": ""}\n'
    )
    config = tuned.config("sft", records)
    data = open_sft_data(config, OwnFormat(ByteTokenizer()))
    report = data.report
    assert (report.read, report.used, data.train.texts) == (4, 2, 2)
    assert dict(report.problems.dropped) == {
        "nothing to train on": 1,
        "nothing to train on within 64 tokens": 1,
    }
    assert report.problems.mended["longer than a row of 64 tokens: the end is cut off"] == 2
    told = " ".join(report.sentences())
    assert all(f"some.jsonl:{line}" in told for line in (2, 3, 4))


def test_nothing_that_fits_is_one_sentence(tmp_path: Path) -> None:
    records = tmp_path / "some.jsonl"
    records.write_text(f'{{"prompt": "{"a" * 100}", "completion": "b"}}\n')
    with pytest.raises(DataError, match=r"none of 1 record has anything left to train on within 64 tokens; use a"):
        open_sft_data(tuned.config("sft", records), OwnFormat(ByteTokenizer()))


@pytest.mark.parametrize("how", ["full", "qlora"])
def test_validation_is_the_loss_of_what_is_held_out(base: Path, records: Path, tmp_path: Path, how: str) -> None:
    """Also where the last batch is not full."""
    held_out = tuned.conversations(tmp_path / "held-out.jsonl", 31)
    config = tuned.config("sft", records, tuned.LORA[how], data={"val_records": [str(held_out)]}, max_steps=2)
    config = RunConfig.model_validate(config.model_dump() | {"train": config.train.model_dump() | {"batch_size": 4}})
    listener = tiny.Listener()
    tiny.train(tmp_path / "run", config, listener, model_name=str(base))
    val = open_sft_data(config, OwnFormat(ByteTokenizer())).val
    assert val is not None
    assert len(val.inputs) % 4
    total, count = next_token_loss(load_model(str(tmp_path / "run")).model, *batch(val))
    assert listener.of("val")[-1]["tokens"] == count.item() == val.trained_tokens
    assert listener.of("val")[-1]["loss"] == pytest.approx((total / count).item(), abs=1e-5)


def test_an_epoch_reads_every_row_once(base: Path, records: Path, tmp_path: Path) -> None:
    config = tuned.config("sft", records)
    rows = len(open_sft_data(config, OwnFormat(ByteTokenizer())).train.inputs)
    raw = config.model_dump() | {"train": config.train.model_dump() | {"epochs": 2.0}}
    events = tuned.events(base, tmp_path / "run", RunConfig.model_validate(raw))
    assert len(events) == -(-2 * rows // 2)


def test_a_model_learns_its_answers(base: Path, records: Path, tmp_path: Path) -> None:
    config = tuned.config("sft", records, learning_rate=1e-2, max_steps=25, batch_size=4)
    events = tuned.events(base, tmp_path / "run", config)
    assert events[-1]["loss"] < 0.4 * events[0]["loss"]
    assert load_model(str(tmp_path / "run")).history == ("base", "sft")
