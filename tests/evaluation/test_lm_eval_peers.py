"""The same items on real files: by our class for lm-eval, by lm-eval's own on exported weights, by our own readers."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlxllm.evaluation.harness.tasks import Settings, run_lm_eval
from mlxllm.evaluation.tasks.examinee import Examinee
from mlxllm.evaluation.tasks.files import read_tasks
from mlxllm.evaluation.tasks.running import Settings as TaskSettings
from mlxllm.evaluation.tasks.running import run_task
from mlxllm.model.loading import load_model
from tests.export.tiny import random_model, write_hf

PARITY = Path(__file__).resolve().parents[2] / "scripts" / "parity"
TOLERANCE = 1e-3

pytestmark = [pytest.mark.peers, pytest.mark.data]


@pytest.fixture(scope="module")
def wording() -> ModuleType:
    """How the comparison words its tasks."""
    spec = importlib.util.spec_from_file_location("lmeval_tasks", PARITY / "lmeval_tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_item_gets_what_lm_evals_own_class_gives_it() -> None:
    options = "--json --limit 24 --steps 25 --tokenizers bpe".split()
    command = [sys.executable, str(PARITY / "lmeval.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    models: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["models"]
    assert list(models) == ["bpe-random", "bpe-trained"]
    for tasks in models.values():
        assert list(tasks) == ["arc_easy", "piqa", "lambada", "mmlu", "gsm8k", "gsm8k_text"]
        for name, found in tasks.items():
            assert found["items"] == 24
            assert found["difference"] is None or found["difference"] < TOLERANCE
            for metric, value in found["theirs"].items():
                near = 1e-3 * value if "perplexity" in metric else 1e-6
                assert found["ours"][metric] == pytest.approx(value, abs=near), (name, metric)
    trained = models["bpe-trained"]
    assert all(found["otherwise"] == 0 for found in trained.values())
    assert trained["gsm8k_text"]["ours"]["bits_per_byte"] < models["bpe-random"]["gsm8k_text"]["ours"]["bits_per_byte"]


@pytest.mark.parametrize(
    ("name", "file"),
    [("arc_easy", "arc_easy.jsonl"), ("piqa", "piqa_valid.jsonl"), ("lambada", "lambada_openai.jsonl")],
)
@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_our_own_readers_ask_the_same(
    name: str, file: str, kind: str, wording: ModuleType, test_data: Path, tmp_path: Path
) -> None:
    write_hf(random_model("llama", kind), tmp_path / "model")
    loaded = load_model(str(tmp_path / "model"))
    yaml = wording.write_tasks(test_data / "bench", tmp_path, 8)[name]
    found = run_lm_eval([str(yaml)], loaded, Settings(limit=8))[name]
    [task] = read_tasks(test_data / "bench" / file)
    examinee = Examinee(loaded.model, loaded.tokenizer, loaded.config.max_position_embeddings)
    ours = run_task(task, examinee, loaded.fingerprint, TaskSettings(shots=0, limit=8))
    for item, sample in zip(found.items, ours.samples, strict=True):
        pairs = item["filtered_resps"] if name != "lambada" else [item["filtered_resps"][0]]
        logprobs = sample["logprobs"] if name != "lambada" else [sample["logprob"]]
        assert logprobs == pytest.approx([one[0] for one in pairs], abs=1e-4)
    assert {metric: ours.metrics[metric] for metric in found.metrics if not metric.endswith("stderr")} == pytest.approx(
        {metric: value for metric, value in found.metrics.items() if not metric.endswith("stderr")}
    )
