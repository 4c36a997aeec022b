"""Conversations saved as they go: nothing that was said is lost, whoever is killed, and ten thousand are found quickly."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.conversation.saved import ChatWriter, SavedChats
from mlxllm.errors import DataError


def said(chats: SavedChats, *turns: str, model: str = "tales@80") -> ChatWriter:
    """A conversation of these turns, the user's first."""
    writer = chats.begin(model)
    for number, text in enumerate(turns):
        if number % 2:
            writer.say("assistant", text, model=model, seed=number)
        else:
            writer.say("user", text)
    return writer


def contents(chats: SavedChats, chat_id: str) -> list[str]:
    return [turn.content for turn in chats.read(chat_id).said]


def test_what_is_said_is_on_the_disk_at_once_and_nothing_before(mlxllm_home: Path) -> None:
    chats = SavedChats()
    writer = chats.begin("tales@80", "text")
    writer.tell("Be kind.")
    assert chats.entries() == []
    assert not chats.folder.exists(), "a conversation in which nothing was said leaves nothing"
    writer.say("user", "Où?\n\x00\u2028")
    writer.say("assistant", "Here.", model="tales@90", step=90)
    found = chats.read(writer.chat.id)
    assert found == writer.chat
    assert (found.form, found.model, found.system) == ("text", "tales@90", "Be kind.")
    assert [(turn.role, turn.content) for turn in found.said] == [("user", "Où?\n\x00\u2028"), ("assistant", "Here.")]
    assert found.said[1].about == {"model": "tales@90", "step": 90}
    assert writer.path.parent == mlxllm_home / "chats"
    assert writer.path.stat().st_mode & 0o777 == 0o600, "chats are private"


@settings(max_examples=50)
@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["user", "assistant"]), st.text()),
            st.tuples(st.just("keep"), st.integers(0, 5)),
            st.tuples(st.just("tell"), st.text(max_size=5)),
        )
    )
)
def test_replaying_a_file_gives_the_conversation(
    actions: list[tuple[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    chats = SavedChats(tmp_path_factory.mktemp("chats"))
    writer = chats.begin("m")
    for action, value in actions:
        if action == "keep":
            writer.keep(int(str(value)))
        elif action == "tell":
            writer.tell(str(value))
        else:
            writer.say("user" if action == "user" else "assistant", str(value))
    if chats.entries():
        assert chats.read(writer.chat.id) == writer.chat
    else:
        assert not any(action in ("user", "assistant") for action, _ in actions)


def test_a_kill_loses_at_most_the_unfinished_line_and_one_goes_on(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    writer = said(chats, "Who?", "It was Mia.")
    before = writer.path.stat().st_size
    writer.say("user", "And where was she?")
    whole = writer.path.read_bytes()
    for end in range(before, len(whole) - 1):
        writer.path.write_bytes(whole[:end])
        assert contents(chats, writer.chat.id) == ["Who?", "It was Mia."]
    again = chats.resume(writer.chat.id)
    again.say("user", "When?")
    assert contents(chats, writer.chat.id) == ["Who?", "It was Mia.", "When?"]
    assert chats.read(writer.chat.id).damaged == 0


def test_turns_are_taken_back_and_said_anew(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    writer = said(chats, "Who?", "It was Tom.")
    writer.keep(1)
    writer.say("assistant", "It was Mia.")
    writer.keep(5)  # there are no more: nothing to take back
    assert contents(chats, writer.chat.id) == ["Who?", "It was Mia."]
    assert writer.path.read_bytes().count(b"\n") == 5


def test_damaged_and_unknown_lines_cost_themselves_only(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    writer = said(chats, "Who?", "It was Mia.")
    lines = writer.path.read_bytes().splitlines()
    bad = [
        b"\xff",
        b"[1]",
        b"{" * 9999,
        b'{"kind": "said", "role": "robot", "content": "x"}',
        b'{"kind": "kept", "turns": -1}',
    ]
    writer.path.write_bytes(b"\n".join([*bad, lines[0], b'{"kind": "later"}', *lines[1:]]) + b"\n")
    found = chats.read(writer.chat.id)
    assert ([turn.content for turn in found.said], found.damaged) == (["Who?", "It was Mia."], 6)


def test_the_list_is_newest_first_with_title_and_model(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    first = said(chats, "Tell me a story\nabout a cat. " + "x" * 90, "Once.", model="a@1")
    second = said(chats, "Hello")
    os.utime(first.path, (100, 100))
    os.utime(second.path, (200, 200))
    (tmp_path / "notes.jsonl").write_text("{}\n")
    (tmp_path / ".hidden").write_text("")
    rows = list(chats.rows(chats.entries()))
    assert [(row.id, row.model, row.turns) for row in rows] == [
        (second.chat.id, "tales@80", 1),
        (first.chat.id, "a@1", 2),
    ]
    assert rows[1].title.startswith("Tell me a story about a cat. xx")
    assert len(rows[1].title) == 60
    chats.rename(first.chat.id, "  Cats,\n  mostly ")
    rows = list(chats.rows(chats.entries()))
    assert [row.title for row in rows] == ["Hello", "Cats, mostly"], "a new name does not move it"
    chats.rename(first.chat.id, "")
    assert list(chats.rows(chats.entries()))[1].title.startswith("Tell me")
    chats.delete(second.chat.id)
    chats.delete(second.chat.id)
    assert [entry.id for entry in chats.entries()] == [first.chat.id]


def test_search_finds_all_words_wherever_they_stand(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    cat = said(chats, "A story about a CAT, please", 'The cat said: "Où est\nMia?" ' + "and so on " * 30)
    dog = said(chats, "A story about a dog", "The dog slept.", "taken back: zebra")
    dog.keep(2)
    chats.rename(dog.chat.id, "Sleepy")

    def found(query: str) -> set[str]:
        return {row.id for row in chats.search(query)}

    assert found("story") == {cat.chat.id, dog.chat.id}
    assert found("Cat OÙ") == {cat.chat.id}
    assert found('"où') == {cat.chat.id}
    assert found("est mia") == {cat.chat.id}, "the words may stand in two lines"
    assert found("cat dog") == set()
    assert found("sleepy slept") == {dog.chat.id}
    assert found("zebra") == set(), "what was taken back was not said"
    assert found("role content tales") == set(), "only what was said is looked at"
    assert found("  ") == set()
    (row,) = chats.search("mia")
    start, end = row.found_at
    assert row.excerpt[start:end] == "Mia"
    assert len(row.excerpt) < 90


def test_search_where_large_and_small_letters_differ_in_length(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    said(chats, "Die Straße nach Süden, und weiter")
    (row,) = chats.search("STRASSE süden")
    assert "Straße" in row.excerpt
    assert row.found_at == (0, 0)


@pytest.mark.parametrize("chat_id", ["../secrets", "", "20260101-000000-abcdef/..", "20260101-000000-abcdeg"])
def test_an_id_is_no_path(chat_id: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no conversation"):
        SavedChats(tmp_path).read(chat_id)


def test_what_is_gone_or_cannot_be_written_is_said(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path / "chats")
    with pytest.raises(DataError, match="is gone"):
        chats.read("20260101-000000-abcdef")
    with pytest.raises(DataError, match="is gone"):
        chats.rename("20260101-000000-abcdef", "x")
    (tmp_path / "chats").write_text("a file where the folder should be")
    writer = chats.begin("m")
    with pytest.raises(DataError, match="not saved"):
        writer.say("user", "Hello")
    assert writer.chat.said[0].content == "Hello", "the conversation itself goes on"


def test_ten_thousand_conversations_are_quick(tmp_path: Path) -> None:
    chats = SavedChats(tmp_path)
    head = json.dumps({"kind": "chat", "version": 1, "created": 1.0, "form": "turns", "model": "m"})
    turn = json.dumps({"kind": "said", "role": "user", "content": "Tell me a story about a goat. " * 20, "time": 1.0})
    for number in range(10_000):
        needle = json.dumps({"kind": "said", "role": "user", "content": f"needle {number}", "time": 1.0})
        (tmp_path / f"20260101-000000-{number:06x}.jsonl").write_text(f"{head}\n{turn}\n{needle}\n")
    begun = time.perf_counter()
    entries = chats.entries()
    listed = time.perf_counter() - begun
    page = list(chats.rows(entries[:100]))
    paged = time.perf_counter() - begun - listed
    hits = list(chats.search("needle 9999"))
    searched = time.perf_counter() - begun - listed - paged
    assert (len(entries), len(page), len(hits)) == (10_000, 100, 1)
    # About 0.06, 0.01 and 1 s on two slow cores: these are bounds that only another way of doing it breaks.
    assert listed < 1, listed
    assert paged < 0.5, paged
    assert searched < 10, searched
