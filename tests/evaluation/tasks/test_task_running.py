"""Tasks put to small models: the figures are those of plain arithmetic, and what is known is not asked again."""

import itertools
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.conversation.choosing import chat_format_of
from mlxllm.errors import ConfigError, ModelError
from mlxllm.evaluation.tasks import answers, metrics
from mlxllm.evaluation.tasks.examinee import Examinee, encode_pair
from mlxllm.evaluation.tasks.groups import together
from mlxllm.evaluation.tasks.items import Choice, Code, Ending, Item, Sum, Task, asked
from mlxllm.evaluation.tasks.running import Outcome, Settings, run_task
from mlxllm.evaluation.tasks.sandbox import Sandbox
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer
from mlxllm.tokenizer.char import CharTokenizer
from tests.inference.tiny import TOKENIZER, tiny, writing_letters

CHOICES = tuple(
    Choice(f"Question: {n} is what?\nAnswer:", ("one thing", "two", "a third that is longer"), n % 3) for n in range(7)
)
PRINT = "cafe" * 16


def task(*items: Item, name: str = "t", **more: Any) -> Task:
    return Task(name, items, more.pop("sha256", "0" * 64), **more)


def run(what: Task, model: Transformer, *, fingerprint: str = PRINT, max_length: int = 64, **settings: Any) -> Outcome:
    return run_task(what, Examinee(model, TOKENIZER, max_length), fingerprint, Settings(**settings))


def logprob(model: Transformer, context: str, target: str) -> tuple[float, bool]:
    """log p(target | context) token by token, from the definition."""
    ids = TOKENIZER.encode(context + target)
    first = len(TOKENIZER.encode(context))
    total, greedy = 0.0, True
    for at in range(first, len(ids)):
        logits = np.array(model(mx.array([ids[:at]]))[0, -1], dtype=np.float64)
        total += logits[ids[at]] - math.log(np.exp(logits - logits.max()).sum()) - logits.max()
        greedy = greedy and int(logits.argmax()) == ids[at]
    return total, greedy


def test_choices_are_scored_as_defined() -> None:
    model = tiny()
    outcome = run(task(*CHOICES), model)
    right, right_by_length = [], []
    for item, sample in zip(CHOICES, outcome.samples, strict=True):
        expected = [logprob(model, item.context, " " + choice)[0] for choice in item.choices]
        assert sample["logprobs"] == pytest.approx(expected, abs=1e-3)
        by_length = [value / len(choice) for value, choice in zip(expected, item.choices, strict=True)]
        right.append(float(expected.index(max(expected)) == item.gold))
        right_by_length.append(float(by_length.index(max(by_length)) == item.gold))
    assert outcome.metrics["acc"] == statistics.mean(right)
    assert outcome.metrics["acc_stderr"] == pytest.approx(statistics.stdev(right) / math.sqrt(7))
    assert outcome.metrics["acc_norm"] == statistics.mean(right_by_length)
    assert (outcome.count, outcome.shots, outcome.cut) == (7, 0, 0)
    assert "acc_norm" not in run(task(*CHOICES, name="mmlu", letters=True), model).metrics


def test_endings_are_scored_as_defined() -> None:
    model = writing_letters()
    text = "".join(TOKENIZER.decode([int(model(mx.array([TOKENIZER.encode("so it")]))[0, -1].argmax())]))
    items = [Ending("so it", "was"), Ending("He said", "x"), Ending("so it", text.strip() or "y")]
    outcome = run(task(*items), model)
    expected = [logprob(model, item.context, " " + item.target) for item in items]
    assert [sample["logprob"] for sample in outcome.samples] == pytest.approx([e for e, _ in expected], abs=1e-3)
    assert [sample["metrics"]["acc"] for sample in outcome.samples] == [float(greedy) for _, greedy in expected]
    values = [value for value, _ in expected]
    assert outcome.metrics["perplexity"] == pytest.approx(math.exp(-statistics.mean(values)), rel=1e-3)


def test_what_is_known_is_not_asked_again(mlxllm_home: Path) -> None:
    model, broken = tiny(), tiny(seed=1)
    first = run(task(*CHOICES), model, limit=3)
    assert (first.reused, first.count) == (0, 3)
    more = run(task(*CHOICES), model)
    assert (more.reused, more.samples[:3]) == (3, first.samples)
    # All is known: even another model under the same fingerprint is not asked.
    assert run(task(*CHOICES), broken).metrics == more.metrics
    assert run(task(*CHOICES), broken).reused == 7
    for other in (
        run(task(*CHOICES), broken, fingerprint="f" * 64),
        run(task(*CHOICES, sha256="1" * 64), broken),
        run(task(*CHOICES), broken, max_length=32),
        run(task(*CHOICES), broken, shots=1),
        run(task(*CHOICES), broken, fresh=True),
    ):
        assert other.reused == 0
        assert other.samples[3]["logprobs"] != more.samples[3]["logprobs"]


def test_a_torn_line_is_asked_again(mlxllm_home: Path) -> None:
    model = tiny()
    whole = run(task(*CHOICES), model)
    [file] = (mlxllm_home / "cache" / "evaluations").rglob("*.jsonl")
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    again = run(task(*CHOICES), model)
    assert (again.reused, again.metrics) == (6, whole.metrics)
    for one, other in zip(again.samples, whole.samples, strict=True):
        assert one["logprobs"] == pytest.approx(other["logprobs"], abs=1e-4)
    assert len(file.read_bytes().splitlines()) == 7


def test_an_interrupted_task_goes_on() -> None:
    model = tiny()

    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    examinee = Examinee(model, TOKENIZER, 64)
    with pytest.raises(KeyboardInterrupt):
        run_task(task(*CHOICES), examinee, PRINT, Settings(), interrupt)
    told: list[tuple[int, int]] = []
    outcome = run_task(task(*CHOICES), examinee, PRINT, Settings(), lambda *counts: told.append(counts))
    assert outcome.reused == 4
    assert told == [(4, 7), (5, 7), (6, 7), (7, 7)]
    assert outcome.metrics == run(task(*CHOICES), model, fresh=True).metrics


def test_a_prompt_that_does_not_fit_is_counted() -> None:
    long = replace(CHOICES[0], context="x" * 200)
    outcome = run(task(long, CHOICES[1]), tiny())
    assert (outcome.cut, [sample["cut"] for sample in outcome.samples]) == (1, [True, False])
    outcome = run(task(Sum("y" * 100, "#### 1"), Sum("short", "#### 1")), tiny(), shots=0)
    assert outcome.cut == 1


def test_a_model_without_numbers_is_refused() -> None:
    model = tiny()
    model.model.norm.weight = model.model.norm.weight * float("nan")
    with pytest.raises(ModelError, match="item 0 of t are not numbers"):
        run(task(*CHOICES[:1]), model)
    with pytest.raises(ModelError, match="logits are not numbers"):
        run(task(Sum("y", "#### 1"), Sum("z", "#### 1")), model, shots=0)


def test_the_subjects_of_a_folder_together() -> None:
    model = tiny()
    outcomes = [run(task(*CHOICES[:5], name="a"), model), run(task(*CHOICES[5:], name="b"), model)]
    whole = together("g", outcomes)
    every = [sample["metrics"]["acc"] for outcome in outcomes for sample in outcome.samples]
    assert whole.metrics["acc"] == statistics.mean(every)
    assert whole.metrics["acc_subjects"] == statistics.mean([statistics.mean(every[:5]), statistics.mean(every[5:])])
    assert (whole.count, whole.task.name) == (7, "g")


PUZZLE = Code(
    "T/0",
    'def double(x):\n    """Twice x."""\n',
    "double",
    "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    "    return 2 * x\n",
)


@pytest.mark.parametrize(
    ("written", "chat", "passed"),
    [
        ("    return x + x\n", False, True),
        ("    return x * x\n", False, False),
        ("    import sys; sys.exit(0)\n", False, False),
        ("    return x + x\n\ndef check(f):\n    pass\n", False, True),
        ("    return 1\n\ndef check(f):\n    pass\n", False, False),
        ("Here you are:\n```python\ndef double(x):\n    return x * 2\n```\nIt doubles.", True, True),
        ("```\n    return x * 2\n```", True, True),
        ("```python\ndef double(x):\n    return x * 3\n```", True, False),
        ("I cannot.", True, False),
    ],
)
def test_programs_are_judged_by_running_them(written: str, chat: bool, passed: bool) -> None:
    assert Sandbox().run(answers.program_of(PUZZLE, written, chat=chat)).passed is passed


def test_puzzles_are_written_and_run() -> None:
    model = writing_letters()
    outcome = run(task(PUZZLE, name="p"), model, sandbox=Sandbox(), samples_per_task=2, max_tokens=12, temperature=2.0)
    [sample] = outcome.samples
    assert len(sample["written"]) == len(sample["how"]) == 2
    assert sample["written"][0] != sample["written"][1]
    assert outcome.metrics["pass@1"] == 0.0
    again = run(task(PUZZLE, name="p"), tiny(1), sandbox=Sandbox(), samples_per_task=2, max_tokens=12, temperature=2.0)
    assert (again.reused, again.samples) == (1, outcome.samples)
    with pytest.raises(ConfigError, match="only run where that is allowed"):
        run(task(PUZZLE), model)


@pytest.mark.parametrize(
    ("text", "marked", "last"),
    [
        ("so 3 + 4 = 7\n#### 7", "7", "7"),
        ("#### 1,234.\n", "1234", "1234"),
        ("#### $5", None, "5"),
        ("It costs $1,250.50 now", None, "1250.50"),
        ("#### -3 and 9", "-3", "9"),
        ("none at all", None, None),
        ("#### 18 apples, of 20", "18", "20"),
    ],
)
def test_numbers_that_an_answer_comes_to(text: str, marked: str | None, last: str | None) -> None:
    assert (answers.marked_number(text), answers.last_number(text)) == (marked, last)


def test_word_problems_are_continued_and_compared() -> None:
    model = writing_letters(letters=b"#0123456789 ")
    items = [Sum(f"Question: {n}?\nAnswer:", f"It is {n}.\n#### {n}") for n in range(3)]
    outcome = run(task(*items), model, shots=1, max_tokens=12)
    for sample in outcome.samples:
        assert len(TOKENIZER.encode(sample["written"])) <= 12
        assert sample["metrics"]["exact_match_flexible"] == float(
            answers.last_number(sample["written"]) == sample["answer"]
        )
    assert [sample["item"] for sample in outcome.samples] == [1, 2]
    assert outcome.samples[0]["prompt"].startswith("Question: 0?\nAnswer: It is 0.\n#### 0\n\nQuestion: 1?")


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(counts: tuple[int, int, int]) -> None:
    count, passed, k = counts
    draws = list(itertools.combinations([True] * passed + [False] * (count - passed), k))
    assert metrics.pass_at(count, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30))
def test_standard_errors(values: list[float]) -> None:
    figures = metrics.means([{"acc": value} for value in values])
    assert figures["acc"] == pytest.approx(statistics.mean(values), abs=1e-9)
    assert figures["acc_stderr"] == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), abs=1e-9)
    assert metrics.means([{"acc": values[0]}])["acc_stderr"] is None


CHARS = CharTokenizer(sorted(set("abcdefghij ?:\n")))


@given(st.text("ab ?\n", max_size=8), st.text("abc ", min_size=1, max_size=6), st.sampled_from([TOKENIZER, CHARS]))
def test_a_pair_spells_what_was_given(context: str, target: str, tokenizer: Tokenizer) -> None:
    request = encode_pair(tokenizer, context, target)
    assert request.context
    assert request.target
    spelled = tokenizer.decode([*request.context, *request.target])
    assert spelled.removeprefix("<|endoftext|>") == context + target
    if context.strip():
        assert tokenizer.decode(request.context) == context.rstrip()
    else:
        assert request.context == (tokenizer.eot_id,)


def test_a_chat_is_asked_through_its_template(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path / "tokenizer")
    chat = chat_format_of(TOKENIZER, tmp_path / "tokenizer")
    examinee = Examinee(tiny(), TOKENIZER, 64, chat)
    request = examinee.request("Which?", "this")
    assert TOKENIZER.decode(request.context).startswith("<|user|>")
    assert "Which?" in TOKENIZER.decode(request.context)
    assert TOKENIZER.decode(request.target) == "this"
    assert "<|end|>" in examinee.stops
    plain = run(task(*CHOICES), tiny(), max_length=128)
    asked_in_chat = run_task(task(*CHOICES), Examinee(tiny(), TOKENIZER, 128, chat), PRINT, Settings())
    assert asked_in_chat.reused == 0
    assert asked_in_chat.samples[0]["logprobs"] != plain.samples[0]["logprobs"]
    puzzle = asked(task(PUZZLE), None, None)
    assert puzzle.items[0][1] is PUZZLE
    written = run_task(
        task(PUZZLE), replace(examinee, max_length=256), PRINT, Settings(sandbox=Sandbox(), max_tokens=4)
    )
    assert written.samples[0]["prompt"].startswith("Complete this Python function.")


@pytest.mark.peers
def test_pairs_and_numbers_are_those_of_lm_eval() -> None:
    from lm_eval.api.model import TemplateLM
    from lm_eval.filters.extraction import RegexFilter

    class Theirs(TemplateLM):
        eot_token_id = TOKENIZER.eot_id

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
            return TOKENIZER.encode(string)

        def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> Any:
            return [(tuple(context), tuple(target)) for _, context, target in requests]

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any: ...
        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any: ...

    class Asked:
        def __init__(self, *args: str) -> None:
            self.args = args

    pairs = [("Q: a?\nA:", " b"), ("ends in blanks  ", "word"), ("", " start"), ("one\n", " two"), ("x ", " y")]
    theirs = Theirs().loglikelihood([Asked(*pair) for pair in pairs], disable_tqdm=True)
    ours = [encode_pair(TOKENIZER, context, target) for context, target in pairs]
    assert [(one.context, one.target) for one in ours] == theirs
    texts = ["#### 12", "#### 1,234.", "a 5 b $3.50.", "x", "7, 8, 9.", "-4 or -5", "#### -1.5 and 6", "1.\n2."]
    strict = RegexFilter(r"#### (\-?[0-9\.\,]+)")
    flexible = RegexFilter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1)
    for regex, judge in ((strict, answers.marked_number), (flexible, answers.last_number)):
        found = [each[0] for each in regex.apply([[text] for text in texts], [{}] * len(texts))]
        assert [judge(text) for text in texts] == [
            None if each == "[invalid]" else answers.plain_number(each) for each in found
        ]


def test_what_is_kept_is_plain_json(mlxllm_home: Path) -> None:
    run(task(*CHOICES[:2]), tiny())
    [file] = (mlxllm_home / "cache" / "evaluations").rglob("*.jsonl")
    for line in file.read_text().splitlines():
        _, found = json.loads(line)
        assert set(found) == {"logprobs", "greedy", "cut"}
