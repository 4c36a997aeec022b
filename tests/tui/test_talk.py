"""A conversation as it stands: what the model is asked, what is taken back, and which answer was liked better."""

from pathlib import Path
from typing import Any

import pytest

from mlxllm.config import SampleConfig
from mlxllm.conversation import Message
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.saved import SavedChats
from mlxllm.errors import ConfigError
from tui.talking.talk import Talk, save

ABOUT = {"model": "tales@9", "fingerprint": "ab", "step": 9, "sample": {"temperature": 0.5}, "finish_reason": "stop"}


def about(seed: int, **more: Any) -> dict[str, Any]:
    return {**ABOUT, "seed": seed, **more}


def talk() -> Talk:
    made = Talk(system="Be kind.")
    made.ask("Who?")
    made.answered("It was Mia.", about(1))
    made.ask("Where?")
    return made


def test_what_the_engine_is_asked() -> None:
    request = talk().request(SampleConfig(temperature=0.3), None)
    said = [Message("system", "Be kind."), Message("user", "Who?"), Message("assistant", "It was Mia.")]
    assert request.messages == (*said, Message("user", "Where?"))
    assert (request.text, request.go_on) == (None, False)
    assert request.sample["temperature"] == 0.3
    assert "seed" not in request.sample, "a new one each time"
    assert talk().request(SampleConfig(), 2**32 - 1).sample["seed"] == 2**32 - 1


def test_a_base_model_goes_on_with_one_text() -> None:
    made = Talk("text")
    made.ask("Once upon")
    made.answered(" a time,", about(1))
    made.ask("there")
    made.ask(" was")
    made.ask("!")
    assert made.request(SampleConfig(), None).text == "Once upon a time, there was!"
    assert made.take_back() == "!"
    assert made.take_back() == "was"
    assert made.take_back() == "there"
    assert made.text == "Once upon a time,"


def test_a_question_that_got_no_answer_is_given_up_for_the_next() -> None:
    made = talk()
    made.ask("When?")
    assert [said.content for said in made.said] == ["Who?", "It was Mia.", "When?"]


def test_another_answer_takes_the_next_seed_and_a_new_question_the_first() -> None:
    made = talk()
    made.answered("Here.", about(5))
    made.again()
    assert made.answer is None
    assert made.request(SampleConfig(), 2**32 - 1).sample["seed"] == 0
    made.again()
    assert made.request(SampleConfig(), 5).sample["seed"] == 7
    made.answered("There.", about(7))
    made.ask("When?")
    assert made.request(SampleConfig(), 5).sample["seed"] == 5
    with pytest.raises(ConfigError, match="nothing to answer"):
        Talk().again()


def test_a_cut_off_answer_goes_on_and_keeps_where_it_began() -> None:
    made = talk()
    made.answered("Here and", about(5, finish_reason="length"))
    assert made.is_cut_off
    request = made.request(SampleConfig(), None)
    assert (request.go_on, request.messages[-1].content if request.messages else "") == (True, "Here and")
    answer = made.answered(" there.", about(6))
    assert (answer.content, answer.about["seed"], answer.about["finish_reason"]) == ("Here and there.", 5, "stop")
    assert not made.is_cut_off


def test_what_was_said_last_comes_back_to_be_edited() -> None:
    made = talk()
    made.answered("Here.", about(5))
    assert made.take_back() == "Where?"
    assert [said.content for said in made.said] == ["Who?", "It was Mia."]
    assert made.take_back() == "Who?"
    with pytest.raises(ConfigError, match="no message"):
        made.take_back()


@pytest.mark.parametrize("last", [True, False])
def test_the_better_of_two_answers_becomes_a_preference_and_the_talk_goes_on_with_it(
    last: bool, tmp_path: Path
) -> None:
    made = talk()
    made.answered("Here.", about(5))
    made.again()
    made.answered("There.", about(6))
    preference = made.prefer(last)
    better, worse = ("There.", "Here.") if last else ("Here.", "There.")
    assert (preference.chosen, preference.rejected, preference.how) == (better, worse, "picked")
    assert preference.prompt[-1] == Message("user", "Where?")
    assert preference.prompt[0].role == "system"
    assert preference.seed == {"chosen": 6 if last else 5, "rejected": 5 if last else 6}
    assert (preference.model, preference.step, dict(preference.sample)) == ("tales@9", 9, {"temperature": 0.5})
    assert made.answer is not None
    assert made.answer.content == better
    PreferenceStore(tmp_path / "p.jsonl").add(preference)
    with pytest.raises(ConfigError, match="no other answer"):
        made.prefer(last)


def test_what_teaches_nothing_is_refused_and_nothing_changes() -> None:
    made = talk()
    with pytest.raises(ConfigError, match="no other answer"):
        made.prefer(True)
    made.answered("Here.", about(5))
    made.again()
    made.answered("Here.", about(6))
    with pytest.raises(ConfigError, match="the same"):
        made.prefer(True)
    made.again()
    made.answered("There", about(7, finish_reason="length"))
    with pytest.raises(ConfigError, match="cut off"):
        made.prefer(True)
    assert made.prefer(False).chosen == "Here."
    for text in ("", " ", "Here."):
        with pytest.raises(ConfigError, match="write the answer"):
            made.rewrite(text)
    preference = made.rewrite("At home.")
    assert (preference.chosen, preference.rejected, preference.how) == ("At home.", "Here.", "rewritten")
    assert made.answer is not None
    assert made.answer.content == "At home."


def test_the_file_follows_whatever_was_said_and_taken_back(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    made, writer = talk(), chats.begin("tales@9")
    save(made, writer)
    made.answered("Here.", about(5))
    save(made, writer)
    before = writer.path.stat().st_size
    save(made, writer)
    assert writer.path.stat().st_size == before, "nothing new, nothing written"
    made.again()
    made.answered("There", about(6, finish_reason="length"))
    save(made, writer)
    made.answered(" it is.", about(7))
    made.system = "Be brief."
    save(made, writer)
    found = Talk.of(chats.read(writer.chat.id))
    assert (found.system, [said.content for said in found.said]) == (
        "Be brief.",
        ["Who?", "It was Mia.", "Where?", "There it is."],
    )
    assert found.said[-1].about["seed"] == 6
    made.take_back()
    save(made, writer)
    assert len(chats.read(writer.chat.id).said) == 2
