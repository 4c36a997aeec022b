"""lm-eval's tasks with a model of ours: what its class answers, which definitions are run, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.conversation import ChatFormat
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.errors import ConfigError, DataError, ModelError
from mlxllm.evaluation.harness import names
from mlxllm.evaluation.harness.files import read_definitions
from mlxllm.evaluation.harness.loading import check_tasks
from mlxllm.evaluation.harness.names import near_names
from mlxllm.evaluation.harness.tasks import Settings, flattened, run_lm_eval
from mlxllm.model.loading import LoadedModel, load_model
from tests.inference.tiny import TOKENIZER, tiny, write_folder, writing_answers

pytestmark = pytest.mark.peers

QUESTIONS = [{"q": f"What is {n}? ", "options": ["a", f"b{n}", "cc"], "right": n % 3} for n in range(6)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(write_folder(tmp_path_factory.mktemp("lm") / "model", tiny(0, max_position_embeddings=48))))


def task_file(folder: Path, name: str = "quiz", **changes: Any) -> Path:
    """A task over QUESTIONS. JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "quiz.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    content = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "{{right}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({**content, **changes}))
    return path


def logprob(loaded: LoadedModel, context: Sequence[int], target: Sequence[int]) -> float:
    """By the formula."""
    ids = mx.array([[*context, *target]])
    logits = loaded.model(ids[:, :-1])[0].astype(mx.float32)
    logprobs = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True), dtype=np.float64)
    at = range(len(context) - 1, len(context) + len(target) - 1)
    return float(sum(logprobs[i, token] for i, token in zip(at, target, strict=True)))


def asked(*args: Any) -> Any:
    """A request as lm-eval hands it over."""
    return SimpleNamespace(args=args)


def test_a_continuation_is_scored_after_its_context(loaded: LoadedModel) -> None:
    from mlxllm.evaluation.harness.model import MlxllmLM

    model = MlxllmLM(loaded)
    encode = TOKENIZER.encode
    found = model.loglikelihood([asked("ab", " cd"), asked("ab ", "cd"), asked("", "xy")])
    expected = [
        logprob(loaded, encode("ab"), encode(" cd")),
        logprob(loaded, encode("ab"), encode(" cd")),  # a blank at the end of the context belongs to what follows
        logprob(loaded, [TOKENIZER.eot_id], encode("xy")),
    ]
    assert [one for one, _ in found] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(DataError, match="no token of its own"):
        model.loglikelihood([asked("ab", "")])


def test_a_special_token_is_one_only_in_a_rendered_template(loaded: LoadedModel) -> None:
    from mlxllm.evaluation.harness.model import MlxllmLM

    chat = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    model = MlxllmLM(loaded, chat=chat)
    text = model.apply_chat_template(said)
    assert model.tok_encode(text) == chat.generation_prompt(_messages(chat, said))
    begun = model.apply_chat_template([*said, {"role": "assistant", "content": "Sure,"}], add_generation_prompt=False)
    assert begun == text + "Sure,"
    assert TOKENIZER.special_ids["<|user|>"] not in MlxllmLM(loaded).tok_encode(text)


def _messages(chat: ChatFormat, said: list[dict[str, str]]) -> list[Any]:
    from mlxllm.conversation import Message

    return [Message(one["role"], one["content"]) for one in said]  # type: ignore[arg-type]


def test_rolling_windows_score_each_token_once(loaded: LoadedModel) -> None:
    from mlxllm.evaluation.harness.model import MlxllmLM

    text = "so many words that they do not fit"
    ids = [TOKENIZER.eot_id, *TOKENIZER.encode(text)]
    [found] = MlxllmLM(loaded, max_length=16).loglikelihood_rolling([asked(text)])
    total, at = 0.0, 1
    while at < len(ids):
        end = min(at + 16, len(ids))
        total += logprob(loaded, ids[max(0, end - 17) : at], ids[at:end])
        at = end
    assert found == pytest.approx(total, abs=1e-3)


def test_texts_end_at_stops_and_at_the_end_of_a_turn(tmp_path: Path) -> None:
    from mlxllm.evaluation.harness.model import MlxllmLM

    loaded = load_model(str(write_folder(tmp_path / "model", writing_answers())))
    settings = {"until": ["\n\n"], "max_gen_toks": 20, "do_sample": False}
    [whole] = MlxllmLM(loaded).generate_until([asked("abc", settings)])
    stop = whole[4:6]
    [short] = MlxllmLM(loaded).generate_until([asked("abc", {**settings, "until": stop})])
    assert short == whole[: whole.index(stop)]
    assert "<|end|>" in whole
    chat = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    [turn] = MlxllmLM(loaded, chat=chat).generate_until([asked("abc", settings)])
    assert turn == whole[: whole.index("<|end|>")]
    with pytest.raises(DataError, match="top_p"):
        MlxllmLM(loaded).generate_until([asked("abc", {"do_sample": True, "temperature": 1.0, "top_p": 0.9})])


def test_files_folders_and_groups_are_run_offline(
    loaded: LoadedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tasks"
    task_file(folder, "one")
    task_file(folder, "two", num_fewshot=1, fewshot_split="test", tag="pair")
    group = folder / "both.yaml"
    metrics = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    group.write_text(json.dumps({"group": "both", "task": ["one", "two"], "aggregate_metric_list": metrics}))
    for given in ([str(folder)], [str(group)]):
        found = run_lm_eval(given, loaded, Settings(limit=4))
        assert list(found) == ["one", "two", "both"]
        assert [one.samples for one in found.values()] == [4, 4, 8]
        assert found["both"].metrics["acc"] == pytest.approx(
            np.mean([found[name].metrics["acc"] or 0.0 for name in ("one", "two")])
        )
        assert [one.settings["shots"] for one in found.values()][:2] == [0, 1]
    item = found["one"].items[1]
    context = TOKENIZER.encode("What is 1?")
    expected = [logprob(loaded, context, TOKENIZER.encode("  " + option)) for option in QUESTIONS[1]["options"]]  # type: ignore[attr-defined]
    assert [one[0] for one in item["filtered_resps"]] == pytest.approx(expected, abs=1e-4)
    assert found["one"].metrics["acc"] is not None
    shots = run_lm_eval([str(folder / "one.yaml")], loaded, Settings(limit=4, shots=2))["one"]
    assert shots.settings["shots"] == 2
    assert shots.items[0]["arguments"][0][0].count("What is") == 3
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_evaluation_goes_on(loaded: LoadedModel, tmp_path: Path, mlxllm_home: Path) -> None:
    path = str(task_file(tmp_path))

    def stop_at_seven(what: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lm_eval([path], loaded, progress=stop_at_seven)
    [kept] = (mlxllm_home / "cache" / "evaluations").rglob("*.jsonl")
    first, *others = kept.read_text().splitlines(keepends=True)
    assert len(others) == 6
    key, (answer, greedy) = json.loads(first)
    kept.write_text(json.dumps([key, [answer - 100, greedy]]) + "\n" + "".join(others))

    def numbers(settings: Settings) -> list[float]:
        items = run_lm_eval([path], loaded, settings)["quiz"].items
        return sorted(one[0] for item in items for one in item["filtered_resps"])

    again, fresh = numbers(Settings()), numbers(Settings(fresh=True))
    assert len(again) == 3 * len(QUESTIONS)
    assert again == pytest.approx(sorted([answer - 100, *(one for one in fresh if one != pytest.approx(answer))]))
    assert len(kept.read_text().splitlines()) == len(fresh)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class": "helper.Task"}, "`class:`"),
        ({"metric_list": [{"metric": "somebody/metric"}]}, "the metric 'somebody/metric'"),
        (
            {"metric_list": [{"metric": "accc"}]},
            "'accc', which lm-eval does not have (near names: acc); one of the Hub runs",
        ),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "hf_evaluate: true"),
        ({"unsafe_code": True}, "unsafe_code: true"),
        ({"dataset_kwargs": {"trust_remote_code": True}}, "trust_remote_code: true"),
        ({"use_prompt": "promptsource:all"}, "`use_prompt:`"),
    ],
)
def test_a_definition_that_runs_code_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = task_file(tmp_path, **changes)
    with pytest.raises(ConfigError, match="--allow-code-execution") as refused:
        check_tasks([str(path)])
    assert said in str(refused.value)


def test_functions_run_only_where_that_is_allowed(loaded: LoadedModel, tmp_path: Path) -> None:
    path = task_file(tmp_path / "tasks")
    helper, ran = tmp_path / "tasks" / "helper.py", tmp_path / "ran"
    helper.write_text(f"open({str(ran)!r}, 'w').close()\ndef text(doc):\n    return doc['q']\n")
    plain = json.loads(path.read_text())
    del plain["doc_to_text"]
    base = tmp_path / "tasks" / "base_yaml"
    base.write_text(f"{json.dumps(plain)[:-1]}, doc_to_text: !function helper.text}}")
    path.write_text("task: quiz\ninclude: base_yaml\n")
    for given in ([str(path)], [str(tmp_path / "tasks")]):
        with pytest.raises(ConfigError, match=r"base_yaml calls a function \(!function helper.text\)"):
            run_lm_eval(given, loaded)
    assert not ran.exists()
    assert run_lm_eval([str(path)], loaded, Settings(limit=1, allow_code=True))["quiz"].samples == 1
    assert ran.exists()


def test_a_template_cannot_reach_python(loaded: LoadedModel, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    template = f"{{{{ cycler.__init__.__globals__.os.mkdir({str(ran)!r}) }}}}"
    path = task_file(tmp_path, doc_to_text=template)
    with pytest.raises(DataError, match="SecurityError"):
        run_lm_eval([str(path)], loaded)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("just words", "cannot be read"),
        ("task: [\n", "cannot be read"),
        ("output_type: multiple_choice\n", "no `task:` with a name"),
        ("task: quiz\ninclude: missing.yaml\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_definition_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "quiz.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        check_tasks([str(path)])


def test_what_is_wrong_with_a_task_is_told_in_a_sentence(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*quizz.yaml \(near names: quiz.yaml\)"):
        read_definitions(task_file(tmp_path).with_name("quizz.yaml"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no YAML file"):
        check_tasks([str(tmp_path / "empty")])
    for changes, said in (
        ({"doc_to_text": "{{missing}}"}, "'missing' is undefined"),
        ({"dataset_kwargs": {"data_files": {"test": str(tmp_path / "gone.jsonl")}}}, "gone.jsonl"),
        ({"dataset_path": "nobody/nothing", "dataset_kwargs": {}}, "cannot be fetched"),
        ({"test_split": "validation"}, "has `test_split: validation`, and its data has 'test'; correct that line"),
        ({"fewshot_split": "train", "num_fewshot": 1}, "has `fewshot_split: train`, and its data has 'test'"),
        ({"test_split": None}, "has neither `test_split:` nor `validation_split:`"),
        (data_of(tmp_path / "empty.jsonl", ""), r"has no questions: its data \(.*empty.jsonl\) is empty"),
        (data_of(tmp_path / "damaged.jsonl", "{x"), r"cannot read its data \(.*damaged.jsonl\): JSON parse error"),
        (metric("acc", aggregation="meen"), r"aggregation 'meen', which lm-eval does not have \(near names: mean, "),
    ):
        with pytest.raises(DataError, match=said):
            run_lm_eval([str(task_file(tmp_path, **changes))], loaded)
    with pytest.raises(DataError, match=r"metric 'accc', which .*\(near names: acc\) and which could not be fetched"):
        run_lm_eval([str(task_file(tmp_path, **metric("accc")))], loaded, Settings(allow_code=True))


def data_of(path: Path, text: str) -> dict[str, Any]:
    """Settings of a task over a file with this text."""
    path.write_text(text)
    return {"dataset_kwargs": {"data_files": {"test": str(path)}}}


def metric(name: str, **more: str) -> dict[str, Any]:
    """Settings of a task with this metric."""
    return {"metric_list": [{"metric": name, **more}]}


def test_a_model_without_numbers_is_refused(tmp_path: Path) -> None:
    model = tiny()
    model.model.norm.weight = model.model.norm.weight * float("nan")
    broken = load_model(str(write_folder(tmp_path / "model", model)))
    with pytest.raises(ModelError, match="log-likelihoods are not numbers"):
        run_lm_eval([str(task_file(tmp_path))], broken)


def test_results_are_named_by_metric_and_filter() -> None:
    found = {"alias": "x", "acc,none": 0.5, "acc_stderr,none": 0.1, "f1,strict": 0.2, "f1_stderr,strict": "N/A"}
    assert flattened(found) == {"acc": 0.5, "acc_stderr": 0.1, "f1/strict": 0.2}
    assert flattened({"m,flexible": 1, "m_stderr,flexible": 0.0}) == {"m/flexible": 1.0, "m/flexible_stderr": 0.0}


def test_near_names_are_those_that_were_meant() -> None:
    known = ["arc_easy", "arc_challenge", "hellaswag", "mmlu", "mmlu_astronomy", "gsm8k", "gsm8k_cot"]
    assert near_names("arc_esy", known)[0] == "arc_easy"
    assert near_names("HellaSwag", known) == ["hellaswag"]
    assert near_names("astronomy", known) == ["mmlu_astronomy"]
    assert near_names("zzz", known) == []


def test_all_names_that_nothing_has_are_told() -> None:
    with pytest.raises(ConfigError, match=r"no task 'arc_esy' \(near names: arc_easy\) and no task 'zzz', neither"):
        names.check_known(["arc_esy", "mmlu", "zzz"], ["arc_easy", "mmlu"])


def test_puzzles_are_better_asked_from_their_file() -> None:
    with pytest.raises(ConfigError, match=r"--tasks HumanEval.jsonl.gz --allow-code-execution$"):
        check_tasks(["humaneval_64"])


def test_without_lm_eval_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'arc_easy': lm-eval.*pip install 'mlxllm\[eval\]'"):
        check_tasks(["arc_easy"])
