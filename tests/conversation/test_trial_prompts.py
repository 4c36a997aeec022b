"""New prompts for comparisons: decided by the seed, and none that the models were trained on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxllm.conversation import Message
from mlxllm.conversation.saved import SavedChats
from mlxllm.conversation.trial_prompts import (
    docs_prompts,
    drawn,
    kinds_for,
    knows_python_docs,
    new_prompts,
    own_prompts,
    prompts_in,
    story_plots,
    story_prompts,
    suggested_prompts,
    unused,
)
from mlxllm.data.build import build_dataset
from mlxllm.data.sources.stories.lessons import lessons, pairs
from mlxllm.data.sources.stories_source import StoriesSource
from mlxllm.errors import DataError
from mlxllm.runs import RunDirectory
from mlxllm.tokenizer import train_tokenizer


def run(home: Path, name: str, **config: Any) -> RunDirectory:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return RunDirectory(folder)


def texts(prompts: list[tuple[Message, ...]]) -> list[str]:
    assert all(prompt[-1].role == "user" for prompt in prompts)
    return [prompt[-1].content for prompt in prompts]


def asked(record: dict[str, Any]) -> set[str]:
    turns = record["messages"] if "messages" in record else record["prompt"]
    return {turn["content"] for turn in turns if turn["role"] == "user"}


def test_story_prompts_are_of_the_seed_and_of_no_training() -> None:
    found = texts(story_prompts(20, 7, 8))
    assert found == texts(story_prompts(20, 7, 8))
    assert len(set(found)) == 20
    assert len(set(found) & set(texts(story_prompts(20, 8, 8)))) < 5
    stories = [text for text in found if "\n" not in text]
    assert len(stories) == 15, "and now and then a question about a story that is told along with it"
    taught = [lesson.record() for lesson in lessons(1500, plots=8)] + [pair.record() for pair in pairs(300, plots=8)]
    assert not set(found) & set().union(*(asked(record) for record in taught))


def test_the_world_of_a_model_is_known_from_the_dataset_of_its_first_stage(
    mlxllm_home: Path, small_world: Path
) -> None:
    home = mlxllm_home
    shutil.copytree(small_world, home / "datasets/tales")
    run(home, "tales", method="pretrain", data={"dataset": "/elsewhere/datasets/tales"})
    run(home, "tales-sft", method="sft", base_model="tales@5")
    dpo = run(home, "tales-dpo", method="dpo", base_model="tales-sft@9")
    other = run(home, "other", method="pretrain", data={"dataset": "gone"})
    assert (story_plots(dpo), story_plots(other)) == (3, None)
    assert not knows_python_docs(dpo)
    (dpo.path / "suggestions.json").write_text('["Tell me a story.", "Who is it about?", 7, " "]')
    assert texts(suggested_prompts(dpo)) == ["Tell me a story."], "the next one is about that story"
    later = run(home, "later", method="sft", base_model="tales-dpo@3")
    assert texts(suggested_prompts(later)) == ["Tell me a story."]
    assert suggested_prompts(other) == []
    (other.path / "suggestions.json").write_text('["What is json for?", "What is csv for?"]')
    assert texts(suggested_prompts(other)) == ["What is json for?", "What is csv for?"]


@pytest.fixture(scope="module")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "tales"
    build_dataset(folder, [(StoriesSource(30, plots=3, questions=1), None)], train_tokenizer("byte", []), val_split=0.1)
    return folder


def test_what_was_trained_on_is_left_out(mlxllm_home: Path, tmp_path: Path) -> None:
    taught = [{"messages": [{"role": "user", "content": "Who is\nTom?"}, {"role": "assistant", "content": "A cat."}]}]
    preferred = [{"prompt": "Is it late?", "chosen": "No.", "rejected": "Yes."}]
    for name, records in {"sft": taught, "dpo": preferred}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    run(mlxllm_home, "tales-sft", data={"records": [str(tmp_path / "sft.jsonl"), str(tmp_path / "gone.jsonl")]})
    dpo = run(mlxllm_home, "tales-dpo", base_model="tales-sft@9", data={"records": [str(tmp_path / "dpo.jsonl")]})
    prompts = [(Message("user", text),) for text in ("Who is Tom?", "is it  LATE?", "Who is Mia?")]
    assert texts(unused(prompts, dpo)) == ["Who is Mia?"]
    (tmp_path / "dpo.jsonl").write_text("{ damaged")
    assert texts(unused(prompts, dpo)) == ["is it  LATE?", "Who is Mia?"]


def test_ones_own_prompts_are_the_beginnings_of_saved_chats(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    for form, text in (("turns", "Tell me a story."), ("turns", " tell me  a story."), ("text", "Once upon a time")):
        chats.begin("m", "text" if form == "text" else "turns").say("user", text)
    asked_later = chats.begin("m")
    for text in ("Hello", "How are you?"):
        asked_later.say("user", text)
    assert {text.strip().casefold()[:5] for text in texts(own_prompts(chats))} == {"tell ", "hello"}
    assert len(own_prompts(chats)) == 2


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("Who?\n\n  Where is it?  \r\n", ["Who?", "Where is it?"]),
        ('{"prompt": "Who?"}\n{"prompt": [{"role": "user", "content": "Where?"}]}\n', ["Who?", "Where?"]),
        ('{"prompt": "Who?", "chosen": "a", "rejected": "b"}\n', ["Who?"]),
        ('{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]}\n', ["Who?"]),
        ('[{"instruction": "Sing", "output": "la"}]', ["Sing"]),
    ],
)
def test_prompts_of_a_file(content: str, found: list[str], tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text(content)
    assert texts(prompts_in(path)) == found


@pytest.mark.parametrize(
    ("content", "told"),
    [(b" \n", "holds no prompt"), (b"caf\xe9\n", "UTF-8"), (b'{"frage": 1}\n', "no known format"), (None, "no file")],
)
def test_a_file_without_prompts_says_so(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=told):
        prompts_in(path)


def test_names_of_the_library_that_no_lesson_has_are_drawn_by_the_seed() -> None:
    prompts = docs_prompts()
    assert len(prompts) > 50
    assert drawn(prompts, 5, 1) == drawn(prompts, 5, 1) != drawn(prompts, 5, 2)
    assert len(drawn(prompts[:3], 5, 1)) == 3


def test_where_prompts_come_from_and_that_none_was_trained_on(
    mlxllm_home: Path, small_world: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_world, mlxllm_home / "datasets/tales")
    (tmp_path / "sft.jsonl").write_text('{"prompt": "Who is Tom?", "completion": "A cat."}\n')
    base = run(mlxllm_home, "tales", method="pretrain", data={"dataset": "tales"})
    tuned = run(mlxllm_home, "tales-sft", base_model="tales@5", data={"records": [str(tmp_path / "sft.jsonl")]})
    chats = SavedChats()
    assert kinds_for(None, chats) == ["file"]
    assert kinds_for(base, chats) == ["stories", "file"]
    for text in ("Who is Tom?", "Who is Mia?"):
        chats.begin("m").say("user", text)
    (tuned.path / "suggestions.json").write_text('["Who is Tom?"]')
    assert kinds_for(tuned, chats) == ["stories", "own", "suggested", "file"]
    assert len(new_prompts("stories", 6, 1, tuned, chats)) == 6
    assert texts(new_prompts("own", 6, 1, tuned, chats)) == ["Who is Mia?"]
    with pytest.raises(DataError, match="trained on all of these 1"):
        new_prompts("suggested", 6, 1, tuned, chats)
    (tmp_path / "mine.txt").write_text("One?\nTwo?\nWho is Tom?\n")
    found = texts(new_prompts("file", 6, 1, tuned, chats, tmp_path / "mine.txt"))
    assert sorted(found) == ["One?", "Two?"]
    for one, other in ((base, tuned), (None, tuned)):  # the one that it is compared with counts as well
        assert sorted(texts(new_prompts("file", 6, 1, one, chats, tmp_path / "mine.txt", other=other))) == sorted(found)
