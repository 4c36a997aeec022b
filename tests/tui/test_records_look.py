"""Records looked at before training: counts, kinds, the first problem, and how long they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlxllm.tokenizer.byte import ByteTokenizer
from tests.tui.harness import write
from tui.planning.records import look_at_records
from tui.widgets.path_entry import PathSuggester, complete

CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
PAIR = {"prompt": "hi", "chosen": "hello", "rejected": "go away"}


def lines(path: Path, *records: Any) -> str:
    return str(write(path, "".join(json.dumps(record) + "\n" for record in records)))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    ByteTokenizer().save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_records_are_counted_by_kind_and_measured(tmp_path: Path, tokenizer: Path) -> None:
    look = look_at_records([lines(tmp_path / "a.jsonl", CHAT, CHAT, {"text": "once"})], "sft", tokenizer)
    assert (look.records, look.whole, look.problem) == (3, True, "")
    assert look.kinds == "2 conversations and 1 text"
    assert look.mean_tokens is not None
    assert look.rows("sft", 64) == 1
    assert look.sentence.startswith("2 conversations and 1 text, about ")
    pairs = look_at_records([lines(tmp_path / "b.jsonl", PAIR, PAIR)], "dpo", tokenizer)
    assert (pairs.kinds, pairs.rows("dpo", 64)) == ("2 preference pairs", 2)


def test_packed_rows_are_about_those_that_training_makes(tmp_path: Path, tokenizer: Path) -> None:
    from mlxllm.conversation.choosing import chat_format_of
    from mlxllm.conversation.masks import examples
    from mlxllm.conversation.opening import open_records
    from mlxllm.conversation.packing import pack_examples
    from mlxllm.conversation.report import Report
    from mlxllm.tokenizer import load_tokenizer

    path = lines(tmp_path / "a.jsonl", *(CHAT for _ in range(50)), {"text": "word " * 30})
    look = look_at_records([path], "sft", tokenizer)
    report = Report()
    chat_format = chat_format_of(load_tokenizer(tokenizer), tokenizer)
    packed = pack_examples(list(examples(open_records([path]).train, chat_format, report)), 128, report)
    assert look.rows("sft", 128) == pytest.approx(len(packed.inputs), rel=0.25)


def test_without_a_tokenizer_nothing_is_said_about_lengths(tmp_path: Path) -> None:
    look = look_at_records([lines(tmp_path / "a.jsonl", CHAT)], "sft")
    assert (look.records, look.mean_tokens, look.rows("sft", 64)) == (1, None, None)


@pytest.mark.parametrize(
    ("method", "records", "sentence"),
    [
        ("sft", [PAIR], "rejected"),
        ("dpo", [CHAT], "messages"),
        ("sft", [CHAT, {"foo": 1}], "a.jsonl:2"),
        ("sft", [], "there are no records"),
        ("sft", [{"messages": []}], "none of 1 record can be learned from"),
    ],
)
def test_the_first_problem_is_a_sentence(
    tmp_path: Path, tokenizer: Path, method: str, records: list[Any], sentence: str
) -> None:
    look = look_at_records([lines(tmp_path / "a.jsonl", *records)], method, tokenizer)
    assert sentence in look.problem
    assert look.sentence == look.problem


def test_what_is_not_there_and_what_is_on_the_hub(tmp_path: Path) -> None:
    assert "there is no file or folder" in look_at_records([str(tmp_path / "missing.jsonl")], "sft").problem
    assert "there is no file or folder" in look_at_records(["missing.jsonl"], "sft").problem
    look = look_at_records(["owner/name"], "sft")
    assert look.on_hub
    assert "fetched when training starts" in look.sentence


def test_reading_can_be_given_up(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *(CHAT for _ in range(10)))
    look = look_at_records([path], "sft", is_cancelled=lambda: True)
    assert (look.records, look.whole) == (1, False)
    assert look.sentence.startswith("more than 1 conversation")
    assert look.rows("sft", 64) is None


async def test_paths_are_completed_by_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lessons" / "first.jsonl", "")
    write(tmp_path / ".hidden", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert complete("les") == "lessons/"
    assert complete("lessons/") == "lessons/first.jsonl"
    assert complete("~/les") == "~/lessons/"
    assert complete(f"a.jsonl {tmp_path}/lessons/f") == f"a.jsonl {tmp_path}/lessons/first.jsonl"
    assert complete("./") == "./lessons/"
    assert complete("nothing") is complete("lessons/first.jsonl") is complete("") is complete("no/such/") is None
    assert await PathSuggester().get_suggestion("les") == "lessons/"
