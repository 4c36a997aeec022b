"""Local tasks for lm-eval over the benchmark files of the test data, worded as its public tasks of the same names."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

CHOICES = {"output_type": "multiple_choice", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]}
SUBJECTS = ("astronomy", "global_facts", "high_school_mathematics")

Task = dict[str, Any]


def write_tasks(bench: Path, folder: Path, limit: int | None) -> dict[str, Path]:
    """A YAML file for each task, by the task's name.

    Args:
        bench: the folder with the benchmark files.
        folder: where the tasks are written, and the data of those that need another form of it.
        limit: items that each task has at most.
    """
    found = {}
    for name, make in TASKS.items():
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps({"task": name, **make(bench, folder, limit)}))  # JSON is YAML
        found[name] = path
    return found


def _json(path: Path, limit: int | None, folder: Path) -> Task:
    """The first lines of a file, so that lm-eval need not read all."""
    cut = folder / path.name
    with path.open(encoding="utf-8") as lines:
        cut.write_text("".join(islice(lines, limit)), encoding="utf-8")
    return _data(cut)


def _data(path: Path) -> Task:
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}}, "test_split": "test"}


def _arc_easy(bench: Path, folder: Path, limit: int | None) -> Task:
    wording = {"doc_to_text": "{{query}}\nAnswer:", "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}"}
    return {**_json(bench / "arc_easy.jsonl", limit, folder), **wording, **CHOICES}


def _piqa(bench: Path, folder: Path, limit: int | None) -> Task:
    joined = folder / "piqa.jsonl"
    labels = (bench / "piqa_valid-labels.lst").read_text().split()
    lines = (bench / "piqa_valid.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{**json.loads(line), "label": int(label)} for line, label in zip(lines, labels, strict=True)]
    joined.write_text("".join(json.dumps(record) + "\n" for record in records[:limit]))
    wording = {
        "doc_to_text": "Question: {{goal}}\nAnswer:",
        "doc_to_choice": "{{[sol1, sol2]}}",
        "doc_to_target": "{{label}}",
    }
    return {**_data(joined), **wording, **CHOICES}


def _lambada(bench: Path, folder: Path, limit: int | None) -> Task:
    return {
        **_json(bench / "lambada_openai.jsonl", limit, folder),
        "output_type": "loglikelihood",
        "doc_to_text": "{{context}}",
        "doc_to_target": "{{' ' + continuation}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    }


def _mmlu(bench: Path, folder: Path, limit: int | None) -> Task:
    names = ["question", "A", "B", "C", "D", "answer"]
    files = {part: [str(bench / f"mmlu/{part}/{one}_{part}.csv") for one in SUBJECTS] for part in ("dev", "test")}
    return {
        "dataset_path": "csv",
        "dataset_kwargs": {"data_files": files, "column_names": names},
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": 2,
        "doc_to_text": "{{question.strip()}}\nA. {{A}}\nB. {{B}}\nC. {{C}}\nD. {{D}}\nAnswer:",
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "{{answer}}",
        **CHOICES,
    }


def _gsm8k(bench: Path, folder: Path, limit: int | None) -> Task:
    return {
        **_json(bench / "gsm8k_test.jsonl", limit, folder),
        "output_type": "generate_until",
        "fewshot_split": "test",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": 1,
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["Question:", "\n\n"], "max_gen_toks": 16, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }


def _gsm8k_text(bench: Path, folder: Path, limit: int | None) -> Task:
    return {
        **_json(bench / "gsm8k_test.jsonl", limit, folder),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}} {{answer}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    }


TASKS: dict[str, Callable[[Path, Path, int | None], Task]] = {
    "arc_easy": _arc_easy,
    "piqa": _piqa,
    "lambada": _lambada,
    "mmlu": _mmlu,
    "gsm8k": _gsm8k,
    "gsm8k_text": _gsm8k_text,
}
