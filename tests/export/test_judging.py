"""What counts as the same model, and what is said where it is not."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlxllm.export.judging import Reference, bounds_for, judge, mean_kl, quantised_bounds
from mlxllm.export.measuring import Measured
from mlxllm.export.readers.running import Reading

LOGITS = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
STEPS = np.random.default_rng(1).normal(size=(3, 10)).astype(np.float32)
GREEDY = tuple(int(i) for i in STEPS.argmax(-1))
REFERENCE = Reference([[5, 6, 7], [8]], [1, 2, 3], Measured(LOGITS, (4, 5), GREEDY, STEPS), bounds_for("float32"))
READING = Reading("1.0", [[5, 6, 7], [8]], [4, 5], LOGITS.copy(), list(GREEDY), [1, 2, 3])


def test_equal_is_passed() -> None:
    row = judge("ours", READING, REFERENCE)
    assert (row.status, row.ids_equal, row.greedy_equal, row.note) == ("passed", True, True, "")
    assert row.max_logit_difference == row.kl == 0


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "ids": ({"ids": [[5, 6, 9], [8]]}, "text 1 has other ids from token 3 on"),
    "fewer ids": ({"ids": [[5, 6], [8]]}, "text 1 has other ids from token 3 on"),
    "prefix": ({"prompt_ids": [1, 4, 5]}, "the prompt has other ids"),
    "chat": ({"chat_ids": None}, "the conversation has other ids from token 1 on"),
    "a logit": ({"logits": LOGITS + 9e-4 * (np.arange(10) == 3)}, r"a logit differs by 0.0009, more than 0.0001"),
    "one far logit": ({"logits": LOGITS + 2e-3 * (np.arange(60) == 3).reshape(6, 10)}, "a logit differs by 0.002"),
    "NaN": ({"logits": LOGITS * np.nan}, "some logits are not numbers"),
    "vocabulary": ({"logits": LOGITS[:, :9]}, r"logits have the shape \(6, 9\), not \(6, 10\)"),
    "a token": ({"greedy": [GREEDY[0], (GREEDY[1] + 1) % 10, 0]}, "greedy token 2 of 3 is another one"),
    "an early end": ({"greedy": [GREEDY[0]]}, "greedy token 2 of 3 is another one"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_is_named(what: str) -> None:
    changes, note = DIFFERENT[what]
    row = judge("ours", replace(READING, **changes), REFERENCE)
    assert row.status == "failed"
    assert re.match(note, row.note), row.note


def test_rounding_in_a_few_logits_is_excused() -> None:
    row = judge("ours", replace(READING, logits=LOGITS + 2e-4 * (np.arange(60) == 3).reshape(6, 10)), REFERENCE)
    assert row.status == "passed"
    assert row.kl is not None
    assert row.kl < 1e-8
    said = r"a logit differs by 0.0002, more than 0.0001, which is rounding: KL is \d\.?\d*e-\d+ nats"
    assert re.fullmatch(said, row.note), row.note
    within = judge("ours", replace(READING, logits=LOGITS + 9e-5 * (np.arange(60) == 3).reshape(6, 10)), REFERENCE)
    assert (within.status, within.note) == ("passed", "")


def test_a_model_that_writes_no_numbers_never_passes() -> None:
    broken = replace(REFERENCE, measured=Measured(LOGITS * np.nan, (4, 5), GREEDY, STEPS))
    assert judge("ours", READING, broken).note == "some logits of the model itself are not numbers"


def test_a_tie_is_excused() -> None:
    steps = STEPS.copy()
    other = (GREEDY[1] + 1) % 10
    steps[1, other] = steps[1, GREEDY[1]] - 1e-5
    reference = replace(REFERENCE, measured=Measured(LOGITS, (4, 5), GREEDY, steps))
    row = judge("ours", replace(READING, greedy=[GREEDY[0], other, 9]), reference)
    assert (row.status, row.greedy_equal) == ("passed", True)
    assert "greedy token 2 of 3 is another one, which is a tie: their logits are 1e-05 apart" in row.note


def test_a_packed_model_may_differ_but_not_in_its_ids() -> None:
    reference = replace(REFERENCE, bounds=quantised_bounds(4))
    row = judge("ours", replace(READING, logits=LOGITS + 0.1 * STEPS[:1], greedy=[0, 0, 0]), reference)
    assert (row.status, row.greedy_equal) == ("passed", False)
    assert judge("ours", replace(READING, logits=-9 * LOGITS), reference).status == "failed"
    assert judge("ours", replace(READING, ids=[[1], [8]]), reference).status == "failed"


def test_divergence_is_that_of_the_distributions() -> None:
    p, q = np.log(np.array([[0.5, 0.25, 0.25]], np.float32)), np.log(np.array([[0.25, 0.5, 0.25]], np.float32))
    assert mean_kl(p, q) == pytest.approx(0.25 * np.log(2), rel=1e-6)
    assert mean_kl(p + 7, p) == pytest.approx(0, abs=1e-12)
