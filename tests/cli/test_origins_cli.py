"""`data index`, `trace`, `sample --trace` and `eval --copied` tell what of a text stands in the training documents."""

from pathlib import Path
from typing import Any

import pytest

from mlxllm import paths
from mlxllm.data.origins.tracing import Origins
from mlxllm.data.shards import TokenDataset
from mlxllm.evaluation.copying import PROMPT_TOKENS, Beginning, copied_metrics, held_out_beginnings
from mlxllm.model.loading import load_model
from mlxllm.report.run_page import way_there
from mlxllm.report.stages import stages_of
from mlxllm.runs import find_run
from mlxllm.scores import results_of
from tests.data.origins import brute
from tests.training import tiny
from tests.training.tiny import call, json_lines, sentence, succeeded

TOLD = "and so 17 squared is 289. 18 squared is 324. 19 squared is 361. They say"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the dataset `squares`, the run `first` on it, and no index."""
    home = tmp_path_factory.mktemp("origins")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLXLLM_HOME", str(home))
        (home / "datasets").mkdir()
        tiny.dataset(home / "datasets" / "squares")
        tiny.train(home / "runs" / "first", tiny.config(Path("squares"), max_steps=60, learning_rate=1e-2))
    return home


@pytest.fixture(autouse=True)
def in_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXLLM_HOME", str(home))


def one(*arguments: object) -> dict[str, Any]:
    (found,) = json_lines(succeeded(call(*arguments, "--json")).stdout)
    return found


def training_texts() -> list[str]:
    dataset = TokenDataset.open(paths.folder("datasets") / "squares")
    texts = [dataset.train.document(n)[:-1] for n in range(dataset.train.num_documents)]
    return [dataset.tokenizer.decode(ids) for ids in texts]


def test_what_has_no_index_is_told_how_to_get_one() -> None:
    index = "build it with `mlxllm data index squares`"
    for words in (("trace", TOLD, "--data", "squares"), ("sample", "--model", "first", "--trace")):
        assert index in sentence(call(*words), 1)
    assert index in sentence(call("eval", "--model", "first", "--copied", 2), 1)
    assert "one of them" in sentence(call("trace", "x"), 2)
    assert "one of them" in sentence(call("trace", "x", "--data", "squares", "--model", "first"), 2)
    assert "as it is no run" in sentence(call("trace", "x", "--model", "elsewhere"), 2)
    assert "--words is 3; it should be 4 or more" in sentence(
        call("data", "index", "squares", "--find", "x", "--words", 3), 2
    )
    assert "--copied N" in sentence(call("eval", "--model", "first", "--training-data", "squares"), 2)


def test_an_index_is_built_looked_into_and_goes_with_its_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    tiny.dataset(tmp_path / "datasets" / "squares")
    built = one("data", "index", "squares")
    assert built["built"] is True
    assert built["words"] == sum(unit[1] for text in training_texts() for unit in brute.units(text))
    assert one("data", "index", "squares") == {**built, "built": False}
    built = one("data", "index", "squares", "--fresh")
    assert built["built"] is True

    found = one("data", "index", "squares", "--find", TOLD)
    assert found == one("trace", TOLD, "--data", "squares")
    (span,) = found["spans"]
    assert (
        TOLD[span["start"] : span["end"]] == span["text"] == "17 squared is 289. 18 squared is 324. 19 squared is 361"
    )
    assert (span["kind"], span["words"], span["count"], span["changed"]) == ("copied", 12, 1, 0)
    (document,) = span["documents"]
    assert document["text"] == span["text"]
    assert training_texts()[0][document["character"] :].startswith(span["text"])
    assert document["spec"].startswith("text:")
    assert (found["words"], found["copied"], found["own"]) == (16, 0.75, 0.25)

    shown = succeeded(call("trace", TOLD, "--data", "squares")).stdout
    assert "and so [17 squared is 289. 18 squared is 324. 19 squared is 361]. They say\n" in shown
    assert "75 % copied, the rest its own (16 words; spans of 8 words or more, looked for in squares)" in shown
    assert "1. 12 words; document 1 of 1 of squares.txt" in shown
    near = succeeded(call("trace", "17 squared is 289. 18 times is 324. 19", "--data", "squares")).stdout
    assert near.startswith("~17 squared is 289. 18 times is 324. 19~\n")
    assert "nearly: 1 of them changed" in near

    (entry,) = [each for each in one("cache", "ls")["entries"] if "origins" in each["name"]]
    assert entry["what"].startswith("the index of dataset squares")
    assert entry["bytes"] == built["bytes"]
    succeeded(call("data", "rm", "squares", "--yes"))
    assert [each for each in one("cache", "ls")["entries"] if "origins" in each["name"]] == []


def test_a_sample_is_traced_in_what_its_run_read() -> None:
    succeeded(call("data", "index", "squares"))
    asked = ("sample", "--model", "first", "--prompt", "7 squared", "--max-tokens", 60, "--num-samples", 3)
    documents = training_texts()
    for told in json_lines(succeeded(call(*asked, "--temp", 0.3, "--trace", "--json")).stdout):
        trace, text = told["trace"], told["text"]
        assert trace["words"] == sum(unit[1] for unit in brute.units(text))
        assert trace == one("trace", text, "--model", "first")
        copied = {n for first, count, _ in brute.copied(text, documents, 8) for n in range(first, first + count)}
        assert trace["copied"] == pytest.approx(len(copied) / trace["words"], abs=1e-6)
    shown = succeeded(call(*asked, "--trace"))
    assert shown.stdout.startswith("7 squared")
    assert shown.stderr.count("looked for in squares)") == 3


def test_eval_tells_the_shares_and_the_report_states_them() -> None:
    succeeded(call("data", "index", "squares"))
    asked = ("eval", "--model", "first", "--copied", 3, "--max-tokens", 40, "--temp", 0.5, "--seed", 5)
    found = one(*asked)["results"]["copied"]
    assert one(*asked)["results"]["copied"] == found, "the seed decides it"
    assert found["copied"] + found["nearly"] + found["own"] == pytest.approx(1)
    assert found["samples"] == 3
    loaded = load_model("first")
    (kept,) = [result for result in results_of(loaded.fingerprint) if result.task == "copied"]
    assert kept.metrics["copied"] == found["copied"]
    assert "copied" in succeeded(call(*asked)).stdout
    assert "share of the words that it wrote" in kept.meanings["copied"]
    commands, *_ = way_there(stages_of(find_run("first")))
    lines = " ".join(commands.lines)  # type: ignore[union-attr]  # the first block has the commands
    assert "mlxllm data index squares mlxllm eval --model first@60 --copied 3" in lines.replace("\\ ", "")
    assert "--seed 5" in lines
    succeeded(call("report", "first"))
    report = (find_run("first").path / "report" / "report.md").read_text()
    assert "| copied | own | 3 |" in report


def test_shares_of_texts_are_sums_of_words_with_their_errors(tmp_path: Path) -> None:
    succeeded(call("data", "index", "squares"))
    origins = Origins([paths.folder("datasets") / "squares"])
    copied, own = "17 squared is 289. 18 squared is 324", "nothing of this stands anywhere there at all"
    metrics = copied_metrics(origins, [copied, own], [own], 8)
    assert (metrics["copied"], metrics["own"], metrics["longest"], metrics["held_out_copied"]) == (0.5, 0.5, 8, 0.0)
    assert metrics["copied_stderr"] == pytest.approx(0.5)
    assert copied_metrics(origins, [""], [], 8)["copied"] is None


def test_beginnings_are_of_held_out_text_and_decided_by_the_seed() -> None:
    dataset = TokenDataset.open(paths.folder("datasets") / "squares")
    held_out = dataset.tokenizer.decode(dataset.val.document(0)[:-1])
    drawn = [held_out_beginnings(dataset.val, dataset.tokenizer, 5, 30, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5
    for beginning in drawn[0]:
        assert isinstance(beginning, Beginning)
        assert beginning.prompt + beginning.rest in held_out
        assert len(beginning.prompt) == PROMPT_TOKENS
        assert PROMPT_TOKENS <= len(beginning.rest) <= 30
