"""The blind taste test: who stands where is hidden and even, each choice counts once, and the chance is exact."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.trial_log import TrialLog
from mlxllm.conversation.trials import Answer, Choice, Trial
from mlxllm.conversation.verdict import Verdict, chance_of, needed, percent
from mlxllm.errors import ConfigError

PLAYERS = ("tales-dpo@142", "tales-sft@90")


def trial(rounds: int, seed: int = 1, players: tuple[str, str] = PLAYERS, **about: bool) -> Trial:
    """With all answers there."""
    made = Trial(players, [(Message("user", f"{n}?"),) for n in range(rounds)], seed)
    for number, each in enumerate(made.rounds):
        for player, name in enumerate(players):
            text = f"{number} by {player}"
            seed_of = made.seed_of(number, player)
            each.answers[player] = Answer(text, name, seed_of, f"print-{name}", 7, {"temperature": 0.5}, **about)
    return made


def prefer(made: Trial, player: int) -> Choice:
    """The key that prefers a player's answer in the current round."""
    assert made.current is not None
    return "a" if made.current.sides[0] == player else "b"


def test_fourteen_of_twenty() -> None:
    made = trial(20)
    for number in range(20):
        made.judge(prefer(made, 0 if number < 14 else 1))
    told = made.verdict().sentence("the tuned model", "the untuned one")
    assert told == "You preferred the tuned model 14 of 20 times; a coin does that 6 % of the time."
    assert chance_of(14, 20) == pytest.approx(60460 / 2**20)


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Verdict(1, 0), "You preferred T 1 of 1 time; a coin does that 50 % of the time."),
        (Verdict(2, 8, 1, 0), "You preferred U 8 of 10 times; a coin does that 5 % of the time. 1 tie is left out."),
        (Verdict(3, 3), "You preferred each of them 3 of 6 times: no difference was seen."),
        (
            Verdict(0, 0, 2, 1),
            "You preferred neither T nor U in any round, so there is nothing to count. "
            "2 ties and 1 round in which neither was good enough are left out.",
        ),
        (Verdict(30, 0), "You preferred T 30 of 30 times; a coin does that less than 0.1 % of the time."),
        (Verdict(8, 0), "You preferred T 8 of 8 times; a coin does that 0.4 % of the time."),
    ],
)
def test_the_verdict_in_words(verdict: Verdict, told: str) -> None:
    assert verdict.sentence("T", "U") == told


@given(rounds=st.integers(1, 300), data=st.data())
def test_the_chance_is_that_of_a_coin(rounds: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, rounds))
    assert chance_of(0, rounds) == 1
    assert chance_of(wins, rounds) + chance_of(rounds - wins + 1, rounds) == pytest.approx(1)
    enough = needed(rounds)
    if enough is None:
        assert chance_of(rounds, rounds) > 0.05
    else:
        assert chance_of(enough, rounds) <= 0.05 < chance_of(enough - 1, rounds)
    assert percent(chance_of(wins, rounds)).endswith(" %")


def test_a_coin_that_is_thrown_agrees() -> None:
    draw = random.Random(3)
    throws = 20_000
    seen = sum(sum(draw.random() < 0.5 for _ in range(20)) >= 14 for _ in range(throws)) / throws
    assert seen == pytest.approx(chance_of(14, 20), abs=0.01)


@given(rounds=st.integers(0, 40), seed=st.integers(0, 2**40))
def test_sides_are_even_and_decided_by_the_seed(rounds: int, seed: int) -> None:
    one, again = trial(rounds, seed), trial(rounds, seed)
    assert [each.sides for each in one.rounds] == [each.sides for each in again.rounds]
    counts = Counter(each.sides[0] for each in one.rounds)
    assert abs(counts[0] - counts[1]) <= 1


def test_which_side_comes_first_is_not_told_by_the_rounds_before() -> None:
    starts = Counter(tuple(each.sides[0] for each in trial(4, seed).rounds) for seed in range(600))
    assert len(starts) == 6
    assert min(starts.values()) > 60
    assert 240 < sum(trial(1, seed).rounds[0].sides[0] for seed in range(600)) < 360


def test_seeds_differ_where_only_they_can() -> None:
    made = trial(3)
    assert all(made.seed_of(n, 0) == made.seed_of(n, 1) for n in range(3))
    assert len({made.seed_of(n, 0) for n in range(3)}) == 3
    same = trial(3, seed=2**32 - 1, players=("tales", "tales"))
    seeds = [same.seed_of(n, player) for n in range(3) for player in (0, 1)]
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**32 for seed in seeds)


def alike(made: Trial, number: int, temperature: float) -> None:
    for player, name in enumerate(PLAYERS):
        sample = {"temperature": temperature}
        made.rounds[number].answers[player] = Answer("Mia.", name, made.seed_of(number, player), sample=sample)


def test_the_same_answers_are_drawn_anew_then_another_prompt_is_asked() -> None:
    prompts = [(Message("user", f"{n}?"),) for n in range(5)]
    made = Trial(PLAYERS, prompts, 1, rounds=2)
    assert (len(made.rounds), made.spare) == (2, prompts[2:])
    assert Trial(PLAYERS, prompts, 1, rounds=9).spare == Trial(PLAYERS, prompts, 1).spare == []
    asked, seeds = [], set()
    while not asked or made.draw_anew(0):
        assert not made.rounds[0].is_complete
        asked.append(made.rounds[0].prompt[-1].content)
        alike(made, 0, temperature=0.5)
        seeds.add(made.rounds[0].answers[0].seed)
    assert asked == ["0?"] * 3 + ["2?"] * 3 + ["3?"] * 3
    assert len(seeds | {made.seed_of(1, 0)}) == 10
    assert "after 9 tries as well: the models seem alike" in made.rounds[0].alike
    alike(made, 1, temperature=0.5)
    assert not made.draw_anew(1), "so many in a row were the same"
    made.rounds[1].answers[0] = Answer("Tom.", PLAYERS[0])
    assert not made.draw_anew(1)
    alike(made, 1, temperature=0)
    assert made.draw_anew(1), "something differed in between"
    assert made.rounds[1].prompt == prompts[4], "without chance other seeds are no use"
    alike(made, 1, temperature=0)
    assert not made.draw_anew(1), "no prompt is left"


def test_a_choice_becomes_a_preference_that_names_both_models(tmp_path: Path) -> None:
    made = trial(1)
    (preference,) = made.judge(prefer(made, 0)).preferences
    assert (preference.chosen, preference.rejected, preference.how) == ("0 by 0", "0 by 1", "compared")
    assert (preference.model, preference.fingerprint, preference.step) == (PLAYERS[1], f"print-{PLAYERS[1]}", 7)
    assert preference.chosen_by == {"model": PLAYERS[0], "fingerprint": f"print-{PLAYERS[0]}", "step": 7}
    assert preference.prompt == (Message("user", "0?"),)
    store = PreferenceStore(tmp_path / "preferences.jsonl")
    store.add(preference)
    assert list(store.read()) == [preference]
    same = trial(1, players=("tales@3", "tales@3"))
    (preference,) = same.judge("a").preferences
    assert preference.chosen_by == {}
    assert preference.seed["chosen"] != preference.seed["rejected"]


def test_ties_and_two_bad_ones_make_none_and_a_better_one_beats_both() -> None:
    made = trial(3)
    assert made.judge("tie").preferences == made.judge("both bad").preferences == ()
    better = made.judge("rewritten", "A better one.").preferences
    assert [(each.chosen, each.rejected, each.how) for each in better] == [
        ("A better one.", "2 by 0", "rewritten"),
        ("A better one.", "2 by 1", "rewritten"),
    ]
    assert made.current is None
    assert made.verdict() == Verdict(0, 0, ties=1, neither=2)


def test_undo_takes_back_the_judgement_and_names_what_it_stored() -> None:
    made = trial(2)
    assert made.undo() is None
    (preference,) = made.judge("a").preferences
    made.judge("tie")
    assert made.undo() == ()
    assert made.undo() == (preference.id,)
    assert (made.number, made.rounds[0].choice, made.verdict().decided) == (0, None, 0)
    made.judge("both bad")
    assert made.verdict().neither == 1


def test_what_cannot_be_chosen_says_so_and_changes_nothing() -> None:
    made = Trial(PLAYERS, [(Message("user", "Who?"),)], 1)
    with pytest.raises(ConfigError, match="still being written"):
        made.judge("a")
    made.rounds[0].answers = {0: Answer("same", "x"), 1: Answer("same", "y")}
    with pytest.raises(ConfigError, match="tie"):
        made.judge("b")
    for text in ("", "  ", "same"):
        with pytest.raises(ConfigError, match="written first"):
            made.judge("rewritten", text)
    assert len(made.judge("rewritten", "better").preferences) == 1
    with pytest.raises(ConfigError, match="all rounds"):
        made.judge("tie")


def test_a_cut_off_or_empty_answer_counts_but_teaches_nothing() -> None:
    made = trial(1, cut_off=True)
    outcome = made.judge("a")
    assert outcome.preferences == ()
    assert "cut off" in outcome.left_out
    assert made.verdict().decided == 1
    empty = Trial(PLAYERS, [(Message("user", "Who?"),)], 1)
    empty.rounds[0].answers = {0: Answer("", "x"), 1: Answer("yes", "y")}
    outcome = empty.judge(prefer(empty, 1))
    assert (outcome.preferences, "empty" in outcome.left_out) == ((), True)


def test_rounds_can_be_added_one_by_one() -> None:
    made = Trial(PLAYERS, [], 3)
    assert made.current is None
    sides = [made.add((Message("user", f"{n}?"),)).sides for n in range(200)]
    assert sides == [Trial(PLAYERS, [], 3).add((Message("user", ""),)).sides, *sides[1:]]
    assert 70 < sum(side[0] for side in sides) < 130
    assert made.current is made.rounds[0]


def test_a_test_is_kept_whole_and_its_verdict_read_again(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "trials.jsonl")
    assert log.read() == []
    made = trial(4)
    for choice in (prefer(made, 0), "tie"):
        made.judge(choice)  # type: ignore[arg-type]  # both are choices
    log.add(made)
    made.judge("both bad")
    made.judge("rewritten", "Better.")
    log.add(made)
    with open(log.path, "ab") as file:
        file.write(b'{"players": 7}\n{"torn')
    (past,) = log.read()
    assert (past.players, past.verdict) == (PLAYERS, Verdict(1, 0, 1, 2))
    raw = json.loads(log.path.read_bytes().splitlines()[1])
    assert [each["choice"] for each in raw["rounds"]][1:] == ["tie", "both bad", "rewritten"]
    assert raw["rounds"][3]["rewritten"] == "Better."
    assert {raw["rounds"][0]["a"]["model"], raw["rounds"][0]["b"]["model"]} == set(PLAYERS)
