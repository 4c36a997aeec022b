"""Log-likelihoods are those of the formula, whatever else is asked for at the same time."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.evaluation import scoring
from mlxllm.evaluation.score_planning import families, trees
from mlxllm.evaluation.scoring import Request, Scored, Scorer
from mlxllm.model.quantized_models import quantize_blocks
from mlxllm.model.transformer import Transformer
from tests.model.tiny import VARIANTS, VOCAB, tiny_model

IDS = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9).map(tuple)
PREFIX = tuple(n % 7 for n in range(70))
LENGTH = 100
MODELS: dict[str, dict[str, Any]] = {**VARIANTS, "window": {"sliding_window": 6}, "long window": {"sliding_window": 75}}


def by_the_formula(model: Transformer, request: Request, length: int = LENGTH) -> Scored:
    """One text by itself: the sum of its targets' log-probabilities, in float64."""
    ids = [*request.context, *request.target][-(length + 1) :]
    logits = np.array(model(mx.array([ids[:-1]]))[0].astype(mx.float32)).astype(np.float64)
    count = min(len(request.target), len(ids) - 1)
    rows, targets = logits[-count:], ids[-count:]
    top = rows.max(axis=-1, keepdims=True)
    logprobs = rows - top - np.log(np.exp(rows - top).sum(axis=-1, keepdims=True))
    total = sum(logprobs[i, target] for i, target in enumerate(targets))
    return Scored(float(total), bool((rows.argmax(axis=-1) == targets).all()))


def assert_exact(model: Transformer, requests: list[Request], length: int = LENGTH, batch_tokens: int = 256) -> None:
    told: dict[int, Scored] = {}
    found = Scorer(model, length, batch_tokens)(requests, told.__setitem__)
    for number, (request, scored) in enumerate(zip(requests, found, strict=True)):
        expected = by_the_formula(model, request, length)
        assert scored.logprob == pytest.approx(expected.logprob, abs=1e-4)
        assert scored.is_greedy == expected.is_greedy
        assert told[number] == scored


def mixed(model: Transformer) -> list[Request]:
    """Questions with choices, a long beginning that some share, single tokens, greedy continuations, what is too long."""
    random = np.random.default_rng(0)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(random.integers(0, VOCAB, count).tolist())

    requests = []
    for number in range(12):
        context = (PREFIX if number % 2 else ()) + draw(1 + int(random.integers(9)))
        likeliest = int(model(mx.array([context]))[0, -1].argmax())
        requests += [Request(context, target) for target in (draw(1), draw(3), draw(6), (likeliest,))]
    requests += [
        Request(PREFIX, draw(2)),
        Request(draw(95), draw(12)),
        Request(draw(3), draw(110)),
        Request(draw(1), draw(40)),
    ]
    requests += requests[:3]
    return [requests[i] for i in random.permutation(len(requests))]


@pytest.mark.parametrize("name", MODELS)
def test_every_sort_of_model(name: str) -> None:
    model = tiny_model(**MODELS[name])
    assert_exact(model, mixed(model))


@pytest.mark.parametrize("kind", ["affine4", "affine8"])
def test_quantised_models(kind: str) -> None:
    model = tiny_model(hidden_size=64, intermediate_size=64)
    quantize_blocks(model, kind)
    assert_exact(model, mixed(model))


MODEL = tiny_model()


@settings(max_examples=12)
@given(
    questions=st.lists(st.tuples(st.booleans(), IDS, st.lists(IDS, min_size=1, max_size=4)), min_size=1, max_size=9),
    order=st.randoms(use_true_random=False),
    batch_tokens=st.integers(1, 400),
    length=st.integers(4, 100),
)
def test_order_mixture_and_batches_change_nothing(
    questions: list[tuple[bool, tuple[int, ...], list[tuple[int, ...]]]], order: Any, batch_tokens: int, length: int
) -> None:
    requests = [
        Request((PREFIX if shares else ()) + context, target)
        for shares, context, all_of in questions
        for target in all_of
    ]
    order.shuffle(requests)
    assert_exact(MODEL, requests, length, batch_tokens)


def test_few_rows_of_logits_exist_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_LOGITS", 5 * VOCAB)
    seen: list[int] = []
    logits = Transformer.logits
    monkeypatch.setattr(Transformer, "logits", lambda self, x: (seen.append(x.shape[0]), logits(self, x))[1])
    requests = mixed(MODEL)
    Scorer(MODEL, LENGTH, 256)(requests)
    assert max(seen) <= 5
    monkeypatch.undo()
    scored = sum(min(len(r.target), LENGTH) for r in requests)
    assert sum(seen) < scored, "what several targets have in common is computed once"


def test_a_shared_beginning_and_a_context_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 questions of 4 choices behind 70 tokens that they share."""
    random = np.random.default_rng(1)
    requests = []
    for _ in range(40):
        context = (*PREFIX, *random.integers(0, VOCAB, 10).tolist())
        requests += [Request(context, tuple(random.integers(0, VOCAB, 4).tolist())) for _ in range(4)]
    decoder = type(MODEL.model)
    read = []
    forward = decoder.__call__
    monkeypatch.setattr(
        decoder, "__call__", lambda self, ids, *a, **k: (read.append(ids.size), forward(self, ids, *a, **k))[1]
    )
    Scorer(MODEL, LENGTH, 512)(requests)
    # A beginning, and for each question its context, three inputs for each choice, and padding.
    assert sum(read) < 70 + 40 * (10 + 4 * 3) * 1.4
    assert max(read) <= 512


def test_families_are_those_that_save_most() -> None:
    def contexts(prefix: tuple[int, ...], count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return [((*prefix, 100 + n, n % 3), (1,)) for n in range(count)]

    first, second = tuple(range(50)), (*range(40), *range(60, 70))  # they have 40 tokens in common
    requests = [*contexts(first, 20), *contexts(second, 20), ((7, 8), (1,)), ((7, 9, 9), (1,))]
    found = families(trees(requests, 200), least_gain=100)
    assert {family.prefix: len(family.trees) for family in found} == {(): 2, first: 20, second: 20}
    assert [family.prefix for family in families(trees(requests, 200), least_gain=10_000)] == [()]
    nested = [(tuple(range(n)), (1,)) for n in range(1, 60)]  # each context is the beginning of the next one
    parts = families(trees(nested, 200), least_gain=100)
    assert sum(len(family.trees) for family in parts) == 59
    for family in parts:
        assert all(
            t.context[: len(family.prefix)] == family.prefix and len(t.context) > len(family.prefix)
            for t in family.trees
        )


def test_dropout_is_off_meanwhile_and_on_again_after() -> None:
    model = tiny_model(dropout=0.5)
    requests = mixed(model)
    expected = Scorer(model, LENGTH)(requests)
    model.train()
    assert Scorer(model, LENGTH)(requests) == expected
    assert model.training


def test_nothing_asked_is_nothing_told() -> None:
    assert Scorer(MODEL, LENGTH)([]) == []
