"""A build by several processes, over sources of several files: the same bits, and whole files passed over."""

import contextlib
from pathlib import Path

import pytest

from mlxllm.data import crew, reading
from mlxllm.data.build import build_dataset
from mlxllm.data.clean.recipes import recipe, with_settings
from mlxllm.data.label import data_label
from mlxllm.data.manifest import Manifest
from mlxllm.data.weights import Weight
from mlxllm.errors import DataError
from mlxllm.tokenizer import train_tokenizer
from tests.data.records import Lines
from tests.data.test_continuing import Interrupting, contents

BYTE = train_tokenizer("byte", [])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BATCH_RECORDS", 7)
    monkeypatch.setattr(crew, "ALONE_SECONDS", 0.0)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(5):
        lines = [f"{'gone ' if n % 11 == 3 else 'bad ' if n % 7 == 2 else ''}file {number} line {n}" for n in range(30)]
        lines[5:6] = [""]
        paths.append(tmp_path / f"part{number}.lines")
        paths[-1].write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "part2.lines").write_text("", encoding="utf-8")
    return paths


def build(directory: Path, files: list[Path], workers: int = 1, **options: object) -> Manifest:
    weighted = [(Lines(files), Weight(0.3)), (Lines(files[:2]), Weight(0.7))]
    return build_dataset(
        directory,
        weighted,
        BYTE,
        val_split=0.2,
        shard_tokens=1000,
        workers=workers,
        keep_draft=True,
        **options,  # type: ignore[arg-type]
    )


def test_any_number_of_processes_gives_the_same_bits(tmp_path: Path, files: list[Path]) -> None:
    for workers in (1, 2, 3):
        build(tmp_path / f"by{workers}", files, workers)
    assert contents(tmp_path / "by1") == contents(tmp_path / "by2") == contents(tmp_path / "by3")


def test_every_record_is_counted(tmp_path: Path, files: list[Path]) -> None:
    label = data_label(build(tmp_path / "d", files))["sources"]["lines"]
    lines = [line for path in files for line in path.read_text().split("\n")]
    assert label["documents_read"] == len(lines)
    assert label["dropped"] == {
        "gone": sum(line.startswith("gone") for line in lines),
        "bad": sum(line.startswith("bad") for line in lines),
        "empty": sum(not line for line in lines),
    }
    assert label["dropped_bytes"] == {"bad": sum(len(line) for line in lines if line.startswith("bad"))}
    assert label["documents_read"] == label["documents_kept"] + sum(label["dropped"].values())
    assert sum(label["languages"].values()) == label["documents_kept"]
    assert label["mended"] == {"opened": 5}
    assert label["bytes_read"] == sum(len(line) for line in lines if not line.startswith("gone"))
    assert len(label["examples"]["bad"]) == 3


@pytest.mark.parametrize("in_order", [False, True])
def test_parts_that_are_done_are_passed_over_unread(tmp_path: Path, files: list[Path], in_order: bool) -> None:
    def go(directory: Path, source: Lines, **options: object) -> Manifest:
        return build_dataset(directory, [(source, None)], BYTE, val_split=0.2, workers=1, keep_draft=True, **options)  # type: ignore[arg-type]

    go(tmp_path / "whole", Lines(files, in_order=in_order))
    for stop in range(16):
        directory = tmp_path / f"d{stop}"
        try:
            go(directory, Lines(files, in_order=in_order), progress=Interrupting(stop))
        except KeyboardInterrupt:
            again = Lines(files, in_order=in_order)
            go(directory, again)
        assert contents(directory) == contents(tmp_path / "whole")
    assert len(again.opened) == (5 if in_order else 1), "the last was stopped in the last part"


def test_a_part_that_has_changed_starts_over(tmp_path: Path, files: list[Path]) -> None:
    said: list[str] = []
    source = Lines(files)
    with pytest.raises(KeyboardInterrupt):
        build_dataset(tmp_path / "d", [(source, None)], BYTE, workers=1, keep_draft=True, progress=Interrupting(12))
    files[0].write_text("something else altogether\n" * 40)
    build_dataset(tmp_path / "d", [(Lines(files), None)], BYTE, workers=1, keep_draft=True, tell=said.append)
    assert "is another one now, so the build starts over" in said[-1]
    build_dataset(tmp_path / "whole", [(Lines(files), None)], BYTE, workers=1)
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_nothing_usable_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.lines").write_text("gone\n" * 20)
    with pytest.raises(DataError, match=r"holds no usable text: gone \(.*a.lines:0\)"):
        build_dataset(tmp_path / "d", [(Lines([tmp_path / "a.lines"]), None)], BYTE)


def test_what_overlaps_an_evaluation_set_is_left_out_or_told(tmp_path: Path) -> None:
    asked = "Which of the seven foxes that lived behind the mill had found the silver spoon of the miller's wife?"
    (tmp_path / "exam.jsonl").write_text(f'{{"question": "{asked}", "answer": "The third."}}\n')
    lines = [f"A harmless line, number {n}." for n in range(20)] + [f"Somebody copied this: {asked} Nobody knew."]
    (tmp_path / "a.lines").write_text("\n".join(lines))
    for drop in (True, False):
        manifest = build_dataset(
            tmp_path / f"d{drop}",
            [(Lines([tmp_path / "a.lines"]), None)],
            BYTE,
            workers=2,
            overlap=[str(tmp_path / "exam.jsonl")],
            drop_overlap=drop,
        )
        label = data_label(manifest)
        assert label["evaluation_overlap"] == {
            "files": ["exam.jsonl"],
            "documents": 1,
            "documents_kept": 0 if drop else 1,
        }
        source = label["sources"]["lines"]
        assert source["documents_kept"] == 21 - drop
        counted = source["dropped" if drop else "mended"]
        assert counted.get("overlaps an evaluation set") == 1
        assert "exam.jsonl" in source["examples"]["overlaps an evaluation set"][0]


def test_duplicates_are_found_across_sources_and_lives(tmp_path: Path) -> None:
    story = [f"The fox number {n} went over the {n * 7} hills to see what the owl had hidden there." for n in range(40)]
    (tmp_path / "a.lines").write_text("\n".join([*story, story[0]]))
    (tmp_path / "b.lines").write_text("\n".join([*story[:10], "Something that is quite new and of some length, too."]))
    weighted = [(Lines([tmp_path / f"{name}.lines"]), None) for name in "ab"]
    recipes = [with_settings(recipe("none"), ["dedup=exact"])] * 2

    def go(directory: Path, **options: object) -> Manifest:
        return build_dataset(directory, weighted, BYTE, recipes=recipes, workers=1, keep_draft=True, **options)  # type: ignore[arg-type]

    first, second = go(tmp_path / "whole").sources.values()
    assert (first.documents_kept, first.dropped) == (40, {"exact duplicate": 1})
    assert (second.documents_kept, second.dropped) == (1, {"exact duplicate": 10})
    for stop in range(8):
        with contextlib.suppress(KeyboardInterrupt):
            go(tmp_path / f"d{stop}", progress=Interrupting(stop))
        if not (tmp_path / f"d{stop}").exists():
            go(tmp_path / f"d{stop}")
        assert contents(tmp_path / f"d{stop}") == contents(tmp_path / "whole")
