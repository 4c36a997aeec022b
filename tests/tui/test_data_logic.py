"""What the data screen computes, without a screen."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mlxllm import paths
from mlxllm.data.build import build_dataset
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources import open_source
from mlxllm.errors import UserError
from mlxllm.tokenizer import train_tokenizer
from tui import commands
from tui.data.entries import BYTES, Entry, list_entries, list_tokenizers
from tui.data.library import Library, find
from tui.data.look import Looker
from tui.data.mixture import (
    Size,
    heavier,
    lighter,
    shares,
    short_spec,
    splitting_share,
    suggested_name,
    suggested_tokenizer,
    suggested_val_split,
    total_bytes,
)
from tui.remembered import Remembered
from tui.screens.data.sections import SECTIONS, mixture_lines, tokens_section
from tui.widgets.shortening import cut_middle

TALK = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello [you]"}]}] * 3
PAIRS = [{"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}]


def write_lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@given(weight=st.sampled_from([0.1, 0.2, 0.5, 0.9, 1.0, 2.0, 7.0, 100.0]))
def test_weights_go_up_and_down_the_same_steps(weight: float) -> None:
    assert lighter(heavier(weight)) == (weight if weight < 100 else 99)
    assert 0.1 <= lighter(weight) <= weight <= heavier(weight) <= 100
    assert heavier(lighter(weight)) == (weight if weight > 0.1 else 0.2)


def test_shares_are_of_what_is_known() -> None:
    sizes = {"a": Size(300, False), "b": Size(100, False), "c": Size(None, False)}
    assert shares({"a": 1.0, "b": 3.0}, sizes) == {"a": 0.5, "b": 0.5}
    assert shares({"a": 1.0, "c": 1.0}, sizes) == {"a": None, "c": None}
    assert shares({"a": 1.0, "new": 1.0}, sizes) == {"a": None, "new": None}
    assert total_bytes({"a": 0.5, "b": 2.0}.items(), sizes) == 350
    assert total_bytes({"c": 1.0}.items(), sizes) is None
    assert [suggested_tokenizer(size) for size in (1000, 10**6, 10**8, None)] == [
        "char",
        "bpe:1024",
        "bpe:4096",
        "bpe:4096",
    ]
    assert suggested_name(["stories:count=3,seed=0"], ["stories"]) == "stories-2"
    assert suggested_name(["My notes!.txt", "x"], []) == "My-notes-mix"
    assert suggested_name(["日本"], []) == "mixture"
    assert suggested_name(["text:/home/me/tales.jsonl.gz"], []) == "tales"
    assert suggested_name(["hub:owner/foxes,revision=main"], ["foxes"]) == "foxes-2"


def test_a_source_is_called_by_its_kind_and_the_end_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert short_spec(f"text:{tmp_path}/notes") == "text:notes/"
    assert short_spec(f"arxiv:{tmp_path}/a,b.json,category=cs.LG+math") == "arxiv:a,b.json,category=cs.LG+math"
    assert short_spec("commoncrawl:/data/*.warc.gz") == "commoncrawl:*.warc.gz"
    for spec in ("stories", "stories:count=5,seed=0,start=0", "hub:owner/foxes,revision=main", "text:/"):
        assert short_spec(spec) == spec


@given(text=st.text(alphabet="ab/.日", max_size=60), width=st.integers(3, 40), ascii_only=st.booleans())
def test_a_long_name_loses_its_middle(text: str, width: int, ascii_only: bool) -> None:
    cut = cut_middle(text, width, ascii_only=ascii_only)
    assert cell_len(cut) <= width
    head, mark, tail = cut.partition(".." if ascii_only else "…")
    if cell_len(text) <= width:
        assert cut == text
    elif ".." not in text:
        assert mark
        assert text.startswith(head)
        assert text.endswith(tail)
        assert cell_len(cut) >= width - 1, "no room is given away"


def test_a_mixture_says_why_a_share_is_not_known() -> None:
    sizes = {"text:/x/a-very-long-name-of-a-file.jsonl": Size(300, False), "hub:owner/foxes": Size(None, False)}
    mixture = dict.fromkeys(sizes, 1.0)
    shown = mixture_lines(mixture, sizes, 32, "the size is known when it was fetched").plain.splitlines()
    assert shown[-1] == "? the size is known when it was fetched"
    assert [line.split()[1:] for line in shown[1:3]] == [["x1", "?"]] * 2
    assert shown[1].startswith("text:")
    assert shown[1].split()[0].endswith("file.jsonl")
    assert all(cell_len(line) <= 32 for line in shown[:3])
    many = mixture_lines({f"stories:{n}": 1.0 for n in range(1, 10)}, {}, 32, "is being measured").plain.splitlines()
    assert many[-2:] == ["and 3 more", "? is being measured"]


@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=20), st.sampled_from([0.01, 0.1]))
def test_what_is_held_out_of_few_documents_is_neither_none_nor_all(millionths: list[int], usual: float) -> None:
    share = splitting_share([number / 1e6 for number in millionths], usual)
    held = sum(number / 1e6 < share for number in millionths)
    assert 0 < share < 1
    assert 0 < held < len(millionths) or (len(set(millionths)) == 1 and share == usual)


def test_the_held_out_part_that_is_proposed() -> None:
    def proposed(*sizes: Size) -> float:
        return suggested_val_split(sizes)

    assert proposed(Size(10**7, True)) == 0.01
    assert proposed(Size(10**5, True)) == 0.1
    assert proposed(Size(None, False)) == 0.01
    assert proposed(Size(10**7, False, documents=100_000)) == 0.01
    assert proposed(Size(10**7, False, documents=20)) == 0.15
    assert proposed(Size(9000, False, 2, (0.634, 0.8))) == 0.64
    assert proposed(Size(9000, False, 2, (0.634, 0.8)), Size(900, False, 1, (0.05,))) == 0.1
    assert proposed(Size(9000, False, 2, (0.634, 0.8)), Size(10**7, True)) == 0.01


def test_the_command_of_a_mixture() -> None:
    args = commands.data_build("d", [("stories", None), ("text:/a b", "0.3x")], "bpe:400", "0.1", force=True)
    assert commands.as_text(args) == (
        "mlxllm data build d --source stories --source 'text:/a b@0.3x' --tokenizer bpe:400 --val-split 0.1 --force"
    )
    assert commands.data_build("d", [], "") == ("data", "build", "d")
    cleaned = commands.data_build("d", [("stories", None)], "byte", recipe="web", overlap=["a b.jsonl", "c"])
    assert commands.as_text(cleaned) == (
        "mlxllm data build d --source stories --tokenizer byte --recipe web --overlap 'a b.jsonl' --overlap c"
    )


def test_what_is_added_is_remembered(tmp_path: Path, mlxllm_home: Path) -> None:
    library = Library(Remembered())
    (tmp_path / "a.txt").write_text("words " * 100)
    talk, pairs = write_lines(tmp_path / "t.jsonl", TALK), write_lines(tmp_path / "p.jsonl", PAIRS)
    for text in (tmp_path / "a.txt", f"text:{tmp_path / 'a.txt'}", talk, pairs, "stories:7"):
        library.add(find(str(text)))
    again = Library(Remembered())
    assert again.sources == [f"text:{tmp_path / 'a.txt'}", "stories:count=7,seed=0,start=0"]
    assert again.records == [(str(talk), "conversations"), (str(pairs), "preferences")]
    with pytest.raises(UserError, match="cannot fetch the data set owner/name from the Hub"):
        find("owner/name")
    with pytest.raises(UserError, match="no 99 simplest plots"):
        find("stories:plots=99")

    assert again.toggle("stories")
    assert again.weigh("stories", True) == 2.0
    looker = Looker()
    single = again.sources[0]
    again.sizes[single] = again.measure(single, looker)
    assert (again.sizes[single].bytes, again.sizes[single].single_text) == (600, True)
    assert again.weigh(single, False) == 0.9, "of one text a part is its beginning"
    again.toggle(single)
    assert Library(Remembered()).mixture == {"stories": 2.0}
    entries = list_entries(again.sources, again.records)
    again.remove(entries["yours"][0])
    again.remove(entries["records"][1])
    assert not again.toggle("stories")
    assert (again.sources, again.records, again.mixture) == (
        ["stories:count=7,seed=0,start=0"],
        [(str(talk), "conversations")],
        {},
    )
    (mlxllm_home / "tui.json").write_text('{"data_mixture": {"a": "x", "b": 2}, "data_sources": [1, "c"]}')
    assert (Library(Remembered()).mixture, Library(Remembered()).sources) == ({"b": 2.0}, ["c"])


def test_nothing_is_downloaded_before_it_is_asked_for() -> None:
    library = Library(Remembered())
    assert library.may_read("stories")
    assert library.may_read("text:/x")
    assert not library.may_read("shakespeare")
    assert library.measure("shakespeare", Looker()).bytes == 1_115_394
    library.allow("shakespeare")
    assert library.may_read("shakespeare")


def test_what_is_listed(tmp_path: Path, mlxllm_home: Path) -> None:
    entries = list_entries([f"text:{tmp_path}/gone.txt"], [(str(tmp_path / "gone.jsonl"), "preferences")])
    kinds = {entry.key: entry for group in ("catalogue", "formats") for entry in entries[group]}
    assert kinds["stories"].spec == "stories"
    assert kinds["text"].spec == ""
    assert "needs a file" in kinds["text"].problem
    told = SECTIONS[0][2](Looker().look(kinds["arxiv"], BYTES), 70, False).plain
    assert "The source arxiv needs a file, a folder or a glob: arxiv:PATH; a adds one." in told
    assert "✗" not in told
    assert "is not there any more" in entries["yours"][0].problem
    assert "is not there any more" in entries["records"][0].problem
    assert entries["datasets"] == []
    assert [known.argument for known in list_tokenizers()] == ["byte", "char"]

    train_tokenizer("char", ["abc"]).save(mlxllm_home / "tokenizers" / "mine")
    (tmp_path / "a.txt").write_text("abc " * 500)
    folder = paths.folder("datasets")
    source = open_source(str(tmp_path / "a.txt"))
    build_dataset(folder / "good", [(source, None)], train_tokenizer("char", ["abc", "bd"]), val_split=0.1)
    (folder / "bad").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build_dataset(
            folder / "half", [(source, None)], train_tokenizer("byte", []), keep_draft=True, progress=_interrupt
        )
    bad, good, half = list_entries([], [])["datasets"]
    assert "no manifest.json" in bad.problem
    assert (good.title, good.note) == ("good", "2k tokens")
    assert half.state is not None
    assert not half.held
    names = [known.argument for known in list_tokenizers()]
    assert names == ["mine", str(folder / "good" / "tokenizer"), "byte", "char"]


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def sections(entry: Entry) -> list[str]:
    """The plain text of the five tabs."""
    seen = Looker().look(entry, BYTES)
    assert seen.problem == ""
    return [section(seen, 70, False).plain for _, _, section in SECTIONS]


def test_a_source_in_five_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_lines(path, [{"text": "one\tgood \x1b[31mline"}, {"oops": 1}, {"text": "[b] " * 100}])
    text, tokens, statistics, dropped, packing = sections(list_entries([f"text:{path}"], [])["yours"][0])
    assert "a.jsonl:1 ─" in text
    assert "one    good \\x1b[31mline" in text
    assert "\x1b" not in text + tokens + dropped
    assert "o│n│e│⇥│g│o│o│d│·│\\x1b│[" in tokens or "o│n│e│<0x09>│g" in tokens
    assert "2 documents" in statistics
    assert "bytes a token" in statistics
    assert f"✗ 1 left out: no text field\n    {path}:2: wanted 'text' or 'content'" in dropped
    assert "row 1   │aaa" in packing
    assert "b│" not in packing
    with_ids = tokens_section(Looker().look(list_entries([f"text:{path}"], [])["yours"][0], BYTES), 40, False, True)
    assert "116" in with_ids.plain, "the id of o"


def test_conversations_show_what_is_learned(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", [*TALK, {"messages": [{"role": "user", "content": "unanswered"}]}])
    text, _, statistics, dropped, packing = sections(list_entries([], [(str(path), "conversations")])["records"][0])
    assert "<|user|>Hi<|end|>" in text
    assert "4 records, all there are" in statistics
    assert "nothing to train on" in dropped
    assert "<|user|>Hi<|end|><|assistant|>[Hello \\[you\\]][<|end|>]" in packing
    row = next(line for line in packing.splitlines() if line.startswith("row 1"))
    assert {"a", "A", "b", "B", "c", "C", "."} <= set(row)


def test_preferences_show_both_answers(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "p.jsonl", PAIRS)
    packing = sections(list_entries([], [(str(path), "preferences")])["records"][0])[4]
    assert "<|user|>Tea?" in packing
    assert "[Yes.][<|end|>]" in packing
    assert "[No.][<|end|>]" in packing


def test_a_dataset_in_five_tabs(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"Text {i}."}) + "\n" for i in range(99)) + "{bad\n")
    directory = paths.folder("datasets") / "d"
    build_dataset(
        directory, [(open_source(str(tmp_path / "a.jsonl")), None)], train_tokenizer("byte", []), val_split=0.1
    )
    text, tokens, statistics, dropped, packing = sections(list_entries([], [])["datasets"][0])
    assert "train document 1" in text
    assert "Text 0." in text
    assert "T│e│x│t│·│0│.│<|endoftext|>│\n" in tokens
    dataset = TokenDataset.open(directory)
    assert f"{dataset.train.num_tokens:,} tokens, {dataset.train.num_documents} documents" in statistics
    assert "documents   99 kept of 100 read" in statistics
    assert f"text        {dataset.manifest.sources['a.jsonl'].bytes} bytes, " in statistics
    assert "training    read once, 100.0% of the tokens" in statistics
    assert "cleaned by  none" in statistics
    assert "a.jsonl\n\n✗ 1 left out: bad JSON" in dropped
    assert "row 10" in packing
    damaged = next(directory.glob("train-0*.bin"))
    damaged.write_bytes(damaged.read_bytes()[:-2])
    assert "its manifest says" in Looker().look(list_entries([], [])["datasets"][0], BYTES).problem


def test_a_preview_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    looker, spec = Looker(), f"text:{tmp_path / 'a.txt'}"
    assert looker.preview(spec).texts == ("first",)
    (tmp_path / "a.txt").write_text("second")
    assert looker.preview(spec).texts == ("first",)
    looker.forget()
    assert looker.preview(spec).texts == ("second",)
    for number in range(20):
        looker.preview(f"stories:{number + 1}")
    assert len(looker._kept) <= 6
