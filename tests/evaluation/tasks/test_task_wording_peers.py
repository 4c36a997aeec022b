"""Questions of local files are put in the words of the definitions that the installed lm-eval has for the same names."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mlxllm.evaluation.tasks.files import read_tasks
from mlxllm.evaluation.tasks.items import Choice, Sum, asked

pytestmark = pytest.mark.peers

LIMIT = 6


def theirs(definition: str, records: list[dict[str, Any]], tmp_path: Path, shots: int, **more: Any) -> list[Any]:
    """[(context, continuation) of each choice, or the context and how it ends] for each item, as lm-eval asks it."""
    import lm_eval.tasks
    import yaml
    from lm_eval.api.task import ConfigurableTask

    config = yaml.safe_load((Path(lm_eval.tasks.__file__).parent / definition).read_text())
    data = tmp_path / "theirs.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    for key in ("dataset_name", "training_split", "validation_split", "fewshot_split", "tag"):
        config.pop(key, None)
    config |= {"task": "t", "dataset_path": "json", "test_split": "test", "num_fewshot": shots}
    config |= {"dataset_kwargs": {"data_files": {"test": str(data)}}}
    if shots:
        config |= {"fewshot_split": "test", "fewshot_config": {"sampler": "first_n"}}
    task = ConfigurableTask(config=config | more)
    task.build_all_requests(limit=LIMIT + shots, rank=0, world_size=1)
    found: dict[int, list[Any]] = {}
    for instance in task.instances:
        found.setdefault(instance.doc_id, []).append(instance.args)
    return [found[number] for number in sorted(found)][shots:]


def ours(path: Path, shots: int) -> list[Any]:
    [task] = read_tasks(path)
    chosen = asked(task, shots, LIMIT)
    return [
        [(chosen.preamble + item.context, f" {choice}") for choice in item.choices]
        for _, item in chosen.items
        if isinstance(item, Choice)
    ]


@pytest.mark.data
@pytest.mark.parametrize("shots", [0, 2])
def test_arc(test_data: Path, tmp_path: Path, shots: int) -> None:
    path = test_data / "bench" / "arc_easy.jsonl"
    records = []
    for line in path.read_text().splitlines()[: LIMIT + shots]:
        raw = json.loads(line)
        labels = [str(n + 1) for n in range(len(raw["choices"]))]
        question = raw["query"].removeprefix("Question: ")
        choices = {"text": raw["choices"], "label": labels}
        records.append({"question": question, "choices": choices, "answerKey": labels[raw["gold"]]})
    expected = theirs("arc/arc_easy.yaml", records, tmp_path, shots)
    assert ours(path, shots) == expected
    hub = tmp_path / "hub.jsonl"
    hub.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert ours(hub, shots) == expected


@pytest.mark.data
@pytest.mark.parametrize("shots", [0, 2])
def test_piqa(test_data: Path, tmp_path: Path, shots: int) -> None:
    path = test_data / "bench" / "piqa_valid.jsonl"
    labels = (test_data / "bench" / "piqa_valid-labels.lst").read_text().split()
    lines = path.read_text().splitlines()[: LIMIT + shots]
    records = [{**json.loads(line), "label": int(label)} for line, label in zip(lines, labels, strict=False)]
    assert ours(path, shots) == theirs("piqa/piqa.yaml", records, tmp_path, shots)


@pytest.mark.data
def test_mmlu(test_data: Path, tmp_path: Path) -> None:
    bench = test_data / "bench" / "mmlu"
    records = {}
    for part in ("dev", "test"):
        with open(bench / part / f"astronomy_{part}.csv", newline="") as file:
            records[part] = [
                {"question": q, "choices": [a, b, c, d], "answer": "ABCD".index(letter)}
                for q, a, b, c, d, letter in csv.reader(file)
            ]
    shots = 3
    about = "The following are multiple choice questions (with answers) about astronomy.\n\n"
    # Their examples are another split's there; here they are the first records, which are not asked.
    expected = theirs(
        "mmlu/default/_default_template_yaml",
        [*records["dev"][:shots], *records["test"]],
        tmp_path,
        shots,
        description=about,
    )
    # The first items of a file are examples for each other, so only the questions behind them are alike.
    assert ours(bench / "test" / "astronomy_test.csv", shots) == expected[:LIMIT]


@pytest.mark.data
def test_gsm8k(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "bench" / "gsm8k_test.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()[: LIMIT + 5]]
    [task] = read_tasks(path)
    chosen = asked(task, None, LIMIT)
    expected = theirs("gsm8k/gsm8k.yaml", records, tmp_path, 5)
    assert [chosen.preamble + item.context for _, item in chosen.items if isinstance(item, Sum)] == [
        args[0] for [args] in expected
    ]
    from mlxllm.evaluation.tasks.answers import SUM_STOPS

    assert all(tuple(args[1]["until"]) == SUM_STOPS for [args] in expected)


def test_hellaswag(tmp_path: Path) -> None:
    from datasets import Dataset
    from lm_eval.tasks.hellaswag.utils import process_docs

    records = [
        {
            "ctx_a": f"[header] How to sit {n}  [title] Find a chair.  [step] Any",
            "ctx_b": "chair THAT you",
            "ctx": "",
            "activity_label": "Home [x]",
            "endings": ["like. [substeps] Sit  down.", " dislike [title] Stand."],
            "label": str(n % 2),
        }
        for n in range(3)
    ]
    path = tmp_path / "h.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    [task] = read_tasks(path)
    expected = process_docs(Dataset.from_list(records))
    for item, doc in zip(task.items, expected, strict=True):
        assert item == Choice(doc["query"], tuple(doc["choices"]), doc["gold"])
