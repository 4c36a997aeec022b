"""Local files of benchmarks: told by what is in them, asked as the public definitions do, and refused in one sentence."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mlxllm.errors import ConfigError, DataError
from mlxllm.evaluation.tasks.files import read_tasks
from mlxllm.evaluation.tasks.items import Choice, Code, Ending, Sum, Task, asked

ARC = {"query": "Question: Which is wet?", "choices": ["fire", "water"], "gold": 1}
HF_ARC = {"question": "Which is wet?", "choices": {"text": ["fire", "water"], "label": ["A", "B"]}, "answerKey": "B"}
HELLASWAG = {
    "ctx_a": "A man sits [title] down.",
    "ctx_b": "he",
    "ctx": "A man sits [title] down. he",
    "activity_label": "Sitting",
    "endings": ["stands up [step] again.", "flies."],
    "label": "0",
}
PIQA = {"goal": "How to dry?", "sol1": "in the sun ", "sol2": "in the rain", "label": 0}
LAMBADA = {"context": "He said to her,", "continuation": "run"}
GSM8K = {"question": "What is 2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}
HUMANEVAL = {
    "task_id": "T/0",
    "prompt": "def f(x):\n",
    "entry_point": "f",
    "test": "def check(f):\n    assert f(1) == 2\n",
    "canonical_solution": "    return x + 1\n",
}


def lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path) -> Task:
    [task] = read_tasks(path)
    return task


@pytest.mark.parametrize(
    ("record", "item"),
    [
        (ARC, Choice("Question: Which is wet?\nAnswer:", ("fire", "water"), 1)),
        (ARC | {"query": "He went"}, Choice("He went", ("fire", "water"), 1)),
        (HF_ARC, Choice("Question: Which is wet?\nAnswer:", ("fire", "water"), 1)),
        (HELLASWAG, Choice("Sitting: A man sits. down. He", ("stands up again.", "flies."), 0)),
        (PIQA, Choice("Question: How to dry?\nAnswer:", ("in the sun ", "in the rain"), 0)),
        (LAMBADA, Ending("He said to her,", "run")),
        (GSM8K, Sum("Question: What is 2 + 3?\nAnswer:", GSM8K["answer"])),
        (HUMANEVAL, Code("T/0", "def f(x):\n", "f", str(HUMANEVAL["test"]), "    return x + 1\n")),
    ],
)
def test_records_are_told_by_their_keys(tmp_path: Path, record: dict[str, Any], item: object) -> None:
    task = read(lines(tmp_path / "some.file", record, record))
    assert task.items == (item, item)
    assert task.name == "some"
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress((tmp_path / "some.file").read_bytes()))
    assert read(packed).items == task.items
    listed = tmp_path / "listed.csv"  # the suffix does not matter
    listed.write_text(json.dumps([record, record], indent=1))
    assert read(listed).items == task.items


def test_piqas_answers_lie_beside_its_questions(tmp_path: Path) -> None:
    plain = {key: value for key, value in PIQA.items() if key != "label"}
    path = lines(tmp_path / "valid.jsonl", plain, plain)
    with pytest.raises(DataError, match=r"valid-labels\.lst, is not beside it"):
        read(path)
    labels = tmp_path / "valid-labels.lst"
    labels.write_text("0\n1\n")
    task = read(path)
    assert [item.gold for item in task.items if isinstance(item, Choice)] == [0, 1]
    labels.write_text("1\n1\n")
    assert read(path).sha256 != task.sha256  # other answers, another task
    labels.write_text("1\n")
    with pytest.raises(DataError, match=r"has 1 labels, but .* has 2 questions"):
        read(path)
    labels.write_text("1\n2\n")
    with pytest.raises(DataError, match=r"valid\.jsonl:2: 'label' is 2; it should be the number of a choice, 0 to 1"):
        read(path)


def test_mmlus_folder(tmp_path: Path) -> None:
    for part, count in (("test", 3), ("dev", 2)):
        for subject in ("abstract_algebra", "law"):
            (tmp_path / part).mkdir(exist_ok=True)
            rows = [f'"What is {part} {n}, and ""why""? ",one,two,3,four,{"ABCD"[n]}' for n in range(count)]
            (tmp_path / part / f"{subject}_{part}.csv").write_text("\n".join(rows) + "\n")
    tasks = read_tasks(tmp_path)
    assert [task.name for task in tasks] == [f"{tmp_path.name}_abstract_algebra", f"{tmp_path.name}_law"]
    assert {task.group for task in tasks} == {tmp_path.name}
    [alone] = read_tasks(tmp_path / "test" / "abstract_algebra_test.csv")
    assert (alone.items, alone.examples, alone.name) == (tasks[0].items, tasks[0].examples, "abstract_algebra")
    first = asked(alone, 1, 1)
    assert first.preamble == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        'What is dev 0, and "why"?\nA. one\nB. two\nC. 3\nD. four\nAnswer: A\n\n'
    )
    [(number, item)] = first.items
    assert number == 0
    assert isinstance(item, Choice)
    assert item.context == 'What is test 0, and "why"?\nA. one\nB. two\nC. 3\nD. four\nAnswer:'
    assert (item.choices, item.gold, alone.chance) == (("A", "B", "C", "D"), 0, 0.25)


def test_examples_are_never_asked(tmp_path: Path) -> None:
    records = [ARC | {"query": f"Question: {n}?"} for n in range(6)]
    own = read(lines(tmp_path / "own.jsonl", *records))
    chosen = asked(own, 2, 3)
    assert chosen.preamble == "Question: 0?\nAnswer: water\n\nQuestion: 1?\nAnswer: water\n\n"
    assert [number for number, _ in chosen.items] == [2, 3, 4]
    lines(tmp_path / "x_train.jsonl", *(ARC | {"query": f"Question: train {n}?"} for n in range(2)))
    other = read(lines(tmp_path / "x_test.jsonl", *records))
    chosen = asked(other, 2, None)
    assert chosen.preamble.startswith("Question: train 0?")
    assert [number for number, _ in chosen.items] == list(range(6))
    with pytest.raises(ConfigError, match=r"--shots is 3, but x_test has 2 examples; give 2 or less"):
        asked(other, 3, None)
    with pytest.raises(ConfigError, match="give 5 or less"):
        asked(own, 6, None)


def test_word_problems_are_shown_five_solved_ones(tmp_path: Path) -> None:
    task = read(lines(tmp_path / "g.jsonl", *[GSM8K] * 8))
    assert (asked(task, None, None).shots, len(asked(task, None, None).items)) == (5, 3)
    assert asked(task, 1, None).preamble == f"Question: What is 2 + 3?\nAnswer: {GSM8K['answer']}\n\n"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (ARC | {"gold": 2}, r"q\.jsonl:2: 'gold' is 2; it should be the number of a choice, 0 to 1"),
        (ARC | {"gold": -1}, "'gold' is -1"),
        (ARC | {"gold": True}, "'gold' is True"),
        (ARC | {"choices": ["one"]}, "'choices' should be a list of two texts or more"),
        (ARC | {"choices": ["one", ""]}, "none of them empty"),
        (ARC | {"query": 3}, "'query' should be a text and is 3"),
        (LAMBADA, "has other keys than the first one"),
        ({"text": "x"}, "the record has 'text', which is no known question; known are query/choices/gold"),
        ([1], "no JSON object"),
    ],
)
def test_a_wrong_record_is_told_with_its_line(tmp_path: Path, record: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(lines(tmp_path / "q.jsonl", ARC, record))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (HF_ARC | {"answerKey": "C"}, "'answerKey' is 'C', which is none of the labels A, B"),
        (HF_ARC | {"choices": {"text": ["a", "b"], "label": ["A"]}}, "2 choices have 1 labels"),
        (HF_ARC | {"choices": ["a", "b"]}, "should be an object with the lists"),
        (GSM8K | {"answer": "5"}, "does not end in '#### NUMBER'"),
        (LAMBADA | {"continuation": " "}, "'continuation' is empty"),
        (HUMANEVAL | {"entry_point": "g"}, "'prompt' defines no function of that name"),
    ],
)
def test_a_question_that_cannot_be_asked(tmp_path: Path, record: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(lines(tmp_path / "q.jsonl", record))


def test_files_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    whole = gzip.compress(b"".join(json.dumps(ARC | {"query": str(n)}).encode() + b"\n" for n in range(200)))
    for content, said in (
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (whole[:-40], r"is damaged: gzip data .*; fetch it again"),
        (json.dumps(ARC).encode() + b'\n{"query": \n', r"q\.jsonl:2: the line is not JSON"),
        (json.dumps(ARC).encode() + b'\n{"query": "\xe4"}\n', r"q\.jsonl:2: .* not UTF-8"),
        (b"one, two, three\n", "the row has 3 columns; MMLU's have 6"),
        (b"q,a,b,c,d,A\nq,a,b,c,d,E\n", r"q\.jsonl:2: the right answer is 'E'; it should be A, B, C or D"),
        (b'q,a,b,c,d,A\n"q,a,b,c,d,A\n', "is no row of a table"),
        (b"q,\xe4,b,c,d,A\n", "is not UTF-8 text"),
        (b"just words\n", "not JSON"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read(path)
    with pytest.raises(DataError, match=r"there is no file .*/q\.json \(.* has q\.jsonl\); give"):
        read(tmp_path / "q.json")
    with pytest.raises(DataError, match="and no folder"):
        read(tmp_path / "nowhere" / "q.json")
    with pytest.raises(DataError, match="is a folder without questions"):
        read_tasks(tmp_path)


@pytest.mark.data
def test_the_real_files(test_data: Path) -> None:
    bench = test_data / "bench"
    found = {
        name: [len(task.items) for task in read_tasks(bench / name)]
        for name in (
            "arc_easy.jsonl",
            "piqa_valid.jsonl",
            "lambada_openai.jsonl",
            "gsm8k_test.jsonl",
            "HumanEval.jsonl.gz",
        )
    }
    assert list(found.values()) == [[2376], [1838], [5153], [1319], [164]]
    subjects = read_tasks(bench / "mmlu")
    assert {task.name: (len(task.items), len(task.examples)) for task in subjects} == {
        "mmlu_astronomy": (152, 5),
        "mmlu_global_facts": (100, 5),
        "mmlu_high_school_mathematics": (270, 5),
    }


def test_a_mark_before_the_first_line_makes_no_table_of_it(tmp_path: Path) -> None:
    marked = tmp_path / "marked.jsonl"
    marked.write_text(json.dumps(ARC), encoding="utf-8-sig")
    assert read(marked).items == (Choice("Question: Which is wet?\nAnswer:", ("fire", "water"), 1),)


def test_half_a_character_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_text(json.dumps(ARC | {"choices": ["fire", "\udc00"]}))
    with pytest.raises(DataError, match=r"half\.jsonl:1: 'choices' holds half of a character \(\\udc00\)"):
        read(tmp_path / "half.jsonl")


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to("gone.jsonl")
    with pytest.raises(DataError, match=r"link\.jsonl is a link to gone\.jsonl, and there is no file"):
        read(tmp_path / "link.jsonl")
