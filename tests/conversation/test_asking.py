"""A prompt as a model takes it, and choices that are kept whole or not at all."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.conversation import Message
from mlxllm.conversation.asking import asked_of, prompt_of, with_system
from mlxllm.conversation.judging import judge
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.trials import Answer, Trial
from mlxllm.errors import DataError

PLAYERS = ("tales-dpo@142", "tales-sft@90")
TEXTS = st.text(min_size=1)


@given(text=TEXTS, system=st.text(), other=st.text())
def test_a_system_prompt_is_told_once_and_to_those_that_answer(text: str, system: str, other: str) -> None:
    prompt = prompt_of(text, system)
    assert prompt[-1] == Message("user", text)
    assert [message.content for message in prompt[:-1]] == ([system] if system.strip() else [])
    told = with_system(prompt, other)
    assert with_system(told, system) == (told if len(told) == 2 else prompt)
    if system.strip():
        assert told == prompt, "the prompt's own goes before"
    assert asked_of(prompt, base=False) == prompt
    assert asked_of(prompt, base=True) == f"{text}\n"


def test_a_base_model_is_given_the_last_question_alone() -> None:
    turns = (Message("user", "Who?"), Message("assistant", "Mia."), Message("user", "Where?"))
    assert asked_of(turns, base=True) == "Where?\n"
    assert asked_of(turns, base=False) == turns


def trial(rounds: int, seed: int) -> Trial:
    made = Trial(PLAYERS, [prompt_of(f"{n}?") for n in range(rounds)], seed)
    for number, each in enumerate(made.rounds):
        for player, name in enumerate(PLAYERS):
            each.answers[player] = Answer(f"{number} by {name}", name, made.seed_of(number, player), f"print-{name}")
    return made


MOVES = st.lists(st.sampled_from(["a", "b", "tie", "both bad", "rewritten", "undo"]), max_size=12)


@given(moves=MOVES, seed=st.integers(0, 2**32 - 1), begun=st.booleans())
def test_the_store_holds_what_stands_and_who_said_what(moves: list[str], seed: int, begun: bool) -> None:
    with TemporaryDirectory() as folder:
        store = PreferenceStore(Path(folder) / "preferences.jsonl")
        if begun:
            first = trial(1, seed)
            judge(first, store, "a")
        before = list(store.read())
        made = trial(12, seed)
        contents = [list(store.read())]
        for move in moves:
            if move == "undo":
                stored = made.undo()
                assert (stored is None) == (len(contents) == 1)
                if stored is not None:
                    store.drop(*stored)
                    contents.pop()
            else:
                judge(made, store, move, "My own." if move == "rewritten" else "")  # type: ignore[arg-type]
                contents.append(list(store.read()))
            assert list(store.read()) == contents[-1]
        for preference in contents[-1][len(before) :]:
            assert preference.rejected.endswith(f"by {preference.model}")
            if preference.how == "compared":
                assert preference.chosen.endswith(f"by {preference.chosen_by['model']}")
        while (stored := made.undo()) is not None:
            store.drop(*stored)
        assert list(store.read()) == before


def test_a_choice_that_cannot_be_kept_is_none(tmp_path: Path) -> None:
    made = trial(1, 0)
    (tmp_path / "no folder").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        judge(made, PreferenceStore(tmp_path / "no folder" / "preferences.jsonl"), "a")
    assert (made.number, made.rounds[0].choice) == (0, None)
    judge(made, PreferenceStore(tmp_path / "preferences.jsonl"), "b")
    assert made.number == 1
