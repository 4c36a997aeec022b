"""Two models side by side: what is counted, and that the place of an answer does not count."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.conversation.records import Message
from mlxllm.conversation.trials import Answer
from mlxllm.conversation.verdict import chance_of
from mlxllm.evaluation.versus.judges import Judgements, Opinion, Question
from mlxllm.evaluation.versus.side_by_side import Contest, Judged, compare, judge_pairs

texts = st.lists(st.tuples(st.text("ab", max_size=4), st.text("ab", max_size=4)), min_size=1, max_size=8)


def contest(pairs: Sequence[tuple[str, str]]) -> Contest:
    prompts = [(Message("user", f"{number}?"),) for number in range(len(pairs))]
    first, second = ([Answer(pair[side], "m") for pair in pairs] for side in (0, 1))
    return Contest(prompts, first, second)


class Recorded:
    """A judge by a rule, and what it was asked."""

    def __init__(self, rule: object) -> None:
        self.rule, self.asked = rule, list[Question]()

    def __call__(self, questions: Sequence[Question]) -> Iterator[tuple[int, Opinion]]:
        for number, question in enumerate(questions):
            self.asked.append(question)
            yield number, Opinion(self.rule(question))  # type: ignore[operator]


def judged(pairs: Sequence[tuple[str, str]], judge: Recorded, **more: bool) -> Judged:
    return judge_pairs(contest(pairs), judge, Judgements("test"), lambda done, of: None, fresh=True, **more)


def longer(question: Question) -> float:
    return (1 + (len(question.b) > len(question.a)) - (len(question.b) < len(question.a))) / 2


@settings(max_examples=25)
@given(pairs=texts)
def test_each_pair_that_differs_is_asked_in_both_orders(pairs: list[tuple[str, str]]) -> None:
    judge = Recorded(longer)
    found = judged(pairs, judge)
    assert [(q.a, q.b) for q in judge.asked] == [side for a, b in pairs if a != b for side in ((a, b), (b, a))]
    assert found.preferences == [(1 + (len(a) > len(b)) - (len(a) < len(b))) / 2 for a, b in pairs]
    assert found.agreed in (1.0, None)


@settings(max_examples=25)
@given(pairs=texts, first=st.booleans())
def test_who_goes_by_the_place_alone_prefers_nobody(pairs: list[tuple[str, str]], first: bool) -> None:
    found = judged(pairs, Recorded(lambda _: 0.0 if first else 1.0))
    assert found.preferences == [0.5] * len(pairs)
    comparison = compare(contest(pairs), found.preferences)
    assert (comparison.wins, comparison.losses, comparison.win_rate) == (0, 0, 0.5)
    if any(a != b for a, b in pairs):
        assert (found.agreed, found.shown_first) == (0.0, float(first))


def test_in_one_order_each_stands_as_often_left_as_right() -> None:
    pairs = [("one", "other!")] * 40
    judge = Recorded(longer)
    found = judged(pairs, judge, both_orders=False)
    assert sum(question.a == "one" for question in judge.asked) == 20
    assert [q.a for q in judge.asked] != ["one", "other!"] * 20
    assert found.preferences == [0.0] * 40
    assert found.agreed is None


def test_what_the_judge_cannot_tell_is_left_out() -> None:
    pairs = [("a", "bb"), ("aaa", "b"), ("same", "same"), ("a", "b")]
    found = judged(pairs, Recorded(lambda q: None if "aaa" in (q.a, q.b) else longer(q)))
    assert found.preferences == [0.0, None, 0.5, 0.5]
    comparison = compare(contest(pairs), found.preferences)
    assert (comparison.wins, comparison.losses, comparison.ties, comparison.unjudged) == (0, 1, 2, 1)
    assert comparison.win_rate == pytest.approx(1 / 3)
    assert comparison.mean_lengths == (pytest.approx(2.0), pytest.approx(7 / 3))


def test_what_is_counted() -> None:
    pairs = [("a" * (n % 7), "b" * (n % 5)) for n in range(30)]
    preferences: list[float | None] = [1.0] * 18 + [0.0] * 6 + [0.5] * 4 + [0.75, 0.25]
    found = compare(contest(pairs), preferences)
    assert (found.wins, found.losses, found.ties) == (19, 7, 4)
    assert found.win_rate == pytest.approx((18 + 2 + 1) / 30)
    assert found.chance == chance_of(19, 26)
    low, high = found.win_rate_interval or (1, 0)
    assert low < 0.7 < high
    assert found.length_controlled_win_rate is not None
    assert found.metrics["wins"] == 19
    nothing = compare(contest(pairs), [None] * 30)
    assert (nothing.win_rate, nothing.unjudged, nothing.mean_lengths) == (None, 30, None)
