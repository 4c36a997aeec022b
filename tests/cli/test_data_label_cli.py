"""What `mlxllm data` tells of what was read, kept and left out, and how a preview is cleaned."""

import json
from pathlib import Path

import pytest

from mlxllm.errors import ConfigError, DataError
from tests.cli.test_data_cli import corpus, run, run_json

__all__ = ["corpus"]

FOX = "The seven foxes that lived behind the old mill had found the silver spoon of the miller's wife"


def test_dropped_examples_tell_the_words_and_the_document_they_are_like(tmp_path: Path, mlxllm_home: Path) -> None:
    exam, web = tmp_path / "exam.jsonl", tmp_path / "web.jsonl"
    exam.write_text(json.dumps({"question": FOX}) + "\n")
    other = "Nobody knew where the stone house by the river stood when winter came and all the paths were white."
    texts = [other, f"It is told in the village: {FOX}. So it is.", other, other.replace("Nobody", "Someone"), "A B"]
    web.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rules = [
        "--recipe",
        "none",
        "--set",
        "dedup=near",
        "--set",
        "gopher_quality=on",
        "--set",
        "gopher_quality.min_words=3",
    ]
    run("build", "d", "--source", web, "--tokenizer", "byte", *rules, "--overlap", exam)
    found = {one["reason"]: one for one in run_json("inspect", "d", "--dropped", "all")["examples"]}
    shared = "The seven foxes that lived behind the old mill had found the silver"
    assert found["overlaps an evaluation set"]["detail"] == f'exam.jsonl:1 shares "{shared}"'
    assert len(shared.split()) == 13
    assert found["exact duplicate"]["detail"] == f"as {web}:1"
    assert found["exact duplicate"]["where"] == f"{web}:3"
    assert found["gopher: too few words"]["where"] == f"{web}:5"
    label = run("label", "d")[0]
    assert shared in label
    assert "1 document shares 13 words in a row with exam.jsonl" in label
    assert "1 x gopher: too few words, 3 bytes (about 3 tokens)" in label


def test_the_label_tells_bytes_read_kept_and_left_out(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}) for text in ("one two three four", "x", "five six seven")]
    (tmp_path / "w.jsonl").write_text("\n".join(lines))
    arguments = ["--set", "gopher_quality=on", "--set", "gopher_quality.min_words=3"]
    arguments += ["--set", "gopher_quality.min_stop_words=0"]
    label = run_json("build", "d", "--source", tmp_path / "w.jsonl", "--tokenizer", "byte", *arguments)
    source = label["sources"]["w.jsonl"]
    assert source["text_bytes_read"] == source["bytes"] + source["dropped_bytes"]["gopher: too few words"] == 33
    assert source["bytes_read"] == 33
    header, shown = run("label", "d")[0].splitlines()[:2]
    for column in ("size", "text"):
        assert shown[header.index(f"  {column}  ") :].split("  ")[1] == "33 bytes"
    assert shown[header.index("text kept") :].startswith("32 bytes")


def test_nothing_is_built_of_what_is_left_out(tmp_path: Path, mlxllm_home: Path) -> None:
    source = tmp_path / "w.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b"}\n')
    run("build", "d", "--source", source, "--tokenizer", "byte")
    before = run_json("label", "d")
    for tokenizer in ("byte", "bpe:300"):
        for name, more in (("e", []), ("d", ["--force"])):
            with pytest.raises(DataError, match=r"'[de]' would be empty: all of its 2 records are left out") as caught:
                run("build", name, "--source", source, "--tokenizer", tokenizer, "--recipe", "web", *more)
            assert f"`mlxllm data preview text:{source} --recipe web` shows more of it" in str(caught.value)
            assert f"first: {source}:1" in str(caught.value)
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": FOX}) + "\n")
    source.write_text(json.dumps({"text": f"{FOX} and more"}) + "\n")
    with pytest.raises(
        DataError, match=r"'e' would be empty: the only record is left out .*--keep-overlap only counts"
    ):
        run("build", "e", "--source", source, "--tokenizer", "byte", "--overlap", tmp_path / "exam.jsonl")
    assert [path.name for path in (mlxllm_home / "datasets").iterdir()] == ["d"], "nor what would go on"
    assert run_json("label", "d") == before, "what was there stays"


def test_dropped_all_of_nothing_is_told(corpus: Path) -> None:
    run("build", "d", "--source", corpus, "--tokenizer", "byte")
    assert "dataset 'd': nothing was left out" in run("inspect", "d", "--dropped", "all")[1]
    assert run_json("inspect", "d", "--dropped", "all") == {"name": "d", "counts": {}, "examples": []}
    with pytest.raises(DataError, match="left out nothing for the reason 'near duplicate'"):
        run("inspect", "d", "--dropped", "near duplicate")


def test_a_preview_is_cleaned_by_changed_rules(corpus: Path) -> None:
    rules = ["--recipe", "web", "--set", "language=off", "--set", "gopher_repetition=off", "--set", "c4=off"]
    rules += ["--set", "fineweb=off", "--set", "gopher_quality.min_stop_words=1"]
    assert run_json("preview", corpus, *rules)["dropped"] == {"gopher: too few words": 200}
    assert run_json("preview", corpus, *rules, "--set", "gopher_quality.min_words=5")["dropped"] == {}
    with pytest.raises(ConfigError, match=r"setting 'nope' \(from --set nope=off\) does not exist"):
        run("preview", corpus, "--set", "nope=off")
    with pytest.raises(ConfigError, match="there is no source of kind 'pubmed' here"):
        run("preview", corpus, "--set", "pubmed:c4=off")


def test_the_label_warns_of_shares_that_leave_text_unread_and_of_what_is_not_held_out(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text(json.dumps({"text": "A very small source."}) + "\n")
    (tmp_path / "many.jsonl").write_text(
        "".join(json.dumps({"text": f"The owl sees {n} mice tonight."}) + "\n" for n in range(300))
    )
    sources = ["--source", f"{tmp_path / 'few.jsonl'}@0.5", "--source", f"{tmp_path / 'many.jsonl'}@0.5"]
    run("build", "d", *sources, "--tokenizer", "byte")
    many = run_json("label", "d")["sources"]["many.jsonl"]
    said = run("label", "d")[1]
    assert f"shares leave most of 'many.jsonl' ({many['epochs']:.2g} of it) unread: 'few.jsonl' is so small" in said
    assert "'few.jsonl': it has nothing to be held out" in said
    run("build", "e", *sources, "--tokenizer", "byte", "--max-epochs", "1000")
    assert "unread" not in run("label", "e")[1]
