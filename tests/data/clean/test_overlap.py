"""Overlap with evaluation files: what is looked for, and where it is found."""

import csv
import gzip
import json
import pickle
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxllm.data.clean.evaluation_files import evaluation_files, evaluation_records
from mlxllm.data.clean.overlap import EvaluationOverlap
from mlxllm.data.clean.words import BLOCK_CHARS
from mlxllm.errors import DataError

QUESTION = "Which of the seven wonders of the ancient world stood longest beside the river Nile?"
CHOICES = ["the lighthouse", "the great pyramid", "the hanging gardens of a king who missed the hills"]


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def overlap(tmp_path: Path) -> EvaluationOverlap:
    records = [
        {"id": "q1", "question": QUESTION, "choices": CHOICES, "gold": 1},
        {"question": "Why is the sky blue at noon?", "answer": "Air scatters short waves of light most of all."},
        {"question": "Seven ducks lay nine eggs in one week."},
        {"question": "Too short."},
        {"question": "Count: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"},
    ]
    return EvaluationOverlap.load([write_lines(tmp_path / "quiz.jsonl", records)])


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (f"As the old book says: {QUESTION}", 1),
        ("which OF the seven -- wonders, of the ancient world stood longest... beside the", 1),
        # Twelve words in a row are not enough.
        ("which of the seven wonders of the ancient world stood longest beside", None),
        ("which of the seven wonders of our ancient world stood longest beside the river Nile", None),
        # No choice has 13 words, so they count for nothing where the question has.
        (CHOICES[2], None),
        (" ".join(CHOICES), None),
        # Question and answer together, where neither is long enough; but not as they do not stand.
        ("It asks why is the sky blue at noon? Air scatters short waves of light most of all.", 2),
        ("Air scatters short waves of light most of all. Why is the sky blue at noon?", None),
        # A record of 8 words is looked for as a whole.
        ("I know: seven ducks lay nine eggs in one week!", 3),
        ("I know: seven ducks lay nine eggs in one", None),
        ("Too short.", None),
        (" ".join(map(str, range(30))), None),
        ("", None),
    ],
)
def test_thirteen_words_in_a_row_are_found(overlap: EvaluationOverlap, text: str, record: int | None) -> None:
    found = None if record is None else f"quiz.jsonl:{record}"
    assert overlap.find(text) == found
    assert pickle.loads(pickle.dumps(overlap)).find_each(["other", text, "é " + text]) == [None, found, found]


@pytest.mark.parametrize("around", ["", "Nothing of it. ", "12 by 9 (as told), é.\n" * 5000])
def test_the_words_that_are_shared_are_told_as_they_stand(overlap: EvaluationOverlap, around: str) -> None:
    words = "of the seven wonders, of the ANCIENT World\nstood longest beside the river".split()
    spread = "which " + "  ".join(words) + " nile"
    assert overlap.shared(around + "Tell me: " + spread + " or not? " + around).split() == ["which", *words][:13]
    assert (
        overlap.shared(around + "I know: seven ducks lay nine eggs in one week!")
        == "seven ducks lay nine eggs in one week"
    )
    assert overlap.shared(around) == ""


def test_what_is_read_and_what_is_too_short_is_counted(overlap: EvaluationOverlap) -> None:
    assert (overlap.records, overlap.too_short, overlap.names) == (5, 2, ("quiz.jsonl",))


def test_texts_beside_each_other_do_not_make_an_overlap(overlap: EvaluationOverlap) -> None:
    first, second = QUESTION[:40], QUESTION[40:]
    assert overlap.find_each([first, second, "x"]) == [None] * 3
    assert overlap.find(first + second) == "quiz.jsonl:1"


def test_the_first_of_several_is_told(overlap: EvaluationOverlap) -> None:
    ducks = "seven ducks lay nine eggs in one week"
    assert overlap.find(f"{ducks} {QUESTION}") == "quiz.jsonl:3"
    assert overlap.find(f"{QUESTION} {ducks}") == "quiz.jsonl:1"


@pytest.mark.parametrize("filler", ["lorem ", "é "])
def test_an_overlap_is_found_wherever_a_block_ends(overlap: EvaluationOverlap, filler: str) -> None:
    for at in range(BLOCK_CHARS - 110, BLOCK_CHARS + 20, 7):
        before = (filler * BLOCK_CHARS)[: at - 1] + " "
        assert overlap.find(before + QUESTION + " and so on " * 50) == "quiz.jsonl:1", at


def test_every_format_gives_the_same_records(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"question": f"{QUESTION} {name}", "choices": [*CHOICES, name], "gold": 2} for name in ("Ra", "Isis", "Set")
    ]
    texts = [(row["question"], *row["choices"]) for row in rows]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines.replace("\n", "\r\n"))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "d.json").write_text(json.dumps({"version": "1.0", "data": rows}))
    (tmp_path / "e.dat").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    with (tmp_path / "g.csv").open("w", newline="") as file:
        csv.writer(file).writerows(texts)
    (tmp_path / "h.tsv").write_text("".join("\t".join(row) + "\n" for row in texts))
    for path in sorted(tmp_path.iterdir()):
        records = list(evaluation_records(path))
        assert [number for number, _ in records] == [1, 2, 3], path
        assert [row for _, row in records] == texts, path
    (tmp_path / "i.txt").write_text(f"\n\n{QUESTION}\n\n\nAnother\nparagraph\r\n\r\nlast")
    assert list(evaluation_records(tmp_path / "i.txt")) == [
        (1, (QUESTION,)),
        (2, ("Another\nparagraph",)),
        (3, ("last",)),
    ]
    found = EvaluationOverlap.load([tmp_path])
    assert found.find(QUESTION) == "a.jsonl:1"
    assert [path.name for path in evaluation_files(str(tmp_path))] == list(found.names)
    assert "e.dat" not in found.names


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("dev", "test"):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "quiz.jsonl", [{"q": f"{QUESTION} {folder}"}])
    found = EvaluationOverlap.load([tmp_path / "dev", tmp_path / "test" / "quiz.jsonl", tmp_path / "dev"])
    assert found.names == (str(tmp_path / "dev" / "quiz.jsonl"), str(tmp_path / "test" / "quiz.jsonl"))
    assert found.find(f"ancient world stood longest {QUESTION[30:]} test wonders") is None
    assert found.find(QUESTION) == f"{found.names[0]}:1"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"q": "one"}\n{"q": \n', r"a\.jsonl:2 is not valid JSON"),
        ("a.jsonl", b'{"q": "one"}\n{"q": "\xff"}\n', r"a\.jsonl:2 is not UTF-8"),
        ("a.jsonl.gz", gzip.compress(b'{"q": "one two"}\n' * 9999, mtime=0)[:-30], r"gzip data ends early"),
        ("a.json", b'[{"q": "one"}, ', r"a\.json is not valid JSON"),
        ("a.json", b"[" * 100_000, r"a\.json is not valid JSON"),
        ("a.txt", b"caf\xe9 " * 100, r"a\.txt is not UTF-8 at byte 3"),
        ("a.csv", b'"' + b"x" * 200_000 + b'"\n', r"a\.csv: row 1 is not valid CSV"),
        ("a.parquet", b"PAR1" + bytes(100), r"a\.parquet is not whole parquet"),
        ("a.jsonl", b"", r"holds no record of 8 words"),
        ("a.jsonl", b'{"q": "one two"}\n', r"a\.jsonl holds no record of 8 words"),
    ],
)
def test_what_cannot_be_checked_whole_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        EvaluationOverlap.load([tmp_path / name])


def test_a_path_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no evaluation file or folder"):
        EvaluationOverlap.load([tmp_path / "none"])
    (tmp_path / "notes.md").write_text("no evaluation set")
    with pytest.raises(DataError, match="holds no evaluation files"):
        EvaluationOverlap.load([tmp_path])


@pytest.mark.data
def test_real_evaluation_files_against_sets_of_words(test_data: Path) -> None:
    """The same rule in plain Python, with tuples of words in a set and another way to find the texts."""
    files = [test_data / "bench" / name for name in ("arc_easy.jsonl", "gsm8k_test.jsonl", "piqa_valid.jsonl")]
    expected, records, short = set[tuple[str, ...]](), 0, 0
    for file in files:
        for line in file.read_text().splitlines():
            texts = [plain_words(text) for text in strings_of(json.loads(line))]
            units = [text for text in texts if len(text) >= 13] or [[word for text in texts for word in text]]
            grams = [unit[i : i + 13] for unit in units for i in range(max(1, len(unit) - 12))]
            grams = [gram for gram in grams if sum(not re.fullmatch(r"0|[1-9]\d{0,3}", word) for word in gram) >= 8]
            expected |= set(map(tuple, grams))
            records += 1
            short += not grams
    overlap = EvaluationOverlap.load(files)
    assert (overlap.records, overlap.too_short) == (records, short)
    assert records == 2376 + 1319 + 1838
    assert len(overlap._keys) == len(expected)
    whole = sorted(expected)
    assert all(overlap.find_each([" ".join(gram) for gram in whole]))
    # None of these is there any more when its third word is another one.
    other = [" ".join((*gram[:2], "mlxllm", *gram[3:])) for gram in whole]
    assert not any(overlap.find_each(other))


@pytest.mark.data
def test_real_documents_with_a_record_put_in(test_data: Path) -> None:
    bench = [test_data / "bench" / "lambada_openai.jsonl", test_data / "bench" / "mmlu", test_data / "bench"]
    overlap = EvaluationOverlap.load(bench)
    assert overlap.records == 11442
    texts = [json.loads(line)["text"] for line in (test_data / "web" / "c4_demo.jsonl").read_text().splitlines()]
    assert not any(overlap.find_each(texts))
    drawn = random.Random(0)
    records = [json.loads(line)["context"] for line in bench[0].read_text().splitlines()[:300]]
    spoiled = [text[: (at := drawn.randrange(len(text)))] + "\n" + record.upper() + "\n" + text[at:]
               for text, record in zip(texts, records, strict=True)]  # fmt: skip
    found = overlap.find_each(spoiled)
    assert found == [f"lambada_openai.jsonl:{number}" for number in range(1, 301)]
    assert np.mean([overlap.find(text) == reason for text, reason in zip(spoiled[:20], found[:20], strict=True)]) == 1


def plain_words(text: str) -> list[str]:
    """Runs of letters and digits in lower case, accents left out."""
    import unicodedata

    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return re.findall(r"[^\W_]+", plain)


def strings_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in values for text in strings_of(item)]
