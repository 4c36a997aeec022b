"""The table: paired differences, their intervals, the words for them, and what is read off the curves."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.ablation.results import results
from tests.ablation.made import ablation


def test_a_difference_is_told_in_bits_per_byte_with_its_interval() -> None:
    found = results(ablation({"base": (2.0, 2.1, 1.9), "post": (2.1, 2.2, 2.05)}))
    assert found.unit == "bits per byte"
    assert found.base.mean == pytest.approx(4.0)
    assert found.base.difference is found.base.interval is None
    post = found.variants[0]
    assert post.loss == pytest.approx((4.2, 4.4, 4.1))
    # Differences 0.2, 0.2, 0.3: mean 0.7/3, deviation 0.1/sqrt(3), t = 4.3027 with two degrees of freedom.
    assert post.difference == pytest.approx(0.7 / 3)
    assert post.interval == pytest.approx((0.7 / 3 - 4.3027 * 0.1 / 3, 0.7 / 3 + 4.3027 * 0.1 / 3), abs=1e-5)
    assert post.verdict == "worse"
    assert post.runs == ("x-post-s42", "x-post-s43", "x-post-s44")


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ((1.9, 2.0, 1.8), "better"),
        ((2.1, 2.2, 2.0), "worse"),
        ((2.1, 2.0, 1.9), "cannot be told apart"),
        ((2.0, 2.1, 1.9), "cannot be told apart"),
        ((2.1, 2.2), "worse so far (2 of 3 seeds)"),
        ((2.1,), "not finished (1 of 3 seeds)"),
        ((), "not finished"),
        ((1.5, None, 1.4), "diverged with 1 of 3 seeds"),
    ],
)
def test_the_verdict_is_what_the_interval_says(losses: Sequence[float | None], verdict: str) -> None:
    found = results(ablation({"base": (2.0, 2.1, 1.9), "other": losses}))
    assert found.variants[0].verdict == verdict


def test_who_diverged_with_one_seed_is_not_judged_by_the_others() -> None:
    other = results(ablation({"base": (2.0, 2.1, 1.9), "other": (1.0, None, 1.0)})).variants[0]
    assert other.difference is other.interval is other.mean is other.equal_time is None
    assert other.loss == (2.0, None, 2.0)


def test_a_base_that_diverged_leaves_nothing_to_compare_with() -> None:
    found = results(ablation({"base": (None, None, None), "other": (1.0, 1.0, 1.0)}))
    assert found.base.verdict == "diverged with 3 of 3 seeds"
    assert found.variants[0].difference is None


losses_ = st.lists(st.floats(0.5, 5), min_size=3, max_size=3)


@given(losses_, losses_, losses_)
def test_what_a_seed_does_to_all_does_nothing_to_a_difference(
    base: list[float], other: list[float], luck: list[float]
) -> None:
    plain = results(ablation({"base": base, "other": other})).variants[0]
    moved = results(
        ablation(
            {
                "base": [a + b for a, b in zip(base, luck, strict=True)],
                "other": [a + b for a, b in zip(other, luck, strict=True)],
            }
        )
    ).variants[0]
    assert moved.difference == pytest.approx(plain.difference, abs=1e-9)
    assert moved.interval == pytest.approx(plain.interval, abs=1e-7)


@given(losses_, losses_)
def test_better_one_way_is_worse_the_other_way(base: list[float], other: list[float]) -> None:
    there = results(ablation({"base": base, "other": other})).variants[0]
    back = results(ablation({"base": other, "other": base})).variants[0]
    assert {there.verdict, back.verdict} in ({"better", "worse"}, {"cannot be told apart"})


def test_at_equal_time_the_slower_one_has_made_fewer_steps() -> None:
    found = results(ablation({"base": (2.0,) * 3, "slow": (2.0,) * 3}, {"slow": 0.2}))
    assert found.equal_seconds == pytest.approx(1.0)
    assert found.base.equal_time == pytest.approx(4.0)
    assert found.variants[0].equal_time == pytest.approx(6.0)  # its fifth step
    between = results(ablation({"base": (2.0,) * 3, "slow": (2.0,) * 3}, {"slow": 0.125})).variants[0]
    assert between.equal_time == pytest.approx(6.0 - 2.0 * 3 / 5)  # its eighth, three fifths of the way


def test_curves_are_the_mean_and_the_range_of_the_seeds() -> None:
    curve = results(ablation({"base": (2.0, 2.1, 1.8)})).base.curve
    assert curve.steps == (0, 5, 10)
    assert curve.mean[-1] == pytest.approx(2 * 5.9 / 3)
    assert (curve.low[-1], curve.high[-1]) == pytest.approx((3.6, 4.2))


def test_without_bytes_the_loss_is_told_a_token() -> None:
    made = ablation({"base": (2.0, 2.0, 2.0), "other": (1.0, 1.0, 1.0)})
    outcomes = tuple(
        each.model_copy(
            update={"validations": tuple(p.model_copy(update={"bits_per_byte": None}) for p in each.validations)}
        )
        for each in made.outcomes
    )
    found = results(made.model_copy(update={"outcomes": outcomes}))
    assert found.unit == "nats per token"
    assert found.variants[0].difference == pytest.approx(-1.0)
