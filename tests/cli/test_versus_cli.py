"""`mlxllm versus` with real models, real judges, and a person's letters from a pipe."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlxllm import paths, scores
from mlxllm.cli.app import app
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.model.loading import load_model
from tests.cli.tuned import tuned_run
from tests.training.tiny import call, sentence

LONGER = f"{sys.executable} {Path(__file__).parents[2] / 'scripts' / 'judges' / 'longer.py'}"
SHORT = ("--max-tokens", "24", "--temp", "1.2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned run, its base, and 40 prompts."""
    made = tmp_path_factory.mktemp("versus")
    tuned_run(made)
    (made / "prompts.txt").write_text("".join(f"Question {number}?\n" for number in range(40)))
    return made


@pytest.fixture
def both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(folder)
    return ("versus", "./tuned", "./base", "--prompts", "prompts.txt", *SHORT)


def found(*arguments: str, lines: str = "") -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"], input=lines)
    assert done.exit_code == 0, done.stderr
    [line] = done.stdout.splitlines()
    return json.loads(line)  # type: ignore[no-any-return]


def test_a_judge_of_length_says_who_writes_more(both: tuple[str, ...]) -> None:
    """And at equal lengths nobody is ahead. The result is kept with the weights, answers and judgements in the cache."""
    result = found(*both, "--judge", LONGER)
    rounds = result["rounds"]
    assert len(rounds) == 40
    assert result["wins"] == sum(len(each["first"]) > len(each["second"]) for each in rounds)
    assert result["losses"] == sum(len(each["first"]) < len(each["second"]) for each in rounds)
    assert result["wins"] + result["losses"] + result["ties"] == 40
    assert result["wins"] != result["losses"]
    assert result["win_rate"] == pytest.approx((result["wins"] + result["ties"] / 2) / 40)
    low, high = result["length_controlled_interval"]
    assert low < 0.5 < high
    assert result["mean_lengths"][0] == pytest.approx(sum(len(each["first"]) for each in rounds) / 40)
    assert (result["agreed"], result["shown_first"]) == (1.0, 0.5)
    [kept] = scores.results_of(load_model("./tuned").fingerprint)
    assert (kept.task, kept.samples, kept.metrics["win_rate"]) == ("versus:./base", 40, result["win_rate"])
    assert len(list((paths.folder("cache") / "answers").iterdir())) == 2
    [said] = (paths.folder("cache") / "judgements").iterdir()
    assert len(said.read_text().splitlines()) == 2 * sum(each["first"] != each["second"] for each in rounds)
    shown = CliRunner().invoke(app, [*both, "--judge", LONGER])
    for words in ("40 prompts, judged by ", "win rate  ", "at equal lengths  ", "characters of an answer  "):
        assert words in shown.stdout
    assert f"won {result['wins']}, lost {result['losses']}, ties {result['ties']}" in shown.stdout


def test_prompts_of_a_file_that_are_left_out_are_counted(both: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text("Who?\nWhere?\nwho?\n")
    done = CliRunner().invoke(app, [*both, "--prompts", str(tmp_path / "twice.txt"), "--judge", LONGER])
    assert done.exit_code == 0, done.stderr
    told = "1 of 3 prompts left out: ./tuned or ./base was trained on them, or they stand there twice"
    assert told in done.stderr
    assert "2 prompts, judged by " in done.stdout


def test_prompts_that_the_second_model_was_trained_on_are_left_out(both: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "taught.txt").write_text("Who?\nhi\nWhere?\n")
    command = ("versus", "./base", "./tuned", "--prompts", str(tmp_path / "taught.txt"), *SHORT, "--judge", LONGER)
    assert sorted(each["prompt"] for each in found(*command)["rounds"]) == ["Where?", "Who?"]


def test_a_judge_that_goes_by_places_is_told(both: tuple[str, ...], tmp_path: Path) -> None:
    judge = tmp_path / "judge.py"
    judge.write_text('import sys\nfor _ in sys.stdin: print(\'{"winner": "a"}\', flush=True)\n')
    done = CliRunner().invoke(app, [*both, "--rounds", "6", "--judge", f"{sys.executable} {judge}"])
    assert (
        "warning: the judge says the same in both orders of 0.0 % of the pairs, more rarely than a coin" in done.stderr
    )
    assert "position bias" in done.stderr
    assert "position bias" not in CliRunner().invoke(app, [*both, "--rounds", "6", "--judge", LONGER]).stderr


def test_a_judge_that_breaks_costs_nothing_that_was_there(both: tuple[str, ...], tmp_path: Path) -> None:
    whole = found(*both, "--judge", LONGER, "--rounds", "12")
    judge, count = tmp_path / "judge.py", tmp_path / "count"
    judge.write_text(
        "import json, os, sys\n"
        f"count = {str(count)!r}\n"
        "for line in sys.stdin:\n"
        "    asked, n = json.loads(line), os.path.getsize(count) if os.path.exists(count) else 0\n"
        "    if n == 5 and not os.path.exists(count + '.mended'): print('oh no', flush=True); break\n"
        "    open(count, 'a').write('x')\n"
        "    a, b = len(asked['a']), len(asked['b'])\n"
        "    print(json.dumps({'winner': 'a' if a > b else 'b' if b > a else 'tie'}), flush=True)\n"
    )
    arguments = (*both, "--rounds", "12", "--judge", f"{sys.executable} {judge}")
    told = sentence(call(*arguments), 1)
    assert "wrote 'oh no', which is no JSON object; what came before (5 replies) is kept" in told
    Path(f"{count}.mended").touch()
    assert found(*arguments)["rounds"] == whole["rounds"]
    asked = 2 * sum(each["first"] != each["second"] for each in whole["rounds"])
    assert count.stat().st_size == asked, "none was asked twice"


def test_a_judge_that_can_tell_of_none_leaves_no_result(both: tuple[str, ...], tmp_path: Path) -> None:
    """What was found before stays what is told of the model."""
    before = len(scores.results_of(load_model("./tuned").fingerprint))
    judge = tmp_path / "judge.py"
    judge.write_text('import sys\nfor _ in sys.stdin: print(\'{"error": "no\\\\u001b[31m key"}\', flush=True)\n')
    told = sentence(call(*both, "--rounds", "4", "--judge", f"{sys.executable} {judge}"), 1)
    assert "the judge could not tell of any of 4 pairs: no" in told
    assert "key" in told
    assert "\x1b" not in told
    assert len(scores.results_of(load_model("./tuned").fingerprint)) == before


def test_answers_that_are_the_same_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = call("versus", "./tuned", "tuned", "--prompts", "prompts.txt", "--rounds", "3", *SHORT, "--judge", LONGER)
    assert "3 of 3 pairs of answers are the same, word for word: ties, and nobody is asked" in done.stderr


def test_an_interrupted_writing_goes_on_with_the_same_answers(both: tuple[str, ...]) -> None:
    whole = found(*both, "--judge", LONGER)
    for file in (paths.folder("cache") / "answers").iterdir():
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:32]) + lines[32][:9])
    again = call(*both, "--judge", LONGER, "--json")
    assert json.loads(again.stdout) == whole
    assert "./base answered 32 of 40\n" in again.stderr


def test_a_model_that_judges(both: tuple[str, ...]) -> None:
    result = found(*both, "--rounds", "6", "--judge-model", "./base")
    assert result["judge"] == "./base"
    assert {0.0 < each["preference"] < 1.0 for each in result["rounds"]} == {True}
    one_order = found(*both, "--rounds", "6", "--judge-model", "./tuned", "--no-swap")
    assert one_order["agreed"] is None


def by_hand(both: tuple[str, ...], lines: str, *more: str) -> Result:
    return CliRunner().invoke(app, [*both, *more], input=lines)


def test_a_person_judges_with_names_hidden(both: tuple[str, ...]) -> None:
    done = by_hand(both, "a\nb\nt\na\nn\n", "--rounds", "5", "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert "tuned" not in done.stderr.partition("round 1 of 5")[2].partition("preference pairs kept")[0]
    assert result["judge"] == "you"
    assert result["wins"] + result["losses"] == 3
    assert result["ties"] == 2
    shown = done.stderr.partition("\nA\n")[2].partition("\n\nB\n")[0].removesuffix("\n(cut off here)")
    [first] = [each for each in result["rounds"] if shown in (each["first"], each["second"])]
    assert first["preference"] == (1.0 if shown == first["first"] else 0.0)
    assert len(list(PreferenceStore().read())) <= 3
    left = by_hand(both, "a\nq\n", "--rounds", "5")
    assert left.exit_code == 1
    assert "left after 1 of 5 rounds, without a verdict" in left.stderr
    early = by_hand(both, "a\nv\n", "--rounds", "5", "--json")
    assert json.loads(early.stdout)["unjudged"] == 4


REFUSED = [
    ("./tuned --judge x", 2, "both are ./tuned"),
    ("./base --judge x --judge-model ./base", 2, "both say who judges"),
    ("./base --judge-timeout 3", 2, "--judge-timeout is about a judge"),
    ("./base --fresh", 2, "--fresh is about a judge"),
    ("./base --judge x --judge-timeout 0", 2, "--judge-timeout is 0; it should be greater than 0"),
    ("./base --judge x --rounds 0", 2, "--rounds is 0; it should be from 1"),
    ("./base --rounds 500", 2, "--rounds is 500; it should be from 1 to 200"),
    ("./base --judge ''", 2, "--judge is empty"),
    ("./nobody --judge x", 2, "there is no run './nobody'"),
    (
        "./base --judge no-such-program --rounds 2",
        2,
        "the judge no-such-program cannot be started: there is no such program",
    ),
    ("./base --judge x --prompts nowhere.txt", 1, "there is no file nowhere.txt"),
    ("./base --judge-model ./nobody", 2, "there is no run './nobody'"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED)
def test_what_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, code: int, words: str) -> None:
    monkeypatch.chdir(folder)
    given = ["" if word == "''" else word for word in arguments.split()]
    prompts = [] if "--prompts" in given else ["--prompts", "prompts.txt"]
    assert words in sentence(call("versus", "./tuned", *given, *prompts, *SHORT), code)
