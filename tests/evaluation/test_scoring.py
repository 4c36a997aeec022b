"""Log-likelihoods are those of the formula."""

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.evaluation.scoring import Request, Scorer
from tests.inference.tiny import tiny

IDS = st.lists(st.integers(0, 49), min_size=1, max_size=9).map(tuple)


@given(contexts=st.lists(IDS, min_size=1, max_size=5), targets=st.lists(IDS, min_size=5, max_size=5))
def test_a_request_gets_the_sum_of_its_targets_log_probabilities(
    contexts: list[tuple[int, ...]], targets: list[tuple[int, ...]]
) -> None:
    model = tiny(0, vocab_size=50, max_position_embeddings=64)
    requests = [Request(context, target) for context, target in zip(contexts, targets, strict=False)]
    for request, scored in zip(requests, Scorer(model, 64)(requests), strict=True):
        ids = mx.array([[*request.context, *request.target]])
        logits = model(ids)[0].astype(mx.float32)
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        at = range(len(request.context) - 1, ids.size - 1)
        expected = sum(logprobs[i, ids[0, i + 1].item()].item() for i in at)
        assert scored.logprob == pytest.approx(expected, abs=1e-4)
        assert scored.is_greedy == all(logits[i].argmax().item() == ids[0, i + 1].item() for i in at)


def test_what_is_too_long_loses_its_beginning() -> None:
    model = tiny(0, vocab_size=50, max_position_embeddings=64)
    context = tuple(range(40))
    long, short = Scorer(model, 12)([Request(context, (1, 2, 3)), Request(context[-10:], (1, 2, 3))])
    assert long.logprob == pytest.approx(short.logprob, abs=1e-5)
